//! Why a command did not do what it was asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::app::AppError;
use crate::config::ConfigError;
use crate::decoder::worker::WorkerError;
use crate::ledger::LedgerError;
use crate::registry::RegistryError;
use crate::registry::catalogue::CatalogueError;
use crate::registry::pull::PullError;

/// Exit code for wrong settings, `EX_USAGE` of `sysexits.h`.
const EXIT_CONFIG: u8 = 64;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon, or the part of it that does jobs, could not start.
    #[error(transparent)]
    App(#[from] AppError),
    /// There is no usable model directory.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Models could not be pulled, or another command has their folder.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The catalogue cannot be used, or has not what was asked for.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A licence that limits use was not accepted.
    #[error(
        "{models} may be used only as the licence {licence} allows: read {url}, then add --accept-license {licence}"
    )]
    LicenceNotAccepted {
        /// The models, with commas.
        models: String,
        /// The licence.
        licence: String,
        /// Where it can be read.
        url: String,
    },
    /// Not everything that was asked for is here.
    #[error("{missing} of {of} models were not pulled")]
    PullIncomplete {
        /// How many are missing.
        missing: usize,
        /// How many were asked for.
        of: usize,
    },
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A decode worker ended before its input.
    #[error(transparent)]
    DecodeWorker(#[from] WorkerError),
    /// Metrics could not be set up.
    #[error("metrics could not be set up")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// Something of the process records metrics already.
    #[error("metrics are recorded already")]
    SecondRecorder,
    /// A file, a folder, a process or a thread cannot be used.
    #[error("cannot use {what}")]
    Io {
        /// What was to be used.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The recording is larger than a daemon takes.
    #[error("{} has {actual} bytes, at most {most} are taken", .path.display())]
    TooLarge {
        /// The recording.
        path: PathBuf,
        /// Its length in bytes.
        actual: u64,
        /// The limit.
        most: u64,
    },
    /// Nobody answers at the daemon's ports.
    #[error(
        "no daemon answers at {host}, ports {pull_port} and {pub_port}; start one with `translator serve`"
    )]
    NoDaemon {
        /// Where it was looked for.
        host: String,
        /// Port of the requests.
        pull_port: u16,
        /// Port of the events.
        pub_port: u16,
    },
    /// Nobody answers at the daemon's HTTP port.
    #[error("no daemon answers at {url}; start one with `translator serve`")]
    NoHttp {
        /// Where it was looked for.
        url: String,
        /// What came instead of an answer.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Jobs are shown to operators only.
    #[error(
        "there is no admin token: set http.admin_token (TRANSLATOR_ADMIN_TOKEN) for the daemon and for this command"
    )]
    NoAdminToken,
    /// No job has that id or task id.
    #[error("there is no job {0}")]
    NoJob(String),
    /// Several jobs have that task id.
    #[error("several jobs are of that task, name one by its id: {0}")]
    SeveralJobs(String),
    /// The daemon answers that it did not do it.
    #[error("the daemon at {url} answers {status}: {detail}")]
    Refused {
        /// Where it is.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// The connection to the daemon broke.
    #[error("the connection to the daemon failed")]
    Socket(#[from] zeromq::ZmqError),
    /// The answer did not come in time.
    #[error("no complete answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// An event cannot be read.
    #[error("the daemon sent an event that cannot be read: {0}")]
    BadEvent(String),
    /// The daemon says that the job failed.
    #[error("the job failed: {0}")]
    JobFailed(String),
    /// The daemon does not answer the health check.
    #[error("no healthy daemon at {url}")]
    Unhealthy {
        /// What was asked.
        url: String,
        /// What came instead.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A model could not be loaded.
    #[error("the {engine} engine cannot work: {reason}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it says itself.
        reason: String,
    },
    /// A manifest is there and was not to be replaced.
    #[error("{} exists; --force replaces it", .0.display())]
    ManifestExists(PathBuf),
    /// The folder holds no models in the layout that engines read.
    #[error("{} holds no models; expected folders whisper, marian, openvoice, xtts, piper or vad", .0.display())]
    NoModels(PathBuf),
    /// The daemon of the demo did not start.
    #[error("the daemon did not become ready: {reason}; its log is {}", .log.display())]
    NotReady {
        /// What it said last.
        reason: String,
        /// Its log.
        log: PathBuf,
    },
    /// The daemon of the demo has ended before it was told to.
    #[error("the daemon ended in the middle: {reason}; its log is {}", .log.display())]
    Ended {
        /// How.
        reason: String,
        /// Its log.
        log: PathBuf,
    },
    /// The sample of the demo is missing.
    #[error("{} is missing; run the demo in the project's folder", .0.display())]
    NoSample(PathBuf),
    /// A file of workloads cannot be used.
    #[error("{0} is no file of workloads: {1}")]
    Workload(String, String),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A value could not be written in its form.
    #[error("{what} could not be written")]
    Write {
        /// The value.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CommandError {
    pub(super) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    pub(super) fn path(path: &Path, source: std::io::Error) -> Self {
        Self::io(path.display().to_string(), source)
    }

    /// What the process tells its caller.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(EXIT_CONFIG),
            _ => ExitCode::FAILURE,
        }
    }
}
