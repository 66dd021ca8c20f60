//! Replies and job events of the voice API.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::serialize;
use super::voice_reports::{
    AdminMetrics, FeedbackKept, History, LanguageSupport, ProfileDeleted, UserStats, VoiceHealth,
    VoiceProfileSummary, VoiceProfiles,
};
use crate::domain::measures::VoiceComparison;
use crate::domain::{Language, Private, PrivateText, Segment, Transcript, VoiceMeasures};
use crate::error::{ErrorCode, Reason};
use crate::protocol::request::RequestKind;
use crate::protocol::timestamp::Timestamp;

/// Why a request of the voice API failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VoiceErrorCode {
    /// It lacks something, or asks for what is not offered.
    InvalidRequest,
    /// It does not say who asks.
    Unauthorized,
    /// It is about somebody else's.
    Forbidden,
    /// It is about something that is not there.
    NotFound,
    /// A model is not loaded, or the service is switched off.
    ServiceUnavailable,
    /// Our fault.
    InternalError,
    /// No language could be translated.
    TranslationFailed,
    /// The voice could not be made.
    VoiceCloneFailed,
    /// No transcript could be made.
    TranscriptionFailed,
    /// No translation could be spoken.
    TtsFailed,
    /// The recording is longer, or larger, than the daemon takes.
    AudioTooLong,
    /// The recording is too short for what was asked.
    AudioTooShort,
    /// The bytes are no audio that can be read.
    UnsupportedFormat,
    /// No installed model serves the language.
    LanguageNotSupported,
    /// More work waits than is taken.
    QuotaExceeded,
    /// The time allowed has passed.
    Timeout,
}

impl VoiceErrorCode {
    /// The code for a failure: the reason where it says enough, else what failed.
    pub fn of(code: ErrorCode, reason: Reason) -> Self {
        match reason {
            Reason::InvalidRequest | Reason::NoAudio | Reason::TextTooLong => Self::InvalidRequest,
            Reason::Unauthorized => Self::Unauthorized,
            Reason::Forbidden => Self::Forbidden,
            Reason::NotFound => Self::NotFound,
            Reason::UnsupportedCodec | Reason::MalformedAudio => Self::UnsupportedFormat,
            Reason::AudioTooLong | Reason::AudioTooLarge => Self::AudioTooLong,
            Reason::AudioTooShort => Self::AudioTooShort,
            Reason::UnsupportedLanguage => Self::LanguageNotSupported,
            Reason::ModelUnavailable => Self::ServiceUnavailable,
            Reason::DeadlineExceeded => Self::Timeout,
            Reason::Overloaded => Self::QuotaExceeded,
            Reason::BadOutput | Reason::Cancelled | Reason::Internal => match code {
                ErrorCode::TranscriptionFailed => Self::TranscriptionFailed,
                ErrorCode::TranslationFailed => Self::TranslationFailed,
                ErrorCode::TtsFailed => Self::TtsFailed,
                ErrorCode::VoiceCloneFailed => Self::VoiceCloneFailed,
                ErrorCode::PipelineUnavailable => Self::ServiceUnavailable,
                ErrorCode::ProcessingFailed => Self::InternalError,
            },
        }
    }
}

/// `voice_api_error`
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceApiError {
    /// The request's id.
    pub task_id: String,
    /// The request's type.
    pub request_type: String,
    /// For people.
    pub error: String,
    /// For programs.
    pub error_code: VoiceErrorCode,
    /// Finer than the code.
    pub reason: Reason,
    /// Now.
    pub timestamp: Timestamp,
}

/// `voice_api_success`
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceApiSuccess {
    /// The request's id.
    pub task_id: String,
    /// The request's type.
    pub request_type: RequestKind,
    /// What was asked for.
    pub result: VoiceApiResult,
    /// From the request's acceptance.
    pub processing_time_ms: u64,
    /// Now.
    pub timestamp: Timestamp,
}

/// The result of a request, by its shape.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum VoiceApiResult {
    /// A recording in other languages.
    Translation(Box<VoiceTranslation>),
    /// A job that was accepted.
    JobAccepted(JobAccepted),
    /// How far a job is.
    JobStatus(Box<JobStatus>),
    /// What became of a cancellation.
    JobCancelled(JobCancelled),
    /// What was measured in a voice.
    Analysis(Box<VoiceMeasures>),
    /// How alike two voices are.
    Comparison(VoiceComparison),
    /// Feedback was kept.
    Feedback(FeedbackKept),
    /// A part of the user's history.
    History(History),
    /// Figures about the user's translations.
    Stats(UserStats),
    /// Figures about the daemon.
    AdminMetrics(AdminMetrics),
    /// Which services work.
    Health(VoiceHealth),
    /// Which languages are served.
    Languages(Vec<LanguageSupport>),
    /// A voice.
    Profile(VoiceProfileSummary),
    /// The user's voices.
    Profiles(VoiceProfiles),
    /// A voice was forgotten.
    ProfileDeleted(ProfileDeleted),
}

