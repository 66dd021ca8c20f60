//! Whose turn it is: lanes with bounds, so that texts and questions never wait behind audio, and no
//! sender behind another's heap.
//!
//! The queues hold ids only; what a job needs is in the ledger. Texts take the text slots, short ones
//! first; audio, measurements and questions take their own. Jobs that were in work when an earlier
//! process ended are *suspects*: one of them runs at a time, see [`suspects`].

mod attempt;
mod demand;
mod lane;
mod queue;
mod running;
mod submit;
mod suspects;
#[cfg(test)]
mod tests;
mod turn;
mod writable;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use crate::ledger::{JobId, Ledger, LedgerError};
use crate::observe::metrics::{
    JOBS_RUNNING, QUEUE_BYTES, QUEUE_DEPTH, QUEUE_WAIT, RUNNING_BYTES, SUSPECTS,
};
use crate::pipeline::Pipeline;
use crate::protocol::Request;

use attempt::release;
pub use demand::Demand;
pub use lane::Lane;
use lane::Slots;
use queue::{LaneQueue, Places, Queued};
use running::Running;
pub use submit::{SubmitError, ended};
use suspects::Suspects;
pub use turn::Turn;
use turn::Turns;

/// Recordings that are measured at once: each takes a core for a moment, and some are spoken again
/// as previews.
const MAX_RUNNING_ANALYSES: usize = 2;
/// Questions that are answered at once, and deletions.
const MAX_RUNNING_QUERIES: usize = 16;

/// Bounds of the scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Jobs with recordings that run at once.
    pub max_running_audio: usize,
    /// Memory that the jobs with recordings in work may be expected to take; a job that needs more
    /// runs without others.
    pub max_running_bytes: u64,
    /// Text jobs that run at once.
    pub max_running_text: usize,
    /// Short texts that wait at most.
    pub max_queued_fast: usize,
    /// Other texts that wait at most, in each of their two lanes.
    pub max_queued_normal: usize,
    /// Recordings that wait at most, in each of their lanes.
    pub max_queued_audio: usize,
    /// Bytes of the requests that wait at most, in each lane.
    pub max_queued_bytes: u64,
    /// Share of the places and bytes of a lane of recordings that one sender may take.
    pub max_sender_percent: u8,
    /// Bytes of the samples of one recording at most.
    pub max_decoded_bytes: u64,
    /// Time for one job.
    pub job_budget: Duration,
    /// Time that running jobs are given when the daemon stops.
    pub drain: Duration,
}

impl SchedulerOptions {
    fn max_running(&self, slots: Slots) -> usize {
        match slots {
            Slots::Text => self.max_running_text,
            Slots::Audio => self.max_running_audio,
            Slots::Analysis => MAX_RUNNING_ANALYSES,
            Slots::Query => MAX_RUNNING_QUERIES,
        }
    }

    fn max_queued(&self, lane: Lane) -> Places {
        let jobs = match lane {
            Lane::TextFast => self.max_queued_fast,
            Lane::TextNormal | Lane::TextAny | Lane::Query => self.max_queued_normal,
            Lane::Audio | Lane::AudioLow | Lane::Analysis => self.max_queued_audio,
        };
        Places {
            jobs,
            bytes: self.max_queued_bytes,
        }
    }

    /// What one sender may take of a lane. Texts come without a sender.
    fn max_queued_of_sender(&self, lane: Lane) -> Places {
        let places = self.max_queued(lane);
        if lane.needs_audio() {
            places.share(self.max_sender_percent)
        } else {
            places
        }
    }
}

/// The lane has no place left, for anybody or for this sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {} lane is full", .0.as_str())]
pub struct LaneFull(pub Lane);

#[derive(Default)]
struct Queues {
    lanes: HashMap<Lane, LaneQueue>,
    suspects: Suspects,
    /// Jobs at work, as of the last change of what runs.
    running: HashMap<Lane, usize>,
    /// Texts that are in no ledger.
    turns: HashMap<Lane, Turns>,
    /// Jobs whose attempt has begun and that wait for the disk: what is left of them when the daemon stops was
    /// no crash.
    unreleased: HashSet<JobId>,
}

/// The queues before the pipeline; shared by the intake, which fills them, and
/// [`run`](Self::run), which empties them.
pub struct Scheduler {
    options: SchedulerOptions,
    queues: Mutex<Queues>,
    changed: Notify,
    /// Taken by texts that are in no ledger while they are at work.
    turns: Arc<Semaphore>,
}

