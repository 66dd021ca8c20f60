//! The jobs that wait in one lane: bounded by count and bytes, in all and for each sender, and taken
//! from the senders in turn.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::demand::{Demand, Sender};
use crate::ledger::JobId;

/// A job that waits.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) job_id: JobId,
    pub(super) demand: Demand,
    /// Attempts that the process did not survive.
    pub(super) crashes: u32,
    pub(super) since: Instant,
}

/// What may wait, or waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) jobs: usize,
    pub(super) bytes: u64,
}

impl Places {
    /// A share of these places in percent, of jobs at least one.
    pub(super) fn share(self, percent: u8) -> Self {
        Self {
            jobs: (self.jobs.saturating_mul(percent.into()) / 100).max(1),
            bytes: (self.bytes / 100).saturating_mul(percent.into()),
        }
    }

    /// Whether one more of that size finds a place. The first always does, however large.
    fn take_one_more(self, bytes: u64, bound: Self) -> bool {
        self.jobs == 0
            || (self.jobs < bound.jobs && self.bytes.saturating_add(bytes) <= bound.bytes)
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.jobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn subtract(&mut self, bytes: u64) {
        self.jobs = self.jobs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What one sender has in a lane.
#[derive(Default)]
struct Share {
    waiting: VecDeque<Queued>,
    /// What waits and what is reserved.
    taken: Places,
}

/// The queue of one lane.
#[derive(Default)]
pub(super) struct LaneQueue {
    senders: HashMap<Sender, Share>,
    /// Senders of whom something waits, each once; the first has its turn next.
    turns: VecDeque<Sender>,
    /// What waits and what is reserved.
    taken: Places,
    waiting: Places,
}

impl LaneQueue {
    /// Reserves a place; false when there is none.
    pub(super) fn reserve(&mut self, demand: &Demand, lane: Places, sender: Places) -> bool {
        let share = self.senders.get(&demand.sender);
        let share = share.map_or(Places::default(), |share| share.taken);
        let bytes = demand.size_bytes;
        let fits = self.taken.take_one_more(bytes, lane) && share.take_one_more(bytes, sender);
        if fits {
            self.take(demand);
        }
        fits
    }

    /// Gives a reserved place back.
    pub(super) fn release(&mut self, demand: &Demand) {
        self.taken.subtract(demand.size_bytes);
        if let Some(share) = self.senders.get_mut(&demand.sender) {
            share.taken.subtract(demand.size_bytes);
            if share.taken.jobs == 0 {
                self.senders.remove(&demand.sender);
            }
        }
    }

    /// Takes a place without regard to bounds.
    pub(super) fn push(&mut self, queued: Queued) {
        self.take(&queued.demand);
        self.waiting.add(queued.demand.size_bytes);
        let share = self
            .senders
            .entry(queued.demand.sender.clone())
            .or_default();
        if share.waiting.is_empty() {
            self.turns.push_back(queued.demand.sender.clone());
        }
        share.waiting.push_back(queued);
    }

    /// The job whose turn it is.
    pub(super) fn first(&self) -> Option<&Queued> {
        self.senders.get(self.turns.front()?)?.waiting.front()
    }

    /// Takes the job whose turn it is; the next turn is another sender's.
    pub(super) fn pop(&mut self) -> Option<Queued> {
        let sender = self.turns.pop_front()?;
        let share = self.senders.get_mut(&sender)?;
        let queued = share.waiting.pop_front()?;
        if !share.waiting.is_empty() {
            self.turns.push_back(sender);
        }
        self.forget(&queued.demand);
        Some(queued)
    }

    /// Removes a job that is not to run any more.
    pub(super) fn remove(&mut self, job_id: JobId) {
        let found = self.senders.values_mut().find_map(|share| {
            let position = share.waiting.iter().position(|job| job.job_id == job_id)?;
            let queued = share.waiting.remove(position)?;
            Some((queued.demand, share.waiting.is_empty()))
        });
        if let Some((demand, is_last)) = found {
            if is_last {
                self.turns.retain(|sender| *sender != demand.sender);
            }
            self.forget(&demand);
        }
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Places {
        self.waiting
    }

    fn take(&mut self, demand: &Demand) {
        self.taken.add(demand.size_bytes);
        let share = self.senders.entry(demand.sender.clone()).or_default();
        share.taken.add(demand.size_bytes);
    }

    fn forget(&mut self, demand: &Demand) {
        self.waiting.subtract(demand.size_bytes);
        self.release(demand);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Lane;

    const LANE: Places = Places {
        jobs: 6,
        bytes: 100,
    };

    fn demand(sender: &str, size_bytes: u64) -> Demand {
        Demand {
            lane: Lane::Audio,
            sender: (!sender.is_empty()).then(|| sender.into()),
            size_bytes,
            memory_bytes: 0,
        }
    }

    fn queued(id: i64, sender: &str, size_bytes: u64) -> Queued {
        Queued {
            job_id: JobId(id),
            demand: demand(sender, size_bytes),
            crashes: 0,
            since: Instant::now(),
        }
    }

    fn order(queue: &mut LaneQueue) -> Vec<i64> {
        std::iter::from_fn(|| queue.pop())
            .map(|queued| queued.job_id.0)
            .collect()
    }

    #[test]
    fn a_sender_has_a_share_of_the_places_and_of_the_bytes() {
        let mut queue = LaneQueue::default();
        let mut reserve =
            |sender, bytes| queue.reserve(&demand(sender, bytes), LANE, LANE.share(50));
        assert!(reserve("a", 1) && reserve("a", 1) && reserve("a", 1));
        assert!(!reserve("a", 1), "half of six places");
        assert!(reserve("", 40));
        assert!(!reserve("", 11), "half of 100 bytes");
        assert!(reserve("b", 57), "the first one, however large");
        assert!(!reserve("c", 1), "100 bytes are taken");
        assert!(reserve("c", 0));
        assert!(!reserve("d", 0), "six places are taken");
    }

    #[test]
    fn a_job_larger_than_the_lane_waits_alone_and_a_place_can_be_given_back() {
        let mut queue = LaneQueue::default();
        assert!(queue.reserve(&demand("a", 1_000), LANE, LANE.share(50)));
        assert!(!queue.reserve(&demand("b", 0), LANE, LANE.share(50)));
        queue.release(&demand("a", 1_000));
        assert!(queue.reserve(&demand("b", 0), LANE, LANE.share(50)));
        assert!(queue.senders.len() == 1 && queue.taken.bytes == 0);
    }

    #[test]
    fn senders_take_turns_and_each_keeps_the_order() {
        let mut queue = LaneQueue::default();
        for (id, sender) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, ""), (6, "b")] {
            queue.push(queued(id, sender, 10));
        }
        assert_eq!(queue.first().map(|queued| queued.job_id), Some(JobId(1)));
        assert_eq!(order(&mut queue), [1, 4, 5, 2, 6, 3]);
        assert_eq!(queue.taken, Places::default());
        assert!(queue.senders.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_job_that_is_removed_frees_its_place_and_its_turn() {
        let mut queue = LaneQueue::default();
        for (id, sender) in [(1, "a"), (2, "b"), (3, "b")] {
            queue.push(queued(id, sender, 10));
        }
        queue.remove(JobId(1));
        queue.remove(JobId(2));
        queue.remove(JobId(99));
        assert_eq!(queue.waiting(), Places { jobs: 1, bytes: 10 });
        assert_eq!(order(&mut queue), [3]);
        assert!(queue.senders.is_empty() && queue.turns.is_empty());
    }
}
