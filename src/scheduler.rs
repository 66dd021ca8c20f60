//! Whose turn it is: lanes with bounds, so that texts and questions never wait behind
//! audio.
//!
//! The queues hold ids only; what a job needs is in the ledger. Texts take the text slots, short ones
//! first; audio, measurements and questions take their own.

mod lane;
mod submit;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::domain::Deadline;
use crate::engine::error_chain;
use crate::ledger::{Finish, JobId, JobRecord, Ledger, LedgerError, MAX_ATTEMPTS};
use crate::observe::metrics::{JOBS_RUNNING, QUEUE_DEPTH, QUEUE_WAIT};
use crate::pipeline::{Attempt, Pipeline, count_end};

pub use lane::Lane;
use lane::Slots;
pub use submit::{SubmitError, ended};

/// Pause before a job that may succeed later is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

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
    /// Text jobs that run at once.
    pub max_running_text: usize,
    /// Short texts that wait at most.
    pub max_queued_fast: usize,
    /// Other texts that wait at most, in each of their two lanes.
    pub max_queued_normal: usize,
    /// Recordings that wait at most, in each of their lanes.
    pub max_queued_audio: usize,
    /// Time for one job.
    pub job_budget: Duration,
    /// Time that running jobs are given when the daemon stops.
    pub drain: Duration,
}

/// The lane has no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {} lane is full", .0.as_str())]
pub struct LaneFull(pub Lane);

#[derive(Debug)]
struct Queued {
    job_id: JobId,
    since: Instant,
}

#[derive(Default)]
struct Queues {
    waiting: HashMap<Lane, VecDeque<Queued>>,
    /// Places promised to requests that are on their way into the ledger.
    reserved: HashMap<Lane, usize>,
}

/// The queues before the pipeline; shared by the intake, which fills them, and
/// [`run`](Self::run), which empties them.
pub struct Scheduler {
    options: SchedulerOptions,
    queues: Mutex<Queues>,
    changed: Notify,
}

/// A place in a lane, promised before the job is in the ledger.
pub struct Place<'a> {
    scheduler: &'a Scheduler,
    lane: Lane,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.scheduler.lock();
        if let Some(reserved) = queues.reserved.get_mut(&self.lane) {
            *reserved = reserved.saturating_sub(1);
        }
    }
}

impl Place<'_> {
    /// Takes the place.
    pub fn enqueue(self, job_id: JobId) {
        self.scheduler.push(self.lane, job_id);
    }
}

impl Scheduler {
    /// Empty queues.
    pub fn new(options: SchedulerOptions) -> Self {
        Self {
            options,
            queues: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Promises a place in a lane, so that nothing is accepted that cannot wait here.
    ///
    /// # Errors
    /// The lane is full.
    pub fn reserve(&self, lane: Lane) -> Result<Place<'_>, LaneFull> {
        let bound = match lane {
            Lane::TextFast => self.options.max_queued_fast,
            Lane::TextNormal | Lane::TextAny | Lane::Query => self.options.max_queued_normal,
            Lane::Audio | Lane::AudioLow | Lane::Analysis => self.options.max_queued_audio,
        };
        let mut queues = self.lock();
        let waiting = queues.waiting.get(&lane).map_or(0, VecDeque::len);
        let reserved = queues.reserved.entry(lane).or_default();
        if waiting + *reserved >= bound {
            return Err(LaneFull(lane));
        }
        *reserved += 1;
        drop(queues);
        Ok(Place {
            scheduler: self,
            lane,
        })
    }

    /// Puts a job into its lane without regard to bounds: it is accepted already.
    fn push(&self, lane: Lane, job_id: JobId) {
        let queued = Queued {
            job_id,
            since: Instant::now(),
        };
        self.lock()
            .waiting
            .entry(lane)
            .or_default()
            .push_back(queued);
        self.changed.notify_one();
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
            tracing::info!(jobs = unfinished.len(), "jobs of an earlier run go on");
        }
        for job in unfinished {
            self.push(Lane::from_name(&job.lane), job.id);
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
            while let Some((lane, job_id)) = self.next(&running) {
                running.start(&self, lane, job_id, &ledger, &pipeline);
            }
            self.report(&running);
            tokio::select! {
                () = &mut stop => break,
                () = self.changed.notified() => {}
                Some(ended) = running.tasks.join_next_with_id() => {
                    running.ended(&self, ended);
                }
            }
        }
        self.drain(running, &ledger).await;
    }

