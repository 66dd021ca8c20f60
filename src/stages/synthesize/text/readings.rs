//! The dictionaries that tell how Chinese and Japanese words are read. They lie beside a model, as they are
//! as large as one.

use std::path::{Path, PathBuf};

use super::TextError;
use super::chinese::Pinyin;
use super::japanese::UniDic;
use crate::domain::Language;

/// The dictionaries of one model folder.
#[derive(Default)]
pub struct Readings {
    chinese: Option<Pinyin>,
    japanese: Option<UniDic>,
}

impl Readings {
    /// Loads what is installed in a model's directory: `pinyin/` and `unidic/`.
    ///
    /// # Errors
    /// A dictionary is there, but incomplete or damaged.
    pub fn load(directory: &Path) -> Result<Self, TextError> {
        let installed = |code| folder(directory, code).filter(|folder| folder.is_dir());
        Ok(Self {
            chinese: installed("zh")
                .map(|folder| Pinyin::load(&folder))
                .transpose()?,
            japanese: installed("ja")
                .map(|folder| UniDic::open(&folder))
                .transpose()?,
        })
    }

    /// Tells whether a model in `directory` can be given texts in `language`: those that need a dictionary
    /// become unknown tokens without it, and their speech noise.
    pub fn suffice(directory: &Path, language: Language) -> bool {
        folder(directory, language.as_str()).is_none_or(|folder| folder.is_dir())
    }

    /// Writes prepared Chinese in Latin letters.
    ///
    /// # Errors
    /// There is no dictionary.
    pub(super) fn read_chinese(&self, text: &str, language: Language) -> Result<String, TextError> {
        let pinyin = self
            .chinese
            .as_ref()
            .ok_or(TextError::NoReadings(language))?;
        Ok(pinyin.romanize(text))
    }

    /// Writes Japanese in Latin letters.
    ///
    /// # Errors
    /// There is no dictionary, or it cannot be read any more.
    pub(super) fn read_japanese(
        &self,
        text: &str,
        language: Language,
    ) -> Result<String, TextError> {
        let unidic = self
            .japanese
            .as_ref()
            .ok_or(TextError::NoReadings(language))?;
        unidic.romanize(text)
    }
}

/// Where the dictionary of a language is; `None` where none is needed.
fn folder(directory: &Path, code: &str) -> Option<PathBuf> {
    match code {
        "zh" => Some(directory.join("pinyin")),
        "ja" => Some(directory.join("unidic")),
        _ => None,
    }
}
