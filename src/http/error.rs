//! Errors as clients of the replaced service know them: `{"detail": "…"}`, and where fields of a request are
//! wrong, `{"detail": [{"loc": […], "msg": "…", "type": "…"}]}`.

use axum::Json;
use axum::extract::multipart::MultipartRejection;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Reason, error_chain};
use crate::ledger::LedgerError;
use crate::pipeline::JobFailure;
use crate::scheduler::{LaneFull, SubmitError};
use crate::storage::{Storage, StorageFault};

/// When a client may try again that found all places taken.
const RETRY_AFTER_SECONDS: &str = "5";

/// What the body of an error says.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong, for people.
    detail: String,
}

/// What the body of an error says when fields are wrong.
#[derive(Serialize, ToSchema)]
pub struct InvalidBody {
    /// Every field that is wrong.
    detail: Vec<FieldProblem>,
}

/// A field that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Where it is: `["body", "text"]`.
    pub loc: Vec<Place>,
    /// What is wrong with it, for people. It never quotes what was sent.
    pub msg: String,
    /// The same for programs, such as `missing` or `string_type`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// A step on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Place {
    /// A name.
    Name(&'static str),
    /// A place in a list, or in the text of the body.
    Index(usize),
}

/// Why a request was not answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    detail: Detail,
}

#[derive(Debug)]
enum Detail {
    Text(String),
    Fields(Vec<FieldProblem>),
}

impl ApiError {
    /// An error that the client is told of.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: Detail::Text(detail.into()),
        }
    }

    /// Fields are not as they have to be.
    pub fn invalid(problems: Vec<FieldProblem>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: Detail::Fields(problems),
        }
    }

    /// The models that the request needs are not there yet, or not at all.
    pub fn not_ready() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Models are not loaded")
    }

    /// It took too long.
    pub fn timeout(detail: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
    }

    /// Too much waits already; it is worth another try soon.
    pub fn overloaded() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too much is waiting")
    }

    /// The disk takes nothing, and so do we.
    fn insufficient_storage(fault: StorageFault) -> Self {
        let detail = format!("The disk is {fault}, nothing is taken in");
        Self::new(StatusCode::INSUFFICIENT_STORAGE, detail)
    }

    /// Our fault: the log tells more than the client is told.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %error_chain(error), "http request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }
}

/// Refuses what would start work while the disk takes nothing.
///
/// # Errors
/// It takes nothing.
pub fn require_writable(storage: &Storage) -> Result<(), ApiError> {
    match storage.fault() {
        None => Ok(()),
        Some(fault) => Err(ApiError::insufficient_storage(fault)),
    }
}

/// What a failure for that reason is answered with.
pub fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::NoAudio
        | Reason::AudioTooShort
        | Reason::InvalidRequest
        | Reason::Unauthorized
        | Reason::UnsupportedLanguage => StatusCode::BAD_REQUEST,
        Reason::Forbidden => StatusCode::FORBIDDEN,
        Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::Cancelled => StatusCode::CONFLICT,
        Reason::AudioTooLarge | Reason::AudioTooLong | Reason::TextTooLong => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Reason::UnsupportedCodec | Reason::MalformedAudio => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Reason::ModelUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Reason::BadOutput | Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Messages of failures quote nobody; those of the ledger are told in the log only.
impl From<JobFailure> for ApiError {
    fn from(failure: JobFailure) -> Self {
        match failure {
            JobFailure::Ledger(error) => error.into(),
            JobFailure::Stage {
                reason, message, ..
            } => {
                let status = status_of(reason);
                if status == StatusCode::INTERNAL_SERVER_ERROR {
                    tracing::error!(error = message, "a request failed");
                }
                Self::new(status, message)
            }
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        if let Some(fault) = error.storage_fault() {
            return Self::insufficient_storage(fault);
        }
        match &error {
            LedgerError::UnknownJob(_) => Self::new(StatusCode::NOT_FOUND, "Job not found"),
            LedgerError::AlreadyFinished(_) => {
                Self::new(StatusCode::CONFLICT, "The job has ended already")
            }
            LedgerError::WrongState { state, .. } => Self::new(
                StatusCode::CONFLICT,
                format!("The job is {}", state.as_str()),
            ),
            LedgerError::Unpublished(_) => Self::new(
                StatusCode::CONFLICT,
                "An event of the job is not published yet; force=true deletes it all the same",
            ),
            LedgerError::Unwritten(_) => Self::new(
                StatusCode::CONFLICT,
                "A document of the job is not written to MongoDB yet; force=true deletes it all the same",
            ),
            _ => Self::internal(&error),
        }
    }
}

/// What of a request could not be read, as axum tells it.
macro_rules! from_rejections {
    ($($rejection:ty),* $(,)?) => {
        $(impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::new(rejection.status(), rejection.body_text())
            }
        })*
    };
}

from_rejections!(MultipartRejection, PathRejection, QueryRejection,);

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::LaneFull(full) => full.into(),
            SubmitError::Ledger(error) => error.into(),
        }
    }
}

impl From<LaneFull> for ApiError {
    fn from(full: LaneFull) -> Self {
        tracing::warn!(error = %full, "http request refused");
        Self::overloaded()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let comes_again = matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let retry_after = comes_again.then_some([(header::RETRY_AFTER, RETRY_AFTER_SECONDS)]);
        match self.detail {
            Detail::Text(detail) => {
                (self.status, retry_after, Json(ErrorBody { detail })).into_response()
            }
            Detail::Fields(detail) => (self.status, Json(InvalidBody { detail })).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_at_a_bad_time_is_told_when_to_come_again() {
        let response = ApiError::overloaded().into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], RETRY_AFTER_SECONDS);
        let response = ApiError::new(StatusCode::NOT_FOUND, "no").into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }
}
