//! English.

use super::{Currency, CurrencyNames, Numerals, amount, groups, point, replace_ending};

pub const ENGLISH: Numerals = Numerals {
    limit: 10_u128.pow(36),
    cardinal,
    ordinal,
    decimal: Some(|whole, decimals| point(cardinal, "point", whole, decimals)),
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
const UP_TO_19: [&str; 20] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
];

const TENS: [&str; 10] = [
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];

#[rustfmt::skip]
const SCALES: [&str; 12] = [
    "", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion",
    "septillion", "octillion", "nonillion", "decillion",
];

/// Irregular ordinals, by the ending of the cardinal.
#[rustfmt::skip]
const ORDINAL_ENDINGS: &[(&str, &str)] = &[
    ("one", "first"), ("two", "second"), ("three", "third"), ("five", "fifth"), ("eight", "eighth"),
    ("nine", "ninth"), ("twelve", "twelfth"), ("y", "ieth"),
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return UP_TO_19[0].to_owned();
    }
    let mut words = String::new();
    for (exponent, group) in groups(number, 1000) {
        if !words.is_empty() {
            words.push_str(if exponent == 0 && group < 100 {
                " and "
            } else {
                ", "
            });
        }
        words.push_str(&below_thousand(group as usize));
        if exponent > 0 {
            words.push(' ');
            words.push_str(SCALES[exponent]);
        }
    }
    words
}

fn below_thousand(number: usize) -> String {
    match (number / 100, number % 100) {
        (0, rest) => below_hundred(rest),
        (hundreds, 0) => format!("{} hundred", UP_TO_19[hundreds]),
        (hundreds, rest) => format!("{} hundred and {}", UP_TO_19[hundreds], below_hundred(rest)),
    }
}

fn below_hundred(number: usize) -> String {
    match (number / 10, number % 10) {
        (0 | 1, _) => UP_TO_19[number].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], UP_TO_19[ones]),
    }
}

fn ordinal(number: u128) -> String {
    let cardinal = cardinal(number);
    replace_ending(&cardinal, ORDINAL_ENDINGS).unwrap_or_else(|| cardinal + "th")
}

fn currency_names(currency: Currency) -> CurrencyNames {
    let cents = ["cent", "cents"];
    match currency {
        Currency::Pound => [["pound sterling", "pounds sterling"], ["penny", "pence"]],
        Currency::Dollar => [["dollar", "dollars"], cents],
        Currency::Euro => [["euro", "euro"], cents],
    }
}
