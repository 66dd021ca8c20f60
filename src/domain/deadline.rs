//! When work has to stop: a point in time, or somebody's wish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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
    budget: Option<Budget>,
    cancelled: Arc<AtomicBool>,
}

/// Time for work that begins when somebody first looks at its deadline.
#[derive(Debug, Clone)]
struct Budget {
    length: Duration,
    begun_at: Arc<OnceLock<Instant>>,
}

impl Deadline {
    /// A deadline `budget` from now.
    pub fn after(budget: Duration) -> Self {
        Self {
            at: Instant::now().checked_add(budget),
            ..Self::default()
        }
    }

    /// No deadline: only cancellation ends the work.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same deadline with a limit of `length` from the first [`check`](Self::check) on: a request
    /// that waits for an engine is not looked at, so waiting does not count.
    pub fn with_budget(&self, length: Duration) -> Self {
        Self {
            budget: Some(Budget {
                length,
                begun_at: Arc::default(),
            }),
            ..self.clone()
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
        let now = Instant::now();
        let is_overdue = self.at.is_some_and(|at| now >= at);
        let is_budget_spent = self.budget.as_ref().is_some_and(|budget| {
            now.duration_since(*budget.begun_at.get_or_init(|| now)) >= budget.length
        });
        if is_overdue || is_budget_spent {
            return Err(Stop::DeadlineExceeded);
        }
        Ok(())
    }

    /// Time left until the point in time, if there is one.
    pub fn remaining(&self) -> Option<Duration> {
        self.at
            .map(|at| at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_begins_when_it_is_first_looked_at() {
        let spent = Deadline::none().with_budget(Duration::ZERO);
        assert_eq!(spent.check(), Err(Stop::DeadlineExceeded));
        let ample = Deadline::none().with_budget(Duration::from_secs(3600));
        assert_eq!(ample.check(), Ok(()));
        ample.cancel();
        assert_eq!(ample.check(), Err(Stop::Cancelled));
    }

    #[test]
    fn the_earlier_limit_counts() {
        let over = Deadline::after(Duration::ZERO);
        let limited = over.with_budget(Duration::from_secs(3600));
        assert_eq!(limited.check(), Err(Stop::DeadlineExceeded));
        assert_eq!(over.remaining(), Some(Duration::ZERO));
    }
}
