//! Dutch.

use super::{Currency, Numerals, amount, groups, point, replace_ending};

pub const DUTCH: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "komma", whole, decimals)),
    money: |currency, units, hundredths| {
        // Currencies keep their singular after a number.
        let (unit, hundredth) = match currency {
            Currency::Pound => ("pond", "penny"),
            Currency::Dollar => ("dollar", "cent"),
            Currency::Euro => ("euro", "cent"),
        };
        Some(amount(
            cardinal,
            [[unit; 2], [hundredth; 2]],
            ", ",
            units,
            hundredths,
        ))
    },
};

#[rustfmt::skip]
const UP_TO_19: [&str; 20] = [
    "nul", "één", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen", "tien", "elf",
    "twaalf", "dertien", "veertien", "vijftien", "zestien", "zeventien", "achttien", "negentien",
];

#[rustfmt::skip]
const TENS: [&str; 10] = [
    "", "", "twintig", "dertig", "veertig", "vijftig", "zestig", "zeventig", "tachtig", "negentig",
];

#[rustfmt::skip]
const SCALES: [&str; 12] = [
    "", "duizend", "miljoen", "miljard", "biljoen", "biljard", "triljoen", "triljard", "quadriljoen",
    "quadriljard", "quintiljoen", "quintiljard",
];

#[rustfmt::skip]
const ORDINAL_ENDINGS: &[(&str, &str)] = &[
    ("nul", "nulde"), ("één", "eerste"), ("twee", "tweede"), ("drie", "derde"), ("acht", "achtste"),
    ("ig", "igste"), ("erd", "erdste"), ("end", "endste"), ("joen", "joenste"), ("rd", "rdste"),
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return UP_TO_19[0].to_owned();
    }
    let mut words: Vec<String> = groups(number / 1_000_000, 1000)
        .into_iter()
        .map(|(exponent, group)| match group {
            1 => format!("een {}", SCALES[exponent + 2]),
            _ => format!(
                "{} {}",
                below_thousand(group as usize),
                SCALES[exponent + 2]
            ),
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
        1 => "duizend".to_owned(),
        thousands => below_thousand(thousands) + "duizend",
    };
    match number % 1000 {
        0 => thousands,
        rest => thousands + &below_thousand(rest),
    }
}

fn below_thousand(number: usize) -> String {
    let hundreds = match number / 100 {
        0 => String::new(),
        1 => "honderd".to_owned(),
        hundreds => format!("{}honderd", UP_TO_19[hundreds]),
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
        (tens, 1) => format!("eenen{}", TENS[tens]),
        // The diaeresis keeps the vowels apart: "tweeëntwintig".
        (tens, ones @ (2 | 3)) => format!("{}ën{}", UP_TO_19[ones], TENS[tens]),
        (tens, ones) => format!("{}en{}", UP_TO_19[ones], TENS[tens]),
    }
}

fn ordinal(number: u128) -> String {
    let cardinal = cardinal(number);
    replace_ending(&cardinal, ORDINAL_ENDINGS).unwrap_or_else(|| cardinal + "de")
}
