//! Replies about voice profiles, in snake case.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::serialize;
use crate::domain::{
    Language, Private, PrivateBytes, PrivateText, Transcript, TranscriptSource, VoiceMeasures,
};
use crate::protocol::timestamp::Timestamp;

/// `voice_profile_analyze_result`: a voice was measured and kept.
#[derive(Debug, Clone, Serialize)]
pub struct VoiceProfileAnalyzed {
    /// Names the request.
    pub request_id: String,
    /// Always true.
    pub success: bool,
    /// Whose voice it is.
    pub user_id: String,
    /// The profile's id.
    pub profile_id: String,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub quality_score: f32,
    /// Length of the recording.
    pub audio_duration_ms: u64,
    /// What was measured.
    pub voice_characteristics: VoiceMeasures,
    /// What recognises the voice later.
    pub fingerprint: Private<Value>,
    /// The fingerprint's name.
    pub fingerprint_id: String,
    /// The beginning of its signature.
    pub signature_short: String,
    /// Where the daemon keeps the voice.
    pub embedding_path: String,
    /// The voice, in the daemon's own encoding, as base64.
    #[serde(serialize_with = "base64")]
    pub embedding_data: PrivateBytes,
    /// Values of the speaker embedding in it.
    pub embedding_dimension: usize,
    /// What was said, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcription: Option<ProfileTranscription>,
    /// The voice in other languages, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_previews: Option<Vec<VoicePreview>>,
}

fn base64<S: serde::Serializer>(bytes: &PrivateBytes, serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    serializer.serialize_str(&STANDARD.encode(bytes.expose()))
}

/// What was said.
#[derive(Debug, Clone)]
pub struct ProfileTranscription {
    /// What was said.
    pub transcript: Transcript,
    /// For the transcription.
    pub processing_time_ms: u64,
}

#[derive(Serialize)]
struct WireTranscription<'a> {
    text: &'a str,
    language: Language,
    #[serde(serialize_with = "serialize::unit_interval")]
    confidence: f32,
    duration_ms: u64,
    source: TranscriptSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    segments: Vec<WireSegment<'a>>,
    processing_time_ms: u64,
}

#[derive(Serialize)]
struct WireSegment<'a> {
    text: &'a str,
    start_ms: u64,
    end_ms: u64,
    #[serde(serialize_with = "serialize::unit_interval")]
    confidence: f32,
}

impl Serialize for ProfileTranscription {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let transcript = &self.transcript;
        let segments = transcript.segments.iter().map(|segment| WireSegment {
            text: segment.text.expose(),
            start_ms: segment.start_ms,
            end_ms: segment.end_ms.max(segment.start_ms),
            confidence: segment.confidence.unwrap_or(transcript.confidence),
        });
        WireTranscription {
            text: transcript.text.expose().trim(),
            language: transcript.language,
            confidence: if transcript.is_blank() {
                0.0
            } else {
                transcript.confidence
            },
            duration_ms: transcript.duration_ms,
            source: transcript.source,
            model: transcript.model.as_deref(),
            segments: segments.collect(),
            processing_time_ms: self.processing_time_ms,
        }
        .serialize(serializer)
    }
}

/// The voice in another language.
#[derive(Debug, Clone, Serialize)]
pub struct VoicePreview {
    /// The language in canonical form.
    pub language: Language,
    /// What was to be said.
    pub original_text: PrivateText,
    /// What is said.
    pub translated_text: PrivateText,
    /// The speech.
    pub audio_base64: PrivateText,
    /// `mp3`
    pub audio_format: &'static str,
    /// Length of the speech.
    pub duration_ms: u64,
    /// When it was made.
    #[serde(with = "crate::domain::timestamp")]
    pub generated_at: OffsetDateTime,
}

/// `voice_profile_verify_result`: whether a recording is of the voice of a fingerprint.
#[derive(Debug, Clone, Serialize)]
pub struct VoiceProfileVerified {
    /// Names the request.
    pub request_id: String,
    /// Always true.
    pub success: bool,
    /// Whose voice it should be.
    pub user_id: String,
    /// Whether it is, as far as can be heard.
    pub is_match: bool,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub similarity_score: f32,
    /// The score from which it is.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub threshold: f32,
}

/// `voice_profile_compare_result`: whether two fingerprints are of one voice.
#[derive(Debug, Clone, Serialize)]
pub struct VoiceProfileCompared {
    /// Names the request.
    pub request_id: String,
    /// Always true.
    pub success: bool,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub similarity_score: f32,
    /// Whether they are.
    pub is_match: bool,
    /// The score from which they are.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub threshold: f32,
}

/// `voice_profile_error`
#[derive(Debug, Clone, Serialize)]
pub struct VoiceProfileError {
    /// Names the request.
    pub request_id: String,
    /// Whose voice it is about; empty for a comparison.
    pub user_id: String,
    /// For people.
    pub error: String,
    /// Always false.
    pub success: bool,
    /// Finer, for programs.
    pub reason: crate::error::Reason,
    /// Now.
    pub timestamp: Timestamp,
}
