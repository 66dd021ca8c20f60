//! French.

use super::{Currency, CurrencyNames, Numerals, amount, groups, point, replace_ending};

pub const FRENCH: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "virgule", whole, decimals)),
    money: |currency, units, hundredths| {
        Some(amount(
            cardinal,
            currency_names(currency),
            " et ",
            units,
            hundredths,
        ))
    },
};

#[rustfmt::skip]
const UP_TO_19: [&str; 20] = [
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze",
    "douze", "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
];

const TENS: [&str; 7] = [
    "",
    "",
    "vingt",
    "trente",
    "quarante",
    "cinquante",
    "soixante",
];

#[rustfmt::skip]
const SCALES: [&str; 12] = [
    "", "mille", "million", "milliard", "billion", "billiard", "trillion", "trilliard", "quadrillion",
    "quadrilliard", "quintillion", "quintilliard",
];

const ORDINAL_ENDINGS: &[(&str, &str)] =
    &[("cinq", "cinquième"), ("neuf", "neuvième"), ("e", "ième")];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return UP_TO_19[0].to_owned();
    }
    let read_group = |(exponent, group): (usize, u128)| {
        let words = below_thousand(group as usize);
        match (exponent, group) {
            (0, _) => words,
            (1, 1) => "mille".to_owned(),
            // "cents" and "vingts" lose their s before "mille", which is no noun.
            (1, _) => match words.strip_suffix('s') {
                Some(stem) if stem.ends_with("cent") || stem.ends_with("vingt") => {
                    format!("{stem} mille")
                }
                _ => format!("{words} mille"),
            },
            (_, 1) => format!("un {}", SCALES[exponent]),
            _ => format!("{words} {}s", SCALES[exponent]),
        }
    };
    groups(number, 1000)
        .into_iter()
        .map(read_group)
        .collect::<Vec<_>>()
        .join(" ")
}

fn below_thousand(number: usize) -> String {
    match (number / 100, number % 100) {
        (0, rest) => below_hundred(rest),
        (1, 0) => "cent".to_owned(),
        (1, rest) => format!("cent {}", below_hundred(rest)),
        (hundreds, 0) => format!("{} cents", UP_TO_19[hundreds]),
        (hundreds, rest) => format!("{} cent {}", UP_TO_19[hundreds], below_hundred(rest)),
    }
}

fn below_hundred(number: usize) -> String {
    match number {
        0..=19 => UP_TO_19[number].to_owned(),
        80 => "quatre-vingts".to_owned(),
        81..=99 => format!("quatre-vingt-{}", UP_TO_19[number - 80]),
        _ => {
            // Seventy is counted on from sixty.
            let tens = (number / 10).min(6);
            match number - tens * 10 {
                0 => TENS[tens].to_owned(),
                rest @ (1 | 11) => format!("{} et {}", TENS[tens], UP_TO_19[rest]),
                rest => format!("{}-{}", TENS[tens], UP_TO_19[rest]),
            }
        }
    }
}

fn ordinal(number: u128) -> String {
    if number == 1 {
        return "premier".to_owned();
    }
    let cardinal = cardinal(number);
    replace_ending(&cardinal, ORDINAL_ENDINGS).unwrap_or_else(|| cardinal + "ième")
}

fn currency_names(currency: Currency) -> CurrencyNames {
    match currency {
        Currency::Pound => [["livre", "livres"], ["penny", "pence"]],
        Currency::Dollar => [["dollar", "dollars"], ["cent", "cents"]],
        Currency::Euro => [["euro", "euros"], ["centime", "centimes"]],
    }
}
