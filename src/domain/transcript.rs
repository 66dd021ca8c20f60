//! What was said in a recording.

use serde::{Deserialize, Serialize};

use super::{Language, PrivateText};

/// Who produced a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptSource {
    /// The sender's device.
    Mobile,
    /// The transcribe stage.
    Whisper,
}

/// A stretch of speech with its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The words, trimmed.
    pub text: PrivateText,
    /// Start from the beginning of the audio.
    pub start_ms: u64,
    /// End from the beginning of the audio, at least `start_ms`.
    pub end_ms: u64,
    /// Probability in 0..1 that the words are right, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<f32>,
    /// Who speaks, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speaker_id: Option<String>,
    /// How close the speaker is to the sender's voice, in 0..1, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub voice_similarity_score: Option<f32>,
    /// The language of the words, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub language: Option<Language>,
}

/// The text of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcript {
    /// Segment texts joined by one space; empty when nobody speaks.
    pub text: PrivateText,
    /// The language spoken.
    pub language: Language,
    /// Probability in 0..1 that language and words are right; 0 when the text is blank.
    pub confidence: f32,
    /// Who produced it.
    pub source: TranscriptSource,
    /// Length of the recording.
    pub duration_ms: u64,
    /// Name of the model, or of the device's recogniser.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Parts in order of time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub segments: Vec<Segment>,
}

impl Transcript {
    /// True when nobody speaks: there is nothing to translate.
    pub fn is_blank(&self) -> bool {
        self.text.expose().trim().is_empty()
    }
}
