//! Requests that cannot be served, and what their sender is told.

use uuid::Uuid;

use super::RequestKind;
use crate::domain::{JsonError, PrivateText};
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::event::{
    AudioFailure, AudioJob, Event, Failure, StoryTextCompleted, TextErrorMetadata,
    TranslationError, VoiceApiError, VoiceErrorCode, VoiceProfileError,
};
use crate::protocol::fields::FieldsError;
use crate::protocol::timestamp::Timestamp;

/// Longest request type that is kept of an unknown one, in characters.
const MAX_KIND_CHARACTERS: usize = 64;

/// Why a message is no request. Messages never quote it: it may hold what somebody said.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not even a JSON frame.
    #[error("message has no frames")]
    NoFrames,
    /// Far more frames than any request needs.
    #[error("message has {0} frames")]
    TooManyFrames(usize),
    /// Unreadable JSON.
    #[error("first frame is not JSON")]
    NotJson(#[source] JsonError),
    /// JSON, but an array or a scalar.
    #[error("first frame is not a JSON object")]
    NotAnObject,
    /// More values than any request needs.
    #[error("first frame holds too many values")]
    TooManyValues,
    /// Deeper nesting than any request needs.
    #[error("first frame is nested too deep")]
    TooDeep,
    /// More bytes than any request needs beside a recording or a text.
    #[error("first frame is too long")]
    TooLong,
    /// A type that this daemon does not serve.
    #[error("request type {} is not known", shown(.kind))]
    UnknownType {
        /// The type as sent, cut after 64 characters.
        kind: PrivateText,
        /// The id to answer to.
        task_id: Option<String>,
    },
    /// A known type that lacks something.
    #[error("{} request rejected: {}", .0.kind.as_str(), .0.problem)]
    Rejected(Box<Rejection>),
}

/// A request of a known type that cannot be served, with the ids it has.
#[derive(Debug)]
pub struct Rejection {
    /// What was asked for.
    pub kind: RequestKind,
    /// What is wrong with it.
    pub problem: Problem,
    /// The ids that came with it, by which the sender recognises an answer.
    pub ids: RequestIds,
}

/// The ids of a request that may be incomplete.
#[derive(Debug, Default, Clone)]
pub struct RequestIds {
    pub(super) task_id: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) attachment_id: Option<String>,
    pub(super) conversation_id: Option<String>,
    pub(super) post_id: Option<String>,
    pub(super) post_media_id: Option<String>,
    pub(super) text_object_index: Option<i64>,
    pub(super) user_id: Option<String>,
    /// Target languages that are none.
    pub(super) failed_languages: Vec<String>,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A required field is absent, empty or of another type.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It does not say who asks, or whose voice it is.
    #[error("the user's id is missing")]
    NoUser,
    /// A number that means nothing.
    #[error("{0} is not in {1}")]
    OutOfRange(&'static str, &'static str),
    /// Neither a frame, nor base64, nor a URL, nor a path.
    #[error("no audio data in request")]
    NoAudio,
    /// The frames were not kept: too many bytes or too many frames.
    #[error("the request is larger than this daemon takes")]
    MessageTooLarge,
    /// More languages than the gateway knows.
    #[error("too many target languages")]
    TooManyTargetLanguages,
    /// None of the target languages is a language code.
    #[error("no valid target language")]
    NoValidTargetLanguage,
}

impl Problem {
    fn reason(&self) -> Reason {
        match self {
            Self::Missing(_) | Self::OutOfRange(..) | Self::TooManyTargetLanguages => {
                Reason::InvalidRequest
            }
            Self::NoUser => Reason::Unauthorized,
            Self::NoAudio => Reason::NoAudio,
            Self::MessageTooLarge => Reason::AudioTooLarge,
            Self::NoValidTargetLanguage => Reason::UnsupportedLanguage,
        }
    }
}

impl From<FieldsError> for RequestError {
    fn from(error: FieldsError) -> Self {
        match error {
            FieldsError::NotJson(source) => Self::NotJson(source),
            FieldsError::NotAnObject => Self::NotAnObject,
            FieldsError::TooManyValues => Self::TooManyValues,
            FieldsError::TooDeep => Self::TooDeep,
            FieldsError::TooLong => Self::TooLong,
        }
    }
}

impl RequestError {
    pub(super) fn unknown_type(kind: String, task_id: Option<String>) -> Self {
        Self::UnknownType {
            kind: kind
                .chars()
                .take(MAX_KIND_CHARACTERS)
                .collect::<String>()
                .into(),
            task_id,
        }
    }

    pub(super) fn rejected(kind: RequestKind, problem: Problem, ids: RequestIds) -> Self {
        Self::Rejected(Box::new(Rejection { kind, problem, ids }))
    }

    /// The error of a message whose frames were dropped for their size: audio that seems to be
    /// missing came, and was too much.
    pub fn of_oversized_message(mut self) -> Self {
        if let Self::Rejected(rejection) = &mut self
            && rejection.problem == Problem::NoAudio
        {
            rejection.problem = Problem::MessageTooLarge;
        }
        self
    }

