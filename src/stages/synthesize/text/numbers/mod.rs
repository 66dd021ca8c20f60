//! Numbers in words, as num2words 0.5.14 reads them: XTTS was trained on texts prepared with it.
//!
//! The words, joints and irregular forms are those of that package, oddities included ("tre" with
//! and without its accent in Italian, English currencies in Hungarian). Where it reads another
//! number than the one written, or none at all, the correct form stands here instead:
//! - whole amounts in Portuguese, where it loses all after the last "e" (21 € as 20);
//! - long numbers in Turkish, where it loses a "bir" or a whole group, and all that pass through
//!   floating point there and in decimals;
//! - ordinals in Czech (it has none), of most round thousands in Polish, of numbers with a round
//!   group in the middle in Russian (20 001), of 102 and of millions in Hungarian, of round hundreds and beyond
//!   999 in Korean;
//! - Hungarian decimals beyond three places;
//! - amounts in Arabic (riyals whatever the sign says).
//!
//! Only what a text can hold is covered: digits without a sign. `-5` is a hyphen and a five.

mod ar;
mod cs;
mod de;
mod en;
mod es;
mod fr;
mod hu;
mod it;
mod ko;
mod nl;
mod pl;
mod pt;
mod ru;
mod slavic;
mod tr;

pub(super) use ar::ARABIC;
pub(super) use cs::CZECH;
pub(super) use de::GERMAN;
pub(super) use en::ENGLISH;
pub(super) use es::SPANISH;
pub(super) use fr::FRENCH;
pub(super) use hu::HUNGARIAN;
pub(super) use it::ITALIAN;
pub(super) use ko::KOREAN;
pub(super) use nl::DUTCH;
pub(super) use pl::POLISH;
pub(super) use pt::PORTUGUESE;
pub(super) use ru::RUSSIAN;
pub(super) use tr::TURKISH;

/// A currency that a text may name by its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Currency {
    Pound,
    Dollar,
    Euro,
}

/// How a language reads numbers.
///
/// No function may be given a whole number of `limit` or more: there are no words for it.
pub(super) struct Numerals {
    /// Numbers from here on are read digit by digit.
    pub limit: u128,
    pub cardinal: fn(u128) -> String,
    /// In the masculine or common form: the text does not tell the gender.
    pub ordinal: fn(u128) -> String,
    /// A number written with decimals: the whole part and the digits after the point, without
    /// trailing zeros (so none for `10,00`). `None`: both numbers stand alone.
    pub decimal: Option<fn(u128, &str) -> String>,
    /// An amount: units, and hundredths unless it was a whole amount. `None`: the reference knows
    /// no words for the currency.
    pub money: fn(Currency, u128, Option<u128>) -> Option<String>,
}

impl Numerals {
    /// Reads a run of ASCII digits.
    pub fn read_cardinal(&self, digits: &str) -> String {
        match self.parse(digits) {
            Some(number) => (self.cardinal)(number),
            None => self.read_digits(digits),
        }
    }

    /// Reads a run of ASCII digits as an ordinal number.
    pub fn read_ordinal(&self, digits: &str) -> String {
        match self.parse(digits) {
            Some(number) => (self.ordinal)(number),
            None => self.read_digits(digits),
        }
    }

    /// One word per digit, which also bounds what a very long number becomes.
    fn read_digits(&self, digits: &str) -> String {
        digit_words(self.cardinal, digits).join(" ")
    }

    fn parse(&self, digits: &str) -> Option<u128> {
        digits.parse().ok().filter(|number| *number < self.limit)
    }
}

/// Splits a number in groups of `base`, highest first, empty ones left out: `(exponent, group)`.
fn groups(number: u128, base: u128) -> Vec<(usize, u128)> {
    let mut groups = Vec::new();
    let mut rest = number;
    let mut exponent = 0;
    while rest > 0 {
        if !rest.is_multiple_of(base) {
            groups.push((exponent, rest % base));
        }
        rest /= base;
        exponent += 1;
    }
    groups.reverse();
    groups
}

fn digit_words(cardinal: fn(u128) -> String, digits: &str) -> Vec<String> {
    digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|digit| cardinal(u128::from(digit - b'0')))
        .collect()
}

/// `three point one four`: a whole number has no decimals to read.
fn point(cardinal: fn(u128) -> String, point_word: &str, whole: u128, decimals: &str) -> String {
    let whole = cardinal(whole);
    if decimals.is_empty() {
        return whole;
    }
    format!(
        "{whole} {point_word} {}",
        digit_words(cardinal, decimals).join(" ")
    )
}

/// The names of a currency's unit and of its hundredth, each singular and plural.
type CurrencyNames = [[&'static str; 2]; 2];

/// `one euro, fifteen cents`, where all numbers are read by `cardinal`.
fn amount(
    cardinal: fn(u128) -> String,
    [unit, hundredth]: CurrencyNames,
    joiner: &str,
    units: u128,
    hundredths: Option<u128>,
) -> String {
    let units = counted(cardinal, unit, units);
    join_amount(
        joiner,
        units,
        hundredths.map(|number| counted(cardinal, hundredth, number)),
    )
}

/// `fifteen cents`: the plural follows all numbers but one, zero included.
fn counted(cardinal: fn(u128) -> String, [one, other]: [&str; 2], number: u128) -> String {
    format!(
        "{} {}",
        cardinal(number),
        if number == 1 { one } else { other }
    )
}

fn join_amount(joiner: &str, units: String, hundredths: Option<String>) -> String {
    match hundredths {
        Some(hundredths) => format!("{units}{joiner}{hundredths}"),
        None => units,
    }
}

/// Replaces the first of `endings` that `word` ends with.
fn replace_ending(word: &str, endings: &[(&str, &str)]) -> Option<String> {
    endings
        .iter()
        .find_map(|(from, to)| word.strip_suffix(from).map(|stem| format!("{stem}{to}")))
}

#[cfg(test)]
mod tests;
