//! What can go wrong with a translation.

use std::path::PathBuf;
use std::sync::Arc;

use super::guard::BadOutput;
use crate::domain::{Language, Stop};
use crate::error::Reason;
use crate::onnx::OnnxError;
use crate::stages::StageError;

/// Why a text was not translated. Never holds any of the text.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// No installed model, and no two through English, cover the languages.
    #[error("no installed model translates from `{source_language}` to `{target_language}`")]
    UnsupportedLanguage {
        /// The language of the text.
        source_language: Language,
        /// The language asked for.
        target_language: Language,
    },
    /// The text is longer than the engine takes.
    #[error("the text has {characters} characters, more than {limit}")]
    TextTooLong {
        /// Length of the text.
        characters: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The model of a language pair could not be loaded.
    #[error("the model `{pair}` could not be loaded")]
    Load {
        /// Name of the model's directory.
        pair: Arc<str>,
        /// What is wrong with it.
        #[source]
        source: Arc<ModelError>,
    },
    /// The model of a language pair failed while it ran.
    #[error("the model `{pair}` failed")]
    Run {
        /// Name of the model's directory.
        pair: Arc<str>,
        /// What failed.
        #[source]
        source: Arc<ModelError>,
    },
    /// The model answered nonsense, twice.
    #[error("the model `{pair}` gave no usable translation")]
    BadOutput {
        /// Name of the model's directory.
        pair: Arc<str>,
        /// What is wrong with the output.
        #[source]
        source: BadOutput,
    },
    /// The request's time is over, or nobody waits for it any more.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for TranslateError {
    fn reason(&self) -> Reason {
        match self {
            Self::UnsupportedLanguage { .. } => Reason::UnsupportedLanguage,
            Self::TextTooLong { .. } => Reason::TextTooLong,
            Self::Load { .. } => Reason::ModelUnavailable,
            Self::Run { .. } => Reason::Internal,
            Self::BadOutput { .. } => Reason::BadOutput,
            Self::Stopped(stop) => Reason::from(*stop),
        }
    }
}

/// What is wrong with a model, or went wrong inside it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is missing or unreadable.
    #[error("{path} could not be read")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A JSON file has another shape than it should.
    #[error("{path} is not what it should be")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// A SentencePiece model is damaged.
    #[error("{path} is no SentencePiece model")]
    SentencePiece {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: sentencepiece_rs::Error,
    },
    /// A session could not be built.
    #[error(transparent)]
    Session(#[from] OnnxError),
    /// The files contradict each other, or hold something that is not supported.
    #[error("{path}: {what}")]
    Inconsistent {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// SentencePiece refused a text.
    #[error("SentencePiece failed")]
    Tokenize(#[source] sentencepiece_rs::Error),
    /// ONNX Runtime failed while a graph ran.
    #[error("ONNX Runtime failed")]
    Runtime(#[from] ort::Error),
    /// A batch was given to a model that did not start it, or that takes no sentences later.
    #[error("the batch belongs to another model")]
    ForeignState,
    /// A graph answered tensors of another shape or type than its kind has.
    #[error("the graph's output `{0}` is missing or has an unexpected shape")]
    Output(&'static str),
}

impl ModelError {
    pub(super) fn inconsistent(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Inconsistent {
            path: path.into(),
            what: what.into(),
        }
    }
}
