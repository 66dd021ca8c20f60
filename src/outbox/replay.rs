//! Which events a new subscriber gets once more, and how fast.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::ledger::{EventRef, JobId};

/// Events of a replay that go out at once; they fit into any subscriber's queue.
const BURST: u32 = 50;

/// The events that are being replayed.
pub(super) struct Replay {
    queue: VecDeque<EventRef>,
    pace: Pace,
}

impl Replay {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            pace: Pace::new(BURST, now),
        }
    }

    /// Sets what is to be replayed; what is left of an earlier replay is among it.
    ///
    /// A subscriber that comes again and again gets no more than the rate allows.
    pub(super) fn fill(&mut self, events: Vec<EventRef>) {
        self.queue = events.into();
    }

    /// The next event, if the rate allows one.
    pub(super) fn next(&mut self, now: Instant) -> Option<EventRef> {
        if self.pace.allowance(now) == 0 {
            return None;
        }
        let event = self.queue.pop_front()?;
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
        replay.fill((0..200).map(event).collect());
        assert_eq!(drain(&mut replay, start), 50);
        assert_eq!(drain(&mut replay, start + Duration::from_secs(1)), 10);
        // A second replay soon after gets no second burst.
        replay.fill((0..200).map(event).collect());
        assert_eq!(drain(&mut replay, start + Duration::from_secs(2)), 10);
    }

    #[test]
    fn events_of_one_job_are_found_in_order_and_taken_out() {
        let mut replay = Replay::new(Instant::now());
        replay.fill([11, 20, 12].map(event).to_vec());
        assert_eq!(replay.first_of(JobId(1)), Some(event(11)));
        replay.remove(event(11));
        assert_eq!(replay.first_of(JobId(1)), Some(event(12)));
        assert_eq!(replay.first_of(JobId(3)), None);
    }
}
