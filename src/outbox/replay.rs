//! Which events a new subscriber gets once more, and how fast.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::ledger::{EventRef, JobId};

/// Events of a replay that go out at once; they fit into any subscriber's queue.
const BURST: u32 = 50;

/// Least time between two replays that have begun: who subscribes again and again must not have events
/// repeated as often, and each list is read from the ledger.
const FILL_INTERVAL: Duration = Duration::from_secs(10);

/// The events that are being replayed.
pub(super) struct Replay {
    queue: VecDeque<EventRef>,
    pace: Pace,
    /// Of the event that was replayed last.
    last_job: JobId,
    next_fill_at: Instant,
}

impl Replay {
    /// Events that are listed at once: more than the gateway can read in a quarter of an hour.
    pub(super) const MAX_EVENTS: u32 = 10_000;

    pub(super) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            pace: Pace::new(BURST, now),
            last_job: JobId(0),
            next_fill_at: now,
        }
    }

    /// True when a list may be set again.
    pub(super) fn may_be_filled(&self, now: Instant) -> bool {
        now >= self.next_fill_at
    }

    /// The job after which a list is to go on, so that every job has its turn however often a subscriber
    /// comes. A job that is not finished is among the last, from its beginning: its events keep their order.
    pub(super) fn last_job(&self) -> JobId {
        self.last_job
    }

    /// Sets what is to be replayed; what is left of an earlier replay is among it.
    pub(super) fn fill(&mut self, events: Vec<EventRef>, now: Instant) {
        // Nothing is repeated by nothing.
        if !events.is_empty() {
            self.next_fill_at = now + FILL_INTERVAL;
        }
        self.queue = events.into();
    }

    /// The next event, if the rate allows one.
    pub(super) fn next(&mut self, now: Instant) -> Option<EventRef> {
        if self.pace.allowance(now) == 0 {
            return None;
        }
        let event = self.queue.pop_front()?;
        self.last_job = event.job_id;
        self.pace.spend(1);
        Some(event)
    }

    /// Takes back an event that could not be sent.
    pub(super) fn put_back(&mut self, event: EventRef) {
        self.queue.push_front(event);
        self.pace.give_back(1);
    }

    /// The first event of a job that is to be replayed.
    pub(super) fn first_of(&self, job_id: JobId) -> Option<EventRef> {
        self.queue
            .iter()
            .find(|event| event.job_id == job_id)
            .copied()
    }

    /// True when nothing is left to be replayed.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes an event out.
    pub(super) fn remove(&mut self, event: EventRef) {
        self.queue.retain(|queued| *queued != event);
    }

    /// Time until the next event may go out, `longest` at most.
    pub(super) fn pause(&self, longest: Duration) -> Duration {
        if self.queue.is_empty() {
            return longest;
        }
        longest.min(Pace::INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: i64) -> EventRef {
        EventRef {
            id,
            job_id: JobId(id / 10),
            reissues: 0,
        }
    }

    fn drain(replay: &mut Replay, now: Instant) -> usize {
        std::iter::from_fn(|| replay.next(now)).count()
    }

    #[test]
    fn a_replay_is_a_burst_and_then_what_the_gateway_can_read() {
        let start = Instant::now();
        let mut replay = Replay::new(start);
        replay.fill((0..200).map(event).collect(), start);
        assert_eq!(drain(&mut replay, start), 50);
        assert_eq!(drain(&mut replay, start + Duration::from_secs(1)), 10);
        // A second replay soon after gets no second burst.
        replay.fill((0..200).map(event).collect(), start);
        assert_eq!(drain(&mut replay, start + Duration::from_secs(2)), 10);
    }

    #[test]
    fn a_list_is_set_once_in_a_while_and_goes_on_after_the_last_job() {
        let start = Instant::now();
        let mut replay = Replay::new(start);
        replay.fill(Vec::new(), start);
        assert!(replay.may_be_filled(start), "nothing was listed");
        replay.fill((0..200).map(event).collect(), start);
        assert_eq!(drain(&mut replay, start), 50);
        assert_eq!(replay.last_job(), JobId(4));
        assert!(!replay.may_be_filled(start + Duration::from_secs(9)));
        assert!(replay.may_be_filled(start + Duration::from_secs(10)));
    }

    #[test]
    fn events_of_one_job_are_found_in_order_and_taken_out() {
        let mut replay = Replay::new(Instant::now());
        replay.fill([11, 20, 12].map(event).to_vec(), Instant::now());
        assert_eq!(replay.first_of(JobId(1)), Some(event(11)));
        replay.remove(event(11));
        assert_eq!(replay.first_of(JobId(1)), Some(event(12)));
        assert_eq!(replay.first_of(JobId(3)), None);
    }
}
