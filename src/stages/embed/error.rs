//! What can go wrong when a recording becomes a speaker embedding.

use crate::domain::Stop;
use crate::error::Reason;
use crate::onnx::OnnxError;
use crate::stages::StageError;

/// Why there is no speaker embedding.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The model could not be loaded.
    #[error("the speaker embedding model could not be loaded")]
    Load(#[source] OnnxError),
    /// The model is of another kind.
    #[error("the model is no tone colour extractor: {0}")]
    Signature(&'static str),
    /// The caller gave audio of another rate.
    #[error("audio at {actual_hz} Hz, where {expected_hz} Hz is needed")]
    SampleRate {
        /// What the model takes.
        expected_hz: u32,
        /// What came.
        actual_hz: u32,
    },
    /// There is not enough speech to tell a voice.
    #[error("{duration_ms} ms of audio, where at least {minimum_ms} ms are needed")]
    TooShort {
        /// Length of the audio.
        duration_ms: u64,
        /// Least length.
        minimum_ms: u64,
    },
    /// The model failed.
    #[error("the speaker embedding model failed")]
    Inference(#[from] ort::Error),
    /// The model gave nothing that can be compared.
    #[error("the speaker embedding is empty or not finite")]
    BadOutput,
    /// The work was stopped.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for EmbedError {
    fn reason(&self) -> Reason {
        match self {
            Self::Load(_) | Self::Signature(_) => Reason::ModelUnavailable,
            Self::SampleRate { .. } | Self::Inference(_) => Reason::Internal,
            Self::TooShort { .. } => Reason::AudioTooShort,
            Self::BadOutput => Reason::BadOutput,
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}
