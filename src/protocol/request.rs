//! What the gateway asks for.

mod audio;
mod damaged;
mod error;
mod keys;
mod language;
mod mobile;
mod text;
mod voice;
mod voice_profile;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use audio::{
    AudioProcessRequest, AudioSource, AudioSourceError, ExistingVoice, TranscriptionRequest,
    VoiceCloneHints,
};
pub use damaged::readable_request;
pub use error::{Problem, Rejection, RequestError, RequestIds};
pub use language::{MAX_TARGET_LANGUAGES, RequestedLanguage, TargetLanguages};
pub use mobile::MobileTranscription;
pub use text::{StoryTextRequest, TranslationRequest};
pub use voice::{
    FeedbackKind, FeedbackRequest, HistoryRequest, JobOptions, MAX_METADATA_BYTES, Page,
    ProfileRequest, StatsPeriod, VoiceApiRequest, VoiceCall, VoiceTranslateRequest,
};
pub use voice_profile::{
    Fingerprint, MAX_PREVIEW_CHARACTERS, ProfileAnalysis, VoiceProfileCall, VoiceProfileRequest,
};

use super::fields::Fields;
use super::frames::MAX_FRAMES;

/// A request that has all it needs.
#[derive(Debug)]
pub enum Request {
    /// Is the daemon there?
    Ping,
    /// A text to translate, one event for each language.
    Translation(TranslationRequest),
    /// A voice message to transcribe, translate and speak.
    AudioProcess(Box<AudioProcessRequest>),
    /// A recording to transcribe only.
    TranscriptionOnly(TranscriptionRequest),
    /// A text of a story to translate, one event for all languages.
    StoryText(StoryTextRequest),
    /// A request of the voice API.
    VoiceApi(Box<VoiceApiRequest>),
    /// A voice to measure, verify or compare for its owner's profile.
    VoiceProfile(Box<VoiceProfileRequest>),
}

impl Request {
    /// What is asked for.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Ping => RequestKind::Ping,
            Self::Translation(_) => RequestKind::Translation,
            Self::AudioProcess(_) => RequestKind::AudioProcess,
            Self::TranscriptionOnly(_) => RequestKind::TranscriptionOnly,
            Self::StoryText(_) => RequestKind::StoryText,
            Self::VoiceApi(request) => request.kind(),
            Self::VoiceProfile(request) => request.kind(),
        }
    }

    /// The id that answers carry, where the kind has one and the peer or [`set_task_id`](Self::set_task_id) gave it.
    pub fn task_id(&self) -> Option<&str> {
        match self {
            Self::Ping | Self::StoryText(_) => None,
            Self::Translation(request) => request.task_id.as_deref(),
            Self::AudioProcess(request) => request.task_id.as_deref(),
            Self::TranscriptionOnly(request) => Some(&request.task_id),
            Self::VoiceApi(request) => Some(&request.task_id),
            Self::VoiceProfile(request) => Some(&request.request_id),
        }
    }

    /// Whose voice the request holds, or who asks; where it says.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::AudioProcess(request) => Some(request.voice_owner_id()),
            Self::VoiceApi(request) => request.user_id.as_deref(),
            Self::VoiceProfile(request) => request.user_id.as_deref(),
            Self::Ping | Self::Translation(_) | Self::TranscriptionOnly(_) | Self::StoryText(_) => {
                None
            }
        }
    }

    /// The recordings that the request brings or names: of each, where it may be, in the order to try.
    pub fn recordings(&self) -> Vec<&[AudioSource]> {
        let sources: &[&Vec<AudioSource>] = match self {
            Self::Ping | Self::Translation(_) | Self::StoryText(_) => &[],
            Self::AudioProcess(request) => &[&request.audio],
            Self::TranscriptionOnly(request) => &[&request.audio],
            Self::VoiceApi(request) => match &request.call {
                VoiceCall::Translate(request) | VoiceCall::TranslateAsync(request, _) => {
                    &[&request.audio]
                }
                VoiceCall::Analyze(audio) => &[audio],
                VoiceCall::Compare(first, second) => &[first, second],
                VoiceCall::ProfileCreate(profile) | VoiceCall::ProfileUpdate(profile) => {
                    &[&profile.audio]
                }
                _ => &[],
            },
            Self::VoiceProfile(request) => match &request.call {
                VoiceProfileCall::Analyze(analysis) => &[&analysis.audio],
                VoiceProfileCall::Verify(audio, _) => &[audio],
                VoiceProfileCall::Compare(..) => &[],
            },
        };
        let recordings = sources.iter().map(|sources| sources.as_slice());
        recordings.filter(|sources| !sources.is_empty()).collect()
    }

    /// Gives a request without a task id the id that its answers shall carry. A peer's own id stays;
    /// kinds that have none ignore the call.
    pub fn set_task_id(&mut self, task_id: String) {
        match self {
            Self::Ping
            | Self::StoryText(_)
            | Self::TranscriptionOnly(_)
            | Self::VoiceApi(_)
            | Self::VoiceProfile(_) => {}
            Self::Translation(request) => {
                request.task_id.get_or_insert(task_id);
            }
            Self::AudioProcess(request) => {
                request.task_id.get_or_insert(task_id);
            }
        }
    }
}

