//! The voices that are kept: `/audio/voice-models`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::error::{ApiError, require_writable};
use crate::domain::timestamp;
use crate::error::Reason;
use crate::ledger::{JobRecord, JobState};
use crate::pipeline::{Deleted, Pipeline, VoiceTask, VoiceTaskKind};
use crate::scheduler::{Lane, Scheduler, ended};
use crate::voices::VoiceMetadata;

/// Longest user id, as in requests over ZeroMQ.
const MAX_ID_BYTES: usize = 512;

/// Voices in one answer, where the query does not say it.
const PAGE: usize = 100;
/// Most voices in one answer.
const MAX_PAGE: usize = 1000;

/// How long a client waits for a job. The job itself goes on.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who asked, in the clone log.
const REQUESTED_BY: &str = "http";

/// What the routes need.
#[derive(Clone)]
pub struct VoiceState {
    /// Keeps the voices, and does the jobs on them.
    pub pipeline: Arc<Pipeline>,
    /// Where those jobs wait.
    pub scheduler: Arc<Scheduler>,
}

/// The routes under `/audio` and, for clients of the later API, under `/v1/audio`.
pub fn routes(state: VoiceState) -> Router {
    let routes = Router::new()
        .route("/voice-models", get(list))
        .route("/voice-models/{user_id}", get(show).delete(delete))
        .route("/voice-models/{user_id}/recalibrate", post(recalibrate))
        .with_state(state);
    Router::new()
        .nest("/audio", routes.clone())
        .nest("/v1/audio", routes)
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn list(
    State(state): State<VoiceState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(page) =
        page.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    let voices = state.pipeline.voices.list().await;
    let voices = voices.map_err(|error| ApiError::internal(&error))?;
    let limit = page.limit.unwrap_or(PAGE).min(MAX_PAGE);
    let listed: Vec<Value> = voices
        .iter()
        .skip(page.offset.unwrap_or(0))
        .take(limit)
        .map(report)
        .collect();
    Ok(Json(
        json!({ "voice_models": listed, "total": voices.len() }),
    ))
}

async fn show(
    State(state): State<VoiceState>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let user_id = checked(user_id)?;
    Ok(Json(report(&kept(&state, &user_id).await?)))
}

async fn recalibrate(
    State(state): State<VoiceState>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let user_id = checked(user_id)?;
    let task = VoiceTask::recalibrate(&user_id, REQUESTED_BY);
    let Some(job) = finished(&state, task).await? else {
        return Err(not_found());
    };
    if job.state == JobState::Done {
        return Ok(Json(report(&kept(&state, &user_id).await?)));
    }
    let is_for = |reason: Reason| job.reason.as_deref() == Some(reason.as_str());
    Err(if is_for(Reason::NoAudio) {
        ApiError::new(StatusCode::BAD_REQUEST, "No audio history found")
    } else if is_for(Reason::NotFound) {
        not_found()
    } else if is_for(Reason::ModelUnavailable) {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "Models are not loaded")
    } else {
        let detail = "The voice could not be made anew";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })
}

async fn delete(
    State(state): State<VoiceState>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let user_id = checked(user_id)?;
    let task = VoiceTask::delete(&user_id, REQUESTED_BY);
    let Some(job) = finished(&state, task).await? else {
        return Err(not_found());
    };
    if job.state != JobState::Done {
        let detail = "Not everything could be deleted, see the daemon's log";
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
    }
    let deleted = Deleted::by(&state.pipeline.ledger, job.id).await;
    let deleted = deleted?.unwrap_or_default();
    if deleted.is_nothing() {
        return Err(not_found());
    }
    Ok(Json(json!({
        "user_id": user_id,
        "deleted": deleted,
    })))
}

/// Runs a task as a job, so that it is done even if the daemon is killed meanwhile; `None` when it has
/// vanished from the ledger, deleted with its user.
async fn finished(state: &VoiceState, task: VoiceTask) -> Result<Option<JobRecord>, ApiError> {
    let lane = match task.kind() {
        VoiceTaskKind::Recalibrate => Lane::Audio,
        // Nothing is heard for it, and nobody should wait for it behind recordings or texts.
        VoiceTaskKind::Delete => Lane::Query,
    };
    let ledger = &state.pipeline.ledger;
    require_writable(ledger.storage())?;
    let submitted = state
        .scheduler
        .submit(ledger, lane, task.job(lane.as_str()));
    let job_id = submitted.await?;
    match tokio::time::timeout(PATIENCE, ended(ledger, job_id)).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            let detail = "It takes longer and goes on";
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, detail))
        }
    }
}

fn checked(user_id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let Path(user_id) =
        user_id.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    if user_id.len() > MAX_ID_BYTES {
        let detail = format!("A user id has at most {MAX_ID_BYTES} bytes");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
    }
    Ok(user_id)
}

async fn kept(state: &VoiceState, user_id: &str) -> Result<VoiceMetadata, ApiError> {
    let metadata = state.pipeline.voices.metadata(user_id).await;
    metadata
        .map_err(|error| ApiError::internal(&error))?
        .ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Voice model not found")
}

/// What is told of a voice; its age in whole days counts from the last change.
fn report(voice: &VoiceMetadata) -> Value {
    let age = OffsetDateTime::now_utc() - voice.updated_at;
    // As it was meant: 0.35 as f32 is 0.3499999940395355 as f64.
    let quality = (f64::from(voice.quality_score) * 1e4).round() / 1e4;
    json!({
        "user_id": voice.user_id,
        "quality_score": quality,
        "audio_count": voice.audio_count,
        "total_duration_ms": voice.total_duration_ms,
        "created_at": timestamp::text(voice.created_at),
        "updated_at": timestamp::text(voice.updated_at),
        "age_days": age.whole_days().max(0),
        "version": voice.version,
        "next_recalibration_at": timestamp::text(voice.next_recalibration_at),
    })
}
