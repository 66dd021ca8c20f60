//! HTTP: probes and metrics (`/live`, `/health`, `/ready`, `/metrics`), voice messages and the jobs that they
//! become, the voices that are kept, and jobs for operators.

mod admin;
mod audio;
mod base64;
mod error;
mod files;
mod form;
mod jobs;
mod speech;
mod v1;
mod voices;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::domain::timestamp;
use crate::engine::EngineStatus;
use crate::ledger::Ledger;
use crate::observe::Health;
use crate::observe::health::{BreakerState, DatabaseStatus};
use crate::observe::metrics::ENGINE_READY;
use crate::storage::StorageFault;

pub use admin::{AdminState, AdminToken};
pub use jobs::{JobsOptions, JobsState};
pub use voices::VoiceState;

const SERVICE: &str = "meeshy-translator";
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Clone)]
struct AppState {
    health: Arc<Health>,
    metrics: PrometheusHandle,
    ledger: Ledger,
}

/// All routes.
pub fn router(
    health: Arc<Health>,
    metrics: PrometheusHandle,
    voices: VoiceState,
    admin: AdminState,
    jobs: JobsState,
) -> Router {
    let ledger = admin.ledger.clone();
    Router::new()
        .route("/live", get(live))
        .route("/health", get(health_report))
        .route("/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .with_state(AppState {
            health,
            metrics,
            ledger,
        })
        .merge(voices::routes(voices))
        .merge(admin::routes(admin))
        .merge(files::routes(jobs.output_directory()))
        .merge(audio::routes(jobs.clone()))
        .merge(speech::routes(jobs.clone()))
        .merge(v1::routes(jobs.clone()))
        .merge(jobs::routes(jobs))
}

async fn live(State(state): State<AppState>) -> Json<Value> {
    Json(json!({
        "status": "alive",
        "service": SERVICE,
        "timestamp": now(),
        "uptime_seconds": state.health.uptime_seconds(),
    }))
}

/// Always 200: the body says how it is.
async fn health_report(State(state): State<AppState>) -> Json<Value> {
    let health = &state.health;
    let mut loaded = 0;
    let mut failed = false;
    let engines: serde_json::Map<String, Value> = health
        .engines()
        .map(|(name, status)| {
            let text = match status {
                EngineStatus::Ready => {
                    loaded += 1;
                    "ready".to_owned()
                }
                EngineStatus::Loading => "loading".to_owned(),
                EngineStatus::Unloaded => "not loaded".to_owned(),
                EngineStatus::Stuck => {
                    failed = true;
                    "stuck".to_owned()
                }
                EngineStatus::Failed(why) => {
                    failed = true;
                    format!("failed: {why}")
                }
            };
            (name.to_owned(), text.into())
        })
        .collect();
    let sockets_ready = health.are_sockets_ready();
    let database = match health.database() {
        DatabaseStatus::Disabled => "disabled",
        DatabaseStatus::Unknown => "connecting",
        DatabaseStatus::Connected => "connected",
        DatabaseStatus::Unreachable => "unreachable",
    };
    let storage = state.ledger.storage().fault();
    let salvage = state.ledger.salvaged();
    let is_degraded = failed
        || storage.is_some()
        || salvage.is_some()
        || health.database() == DatabaseStatus::Unreachable;
    let status = if !sockets_ready {
        "unhealthy"
    } else if is_degraded {
        "degraded"
    } else {
        "healthy"
    };
    Json(json!({
        "status": status,
        "service": SERVICE,
        "version": VERSION,
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "timestamp": now(),
        "uptime_seconds": health.uptime_seconds(),
        "models_loading": health.are_models_loading(),
        "components": {
            "database": database,
            "database_breaker": health.breaker().map(BreakerState::as_str),
            "storage": storage.map_or("ok", StorageFault::as_str),
            "zmq_server": if sockets_ready { "running" } else { "stopped" },
            "translation_models": engines,
            "ledger": {
                "status": if salvage.is_some() { "salvaged" } else { "intact" },
                // What a damaged ledger has lost is told until the next start.
                "salvage": salvage,
                "set_aside": state.ledger.set_aside(),
            },
        },
        "summary": {
            "database_connected": health.database() == DatabaseStatus::Connected,
            "zmq_running": sockets_ready,
            "models_loaded": health.are_models_loaded(),
            "models_loading": health.are_models_loading(),
            "total_models": engines.len(),
            "ready_models": loaded,
        },
    }))
}

async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    let health = &state.health;
    let engines: serde_json::Map<String, Value> = health
        .engines()
        .map(|(name, status)| {
            let loaded = status == EngineStatus::Ready;
            (name.to_owned(), json!({ "loaded": loaded }))
        })
        .collect();
    let flags = json!({
        "status": "ready",
        "message": "the daemon takes jobs",
        "zmq_ready": health.are_sockets_ready(),
        // A model that its first request loads counts as ready.
        "models_ready": health.are_models_ready(),
        "engines": engines,
        // Results wait in the outbox while MongoDB is away: jobs do not need it.
        "database_ready": health.database() != DatabaseStatus::Unreachable,
    });
    if health.are_sockets_ready() && health.are_models_ready() {
        return (StatusCode::OK, Json(flags));
    }
    let mut detail = flags;
    detail["status"] = "not_ready".into();
    detail["message"] = if health.are_sockets_ready() {
        "models are not loaded".into()
    } else {
        "sockets are not bound".into()
    };
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({ "detail": detail })),
    )
}

async fn render_metrics(State(state): State<AppState>) -> impl IntoResponse {
    for (engine, status) in state.health.engines() {
        metrics::gauge!(ENGINE_READY, "engine" => engine)
            .set(f64::from(u8::from(status.takes_requests())));
    }
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        state.metrics.render(),
    )
}

fn now() -> String {
    timestamp::text(OffsetDateTime::now_utc())
}
