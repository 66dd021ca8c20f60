//! Turkish.

use super::{Numerals, groups, replace_ending};

pub const TURKISH: Numerals = Numerals {
    limit: 10_u128.pow(21),
    cardinal,
    ordinal,
    decimal: None,
    money: |_, _, _| None,
};

const ONES: [&str; 10] = [
    "", "bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz",
];

const TENS: [&str; 10] = [
    "", "on", "yirmi", "otuz", "kırk", "elli", "altmış", "yetmiş", "seksen", "doksan",
];

const SCALES: [&str; 7] = [
    "",
    "bin",
    "milyon",
    "milyar",
    "trilyon",
    "katrilyon",
    "kentilyon",
];

/// The suffix follows the last vowel.
#[rustfmt::skip]
const ORDINAL_ENDINGS: &[(&str, &str)] = &[
    ("bir", "birinci"), ("iki", "ikinci"), ("üç", "üçüncü"), ("dört", "dördüncü"), ("beş", "beşinci"),
    ("altı", "altıncı"), ("yedi", "yedinci"), ("sekiz", "sekizinci"), ("dokuz", "dokuzuncu"),
    ("yirmi", "yirminci"), ("otuz", "otuzuncu"), ("kırk", "kırkıncı"), ("elli", "ellinci"),
    ("altmış", "altmışıncı"), ("yetmiş", "yetmişinci"), ("seksen", "sekseninci"),
    ("doksan", "doksanıncı"), ("yüz", "yüzüncü"), ("bin", "bininci"), ("on", "onuncu"),
    ("milyar", "milyarıncı"), ("sıfır", "sıfırıncı"),
];

fn cardinal(number: u128) -> String {
    if number == 0 {
        return "sıfır".to_owned();
    }
    groups(number, 1000)
        .into_iter()
        .map(|(exponent, group)| match (exponent, group) {
            (1, 1) => SCALES[1].to_owned(),
            _ => below_thousand(group as usize) + SCALES[exponent],
        })
        .collect()
}

fn below_thousand(number: usize) -> String {
    let hundreds = match number / 100 {
        0 => String::new(),
        1 => "yüz".to_owned(),
        hundreds => format!("{}yüz", ONES[hundreds]),
    };
    format!("{hundreds}{}{}", TENS[number / 10 % 10], ONES[number % 10])
}

fn ordinal(number: u128) -> String {
    let cardinal = cardinal(number);
    replace_ending(&cardinal, ORDINAL_ENDINGS).unwrap_or(cardinal)
}
