//! HTTP: probes and metrics, texts, voice messages and the jobs that they become, the voices that are kept and the voice API,
//! what is installed, jobs for operators, and the description of it all.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`server`] | connections: how many, how long |
//! | `layers` | what all routes have in common |
//! | `auth` | tokens |
//! | `error` | what clients are told when something is wrong |
//! | [`openapi`] | the description of the routes, and its viewer |
//! | `probes` | `/live`, `/health`, `/ready`, `/metrics` |
//! | `text` | `/translate`, `/detect-language`; `body` reads what they are sent, `held` bounds what that takes |
//! | `jobs` | `/jobs`: requests that become jobs, and whoever waits for them or follows them |
//! | `audio`, `speech`, `v1` | what becomes a job; `form`, `upload` and `base64` read what they are sent |
//! | `voice_api` | the voice API, under `/api/v1` |
//! | `files` | the speech files |
//! | `catalogue` | `/languages`, `/models`, `/queues`, `/debug/cache` |
//! | `tts_models` | `/v1/tts/models` |
//! | `voices` | `/audio/voice-models` |
//! | `admin` | `/admin`, `/api/v1/admin` |
//! | `console` | `/`: a page for people |

mod admin;
mod audio;
mod auth;
mod base64;
mod body;
mod catalogue;
mod console;
mod error;
mod files;
mod form;
mod held;
mod jobs;
mod layers;
pub mod openapi;
mod probes;
pub mod server;
mod speech;
mod text;
mod tts_models;
mod upload;
mod v1;
mod voice_api;
mod voices;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use crate::pipeline::Pipeline;
use crate::scheduler::Scheduler;

pub use admin::AdminState;
pub use auth::BearerToken;
use catalogue::CatalogueState;
pub use catalogue::{InstalledModel, Inventory};
pub use jobs::{JobsOptions, JobsState};
pub use probes::ProbeState;

/// What routes that start work need.
#[derive(Clone)]
pub struct WorkState {
    /// Does the work.
    pub pipeline: Arc<Pipeline>,
    /// Where it waits.
    pub scheduler: Arc<Scheduler>,
}

/// What the routes are made of.
pub struct Services {
    /// For the probes.
    pub probes: ProbeState,
    /// For work.
    pub work: WorkState,
    /// For work that takes long.
    pub jobs: JobsState,
    /// What is installed.
    pub inventory: Inventory,
    /// For operators.
    pub admin: AdminState,
    /// What clients of the API show; `None`: nobody has to.
    pub token: Option<BearerToken>,
    /// True: a page for people is at `/`.
    pub has_console: bool,
    /// Time in which an answer begins.
    pub request_timeout: Duration,
}

/// All routes.
pub fn router(services: Services) -> Router {
    let (work, jobs) = (services.work, services.jobs);
    let catalogue = CatalogueState::new(work.clone(), services.inventory);
    let mut open = Router::new()
        .merge(probes::routes(services.probes))
        .merge(openapi::routes())
        // Its own token is another one.
        .merge(admin::routes(services.admin));
    if services.has_console {
        open = open.merge(console::routes());
    }
    let api = Router::new()
        .merge(voices::routes(work.clone()))
        .merge(catalogue::routes(catalogue.clone()))
        .merge(tts_models::routes(catalogue))
        .merge(text::routes(work))
        .merge(files::routes(jobs.output_directory()))
        .merge(audio::routes(jobs.clone()))
        .merge(speech::routes(jobs.clone()))
        .merge(v1::routes(jobs.clone()))
        .merge(voice_api::routes(jobs.clone()))
        .merge(jobs::routes(jobs));
    let api = auth::protect(api, services.token);
    layers::wrap(open.merge(api), services.request_timeout)
}
