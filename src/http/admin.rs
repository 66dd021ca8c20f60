//! What operators do with jobs: `/admin/jobs`, for whoever shows the token.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, require_writable};
use crate::domain::digest::sha256_hex;
use crate::domain::timestamp::now_unix_ms;
use crate::ledger::{
    EVENT_STATES, JobDetails, JobFilter, JobId, JobPage, JobState, Ledger, LedgerError, Purged,
};
use crate::scheduler::Scheduler;

/// Jobs in one answer, where the query does not say it.
const PAGE: u32 = 100;
/// Most jobs in one answer.
const MAX_PAGE: u32 = 1000;

const MS_PER_HOUR: i64 = 3_600_000;

/// What the routes need.
#[derive(Clone)]
pub struct AdminState {
    /// Where the jobs are.
    pub ledger: Ledger,
    /// Where they wait.
    pub scheduler: Arc<Scheduler>,
    /// Who may ask; `None`: nobody.
    pub token: Option<AdminToken>,
}

/// The token that operators show, by its digest only.
#[derive(Clone)]
pub struct AdminToken(String);

impl AdminToken {
    /// The token whose text this is.
    pub fn new(token: &str) -> Self {
        Self(sha256_hex(token.as_bytes()))
    }

    /// Compares in a time that tells nothing of either token: digests are equally long, and every byte of
    /// them is looked at.
    fn is(&self, shown: &str) -> bool {
        let shown = sha256_hex(shown.as_bytes());
        let pairs = self.0.bytes().zip(shown.bytes());
        pairs.fold(0, |unlike, (ours, theirs)| unlike | (ours ^ theirs)) == 0
    }
}

/// The routes under `/admin`.
pub fn routes(state: AdminState) -> Router {
    let routes = Router::new()
        .route("/jobs", get(list).delete(purge_many))
        .route("/jobs/{id}", get(show).delete(purge))
        .route("/jobs/{id}/retry", post(retry))
        .route_layer(middleware::from_fn_with_state(state.clone(), authorize))
        .with_state(state);
    Router::new().nest("/admin", routes)
}

async fn authorize(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let Some(token) = &state.token else {
        let detail = "There is no admin token: set http.admin_token (TRANSLATOR_ADMIN_TOKEN)";
        return ApiError::new(StatusCode::FORBIDDEN, detail).into_response();
    };
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok()?.split_once(' '));
    let is_shown = shown.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case("bearer") && token.is(shown.trim())
    });
    if is_shown {
        return next.run(request).await;
    }
    let detail = "The admin token is missing or wrong";
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, detail).into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"translator\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    state: Option<String>,
    kind: Option<String>,
    lane: Option<String>,
    user: Option<String>,
    task: Option<String>,
    event: Option<String>,
    limit: Option<u32>,
    before: Option<i64>,
}

async fn list(
    State(state): State<AdminState>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<JobPage>, ApiError> {
    let query = understood(query)?;
    if let Some(event) = &query.event
        && !EVENT_STATES.contains(&event.as_str())
    {
        let detail = format!(
            "The state of an event is one of {}",
            EVENT_STATES.join(", ")
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
    }
    let filter = JobFilter {
        state: query.state.as_deref().map(state_of).transpose()?,
        kind: query.kind,
        lane: query.lane,
        user_id: query.user,
        task_id: query.task,
        event_state: query.event,
        before: query.before.map(JobId),
        limit: query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE),
        ..JobFilter::default()
    };
    Ok(Json(state.ledger.jobs(filter).await?))
}

async fn show(
    State(state): State<AdminState>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<JobDetails>, ApiError> {
    Ok(Json(details(&state, job_id(id)?).await?))
}

async fn retry(
    State(state): State<AdminState>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<JobDetails>, ApiError> {
    let job_id = job_id(id)?;
    let job = details(&state, job_id).await?;
    require_writable(state.ledger.storage())?;
    state.scheduler.retry(&state.ledger, &job).await?;
    tracing::info!(job.id = job_id.0, "an operator lets a job be done again");
    Ok(Json(details(&state, job_id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    force: Option<bool>,
}

async fn purge(
    State(state): State<AdminState>,
    id: Result<Path<i64>, PathRejection>,
    query: Result<Query<Purge>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let job_id = job_id(id)?;
    let force = understood(query)?.force.unwrap_or(false);
    let purged = state.ledger.purge_job(job_id, force).await?;
    tracing::info!(job.id = job_id.0, force, "an operator has purged a job");
    Ok(Json(report(purged)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeMany {
    state: String,
    older_than_hours: u32,
    force: Option<bool>,
}

async fn purge_many(
    State(state): State<AdminState>,
    query: Result<Query<PurgeMany>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let query = understood(query)?;
    let wanted = state_of(&query.state)?;
    if !wanted.is_finished() {
        let detail = "Only jobs that have ended are purged: done, failed or quarantined";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
    }
    let before_ms = now_unix_ms().saturating_sub(i64::from(query.older_than_hours) * MS_PER_HOUR);
    let force = query.force.unwrap_or(false);
    let purged = state.ledger.purge_jobs(wanted, before_ms, force).await?;
    tracing::info!(
        state = wanted.as_str(),
        jobs = purged.jobs,
        kept = purged.kept,
        force,
        "an operator has purged jobs"
    );
    Ok(Json(report(purged)))
}

fn report(purged: Purged) -> Value {
    json!({
        "purged": { "jobs": purged.jobs, "payloads": purged.blobs },
        "kept": purged.kept,
    })
}

fn understood<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let Query(query) =
        query.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    Ok(query)
}

fn job_id(id: Result<Path<i64>, PathRejection>) -> Result<JobId, ApiError> {
    let Path(id) =
        id.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    Ok(JobId(id))
}

fn state_of(name: &str) -> Result<JobState, ApiError> {
    JobState::from_name(name).ok_or_else(|| {
        let names = JobState::ALL.map(JobState::as_str).join(", ");
        let detail = format!("A state is one of {names}");
        ApiError::new(StatusCode::BAD_REQUEST, detail)
    })
}

async fn details(state: &AdminState, job_id: JobId) -> Result<JobDetails, ApiError> {
    let details = state.ledger.job_details(job_id).await?;
    details.ok_or_else(|| LedgerError::UnknownJob(job_id).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_the_token() {
        let token = AdminToken::new("0123456789abcdef");
        assert!(token.is("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcdeg",
            "0123456789abcde",
            "0123456789abcdef0",
        ] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!token.0.contains("0123456789abcdef"));
    }
}
