//! What can go wrong, in the words of the wire.

use serde::{Deserialize, Serialize};

use crate::domain::Stop;

/// A step of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading and checking the request.
    Intake,
    /// Container and codec to PCM.
    Decode,
    /// Speech to text.
    Transcribe,
    /// Text to text.
    Translate,
    /// Recording to speaker embedding and conditioning.
    Embed,
    /// Text to speech.
    Synthesize,
    /// PCM to MP3.
    Encode,
    /// Recording to acoustic measures.
    Measure,
}

impl Stage {
    /// The stage's name on the wire, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Decode => "decode",
            Self::Transcribe => "transcribe",
            Self::Translate => "translate",
            Self::Embed => "embed",
            Self::Synthesize => "synthesize",
            Self::Encode => "encode",
            Self::Measure => "measure",
        }
    }
}

/// The error codes that the gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No transcript could be made.
    TranscriptionFailed,
    /// No language could be translated.
    TranslationFailed,
    /// No translation could be spoken.
    TtsFailed,
    /// The sender's voice could not be cloned and nothing else was possible.
    VoiceCloneFailed,
    /// The models are not loaded.
    PipelineUnavailable,
    /// Anything else.
    ProcessingFailed,
}

/// The finer reason that travels beside an [`ErrorCode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The request lacks something or contradicts itself.
    InvalidRequest,
    /// The request does not say who asks.
    Unauthorized,
    /// It is about somebody else's.
    Forbidden,
    /// What it is about is not there.
    NotFound,
    /// The container or codec is not one that can be read.
    UnsupportedCodec,
    /// The bytes are no intact audio.
    MalformedAudio,
    /// Longer than the configured limit.
    AudioTooLong,
    /// More bytes than the configured limit.
    AudioTooLarge,
    /// Too short for what was asked.
    AudioTooShort,
    /// Nothing to decode, or nothing could be fetched.
    NoAudio,
    /// Longer than the configured limit.
    TextTooLong,
    /// No installed model covers the language.
    UnsupportedLanguage,
    /// The model is not there, not intact or not loaded.
    ModelUnavailable,
    /// The model's output was not usable.
    BadOutput,
    /// The time allowed has passed.
    DeadlineExceeded,
    /// Queues are full.
    Overloaded,
    /// Nobody waits any more.
    Cancelled,
    /// Our fault.
    Internal,
}

impl Reason {
    /// The reason's name on the wire, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::UnsupportedCodec => "unsupported_codec",
            Self::MalformedAudio => "malformed_audio",
            Self::AudioTooLong => "audio_too_long",
            Self::AudioTooLarge => "audio_too_large",
            Self::AudioTooShort => "audio_too_short",
            Self::NoAudio => "no_audio",
            Self::TextTooLong => "text_too_long",
            Self::UnsupportedLanguage => "unsupported_language",
            Self::ModelUnavailable => "model_unavailable",
            Self::BadOutput => "bad_output",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// True when the same work may succeed if it is tried again soon. A missing model is no such
    /// case: the job has already waited for it as long as it may.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::Internal)
    }
}

impl From<Stop> for Reason {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::DeadlineExceeded => Self::DeadlineExceeded,
            Stop::Cancelled => Self::Cancelled,
        }
    }
}

/// An error and its causes in one line.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
