//! Why a job failed.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Reason;
use crate::http::error::ApiError;
use crate::ledger::{JobSummary, LedgerError};
use crate::pipeline::Pipeline;

/// Why a job failed.
#[derive(Clone, Serialize, ToSchema)]
pub struct JobError {
    /// In general, such as `transcription_failed`.
    pub code: String,
    /// In particular, such as `malformed_audio`.
    pub reason: String,
    /// For people.
    pub detail: String,
}

/// The error event that a job has stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorEvent {
    error: String,
    error_code: Option<String>,
}

impl JobError {
    /// Why that job failed, by what it has stored.
    pub(super) async fn of(pipeline: &Pipeline, summary: &JobSummary) -> Result<Self, LedgerError> {
        let body = match pipeline.ledger.event(summary.id, "error").await {
            Err(error) if error.is_damage() => None,
            body => body?,
        };
        let event = body.and_then(|body| serde_json::from_slice::<ErrorEvent>(&body).ok());
        let reason = summary.reason.clone();
        let reason = reason.unwrap_or_else(|| Reason::Internal.as_str().to_owned());
        Ok(match event {
            Some(event) => Self {
                code: event
                    .error_code
                    .unwrap_or_else(|| "processing_failed".to_owned()),
                reason,
                detail: event.error,
            },
            None => Self {
                code: "processing_failed".to_owned(),
                detail: format!("the job failed: {reason}"),
                reason,
            },
        })
    }

    /// What a request that has waited for it is answered with.
    pub(super) fn answer(&self) -> ApiError {
        let is = |reason: Reason| self.reason == reason.as_str();
        let status = if [
            Reason::NoAudio,
            Reason::AudioTooShort,
            Reason::InvalidRequest,
            Reason::UnsupportedLanguage,
        ]
        .into_iter()
        .any(is)
        {
            StatusCode::BAD_REQUEST
        } else if is(Reason::UnsupportedCodec) || is(Reason::MalformedAudio) {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        } else if [
            Reason::AudioTooLarge,
            Reason::AudioTooLong,
            Reason::TextTooLong,
        ]
        .into_iter()
        .any(is)
        {
            StatusCode::PAYLOAD_TOO_LARGE
        } else if is(Reason::ModelUnavailable) {
            StatusCode::SERVICE_UNAVAILABLE
        } else if is(Reason::DeadlineExceeded) {
            StatusCode::GATEWAY_TIMEOUT
        } else if is(Reason::Cancelled) {
            StatusCode::CONFLICT
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        ApiError::new(status, self.detail.clone())
    }
}
