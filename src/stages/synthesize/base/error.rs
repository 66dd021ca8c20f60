//! What can go wrong with base voices.

use std::path::PathBuf;

use super::program::ProgramError;
use crate::domain::{Language, Stop};
use crate::error::Reason;
use crate::onnx::OnnxError;
use crate::stages::StageError;
use crate::stages::decode::ResampleError;
use crate::stages::embed::EmbedError;

/// Why a base voice does not speak.
#[derive(Debug, thiserror::Error)]
pub enum BaseVoiceError {
    /// The program failed.
    #[error("{program} failed")]
    Program {
        /// The program.
        program: PathBuf,
        /// How.
        #[source]
        source: ProgramError,
    },
    /// The program is not there.
    #[error(
        "{program} was not found; install espeak-ng (Debian and Ubuntu: apt-get install espeak-ng), or name it in synthesize.espeak_program"
    )]
    NoProgram {
        /// What was looked for.
        program: PathBuf,
    },
    /// The program is another one.
    #[error("{program} does not list voices as espeak-ng does")]
    NotEspeak {
        /// The program.
        program: PathBuf,
    },
    /// A Piper voice's description could not be read.
    #[error("{path} could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// A Piper voice's description is not JSON, or lacks a key.
    #[error("{path} is no description of a Piper voice")]
    Config {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A Piper voice's description cannot be used.
    #[error("{path} cannot be used: {what}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// A graph could not be loaded.
    #[error("the model could not be loaded")]
    Load(#[source] OnnxError),
    /// The graph is another one.
    #[error("the model is no {kind}: {what}")]
    Signature {
        /// What it should be.
        kind: &'static str,
        /// What it lacks.
        what: &'static str,
    },
    /// No base voice speaks this language.
    #[error("no base voice speaks {0}")]
    UnsupportedLanguage(Language),
    /// Links, code, emojis and punctuation only.
    #[error("the text holds nothing that can be spoken")]
    NothingToSpeak,
    /// The model failed.
    #[error("the model failed")]
    Inference(#[from] ort::Error),
    /// What was said cannot be heard.
    #[error("the base voice gave no usable speech: {0}")]
    BadOutput(&'static str),
    /// The voice of what was said could not be told.
    #[error("the voice could not be embedded")]
    Embed(#[source] EmbedError),
    /// What was said could not be brought to another rate.
    #[error(transparent)]
    Resample(#[from] ResampleError),
    /// The work was stopped.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl BaseVoiceError {
    /// Why the work was stopped, if it was.
    pub(super) fn stop(&self) -> Option<Stop> {
        match self {
            Self::Stopped(stop)
            | Self::Program {
                source: ProgramError::Stopped(stop),
                ..
            }
            | Self::Embed(EmbedError::Stopped(stop)) => Some(*stop),
            _ => None,
        }
    }
}

impl StageError for BaseVoiceError {
    fn reason(&self) -> Reason {
        match self {
            Self::Program { source, .. } => match source {
                // It was there when the daemon started.
                ProgramError::Start(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Reason::ModelUnavailable
                }
                ProgramError::Start(_) | ProgramError::Pipe(_) => Reason::Internal,
                ProgramError::TooSlow(_) => Reason::DeadlineExceeded,
                ProgramError::TooMuch(_) => Reason::BadOutput,
                // What a signal ended may succeed next time; what failed by itself fails again.
                ProgramError::Ended(status) if status.code().is_none() => Reason::Internal,
                ProgramError::Ended(_) => Reason::BadOutput,
                ProgramError::Stopped(stop) => (*stop).into(),
            },
            Self::NoProgram { .. }
            | Self::NotEspeak { .. }
            | Self::Read { .. }
            | Self::Config { .. }
            | Self::Unusable { .. }
            | Self::Load(_)
            | Self::Signature { .. } => Reason::ModelUnavailable,
            Self::UnsupportedLanguage(_) => Reason::UnsupportedLanguage,
            Self::NothingToSpeak => Reason::InvalidRequest,
            Self::Inference(_) | Self::Resample(_) => Reason::Internal,
            Self::BadOutput(_) => Reason::BadOutput,
            Self::Embed(error) => error.reason(),
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}
