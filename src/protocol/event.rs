//! What the gateway is told.

mod audio;
mod serialize;
mod system;
mod text;
mod voice;
mod voice_profile;
mod voice_reports;

use bytes::Bytes;
use serde::Serialize;

pub use audio::{
    AUDIO_MP3, AudioFailure, AudioJob, AudioProcessCompleted, AudioTranslation, Failure,
    NewVoiceProfile, TranscriptionResult, TranslatedAudio,
};
pub use system::Pong;
pub use text::{
    POOL_FULL, PoolType, StoryTextCompleted, TextErrorMetadata, TextMetadata, TextResult,
    TranslationCompleted, TranslationError, TranslationSkipped,
};
pub use voice::{
    JobAccepted, JobCancelled, JobStatus, JobStatusName, OriginalAudio, UsedVoice, VoiceApiError,
    VoiceApiResult, VoiceApiSuccess, VoiceErrorCode, VoiceJobProgress, VoiceTranslation,
    VoiceTranslationAudio, VoiceTranslationCompleted, VoiceTranslationFailed,
};
pub use voice_profile::{
    ProfileTranscription, VoicePreview, VoiceProfileAnalyzed, VoiceProfileCompared,
    VoiceProfileError, VoiceProfileVerified,
};
pub use voice_reports::{
    AdminMetrics, FeedbackKept, HealthStatus, History, HistoryEntry, LanguageFeatures,
    LanguageSupport, ProfileDeleted, UserStats, VoiceHealth, VoiceLatency, VoiceProfileSummary,
    VoiceProfiles, VoiceServices,
};

use super::frames::{Attachments, Frames};

/// One event; the variant's name in snake case is its `type`, unless given.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The daemon is there.
    Pong(Pong),
    /// A text in one more language.
    TranslationCompleted(Box<TranslationCompleted>),
    /// A text will get no more languages.
    TranslationError(TranslationError),
    /// A text was not worth an attempt; precedes the error.
    TranslationSkipped(TranslationSkipped),
    /// A story's text in all its languages.
    #[serde(rename = "story_text_object_translation_completed")]
    StoryTextCompleted(StoryTextCompleted),
    /// What was said, before anything is translated.
    TranscriptionReady(Box<TranscriptionResult>),
    /// The speech of a job's only target language.
    AudioTranslationReady(Box<AudioTranslation>),
    /// The speech of one of several languages, but not the last to be done.
    AudioTranslationsProgressive(Box<AudioTranslation>),
    /// The speech of the last of several languages.
    AudioTranslationsCompleted(Box<AudioTranslation>),
    /// Everything about a voice message.
    AudioProcessCompleted(Box<AudioProcessCompleted>),
    /// A voice message failed.
    AudioProcessError(AudioFailure),
    /// What was said, for a request that wanted nothing more.
    TranscriptionCompleted(Box<TranscriptionResult>),
    /// A transcription failed.
    TranscriptionError(AudioFailure),
    /// A request of the voice API has its result.
    VoiceApiSuccess(Box<VoiceApiSuccess>),
    /// A request of the voice API failed.
    VoiceApiError(VoiceApiError),
    /// A job of the voice API has its result.
    VoiceTranslationCompleted(Box<VoiceTranslationCompleted>),
    /// A job of the voice API failed.
    VoiceTranslationFailed(Box<VoiceTranslationFailed>),
    /// A job of the voice API has come further.
    VoiceJobProgress(VoiceJobProgress),
    /// A voice was measured and kept.
    #[serde(rename = "voice_profile_analyze_result")]
    VoiceProfileAnalyzed(Box<VoiceProfileAnalyzed>),
    /// A recording was compared with a fingerprint.
    #[serde(rename = "voice_profile_verify_result")]
    VoiceProfileVerified(VoiceProfileVerified),
    /// Two fingerprints were compared.
    #[serde(rename = "voice_profile_compare_result")]
    VoiceProfileCompared(VoiceProfileCompared),
    /// A request of voice profiles failed.
    VoiceProfileError(VoiceProfileError),
}

/// The JSON of an event that describes its binary frames.
#[derive(Serialize)]
struct WithBinaryFrames<'a, D: Serialize> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(rename = "binaryFrames")]
    binary_frames: &'a D,
}

