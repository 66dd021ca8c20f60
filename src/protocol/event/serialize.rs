//! How domain values are written: no `null`, no NaN, ordered times.

use serde::{Serialize, Serializer};

use crate::domain::{Language, Segment, Transcript, TranscriptSource};

/// A probability or quality: in 0..1, four decimals, 0 for what is not a number.
pub(super) fn unit_interval<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_unit_interval(*value))
}

fn to_unit_interval(value: f32) -> f64 {
    let value = if value.is_nan() {
        0.0
    } else {
        f64::from(value.clamp(0.0, 1.0))
    };
    (value * 10_000.0).round() / 10_000.0
}

/// A duration in seconds with three decimals.
pub(super) fn seconds<S: Serializer>(
    value: &std::time::Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// [`seconds`] of what may be absent; used with `skip_serializing_if`.
pub(super) fn optional_seconds<S: Serializer>(
    value: &Option<std::time::Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    seconds(&value.unwrap_or_default(), serializer)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSegment<'a> {
    text: &'a str,
    start_ms: u64,
    end_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_similarity_score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
}

impl<'a> From<&'a Segment> for WireSegment<'a> {
    fn from(segment: &'a Segment) -> Self {
        Self {
            text: segment.text.expose(),
            start_ms: segment.start_ms,
            end_ms: segment.end_ms.max(segment.start_ms),
            confidence: segment.confidence.map(to_unit_interval),
            speaker_id: segment.speaker_id.as_deref(),
            voice_similarity_score: segment.voice_similarity_score.map(to_unit_interval),
            language: segment.language,
        }
    }
}

/// Segments as transcripts and translated audios carry them.
pub(super) fn segments<S: Serializer>(
    segments: &[Segment],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(segments.iter().map(WireSegment::from))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTranscription<'a> {
    text: &'a str,
    language: Language,
    confidence: f64,
    duration_ms: u64,
    source: TranscriptSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    segments: Vec<WireSegment<'a>>,
}

/// The transcription object; a blank one has confidence 0 and no words at all.
pub(super) fn transcription<S: Serializer>(
    transcript: &Transcript,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let is_blank = transcript.is_blank();
    let wire = WireTranscription {
        text: if is_blank {
            ""
        } else {
            transcript.text.expose()
        },
        language: transcript.language,
        confidence: if is_blank {
            0.0
        } else {
            to_unit_interval(transcript.confidence)
        },
        duration_ms: transcript.duration_ms,
        source: transcript.source,
        model: transcript.model.as_deref(),
        segments: if is_blank {
            Vec::new()
        } else {
            transcript.segments.iter().map(WireSegment::from).collect()
        },
    };
    wire.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_range_and_never_null() {
        for (value, expected) in [
            (f32::NAN, 0.0),
            (f32::INFINITY, 1.0),
            (-0.5, 0.0),
            (0.82, 0.82),
            (0.123_456, 0.1235),
        ] {
            assert_eq!(to_unit_interval(value), expected, "{value}");
        }
    }
}
