//! What can go wrong when speech becomes text.

use std::path::PathBuf;

use whisper_rs::WhisperError;

use super::ggml::ModelFileError;
use crate::domain::Stop;
use crate::error::Reason;
use crate::onnx::OnnxError;
use crate::stages::StageError;

/// Why a model could not be loaded or a recording not be transcribed.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    /// The model file is missing or not intact.
    #[error("{path} is not a usable Whisper model")]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ModelFileError,
    },
    /// whisper.cpp refused an intact model file.
    #[error("whisper.cpp could not load {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What whisper.cpp said.
        #[source]
        source: WhisperError,
    },
    /// The GPU was asked for in a build that cannot use it.
    #[error("the GPU was asked for, but this program was built without the feature `cuda`")]
    NoGpu,
    /// The operating system refuses a thread to hear with.
    #[error("there is no thread to hear a recording with")]
    Thread(#[source] std::io::Error),
    /// The recording is not at the rate that Whisper hears.
    #[error("audio at {found_hz} Hz was given where 16000 Hz is needed")]
    SampleRate {
        /// The rate of the recording.
        found_hz: u32,
    },
    /// The recording has more samples than whisper.cpp can count.
    #[error("the recording is too long for one transcription")]
    TooLong,
    /// The memory for one transcription could not be had.
    #[error("whisper.cpp could not allocate its state")]
    State(#[source] WhisperError),
    /// A pass over the model failed.
    #[error("whisper.cpp could not transcribe")]
    Inference(#[source] WhisperError),
    /// The voice activity detector could not be loaded.
    #[error("the voice activity detector could not be loaded")]
    LoadVad(#[source] OnnxError),
    /// The graph is of another kind.
    #[error("the model is no voice activity detector: it has no {0:?}")]
    VadSignature(&'static str),
    /// The voice activity detector failed.
    #[error("the voice activity detector failed")]
    VadInference(#[from] ort::Error),
    /// The voice activity detector gave no probability.
    #[error("the voice activity detector gave no probability")]
    VadOutput,
    /// The recognizer panicked.
    #[error("the recognizer panicked")]
    Panicked,
    /// The work was stopped before it was done.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for TranscribeError {
    fn reason(&self) -> Reason {
        match self {
            Self::ModelFile { .. }
            | Self::Load { .. }
            | Self::NoGpu
            | Self::LoadVad(_)
            | Self::VadSignature(_) => Reason::ModelUnavailable,
            Self::TooLong => Reason::AudioTooLong,
            Self::Thread(_)
            | Self::Panicked
            | Self::SampleRate { .. }
            | Self::State(_)
            | Self::Inference(_)
            | Self::VadInference(_) => Reason::Internal,
            Self::VadOutput => Reason::BadOutput,
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}
