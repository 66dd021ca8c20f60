//! What is installed, what waits, and what is kept: `/languages`, `/models`, `/queues`, `/debug/cache`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::OnceCell;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::WorkState;
use super::error::ApiError;
use super::probes::status_text;
use crate::domain::Language;
use crate::engine::EngineStatus;
use crate::ledger::CacheCount;
use crate::pipeline::Pipeline;
use crate::scheduler::Scheduler;

/// What is installed.
pub struct Inventory {
    /// Reads the models that the manifest lists; `None` while that cannot be read.
    pub models: Box<dyn Fn() -> Option<Vec<InstalledModel>> + Send + Sync>,
    /// The models that speak which `models pull` knows.
    pub pullable: BTreeSet<String>,
    /// Where each engine runs, by its name.
    pub devices: BTreeMap<&'static str, &'static str>,
}

/// A model that is installed.
pub struct InstalledModel {
    /// Its name in the manifest.
    pub id: String,
    /// What it is for, such as `whisper`.
    pub kind: &'static str,
    /// The languages that it covers, by their codes; `multilingual` or `any` where nothing more is known.
    pub languages: Vec<String>,
    /// Length of its files.
    pub size_bytes: u64,
    /// About how much memory it takes, where that is known.
    pub memory_bytes: Option<u64>,
    /// Under which it may be used.
    pub licence: String,
    /// False: the licence has to be accepted in the settings first.
    pub is_usable: bool,
    /// The engine that runs it.
    pub engine: &'static str,
}

/// What the routes need.
#[derive(Clone)]
pub struct CatalogueState {
    pub(super) work: WorkState,
    pub(super) inventory: Arc<Inventory>,
    /// Once they were asked for.
    models: Arc<OnceCell<Vec<InstalledModel>>>,
    translation: Arc<[Translation]>,
}

impl CatalogueState {
    /// The catalogue of what is installed, and of what does the work.
    pub fn new(work: WorkState, inventory: Inventory) -> Self {
        let translation = work.pipeline.routes.all().map(|(source, target, route)| {
            let via = match route.legs() {
                [first, _] => Some(first.target_language.to_string()),
                _ => None,
            };
            Translation {
                source: source.to_string(),
                target: target.to_string(),
                via,
            }
        });
        Self {
            inventory: Arc::new(inventory),
            models: Arc::default(),
            translation: translation.collect(),
            work,
        }
    }

    /// The models that are installed, read when they are first asked for; none while they cannot be read.
    pub(super) async fn models(&self) -> &[InstalledModel] {
        let read = || async {
            let inventory = Arc::clone(&self.inventory);
            let read = tokio::task::spawn_blocking(move || (inventory.models)()).await;
            read.ok().flatten().ok_or(())
        };
        let models = self.models.get_or_try_init(read).await;
        models.map_or(&[], Vec::as_slice)
    }

    /// What is told of a model.
    pub(super) fn told(&self, model: &InstalledModel) -> Model {
        let mut engines = self.work.pipeline.health.engines();
        let engine = engines.find(|(engine, _)| *engine == model.engine);
        Model {
            id: model.id.clone(),
            kind: model.kind,
            languages: model.languages.clone(),
            size_bytes: model.size_bytes,
            licence: model.licence.clone(),
            status: match engine {
                _ if !model.is_usable => "licence not accepted".to_owned(),
                Some((_, status)) => status_text(&status),
                None => "not used".to_owned(),
            },
            device: self.inventory.devices.get(model.engine).copied(),
        }
    }
}

/// What there is about the daemon.
pub fn operations() -> OpenApiRouter<CatalogueState> {
    OpenApiRouter::default()
        .routes(routes!(languages))
        .routes(routes!(models))
        .routes(routes!(queues))
        .routes(routes!(cache))
        .routes(routes!(voice_languages))
}

/// Its routes.
pub fn routes(state: CatalogueState) -> Router {
    Router::from(operations()).with_state(state)
}

/// The languages that are served, by their codes.
#[derive(Serialize, ToSchema)]
struct Languages {
    /// Those that are heard.
    transcription: Vec<String>,
    /// From which texts get into which.
    #[schema(value_type = Vec<Translation>)]
    translation: Arc<[Translation]>,
    /// Those that are spoken.
    speech: Vec<Speech>,
}

#[derive(Serialize, ToSchema)]
struct Translation {
    source: String,
    target: String,
    /// The language in between; null where one model does it.
    via: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Speech {
    language: String,
    voice: VoiceKind,
}

/// Whose voice speaks a language.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum VoiceKind {
    /// The sender's.
    Cloned,
    /// One of the language.
    Base,
}

/// The same by what is done, as the later API tells it.
#[derive(Serialize, ToSchema)]
struct VoiceLanguages {
    transcription: Vec<String>,
    /// Those from which or into which something is translated.
    translation: Vec<String>,
    tts: Vec<String>,
    voice_cloning: Vec<String>,
}

/// The languages that are served, as of the start.
#[utoipa::path(
    get, path = "/languages", operation_id = "languages", tag = "catalogue",
    responses((status = 200, description = "The languages", body = Languages)),
)]
async fn languages(State(state): State<CatalogueState>) -> Json<Languages> {
    let pipeline = &state.work.pipeline;
    let speech = Language::listed()
        .filter(|language| pipeline.spoken.speaks(*language))
        .map(|language| Speech {
            language: language.to_string(),
            voice: if pipeline.spoken.clones(language) {
                VoiceKind::Cloned
            } else {
                VoiceKind::Base
            },
        });
    Json(Languages {
        transcription: heard(pipeline),
        translation: Arc::clone(&state.translation),
        speech: speech.collect(),
    })
}

