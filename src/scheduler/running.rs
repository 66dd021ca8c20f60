//! Jobs that are being worked on.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::queue::Queued;
use super::{Lane, Scheduler, attempt};
use crate::domain::Deadline;
use crate::ledger::{JobId, Ledger};
use crate::pipeline::Pipeline;

/// The jobs that are being worked on, each in a task.
#[derive(Default)]
pub(super) struct Running {
    tasks: JoinSet<()>,
    jobs: HashMap<Id, RunningJob>,
}

struct RunningJob {
    queued: Queued,
    deadline: Deadline,
    task: AbortHandle,
}

/// How a task has ended.
pub(super) type Ended = Result<(Id, ()), JoinError>;

impl Running {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn count(&self, is_counted: impl Fn(Lane) -> bool) -> usize {
        self.queued()
            .filter(|queued| is_counted(queued.demand.lane))
            .count()
    }

    /// Memory that the jobs with recordings are expected to take.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.queued()
            .filter(|queued| queued.demand.lane.needs_audio())
            .fold(0, |sum, queued| {
                sum.saturating_add(queued.demand.memory_bytes)
            })
    }

    /// The suspect among them.
    pub(super) fn suspect(&self) -> Option<&Queued> {
        self.queued().find(|queued| queued.crashes > 0)
    }

    /// Whether a suspect may run beside what runs.
    pub(super) fn may_start_suspect(&self, suspect: &Queued) -> bool {
        self.suspect().is_none() && self.count(|lane| suspect.waits_for(lane)) == 0
    }

    fn queued(&self) -> impl Iterator<Item = &Queued> {
        self.jobs.values().map(|job| &job.queued)
    }

    pub(super) fn start(
        &mut self,
        scheduler: &Arc<Scheduler>,
        queued: Queued,
        ledger: &Ledger,
        pipeline: &Arc<Pipeline>,
    ) {
        let deadline = Deadline::after(scheduler.options.job_budget);
        let attempt = attempt::attempt(
            Arc::clone(scheduler),
            queued.clone(),
            ledger.clone(),
            Arc::clone(pipeline),
            deadline.clone(),
        );
        self.note(queued, deadline, attempt);
    }

    /// Runs a task for a job.
    pub(super) fn note(
        &mut self,
        queued: Queued,
        deadline: Deadline,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(work);
        let job = RunningJob {
            queued,
            deadline,
            task: task.clone(),
        };
        self.jobs.insert(task.id(), job);
    }

    /// The end of the next task; `None` when none runs.
    pub(super) async fn join_next(&mut self) -> Option<Ended> {
        self.tasks.join_next_with_id().await
    }

    /// Forgets a task. A panic inside it counts like a failure that may pass.
    pub(super) fn ended(&mut self, scheduler: &Arc<Scheduler>, ledger: &Ledger, ended: Ended) {
        let (id, has_panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        if has_panicked {
            tracing::error!(job.id = job.queued.job_id.0, "job panicked");
            let scheduler = Arc::clone(scheduler);
            tokio::spawn(attempt::fail_softly(scheduler, job.queued, ledger.clone()));
        }
    }

    /// Stops the work on a job that was ended from outside, even if it hangs in an engine.
    pub(super) fn abort(&self, job_id: JobId) {
        let of_job = |job: &&RunningJob| job.queued.job_id == job_id;
        if let Some(job) = self.jobs.values().find(of_job) {
            job.task.abort();
        }
    }

    /// Stops all work and returns the jobs that have not ended.
    pub(super) async fn shut_down(mut self) -> Vec<JobId> {
        // The tasks first: one that lived to see its engine cancelled would end its job as failed.
        self.tasks.shutdown().await;
        for job in self.jobs.values() {
            job.deadline.cancel();
        }
        self.jobs.values().map(|job| job.queued.job_id).collect()
    }
}