/// How much waits in a lane, and runs.
#[derive(Debug, Clone, Copy)]
pub struct LaneReport {
    /// The lane.
    pub lane: Lane,
    /// Jobs that wait.
    pub waiting: usize,
    /// Bytes of their requests.
    pub bytes: u64,
    /// Jobs at work.
    pub running: usize,
}

/// A place in a lane, promised before the job is in the ledger.
pub struct Place<'a> {
    scheduler: &'a Scheduler,
    demand: Demand,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.scheduler.lock();
        if let Some(lane) = queues.lanes.get_mut(&self.demand.lane) {
            lane.release(&self.demand);
        }
    }
}

impl Place<'_> {
    /// Takes the place.
    pub fn enqueue(self, job_id: JobId) {
        self.scheduler.push(Queued {
            job_id,
            demand: self.demand.clone(),
            crashes: 0,
            since: Instant::now(),
        });
    }
}

impl Scheduler {
    /// Empty queues.
    pub fn new(options: SchedulerOptions) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(options.max_running_text)),
            options,
            queues: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// What a request that came as `frames` asks for in `lane`.
    pub fn demand(&self, request: &Request, lane: Lane, frames: &[Bytes]) -> Demand {
        Demand::of(request, lane, frames, self.options.max_decoded_bytes)
    }

    /// What recordings of so many bytes ask for in `lane`; there may be none.
    pub fn demand_of_uploads(&self, lane: Lane, user_id: Option<&str>, sizes: &[u64]) -> Demand {
        Demand::of_uploads(lane, user_id, sizes, self.options.max_decoded_bytes)
    }

    /// Promises a place in a lane, so that nothing is accepted that cannot wait here.
    ///
    /// # Errors
    /// The lane is full, in all or for this sender.
    pub fn reserve(&self, demand: Demand) -> Result<Place<'_>, LaneFull> {
        let lane = demand.lane;
        let (bound, share) = (
            self.options.max_queued(lane),
            self.options.max_queued_of_sender(lane),
        );
        let mut queues = self.lock();
        let queue = queues.lanes.entry(lane).or_default();
        if !queue.reserve(&demand, bound, share) {
            return Err(LaneFull(lane));
        }
        drop(queues);
        Ok(Place {
            scheduler: self,
            demand,
        })
    }

    /// Puts a job into its lane without regard to bounds: it is accepted already.
    fn push(&self, queued: Queued) {
        let mut queues = self.lock();
        if queued.crashes > 0 {
            queues.suspects.push(queued);
        } else {
            let lane = queued.demand.lane;
            queues.lanes.entry(lane).or_default().push(queued);
        }
        drop(queues);
        self.changed.notify_one();
    }

    /// Removes a job that waits and is not to run any more.
    fn remove(&self, job_id: JobId) {
        let mut queues = self.lock();
        queues.suspects.remove(job_id);
        for lane in queues.lanes.values_mut() {
            lane.remove(job_id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the jobs of an earlier run. Call it before requests are taken, or a job that is accepted
    /// meanwhile waits, and runs, twice.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn restore(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let unfinished = ledger.unfinished().await?;
        if !unfinished.is_empty() {
            let suspects = unfinished.iter().filter(|job| job.crashes > 0).count();
            tracing::info!(
                jobs = unfinished.len(),
                suspects,
                "jobs of an earlier run go on"
            );
        }
        for job in unfinished {
            self.push(Queued {
                job_id: job.id,
                demand: Demand::of_unfinished(&job),
                crashes: job.crashes,
                since: Instant::now(),
            });
        }
        Ok(())
    }

    /// Runs jobs until `stop` is set; then gives running ones time to end.
    pub async fn run(
        self: Arc<Self>,
        ledger: Ledger,
        pipeline: Arc<Pipeline>,
        stop: impl Future<Output = ()>,
    ) {
        let mut running = Running::default();
        tokio::pin!(stop);
        loop {
            while let Some(queued) = self.next(&running) {
                running.start(&self, queued, &ledger, &pipeline);
            }
            self.report(&running);
            tokio::select! {
                () = &mut stop => break,
                () = self.changed.notified() => {}
                cancelled = pipeline.running.cancelled() => {
                    for job_id in cancelled {
                        self.remove(job_id);
                        running.abort(job_id);
                    }
                }
                Some(ended) = running.join_next() => {
                    running.ended(&self, &ledger, ended);
                }
            }
        }
        self.drain(running, &ledger).await;
        writable::release_all(&self, &ledger).await;
    }

    /// The next job that may run.
    fn next(&self, running: &Running) -> Option<Queued> {
        let next = self.take_next(&mut self.lock(), running)?;
        metrics::histogram!(QUEUE_WAIT, "lane" => next.demand.lane.as_str())
            .record(next.since.elapsed().as_secs_f64());
        Some(next)
    }

    fn take_next(&self, queues: &mut Queues, running: &Running) -> Option<Queued> {
        let Queues {
            lanes, suspects, ..
        } = queues;
        let has_slot = |lane: Lane| {
            let slots = lane.slots();
            running.count(|lane| lane.slots() == slots) < self.options.max_running(slots)
        };
        let fits = |demand: &Demand| {
            let taken = running.memory_bytes();
            let sum = taken.saturating_add(demand.memory_bytes);
            !demand.lane.needs_audio() || taken == 0 || sum <= self.options.max_running_bytes
        };
        // What does not fit waits for memory, and so do all behind it: or it might wait for ever.
        let mut is_memory_short = false;
        if let Some(first) = suspects.first()
            && has_slot(first.demand.lane)
            && running.may_start_suspect(first)
        {
            if fits(&first.demand) {
                return suspects.pop();
            }
            is_memory_short = true;
        }
        let held_by = running.suspect().or(suspects.first());
        Lane::ALL.into_iter().find_map(|lane| {
            let queue = lanes.get_mut(&lane)?;
            let first = queue.first()?;
            if !has_slot(lane) || held_by.is_some_and(|suspect| suspect.holds(lane)) {
                return None;
            }
            if lane.needs_audio() {
                is_memory_short |= !fits(&first.demand);
                if is_memory_short {
                    return None;
                }
            }
            queue.pop()
        })
    }

    /// How much waits in each lane, and runs; texts that are in no ledger included.
    pub fn lanes(&self) -> Vec<LaneReport> {
        let queues = self.lock();
        let report = |lane: Lane| {
            let waiting = queues.lanes.get(&lane).map(LaneQueue::waiting);
            let waiting = waiting.unwrap_or_default();
            let suspects = queues.suspects.waiting(lane);
            let turns = queues.turns.get(&lane).copied().unwrap_or_default();
            let running = queues.running.get(&lane).copied().unwrap_or_default();
            LaneReport {
                lane,
                waiting: waiting.jobs + suspects.jobs + turns.waiting.jobs,
                bytes: waiting.bytes + suspects.bytes + turns.waiting.bytes,
                running: running + turns.running,
            }
        };
        Lane::ALL.map(report).to_vec()
    }

    fn report(&self, running: &Running) {
        let count = |lane: Lane| (lane, running.count(|running| running == lane));
        self.lock().running = Lane::ALL.map(count).into();
        for report in self.lanes() {
            let lane = report.lane.as_str();
            metrics::gauge!(QUEUE_DEPTH, "lane" => lane).set(report.waiting as f64);
            metrics::gauge!(QUEUE_BYTES, "lane" => lane).set(report.bytes as f64);
            metrics::gauge!(JOBS_RUNNING, "lane" => lane).set(report.running as f64);
        }
        let queues = self.lock();
        metrics::gauge!(SUSPECTS).set(queues.suspects.len() as f64);
        metrics::gauge!(RUNNING_BYTES).set(running.memory_bytes() as f64);
    }

    /// Lets running jobs end; what does not end in time goes on at the next start.
    async fn drain(self: &Arc<Self>, mut running: Running, ledger: &Ledger) {
        if running.is_empty() {
            return;
        }
        tracing::info!(jobs = running.len(), "running jobs are given time to end");
        let all_ended = async {
            while let Some(ended) = running.join_next().await {
                running.ended(self, ledger, ended);
            }
        };
        if tokio::time::timeout(self.options.drain, all_ended)
            .await
            .is_ok()
        {
            return;
        }
        tracing::warn!(jobs = running.len(), "jobs go on at the next start");
        for job_id in running.shut_down().await {
            release(ledger, job_id).await;
        }
    }
}