    /// The next job that may run.
    fn next(&self, running: &Running) -> Option<(Lane, JobId)> {
        let mut queues = self.lock();
        let lane = Lane::ALL.into_iter().find(|lane| {
            let slots = lane.slots();
            let bound = match slots {
                Slots::Text => self.options.max_running_text,
                Slots::Audio => self.options.max_running_audio,
                Slots::Analysis => MAX_RUNNING_ANALYSES,
                Slots::Query => MAX_RUNNING_QUERIES,
            };
            running.count(|lane| lane.slots() == slots) < bound
                && queues
                    .waiting
                    .get(lane)
                    .is_some_and(|queue| !queue.is_empty())
        })?;
        let queued = queues.waiting.get_mut(&lane)?.pop_front()?;
        metrics::histogram!(QUEUE_WAIT, "lane" => lane.as_str())
            .record(queued.since.elapsed().as_secs_f64());
        Some((lane, queued.job_id))
    }

    fn report(&self, running: &Running) {
        let queues = self.lock();
        for lane in Lane::ALL {
            let waiting = queues.waiting.get(&lane).map_or(0, VecDeque::len);
            metrics::gauge!(QUEUE_DEPTH, "lane" => lane.as_str()).set(waiting as f64);
            metrics::gauge!(JOBS_RUNNING, "lane" => lane.as_str())
                .set(running.count(|running| running == lane) as f64);
        }
    }

    /// Lets running jobs end; what does not end in time goes on at the next start.
    async fn drain(self: &Arc<Self>, mut running: Running, ledger: &Ledger) {
        if running.jobs.is_empty() {
            return;
        }
        tracing::info!(
            jobs = running.jobs.len(),
            "running jobs are given time to end"
        );
        let all_ended = async {
            while let Some(ended) = running.tasks.join_next_with_id().await {
                running.ended(self, ended);
            }
        };
        if tokio::time::timeout(self.options.drain, all_ended)
            .await
            .is_ok()
        {
            return;
        }
        tracing::warn!(jobs = running.jobs.len(), "jobs go on at the next start");
        // The tasks first: one that lived to see its engine cancelled would end its job as failed.
        running.tasks.shutdown().await;
        for job in running.jobs.values() {
            job.deadline.cancel();
            release(ledger, job.job_id).await;
        }
    }
}

/// Jobs that are being worked on.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    jobs: HashMap<tokio::task::Id, RunningJob>,
}

struct RunningJob {
    job_id: JobId,
    lane: Lane,
    deadline: Deadline,
}

impl Running {
    fn count(&self, is_counted: impl Fn(Lane) -> bool) -> usize {
        self.jobs
            .values()
            .filter(|job| is_counted(job.lane))
            .count()
    }

    fn start(
        &mut self,
        scheduler: &Arc<Scheduler>,
        lane: Lane,
        job_id: JobId,
        ledger: &Ledger,
        pipeline: &Arc<Pipeline>,
    ) {
        let deadline = Deadline::after(scheduler.options.job_budget);
        let attempt = attempt(
            Arc::clone(scheduler),
            lane,
            job_id,
            ledger.clone(),
            Arc::clone(pipeline),
            deadline.clone(),
        );
        let task = self.tasks.spawn(attempt);
        let job = RunningJob {
            job_id,
            lane,
            deadline,
        };
        self.jobs.insert(task.id(), job);
    }

