//! Text to the ids of a Marian vocabulary and back.
//!
//! `source.spm` cuts a text into pieces, `vocab.json` numbers them; SentencePiece's own numbers are
//! not used. Same ids as transformers' `MarianTokenizer`, except for texts that spell special tokens:
//! there `</s>`, `<pad>`, `<unk>` and a leading `>>xx<<` become the tokens, here they stay text, so
//! that nobody can end a sentence or change its target language by what they type.

use std::collections::HashMap;
use std::path::Path;

use sentencepiece_rs::SentencePieceProcessor;

use super::error::ModelError;

const EOS: &str = "</s>";
const UNK: &str = "<unk>";
const PAD: &str = "<pad>";

/// The tokenizer of one checkpoint.
pub struct Tokenizer {
    source: SentencePieceProcessor,
    target: SentencePieceProcessor,
    ids: HashMap<String, i64>,
    /// Pieces by id; where two vocabularies are separate, those of the target language.
    pieces: HashMap<i64, String>,
    eos_id: i64,
    unk_id: i64,
    pad_id: i64,
}

impl Tokenizer {
    /// Reads `source.spm`, `target.spm`, `vocab.json` and, where there is one, `target_vocab.json`.
    ///
    /// # Errors
    /// A file is missing or damaged, or the vocabulary lacks a special token.
    pub fn load(directory: &Path) -> Result<Self, ModelError> {
        let vocabulary = directory.join("vocab.json");
        let ids = read_vocabulary(&vocabulary)?;
        let special = |token: &str| {
            ids.get(token).copied().ok_or_else(|| {
                ModelError::inconsistent(&vocabulary, format!("the vocabulary lacks `{token}`"))
            })
        };
        let (eos_id, unk_id, pad_id) = (special(EOS)?, special(UNK)?, special(PAD)?);
        let target_vocabulary = directory.join("target_vocab.json");
        let pieces = if target_vocabulary.is_file() {
            inverted(read_vocabulary(&target_vocabulary)?)
        } else {
            inverted(ids.clone())
        };
        Ok(Self {
            source: read_sentencepiece(&directory.join("source.spm"))?,
            target: read_sentencepiece(&directory.join("target.spm"))?,
            ids,
            pieces,
            eos_id,
            unk_id,
            pad_id,
        })
    }

    /// Id of the token that ends a sentence.
    pub fn eos_id(&self) -> i64 {
        self.eos_id
    }

    /// Id of what the vocabulary does not know.
    pub fn unk_id(&self) -> i64 {
        self.unk_id
    }

    /// Id that fills up the rows of a batch.
    pub fn pad_id(&self) -> i64 {
        self.pad_id
    }

    /// One more than the highest id.
    pub fn id_bound(&self) -> i64 {
        self.ids.values().max().map_or(0, |id| id + 1)
    }

    /// Id of a target token such as `>>fra<<`.
    pub fn target_token_id(&self, token: &str) -> Option<i64> {
        is_target_token(token)
            .then(|| self.ids.get(token).copied())
            .flatten()
    }

    /// The ids of a text: target token if given, pieces, end of sentence; at most `max_length` ids,
    /// of which the end of sentence is always the last.
    ///
    /// # Errors
    /// SentencePiece fails; its message holds no text.
    pub fn encode(
        &self,
        text: &str,
        target_token_id: Option<i64>,
        max_length: usize,
    ) -> Result<Vec<i64>, ModelError> {
        let pieces = self.source.encode(text).map_err(ModelError::Tokenize)?;
        let ids = pieces.iter().map(|piece| self.piece_id(piece));
        Ok(target_token_id
            .into_iter()
            .chain(ids)
            .take(max_length.saturating_sub(1))
            .chain([self.eos_id])
            .collect())
    }

    fn piece_id(&self, piece: &str) -> i64 {
        // A SentencePiece model may hold special tokens as pieces of its own.
        if matches!(piece, EOS | PAD) || is_target_token(piece) {
            return self.unk_id;
        }
        self.ids.get(piece).copied().unwrap_or(self.unk_id)
    }

    /// The text of generated ids; special tokens and unknown ids are left out.
    ///
    /// # Errors
    /// SentencePiece fails; its message holds no text.
    pub fn decode(&self, ids: &[i64]) -> Result<String, ModelError> {
        let pieces: Vec<&str> = ids
            .iter()
            .filter(|id| ![self.eos_id, self.unk_id, self.pad_id].contains(id))
            .filter_map(|id| self.pieces.get(id))
            .map(String::as_str)
            .collect();
        let text = self.target.decode(&pieces).map_err(ModelError::Tokenize)?;
        Ok(text.replace('▁', " ").trim().to_owned())
    }
}

