//! Texts that a client waits for: they are in no ledger, take a place in their lane like any other, and their turn
//! by themselves.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::queue::Places;
use super::{Demand, Lane, LaneFull, Queues, Scheduler};
use crate::observe::metrics::QUEUE_WAIT;

/// The turns of one lane.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turns {
    /// Those that are waited for.
    pub(super) waiting: Places,
    /// Those that have come.
    pub(super) running: usize,
}

/// A text's place in its lane; dropped, it is free again.
pub struct Turn {
    scheduler: Arc<Scheduler>,
    demand: Demand,
    since: Instant,
    /// Once the turn has come.
    permit: Option<OwnedSemaphorePermit>,
}

impl Scheduler {
    /// Takes a place for a text.
    ///
    /// # Errors
    /// Its lane is full.
    pub fn place_text(self: &Arc<Self>, text: &str) -> Result<Turn, LaneFull> {
        let lane = Lane::of_text(text, false);
        let demand = Demand::of_text(lane, text.len() as u64);
        let mut queues = self.lock();
        let queue = queues.lanes.entry(lane).or_default();
        if !queue.reserve(
            &demand,
            self.options.max_queued(lane),
            self.options.max_queued_of_sender(lane),
        ) {
            return Err(LaneFull(lane));
        }
        queues.turns(lane).waiting.add(demand.size_bytes);
        drop(queues);
        self.changed.notify_one();
        Ok(Turn {
            scheduler: Arc::clone(self),
            demand,
            since: Instant::now(),
            permit: None,
        })
    }
}

impl Queues {
    fn turns(&mut self, lane: Lane) -> &mut Turns {
        self.turns.entry(lane).or_default()
    }
}

impl Turn {
    /// Waits until fewer texts than may are at work.
    pub async fn come(&mut self) {
        let turns = Arc::clone(&self.scheduler.turns);
        // Nobody closes it.
        let Ok(permit) = turns.acquire_owned().await else {
            return;
        };
        self.permit = Some(permit);
        let lane = self.demand.lane;
        metrics::histogram!(QUEUE_WAIT, "lane" => lane.as_str())
            .record(self.since.elapsed().as_secs_f64());
        let mut queues = self.scheduler.lock();
        let turns = queues.turns(lane);
        turns.waiting.subtract(self.demand.size_bytes);
        turns.running += 1;
        drop(queues);
        self.scheduler.changed.notify_one();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.scheduler.lock();
        let turns = queues.turns(self.demand.lane);
        if self.permit.is_some() {
            turns.running = turns.running.saturating_sub(1);
        } else {
            turns.waiting.subtract(self.demand.size_bytes);
        }
        if let Some(lane) = queues.lanes.get_mut(&self.demand.lane) {
            lane.release(&self.demand);
        }
        drop(queues);
        self.scheduler.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::options;

    fn report(scheduler: &Scheduler) -> (usize, u64, usize) {
        let reports = scheduler.lanes();
        let report = reports.iter().find(|report| report.lane == Lane::TextFast);
        let report = report.unwrap();
        (report.waiting, report.bytes, report.running)
    }

    #[tokio::test]
    async fn texts_take_places_and_turns_and_give_them_back() {
        let scheduler = Arc::new(Scheduler::new(options()));
        let mut first = scheduler.place_text("one").unwrap();
        let mut second = scheduler.place_text("second").unwrap();
        let full = scheduler.place_text("three").err();
        assert_eq!(full, Some(LaneFull(Lane::TextFast)));
        assert_eq!(report(&scheduler), (2, 9, 0));
        first.come().await;
        assert_eq!(report(&scheduler), (1, 6, 1));
        // One text is at work at a time.
        tokio::select! {
            biased;
            () = second.come() => panic!("it is not its turn"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        second.come().await;
        assert_eq!(report(&scheduler), (0, 0, 1));
        drop(second);
        assert_eq!(report(&scheduler), (0, 0, 0));
        assert!(scheduler.place_text("three").is_ok());
    }
}
