//! What was said in a recording.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Language;

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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The words, trimmed.
    pub text: String,
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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transcript {
    /// Segment texts joined by one space; empty when nobody speaks.
    pub text: String,
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
        self.text.trim().is_empty()
    }
}

/// Shows times and length only: what people say is personal data.
impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("characters", &self.text.chars().count())
            .field("start_ms", &self.start_ms)
            .field("end_ms", &self.end_ms)
            .finish_non_exhaustive()
    }
}

/// Shows shape and length only: what people say is personal data.
impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript")
            .field("characters", &self.text.chars().count())
            .field("language", &self.language)
            .field("confidence", &self.confidence)
            .field("source", &self.source)
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}
