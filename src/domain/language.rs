//! Language codes in their canonical form.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::language_names::NAMES;

/// A language in canonical form: two or three lower-case ASCII letters, no region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language([u8; 3]);

impl Language {
    /// English, through which translations without a direct pair pass.
    pub const ENGLISH: Self = Self([b'e', b'n', 0]);
    /// French, the default language of the gateway.
    pub const FRENCH: Self = Self([b'f', b'r', 0]);

    /// Reads any spelling a peer may send (`pt-BR`, ` FRA `, `iw`) as its canonical code.
    ///
    /// Keeps what precedes the first `-` or `_`, lower-cased; withdrawn codes (`iw`, `in`) and
    /// ISO 639-2/3 codes become their ISO 639-1 form. Unknown two-letter codes stay; an unknown
    /// three-letter code that the gateway does not list, `auto` and anything else is `None`.
    pub fn parse(code: &str) -> Option<Self> {
        let base = code.trim().split(['-', '_']).next().unwrap_or_default();
        if !(2..=3).contains(&base.len()) || !base.bytes().all(|b| b.is_ascii_alphabetic()) {
            return None;
        }
        let lower = base.to_ascii_lowercase();
        let canonical = match lower.as_str() {
            "iw" => "he",
            "in" => "id",
            two if two.len() == 2 => two,
            three if GATEWAY_THREE_LETTER.contains(&three) => three,
            three => ISO_639_3_TO_1
                .iter()
                .find_map(|(long, short)| (*long == three).then_some(*short))?,
        };
        Some(Self::from_ascii(canonical))
    }

    /// The languages that the gateway lists, in its order.
    pub fn listed() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(code, ..)| Self::from_ascii(code))
    }

    /// The name in English; the code where the language is not [listed](Self::listed).
    pub fn english_name(&self) -> &str {
        self.names().map_or(self.as_str(), |(english, _)| english)
    }

    /// The name in the language itself; the code where it is not [listed](Self::listed).
    pub fn native_name(&self) -> &str {
        self.names().map_or(self.as_str(), |(_, native)| native)
    }

    fn names(&self) -> Option<(&'static str, &'static str)> {
        NAMES
            .iter()
            .find(|(code, ..)| *code == self.as_str())
            .map(|(_, english, native)| (*english, *native))
    }

    fn from_ascii(code: &str) -> Self {
        let mut bytes = [0; 3];
        for (slot, byte) in bytes.iter_mut().zip(code.bytes()) {
            *slot = byte;
        }
        Self(bytes)
    }

    /// The code, such as `fr` or `bas`.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        // Only ASCII letters are ever stored.
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Language {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code)
            .ok_or_else(|| serde::de::Error::custom(format!("{code:?} is not a language code")))
    }
}

/// Three-letter codes that the gateway uses as they are.
const GATEWAY_THREE_LETTER: &[&str] = &[
    "bas", "ksf", "nnh", "dua", "ewo", "bum", "byv", "fan", "fil",
];

/// ISO 639-2 (B and T) and 639-3 codes of the languages that have an ISO 639-1 code in use here.
#[rustfmt::skip]
const ISO_639_3_TO_1: &[(&str, &str)] = &[
    ("eng", "en"), ("fra", "fr"), ("fre", "fr"), ("spa", "es"), ("deu", "de"), ("ger", "de"),
    ("ita", "it"), ("por", "pt"), ("nld", "nl"), ("dut", "nl"), ("pol", "pl"), ("rus", "ru"),
    ("ukr", "uk"), ("ces", "cs"), ("cze", "cs"), ("ron", "ro"), ("rum", "ro"), ("hun", "hu"),
    ("bul", "bg"), ("hrv", "hr"), ("ell", "el"), ("gre", "el"), ("tur", "tr"), ("swe", "sv"),
    ("dan", "da"), ("fin", "fi"), ("nor", "no"), ("nob", "no"), ("lit", "lt"), ("hye", "hy"),
    ("arm", "hy"), ("ara", "ar"), ("heb", "he"), ("fas", "fa"), ("per", "fa"), ("hin", "hi"),
    ("ben", "bn"), ("urd", "ur"), ("tha", "th"), ("vie", "vi"), ("ind", "id"), ("msa", "ms"),
    ("may", "ms"), ("jpn", "ja"), ("kor", "ko"), ("zho", "zh"), ("chi", "zh"), ("cmn", "zh"),
    ("amh", "am"), ("swa", "sw"), ("swh", "sw"), ("yor", "yo"), ("hau", "ha"), ("kin", "rw"),
    ("run", "rn"), ("sna", "sn"), ("lug", "lg"), ("orm", "om"), ("gaz", "om"), ("tir", "ti"),
    ("nya", "ny"), ("ewe", "ee"), ("mlg", "mg"), ("plt", "mg"), ("som", "so"), ("lin", "ln"),
    ("ibo", "ig"), ("zul", "zu"), ("xho", "xh"), ("afr", "af"), ("wol", "wo"), ("slk", "sk"),
    ("slo", "sk"), ("slv", "sl"), ("srp", "sr"), ("cat", "ca"), ("est", "et"), ("lav", "lv"),
    ("aze", "az"), ("kaz", "kk"), ("uzb", "uz"), ("kat", "ka"), ("geo", "ka"), ("tam", "ta"),
    ("nep", "ne"), ("mya", "my"), ("bur", "my"), ("khm", "km"), ("lao", "lo"), ("tgl", "tl"),
    ("ful", "ff"), ("twi", "tw"), ("aka", "ak"), ("bam", "bm"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(code: &str) -> Option<String> {
        Language::parse(code).map(|language| language.to_string())
    }

    #[test]
    fn spellings_become_one_code() {
        for (code, expected) in [
            ("fr", "fr"),
            (" PT-br ", "pt"),
            ("zh_Hans", "zh"),
            ("iw", "he"),
            ("in", "id"),
            ("FRA", "fr"),
            ("fre", "fr"),
            ("swe", "sv"),
            ("bas", "bas"),
            ("xx", "xx"),
        ] {
            assert_eq!(canonical(code).as_deref(), Some(expected), "{code}");
        }
    }

    #[test]
    fn every_listed_language_is_its_own_code_and_has_names() {
        let mut seen = std::collections::BTreeSet::new();
        for language in Language::listed() {
            assert_eq!(Language::parse(language.as_str()), Some(language));
            assert!(seen.insert(language), "{language} is listed twice");
            assert_ne!(language.english_name(), language.as_str());
            assert!(!language.native_name().is_empty());
        }
        assert_eq!(seen.len(), 83);
        assert_eq!(Language::FRENCH.native_name(), "Français");
        assert_eq!(Language::parse("xx").unwrap().english_name(), "xx");
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for code in [
            "", "a", "auto", "qqq", "f1", "f.", "$fr", "é", "-fr", "frança",
        ] {
            assert_eq!(canonical(code), None, "{code}");
        }
    }
}
