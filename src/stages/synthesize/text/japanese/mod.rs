//! Japanese in Latin letters: XTTS was trained on romaji as cutlet 0.5 writes it with UniDic.
//!
//! A text is cut into words, each is written as its entry in the dictionary is read, and a rule decides
//! between any two words whether a space stands there. Loan words are written as in the language that they
//! are from ("butter"), where the dictionary tells.

mod kana;
mod lexicon;
mod words;

use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::TextError;
use super::digits::digit_value;
use lexicon::Dictionary;
use words::{Token, words};

/// Fields of an entry of UniDic 2.1.2 that are of use.
mod field {
    pub const PART_OF_SPEECH: usize = 0;
    pub const SUBTYPE: usize = 1;
    /// The word that forms and spellings belong to; of loan words, `バター-butter`.
    pub const LEMMA: usize = 7;
    pub const PRONUNCIATION: usize = 9;
    pub const KANA: usize = 17;
    pub const COUNT: usize = 26;
}

/// Words that the reference writes otherwise than they are read.
const EXCEPTIONS: [(&str, &str); 8] = [
    ("東京", "tokyo"),
    ("大阪", "osaka"),
    ("京都", "kyoto"),
    ("柔道", "judo"),
    ("弁当", "bento"),
    ("ヒルズ", "hills"),
    ("カービィ", "kirby"),
    ("ホッピー", "hoppy"),
];

/// Punctuation that is kept, in ASCII; other signs are left out.
#[rustfmt::skip]
const PUNCTUATION: [(&str, &str); 18] = [
    ("ー", "-"), ("。", "."), ("、", ","), ("？", "?"), ("！", "!"), ("「", "\""), ("」", "\""),
    ("『", "\""), ("』", "\""), ("：", ":"), ("（", "("), ("）", ")"), ("《", "("), ("》", ")"),
    ("【", "["), ("】", "]"), ("・", "/"), ("，", ","),
];

/// A dictionary of Japanese words and their readings: UniDic 2.1.2 as MeCab reads it, for example from the
/// package unidic-lite.
pub(super) struct UniDic {
    directory: PathBuf,
    dictionary: Dictionary,
    /// Categories of characters by their numbers.
    hiragana: Option<usize>,
    katakana: Option<usize>,
    latin: Option<usize>,
}

impl UniDic {
    /// Opens the dictionary in `directory`; most of it stays on disk.
    ///
    /// # Errors
    /// A file is missing or damaged, or it is another dictionary.
    pub fn open(directory: &Path) -> Result<Self, TextError> {
        let dictionary = Dictionary::open(directory)?;
        let categories = dictionary.characters.categories();
        let category = |name| categories.iter().position(|category| category == name);
        let unidic = Self {
            directory: directory.to_owned(),
            hiragana: category("HIRAGANA"),
            katakana: category("KATAKANA"),
            latin: category("ALPHA"),
            dictionary,
        };
        // A word that every dictionary has.
        let particle = unidic.words("の")?;
        if particle
            .iter()
            .any(|token| token.feature.len() != field::COUNT)
        {
            return Err(TextError::BadDictionary {
                path: directory.to_owned(),
                problem: "is not UniDic 2.1.2",
            });
        }
        Ok(unidic)
    }

    /// Writes a text in Latin letters, lower case; `?` stands for what cannot be read.
    ///
    /// # Errors
    /// The dictionary cannot be read any more, or is damaged.
    pub fn romanize(&self, text: &str) -> Result<String, TextError> {
        let words = self.words(&normalize(text))?;
        let mut written: Vec<Written> = Vec::with_capacity(words.len());
        for (index, word) in words.iter().enumerate() {
            let next = words.get(index + 1);
            let latin = self.latin(word);
            if let Some(last) = written.last_mut() {
                last.meet(word, &latin, next, self.latin);
            }
            let has_space = self.has_space_after(word, &latin, next);
            written.push(Written { latin, has_space });
        }
        let joined: String = written
            .iter()
            .flat_map(|word| [word.latin.as_str(), if word.has_space { " " } else { "" }])
            .collect();
        Ok(joined.replace('っ', "").trim().to_lowercase())
    }

    fn words(&self, text: &str) -> Result<Vec<Token>, TextError> {
        words(&self.dictionary, text).map_err(|source| TextError::Read {
            path: self.directory.clone(),
            source,
        })
    }

