//! Requests of the voice API: one JSON frame, exactly one reply to each.

use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::RequestIds;
use super::language::take_language;
use super::{
    AudioSource, MobileTranscription, Problem, RequestError, RequestKind, TargetLanguages,
};
use crate::domain::{Language, Private, PrivateText};
use crate::protocol::fields::Fields;
use crate::protocol::frames::RequestFrames;

/// Longest comment that is kept, in characters.
const MAX_COMMENT_CHARACTERS: usize = 2_000;
/// Longest metadata that are kept, in bytes of JSON.
pub const MAX_METADATA_BYTES: usize = 4_096;

/// A request of the voice API.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceApiRequest {
    /// Names the request.
    pub task_id: String,
    /// Who asks, opaque.
    pub user_id: Option<String>,
    /// What is asked for.
    pub call: VoiceCall,
}

/// What is asked of the voice API.
#[derive(Debug, Clone, PartialEq)]
pub enum VoiceCall {
    /// `voice_translate`: a recording in other languages, in the reply itself.
    Translate(Box<VoiceTranslateRequest>),
    /// `voice_translate_async`: the same as a job that is answered at once.
    TranslateAsync(Box<VoiceTranslateRequest>, JobOptions),
    /// `voice_job_status`: how far a job is.
    JobStatus(String),
    /// `voice_job_cancel`: a job is not wanted any more.
    JobCancel(String),
    /// `voice_analyze`: what can be measured in a voice.
    Analyze(Vec<AudioSource>),
    /// `voice_compare`: how alike two voices are.
    Compare(Vec<AudioSource>, Vec<AudioSource>),
    /// `voice_feedback`: what a user thinks of a translation.
    Feedback(FeedbackRequest),
    /// `voice_history`: what was translated for the user.
    History(HistoryRequest),
    /// `voice_stats`: figures about the user's translations.
    Stats(StatsPeriod),
    /// `voice_admin_metrics`: figures about the daemon.
    AdminMetrics,
    /// `voice_health`: which services work.
    Health,
    /// `voice_languages`: which languages are served, and how.
    Languages,
    /// `voice_profile_get`: the user's voice; with an id only if it has that id.
    ProfileGet(Option<String>),
    /// `voice_profile_create`: a voice from a recording.
    ProfileCreate(ProfileRequest),
    /// `voice_profile_update`: a better voice from one more recording, or another name.
    ProfileUpdate(ProfileRequest),
    /// `voice_profile_delete`: everything about the user's voice is forgotten.
    ProfileDelete(Option<String>),
    /// `voice_profile_list`: the user's voices.
    ProfileList(Page),
}

/// A recording to be heard in other languages.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceTranslateRequest {
    /// Where the audio may be, in the order to try; never empty.
    pub audio: Vec<AudioSource>,
    /// At least one accepted language.
    pub target_languages: TargetLanguages,
    /// The language of the recording, where the sender says it.
    pub source_language: Option<Language>,
    /// False: speak with the default voice and learn nothing about the user's.
    pub generate_voice_clone: bool,
    /// What the sender's device heard.
    pub mobile_transcription: Option<MobileTranscription>,
}

/// How a job of the voice API is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobOptions {
    /// Where its event is to be posted too, if that host is allowed.
    pub webhook_url: Option<PrivateText>,
    /// In 0..=3; 0 may wait behind all other recordings, the others are alike.
    pub priority: u8,
    /// Comes back with the job's event.
    pub callback_metadata: Option<Private<Value>>,
}

/// What a user thinks of a translation.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedbackRequest {
    /// The translation.
    pub translation_id: String,
    /// In 0..=5.
    pub rating: f64,
    /// What aspect it is about.
    pub kind: FeedbackKind,
    /// In the user's words, cut after 2000 characters.
    pub comment: Option<PrivateText>,
    /// An object of the client's own; left out when it is larger than 4 KiB.
    pub metadata: Option<Private<Value>>,
}

/// What aspect feedback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackKind {
    /// How it sounds.
    Quality,
    /// What it says.
    Accuracy,
    /// Whose voice it is.
    VoiceSimilarity,
    /// Anything else.
    Other,
}

