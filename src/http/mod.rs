//! HTTP: probes and metrics, texts, voice messages and speech as jobs, the voices that are kept, what is installed,
//! jobs for operators, and the description of it all.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`server`] | connections: how many, how long |
//! | `layers` | what all routes have in common |
//! | `auth` | tokens |
//! | `error` | what clients are told when something is wrong |
//! | [`openapi`] | the description of the routes, and its viewer |
//! | `probes` | `/live`, `/health`, `/ready`, `/metrics` |
//! | `text` | `/translate`, `/detect-language`; `body` reads what they are sent |
//! | `jobs` | `/jobs`: what takes long, and how requests become it |
//! | `audio`, `speech` | `/audio`: recordings and texts that are spoken; `form` and `base64` read what they are sent |
//! | `v1` | `/v1`: the same for clients of other services |
//! | `files` | `/outputs/audio`: speech that was made |
//! | `catalogue` | `/languages`, `/models`, `/queues` |
//! | `voices` | `/audio/voice-models` |
//! | `admin` | `/admin` |

mod admin;
mod audio;
mod auth;
mod base64;
mod body;
mod catalogue;
mod error;
mod files;
mod form;
mod jobs;
mod layers;
pub mod openapi;
mod probes;
pub mod server;
mod speech;
mod text;
mod v1;
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
    /// Time in which an answer begins.
    pub request_timeout: Duration,
}

/// All routes.
pub fn router(services: Services) -> Router {
    let work = services.work;
    let open = Router::new()
        .merge(probes::routes(services.probes))
        .merge(openapi::routes())
        // Its own token is another one.
        .merge(admin::routes(services.admin));
    let api = Router::new()
        .merge(voices::routes(work.clone()))
        .merge(catalogue::routes(CatalogueState::new(
            work.clone(),
            services.inventory,
        )))
        .merge(text::routes(work))
        .merge(files::routes(services.jobs.output_directory()))
        .merge(audio::routes(services.jobs.clone()))
        .merge(speech::routes(services.jobs.clone()))
        .merge(v1::routes(services.jobs.clone()))
        .merge(jobs::routes(services.jobs));
    let api = auth::protect(api, services.token);
    layers::wrap(open.merge(api), services.request_timeout)
}