    fn latin(&self, word: &Token) -> String {
        let surface = word.surface.as_str();
        if let Some((_, latin)) = EXCEPTIONS.iter().find(|(known, _)| *known == surface) {
            return (*latin).to_owned();
        }
        if surface.is_ascii() || is_number(surface) {
            return surface.to_owned();
        }
        if matches!(surface, "€" | "¥") {
            return String::new();
        }
        if word.is_unknown {
            let is_kana = [self.hiragana, self.katakana].contains(&Some(word.category));
            return if is_kana {
                kana::romanize(surface)
            } else {
                "?".repeat(surface.chars().count())
            };
        }
        match (word.part_of_speech(), word.field(field::PRONUNCIATION)) {
            ("補助記号", _) => {
                let known = PUNCTUATION.iter().find(|(sign, _)| *sign == surface);
                return known
                    .map(|(_, ascii)| (*ascii).to_owned())
                    .unwrap_or_default();
            }
            // The particles は and へ.
            ("助詞", "ワ") => return "wa".to_owned(),
            ("助詞", "エ") => return "e".to_owned(),
            _ => {}
        }
        match word.foreign_spelling() {
            Some(spelling) => spelling.to_owned(),
            None => kana::romanize(word.field(field::KANA)),
        }
    }

    /// Whether a space stands between a word and the next one.
    fn has_space_after(&self, word: &Token, latin: &str, next: Option<&Token>) -> bool {
        let opens =
            matches!(latin, "" | "(" | "[" | "/") || matches!(word.surface.as_str(), "「" | "『");
        let Some(next) = next else { return false };
        if opens || self.is_possessive(word, Some(next)) {
            return false;
        }
        if word.surface.is_ascii() && next.surface.is_ascii() {
            return next.follows_space;
        }
        let part = word.part_of_speech();
        let bends = matches!(part, "動詞" | "助動詞" | "形容詞");
        !(part == "接頭辞"
            || matches!(next.part_of_speech(), "補助記号" | "接尾辞")
            || next.surface == ","
            || (word.foreign_spelling().is_some() && latin.ends_with('-'))
            || next.field(field::SUBTYPE) == "接続助詞"
            || (is_number(&word.surface) && is_number(&next.surface))
            || (bends && next.part_of_speech() == "助動詞" && next.surface != "です"))
    }

    /// The apostrophe of `it's`.
    fn is_possessive(&self, word: &Token, next: Option<&Token>) -> bool {
        is_possessive(word, next, self.latin)
    }
}

/// A word in Latin letters.
struct Written {
    latin: String,
    has_space: bool,
}

impl Written {
    /// Takes what the next word, written `latin`, does to this one.
    fn meet(&mut self, next: &Token, latin: &str, after: Option<&Token>, letters: Option<usize>) {
        if is_possessive(next, after, letters) {
            self.has_space = false;
            return;
        }
        // Half a word: 乗っ and た.
        if let (Some(stem), Some(first)) = (self.latin.strip_suffix('っ'), latin.chars().next()) {
            self.latin = format!("{stem}{first}");
        }
        if matches!(latin, "" | "(" | "[") || matches!(next.surface.as_str(), "「" | "『") {
            self.has_space = true;
        }
    }
}

fn is_possessive(word: &Token, next: Option<&Token>, letters: Option<usize>) -> bool {
    word.surface == "'"
        && !word.follows_space
        && letters.is_some()
        && next.is_some_and(|next| Some(next.category) == letters && !next.follows_space)
}

impl Token {
    /// A field of the entry; unknown words have few.
    fn field(&self, index: usize) -> &str {
        self.feature.get(index).map_or("", String::as_str)
    }

    fn part_of_speech(&self) -> &str {
        self.field(field::PART_OF_SPEECH)
    }

    /// How a loan word is written in its own language.
    fn foreign_spelling(&self) -> Option<&str> {
        let (_, spelling) = self.field(field::LEMMA).split_once('-')?;
        (!self.surface.contains('-') && spelling.is_ascii()).then_some(spelling)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|character| digit_value(character).is_some())
}

/// One form for characters that differ in width only, and straight quotes.
fn normalize(text: &str) -> String {
    text.nfkc()
        .map(|character| match character {
            '”' => '"',
            '’' => '\'',
            '‘' => '`',
            other => other,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
