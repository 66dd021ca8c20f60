//! The models that speak: `/v1/tts/models`. What speaks is decided by the files that are installed, so they are told
//! of here and not chosen.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{BODY, Fields, JsonBody};
use super::catalogue::{CatalogueState, InstalledModel, Model};
use super::error::{ApiError, ErrorBody, InvalidBody};
use crate::pipeline::SpokenText;

/// The engine that clones voices, and the one of voices that are there.
const XTTS: &str = "synthesize";
const BASE_VOICE: &str = "base_voice";

/// What there is about models that speak.
pub fn operations() -> OpenApiRouter<CatalogueState> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(current))
        .routes(routes!(status))
        .routes(routes!(compare))
        .routes(routes!(info))
        .routes(routes!(license))
        .routes(routes!(languages))
        .routes(routes!(switch))
        .routes(routes!(download))
        .routes(routes!(stats))
}

/// Its routes.
pub fn routes(state: CatalogueState) -> Router {
    Router::from(operations()).with_state(state)
}

impl CatalogueState {
    /// The models that speak, those first that speak what both can.
    async fn speaking(&self) -> Vec<&InstalledModel> {
        let engines = match self.work.pipeline.spoken.prefers_base {
            true => [BASE_VOICE, XTTS],
            false => [XTTS, BASE_VOICE],
        };
        let models = self.models().await;
        let of_engine = |engine| models.iter().filter(move |model| model.engine == engine);
        engines.into_iter().flat_map(of_engine).collect()
    }

    async fn current(&self) -> Option<&InstalledModel> {
        let mut speaking = self.speaking().await.into_iter();
        speaking.find(|model| model.is_usable)
    }

    async fn named(
        &self,
        name: Result<Path<String>, PathRejection>,
    ) -> Result<&InstalledModel, ApiError> {
        let Path(name) = name?;
        let mut speaking = self.speaking().await.into_iter();
        let found = speaking.find(|model| model.id == name);
        found.ok_or_else(unknown)
    }
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "There is no such model")
}

/// The models that speak.
#[derive(Serialize, ToSchema)]
struct SpeechModels {
    /// The one that speaks what it can; null where base voices do without a model.
    current: Option<String>,
    models: Vec<Model>,
}

/// The models that speak, as far as they are installed.
#[utoipa::path(
    get, path = "/v1/tts/models", operation_id = "speech_models", tag = "catalogue",
    responses((status = 200, description = "The models", body = SpeechModels)),
)]
async fn list(State(state): State<CatalogueState>) -> Json<SpeechModels> {
    let speaking = state.speaking().await.into_iter();
    Json(SpeechModels {
        current: state.current().await.map(|model| model.id.clone()),
        models: speaking.map(|model| state.told(model)).collect(),
    })
}

/// The model that speaks what it can.
#[utoipa::path(
    get, path = "/v1/tts/models/current", operation_id = "current_speech_model", tag = "catalogue",
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 404, description = "No such model is installed", body = ErrorBody),
    ),
)]
async fn current(State(state): State<CatalogueState>) -> Result<Json<Model>, ApiError> {
    let current = state.current().await.ok_or_else(unknown)?;
    Ok(Json(state.told(current)))
}

/// How the models are.
#[derive(Serialize, ToSchema)]
struct SpeechModelStatuses {
    /// Of the engine that runs each, or that its licence has to be accepted.
    #[schema(value_type = BTreeMap<String, String>)]
    models: BTreeMap<String, String>,
}

/// How the models that speak are.
#[utoipa::path(
    get, path = "/v1/tts/models/status", operation_id = "speech_model_statuses", tag = "catalogue",
    responses((status = 200, description = "By their names", body = SpeechModelStatuses)),
)]
async fn status(State(state): State<CatalogueState>) -> Json<SpeechModelStatuses> {
    let speaking = state.speaking().await.into_iter();
    let told = speaking.map(|model| (model.id.clone(), state.told(model).status));
    Json(SpeechModelStatuses {
        models: told.collect(),
    })
}

/// The models beside each other.
#[derive(Serialize, ToSchema)]
struct SpeechModelComparison {
    models: Vec<ComparedModel>,
}

#[derive(Serialize, ToSchema)]
struct ComparedModel {
    id: String,
    /// It speaks in the sender's voice by itself.
    clones_voices: bool,
    /// How many it speaks.
    languages: usize,
    size_bytes: u64,
    /// About what it takes; null where that is not known.
    memory_bytes: Option<u64>,
    licence: String,
}

/// The models that speak beside each other.
#[utoipa::path(
    get, path = "/v1/tts/models/compare", operation_id = "compare_speech_models", tag = "catalogue",
    responses((status = 200, description = "The models", body = SpeechModelComparison)),
)]
async fn compare(State(state): State<CatalogueState>) -> Json<SpeechModelComparison> {
    let compared = |model: &InstalledModel| ComparedModel {
        id: model.id.clone(),
        clones_voices: model.engine == XTTS,
        languages: model.languages.len(),
        size_bytes: model.size_bytes,
        memory_bytes: model.memory_bytes,
        licence: model.licence.clone(),
    };
    let speaking = state.speaking().await.into_iter();
    Json(SpeechModelComparison {
        models: speaking.map(compared).collect(),
    })
}

