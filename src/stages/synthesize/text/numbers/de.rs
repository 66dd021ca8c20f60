//! German.

use super::{Currency, CurrencyNames, Numerals, amount, groups, point, replace_ending};

pub const GERMAN: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "Komma", whole, decimals)),
    money: |currency, units, hundredths| {
        Some(amount(
            before_noun,
            currency_names(currency),
            " und ",
            units,
            hundredths,
        ))
    },
};

#[rustfmt::skip]
const UP_TO_19: [&str; 20] = [
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf",
    "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
];

#[rustfmt::skip]
const TENS: [&str; 10] = [
    "", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
];

/// Singular and plural.
#[rustfmt::skip]
const SCALES: [(&str, &str); 12] = [
    ("", ""), ("", ""), ("Million", "Millionen"), ("Milliarde", "Milliarden"),
    ("Billion", "Billionen"), ("Billiarde", "Billiarden"), ("Trillion", "Trillionen"),
    ("Trilliarde", "Trilliarden"), ("Quadrillion", "Quadrillionen"),
    ("Quadrilliarde", "Quadrilliarden"), ("Quintillion", "Quintillionen"),
    ("Quintilliarde", "Quintilliarden"),
];

#[rustfmt::skip]
const ORDINAL_ENDINGS: &[(&str, &str)] = &[
    ("eins", "erste"), ("drei", "dritte"), ("acht", "achte"), ("sieben", "siebte"), ("ig", "igste"),
    ("ert", "ertste"), ("end", "endste"), ("ion", "ionste"), ("nen", "nste"), ("rde", "rdste"),
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return UP_TO_19[0].to_owned();
    }
    let mut words: Vec<String> = groups(number / 1_000_000, 1000)
        .into_iter()
        .map(|(exponent, group)| {
            let (singular, plural) = SCALES[exponent + 2];
            match group {
                1 => format!("eine {singular}"),
                _ => format!("{} {plural}", below_thousand(group as usize)),
            }
        })
        .collect();
    let rest = (number % 1_000_000) as usize;
    if rest > 0 {
        words.push(below_million(rest));
    }
    words.join(" ")
}

fn below_million(number: usize) -> String {
    let thousands = match number / 1000 {
        0 => String::new(),
        1 => "eintausend".to_owned(),
        thousands => below_thousand(thousands) + "tausend",
    };
    match number % 1000 {
        0 => thousands,
        rest => thousands + &below_thousand(rest),
    }
}

fn below_thousand(number: usize) -> String {
    let hundreds = match number / 100 {
        0 => String::new(),
        1 => "einhundert".to_owned(),
        hundreds => format!("{}hundert", UP_TO_19[hundreds]),
    };
    match number % 100 {
        0 => hundreds,
        rest => hundreds + &below_hundred(rest),
    }
}

fn below_hundred(number: usize) -> String {
    match (number / 10, number % 10) {
        (0 | 1, _) => UP_TO_19[number].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, 1) => format!("einund{}", TENS[tens]),
        (tens, ones) => format!("{}und{}", UP_TO_19[ones], TENS[tens]),
    }
}

/// Lower case, as ordinals are adjectives, and "hundertste" without its "ein".
fn ordinal(number: u128) -> String {
    let cardinal = cardinal(number).to_lowercase();
    let ordinal = replace_ending(&cardinal, ORDINAL_ENDINGS).unwrap_or_else(|| cardinal + "te");
    if matches!(number, 100 | 1000) {
        return ordinal.replacen("ein", "", 1);
    }
    // One word with its scale: "millionste", "zweimillionste".
    let is_scale = ordinal.ends_with("illionste") || ordinal.ends_with("illiardste");
    match ordinal.rsplit_once(' ').filter(|_| is_scale) {
        Some((count, scale)) => format!("{}{scale}", count.strip_suffix("eine").unwrap_or(count)),
        None => ordinal,
    }
}

/// "ein Euro", not "eins Euro".
fn before_noun(number: u128) -> String {
    let cardinal = cardinal(number);
    match cardinal.strip_suffix("eins") {
        Some(stem) => format!("{stem}ein"),
        None => cardinal,
    }
}

fn currency_names(currency: Currency) -> CurrencyNames {
    let cents = ["Cent", "Cent"];
    match currency {
        Currency::Pound => [["Pfund", "Pfund"], ["Penny", "Pence"]],
        Currency::Dollar => [["Dollar", "Dollar"], cents],
        Currency::Euro => [["Euro", "Euro"], cents],
    }
}
