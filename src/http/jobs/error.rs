//! Why a job failed.

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize, de};
use utoipa::ToSchema;

use crate::error::Reason;
use crate::http::error::{ApiError, status_of};
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
        // What is no reason, as of a job that has crashed, is the daemon's fault.
        let reason: Result<_, de::value::Error> =
            Reason::deserialize(self.reason.as_str().into_deserializer());
        let reason = reason.unwrap_or(Reason::Internal);
        ApiError::new(status_of(reason), self.detail.clone())
    }
}