    /// Forgets a task. A panic inside it counts like a failure that may pass.
    fn ended(
        &mut self,
        scheduler: &Arc<Scheduler>,
        ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>,
    ) {
        let (id, has_panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        if has_panicked {
            tracing::error!(job.id = job.job_id.0, "job panicked");
            retry(Arc::clone(scheduler), job.lane, job.job_id);
        }
    }
}

/// One attempt at a job.
async fn attempt(
    scheduler: Arc<Scheduler>,
    lane: Lane,
    job_id: JobId,
    ledger: Ledger,
    pipeline: Arc<Pipeline>,
    deadline: Deadline,
) {
    match begin(&ledger, &pipeline, job_id).await {
        Ok(Some((record, attempts))) => {
            let may_retry = attempts < MAX_ATTEMPTS;
            let (kind, received_at_ms) = (record.kind.clone(), record.received_at_ms);
            match pipeline.run(record, may_retry, deadline).await {
                Ok(Attempt::Finished(finish)) => count_end(&kind, received_at_ms, finish),
                Ok(Attempt::Retry(failure)) => {
                    failure.record(&kind);
                    retry(scheduler, lane, job_id);
                }
                // Somebody has cancelled it, or even deleted it since.
                Err(LedgerError::AlreadyFinished(_) | LedgerError::UnknownJob(_)) => {
                    tracing::info!(job.id = job_id.0, "job was ended from outside");
                }
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "job stopped at the ledger");
                    // A full disk is not the job's fault: it must not use up the attempts.
                    if error.is_environmental() {
                        release(&ledger, job_id).await;
                    }
                    retry(scheduler, lane, job_id);
                }
            }
        }
        Ok(None) | Err(LedgerError::AlreadyFinished(_) | LedgerError::UnknownJob(_)) => {}
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "job could not be begun");
            retry(scheduler, lane, job_id);
        }
    }
}

/// Counts the attempt and reads the job; `None` when nothing is left to do for it.
async fn begin(
    ledger: &Ledger,
    pipeline: &Arc<Pipeline>,
    job_id: JobId,
) -> Result<Option<(JobRecord, u32)>, LedgerError> {
    let Some(record) = ledger.load(job_id).await? else {
        return Ok(None);
    };
    if record.state.is_finished() {
        return Ok(None);
    }
    if record.is_damaged {
        let (kind, received_at_ms) = (record.kind.clone(), record.received_at_ms);
        let finish = pipeline.end_damaged(record).await?;
        count_end(&kind, received_at_ms, finish);
        return Ok(None);
    }
    let attempts = ledger.start_attempt(job_id).await?;
    if attempts > MAX_ATTEMPTS {
        let (kind, received_at_ms) = (record.kind.clone(), record.received_at_ms);
        pipeline.quarantine(record).await?;
        count_end(&kind, received_at_ms, Finish::Quarantined);
        return Ok(None);
    }
    Ok(Some((record, attempts)))
}

/// Takes back an attempt that ended through no fault of the job.
async fn release(ledger: &Ledger, job_id: JobId) {
    if let Err(error) = ledger.release_attempt(job_id).await {
        tracing::warn!(error = %error_chain(&error), "attempt could not be released");
    }
}

fn retry(scheduler: Arc<Scheduler>, lane: Lane, job_id: JobId) {
    tokio::spawn(async move {
        tokio::time::sleep(RETRY_PAUSE).await;
        scheduler.push(lane, job_id);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler() -> Scheduler {
        Scheduler::new(SchedulerOptions {
            max_running_audio: 1,
            max_running_text: 1,
            max_queued_fast: 2,
            max_queued_normal: 2,
            max_queued_audio: 2,
            job_budget: Duration::from_secs(1),
            drain: Duration::ZERO,
        })
    }

    #[test]
    fn a_full_lane_refuses_and_the_others_do_not() {
        let scheduler = scheduler();
        scheduler.reserve(Lane::TextFast).unwrap().enqueue(JobId(1));
        let promised = scheduler.reserve(Lane::TextFast).unwrap();
        assert_eq!(
            scheduler.reserve(Lane::TextFast).err(),
            Some(LaneFull(Lane::TextFast))
        );
        assert!(scheduler.reserve(Lane::Audio).is_ok());
        drop(promised);
        assert!(scheduler.reserve(Lane::TextFast).is_ok());
    }

    #[test]
    fn questions_and_short_texts_go_first_and_audio_holds_nobody_up() {
        let scheduler = scheduler();
        for (id, lane) in [
            (0, Lane::AudioLow),
            (1, Lane::Audio),
            (2, Lane::TextAny),
            (3, Lane::TextNormal),
            (4, Lane::TextFast),
            (5, Lane::Query),
        ] {
            scheduler.push(lane, JobId(id));
        }
        let order: Vec<i64> = std::iter::from_fn(|| scheduler.next(&Running::default()))
            .map(|(_, job_id)| job_id.0)
            .collect();
        assert_eq!(order, [5, 4, 3, 2, 1, 0]);
    }
}
