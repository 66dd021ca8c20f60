//! Figures for operators: `/api/v1/admin`; and what they make the daemon forget: `/debug/clear-cache`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use crate::http::body::retold;
use crate::http::catalogue::{CacheReport, LaneState};
use crate::http::error::{ApiError, ErrorBody};
use crate::pipeline::voice_api;

/// How busy the daemon is, and what it takes.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub(super) struct DaemonFigures {
    /// Recordings at work.
    active_jobs: u64,
    /// Recordings that wait.
    queued_jobs: u64,
    /// Since midnight UTC.
    completed_today: u64,
    /// Since midnight UTC.
    failed_today: u64,
    /// From acceptance to the end, today.
    average_processing_time_ms: u64,
    /// Share of all cores since the start, in percent.
    cpu_usage: f64,
    memory_usage_mb: f64,
    /// Engines that are loaded.
    models_loaded: Vec<String>,
    /// Seconds since the start.
    uptime: u64,
    version: String,
}

/// How busy the daemon is, and what it takes.
#[utoipa::path(
    get, path = "/api/v1/admin/metrics", operation_id = "admin_metrics", tag = "admin",
    responses((status = 200, description = "The figures", body = DaemonFigures)),
)]
pub(super) async fn metrics(
    State(state): State<AdminState>,
) -> Result<Json<DaemonFigures>, ApiError> {
    retold(&voice_api::admin_metrics(&state.pipeline).await?).map(Json)
}

/// What waits.
#[derive(Serialize, ToSchema)]
pub(super) struct QueueFigures {
    /// Jobs that wait, of all lanes.
    waiting: usize,
    /// Jobs at work, of all lanes.
    running: usize,
    lanes: Vec<LaneState>,
}

/// What waits in each lane.
#[utoipa::path(
    get, path = "/api/v1/admin/queue", operation_id = "admin_queue", tag = "admin",
    responses((status = 200, description = "The queues", body = QueueFigures)),
)]
pub(super) async fn queue(State(state): State<AdminState>) -> Json<QueueFigures> {
    let lanes = LaneState::all(&state.scheduler);
    Json(QueueFigures {
        waiting: lanes.iter().map(|lane| lane.waiting).sum(),
        running: lanes.iter().map(|lane| lane.running).sum(),
        lanes,
    })
}

/// Forgets every result that was kept to be given out again, and tells what that was.
#[utoipa::path(
    post, path = "/debug/clear-cache", operation_id = "clear_cache", tag = "admin",
    responses(
        (status = 200, description = "What was forgotten", body = CacheReport),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
pub(super) async fn clear_cache(
    State(state): State<AdminState>,
) -> Result<Json<CacheReport>, ApiError> {
    let caches = state.ledger.clear_cache().await?;
    tracing::info!("an operator has cleared the cache");
    Ok(Json(CacheReport { caches }))
}
