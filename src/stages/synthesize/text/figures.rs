//! Figures in a text: thousands, amounts of money, decimals, ordinal and plain numbers.
//!
//! The steps come in the reference's order, and each works on what the one before has left.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::numbers::{Currency, Numerals};
use super::rules::{LanguageRules, OrdinalDot, ThousandsSeparator};

static COMMA_GROUPS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d{1,3}(,\d{3})*(\.\d+)?\b"));
/// Any character may stand between the groups, but only dots are removed.
static DOT_GROUPS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d{1,3}(.\d{3})*(,\d+)?\b"));
static DECIMAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]+[.,][0-9]+"));

/// In this order: the first that the language cannot read ends the search for amounts.
static AMOUNTS: LazyLock<[(Currency, Regex); 3]> = LazyLock::new(|| {
    [
        (Currency::Pound, pattern(r"£[0-9.,]*[0-9]+|[0-9.,]*[0-9]+£")),
        (
            Currency::Dollar,
            pattern(r"\$[0-9.,]*[0-9]+|[0-9.,]*[0-9]+\$"),
        ),
        (Currency::Euro, pattern(r"[0-9.,]*[0-9]+€|€[0-9.,]*[0-9]+")),
    ]
});

#[expect(
    clippy::expect_used,
    reason = "the patterns are constants, all compiled by the tests"
)]
fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a valid pattern")
}

/// Puts words in place of all ASCII digits, where the language has rules for them.
pub(super) fn read_figures(text: String, rules: &LanguageRules) -> String {
    let Some(numerals) = rules.numerals else {
        return text;
    };
    let text = remove_thousands_separators(&text, rules.thousands);
    let text = read_amounts(text, numerals);
    let text = read_decimals(&text, numerals);
    read_integers(&text, rules, numerals)
}

fn remove_thousands_separators(text: &str, separator: ThousandsSeparator) -> String {
    let (number, separator) = match separator {
        ThousandsSeparator::Comma => (&COMMA_GROUPS, ","),
        ThousandsSeparator::Dot => (&DOT_GROUPS, "."),
    };
    number
        .replace_all(text, |found: &Captures| found[0].replace(separator, ""))
        .into_owned()
}

fn read_amounts(mut text: String, numerals: &Numerals) -> String {
    for (currency, amount) in AMOUNTS.iter() {
        match read_currency(&text, *currency, amount, numerals) {
            Some(read) => text = read,
            None => break,
        }
    }
    text
}

/// `None` as soon as one amount cannot be read.
fn read_currency(
    text: &str,
    currency: Currency,
    amount: &Regex,
    numerals: &Numerals,
) -> Option<String> {
    let mut read = String::with_capacity(text.len());
    let mut end = 0;
    for found in amount.find_iter(text) {
        let (units, hundredths) = parse_amount(found.as_str(), numerals.limit)?;
        read.push_str(&text[end..found.start()]);
        read.push_str(&(numerals.money)(currency, units, hundredths)?);
        end = found.end();
    }
    read.push_str(&text[end..]);
    Some(read)
}

/// Units, and hundredths unless the amount is whole.
fn parse_amount(amount: &str, limit: u128) -> Option<(u128, Option<u128>)> {
    let number: String = amount
        .chars()
        .filter(|character| character.is_ascii_digit() || matches!(character, '.' | ','))
        .map(|character| if character == ',' { '.' } else { character })
        .collect();
    // 1.234.56 is no number.
    let value: f64 = number.parse().ok()?;
    let units = value.trunc() as u128;
    if units >= limit - 1 {
        return None;
    }
    match (value.fract() * 100.0).round() as u128 {
        _ if value.fract() == 0.0 => Some((units, None)),
        100 => Some((units + 1, Some(0))),
        hundredths => Some((units, Some(hundredths))),
    }
}

fn read_decimals(text: &str, numerals: &Numerals) -> String {
    let Some(decimal) = numerals.decimal else {
        return text.to_owned();
    };
    let read = |found: &Captures| {
        // Through floating point, as in the reference: it drops final zeros and what is too fine.
        let value: f64 = found[0].replace(',', ".").parse().unwrap_or(f64::INFINITY);
        let digits = value.to_string();
        let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
        match whole.parse() {
            Ok(whole) if whole < numerals.limit => decimal(whole, decimals),
            // The digits on both sides are read on their own.
            _ => found[0].to_owned(),
        }
    };
    DECIMAL.replace_all(text, read).into_owned()
}

/// Ordinals where a suffix follows, plain numbers elsewhere.
fn read_integers(text: &str, rules: &LanguageRules, numerals: &Numerals) -> String {
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let end = number
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(number.len());
        let (digits, after) = number.split_at(end);
        read.push_str(before);
        rest = match after_ordinal_suffix(after, rules) {
            Some(after) => {
                read.push_str(&numerals.read_ordinal(digits));
                after
            }
            None => {
                read.push_str(&numerals.read_cardinal(digits));
                after
            }
        };
    }
    read.push_str(rest);
    read
}

/// What follows the suffix at the start of `text` that makes an ordinal of the digits before it.
fn after_ordinal_suffix<'a>(text: &'a str, rules: &LanguageRules) -> Option<&'a str> {
    let by_suffix = rules
        .ordinal_suffixes
        .iter()
        .find_map(|suffix| text.strip_prefix(suffix));
    let by_dot = || {
        text.strip_prefix('.')
            .filter(|after| match rules.ordinal_dot {
                OrdinalDot::Never => false,
                OrdinalDot::BeforeSpace => after.starts_with(char::is_whitespace),
                OrdinalDot::BeforeSpaceOrEnd => {
                    after.is_empty() || after.starts_with(char::is_whitespace)
                }
            })
    };
    by_suffix.or_else(by_dot)
}
