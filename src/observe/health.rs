//! Whether the daemon lives, works, and may be given work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::watch;

/// Whether an engine can take requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineStatus {
    /// The model is being loaded.
    Loading,
    /// The first request will load the model, which is there and intact.
    Unloaded,
    /// The engine takes requests.
    Ready,
    /// A step does not end, long after a request in it was given up: it most likely hangs in a library.
    Stuck,
    /// The model could not be loaded; the text says why. Loading is tried again.
    Failed(Arc<str>),
}

impl EngineStatus {
    /// True when requests are taken, even if the first of them has to wait for the model.
    pub fn takes_requests(&self) -> bool {
        matches!(self, Self::Ready | Self::Unloaded)
    }
}

/// State of the connection to MongoDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseStatus {
    /// None is configured.
    Disabled,
    /// Not tried yet.
    Unknown,
    /// The last access succeeded.
    Connected,
    /// The last access failed; results wait in the outbox.
    Unreachable,
}

/// Whether MongoDB is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// One call finds out whether it is back.
    HalfOpen,
    /// It is not, for a few seconds.
    Open,
}

impl BreakerState {
    /// The state's name in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// The state's value in metrics.
    pub fn as_number(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open => 2.0,
        }
    }
}

/// What the parts of the daemon say about themselves; shared by all who report it.
pub struct Health {
    started_at: Instant,
    sockets_bound: AtomicBool,
    draining: AtomicBool,
    database: watch::Sender<DatabaseStatus>,
    breaker: Option<watch::Receiver<BreakerState>>,
    engines: Vec<(&'static str, watch::Receiver<EngineStatus>)>,
}

impl Health {
    /// Watches the given engines, and the breaker before a database, where there is one.
    pub fn new(
        engines: Vec<(&'static str, watch::Receiver<EngineStatus>)>,
        database: DatabaseStatus,
        breaker: Option<watch::Receiver<BreakerState>>,
    ) -> Self {
        Self {
            started_at: Instant::now(),
            sockets_bound: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            database: watch::Sender::new(database),
            breaker,
            engines,
        }
    }

    /// Says that both ZeroMQ sockets are bound.
    pub fn set_sockets_bound(&self) {
        self.sockets_bound.store(true, Ordering::Relaxed);
    }

    /// Says that the daemon takes no more work.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Says how the last access to MongoDB went.
    pub fn set_database(&self, status: DatabaseStatus) {
        self.database.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
    }

    /// Seconds since start.
    pub fn uptime_seconds(&self) -> f64 {
        self.started_at.elapsed().as_secs_f64()
    }

    /// True when both sockets are bound and the daemon is not stopping.
    pub fn are_sockets_ready(&self) -> bool {
        self.sockets_bound.load(Ordering::Relaxed) && !self.draining.load(Ordering::Relaxed)
    }

    /// State of the connection to MongoDB.
    pub fn database(&self) -> DatabaseStatus {
        *self.database.borrow()
    }

    /// Whether MongoDB is called; `None` without a database.
    pub fn breaker(&self) -> Option<BreakerState> {
        self.breaker.as_ref().map(|breaker| *breaker.borrow())
    }

    /// Every engine with its status.
    pub fn engines(&self) -> impl Iterator<Item = (&'static str, EngineStatus)> {
        self.engines
            .iter()
            .map(|(name, status)| (*name, status.borrow().clone()))
    }

    /// True when every engine takes requests.
    pub fn are_models_ready(&self) -> bool {
        self.engines().all(|(_, status)| status.takes_requests())
    }

    /// True when every model is in memory.
    pub fn are_models_loaded(&self) -> bool {
        self.engines()
            .all(|(_, status)| status == EngineStatus::Ready)
    }

    /// True while an engine is still loading for the first time or again.
    pub fn are_models_loading(&self) -> bool {
        self.engines()
            .any(|(_, status)| status == EngineStatus::Loading)
    }
}
