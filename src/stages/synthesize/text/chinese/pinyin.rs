//! Chinese characters in Latin letters: XTTS was trained on pinyin with tone digits.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use unicode_normalization::UnicodeNormalization;

use super::super::TextError;

/// Syllables in the order in which they were met first.
#[derive(Default)]
struct Syllables {
    texts: Vec<Box<str>>,
    ids: HashMap<Box<str>, u16>,
}

impl Syllables {
    /// The id of a syllable with tone marks; `None` when there are absurdly many.
    fn id(&mut self, marked: &str) -> Option<u16> {
        if let Some(id) = self.ids.get(marked) {
            return Some(*id);
        }
        let id = u16::try_from(self.texts.len()).ok()?;
        self.texts.push(with_tone_digit(marked).into());
        self.ids.insert(marked.into(), id);
        Some(id)
    }
}

/// How characters are read, and words whose characters are read otherwise.
///
/// The files are those of the pypinyin package: `pinyin_dict.json` maps the number of a character to its
/// readings, the usual one first, `phrases_dict.json` a word to the readings of each of its characters.
pub(in crate::stages::synthesize::text) struct Pinyin {
    syllables: Vec<Box<str>>,
    characters: HashMap<char, u16>,
    /// Sorted by the word.
    words: Vec<(Box<str>, Box<[u16]>)>,
    /// Characters of the longest word.
    longest_word: usize,
}

impl Pinyin {
    /// Reads both files in `directory`.
    ///
    /// # Errors
    /// A file is missing or not of this form.
    pub fn load(directory: &Path) -> Result<Self, TextError> {
        let characters: HashMap<u32, String> = read_json(&directory.join("pinyin_dict.json"))?;
        let Words(phrases) = read_json(&directory.join("phrases_dict.json"))?;
        let mut syllables = Syllables::default();
        let too_many = || TextError::BadDictionary {
            path: directory.to_owned(),
            problem: "too many different syllables",
        };
        let mut first_readings = HashMap::with_capacity(characters.len());
        for (number, readings) in &characters {
            let first = readings.split(',').next().unwrap_or_default();
            if let (Some(character), false) = (char::from_u32(*number), first.is_empty()) {
                first_readings.insert(character, syllables.id(first).ok_or_else(too_many)?);
            }
        }
        let mut words = Vec::with_capacity(phrases.len());
        let mut longest_word = 0;
        for (word, readings) in phrases {
            let length = word.chars().count();
            // Some entries have a comma in the middle, which no word of a text has.
            if length < 2 || length != readings.len() || !word.chars().all(is_han) {
                continue;
            }
            let ids: Option<Box<[u16]>> =
                readings.iter().map(|first| syllables.id(first)).collect();
            longest_word = longest_word.max(length);
            words.push((word, ids.ok_or_else(too_many)?));
        }
        words.sort_unstable();
        Ok(Self {
            syllables: syllables.texts,
            characters: first_readings,
            words,
            longest_word,
        })
    }

    /// Writes every character that has a reading as a syllable with the digit of its tone, 5 for none,
    /// without spaces; words are found from the left, the longest first. All else stays as it is.
    pub fn romanize(&self, text: &str) -> String {
        let mut romanized = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if let Some((word, readings)) = self.word_at(rest) {
                romanized.extend(readings.iter().map(|id| &*self.syllables[usize::from(*id)]));
                rest = &rest[word.len()..];
                continue;
            }
            match self.characters.get(&character) {
                Some(id) => romanized.push_str(&self.syllables[usize::from(*id)]),
                None => romanized.push(character),
            }
            rest = &rest[character.len_utf8()..];
        }
        romanized
    }

    /// The longest word at the start of `text`.
    fn word_at<'a>(&self, text: &'a str) -> Option<(&'a str, &[u16])> {
        let ends: Vec<usize> = text
            .char_indices()
            .take(self.longest_word)
            .take_while(|(_, character)| is_han(*character))
            .map(|(start, character)| start + character.len_utf8())
            .collect();
        ends.iter().skip(1).rev().find_map(|end| {
            let word = &text[..*end];
            let found = self
                .words
                .binary_search_by(|(known, _)| (**known).cmp(word));
            found.ok().map(|index| (word, &*self.words[index].1))
        })
    }
}

