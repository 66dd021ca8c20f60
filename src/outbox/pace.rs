//! How many events may go out now, given how fast the gateway reads.

use std::time::{Duration, Instant};

/// The gateway reads one message every 100 ms.
const EVENTS_PER_SECOND: f64 = 10.0;

/// An allowance that grows with time up to a burst, and that may be overdrawn.
pub(super) struct Pace {
    burst: f64,
    allowance: f64,
    counted_at: Instant,
}

impl Pace {
    /// Time in which the gateway reads one event.
    pub(super) const INTERVAL: Duration = Duration::from_millis(100);

    pub(super) fn new(burst: u32, now: Instant) -> Self {
        Self {
            burst: f64::from(burst),
            allowance: f64::from(burst),
            counted_at: now,
        }
    }

    /// Events that may go out now.
    pub(super) fn allowance(&mut self, now: Instant) -> u32 {
        let earned = now.duration_since(self.counted_at).as_secs_f64() * EVENTS_PER_SECOND;
        self.allowance = (self.allowance + earned).min(self.burst);
        self.counted_at = now;
        // Negative is 0.
        self.allowance as u32
    }

    /// Notes that events went out, allowed or not.
    pub(super) fn spend(&mut self, events: u32) {
        self.allowance -= f64::from(events);
    }

    /// Notes that events did not go out after all.
    pub(super) fn give_back(&mut self, events: u32) {
        self.allowance += f64::from(events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_overdrawn_is_earned_back_first() {
        let start = Instant::now();
        let mut pace = Pace::new(5, start);
        assert_eq!(pace.allowance(start), 5);
        pace.spend(25);
        assert_eq!(pace.allowance(start + Duration::from_secs(2)), 0);
        assert_eq!(pace.allowance(start + Duration::from_millis(2_350)), 3);
        assert_eq!(pace.allowance(start + Duration::from_secs(60)), 5);
    }
}