impl Event {
    /// The event's `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pong(_) => "pong",
            Self::TranslationCompleted(_) => "translation_completed",
            Self::TranslationError(_) => "translation_error",
            Self::TranslationSkipped(_) => "translation_skipped",
            Self::StoryTextCompleted(_) => "story_text_object_translation_completed",
            Self::TranscriptionReady(_) => "transcription_ready",
            Self::AudioTranslationReady(_) => "audio_translation_ready",
            Self::AudioTranslationsProgressive(_) => "audio_translations_progressive",
            Self::AudioTranslationsCompleted(_) => "audio_translations_completed",
            Self::AudioProcessCompleted(_) => "audio_process_completed",
            Self::AudioProcessError(_) => "audio_process_error",
            Self::TranscriptionCompleted(_) => "transcription_completed",
            Self::TranscriptionError(_) => "transcription_error",
            Self::VoiceApiSuccess(_) => "voice_api_success",
            Self::VoiceApiError(_) => "voice_api_error",
            Self::VoiceTranslationCompleted(_) => "voice_translation_completed",
            Self::VoiceTranslationFailed(_) => "voice_translation_failed",
            Self::VoiceJobProgress(_) => "voice_job_progress",
            Self::VoiceProfileAnalyzed(_) => "voice_profile_analyze_result",
            Self::VoiceProfileVerified(_) => "voice_profile_verify_result",
            Self::VoiceProfileCompared(_) => "voice_profile_compare_result",
            Self::VoiceProfileError(_) => "voice_profile_error",
        }
    }

    /// True when a gateway that has the event drops a repeat of it (contract/zmq.md, 5.5). Any other
    /// would be shown to people, or counted, once more.
    pub fn is_repeatable(&self) -> bool {
        matches!(
            self,
            Self::TranslationCompleted(_) | Self::AudioProcessCompleted(_)
        )
    }

    /// The frames to publish: the JSON, then audio and voice print where the event has them.
    ///
    /// # Errors
    /// None in practice: every event is plain data with string keys.
    pub fn frames(&self) -> Result<Frames, serde_json::Error> {
        let (json, payload) = match self {
            Self::AudioTranslationReady(event)
            | Self::AudioTranslationsProgressive(event)
            | Self::AudioTranslationsCompleted(event) => (
                serde_json::to_vec(self)?,
                vec![event.translated_audio.audio.expose().clone()],
            ),
            Self::AudioProcessCompleted(event) => {
                let attachments = event.attachments();
                let json = serde_json::to_vec(&WithBinaryFrames {
                    event: self,
                    binary_frames: attachments.descriptors(),
                })?;
                (json, attachments.into_frames())
            }
            Self::Pong(_)
            | Self::TranslationCompleted(_)
            | Self::TranslationError(_)
            | Self::TranslationSkipped(_)
            | Self::StoryTextCompleted(_)
            | Self::TranscriptionReady(_)
            | Self::AudioProcessError(_)
            | Self::TranscriptionCompleted(_)
            | Self::TranscriptionError(_)
            | Self::VoiceApiSuccess(_)
            | Self::VoiceApiError(_)
            | Self::VoiceTranslationCompleted(_)
            | Self::VoiceTranslationFailed(_)
            | Self::VoiceJobProgress(_)
            | Self::VoiceProfileAnalyzed(_)
            | Self::VoiceProfileVerified(_)
            | Self::VoiceProfileCompared(_)
            | Self::VoiceProfileError(_) => (serde_json::to_vec(self)?, Vec::new()),
        };
        Ok(std::iter::once(Bytes::from(json)).chain(payload).collect())
    }
}

impl AudioProcessCompleted {
    fn attachments(&self) -> Attachments {
        let mut attachments = Attachments::default();
        for audio in &self.translated_audios {
            let name = format!("audio_{}", audio.target_language);
            attachments.attach(name, audio.audio.expose(), Some(&audio.audio_mime_type));
        }
        if let Some(profile) = &self.new_voice_profile {
            attachments.attach("embedding".to_owned(), profile.embedding.expose(), None);
        }
        attachments
    }
}
