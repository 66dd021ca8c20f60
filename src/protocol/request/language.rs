//! Languages as a request names them.

use serde_json::Value;

use crate::domain::Language;
use crate::protocol::fields::Fields;

/// Most target languages of one request; the gateway knows about eighty.
pub const MAX_TARGET_LANGUAGES: usize = 200;

/// Longest language string that is kept, in characters; BCP 47 asks for 35.
const MAX_LANGUAGE_CHARACTERS: usize = 35;

/// A language with the string that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedLanguage {
    /// The string of the request, trimmed and lower-cased: results carry it.
    pub requested: String,
    /// What it means.
    pub language: Language,
}

impl RequestedLanguage {
    /// The requested string where it can be a field name in the gateway's database
    /// (`^[a-z]{2,5}$`), else the canonical code.
    pub fn field_name(&self) -> &str {
        let fits = (2..=5).contains(&self.requested.len())
            && self.requested.bytes().all(|b| b.is_ascii_lowercase());
        if fits {
            &self.requested
        } else {
            self.language.as_str()
        }
    }
}

/// The languages a result is wanted in, in the order of the request and without repetition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetLanguages {
    /// Those that are languages; two spellings of one language are two entries.
    pub accepted: Vec<RequestedLanguage>,
    /// Those that are none, lower-cased and cut after 35 characters: failed from the start.
    pub rejected: Vec<String>,
}

/// More target languages than any request needs.
#[derive(Debug)]
pub(super) struct TooManyLanguages;

impl TargetLanguages {
    /// Reads `targetLanguages`; `None` if there is no such array, which is not the same as an empty one.
    pub(super) fn take(fields: &mut Fields) -> Result<Option<Self>, TooManyLanguages> {
        Self::take_named(fields, "targetLanguages")
    }

    /// Reads the array under `key`; `None` if there is no such array.
    pub(super) fn take_named(
        fields: &mut Fields,
        key: &str,
    ) -> Result<Option<Self>, TooManyLanguages> {
        fields.array(key).map(Self::from_values).transpose()
    }

    fn from_values(values: Vec<Value>) -> Result<Self, TooManyLanguages> {
        if values.len() > MAX_TARGET_LANGUAGES {
            return Err(TooManyLanguages);
        }
        let mut languages = Self::default();
        for value in &values {
            if let Value::String(code) = value {
                languages.add(code);
            }
        }
        Ok(languages)
    }

    pub(super) fn add(&mut self, code: &str) {
        let short: String = code.trim().chars().take(MAX_LANGUAGE_CHARACTERS).collect();
        let requested = short.to_lowercase();
        match Language::parse(&requested) {
            Some(language) => {
                if self
                    .accepted
                    .iter()
                    .all(|known| known.requested != requested)
                {
                    self.accepted.push(RequestedLanguage {
                        requested,
                        language,
                    });
                }
            }
            None => {
                if !self.rejected.contains(&requested) {
                    self.rejected.push(requested);
                }
            }
        }
    }

    /// The languages by their canonical codes, each once.
    pub fn distinct(&self) -> Vec<Language> {
        let mut distinct = Vec::new();
        for target in &self.accepted {
            if !distinct.contains(&target.language) {
                distinct.push(target.language);
            }
        }
        distinct
    }

    /// The same without `source`.
    pub fn distinct_except(&self, source: Language) -> Vec<Language> {
        let mut distinct = self.distinct();
        distinct.retain(|language| *language != source);
        distinct
    }

    /// What the request named, as results carry it.
    pub fn requested(&self) -> impl Iterator<Item = &str> {
        let accepted = self.accepted.iter().map(|target| target.requested.as_str());
        accepted.chain(self.rejected.iter().map(String::as_str))
    }

    /// Keeps the languages for which `is_kept` holds, given as [`requested`](Self::requested).
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.accepted.retain(|target| is_kept(&target.requested));
        self.rejected.retain(|requested| is_kept(requested));
    }

    /// True when the request named nothing at all.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.rejected.is_empty()
    }
}

impl FromIterator<Language> for TargetLanguages {
    fn from_iter<T: IntoIterator<Item = Language>>(languages: T) -> Self {
        let mut targets = Self::default();
        for language in languages {
            targets.add(language.as_str());
        }
        targets
    }
}

/// Reads a single language; `auto`, an empty string and anything that is no code are `None`.
pub(super) fn take_language(fields: &mut Fields, key: &str) -> Option<Language> {
    Language::parse(&fields.string(key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(codes: &[&str]) -> TargetLanguages {
        let mut targets = TargetLanguages::default();
        for code in codes {
            targets.add(code);
        }
        targets
    }

    #[test]
    fn spellings_are_echoed_and_meanings_are_canonical() {
        let targets = targets(&["pt-BR", "PT", "pt", "eng", "q1"]);
        let spellings: Vec<_> = targets
            .accepted
            .iter()
            .map(|t| t.requested.as_str())
            .collect();
        assert_eq!(spellings, ["pt-br", "pt", "eng"]);
        assert_eq!(targets.rejected, ["q1"]);
        let field_names: Vec<_> = targets
            .accepted
            .iter()
            .map(RequestedLanguage::field_name)
            .collect();
        assert_eq!(field_names, ["pt", "pt", "eng"]);
        let distinct = targets.distinct_except(Language::ENGLISH);
        assert_eq!(
            distinct.iter().map(Language::as_str).collect::<Vec<_>>(),
            ["pt"]
        );
    }

    #[test]
    fn a_rejected_string_is_cut() {
        let targets = targets(&[&"é".repeat(100)]);
        assert_eq!(targets.rejected, ["é".repeat(MAX_LANGUAGE_CHARACTERS)]);
    }
}