/// The languages that are served, by what is done.
#[utoipa::path(
    get, path = "/api/v1/voice/languages", operation_id = "voice_languages", tag = "catalogue",
    responses((status = 200, description = "The languages", body = VoiceLanguages)),
)]
async fn voice_languages(State(state): State<CatalogueState>) -> Json<VoiceLanguages> {
    let pipeline = &state.work.pipeline;
    let pairs = state.translation.iter();
    let translated: BTreeSet<&String> = pairs
        .flat_map(|pair| [&pair.source, &pair.target])
        .collect();
    let listed = |is_in: &dyn Fn(Language) -> bool| {
        let listed = Language::listed().filter(|language| is_in(*language));
        listed.map(|language| language.to_string()).collect()
    };
    Json(VoiceLanguages {
        transcription: heard(pipeline),
        translation: translated.into_iter().cloned().collect(),
        tts: listed(&|language| pipeline.spoken.speaks(language)),
        voice_cloning: listed(&|language| pipeline.spoken.clones(language)),
    })
}

fn heard(pipeline: &Pipeline) -> Vec<String> {
    let heard = Language::listed().filter(|language| pipeline.engines.hears(*language));
    heard.map(|language| language.to_string()).collect()
}

/// What is installed.
#[derive(Serialize, ToSchema)]
struct Models {
    models: Vec<Model>,
}

/// A model that is installed.
#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    id: String,
    /// What it is for, such as `whisper`.
    kind: &'static str,
    /// Codes; `multilingual` or `any` where nothing more is known.
    languages: Vec<String>,
    size_bytes: u64,
    licence: String,
    /// Of the engine that runs it, or that the licence has to be accepted.
    pub(super) status: String,
    device: Option<&'static str>,
}

/// The models that are installed.
#[utoipa::path(
    get, path = "/models", operation_id = "models", tag = "catalogue",
    responses((status = 200, description = "The models", body = Models)),
)]
async fn models(State(state): State<CatalogueState>) -> Json<Models> {
    let models = state.models().await.iter();
    Json(Models {
        models: models.map(|model| state.told(model)).collect(),
    })
}

/// What waits, and who works.
#[derive(Serialize, ToSchema)]
struct Queues {
    lanes: Vec<LaneState>,
    engines: Vec<EngineState>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LaneState {
    lane: &'static str,
    pub(super) waiting: usize,
    /// Of the requests that wait.
    bytes: u64,
    pub(super) running: usize,
}

impl LaneState {
    pub(super) fn all(scheduler: &Scheduler) -> Vec<Self> {
        let lanes = scheduler.lanes().into_iter();
        let lanes = lanes.map(|report| Self {
            lane: report.lane.as_str(),
            waiting: report.waiting,
            bytes: report.bytes,
            running: report.running,
        });
        lanes.collect()
    }
}

#[derive(Serialize, ToSchema)]
struct EngineState {
    engine: &'static str,
    status: String,
    device: Option<&'static str>,
    /// About what its models take; null where that is not known, they are not loaded, or nobody
    /// has asked for the models yet.
    memory_bytes: Option<u64>,
}

/// What waits in each lane, and how each engine is.
#[utoipa::path(
    get, path = "/queues", operation_id = "queues", tag = "catalogue",
    responses((status = 200, description = "The queues", body = Queues)),
)]
async fn queues(State(state): State<CatalogueState>) -> Json<Queues> {
    let devices = &state.inventory.devices;
    // They must not keep anybody waiting who wants to know what waits.
    let models = state.models.get().map_or(&[][..], Vec::as_slice);
    let engine = |(engine, status): (&'static str, EngineStatus)| EngineState {
        engine,
        status: status_text(&status),
        device: devices.get(engine).copied(),
        memory_bytes: memory_bytes(models, engine).filter(|_| status == EngineStatus::Ready),
    };
    Json(Queues {
        lanes: LaneState::all(&state.work.scheduler),
        engines: state.work.pipeline.health.engines().map(engine).collect(),
    })
}

/// What is kept to be given out again.
#[derive(Serialize, ToSchema)]
pub(super) struct CacheReport {
    pub(super) caches: Vec<CacheCount>,
}

/// Results that are kept to be given out again, of each kind.
#[utoipa::path(
    get, path = "/debug/cache", operation_id = "cache", tag = "catalogue",
    responses((status = 200, description = "How many there are", body = CacheReport)),
)]
async fn cache(State(state): State<CatalogueState>) -> Result<Json<CacheReport>, ApiError> {
    let caches = state.work.pipeline.ledger.cache_counts().await?;
    Ok(Json(CacheReport { caches }))
}

/// About what the models of an engine take; `None` where that is not known of all of them.
fn memory_bytes(models: &[InstalledModel], engine: &str) -> Option<u64> {
    let of_engine = models.iter();
    let of_engine = of_engine.filter(|model| model.engine == engine && model.is_usable);
    let mut sizes = of_engine.map(|model| model.memory_bytes).peekable();
    sizes.peek()?;
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_where_it_is_known_of_all_models_of_an_engine() {
        let model = |engine, memory_bytes| InstalledModel {
            id: String::new(),
            kind: "whisper",
            languages: Vec::new(),
            size_bytes: 1,
            memory_bytes,
            licence: String::new(),
            is_usable: true,
            engine,
        };
        let models = [
            model("translate", Some(2)),
            model("translate", Some(3)),
            model("embed", Some(1)),
            model("embed", None),
        ];
        assert_eq!(memory_bytes(&models, "translate"), Some(5));
        assert_eq!(memory_bytes(&models, "embed"), None);
        assert_eq!(memory_bytes(&models, "transcribe"), None);
    }
}