/// What a request asks for, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// `ping`
    Ping,
    /// `translation`
    Translation,
    /// `audio_process`
    AudioProcess,
    /// `transcription_only`
    TranscriptionOnly,
    /// `story_text_object_translation`
    #[serde(rename = "story_text_object_translation")]
    StoryText,
    /// `voice_translate`
    VoiceTranslate,
    /// `voice_translate_async`
    VoiceTranslateAsync,
    /// `voice_job_status`
    VoiceJobStatus,
    /// `voice_job_cancel`
    VoiceJobCancel,
    /// `voice_analyze`
    VoiceAnalyze,
    /// `voice_compare`
    VoiceCompare,
    /// `voice_feedback`
    VoiceFeedback,
    /// `voice_history`
    VoiceHistory,
    /// `voice_stats`
    VoiceStats,
    /// `voice_admin_metrics`
    VoiceAdminMetrics,
    /// `voice_health`
    VoiceHealth,
    /// `voice_languages`
    VoiceLanguages,
    /// `voice_profile_get`
    VoiceProfileGet,
    /// `voice_profile_create`
    VoiceProfileCreate,
    /// `voice_profile_update`
    VoiceProfileUpdate,
    /// `voice_profile_delete`
    VoiceProfileDelete,
    /// `voice_profile_list`
    VoiceProfileList,
    /// `voice_profile_analyze`
    VoiceProfileAnalyze,
    /// `voice_profile_verify`
    VoiceProfileVerify,
    /// `voice_profile_compare`
    VoiceProfileCompare,
}

impl RequestKind {
    const ALL: [Self; 25] = [
        Self::Ping,
        Self::Translation,
        Self::AudioProcess,
        Self::TranscriptionOnly,
        Self::StoryText,
        Self::VoiceTranslate,
        Self::VoiceTranslateAsync,
        Self::VoiceJobStatus,
        Self::VoiceJobCancel,
        Self::VoiceAnalyze,
        Self::VoiceCompare,
        Self::VoiceFeedback,
        Self::VoiceHistory,
        Self::VoiceStats,
        Self::VoiceAdminMetrics,
        Self::VoiceHealth,
        Self::VoiceLanguages,
        Self::VoiceProfileGet,
        Self::VoiceProfileCreate,
        Self::VoiceProfileUpdate,
        Self::VoiceProfileDelete,
        Self::VoiceProfileList,
        Self::VoiceProfileAnalyze,
        Self::VoiceProfileVerify,
        Self::VoiceProfileCompare,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Translation => "translation",
            Self::AudioProcess => "audio_process",
            Self::TranscriptionOnly => "transcription_only",
            Self::StoryText => "story_text_object_translation",
            Self::VoiceTranslate => "voice_translate",
            Self::VoiceTranslateAsync => "voice_translate_async",
            Self::VoiceJobStatus => "voice_job_status",
            Self::VoiceJobCancel => "voice_job_cancel",
            Self::VoiceAnalyze => "voice_analyze",
            Self::VoiceCompare => "voice_compare",
            Self::VoiceFeedback => "voice_feedback",
            Self::VoiceHistory => "voice_history",
            Self::VoiceStats => "voice_stats",
            Self::VoiceAdminMetrics => "voice_admin_metrics",
            Self::VoiceHealth => "voice_health",
            Self::VoiceLanguages => "voice_languages",
            Self::VoiceProfileGet => "voice_profile_get",
            Self::VoiceProfileCreate => "voice_profile_create",
            Self::VoiceProfileUpdate => "voice_profile_update",
            Self::VoiceProfileDelete => "voice_profile_delete",
            Self::VoiceProfileList => "voice_profile_list",
            Self::VoiceProfileAnalyze => "voice_profile_analyze",
            Self::VoiceProfileVerify => "voice_profile_verify",
            Self::VoiceProfileCompare => "voice_profile_compare",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How much a sender is willing to wait for a better translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// Fast.
    Basic,
    /// Between the two.
    Medium,
    /// Good.
    Premium,
}

impl ModelType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Medium => "medium",
            Self::Premium => "premium",
        }
    }

    /// The level of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut levels = [Self::Basic, Self::Medium, Self::Premium].into_iter();
        levels.find(|level| level.as_str() == name)
    }

    fn take(fields: &mut Fields, default: Self) -> Self {
        let name = fields.string("modelType");
        name.as_deref().and_then(Self::from_name).unwrap_or(default)
    }
}

/// Reads one received message; audio and voice prints in the result share memory with `frames`.
///
/// # Errors
/// [`RequestError`], whose [`answer`](RequestError::answer) is the event to publish, if any can be.
pub fn parse(frames: &[Bytes]) -> Result<Request, RequestError> {
    let json = frames.first().ok_or(RequestError::NoFrames)?;
    if frames.len() > MAX_FRAMES {
        return Err(RequestError::TooManyFrames(frames.len()));
    }
    let mut fields = Fields::parse(json)?;
    // The oldest gateways send translations only, without a type.
    let name = fields
        .string("type")
        .unwrap_or_else(|| "translation".to_owned());
    let Some(kind) = RequestKind::from_name(&name) else {
        return Err(RequestError::unknown_type(name, fields.id("taskId")));
    };
    let request = match kind {
        RequestKind::Ping => Request::Ping,
        RequestKind::Translation => Request::Translation(TranslationRequest::read(fields)?),
        RequestKind::AudioProcess => {
            Request::AudioProcess(Box::new(AudioProcessRequest::read(fields, frames)?))
        }
        RequestKind::TranscriptionOnly => {
            Request::TranscriptionOnly(TranscriptionRequest::read(fields, frames)?)
        }
        RequestKind::StoryText => Request::StoryText(StoryTextRequest::read(fields)?),
        RequestKind::VoiceProfileAnalyze
        | RequestKind::VoiceProfileVerify
        | RequestKind::VoiceProfileCompare => {
            Request::VoiceProfile(Box::new(VoiceProfileRequest::read(kind, fields)?))
        }
        kind => Request::VoiceApi(Box::new(VoiceApiRequest::read(kind, fields, frames)?)),
    };
    Ok(request)
}
