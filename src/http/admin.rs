//! What operators do with jobs: `/admin/jobs`, and figures, for whoever shows the token.

mod figures;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{BearerToken, unauthorized};
use super::error::{ApiError, ErrorBody, require_writable};
use crate::domain::timestamp::now_unix_ms;
use crate::ledger::{
    EVENT_STATES, JobDetails, JobFilter, JobId, JobPage, JobState, Ledger, LedgerError, Purged,
};
use crate::pipeline::Pipeline;
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
    /// What does them.
    pub pipeline: Arc<Pipeline>,
    /// Where they wait.
    pub scheduler: Arc<Scheduler>,
    /// Who may ask; `None`: nobody.
    pub token: Option<BearerToken>,
}

/// What there is under `/admin`, and elsewhere for operators.
pub fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::default()
        .routes(routes!(list, purge_many))
        .routes(routes!(show, purge))
        .routes(routes!(retry))
        .routes(routes!(cancel))
        .routes(routes!(figures::metrics))
        .routes(routes!(figures::queue))
        .routes(routes!(figures::clear_cache))
}

/// Its routes.
pub fn routes(state: AdminState) -> Router {
    Router::from(operations())
        .route_layer(middleware::from_fn_with_state(state.clone(), authorize))
        .with_state(state)
}

async fn authorize(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    match &state.token {
        None => {
            let detail = "There is no admin token: set http.admin_token (TRANSLATOR_ADMIN_TOKEN)";
            ApiError::new(StatusCode::FORBIDDEN, detail).into_response()
        }
        Some(token) if token.is_shown(request.headers()) => next.run(request).await,
        Some(_) => unauthorized("The admin token is missing or wrong"),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listed {
    /// Only those in this state: accepted, running, done, failed or quarantined.
    state: Option<String>,
    /// Only those of this kind, such as `audio_process`.
    kind: Option<String>,
    /// Only those of this lane, such as `text_fast`.
    lane: Option<String>,
    /// Only those of this user.
    user: Option<String>,
    /// Only those of this task.
    task: Option<String>,
    /// Only those with an event in this state: pending, published, settled, unconfirmed or damaged.
    event: Option<String>,
    /// Most jobs: 100 where it is not said, at most 1000.
    #[param(value_type = Option<usize>)]
    limit: Option<u32>,
    /// Only jobs with smaller ids: the next page.
    before: Option<i64>,
}

/// Jobs, newest first.
#[utoipa::path(
    get, path = "/admin/jobs", operation_id = "list_admin_jobs", tag = "admin",
    params(Listed),
    responses(
        (status = 200, description = "The jobs", body = JobPage),
        (status = 400, description = "A filter cannot be read", body = ErrorBody),
    ),
)]
async fn list(
    State(state): State<AdminState>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<JobPage>, ApiError> {
    let Query(query) = query?;
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

/// Where one job stands; never what it is about.
#[utoipa::path(
    get, path = "/admin/jobs/{id}", operation_id = "show_admin_job", tag = "admin",
    params(("id" = i64, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = JobDetails),
        (status = 400, description = "The id is no number", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
    ),
)]
async fn show(
    State(state): State<AdminState>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<JobDetails>, ApiError> {
    Ok(Json(details(&state, job_id(id)?).await?))
}

/// Does a job again that failed or was quarantined, as if it had never been tried.
#[utoipa::path(
    post, path = "/admin/jobs/{id}/retry", operation_id = "retry_admin_job", tag = "admin",
    params(("id" = i64, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job, which waits again", body = JobDetails),
        (status = 400, description = "The id is no number", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "The job has not failed", body = ErrorBody),
        (status = 429, description = "Its lane is full", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
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

/// Ends a job that has not ended, with its error event.
#[utoipa::path(
    post, path = "/admin/jobs/{id}/cancel", operation_id = "cancel_admin_job", tag = "admin",
    params(("id" = i64, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job, which has ended", body = JobDetails),
        (status = 400, description = "The id is no number", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "The job has ended already", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
async fn cancel(
    State(state): State<AdminState>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<JobDetails>, ApiError> {
    let job_id = job_id(id)?;
    state.pipeline.cancel(job_id).await?;
    tracing::info!(job.id = job_id.0, "an operator has cancelled a job");
    Ok(Json(details(&state, job_id).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Purge {
    /// Also where events are not published or documents are not written yet.
    force: Option<bool>,
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
struct PurgeReport {
    purged: PurgedCounts,
    /// Jobs that only `force` deletes.
    kept: u64,
}

#[derive(Serialize, ToSchema)]
struct PurgedCounts {
    jobs: u64,
    /// Recordings and results that nothing else needs.
    payloads: u64,
}

/// Deletes an ended job with everything that is stored of it.
#[utoipa::path(
    delete, path = "/admin/jobs/{id}", operation_id = "purge_admin_job", tag = "admin",
    params(("id" = i64, Path, description = "The job's id"), Purge),
    responses(
        (status = 200, description = "It is deleted", body = PurgeReport),
        (status = 400, description = "The request cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "It has not ended, or only force deletes it", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
async fn purge(
    State(state): State<AdminState>,
    id: Result<Path<i64>, PathRejection>,
    query: Result<Query<Purge>, QueryRejection>,
) -> Result<Json<PurgeReport>, ApiError> {
    let job_id = job_id(id)?;
    let Query(query) = query?;
    let force = query.force.unwrap_or(false);
    let purged = state.ledger.purge_job(job_id, force).await?;
    tracing::info!(job.id = job_id.0, force, "an operator has purged a job");
    Ok(Json(report(purged)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PurgeMany {
    /// The state in which they ended: done, failed or quarantined.
    state: String,
    /// Only those that ended as long ago.
    #[param(value_type = usize)]
    older_than_hours: u32,
    /// Also where events are not published or documents are not written yet.
    force: Option<bool>,
}

/// Deletes all jobs that ended in a state so long ago.
#[utoipa::path(
    delete, path = "/admin/jobs", operation_id = "purge_admin_jobs", tag = "admin",
    params(PurgeMany),
    responses(
        (status = 200, description = "They are deleted", body = PurgeReport),
        (status = 400, description = "The request cannot be read", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
async fn purge_many(
    State(state): State<AdminState>,
    query: Result<Query<PurgeMany>, QueryRejection>,
) -> Result<Json<PurgeReport>, ApiError> {
    let Query(query) = query?;
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

fn report(purged: Purged) -> PurgeReport {
    PurgeReport {
        purged: PurgedCounts {
            jobs: purged.jobs,
            payloads: purged.blobs,
        },
        kept: purged.kept,
    }
}

fn job_id(id: Result<Path<i64>, PathRejection>) -> Result<JobId, ApiError> {
    let Path(id) = id?;
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
