//! When work has to stop: a point in time, or somebody's wish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why work was stopped before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The time allowed for the work has passed.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// Nobody waits for the result any more.
    #[error("cancelled")]
    Cancelled,
}

/// A point in time by which work must end, and a flag that ends it earlier. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Deadline {
    at: Option<Instant>,
    cancelled: Arc<AtomicBool>,
}

impl Deadline {
    /// A deadline `budget` from now.
    pub fn after(budget: Duration) -> Self {
        Self {
            at: Instant::now().checked_add(budget),
            cancelled: Arc::default(),
        }
    }

    /// No deadline: only cancellation ends the work.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same cancellation flag with a limit of `budget` from now, if that is earlier.
    pub fn at_most(&self, budget: Duration) -> Self {
        let limit = Instant::now().checked_add(budget);
        Self {
            at: match (self.at, limit) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            cancelled: Arc::clone(&self.cancelled),
        }
    }

    /// Asks every holder of this deadline to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Tells whether work may go on; cheap enough for every step of a loop.
    ///
    /// # Errors
    /// The reason to stop.
    pub fn check(&self) -> Result<(), Stop> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Stop::Cancelled);
        }
        match self.at {
            Some(at) if Instant::now() >= at => Err(Stop::DeadlineExceeded),
            _ => Ok(()),
        }
    }

    /// Time left, if there is a limit.
    pub fn remaining(&self) -> Option<Duration> {
        self.at
            .map(|at| at.saturating_duration_since(Instant::now()))
    }
}
