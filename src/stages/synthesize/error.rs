//! What can go wrong when text becomes speech.

use std::path::PathBuf;
use std::sync::Arc;

use super::text::TextError;
use crate::domain::{Language, Stop};
use crate::error::Reason;
use crate::onnx::OnnxError;
use crate::stages::StageError;

/// Why there is no speech, or no conditioning to speak with.
#[derive(Debug, thiserror::Error)]
pub enum SynthesizeError {
    /// A graph could not be loaded.
    #[error("the speech synthesis model could not be loaded")]
    Load(#[source] OnnxError),
    /// The operating system refuses a thread for the vocoder.
    #[error("the vocoder has no thread to run on")]
    Thread(#[source] std::io::Error),
    /// The graph is no vocoder, or one of an earlier export, which gives out all frames, context included.
    #[error("{path} has no input `emit` of two 64-bit integers; export the checkpoint again")]
    NoVocoder {
        /// The file.
        path: PathBuf,
    },
    /// A file of the model could not be read.
    #[error("{path} could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The model's description is not JSON, or lacks a key.
    #[error("{path} is no description of an XTTS model")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The model's description contradicts itself.
    #[error("{path} contradicts itself: {what}")]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Which keys.
        what: &'static str,
    },
    /// The tokenizer could not be loaded, or refused a text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The model does not speak this language.
    #[error("the model does not speak {0}")]
    UnsupportedLanguage(Language),
    /// Links, code, emojis and punctuation only.
    #[error("the text holds nothing that can be spoken")]
    NothingToSpeak,
    /// A piece that cannot be cut further has more tokens than the model takes.
    #[error("a piece of the text has {ids} tokens, where the model takes {limit}")]
    TextTooLong {
        /// Tokens of the piece.
        ids: usize,
        /// Most that the model takes.
        limit: usize,
    },
    /// The conditioning was made by another model.
    #[error(
        "the voice's conditioning does not fit the model: {latents} latents and {speaker} speaker values"
    )]
    ForeignConditioning {
        /// Values in the latents.
        latents: usize,
        /// Values in the speaker embedding.
        speaker: usize,
    },
    /// The caller gave audio of another rate.
    #[error("reference audio at {actual_hz} Hz, where {expected_hz} Hz is needed")]
    SampleRate {
        /// What the model takes.
        expected_hz: u32,
        /// What came.
        actual_hz: u32,
    },
    /// There is not enough reference audio for a voice.
    #[error("the reference audio is too short: {duration_ms} ms in all")]
    ReferenceTooShort {
        /// Length of all references together.
        duration_ms: u64,
    },
    /// The model failed. Shared, because one step serves many requests.
    #[error("the speech synthesis model failed")]
    Inference(#[source] Arc<OnnxError>),
    /// The model's output cannot be heard.
    #[error("the model gave no usable speech: {0}")]
    BadOutput(&'static str),
    /// The work was stopped.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl From<OnnxError> for SynthesizeError {
    fn from(error: OnnxError) -> Self {
        Self::Inference(Arc::new(error))
    }
}

impl From<ort::Error> for SynthesizeError {
    fn from(error: ort::Error) -> Self {
        OnnxError::from(error).into()
    }
}

impl StageError for SynthesizeError {
    fn reason(&self) -> Reason {
        match self {
            Self::Load(_)
            | Self::NoVocoder { .. }
            | Self::Read { .. }
            | Self::Metadata { .. }
            | Self::Inconsistent { .. } => Reason::ModelUnavailable,
            Self::Text(error) => error.reason(),
            Self::UnsupportedLanguage(_) => Reason::UnsupportedLanguage,
            Self::NothingToSpeak => Reason::InvalidRequest,
            Self::TextTooLong { .. } => Reason::TextTooLong,
            Self::ForeignConditioning { .. } => Reason::InvalidRequest,
            Self::ReferenceTooShort { .. } => Reason::AudioTooShort,
            Self::Thread(_) | Self::SampleRate { .. } | Self::Inference(_) => Reason::Internal,
            Self::BadOutput(_) => Reason::BadOutput,
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}
