//! Hungarian.

use super::{Currency, CurrencyNames, Numerals, amount, digit_words, groups, replace_ending};

pub const HUNGARIAN: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(decimal),
    money: |currency, units, hundredths| {
        Some(amount(
            cardinal,
            currency_names(currency),
            ", ",
            units,
            hundredths,
        ))
    },
};

#[rustfmt::skip]
const ONES: [&str; 10] = [
    "nulla", "egy", "kettő", "három", "négy", "öt", "hat", "hét", "nyolc", "kilenc",
];

/// The tens alone.
#[rustfmt::skip]
const TENS: [&str; 10] = [
    "", "tíz", "húsz", "harminc", "negyven", "ötven", "hatvan", "hetven", "nyolcvan", "kilencven",
];

/// The tens before ones.
#[rustfmt::skip]
const TENS_AND: [&str; 10] = [
    "", "tizen", "huszon", "harminc", "negyven", "ötven", "hatvan", "hetven", "nyolcvan", "kilencven",
];

#[rustfmt::skip]
const SCALES: [&str; 12] = [
    "", "ezer", "millió", "milliárd", "billió", "billiárd", "trillió", "trilliárd", "quadrillió",
    "quadrilliárd", "quintillió", "quintilliárd",
];

#[rustfmt::skip]
const ORDINAL_ENDINGS: &[(&str, &str)] = &[
    ("nulla", "nulladik"), ("egy", "egyedik"), ("kettő", "kettedik"), ("három", "harmadik"),
    ("négy", "negyedik"), ("öt", "ötödik"), ("hat", "hatodik"), ("hét", "hetedik"),
    ("nyolc", "nyolcadik"), ("kilenc", "kilencedik"), ("tíz", "tizedik"), ("húsz", "huszadik"),
    ("harminc", "harmincadik"), ("en", "enedik"), ("an", "anadik"), ("száz", "századik"),
    ("ezer", "ezredik"), ("illió", "illiomodik"), ("illiárd", "illiárdodik"),
];

/// What the decimals are parts of, by their number.
const FRACTIONS: [&str; 4] = ["", "tized", "század", "ezred"];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return ONES[0].to_owned();
    }
    let mut words = String::new();
    for (exponent, group) in groups(number, 1000) {
        // Beyond 2000 the groups are hyphenated.
        if !words.is_empty() && number > 2000 {
            words.push('-');
        }
        match exponent {
            1 if group == 1 => {}
            0 if number < 100 => words.push_str(&below_hundred(group as usize)),
            _ => words.push_str(&part(group as usize)),
        }
        words.push_str(SCALES[exponent]);
    }
    words
}

/// A group inside a longer number, where two alone is "két".
fn part(number: usize) -> String {
    let hundreds = match number / 100 {
        0 => String::new(),
        1 => "száz".to_owned(),
        2 => "kétszáz".to_owned(),
        hundreds => format!("{}száz", ONES[hundreds]),
    };
    match number % 100 {
        0 => hundreds,
        2 => hundreds + "két",
        rest => hundreds + &below_hundred(rest),
    }
}

fn below_hundred(number: usize) -> String {
    match (number / 10, number % 10) {
        (0, ones) => ONES[ones].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}{}", TENS_AND[tens], ONES[ones]),
    }
}

fn ordinal(number: u128) -> String {
    match number {
        1 => "első".to_owned(),
        2 => "második".to_owned(),
        _ => {
            let cardinal = cardinal(number);
            let cardinal = match cardinal.strip_suffix("két") {
                Some(stem) => format!("{stem}kettő"),
                None => cardinal,
            };
            replace_ending(&cardinal, ORDINAL_ENDINGS).unwrap_or(cardinal)
        }
    }
}

/// `12,34` as "twelve whole thirty-four hundredths".
fn decimal(whole: u128, decimals: &str) -> String {
    let whole = cardinal(whole);
    match (FRACTIONS.get(decimals.len()), decimals.parse()) {
        (Some(_), Err(_)) => whole,
        (Some(fraction), Ok(numerator)) => {
            format!("{whole} egész {} {fraction}", cardinal(numerator))
        }
        (None, _) => format!(
            "{whole} egész {}",
            digit_words(cardinal, decimals).join(" ")
        ),
    }
}

/// English ones, as the reference has no others.
fn currency_names(currency: Currency) -> CurrencyNames {
    match currency {
        Currency::Pound => [["pound sterling", "pounds sterling"], ["penny", "pence"]],
        Currency::Dollar => [["dollar", "dollars"], ["cent", "cents"]],
        Currency::Euro => [["euro", "euro"], ["cent", "cents"]],
    }
}