/// One model that speaks.
#[utoipa::path(
    get, path = "/v1/tts/models/{model}/info", operation_id = "speech_model", tag = "catalogue",
    params(("model" = String, Path, description = "What it is called")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 400, description = "The name cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such model", body = ErrorBody),
    ),
)]
async fn info(
    State(state): State<CatalogueState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, ApiError> {
    Ok(Json(state.told(state.named(name).await?)))
}

/// Under which a model may be used.
#[derive(Serialize, ToSchema)]
struct ModelLicense {
    model: String,
    licence: String,
    /// False: it has to be accepted in the settings first (`models.accept_licenses`).
    accepted: bool,
}

/// The licence of one model that speaks.
#[utoipa::path(
    get, path = "/v1/tts/models/{model}/license", operation_id = "speech_model_license",
    tag = "catalogue",
    params(("model" = String, Path, description = "What it is called")),
    responses(
        (status = 200, description = "Its licence", body = ModelLicense),
        (status = 400, description = "The name cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such model", body = ErrorBody),
    ),
)]
async fn license(
    State(state): State<CatalogueState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelLicense>, ApiError> {
    let model = state.named(name).await?;
    Ok(Json(ModelLicense {
        model: model.id.clone(),
        licence: model.licence.clone(),
        accepted: model.is_usable,
    }))
}

/// What a model speaks.
#[derive(Serialize, ToSchema)]
struct ModelLanguages {
    model: String,
    /// Codes.
    languages: Vec<String>,
}

/// The languages of one model that speaks.
#[utoipa::path(
    get, path = "/v1/tts/models/{model}/languages", operation_id = "speech_model_languages",
    tag = "catalogue",
    params(("model" = String, Path, description = "What it is called")),
    responses(
        (status = 200, description = "Its languages", body = ModelLanguages),
        (status = 400, description = "The name cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such model", body = ErrorBody),
    ),
)]
async fn languages(
    State(state): State<CatalogueState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelLanguages>, ApiError> {
    let model = state.named(name).await?;
    Ok(Json(ModelLanguages {
        model: model.id.clone(),
        languages: model.languages.clone(),
    }))
}

/// Another model to speak.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
struct ModelSwitch {
    /// What it is called.
    #[schema(min_length = 1)]
    model: String,
}

/// Refuses to let another model speak: the files that are installed decide it.
#[utoipa::path(
    post, path = "/v1/tts/models/switch", operation_id = "switch_speech_model", tag = "catalogue",
    request_body = ModelSwitch,
    responses(
        (status = 400, description = "Models are not chosen by requests", body = ErrorBody),
        (status = 408, description = "The body did not come in time", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is no JSON", body = ErrorBody),
        (status = 422, description = "Fields are missing or wrong", body = InvalidBody),
        (status = 429, description = "Too many bodies are held", body = ErrorBody),
    ),
)]
async fn switch(JsonBody(body): JsonBody) -> ApiError {
    let mut fields = Fields::of(body, vec![BODY]);
    fields.text("model", 1..=usize::MAX);
    let problems = fields.problems();
    if !problems.is_empty() {
        return ApiError::invalid(problems);
    }
    let detail = "What is installed decides what speaks: XTTS, and base voices by synthesize.base_voice \
                  (TRANSLATOR_BASE_VOICE)";
    ApiError::new(StatusCode::BAD_REQUEST, detail)
}

/// Refuses to download a model: the daemon fetches nothing. It says which command does.
#[utoipa::path(
    post, path = "/v1/tts/models/{model}/download", operation_id = "download_speech_model",
    tag = "catalogue",
    params(("model" = String, Path, description = "What it is called")),
    responses(
        (status = 400, description = "The daemon downloads nothing", body = ErrorBody),
        (status = 404, description = "There is no such model", body = ErrorBody),
    ),
)]
async fn download(
    State(state): State<CatalogueState>,
    name: Result<Path<String>, PathRejection>,
) -> ApiError {
    let name = match name {
        Ok(Path(name)) => name,
        Err(rejection) => return rejection.into(),
    };
    if state.speaking().await.iter().any(|model| model.id == name) {
        return ApiError::new(StatusCode::BAD_REQUEST, "The model is installed already");
    }
    if !state.inventory.pullable.contains(&name) {
        return unknown();
    }
    let detail = format!("The daemon downloads nothing: run translator models pull {name}");
    ApiError::new(StatusCode::BAD_REQUEST, detail)
}

/// What was spoken.
#[derive(Serialize, ToSchema)]
struct SpeechStats {
    /// The model that speaks what it can.
    current: Option<String>,
    /// Texts that were to be spoken, by how they stand; those that the ledger knows.
    #[schema(value_type = BTreeMap<String, u64>)]
    jobs: BTreeMap<&'static str, u64>,
    /// Recent time of the speech of one language, or of a piece of a text; 0 before the first.
    speech_ms: u64,
}

/// Figures about speech.
#[utoipa::path(
    get, path = "/v1/tts/stats", operation_id = "speech_stats", tag = "catalogue",
    responses((status = 200, description = "The figures", body = SpeechStats)),
)]
async fn stats(State(state): State<CatalogueState>) -> Result<Json<SpeechStats>, ApiError> {
    let pipeline = &state.work.pipeline;
    let tally = pipeline.ledger.tally().await?.into_iter();
    let jobs = tally.filter(|tally| tally.kind == SpokenText::KIND);
    Ok(Json(SpeechStats {
        current: state.current().await.map(|model| model.id.clone()),
        jobs: jobs
            .map(|tally| (tally.state.as_str(), tally.jobs))
            .collect(),
        speech_ms: pipeline.recent_times.synthesize.ms(),
    }))
}
