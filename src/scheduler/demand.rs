//! What a job asks of the queues and of the memory.

use std::sync::Arc;

use bytes::Bytes;

use super::Lane;
use crate::ledger::{JobDetails, UnfinishedJob};
use crate::protocol::{AudioSource, Request};

/// Decoded speech: one channel of 32-bit floats, at the rate of Opus.
const DECODED_BYTES_PER_SECOND: u64 = 48_000 * 4;
/// Bitrate below which no codec for voices goes in practice: 16 kbit/s.
const LOWEST_BYTES_PER_SECOND: u64 = 2_000;
/// Bitrate up to which a sender is believed how long the recording is: 128 kbit/s.
const BELIEVED_BYTES_PER_SECOND: u64 = 16_000;

/// Below that nobody speaks, in whatever script.
const SLOWEST_CHARACTERS_PER_SECOND: u64 = 2;

/// Who sends; those who do not say it are one sender.
pub(super) type Sender = Option<Arc<str>>;

/// What a job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Where it waits.
    pub lane: Lane,
    /// Whose turn it takes.
    pub(super) sender: Sender,
    /// Bytes of the request with its frames.
    pub size_bytes: u64,
    /// Memory that the work is expected to take: an estimate to the safe side, made before anything is
    /// decoded.
    pub memory_bytes: u64,
}

impl Demand {
    /// The demand of a request that came as `frames`; no recording decodes to more than
    /// `max_decoded_bytes`.
    pub fn of(request: &Request, lane: Lane, frames: &[Bytes], max_decoded_bytes: u64) -> Self {
        let size_bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        let claimed_ms = match request {
            Request::AudioProcess(request) => request.claimed_duration_ms,
            _ => None,
        };
        let decoded = |sources: &[AudioSource]| {
            let inline = sources.iter().find_map(|source| match source {
                AudioSource::Frame(bytes) => Some(bytes.expose().len() as u64),
                AudioSource::Base64(text) => Some(text.expose().len() as u64 / 4 * 3),
                AudioSource::Url(_) | AudioSource::Path(_) => None,
            });
            let seconds = match (inline, claimed_ms) {
                // Elsewhere: its length is not known.
                (None, _) => return max_decoded_bytes,
                (Some(bytes), None) => bytes / LOWEST_BYTES_PER_SECOND,
                (Some(bytes), Some(claimed)) => {
                    (claimed / 1000).max(bytes / BELIEVED_BYTES_PER_SECOND)
                }
            };
            decoded_bytes(seconds, max_decoded_bytes)
        };
        let recordings = request.recordings();
        let decoded: u64 = recordings.iter().map(|sources| decoded(sources)).sum();
        Self {
            lane,
            sender: request.user_id().map(Arc::from),
            size_bytes,
            memory_bytes: Self::memory(size_bytes, decoded),
        }
    }

    /// The demand of recordings of so many bytes that were received piece by piece.
    pub(super) fn of_uploads(
        lane: Lane,
        user_id: Option<&str>,
        sizes: &[u64],
        max_decoded_bytes: u64,
    ) -> Self {
        let size_bytes = sizes.iter().sum();
        let decoded = |bytes| decoded_bytes(bytes / LOWEST_BYTES_PER_SECOND, max_decoded_bytes);
        let decoded = sizes.iter().copied().map(decoded).sum();
        Self {
            lane,
            sender: user_id.map(Arc::from),
            size_bytes,
            memory_bytes: Self::memory(size_bytes, decoded),
        }
    }

    /// The demand of a text that is to be spoken.
    pub fn of_spoken_text(user_id: Option<&str>, text: &str) -> Self {
        let size_bytes = text.len() as u64;
        let seconds = text.chars().count() as u64 / SLOWEST_CHARACTERS_PER_SECOND;
        Self {
            lane: Lane::Audio,
            sender: user_id.map(Arc::from),
            size_bytes,
            memory_bytes: Self::memory(size_bytes, decoded_bytes(seconds, u64::MAX)),
        }
    }

