//! The numbers that a checkpoint's graphs and decoding depend on.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::stages::translate::error::ModelError;

/// When beam search is done with a sentence whose hypotheses are all finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// When the best running beam, ended now, could not beat the worst hypothesis.
    #[default]
    Heuristic,
    /// At once.
    Always,
    /// When no running beam can beat the worst hypothesis at any length.
    Never,
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Flag(bool),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Flag(false) => Ok(Self::Heuristic),
            Written::Flag(true) => Ok(Self::Always),
            Written::Word(word) if word == "never" => Ok(Self::Never),
            Written::Word(word) => Err(serde::de::Error::custom(format!(
                "early_stopping is true, false or \"never\", not {word:?}"
            ))),
        }
    }
}

/// Sizes of the decoder, special ids and decoding rules of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Decoder layers.
    pub layers: usize,
    /// Attention heads of a decoder layer.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Ids that the decoder chooses from.
    pub vocab_size: usize,
    /// Fills up the rows of a batch.
    pub pad_id: i64,
    /// Ends a sentence.
    pub eos_id: i64,
    /// Every decoder row starts with it.
    pub decoder_start_id: i64,
    /// Chosen when only one more id fits.
    pub forced_eos_id: Option<i64>,
    /// Ids that are never chosen.
    pub suppressed_ids: Vec<i64>,
    /// Ids of a source sentence at most, target token and end of sentence included.
    pub max_source_length: usize,
    /// Ids of a decoder row at most, the start included.
    pub max_length: usize,
    /// Beams that the checkpoint was tuned for.
    pub num_beams: usize,
    /// A hypothesis' score is its log-probability ÷ length ^ this.
    pub length_penalty: f32,
    /// When beam search ends.
    pub early_stopping: EarlyStopping,
}

/// The sort of graphs that are run.
const LAYOUT: &str = "slots";
/// Beams that are accepted from a file: more would be a mistake, and cost memory.
const MAX_BEAMS: usize = 16;
/// Positions that Marian's own tokenizer and generation stop at.
const DEFAULT_MAX_LENGTH: usize = 512;

