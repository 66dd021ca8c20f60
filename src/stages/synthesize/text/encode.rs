//! Token ids of a prepared text.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::domain::Language;
use crate::error::Reason;
use crate::stages::StageError;

/// Turns prepared text into the token ids of one XTTS vocabulary.
pub struct TextEncoder {
    /// Knows no added tokens, so that no text can become one.
    tokenizer: Tokenizer,
    /// The control tokens by their content, such as `[STOP]` and `[en]`.
    control_ids: HashMap<String, i64>,
    space_id: i64,
}

/// Why a text has no token ids.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TextError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the vocabulary {} is not JSON", path.display())]
    NotJson {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the vocabulary {} is no tokenizer file", path.display())]
    NotATokenizer {
        path: PathBuf,
        source: tokenizers::Error,
    },
    #[error("the vocabulary {} lacks the token {token}", path.display())]
    MissingToken { path: PathBuf, token: &'static str },
    #[error("the vocabulary has no tag for the language {0}")]
    UnsupportedLanguage(Language),
    #[error("{} does not hold readings", path.display())]
    NotReadings {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{}: {problem}", path.display())]
    BadDictionary {
        path: PathBuf,
        problem: &'static str,
    },
    #[error("no dictionary of {0} readings is installed")]
    NoReadings(Language),
    #[error("the text could not be tokenized")]
    Tokenize(#[source] tokenizers::Error),
}

impl StageError for TextError {
    fn reason(&self) -> Reason {
        match self {
            Self::Read { .. }
            | Self::NotJson { .. }
            | Self::NotATokenizer { .. }
            | Self::MissingToken { .. }
            | Self::NotReadings { .. }
            | Self::BadDictionary { .. } => Reason::ModelUnavailable,
            Self::UnsupportedLanguage(_) | Self::NoReadings(_) => Reason::UnsupportedLanguage,
            Self::Tokenize(_) => Reason::Internal,
        }
    }
}

impl TextEncoder {
    /// Reads a `vocab.json` in the format of the `tokenizers` library.
    ///
    /// # Errors
    ///
    /// Says which file is not there or not right, and which control token it lacks.
    pub fn load(vocab_json: &Path) -> Result<Self, TextError> {
        let path = || vocab_json.to_owned();
        let bytes = std::fs::read(vocab_json).map_err(|source| TextError::Read {
            path: path(),
            source,
        })?;
        let mut vocabulary: Value =
            serde_json::from_slice(&bytes).map_err(|source| TextError::NotJson {
                path: path(),
                source,
            })?;
        let control_ids = take_added_tokens(&mut vocabulary);
        let tokenizer =
            serde_json::from_value(vocabulary).map_err(|source| TextError::NotATokenizer {
                path: path(),
                source: source.into(),
            })?;
        let token = "[SPACE]";
        let space_id = control_ids.get(token).copied();
        Ok(Self {
            space_id: space_id.ok_or_else(|| TextError::MissingToken {
                path: path(),
                token,
            })?,
            tokenizer,
            control_ids,
        })
    }

    /// Encodes one piece of prepared text: the language's tag, then the text, without start and stop.
    ///
    /// # Errors
    ///
    /// [`TextError::UnsupportedLanguage`] where the vocabulary has no tag for the language. (The
    /// reference spells the tag out then, which no model has learned to understand.)
    pub fn encode(&self, cleaned: &str, language: Language) -> Result<Vec<i64>, TextError> {
        let tag = self
            .tag_id(language)
            .ok_or(TextError::UnsupportedLanguage(language))?;
        let mut ids = vec![tag];
        for (index, word) in cleaned.split(' ').enumerate() {
            if index > 0 {
                ids.push(self.space_id);
            }
            let encoding = self
                .tokenizer
                .encode_fast(word, false)
                .map_err(TextError::Tokenize)?;
            ids.extend(encoding.get_ids().iter().copied().map(i64::from));
        }
        Ok(ids)
    }

    fn tag_id(&self, language: Language) -> Option<i64> {
        let tag = match language.as_str() {
            "zh" => "[zh-cn]".to_owned(),
            code => format!("[{code}]"),
        };
        self.control_ids.get(&tag).copied()
    }
}

/// Removes the added tokens from a tokenizer file and returns their ids.
fn take_added_tokens(vocabulary: &mut Value) -> HashMap<String, i64> {
    let Some(added_tokens) = vocabulary.get_mut("added_tokens").map(Value::take) else {
        return HashMap::new();
    };
    vocabulary["added_tokens"] = Value::Array(Vec::new());
    let tokens = added_tokens
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    tokens
        .iter()
        .filter_map(|token| {
            Some((
                token.get("content")?.as_str()?.to_owned(),
                token.get("id")?.as_i64()?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A vocabulary of single letters and brackets, with the control tokens of a real one.
    fn encoder(control_tokens: &[&str]) -> Result<TextEncoder, TextError> {
        let added: Vec<Value> = control_tokens
            .iter()
            .enumerate()
            .map(|(id, content)| {
                serde_json::json!({
                    "id": id, "content": content, "special": true, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let mut vocabulary = serde_json::Map::new();
        for (id, piece) in control_tokens
            .iter()
            .copied()
            .chain(["e", "n", "[", "]", "en"])
            .enumerate()
        {
            vocabulary.insert(piece.to_owned(), id.into());
        }
        let file = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": null, "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null,
            "decoder": null,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "vocab": vocabulary, "merges": ["e n"],
            },
        });
        let mut json = tempfile::NamedTempFile::new().unwrap();
        json.write_all(file.to_string().as_bytes()).unwrap();
        TextEncoder::load(json.path())
    }

    const CONTROL_TOKENS: [&str; 6] = ["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]", "[zh-cn]"];

    #[test]
    fn the_tag_comes_first_and_spaces_are_tokens() {
        let encoder = encoder(&CONTROL_TOKENS).unwrap();
        assert_eq!(
            encoder.encode("en n", Language::ENGLISH).unwrap(),
            [4, 10, 2, 7]
        );
        assert_eq!(
            encoder.encode("", Language::parse("zh").unwrap()).unwrap(),
            [5]
        );
        // What the vocabulary lacks.
        assert_eq!(encoder.encode("é", Language::ENGLISH).unwrap(), [4, 1]);
    }

    #[test]
    fn text_does_not_become_control_tokens() {
        let encoder = encoder(&CONTROL_TOKENS).unwrap();
        assert_eq!(
            encoder.encode("[en]", Language::ENGLISH).unwrap(),
            [4, 8, 10, 9]
        );
        for text in ["[STOP]", "[UNK]", "[SPACE]", "[START]"] {
            let ids = encoder.encode(text, Language::ENGLISH).unwrap();
            assert_eq!((ids[1], ids.last()), (8, Some(&9)), "{text}");
        }
    }

    #[test]
    fn a_language_without_a_tag_is_refused() {
        let encoder = encoder(&CONTROL_TOKENS).unwrap();
        assert!(encoder.tag_id(Language::FRENCH).is_none());
        let refused = encoder.encode("en", Language::FRENCH).unwrap_err();
        assert_eq!(refused.reason(), Reason::UnsupportedLanguage);
    }

    #[test]
    fn a_vocabulary_that_is_not_right_is_refused() {
        let missing = encoder(&["[STOP]", "[UNK]"]).err().unwrap();
        assert!(
            missing.to_string().ends_with("lacks the token [SPACE]"),
            "{missing}"
        );
        for (content, expected) in [("{", "is not JSON"), ("[]", "is no tokenizer file")] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let error = TextEncoder::load(file.path()).err().unwrap();
            assert!(error.to_string().ends_with(expected), "{error}");
        }
        let absent = TextEncoder::load(Path::new("no/such/vocab.json"))
            .err()
            .unwrap();
        assert!(matches!(absent, TextError::Read { .. }));
    }
}
