//! When events that nobody is known to have taken are published again (docs/adr/0015).

use std::time::{Duration, Instant};

use super::REPLAY_WINDOW;
use super::pace::Pace;
use crate::domain::timestamp::now_unix_ms;
use crate::ledger::{EventRef, Ledger, LedgerError, RepeatWindow};

/// How often what is due is looked up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Repeats that go out at once.
const BURST: u32 = 10;

/// The gateway drops repeats of the last 1000 events: half of them, since an event that was asked for
/// again counts anew here and not there.
const MAX_NEWER: u32 = 500;

/// The schedule of repeats, and what the gateway still has to read before one may go out.
pub(super) struct Repeats {
    schedule_ms: Vec<i64>,
    pace: Pace,
    looked_at: Option<Instant>,
}

impl Repeats {
    /// `schedule`: times after the first publication, growing; none for no repeats.
    pub(super) fn new(schedule: &[Duration], now: Instant) -> Self {
        let ms = |time: &Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            schedule_ms: schedule.iter().map(ms).collect(),
            pace: Pace::new(BURST, now),
            looked_at: None,
        }
    }

    /// Notes that an event went out, of whatever occasion: the gateway reads it before a repeat.
    pub(super) fn note_sent(&mut self) {
        self.pace.spend(1);
    }

    /// The events whose time has come, as many as may go out.
    pub(super) fn due(
        &mut self,
        ledger: &Ledger,
        now: Instant,
    ) -> Result<Vec<EventRef>, LedgerError> {
        let is_early = |at: Instant| now.duration_since(at) < LOOK_INTERVAL;
        if self.schedule_ms.is_empty() || self.looked_at.is_some_and(is_early) {
            return Ok(Vec::new());
        }
        self.looked_at = Some(now);
        let allowance = self.pace.allowance(now);
        if allowance == 0 {
            return Ok(Vec::new());
        }
        let window = RepeatWindow {
            schedule_ms: &self.schedule_ms,
            window_ms: REPLAY_WINDOW.as_millis() as i64,
            max_newer: MAX_NEWER,
        };
        ledger.due_events_blocking(&window, now_unix_ms(), allowance)
    }
}
