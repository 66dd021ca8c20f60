//! Work that takes long: `/jobs`. A request over HTTP becomes a job like one of the gateway, and its events are
//! read here instead of being published.

mod error;
mod follow;
mod report;
mod result;
mod voice;
mod voice_results;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorBody};
use crate::ledger::{Audience, JobFilter};
use crate::pipeline::Pipeline;
use crate::scheduler::Scheduler;

use follow::{FollowAll, FollowJob, ServerEvent};
pub use follow::{Heard, SpokenLanguage, StageNews, TranslatedLanguage};
pub use report::{JobPage, JobReport};
use report::{Loaded, find};
use result::heard;
pub use result::no_result;
pub use result::{
    Answer, JobResult, ProcessedMessage, RegisteredVoice, SegmentReport, TranscriptionReport,
    TranslatedMessage,
};
pub use voice::{VoiceJob, VoiceJobStatus};
pub use voice_results::{
    DeletedProfile, FeedbackReceipt, TranslatedVoice, VoiceAnalysis, VoiceLikeness, VoiceProfile,
};
pub use work::{Accepted, Awaited, Need, NewWork, NotDone, Piece, Preference, prefers_async};

/// Jobs in one answer, where the query does not say it.
const PAGE: u32 = 50;
/// Most jobs in one answer.
const MAX_PAGE: u32 = 500;
/// Recordings that are received at once.
const MAX_UPLOADS: usize = 32;
/// Streams of events at once.
const MAX_STREAMS: usize = 128;

/// How often a stream with nothing to tell shows that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the routes need.
#[derive(Clone)]
pub struct JobsState {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) options: Arc<JobsOptions>,
    /// Places for recordings that are being received.
    pub(super) uploads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// How requests over HTTP become jobs.
#[derive(Debug)]
pub struct JobsOptions {
    /// False: recordings are refused.
    pub audio_enabled: bool,
    /// False: the voice API is refused.
    pub voice_api_enabled: bool,
    /// True once the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

impl JobsState {
    /// Jobs of that pipeline, which wait in that scheduler.
    pub fn new(pipeline: Arc<Pipeline>, scheduler: Arc<Scheduler>, options: JobsOptions) -> Self {
        Self {
            pipeline,
            scheduler,
            options: Arc::new(options),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Folder of the speech files.
    pub(super) fn output_directory(&self) -> PathBuf {
        self.pipeline.options.output_directory.clone()
    }

    /// Completes when the daemon stops.
    async fn stopped(&self) {
        let mut stopping = self.options.stopping.clone();
        // A sender that is gone means the same.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }
}

/// What there is under `/jobs`.
pub fn operations() -> OpenApiRouter<JobsState> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(follow_all))
        .routes(routes!(show, cancel))
        .routes(routes!(follow))
}

/// Its routes.
pub fn routes(state: JobsState) -> Router {
    Router::from(operations()).with_state(state)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Listed {
    /// Most jobs: 50 where it is not said, at most 500.
    #[param(value_type = Option<usize>)]
    limit: Option<u32>,
}

/// The newest jobs.
///
/// Those of the gateway too: what they are and how far, not what they are about.
#[utoipa::path(
    get, path = "/jobs", operation_id = "list_jobs", tag = "jobs",
    params(Listed),
    responses(
        (status = 200, description = "The jobs", body = JobPage),
        (status = 400, description = "The query cannot be read", body = ErrorBody),
    ),
)]
async fn list(
    State(state): State<JobsState>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<JobPage>, ApiError> {
    let Query(query) = query?;
    let filter = JobFilter {
        limit: query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE),
        ..JobFilter::default()
    };
    let ledger = &state.pipeline.ledger;
    let mut jobs = Vec::new();
    for summary in ledger.jobs(filter).await?.jobs {
        jobs.push(Loaded::of(&state.pipeline, summary).await?.report());
    }
    let total = ledger.job_count().await?;
    Ok(Json(JobPage { jobs, total }))
}

/// One job, with its result if it came over HTTP.
#[utoipa::path(
    get, path = "/jobs/{id}", operation_id = "show_job", tag = "jobs",
    params(("id" = String, Path, description = "A UUID, or the number of a job of the gateway")),
    responses(
        (status = 200, description = "The job", body = JobReport),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
    ),
)]
async fn show(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobReport>, ApiError> {
    Ok(Json(named(&state, id).await?.whole(&state.pipeline).await?))
}

impl JobsState {
    /// Ends a job; as it is afterwards.
    async fn cancelled(&self, job: Loaded) -> Result<JobReport, ApiError> {
        self.pipeline.cancel(job.summary.id).await?;
        let job = find(&self.pipeline, &job.id()).await?;
        Ok(job.ok_or_else(not_found)?.whole(&self.pipeline).await?)
    }
}

/// Ends a job that came over HTTP and has not ended.
#[utoipa::path(
    delete, path = "/jobs/{id}", operation_id = "cancel_job", tag = "jobs",
    params(("id" = String, Path, description = "A UUID")),
    responses(
        (status = 200, description = "The job, which has ended", body = JobReport),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 403, description = "It is a job of the gateway", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "The job has ended already", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
async fn cancel(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobReport>, ApiError> {
    let job = named(&state, id).await?;
    if job.summary.audience != Audience::Http {
        let detail = "Only jobs that came over HTTP are cancelled here";
        return Err(ApiError::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(Json(state.cancelled(job).await?))
}

/// Tells of one job until it ends.
///
/// Server-sent events. `job` (a `JobReport`) comes first, at every change of status, and last; `stage` (a `StageNews`)
/// whenever a stage begins or ends; of a job that came over HTTP also `transcribed` (`Heard`), `translated`
/// (`TranslatedLanguage`) and `spoken` (`SpokenLanguage`). A new stream tells again what is known so far.
#[utoipa::path(
    get, path = "/jobs/{id}/events", operation_id = "follow_job", tag = "jobs",
    params(("id" = String, Path, description = "A UUID, or the number of a job of the gateway")),
    responses(
        (status = 200, description = "The events", body = ServerEvent, content_type = "text/event-stream"),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 429, description = "Too many streams are open", body = ErrorBody),
    ),
)]
async fn follow(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let job = named(&state, id).await?;
    let place = state.stream_place()?;
    let events = follow::stream(FollowJob::new(state, job), place);
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

/// Tells of all jobs, for as long as somebody listens.
///
/// Server-sent events: `job` (a `JobReport` without result) for each of the newest jobs, each new one and at every change
/// of status, and `stage` (a `StageNews`) whenever a stage begins or ends.
#[utoipa::path(
    get, path = "/jobs/events", operation_id = "follow_jobs", tag = "jobs",
    responses(
        (status = 200, description = "The events", body = ServerEvent, content_type = "text/event-stream"),
        (status = 429, description = "Too many streams are open", body = ErrorBody),
    ),
)]
async fn follow_all(State(state): State<JobsState>) -> Result<Response, ApiError> {
    let place = state.stream_place()?;
    let events = follow::stream(FollowAll::new(state), place);
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(KEEP_ALIVE)
}

impl JobsState {
    fn stream_place(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| ApiError::overloaded())
    }
}

async fn named(
    state: &JobsState,
    id: Result<Path<String>, PathRejection>,
) -> Result<Loaded, ApiError> {
    let Path(id) = id?;
    find(&state.pipeline, &id).await?.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Job not found")
}
