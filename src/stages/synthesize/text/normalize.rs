//! A text in the words that are spoken.

use crate::domain::Language;

use super::figures::read_figures;
use super::rules::{AbbreviationEnd, LanguageRules, SYMBOLS, rules};
use super::{Readings, TextError, chinese, hangul};

/// Spells a text out: lower case, no double quotes, numbers, amounts, short forms and signs as
/// words, single spaces, and Latin letters for Korean, Chinese and Japanese.
///
/// Words of a language may be capitalized ("Komma"), as the reference's are. A language that XTTS
/// does not speak gets lower case and single spaces only.
///
/// # Errors
/// The language needs a dictionary which is not there, or cannot be read any more.
pub fn normalize(text: &str, language: Language, readings: &Readings) -> Result<String, TextError> {
    let text = text.trim().to_lowercase();
    match language.as_str() {
        "ja" => readings.read_japanese(&text, language),
        "zh" => readings.read_chinese(&spell_out_chinese(&text), language),
        "ko" => Ok(hangul::romanize(&spell_out(&text, language))),
        _ => Ok(spell_out(&text, language)),
    }
}

/// All of it but the script.
fn spell_out(text: &str, language: Language) -> String {
    let Some(rules) = rules(language.as_str()) else {
        return collapse_whitespace(text);
    };
    let text = read_figures(text.replace('"', ""), rules);
    let text = expand_abbreviations(&text, rules);
    collapse_whitespace(&expand_symbols(&text, &rules.symbols))
}

/// The same for Chinese, whose figures have rules of their own.
pub(super) fn spell_out_chinese(text: &str) -> String {
    let text = chinese::read_figures(&text.replace('"', ""));
    collapse_whitespace(&expand_symbols(&text, &chinese::SYMBOLS))
}

fn expand_abbreviations(text: &str, rules: &LanguageRules) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside_word = false;
    while let Some(character) = rest.chars().next() {
        match abbreviation_at(rest, rules).filter(|_| !inside_word) {
            Some((length, words)) => {
                expanded.push_str(words);
                rest = &rest[length..];
                inside_word = true;
            }
            None => {
                expanded.push(character);
                rest = &rest[character.len_utf8()..];
                inside_word = is_word_character(character);
            }
        }
    }
    expanded
}

/// The short form at the start of `text`: its length in bytes, and what it stands for.
fn abbreviation_at(text: &str, rules: &LanguageRules) -> Option<(usize, &'static str)> {
    rules.abbreviations.iter().find_map(|(short, words)| {
        let after = text.strip_prefix(short)?;
        match rules.abbreviation_end {
            AbbreviationEnd::Dot => after.starts_with('.').then_some((short.len() + 1, *words)),
            AbbreviationEnd::WordEnd => {
                (!after.starts_with(is_word_character)).then_some((short.len(), *words))
            }
        }
    })
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn expand_symbols(text: &str, words: &[&str; SYMBOLS.len()]) -> String {
    let mut expanded = String::with_capacity(text.len());
    for character in text.chars() {
        let symbol = SYMBOLS
            .iter()
            .zip(words)
            .find(|(symbol, _)| **symbol == character);
        match symbol {
            Some((_, word)) => expanded.extend([" ", word, " "]),
            None => expanded.push(character),
        }
    }
    expanded
}

fn collapse_whitespace(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(text: &str, language: &str) -> String {
        let language = Language::parse(language).unwrap();
        normalize(text, language, &Readings::default()).unwrap()
    }

    /// One line a language that meets each of its rules; the same texts went through coqui-tts 0.28.
    #[test]
    fn texts_are_spelled_out() {
        let table = include_str!("../../../../tests/fixtures/xtts-text/cases.tsv");
        for line in table.lines() {
            let [language, text, spoken] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("three columns expected: {line}");
            };
            assert_eq!(normalized(text, language), spoken, "{language}");
        }
    }

    #[test]
    fn where_the_reference_fails_the_text_is_read() {
        for (language, text, spoken) in [
            (
                "cs",
                "Pan č. 3. přijde 2. května v 19:45.",
                "pan č. třetí přijde druhý května v devatenáct:čtyřicet pět.",
            ),
            ("hi", "कुल 25 % और 3 दिन", "कुल 25 प्रतिशत और 3 दिन"),
            ("pt", "Pago 21€ hoje.", "pago vinte e um euros hoje."),
            ("xx", "  Á  B\n42 ", "á b 42"),
        ] {
            assert_eq!(normalized(text, language), spoken);
        }
    }

    #[test]
    fn a_very_long_number_becomes_one_word_a_digit() {
        let digits = "9".repeat(10_000);
        for text in [
            digits.clone(),
            format!("{digits}.5"),
            format!("${digits}"),
            format!("1.{digits}"),
        ] {
            let words = normalized(&text, "en").split_whitespace().count();
            assert!(words <= digits.len() + 10, "{words}");
        }
    }
}