    /// The demand of a job of the daemon's own that hears recordings from elsewhere one by one.
    pub(super) fn of_task(
        lane: Lane,
        user_id: Option<&str>,
        size_bytes: u64,
        max_decoded_bytes: u64,
    ) -> Self {
        let decoded = if lane.needs_audio() {
            max_decoded_bytes
        } else {
            0
        };
        Self {
            lane,
            sender: user_id.map(Arc::from),
            size_bytes,
            memory_bytes: Self::memory(size_bytes, decoded),
        }
    }

    /// The demand of a text that is in no ledger.
    pub(super) fn of_text(lane: Lane, size_bytes: u64) -> Self {
        Self {
            lane,
            sender: None,
            size_bytes,
            memory_bytes: Self::memory(size_bytes, 0),
        }
    }

    /// The demand of a job of an earlier run.
    pub(super) fn of_unfinished(job: &UnfinishedJob) -> Self {
        Self {
            lane: Lane::from_name(&job.lane),
            sender: job.user_id.as_deref().map(Arc::from),
            size_bytes: job.size_bytes,
            memory_bytes: job.memory_bytes,
        }
    }

    /// The demand of a job that has ended and is to be done once more.
    pub(super) fn of_ended(job: &JobDetails) -> Self {
        Self {
            lane: Lane::from_name(&job.summary.lane),
            sender: job.summary.user_id.as_deref().map(Arc::from),
            size_bytes: job.payload_bytes,
            memory_bytes: job.memory_bytes,
        }
    }

    /// A request is in memory as it came, as text, and as bytes; samples also at the rates of the models.
    fn memory(size_bytes: u64, decoded_bytes: u64) -> u64 {
        size_bytes.saturating_mul(3) + decoded_bytes.saturating_mul(3) / 2
    }
}

/// Samples of so many seconds, and of one that was begun.
fn decoded_bytes(seconds: u64, max_decoded_bytes: u64) -> u64 {
    (seconds + 1)
        .saturating_mul(DECODED_BYTES_PER_SECOND)
        .min(max_decoded_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::parse;

    const MAX_DECODED_BYTES: u64 = 256 << 20;

    fn demand(request: &serde_json::Value, audio: Option<usize>) -> Demand {
        let frames: Vec<Bytes> = std::iter::once(request.to_string().into())
            .chain(audio.map(|bytes| vec![0; bytes].into()))
            .collect();
        let request = parse(&frames).unwrap();
        let lane = Lane::of(&request).unwrap();
        Demand::of(&request, lane, &frames, MAX_DECODED_BYTES)
    }

    fn voice_message(duration_ms: Option<u64>) -> serde_json::Value {
        json!({
            "type": "audio_process", "messageId": "m", "attachmentId": "a", "senderId": "speaker",
            "conversationId": "c", "targetLanguages": ["fr"], "audioDurationMs": duration_ms,
            "binaryFrames": {"audio": 1},
        })
    }

    #[test]
    fn a_recording_is_as_long_as_its_bytes_can_be_unless_its_sender_says_less_and_may_be_believed()
    {
        let mib = |request, audio| demand(&request, audio).memory_bytes >> 20;
        let of_bytes = demand(&voice_message(None), Some(120_000));
        assert_eq!(of_bytes.sender.as_deref(), Some("speaker"));
        assert!(of_bytes.size_bytes > 120_000);
        assert_eq!(of_bytes.memory_bytes >> 20, 17, "a minute at 16 kbit/s");
        assert_eq!(mib(voice_message(Some(30_000)), Some(120_000)), 8);
        assert_eq!(mib(voice_message(Some(1)), Some(1_200_000)), 24, "75 s");
        assert_eq!(mib(voice_message(Some(u64::MAX)), Some(120_000)), 384);
    }

    #[test]
    fn what_lies_elsewhere_may_be_as_long_as_any_and_a_text_takes_little() {
        let elsewhere = json!({
            "type": "voice_compare", "taskId": "t", "userId": "u",
            "audioPath_1": "/a.ogg", "audioPath_2": "/b.ogg",
        });
        assert_eq!(demand(&elsewhere, None).memory_bytes >> 20, 2 * 384);
        let text = json!({
            "type": "translation", "text": "hello", "sourceLanguage": "en", "targetLanguages": ["fr"],
            "messageId": "m", "conversationId": "c",
        });
        let text = demand(&text, None);
        assert_eq!(text.sender, None);
        assert_eq!(text.memory_bytes, 3 * text.size_bytes);
    }
}
