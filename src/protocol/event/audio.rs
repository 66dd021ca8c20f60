//! Events of voice messages.

use serde::Serialize;

use super::serialize;
use crate::domain::{Language, PrivateBytes, PrivateText, Segment, Transcript};
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::timestamp::Timestamp;

/// Media type of MP3 for the gateway, which makes the file extension of what follows the slash.
pub const AUDIO_MP3: &str = "audio/mp3";

/// The ids that every event of one job carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AudioJob {
    /// The same in all events of a job, and different for each job: the gateway tells repeats by it.
    pub task_id: String,
    /// The message.
    pub message_id: String,
    /// The recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment_id: Option<String>,
    /// The post, for recordings that belong to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_id: Option<String>,
    /// The post's medium.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_media_id: Option<String>,
}

/// `transcription_ready` or `transcription_completed`: what was said.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TranscriptionResult {
    /// Which job.
    #[serde(flatten)]
    pub job: AudioJob,
    /// What was said; blank only in `transcription_completed`.
    #[serde(serialize_with = "serialize::transcription")]
    pub transcription: Transcript,
    /// From the job's acceptance.
    pub processing_time_ms: u64,
    /// Now.
    pub timestamp: Timestamp,
}

/// The recording in another language, as text and as speech.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TranslatedAudio {
    /// The language in canonical form.
    pub target_language: Language,
    /// Never empty.
    pub translated_text: PrivateText,
    /// The file below the web root, or empty.
    pub audio_url: String,
    /// The file below the working folder, or empty.
    pub audio_path: String,
    /// Length of the speech.
    pub duration_ms: u64,
    /// True when it is the sender's voice.
    pub voice_cloned: bool,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub voice_quality: f32,
    /// Who speaks, such as `xtts`: what the gateway does not know it leaves alone.
    pub tts_model: String,
    /// [`AUDIO_MP3`].
    pub audio_mime_type: String,
    /// Timed on the speech; at least one.
    #[serde(serialize_with = "serialize::segments")]
    pub segments: Vec<Segment>,
    /// The speech itself: travels in a frame of its own.
    #[serde(skip)]
    pub audio: PrivateBytes,
}

/// `audio_translation_ready`, `audio_translations_progressive` or `audio_translations_completed`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AudioTranslation {
    #[serde(flatten)]
    job: AudioJob,
    language: Language,
    pub(super) translated_audio: TranslatedAudio,
    timestamp: Timestamp,
}

impl AudioTranslation {
    /// One language of a job.
    pub fn new(job: AudioJob, translated_audio: TranslatedAudio, timestamp: Timestamp) -> Self {
        Self {
            job,
            language: translated_audio.target_language,
            translated_audio,
            timestamp,
        }
    }
}

/// A voice that was made or improved in the job, for the gateway to keep.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewVoiceProfile {
    /// Whose voice it is.
    pub user_id: String,
    /// The profile's id.
    pub profile_id: String,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub quality_score: f32,
    /// Recordings it was learnt from.
    pub audio_count: u32,
    /// Their length together.
    pub total_duration_ms: u64,
    /// Grows with each improvement.
    pub version: u32,
    /// The voice print, in the daemon's own encoding: travels in a frame of its own and comes back
    /// unchanged in later requests.
    #[serde(skip)]
    pub embedding: PrivateBytes,
}

/// `audio_process_completed`: everything about a voice message.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AudioProcessCompleted {
    /// Which job.
    #[serde(flatten)]
    pub job: AudioJob,
    /// What was said; may be blank.
    #[serde(serialize_with = "serialize::transcription")]
    pub transcription: Transcript,
    /// Only languages with speech, each once.
    pub translated_audios: Vec<TranslatedAudio>,
    /// Whose voice it is.
    pub voice_model_user_id: String,
    /// In 0..1; 0 without a voice model.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub voice_model_quality: f32,
    /// From the job's acceptance.
    pub processing_time_ms: u64,
    /// Now.
    pub timestamp: Timestamp,
    /// A voice for the gateway to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_voice_profile: Option<NewVoiceProfile>,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// For people; never quotes what was said.
    #[serde(rename = "error")]
    pub message: String,
    /// What the gateway knows.
    #[serde(rename = "errorCode")]
    pub code: ErrorCode,
    /// What we know beyond it.
    pub reason: Reason,
    /// Where it happened.
    pub stage: Stage,
}

/// `audio_process_error` or `transcription_error`.
#[derive(Debug, Clone, Serialize)]
pub struct AudioFailure {
    /// Which job.
    #[serde(flatten)]
    pub job: AudioJob,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
    /// Now.
    pub timestamp: Timestamp,
}
