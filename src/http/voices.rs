//! The voices that are kept: `/audio/voice-models`.

use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::WorkState;
use super::error::{ApiError, ErrorBody, require_writable};
use crate::domain::timestamp;
use crate::error::Reason;
use crate::ledger::{JobRecord, JobState};
use crate::pipeline::{Deleted, VoiceTask, VoiceTaskKind};
use crate::scheduler::{Lane, ended};
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

/// What there is under `/audio` and, for clients of the later API, under `/v1/audio`.
pub fn operations() -> OpenApiRouter<WorkState> {
    let voice_models = OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(show, delete))
        .routes(routes!(recalibrate));
    OpenApiRouter::default()
        .nest("/audio", voice_models.clone())
        .nest("/v1/audio", voice_models)
}

/// Its routes.
pub fn routes(state: WorkState) -> Router {
    Router::from(operations()).with_state(state)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Most voices: 100 where it is not said, at most 1000.
    limit: Option<usize>,
    /// Voices that are passed over.
    offset: Option<usize>,
}

/// Some of the voices.
#[derive(Serialize, ToSchema)]
struct Voices {
    voice_models: Vec<Voice>,
    /// How many there are in all.
    total: usize,
}

/// What is told of a voice.
#[derive(Serialize, ToSchema)]
struct Voice {
    user_id: String,
    /// From 0 to 1.
    quality_score: f64,
    /// Recordings that it was made from.
    audio_count: u32,
    /// Their length.
    total_duration_ms: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Whole days since the last change.
    age_days: i64,
    /// Grows with every change.
    version: u32,
    #[schema(format = DateTime)]
    next_recalibration_at: String,
}

/// What was deleted of a user.
#[derive(Serialize, ToSchema)]
struct DeletedUser {
    user_id: String,
    deleted: Deleted,
}

/// The voices that are kept.
#[utoipa::path(
    get, path = "/voice-models", operation_id = "list_voices", tag = "voices",
    params(Page),
    responses(
        (status = 200, description = "The voices", body = Voices),
        (status = 400, description = "The query cannot be read", body = ErrorBody),
    ),
)]
async fn list(
    State(state): State<WorkState>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Voices>, ApiError> {
    let Query(page) = page?;
    let voices = state.pipeline.voices.list().await;
    let voices = voices.map_err(|error| ApiError::internal(&error))?;
    let limit = page.limit.unwrap_or(PAGE).min(MAX_PAGE);
    let listed = voices.iter().skip(page.offset.unwrap_or(0)).take(limit);
    Ok(Json(Voices {
        voice_models: listed.map(report).collect(),
        total: voices.len(),
    }))
}

/// What is known of one voice.
#[utoipa::path(
    get, path = "/voice-models/{user_id}", operation_id = "show_voice", tag = "voices",
    params(("user_id" = String, Path, description = "Whose voice")),
    responses(
        (status = 200, description = "The voice", body = Voice),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 404, description = "The user has no voice", body = ErrorBody),
    ),
)]
async fn show(
    State(state): State<WorkState>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Voice>, ApiError> {
    let user_id = checked(user_id)?;
    Ok(Json(report(&kept(&state, &user_id).await?)))
}

/// Makes a voice anew from the user's last recordings.
#[utoipa::path(
    post, path = "/voice-models/{user_id}/recalibrate", operation_id = "recalibrate_voice",
    tag = "voices",
    params(("user_id" = String, Path, description = "Whose voice")),
    responses(
        (status = 200, description = "The voice as it is now", body = Voice),
        (status = 400, description = "There are no recordings, or the id cannot be read", body = ErrorBody),
        (status = 404, description = "The user has no voice", body = ErrorBody),
        (status = 429, description = "Too much waits", body = ErrorBody),
        (status = 503, description = "Models are missing", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
async fn recalibrate(
    State(state): State<WorkState>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Voice>, ApiError> {
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
        ApiError::not_ready()
    } else {
        let detail = "The voice could not be made anew";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })
}

/// Deletes everything of a user.
///
/// Voice, ended jobs, cached results, history and feedback, speech files, the voice's document in MongoDB.
#[utoipa::path(
    delete, path = "/voice-models/{user_id}", operation_id = "delete_user", tag = "voices",
    params(("user_id" = String, Path, description = "Whose voice")),
    responses(
        (status = 200, description = "It is deleted", body = DeletedUser),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 404, description = "There is nothing of the user", body = ErrorBody),
        (status = 429, description = "Too much waits", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
async fn delete(
    State(state): State<WorkState>,
    user_id: Result<Path<String>, PathRejection>,
) -> Result<Json<DeletedUser>, ApiError> {
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
    Ok(Json(DeletedUser { user_id, deleted }))
}

/// Runs a task as a job, so that it is done even if the daemon is killed meanwhile; `None` when it has
/// vanished from the ledger, deleted with its user.
async fn finished(state: &WorkState, task: VoiceTask) -> Result<Option<JobRecord>, ApiError> {
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
        Err(_) => Err(ApiError::timeout("It takes longer and goes on")),
    }
}

fn checked(user_id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let Path(user_id) = user_id?;
    if user_id.len() > MAX_ID_BYTES {
        let detail = format!("A user id has at most {MAX_ID_BYTES} bytes");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
    }
    Ok(user_id)
}

async fn kept(state: &WorkState, user_id: &str) -> Result<VoiceMetadata, ApiError> {
    let metadata = state.pipeline.voices.metadata(user_id).await;
    metadata
        .map_err(|error| ApiError::internal(&error))?
        .ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Voice model not found")
}

fn report(voice: &VoiceMetadata) -> Voice {
    let age = OffsetDateTime::now_utc() - voice.updated_at;
    Voice {
        user_id: voice.user_id.clone(),
        // As it was meant: 0.35 as f32 is 0.3499999940395355 as f64.
        quality_score: (f64::from(voice.quality_score) * 1e4).round() / 1e4,
        audio_count: voice.audio_count,
        total_duration_ms: voice.total_duration_ms,
        created_at: timestamp::text(voice.created_at),
        updated_at: timestamp::text(voice.updated_at),
        age_days: age.whole_days().max(0),
        version: voice.version,
        next_recalibration_at: timestamp::text(voice.next_recalibration_at),
    }
}