impl FeedbackKind {
    /// All of them; the first is meant where none is said.
    pub const ALL: [Self; 4] = [
        Self::Quality,
        Self::Accuracy,
        Self::VoiceSimilarity,
        Self::Other,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Accuracy => "accuracy",
            Self::VoiceSimilarity => "voice_similarity",
            Self::Other => "other",
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// In 1..=100.
    pub limit: u32,
    /// Entries to pass over.
    pub offset: u32,
}

impl Page {
    /// Entries of a page that asks for none.
    const DEFAULT_LIMIT: u32 = 20;
    /// Most entries of a page.
    const MAX_LIMIT: u32 = 100;

    /// A page of `limit` entries, 20 where it is not said, in 1..=100, behind `offset` ones.
    pub fn new(limit: Option<u32>, offset: Option<u32>) -> Self {
        let limit = limit.unwrap_or(Self::DEFAULT_LIMIT);
        Self {
            limit: limit.clamp(1, Self::MAX_LIMIT),
            offset: offset.unwrap_or(0),
        }
    }
}

/// Which part of a user's history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Which part of the list.
    pub page: Page,
    /// Not before.
    pub start: Option<OffsetDateTime>,
    /// Not after.
    pub end: Option<OffsetDateTime>,
}

/// The time that statistics are about, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsPeriod {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
    /// All that is known.
    All,
}

impl StatsPeriod {
    /// By its name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "day" => Some(Self::Day),
            "week" => Some(Self::Week),
            "month" => Some(Self::Month),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// A recording for a voice profile, and what is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileRequest {
    /// The profile, where the sender names it.
    pub profile_id: Option<String>,
    /// What the user calls it.
    pub name: Option<PrivateText>,
    /// Where the audio may be, in the order to try; empty only for an update.
    pub audio: Vec<AudioSource>,
    /// An object of the client's own; left out when it is larger than 4 KiB.
    pub metadata: Option<Private<Value>>,
}

impl VoiceApiRequest {
    pub(super) fn read(
        kind: RequestKind,
        mut fields: Fields,
        frames: &[Bytes],
    ) -> Result<Self, RequestError> {
        let ids = RequestIds {
            task_id: fields.id("taskId"),
            user_id: fields.id("userId"),
            ..RequestIds::default()
        };
        let read_call = || read_call(kind, &mut fields, frames);
        let (task_id, user_id, call) =
            read_named(kind, ids, "taskId", needs_user(kind), read_call)?;
        Ok(Self {
            task_id,
            user_id,
            call,
        })
    }

    /// The request's name on the wire.
    pub fn kind(&self) -> RequestKind {
        match &self.call {
            VoiceCall::Translate(_) => RequestKind::VoiceTranslate,
            VoiceCall::TranslateAsync(..) => RequestKind::VoiceTranslateAsync,
            VoiceCall::JobStatus(_) => RequestKind::VoiceJobStatus,
            VoiceCall::JobCancel(_) => RequestKind::VoiceJobCancel,
            VoiceCall::Analyze(_) => RequestKind::VoiceAnalyze,
            VoiceCall::Compare(..) => RequestKind::VoiceCompare,
            VoiceCall::Feedback(_) => RequestKind::VoiceFeedback,
            VoiceCall::History(_) => RequestKind::VoiceHistory,
            VoiceCall::Stats(_) => RequestKind::VoiceStats,
            VoiceCall::AdminMetrics => RequestKind::VoiceAdminMetrics,
            VoiceCall::Health => RequestKind::VoiceHealth,
            VoiceCall::Languages => RequestKind::VoiceLanguages,
            VoiceCall::ProfileGet(_) => RequestKind::VoiceProfileGet,
            VoiceCall::ProfileCreate(_) => RequestKind::VoiceProfileCreate,
            VoiceCall::ProfileUpdate(_) => RequestKind::VoiceProfileUpdate,
            VoiceCall::ProfileDelete(_) => RequestKind::VoiceProfileDelete,
            VoiceCall::ProfileList(_) => RequestKind::VoiceProfileList,
        }
    }
}

