//! Keeps calls away from a database that is away: one of them finds out, every few seconds, whether it is
//! back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::StoreError;
use crate::observe::health::BreakerState;
use crate::observe::metrics::MONGODB_BREAKER;

/// Pause between two calls that find out.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Calls in a row without an answer that open it: one may just have been long.
const TIMEOUTS_TO_OPEN: u32 = 2;

pub(super) struct Breaker {
    inner: Mutex<Inner>,
    state: watch::Sender<BreakerState>,
}

#[derive(Default)]
struct Inner {
    /// In a row, while it is closed.
    timeouts: u32,
    /// While it is open: when a call may find out; `None` while one does.
    probe_at: Option<Instant>,
}

/// Leave to call the database. Dropped without [`end`](Self::end), the call tells nothing.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            state: watch::Sender::new(BreakerState::Closed),
        }
    }

    /// Tells of every change.
    pub(super) fn watch(&self) -> watch::Receiver<BreakerState> {
        self.state.subscribe()
    }

    /// Leave for one call, if the database may be called now.
    pub(super) fn pass(&self, now: Instant) -> Option<Pass<'_>> {
        let mut inner = self.lock();
        let is_probe = match *self.state.borrow() {
            BreakerState::Closed => false,
            BreakerState::HalfOpen => return None,
            BreakerState::Open => {
                inner.probe_at.take_if(|at| *at <= now)?;
                true
            }
        };
        if is_probe {
            self.enter(BreakerState::HalfOpen);
        }
        Some(Pass {
            breaker: self,
            is_probe,
        })
    }

    fn open(&self, inner: &mut Inner, now: Instant) {
        inner.probe_at = Some(now + PROBE_INTERVAL);
        self.enter(BreakerState::Open);
    }

    fn close(&self, inner: &mut Inner) {
        *inner = Inner::default();
        self.enter(BreakerState::Closed);
    }

    fn enter(&self, state: BreakerState) {
        metrics::gauge!(MONGODB_BREAKER).set(state.as_number());
        self.state.send_if_modified(|current| {
            let is_change = *current != state;
            *current = state;
            is_change
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Tells how the call ended.
    pub(super) fn end(mut self, error: Option<&StoreError>, now: Instant) {
        let was_probe = std::mem::take(&mut self.is_probe);
        let mut inner = self.breaker.lock();
        let is_closed = *self.breaker.state.borrow() == BreakerState::Closed;
        let Some(error) = error.filter(|error| error.is_outage()) else {
            if !is_closed {
                tracing::info!("mongodb is back");
            }
            self.breaker.close(&mut inner);
            return;
        };
        if is_closed && matches!(error, StoreError::Timeout) {
            inner.timeouts += 1;
            if inner.timeouts < TIMEOUTS_TO_OPEN {
                return;
            }
        }
        if is_closed {
            let cause = std::error::Error::source(error).map(tracing::field::display);
            tracing::warn!(%error, cause, "mongodb is away, its writes wait");
        }
        if is_closed || was_probe {
            self.breaker.open(&mut inner, now);
        }
    }
}

impl Drop for Pass<'_> {
    /// A probe that was given up lets another one go.
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.open(&mut self.breaker.lock(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> StoreError {
        StoreError::Refused { code: Some(121) }
    }

    #[test]
    fn an_absence_opens_it_and_one_call_at_a_time_finds_out() {
        let breaker = Breaker::new();
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let state = breaker.watch();
        let away = StoreError::NotNow { code: Some(10_107) };
        breaker.pass(start).unwrap().end(Some(&away), start);
        assert_eq!(*state.borrow(), BreakerState::Open);
        assert!(breaker.pass(later(2)).is_none());

        let probe = breaker.pass(later(3)).unwrap();
        assert_eq!(*state.borrow(), BreakerState::HalfOpen);
        assert!(breaker.pass(later(60)).is_none(), "one at a time");
        probe.end(Some(&StoreError::Timeout), later(3));
        assert_eq!(*state.borrow(), BreakerState::Open);
        assert!(breaker.pass(later(5)).is_none());

        breaker.pass(later(6)).unwrap().end(None, later(6));
        assert_eq!(*state.borrow(), BreakerState::Closed);
        assert!(breaker.pass(later(6)).is_some());
    }

    #[test]
    fn a_slow_answer_and_a_refusal_do_not_open_it() {
        let breaker = Breaker::new();
        let now = Instant::now();
        let state = breaker.watch();
        for error in [&StoreError::Timeout, &refused(), &StoreError::Timeout] {
            breaker.pass(now).unwrap().end(Some(error), now);
            assert_eq!(*state.borrow(), BreakerState::Closed);
        }
        breaker
            .pass(now)
            .unwrap()
            .end(Some(&StoreError::Timeout), now);
        assert_eq!(*state.borrow(), BreakerState::Open);
    }

    #[test]
    fn a_probe_that_is_given_up_lets_another_one_go() {
        let breaker = Breaker::new();
        let start = Instant::now();
        let away = StoreError::Denied;
        breaker.pass(start).unwrap().end(Some(&away), start);
        let later = start + Duration::from_secs(60);
        drop(breaker.pass(later).unwrap());
        assert_eq!(*breaker.watch().borrow(), BreakerState::Open);
        assert!(breaker.pass(later).is_some());
    }
}