/// A recording in other languages, with its speech inside.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceTranslation {
    /// Names it for feedback.
    pub translation_id: String,
    /// What was said.
    pub original_audio: OriginalAudio,
    /// Each language that can be heard.
    pub translations: Vec<VoiceTranslationAudio>,
    /// The voice that speaks, where it is the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_profile: Option<UsedVoice>,
    /// From the request's acceptance.
    pub processing_time_ms: u64,
}

/// What was said in the recording.
#[derive(Debug, Clone)]
pub struct OriginalAudio(pub Transcript);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireOriginalAudio<'a> {
    transcription: &'a str,
    language: Language,
    duration_ms: u64,
    #[serde(serialize_with = "serialize::unit_interval")]
    confidence: f32,
    #[serde(
        skip_serializing_if = "<[Segment]>::is_empty",
        serialize_with = "serialize::segments"
    )]
    segments: &'a [Segment],
}

impl Serialize for OriginalAudio {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let transcript = &self.0;
        let is_blank = transcript.is_blank();
        WireOriginalAudio {
            transcription: if is_blank {
                ""
            } else {
                transcript.text.expose()
            },
            language: transcript.language,
            duration_ms: transcript.duration_ms,
            confidence: if is_blank { 0.0 } else { transcript.confidence },
            segments: if is_blank { &[] } else { &transcript.segments },
        }
        .serialize(serializer)
    }
}

/// The recording in one language.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceTranslationAudio {
    /// The language in canonical form.
    pub target_language: Language,
    /// Never empty.
    pub translated_text: PrivateText,
    /// MP3.
    pub audio_base64: PrivateText,
    /// The file below the web root, where there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audio_url: String,
    /// Length of the speech.
    pub duration_ms: u64,
    /// True when it is the user's voice.
    pub voice_cloned: bool,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub voice_quality: f32,
    /// Timed on the speech; at least one.
    #[serde(serialize_with = "serialize::segments")]
    pub segments: Vec<Segment>,
}

/// The user's voice as a translation used it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsedVoice {
    /// The profile's id.
    pub profile_id: String,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub quality: f32,
    /// True when the request made it.
    pub is_new: bool,
}

/// A job that was accepted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobAccepted {
    /// Names the job.
    pub job_id: String,
    /// `pending`
    pub status: JobStatusName,
}

/// Where a job of the voice API stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatusName {
    /// It waits for its turn.
    Pending,
    /// It is being worked on.
    Processing,
    /// It has its result.
    Completed,
    /// It failed.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

/// How far a job is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// Names the job.
    pub job_id: String,
    /// The same, as older clients read it.
    pub id: String,
    /// Whose job it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The same, as older clients read it.
    #[serde(rename = "user_id", skip_serializing_if = "Option::is_none")]
    pub user_id_snake: Option<String>,
    /// Where it stands.
    pub status: JobStatusName,
    /// In percent.
    pub progress: u8,
    /// The stage that was begun last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step: Option<&'static str>,
    /// When it was accepted.
    #[serde(with = "crate::domain::timestamp")]
    pub created_at: OffsetDateTime,
    /// When its present attempt was begun.
    #[serde(with = "optional_time", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "optional_time", skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<OffsetDateTime>,
    /// What its event carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Private<Value>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Points in time that may be absent; used with `skip_serializing_if`.
mod optional_time {
    use serde::Serializer;
    use time::OffsetDateTime;

    pub(super) fn serialize<S: Serializer>(
        at: &Option<OffsetDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => crate::domain::timestamp::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// What became of a cancellation.
#[derive(Debug, Clone, Serialize)]
pub struct JobCancelled {
    /// False when the job had ended before.
    pub success: bool,
    /// For people.
    pub message: String,
}

/// `voice_translation_completed`: a job of the voice API has its result.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceTranslationCompleted {
    /// Names the job.
    pub job_id: String,
    /// `completed`
    pub status: JobStatusName,
    /// Whose job it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Now.
    pub timestamp: Timestamp,
    /// The result; shared, for speech in base64 is large.
    pub result: Arc<VoiceTranslation>,
    /// What the request brought for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_metadata: Option<Private<Value>>,
}

/// `voice_translation_failed`: a job of the voice API will have no result.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceTranslationFailed {
    /// Names the job.
    pub job_id: String,
    /// `failed`
    pub status: JobStatusName,
    /// Whose job it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Now.
    pub timestamp: Timestamp,
    /// For people.
    pub error: String,
    /// For programs.
    pub error_code: VoiceErrorCode,
    /// Finer than the code.
    pub reason: Reason,
    /// What the request brought for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_metadata: Option<Private<Value>>,
}

/// `voice_job_progress`: a job of the voice API has come further.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceJobProgress {
    /// The request's id.
    pub task_id: String,
    /// Names the job.
    pub job_id: String,
    /// In percent.
    pub progress: u8,
    /// What begins now.
    pub current_step: &'static str,
    /// Now.
    pub timestamp: Timestamp,
}