    /// The reason for metrics and logs.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoFrames
            | Self::TooManyFrames(_)
            | Self::NotJson(_)
            | Self::NotAnObject
            | Self::TooManyValues
            | Self::TooDeep
            | Self::TooLong
            | Self::UnknownType { .. } => Reason::InvalidRequest,
            Self::Rejected(rejection) => rejection.problem.reason(),
        }
    }

    /// Gives an answer that would make up a task id the job's own, see
    /// [`Request::set_task_id`](super::Request::set_task_id).
    pub fn set_task_id(&mut self, task_id: String) {
        if let Self::Rejected(rejection) = self {
            rejection.ids.task_id.get_or_insert(task_id);
        }
    }

    /// The event that tells the sender; `None` where no id says who that is, or nobody waits.
    pub fn answer(&self, at: Timestamp) -> Option<Event> {
        match self {
            Self::NoFrames
            | Self::TooManyFrames(_)
            | Self::NotJson(_)
            | Self::NotAnObject
            | Self::TooManyValues
            | Self::TooDeep
            | Self::TooLong => None,
            Self::UnknownType { kind, task_id } => {
                let kind = kind.expose();
                let task_id = task_id.clone().filter(|_| kind.starts_with("voice_"))?;
                Some(Event::VoiceApiError(VoiceApiError {
                    task_id,
                    request_type: kind.clone(),
                    error: "this request type is not supported".to_owned(),
                    error_code: VoiceErrorCode::InvalidRequest,
                    reason: Reason::InvalidRequest,
                    timestamp: at,
                }))
            }
            Self::Rejected(rejection) => rejection.answer(at),
        }
    }
}

impl Rejection {
    fn answer(&self, at: Timestamp) -> Option<Event> {
        let ids = self.ids.clone();
        match self.kind {
            RequestKind::Ping => None,
            RequestKind::Translation => {
                if ids.task_id.is_none() && ids.message_id.is_none() {
                    return None;
                }
                Some(Event::TranslationError(TranslationError {
                    task_id: ids.task_id.unwrap_or_else(fresh_id),
                    message_id: ids.message_id,
                    error: self.problem.to_string(),
                    conversation_id: ids.conversation_id,
                    reason: self.problem.reason(),
                    stage: Stage::Intake,
                    metadata: TextErrorMetadata::of(ids.failed_languages),
                }))
            }
            RequestKind::AudioProcess => {
                let code = match self.problem {
                    Problem::NoAudio | Problem::MessageTooLarge => ErrorCode::TranscriptionFailed,
                    Problem::Missing(_)
                    | Problem::NoUser
                    | Problem::OutOfRange(..)
                    | Problem::TooManyTargetLanguages
                    | Problem::NoValidTargetLanguage => ErrorCode::ProcessingFailed,
                };
                let message_id = ids.message_id.clone()?;
                Some(Event::AudioProcessError(
                    self.audio_failure(code, message_id, at),
                ))
            }
            RequestKind::TranscriptionOnly => {
                if ids.task_id.is_none() && ids.message_id.is_none() {
                    return None;
                }
                let message_id = ids.message_id.unwrap_or_default();
                let failure = self.audio_failure(ErrorCode::TranscriptionFailed, message_id, at);
                Some(Event::TranscriptionError(failure))
            }
            RequestKind::StoryText => Some(Event::StoryTextCompleted(StoryTextCompleted::new(
                ids.post_id?,
                ids.text_object_index?,
                at,
            ))),
            RequestKind::VoiceProfileAnalyze
            | RequestKind::VoiceProfileVerify
            | RequestKind::VoiceProfileCompare => {
                Some(Event::VoiceProfileError(VoiceProfileError {
                    request_id: ids.task_id?,
                    user_id: ids.user_id.unwrap_or_default(),
                    error: self.problem.to_string(),
                    success: false,
                    reason: self.problem.reason(),
                    timestamp: at,
                }))
            }
            voice_api => {
                let reason = self.problem.reason();
                Some(Event::VoiceApiError(VoiceApiError {
                    task_id: ids.task_id?,
                    request_type: voice_api.as_str().to_owned(),
                    error: self.problem.to_string(),
                    error_code: VoiceErrorCode::of(ErrorCode::ProcessingFailed, reason),
                    reason,
                    timestamp: at,
                }))
            }
        }
    }

    fn audio_failure(&self, code: ErrorCode, message_id: String, at: Timestamp) -> AudioFailure {
        let ids = self.ids.clone();
        AudioFailure {
            job: AudioJob {
                task_id: ids.task_id.unwrap_or_else(fresh_id),
                message_id,
                attachment_id: ids.attachment_id,
                post_id: ids.post_id,
                post_media_id: ids.post_media_id,
            },
            failure: Failure {
                code,
                reason: self.problem.reason(),
                stage: Stage::Intake,
                message: self.problem.to_string(),
            },
            timestamp: at,
        }
    }
}

/// A type as messages show it: what is no name, such as a text in the wrong field, by its length and hash.
fn shown(kind: &PrivateText) -> String {
    let is_name = |name: &str| {
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match kind.expose() {
        name if is_name(name) => format!("{name:?}"),
        _ => kind.to_string(),
    }
}

fn fresh_id() -> String {
    Uuid::new_v4().to_string()
}