/// What a request asks for, once its ids are there: its own, which stands under `id_key`, and where it
/// needs one the user's. A refusal carries the ids that came.
pub(super) fn read_named<C>(
    kind: RequestKind,
    ids: RequestIds,
    id_key: &'static str,
    needs_user: bool,
    read_call: impl FnOnce() -> Result<C, Problem>,
) -> Result<(String, Option<String>, C), RequestError> {
    let Some(id) = ids.task_id.clone() else {
        return Err(RequestError::rejected(kind, Problem::Missing(id_key), ids));
    };
    if needs_user && ids.user_id.is_none() {
        return Err(RequestError::rejected(kind, Problem::NoUser, ids));
    }
    match read_call() {
        Ok(call) => Ok((id, ids.user_id, call)),
        Err(problem) => Err(RequestError::rejected(kind, problem, ids)),
    }
}

/// True for what makes sense only for somebody.
fn needs_user(kind: RequestKind) -> bool {
    matches!(
        kind,
        RequestKind::VoiceFeedback
            | RequestKind::VoiceHistory
            | RequestKind::VoiceStats
            | RequestKind::VoiceProfileGet
            | RequestKind::VoiceProfileCreate
            | RequestKind::VoiceProfileUpdate
            | RequestKind::VoiceProfileDelete
            | RequestKind::VoiceProfileList
    )
}

fn read_call(
    kind: RequestKind,
    fields: &mut Fields,
    frames: &[Bytes],
) -> Result<VoiceCall, Problem> {
    let frames = RequestFrames::take(frames, fields);
    Ok(match kind {
        RequestKind::VoiceTranslate => {
            VoiceCall::Translate(Box::new(read_translate(fields, &frames)?))
        }
        RequestKind::VoiceTranslateAsync => {
            let options = JobOptions {
                webhook_url: fields.private("webhookUrl"),
                priority: fields.unsigned("priority").map_or(1, |n| n.min(3) as u8),
                callback_metadata: read_metadata(fields, "callbackMetadata"),
            };
            VoiceCall::TranslateAsync(Box::new(read_translate(fields, &frames)?), options)
        }
        RequestKind::VoiceJobStatus => VoiceCall::JobStatus(required_id(fields, "jobId")?),
        RequestKind::VoiceJobCancel => VoiceCall::JobCancel(required_id(fields, "jobId")?),
        RequestKind::VoiceAnalyze => VoiceCall::Analyze(read_recording(fields, &frames)?),
        RequestKind::VoiceCompare => {
            let mut read = |names| read_recording_of(fields, &frames, names);
            VoiceCall::Compare(
                read(["audio_1", "audioBase64_1", "audioPath_1"])?,
                read(["audio_2", "audioBase64_2", "audioPath_2"])?,
            )
        }
        RequestKind::VoiceFeedback => VoiceCall::Feedback(read_feedback(fields)?),
        RequestKind::VoiceHistory => VoiceCall::History(HistoryRequest {
            page: read_page(fields),
            start: read_time(fields, "startDate"),
            end: read_time(fields, "endDate"),
        }),
        RequestKind::VoiceStats => {
            let period = fields.string("period");
            let period = period.and_then(|name| StatsPeriod::parse(&name));
            VoiceCall::Stats(period.unwrap_or(StatsPeriod::All))
        }
        RequestKind::VoiceAdminMetrics => VoiceCall::AdminMetrics,
        RequestKind::VoiceHealth => VoiceCall::Health,
        RequestKind::VoiceLanguages => VoiceCall::Languages,
        RequestKind::VoiceProfileGet => VoiceCall::ProfileGet(fields.id("profileId")),
        RequestKind::VoiceProfileCreate => {
            let audio = read_recording(fields, &frames)?;
            VoiceCall::ProfileCreate(read_profile(fields, audio))
        }
        RequestKind::VoiceProfileUpdate => {
            let audio = read_recording(fields, &frames).unwrap_or_default();
            VoiceCall::ProfileUpdate(read_profile(fields, audio))
        }
        RequestKind::VoiceProfileDelete => VoiceCall::ProfileDelete(fields.id("profileId")),
        RequestKind::VoiceProfileList => VoiceCall::ProfileList(read_page(fields)),
        // The caller dispatches on the kind, and these have readers of their own.
        RequestKind::Ping
        | RequestKind::Translation
        | RequestKind::AudioProcess
        | RequestKind::TranscriptionOnly
        | RequestKind::StoryText
        | RequestKind::VoiceProfileAnalyze
        | RequestKind::VoiceProfileVerify
        | RequestKind::VoiceProfileCompare => return Err(Problem::Missing("type")),
    })
}

