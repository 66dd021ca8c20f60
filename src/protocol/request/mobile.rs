//! A transcript that the sender's device made.

use crate::domain::{Language, PrivateText, Segment};
use crate::protocol::fields::Fields;

/// Confidence of a mobile transcript that brings none.
const DEFAULT_CONFIDENCE: f32 = 0.85;

/// Latest time in a recording: what the documents' 32-bit integers hold, 24 days.
const MAX_MILLISECONDS: f64 = i32::MAX as f64;

/// Confidence of a segment that brings none.
const DEFAULT_SEGMENT_CONFIDENCE: f32 = 0.9;

/// What the recogniser of the sender's device heard; its text is never blank.
#[derive(Debug, Clone, PartialEq)]
pub struct MobileTranscription {
    /// The words.
    pub text: PrivateText,
    /// The language, where the device says a usable one.
    pub language: Option<Language>,
    /// Probability in 0..1 that the words are right.
    pub confidence: f32,
    /// Name of the recogniser, such as `ios_speech`.
    pub source: Option<String>,
    /// Parts as the device cut them; may be empty.
    pub segments: Vec<Segment>,
}

impl MobileTranscription {
    /// Reads `mobileTranscription`; one without words counts as absent.
    pub(super) fn take(fields: &mut Fields) -> Option<Self> {
        let mut mobile = fields.object("mobileTranscription")?;
        let text = mobile
            .string("text")
            .filter(|text| !text.trim().is_empty())?;
        let segments = mobile.array("segments").unwrap_or_default();
        Some(Self {
            text: text.into(),
            language: super::language::take_language(&mut mobile, "language"),
            confidence: mobile
                .unit_interval("confidence")
                .unwrap_or(DEFAULT_CONFIDENCE),
            source: mobile.id("source"),
            segments: segments
                .into_iter()
                .filter_map(|segment| read_segment(Fields::of(segment)?))
                .collect(),
        })
    }
}

fn read_segment(mut fields: Fields) -> Option<Segment> {
    let text = fields.private("text")?;
    let start_ms = milliseconds(&fields, "startMs", "start_ms")?;
    let end_ms = milliseconds(&fields, "endMs", "end_ms")?;
    Some(Segment {
        text,
        start_ms,
        end_ms: end_ms.max(start_ms),
        confidence: Some(
            fields
                .unit_interval("confidence")
                .unwrap_or(DEFAULT_SEGMENT_CONFIDENCE),
        ),
        speaker_id: fields.id("speakerId"),
        voice_similarity_score: fields.unit_interval("voiceSimilarityScore"),
        language: super::language::take_language(&mut fields, "language"),
    })
}

/// Older apps write snake case; some recognisers give fractions.
fn milliseconds(fields: &Fields, key: &str, older_key: &str) -> Option<u64> {
    let value = fields.number(key).or_else(|| fields.number(older_key))?;
    Some(value.clamp(0.0, MAX_MILLISECONDS).round() as u64)
}
