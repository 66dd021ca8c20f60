//! What is known of jobs while they run: how far they are, and a way to stop them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::Deadline;
use crate::error::Stage;
use crate::ledger::JobId;

/// The jobs that are being worked on.
#[derive(Default)]
pub struct RunningJobs {
    runs: Mutex<HashMap<JobId, Run>>,
    /// Jobs that were cancelled and may hold places still.
    cancelled: Mutex<Vec<JobId>>,
    has_cancelled: Notify,
}

struct Run {
    deadline: Deadline,
    step: Option<Stage>,
    percent: u8,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advance {
    /// The stage that was begun last.
    pub step: Option<Stage>,
    /// In percent.
    pub percent: u8,
}

/// A job that is being worked on; dropped, it is not any more.
pub struct RunningJob {
    jobs: Arc<RunningJobs>,
    job_id: JobId,
}

impl RunningJobs {
    /// Notes that a job is being worked on.
    pub fn enter(self: &Arc<Self>, job_id: JobId, deadline: Deadline) -> RunningJob {
        let run = Run {
            deadline,
            step: None,
            percent: 0,
        };
        self.lock().insert(job_id, run);
        RunningJob {
            jobs: Arc::clone(self),
            job_id,
        }
    }

    /// How far a job is; `None` when it is not being worked on.
    pub fn advance(&self, job_id: JobId) -> Option<Advance> {
        self.lock().get(&job_id).map(|run| Advance {
            step: run.step,
            percent: run.percent,
        })
    }

    /// Asks a job to stop, if it is being worked on, and whoever keeps its place to give it up.
    pub fn cancel(&self, job_id: JobId) {
        if let Some(run) = self.lock().get(&job_id) {
            run.deadline.cancel();
        }
        let cancelled = self.cancelled.lock();
        cancelled
            .unwrap_or_else(PoisonError::into_inner)
            .push(job_id);
        self.has_cancelled.notify_one();
    }

    /// Waits for jobs to be [cancelled](Self::cancel). For one caller.
    pub async fn cancelled(&self) -> Vec<JobId> {
        self.has_cancelled.notified().await;
        let cancelled = self.cancelled.lock();
        std::mem::take(&mut cancelled.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin_step(&self, job_id: JobId, stage: Stage) {
        if let Some(run) = self.lock().get_mut(&job_id) {
            run.step = Some(stage);
        }
    }

    pub(super) fn set_percent(&self, job_id: JobId, percent: u8) {
        if let Some(run) = self.lock().get_mut(&job_id) {
            run.percent = percent.min(100);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.job_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stop;

    #[tokio::test]
    async fn a_job_is_known_while_it_runs() {
        let jobs = Arc::new(RunningJobs::default());
        let (job_id, deadline) = (JobId(7), Deadline::none());
        let running = jobs.enter(job_id, deadline.clone());
        jobs.begin_step(job_id, Stage::Translate);
        jobs.set_percent(job_id, 140);
        let expected = Advance {
            step: Some(Stage::Translate),
            percent: 100,
        };
        assert_eq!(jobs.advance(job_id), Some(expected));
        assert_eq!(jobs.advance(JobId(8)), None);
        jobs.cancel(JobId(8));
        assert_eq!(deadline.check(), Ok(()));
        jobs.cancel(job_id);
        assert_eq!(deadline.check(), Err(Stop::Cancelled));
        assert_eq!(jobs.cancelled().await, [JobId(8), job_id]);
        drop(running);
        assert_eq!(jobs.advance(job_id), None);
    }
}
