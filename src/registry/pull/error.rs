//! Why nothing was pulled.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::registry::{Engine, RegistryError};

/// Why a hub did not give what it was asked for. Addresses are told by their host only: those of
/// storage hosts are keys to what lies there.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub's address is none.
    #[error(
        "{0:?} is no address of a hub, such as https://huggingface.co; see hub.endpoint (HF_ENDPOINT)"
    )]
    Endpoint(String),
    /// Nobody answers.
    #[error(
        "{host} cannot be reached; is there a network, and a proxy (HTTPS_PROXY) where one is needed?"
    )]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What came instead of an answer.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The connection broke in the middle of an answer.
    #[error("the connection broke")]
    Broken(#[source] Box<io::Error>),
    /// The connection gives less than would ever end.
    #[error("{0} sends next to nothing")]
    Stalled(String),
    /// The answer ended before its end.
    #[error("the connection ended after {actual} of {expected} bytes")]
    Cut {
        /// Length of the file.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// Nothing of that name, for whoever asks.
    #[error(
        "the hub has no repository {0}, or it is private: check its name, or set HF_TOKEN to a token that may read it"
    )]
    NoRepository(String),
    /// The repository lacks something.
    #[error(
        "{repository} has no {what}: it was renamed or removed; another revision of the catalogue may know more"
    )]
    NotThere {
        /// The repository.
        repository: String,
        /// What it lacks.
        what: String,
    },
    /// Conditions have to be accepted on its page.
    #[error(
        "{repository} is gated: accept its conditions at {page}, then set HF_TOKEN to a token of the same account"
    )]
    Gated {
        /// The repository.
        repository: String,
        /// Its page.
        page: String,
    },
    /// The token does not open it.
    #[error(
        "the hub refuses {repository} ({status}): the token in HF_TOKEN is wrong, has expired, or may not read it"
    )]
    Refused {
        /// The repository.
        repository: String,
        /// The HTTP status.
        status: u16,
    },
    /// It was asked too often.
    #[error("the hub asks to be left alone for {}; try again later, or set HF_TOKEN, which allows more requests", wait_text(.0))]
    TooManyRequests(Option<Duration>),
    /// Something is wrong on its side.
    #[error("{host} answers {status}")]
    Server {
        /// Who answers.
        host: String,
        /// The HTTP status.
        status: u16,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// A status that means nothing here.
    #[error("{host} answers {status}")]
    Status {
        /// Who answers.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The file has no such part.
    #[error("the file on the hub is shorter than what is here already")]
    NoSuchRange,
    /// What it says makes no sense.
    #[error("{host} does not answer as a hub does: {problem}")]
    Unusable {
        /// Who answers.
        host: String,
        /// Why it makes no sense.
        problem: &'static str,
    },
}

fn wait_text(wait: &Option<Duration>) -> String {
    wait.map_or_else(
        || "a while".to_owned(),
        |wait| format!("{} s", wait.as_secs()),
    )
}

impl HubError {
    /// True when the same request may succeed a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Broken(_)
            | Self::Stalled(_)
            | Self::Cut { .. }
            | Self::TooManyRequests(_)
            | Self::Server { .. }
            | Self::NoSuchRange => true,
            Self::Endpoint(_)
            | Self::NoRepository(_)
            | Self::NotThere { .. }
            | Self::Gated { .. }
            | Self::Refused { .. }
            | Self::Status { .. }
            | Self::Unusable { .. } => false,
        }
    }

    /// How long the hub asks to wait.
    pub(super) fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests(wait) | Self::Server { wait, .. } => *wait,
            _ => None,
        }
    }
}

/// Why nothing, or not everything, was pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The hub did not give it.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The manifest that is there, or the one of an exported model, cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nothing may be fetched.
    #[error(
        "{missing} would have to be fetched, but --offline, hub.offline or HF_HUB_OFFLINE forbids it"
    )]
    Offline {
        /// Ids of models that are not here, with commas.
        missing: String,
    },
    /// Somebody else is at it.
    #[error("another `translator models` command is changing {}; wait until it has ended", .0.display())]
    Locked(PathBuf),
    /// The folder of the tiny models is not to be mixed with real ones.
    #[error("{} holds the tiny models for tests; set MODELS_PATH to another folder", .0.display())]
    Fixture(PathBuf),
    /// The disk is too small.
    #[error(
        "{} has {} MB free, {} MB are needed: make room, set MODELS_PATH to another disk, or pull less",
        .directory.display(), free_bytes / 1_000_000, needed_bytes.div_ceil(1_000_000)
    )]
    NoSpace {
        /// The model directory.
        directory: PathBuf,
        /// What would be downloaded, with a reserve.
        needed_bytes: u64,
        /// What the disk has.
        free_bytes: u64,
    },
    /// The hub announces another file than the catalogue knows.
    #[error("{0}: the hub announces another content than the catalogue; nothing of it was fetched")]
    OtherContent(String),
    /// What came is not what was announced, twice.
    #[error(
        "{path}: what came is not what {told} announced; it was thrown away. Try again, or ask whoever runs the hub or a proxy"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Who announced what.
        told: &'static str,
    },
    /// More or less comes than was announced.
    #[error("{path}: the hub sends {actual} bytes instead of {expected}")]
    Length {
        /// The file.
        path: String,
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that come, or the first that is too many.
        actual: u64,
    },
    /// The exported set lacks a file.
    #[error("the manifest of {repository} has no {}: export the {engine} model again", .path.display())]
    NotExported {
        /// The repository of exported models.
        repository: String,
        /// The file.
        path: PathBuf,
        /// Whose it is.
        engine: Engine,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Cancelled,
}

impl PullError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// True when other files would fail in the same way.
    pub(super) fn ends_all(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Cancelled | Self::Registry(_) => true,
            Self::Hub(error) => matches!(
                error,
                HubError::Unreachable { .. } | HubError::TooManyRequests(_)
            ),
            _ => false,
        }
    }
}