impl Checkpoint {
    /// Reads the `metadata.json` that our export writes.
    ///
    /// # Errors
    /// The file is missing, has another shape, or its numbers make no sense.
    pub fn read_exported(directory: &Path) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Layout {
            layout: String,
        }
        #[derive(Deserialize)]
        struct Exported {
            layers: usize,
            heads: usize,
            head_dim: usize,
            vocab_size: usize,
            pad_token_id: i64,
            eos_token_id: i64,
            decoder_start_token_id: i64,
            forced_eos_token_id: Option<i64>,
            suppressed_ids: Vec<i64>,
            max_source_length: usize,
            max_length: usize,
            num_beams: usize,
            length_penalty: f32,
            early_stopping: EarlyStopping,
        }
        let path = directory.join("metadata.json");
        let Layout { layout } = read_json(&path)?;
        if layout != LAYOUT {
            return Err(ModelError::inconsistent(
                &path,
                "the graphs are of an earlier export: export the checkpoint again",
            ));
        }
        let file: Exported = read_json(&path)?;
        Self {
            layers: file.layers,
            heads: file.heads,
            head_dim: file.head_dim,
            vocab_size: file.vocab_size,
            pad_id: file.pad_token_id,
            eos_id: file.eos_token_id,
            decoder_start_id: file.decoder_start_token_id,
            forced_eos_id: file.forced_eos_token_id,
            suppressed_ids: file.suppressed_ids,
            max_source_length: file.max_source_length,
            max_length: file.max_length,
            num_beams: file.num_beams,
            length_penalty: file.length_penalty,
            early_stopping: file.early_stopping,
        }
        .validated(&path)
    }

    /// Reads `config.json` and `generation_config.json` as transformers writes them. The latter wins
    /// where both have a key; what neither has takes transformers' default.
    ///
    /// # Errors
    /// A file is missing, has another shape, or its numbers make no sense.
    pub fn read_transformers(directory: &Path) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Config {
            d_model: usize,
            decoder_layers: usize,
            decoder_attention_heads: usize,
            vocab_size: usize,
            max_position_embeddings: usize,
            #[serde(flatten)]
            generation: Generation,
        }
        #[derive(Deserialize, Default)]
        struct Generation {
            pad_token_id: Option<i64>,
            eos_token_id: Option<i64>,
            decoder_start_token_id: Option<i64>,
            forced_eos_token_id: Option<i64>,
            bad_words_ids: Option<Vec<Vec<i64>>>,
            max_length: Option<usize>,
            num_beams: Option<usize>,
            length_penalty: Option<f32>,
            early_stopping: Option<EarlyStopping>,
        }
        let path = directory.join("config.json");
        let config: Config = read_json(&path)?;
        let generation_path = directory.join("generation_config.json");
        let first: Generation = if generation_path.is_file() {
            read_json(&generation_path)?
        } else {
            Generation::default()
        };
        let second = config.generation;
        let needed = |id: Option<i64>, key: &str| {
            id.ok_or_else(|| ModelError::inconsistent(&path, format!("`{key}` is missing")))
        };
        let pad_id = needed(first.pad_token_id.or(second.pad_token_id), "pad_token_id")?;
        let heads = config.decoder_attention_heads;
        if heads == 0 || !config.d_model.is_multiple_of(heads) {
            return Err(ModelError::inconsistent(
                &path,
                "d_model is no multiple of the heads",
            ));
        }
        let max_length = first.max_length.or(second.max_length);
        Self {
            layers: config.decoder_layers,
            heads,
            head_dim: config.d_model / heads,
            vocab_size: config.vocab_size,
            pad_id,
            eos_id: needed(first.eos_token_id.or(second.eos_token_id), "eos_token_id")?,
            decoder_start_id: first
                .decoder_start_token_id
                .or(second.decoder_start_token_id)
                .unwrap_or(pad_id),
            forced_eos_id: first.forced_eos_token_id.or(second.forced_eos_token_id),
            suppressed_ids: single_ids(
                &path,
                first
                    .bad_words_ids
                    .or(second.bad_words_ids)
                    .unwrap_or_default(),
            )?,
            max_source_length: DEFAULT_MAX_LENGTH.min(config.max_position_embeddings),
            max_length: max_length
                .unwrap_or(DEFAULT_MAX_LENGTH)
                .min(config.max_position_embeddings),
            num_beams: first.num_beams.or(second.num_beams).unwrap_or(1),
            length_penalty: first
                .length_penalty
                .or(second.length_penalty)
                .unwrap_or(1.0),
            early_stopping: first
                .early_stopping
                .or(second.early_stopping)
                .unwrap_or_default(),
        }
        .validated(&path)
    }

    fn validated(self, path: &Path) -> Result<Self, ModelError> {
        let is_id = |id: i64| usize::try_from(id).is_ok_and(|id| id < self.vocab_size);
        let ids = [self.pad_id, self.eos_id, self.decoder_start_id]
            .into_iter()
            .chain(self.forced_eos_id)
            .chain(self.suppressed_ids.iter().copied());
        let checks = [
            ((1..=64).contains(&self.layers), "the number of layers"),
            ((1..=64).contains(&self.heads), "the number of heads"),
            ((1..=1024).contains(&self.head_dim), "the width of a head"),
            // Beam search looks at two continuations for each beam, which are none of the suppressed ones.
            (
                (2 * MAX_BEAMS + self.suppressed_ids.len()..10_000_000).contains(&self.vocab_size),
                "the size of the vocabulary",
            ),
            (ids.into_iter().all(is_id), "a special id"),
            (
                (2..=65_536).contains(&self.max_source_length),
                "the longest source",
            ),
            (
                (2..=65_536).contains(&self.max_length),
                "the longest output",
            ),
            (
                (1..=MAX_BEAMS).contains(&self.num_beams),
                "the number of beams",
            ),
            (self.length_penalty.is_finite(), "the length penalty"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(ModelError::inconsistent(
                path,
                format!("{what} is out of range"),
            )),
            None => Ok(self),
        }
    }
}

/// Suppressed words of one id each; longer ones exist in no Marian checkpoint.
fn single_ids(path: &Path, words: Vec<Vec<i64>>) -> Result<Vec<i64>, ModelError> {
    words
        .into_iter()
        .map(|word| match word.as_slice() {
            [id] => Ok(*id),
            _ => Err(ModelError::inconsistent(
                path,
                "bad_words_ids holds a word of several ids, which is not supported",
            )),
        })
        .collect()
}

/// Reads a JSON file of a model directory.
pub(in crate::stages::translate) fn read_json<T: DeserializeOwned>(
    path: &Path,
) -> Result<T, ModelError> {
    let text = std::fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| ModelError::Json {
        path: path.to_owned(),
        source,
    })
}
