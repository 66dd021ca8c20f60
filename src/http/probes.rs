//! How the daemon is: `/live`, `/health`, `/ready`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::timestamp;
use crate::engine::EngineStatus;
use crate::ledger::{Ledger, Salvage};
use crate::observe::Health;
use crate::observe::health::{BreakerState, DatabaseStatus};
use crate::observe::metrics::ENGINE_READY;
use crate::storage::StorageFault;

const SERVICE: &str = "meeshy-translator";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the routes need.
#[derive(Clone)]
pub struct ProbeState {
    /// How the parts are.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: PrometheusHandle,
    /// Whether the disk and the ledger are well.
    pub ledger: Ledger,
}

/// The probes.
pub fn operations() -> OpenApiRouter<ProbeState> {
    OpenApiRouter::default()
        .routes(routes!(live))
        .routes(routes!(health))
        .routes(routes!(ready))
        .routes(routes!(metrics))
}

/// Their routes.
pub fn routes(state: ProbeState) -> Router {
    Router::from(operations()).with_state(state)
}

/// The process runs.
#[derive(Serialize, ToSchema)]
struct Life {
    status: &'static str,
    service: &'static str,
    #[schema(format = DateTime)]
    timestamp: String,
    uptime_seconds: f64,
}

/// How each part is.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    /// `healthy`, also while models load; `degraded` when a part fails; `unhealthy` when the sockets are down.
    status: &'static str,
    service: &'static str,
    version: &'static str,
    build: &'static str,
    #[schema(format = DateTime)]
    timestamp: String,
    uptime_seconds: f64,
    models_loading: bool,
    components: Components,
    summary: Summary,
}

#[derive(Serialize, ToSchema)]
struct Components {
    database: &'static str,
    database_breaker: Option<&'static str>,
    storage: &'static str,
    zmq_server: &'static str,
    /// Engines with what they say.
    translation_models: BTreeMap<&'static str, String>,
    ledger: LedgerReport,
}

#[derive(Serialize, ToSchema)]
struct LedgerReport {
    status: &'static str,
    /// What a damaged ledger has lost; told until the next start.
    salvage: Option<Salvage>,
    set_aside: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Summary {
    database_connected: bool,
    zmq_running: bool,
    models_loaded: bool,
    models_loading: bool,
    total_models: usize,
    ready_models: usize,
}

/// Whether work is taken.
#[derive(Serialize, ToSchema)]
struct Readiness {
    status: &'static str,
    message: &'static str,
    zmq_ready: bool,
    /// A model that its first request loads counts as ready.
    models_ready: bool,
    engines: BTreeMap<&'static str, EngineReadiness>,
    /// Results wait in the outbox while MongoDB is away: jobs do not need it.
    database_ready: bool,
}

#[derive(Serialize, ToSchema)]
struct EngineReadiness {
    loaded: bool,
}

/// Why no work is taken.
#[derive(Serialize, ToSchema)]
struct NotReady {
    detail: Readiness,
}

/// The process runs.
#[utoipa::path(
    get, path = "/live", tag = "probes",
    responses((status = 200, description = "It runs", body = Life)),
)]
async fn live(State(state): State<ProbeState>) -> Json<Life> {
    Json(Life {
        status: "alive",
        service: SERVICE,
        timestamp: now(),
        uptime_seconds: state.health.uptime_seconds(),
    })
}

/// What an engine's status is called.
pub(super) fn status_text(status: &EngineStatus) -> String {
    match status {
        EngineStatus::Ready => "ready".to_owned(),
        EngineStatus::Loading => "loading".to_owned(),
        EngineStatus::Unloaded => "not loaded".to_owned(),
        EngineStatus::Stuck => "stuck".to_owned(),
        EngineStatus::Failed(why) => format!("failed: {why}"),
    }
}

/// How each part is. Always 200: the body says it.
#[utoipa::path(
    get, path = "/health", tag = "probes",
    responses((status = 200, description = "How it is", body = HealthReport)),
)]
async fn health(State(state): State<ProbeState>) -> Json<HealthReport> {
    let health = &state.health;
    let statuses: Vec<(&'static str, EngineStatus)> = health.engines().collect();
    let count = |wanted: fn(&EngineStatus) -> bool| {
        let found = statuses.iter().filter(|(_, status)| wanted(status));
        found.count()
    };
    let ready_models = count(|status| *status == EngineStatus::Ready);
    let failed =
        count(|status| matches!(status, EngineStatus::Stuck | EngineStatus::Failed(_))) > 0;
    let zmq_running = health.are_sockets_ready();
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
    Json(HealthReport {
        status: if !zmq_running {
            "unhealthy"
        } else if is_degraded {
            "degraded"
        } else {
            "healthy"
        },
        service: SERVICE,
        version: VERSION,
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        timestamp: now(),
        uptime_seconds: health.uptime_seconds(),
        models_loading: health.are_models_loading(),
        components: Components {
            database,
            database_breaker: health.breaker().map(BreakerState::as_str),
            storage: storage.map_or("ok", StorageFault::as_str),
            zmq_server: if zmq_running { "running" } else { "stopped" },
            translation_models: statuses
                .iter()
                .map(|(name, status)| (*name, status_text(status)))
                .collect(),
            ledger: LedgerReport {
                status: if salvage.is_some() {
                    "salvaged"
                } else {
                    "intact"
                },
                salvage: salvage.cloned(),
                set_aside: state.ledger.set_aside(),
            },
        },
        summary: Summary {
            database_connected: health.database() == DatabaseStatus::Connected,
            zmq_running,
            models_loaded: health.are_models_loaded(),
            models_loading: health.are_models_loading(),
            total_models: statuses.len(),
            ready_models,
        },
    })
}

/// Whether work is taken: sockets are bound and models are there.
#[utoipa::path(
    get, path = "/ready", tag = "probes",
    responses(
        (status = 200, description = "Work is taken", body = Readiness),
        (status = 503, description = "Work is not taken yet", body = NotReady),
    ),
)]
async fn ready(State(state): State<ProbeState>) -> Response {
    let health = &state.health;
    let zmq_ready = health.are_sockets_ready();
    let models_ready = health.are_models_ready();
    let is_ready = zmq_ready && models_ready;
    let readiness = Readiness {
        status: if is_ready { "ready" } else { "not_ready" },
        message: if is_ready {
            "the daemon takes jobs"
        } else if zmq_ready {
            "models are not loaded"
        } else {
            "sockets are not bound"
        },
        zmq_ready,
        models_ready,
        engines: health
            .engines()
            .map(|(name, status)| {
                let loaded = status == EngineStatus::Ready;
                (name, EngineReadiness { loaded })
            })
            .collect(),
        database_ready: health.database() != DatabaseStatus::Unreachable,
    };
    if is_ready {
        Json(readiness).into_response()
    } else {
        let body = Json(NotReady { detail: readiness });
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

/// Counters, gauges and histograms in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "probes",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
async fn metrics(State(state): State<ProbeState>) -> impl IntoResponse {
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