fn read_translate(
    fields: &mut Fields,
    frames: &RequestFrames<'_>,
) -> Result<VoiceTranslateRequest, Problem> {
    let target_languages = TargetLanguages::take(fields)
        .map_err(|_| Problem::TooManyTargetLanguages)?
        .filter(|languages| !languages.is_empty())
        .ok_or(Problem::Missing("targetLanguages"))?;
    if target_languages.accepted.is_empty() {
        return Err(Problem::NoValidTargetLanguage);
    }
    Ok(VoiceTranslateRequest {
        audio: read_recording(fields, frames)?,
        target_languages,
        source_language: take_language(fields, "sourceLanguage"),
        generate_voice_clone: fields.bool("generateVoiceClone").unwrap_or(true),
        mobile_transcription: MobileTranscription::take(fields),
    })
}

/// The recording under one of two names: here as base64, or on a shared volume.
pub(super) fn read_audio(
    fields: &mut Fields,
    base64: &str,
    path: &str,
) -> Result<Vec<AudioSource>, Problem> {
    let sources = [
        fields.private(base64).map(AudioSource::Base64),
        fields.private(path).map(AudioSource::Path),
    ];
    let sources: Vec<_> = sources.into_iter().flatten().collect();
    if sources.is_empty() {
        return Err(Problem::NoAudio);
    }
    Ok(sources)
}

/// The recording in the frame `audio`, else where [`read_audio`] looks.
fn read_recording(
    fields: &mut Fields,
    frames: &RequestFrames<'_>,
) -> Result<Vec<AudioSource>, Problem> {
    let names = ["audio", "audioBase64", "audioPath"];
    read_recording_of(fields, frames, names)
}

/// The same under other names: of the frame, of the base64 and of the path.
fn read_recording_of(
    fields: &mut Fields,
    frames: &RequestFrames<'_>,
    [frame, base64, path]: [&str; 3],
) -> Result<Vec<AudioSource>, Problem> {
    match frames.get(frame) {
        Some(audio) => Ok(vec![AudioSource::Frame(audio.into())]),
        None => read_audio(fields, base64, path),
    }
}

fn read_feedback(fields: &mut Fields) -> Result<FeedbackRequest, Problem> {
    let translation_id = required_id(fields, "translationId")?;
    let rating = fields.number("rating").ok_or(Problem::Missing("rating"))?;
    if !(0.0..=5.0).contains(&rating) {
        return Err(Problem::OutOfRange("rating", "0 to 5"));
    }
    Ok(FeedbackRequest {
        translation_id,
        rating,
        kind: match fields.string("feedbackType") {
            None => FeedbackKind::Quality,
            Some(name) => (FeedbackKind::ALL.into_iter())
                .find(|kind| kind.as_str() == name)
                .unwrap_or(FeedbackKind::Other),
        },
        comment: fields.string("comment").map(|comment| {
            comment
                .chars()
                .take(MAX_COMMENT_CHARACTERS)
                .collect::<String>()
                .into()
        }),
        metadata: read_metadata(fields, "metadata"),
    })
}

fn read_profile(fields: &mut Fields, audio: Vec<AudioSource>) -> ProfileRequest {
    ProfileRequest {
        profile_id: fields.id("profileId"),
        name: fields.id("name").map(PrivateText::from),
        audio,
        metadata: read_metadata(fields, "metadata"),
    }
}

fn required_id(fields: &mut Fields, key: &'static str) -> Result<String, Problem> {
    fields.id(key).ok_or(Problem::Missing(key))
}

fn read_page(fields: &Fields) -> Page {
    let number = |key| {
        fields
            .unsigned(key)
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    };
    Page::new(number("limit"), number("offset"))
}

fn read_time(fields: &mut Fields, key: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&fields.string(key)?, &Rfc3339).ok()
}

fn read_metadata(fields: &mut Fields, key: &str) -> Option<Private<Value>> {
    let metadata = fields.value(key).filter(Value::is_object)?;
    (metadata.to_string().len() <= MAX_METADATA_BYTES).then(|| metadata.into())
}
