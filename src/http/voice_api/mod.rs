//! The voice API over HTTP, under `/api/v1`: the calls that the gateway makes over ZeroMQ, in snake case. What does
//! work is a job; what only reads is answered at once, and nothing is kept of it.

mod measures;
mod profile;
mod reports;
mod translate;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::ApiError;
use super::form::MAX_ID_BYTES;
use super::jobs::{Answer, JobsState, NewWork};
use crate::ledger::ReceivedUpload;
use crate::protocol::RequestKind;
use crate::scheduler::Lane;

/// What there is under `/api/v1`; `voice/languages` is with the other languages.
pub fn operations() -> OpenApiRouter<JobsState> {
    OpenApiRouter::default()
        .routes(routes!(translate::translate))
        .routes(routes!(translate::translate_audio))
        .routes(routes!(translate::translate_async))
        .routes(routes!(translate::show_job, translate::cancel_job))
        .routes(routes!(profile::show, profile::create, profile::delete))
        .routes(routes!(profile::add_sample))
        .routes(routes!(measures::analyze))
        .routes(routes!(measures::compare))
        .routes(routes!(reports::feedback))
        .routes(routes!(reports::history))
        .routes(routes!(reports::stats))
        .routes(routes!(reports::health))
}

/// Its routes.
pub fn routes(state: JobsState) -> Router {
    let limit = DefaultBodyLimit::max(state.max_body_bytes());
    Router::from(operations()).layer(limit).with_state(state)
}

/// A call of the voice API that becomes a job.
pub(super) struct Call {
    pub(super) kind: RequestKind,
    pub(super) lane: Lane,
    /// The form of its answer.
    pub(super) answer: Answer,
    pub(super) user_id: Option<String>,
    /// What it says beside its ids, as the gateway would.
    pub(super) fields: Value,
    /// Its recordings, by the names of their frames.
    pub(super) recordings: Vec<(&'static str, ReceivedUpload)>,
}

impl Call {
    /// The request that the gateway would send.
    pub(super) fn work(self, state: &JobsState) -> NewWork {
        let id = Uuid::new_v4();
        let (names, uploads): (Vec<_>, Vec<_>) = self.recordings.into_iter().unzip();
        let frames: Map<String, Value> = (1..)
            .zip(names)
            .map(|(number, name)| (name.to_owned(), Value::from(number)))
            .collect();
        let sizes: Vec<u64> = uploads.iter().map(ReceivedUpload::size_bytes).collect();
        let mut request = self.fields;
        request["type"] = json!(self.kind.as_str());
        request["answer"] = json!(self.answer);
        request["taskId"] = json!(id);
        request["userId"] = json!(self.user_id);
        request["binaryFrames"] = frames.into();
        NewWork {
            id,
            kind: self.kind.as_str(),
            request,
            uploads,
            demand: state
                .scheduler
                .demand_of_uploads(self.lane, self.user_id.as_deref(), &sizes),
            user_id: self.user_id,
        }
    }
}

/// A user's id that came in a query.
fn checked_user(user_id: String) -> Result<String, ApiError> {
    let user_id = user_id.trim();
    if user_id.is_empty() || user_id.len() > MAX_ID_BYTES {
        let detail = format!("user_id has 1 to {MAX_ID_BYTES} bytes");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
    }
    Ok(user_id.to_owned())
}