fn is_han(character: char) -> bool {
    matches!(character,
        '\u{3007}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{323AF}')
}

/// Words with the first reading of each character; a list of lists of lists in the file.
struct Words(Vec<(Box<str>, Vec<String>)>);

impl<'de> serde::Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("words with the readings of each character")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Words, M::Error> {
                let mut words = Vec::new();
                while let Some((word, readings)) = map.next_entry::<Box<str>, Vec<Vec<String>>>()? {
                    let first = readings
                        .into_iter()
                        .filter_map(|readings| readings.into_iter().next());
                    words.push((word, first.collect()));
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, TextError> {
    let bytes = std::fs::read(path).map_err(|source| TextError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| TextError::NotReadings {
        path: path.to_owned(),
        source,
    })
}

/// `lǜ` as `lv4`: the tone mark as a digit at the end, and v for ü.
fn with_tone_digit(marked: &str) -> String {
    let mut letters = String::new();
    let mut tone = '5';
    for character in marked.nfd() {
        match character {
            '\u{304}' => tone = '1',
            '\u{301}' => tone = '2',
            '\u{30C}' => tone = '3',
            '\u{300}' => tone = '4',
            // The dots of ü.
            '\u{308}' if letters.ends_with('u') => {
                letters.pop();
                letters.push('v');
            }
            letter => letters.push(letter),
        }
    }
    letters.push(tone);
    letters.nfc().collect()
}

#[cfg(test)]
pub(in crate::stages::synthesize::text) mod tests {
    use super::*;

    /// A dictionary of a few words, in the form of pypinyin's files.
    pub(in crate::stages::synthesize) fn write_small_dictionary(directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        let number = |character| u32::from(character).to_string();
        let characters = serde_json::json!({
            number('银'): "yín", number('行'): "xíng,háng,hàng", number('长'): "zhǎng,cháng",
            number('了'): "le,liǎo", number('女'): "nǚ,rǔ", number('二'): "èr", number('点'): "diǎn",
        });
        let words = serde_json::json!({
            "银行": [["yín"], ["háng"]], "行长": [["háng"], ["zhǎng"]], "长长": [["cháng"], ["cháng"]],
            "银，行": [["yín"], [","], ["háng"]],
        });
        for (name, content) in [
            ("pinyin_dict.json", characters),
            ("phrases_dict.json", words),
        ] {
            std::fs::write(directory.join(name), content.to_string()).unwrap();
        }
    }

    #[test]
    fn words_decide_how_their_characters_are_read() {
        let directory = tempfile::tempdir().unwrap();
        write_small_dictionary(directory.path());
        let pinyin = Pinyin::load(directory.path()).unwrap();
        for (text, romanized) in [
            ("行了", "xing2le5"),
            ("银行", "yin2hang2"),
            // From the left: not 银 and 行长.
            ("银行长长", "yin2hang2chang2chang2"),
            ("女a, 银,行", "nv3a, yin2,xing2"),
            ("𰻝é", "𰻝é"),
            ("", ""),
        ] {
            assert_eq!(pinyin.romanize(text), romanized, "{text}");
        }
    }

    #[test]
    fn tone_marks_become_digits() {
        for (marked, digit) in [
            ("lǜ", "lv4"),
            ("lüè", "lve4"),
            ("ma", "ma5"),
            ("ê̄", "ê1"),
            ("ń", "n2"),
        ] {
            assert_eq!(with_tone_digit(marked), digit);
        }
    }

    #[test]
    fn files_of_another_form_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |problem: &str| {
            let error = Pinyin::load(directory.path()).err().unwrap();
            assert!(error.to_string().contains(problem), "{error}");
        };
        refused("cannot read");
        write_small_dictionary(directory.path());
        std::fs::write(directory.path().join("phrases_dict.json"), "[1]").unwrap();
        refused("phrases_dict.json does not hold readings");
    }
}