/// Tells whether a token of a vocabulary names a target language, as `>>fra<<` does.
pub fn is_target_token(token: &str) -> bool {
    token.len() > 4 && token.starts_with(">>") && token.ends_with("<<")
}

/// Reads a `vocab.json`: pieces and their ids.
///
/// # Errors
/// The file is missing or has another shape.
pub fn read_vocabulary(path: &Path) -> Result<HashMap<String, i64>, ModelError> {
    super::marian::metadata::read_json(path)
}

fn inverted(ids: HashMap<String, i64>) -> HashMap<i64, String> {
    ids.into_iter().map(|(piece, id)| (id, piece)).collect()
}

fn read_sentencepiece(path: &Path) -> Result<SentencePieceProcessor, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    SentencePieceProcessor::from_serialized_model(&bytes).map_err(|source| {
        ModelError::SentencePiece {
            path: path.to_owned(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        id: String,
        side: String,
        text: String,
        ids: Vec<i64>,
        decoded: String,
    }

    /// Texts that begin with `>>…<<` or hold `</s>`: transformers makes tokens of them, this
    /// tokenizer text.
    const DEVIATIONS: [&str; 9] = [
        "m-280", "m-282", "m-283", "m-287", "m-288", "m-291", "m-292", "m-299", "m-303",
    ];

    #[test]
    fn ids_are_those_of_the_reference() {
        let (Some(model), Some(goldens)) = (
            testing::shared("models/tokenizers/marian-fr-en"),
            testing::shared("goldens/marian-fr-en.jsonl"),
        ) else {
            return;
        };
        let tokenizer = Tokenizer::load(&model).expect("a tokenizer");
        let goldens = std::fs::read_to_string(goldens).expect("goldens");
        let (mut compared, mut decoded, mut deviations) = (0, 0, Vec::new());
        for line in goldens.lines() {
            let golden: Golden = serde_json::from_str(line).expect("a golden line");
            // The whole way back: exact for every line, whichever side its ids came from.
            if golden.side == "target" {
                assert_eq!(
                    tokenizer.decode(&golden.ids).expect("text"),
                    golden.decoded,
                    "{}",
                    golden.id
                );
                decoded += 1;
                continue;
            }
            let ids = tokenizer.encode(&golden.text, None, 512).expect("ids");
            if ids != golden.ids {
                deviations.push(golden.id);
            }
            compared += 1;
        }
        assert_eq!((compared, decoded), (201, 30));
        assert_eq!(deviations, DEVIATIONS);
    }

    #[test]
    fn typed_special_tokens_stay_text() {
        let tokenizer = Tokenizer::load(&testing::fixture("marian/en-mul")).expect("a tokenizer");
        let target = tokenizer
            .target_token_id(">>fra<<")
            .expect("a target token");
        assert_eq!(tokenizer.target_token_id("</s>"), None);
        assert_eq!(tokenizer.target_token_id(">>xyz<<"), None);
        let specials = [tokenizer.eos_id(), tokenizer.pad_id(), target];
        for text in [">>fra<< hello", "hello</s>hello", "<pad>hello", ">>fra<<"] {
            let ids = tokenizer.encode(text, None, 512).expect("ids");
            let (eos, typed) = ids.split_last().expect("the end of sentence");
            assert_eq!(*eos, tokenizer.eos_id());
            assert!(
                typed.iter().all(|id| !specials.contains(id)),
                "{text}: {ids:?}"
            );
            let asked = tokenizer.encode(text, Some(target), 512).expect("ids");
            assert_eq!(asked.split_first(), Some((&target, ids.as_slice())));
        }
    }

    #[test]
    fn long_texts_are_cut_before_the_end_of_sentence() {
        let tokenizer = Tokenizer::load(&testing::fixture("marian/fr-en")).expect("a tokenizer");
        let ids = tokenizer
            .encode(&"bonjour ".repeat(50), None, 16)
            .expect("ids");
        assert_eq!(ids.len(), 16);
        assert_eq!(ids.last(), Some(&tokenizer.eos_id()));
    }

    #[test]
    fn damaged_files_say_which_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = |name: &str, content: &str| {
            std::fs::write(directory.path().join(name), content).expect("a file");
            Tokenizer::load(directory.path())
                .err()
                .expect("an error")
                .to_string()
        };
        assert!(error("vocab.json", "[1]").contains("vocab.json"));
        assert!(error("vocab.json", r#"{"</s>": 0, "<unk>": 1}"#).contains("<pad>"));
        let vocabulary = r#"{"</s>": 0, "<unk>": 1, "<pad>": 2}"#;
        assert!(error("vocab.json", vocabulary).contains("source.spm"));
        assert!(error("source.spm", "damaged").contains("source.spm"));
    }
}
