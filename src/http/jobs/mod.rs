//! Work that takes long: `/jobs`. A request over HTTP becomes a job like one of the gateway, and its events are
//! read here instead of being published.

mod follow;
mod report;
mod result;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use super::error::ApiError;
use crate::ledger::{Audience, JobFilter, LedgerError};
use crate::pipeline::Pipeline;
use crate::scheduler::Scheduler;

use follow::{FollowAll, FollowJob};
pub use report::{JobPage, JobReport};
use report::{Loaded, find};
use result::heard;
pub use result::no_result;
pub use result::{Answer, SegmentReport, TranscriptionReport};
pub use work::{Awaited, Need, NewWork, Piece, prefers_async};

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
    /// Time for one request, upload included.
    pub request_timeout: Duration,
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

/// The routes under `/jobs`.
pub fn routes(state: JobsState) -> Router {
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/events", get(follow_all))
        .route("/jobs/{id}", get(show).delete(cancel))
        .route("/jobs/{id}/events", get(follow))
        .with_state(state)
}

#[derive(Deserialize)]
struct Listed {
    limit: Option<u32>,
}

/// The newest jobs, those of the gateway too: what they are and how far, not what they are about.
async fn list(
    State(state): State<JobsState>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<JobPage>, ApiError> {
    let Query(query) =
        query.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
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

async fn show(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobReport>, ApiError> {
    Ok(Json(named(&state, id).await?.whole(&state.pipeline).await?))
}

/// Ends a job that came over HTTP and has not ended.
async fn cancel(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<JobReport>, ApiError> {
    let job = named(&state, id).await?;
    if job.summary.audience != Audience::Http {
        let detail = "Only jobs that came over HTTP are cancelled here";
        return Err(ApiError::new(StatusCode::FORBIDDEN, detail));
    }
    let job_id = job.summary.id;
    let ledger = &state.pipeline.ledger;
    let record = ledger.load(job_id).await?;
    let record = record.ok_or(LedgerError::UnknownJob(job_id))?;
    match state.pipeline.cancel(record).await {
        Err(LedgerError::AlreadyFinished(_)) => {
            let detail = "The job has ended already";
            return Err(ApiError::new(StatusCode::CONFLICT, detail));
        }
        cancelled => cancelled?,
    }
    let job = find(&state.pipeline, &job.id())
        .await?
        .ok_or_else(not_found)?;
    Ok(Json(job.whole(&state.pipeline).await?))
}

/// Tells of one job until it ends.
async fn follow(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let job = named(&state, id).await?;
    let place = state.stream_place()?;
    let events = FollowJob::new(state, job).events(place);
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

/// Tells of all jobs, for as long as somebody listens.
async fn follow_all(State(state): State<JobsState>) -> Result<Response, ApiError> {
    let place = state.stream_place()?;
    let events = FollowAll::new(state).events(place);
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
    let Path(id) =
        id.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    find(&state.pipeline, &id).await?.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Job not found")
}
