//! Errors as clients of the replaced service know them: `{"detail": "…"}`.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::error_chain;
use crate::ledger::LedgerError;
use crate::scheduler::SubmitError;
use crate::storage::{Storage, StorageFault};

/// When a client may try again that found all places taken.
const RETRY_AFTER_SECONDS: &str = "5";

/// Why a request was not answered.
pub struct ApiError {
    status: StatusCode,
    detail: String,
}

impl ApiError {
    /// An error that the client is told of.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
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

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        if let Some(fault) = error.storage_fault() {
            return Self::insufficient_storage(fault);
        }
        match &error {
            LedgerError::UnknownJob(_) => Self::new(StatusCode::NOT_FOUND, "Job not found"),
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

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::LaneFull(full) => {
                tracing::warn!(error = %full, "http request refused");
                Self::overloaded()
            }
            SubmitError::Ledger(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "detail": self.detail }));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
            return (self.status, retry_after, body).into_response();
        }
        (self.status, body).into_response()
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
