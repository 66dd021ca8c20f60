//! What is known of jobs while they run: how far they are, and a way to stop them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};

use crate::domain::timestamp::now_unix_ms;
use crate::domain::{Deadline, Language};
use crate::error::Stage;
use crate::ledger::{JobId, StageRun, StageStatus};

/// Changes that may wait for a listener; one that is slower is told that it has missed some.
const CHANGES: usize = 1024;

/// The jobs that are being worked on.
pub struct RunningJobs {
    runs: Mutex<HashMap<JobId, Run>>,
    /// Jobs that were cancelled and may hold places still.
    cancelled: Mutex<Vec<JobId>>,
    has_cancelled: Notify,
    /// Names jobs of which there is something new.
    changes: broadcast::Sender<JobId>,
}

impl Default for RunningJobs {
    fn default() -> Self {
        Self {
            runs: Mutex::default(),
            cancelled: Mutex::default(),
            has_cancelled: Notify::new(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }
}

struct Run {
    deadline: Deadline,
    step: Option<Stage>,
    percent: u8,
    /// Stages that the job is expected to go through; 0 while that is not known.
    expected: usize,
    stages: Vec<StageRun>,
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
            expected: 0,
            stages: Vec::new(),
        };
        self.lock().insert(job_id, run);
        self.tell(job_id);
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

    /// The stages that a job has gone through in this attempt, in the order in which they began; none when it
    /// is not being worked on.
    pub fn stages(&self, job_id: JobId) -> Vec<StageRun> {
        let runs = self.lock();
        runs.get(&job_id)
            .map(|run| run.stages.clone())
            .unwrap_or_default()
    }

    /// Names the jobs of which there is something new from now on: a stage, an event, a beginning, an end.
    pub fn changes(&self) -> broadcast::Receiver<JobId> {
        self.changes.subscribe()
    }

    /// Tells that there is something new of a job.
    pub fn tell(&self, job_id: JobId) {
        // Nobody has to listen.
        drop(self.changes.send(job_id));
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
        self.tell(job_id);
    }

    /// Waits for jobs to be [cancelled](Self::cancel). For one caller.
    pub async fn cancelled(&self) -> Vec<JobId> {
        self.has_cancelled.notified().await;
        let cancelled = self.cancelled.lock();
        std::mem::take(&mut cancelled.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin_step(&self, job_id: JobId, stage: Stage, language: Option<Language>) {
        if let Some(run) = self.lock().get_mut(&job_id) {
            run.step = Some(stage);
            run.stages.push(StageRun {
                stage: stage.as_str().to_owned(),
                language: language.map(|language| language.to_string()),
                status: StageStatus::Running,
                started_at_ms: now_unix_ms(),
                duration_ms: None,
            });
        }
        self.tell(job_id);
    }

    pub(super) fn end_step(
        &self,
        job_id: JobId,
        stage: Stage,
        language: Option<Language>,
        status: StageStatus,
    ) {
        if let Some(run) = self.lock().get_mut(&job_id) {
            let is_it = |run: &&mut StageRun| {
                run.status == StageStatus::Running
                    && run.stage == stage.as_str()
                    && run.language.as_deref() == language.as_ref().map(Language::as_str)
            };
            if let Some(stage) = run.stages.iter_mut().find(is_it) {
                stage.end(status);
            }
            let ended = run.stages.len() - running(&run.stages);
            if let Some(percent) = (ended * 100).checked_div(run.expected) {
                // What is not over is not whole, whatever was expected.
                run.percent = percent.min(99) as u8;
            }
        }
        self.tell(job_id);
    }

    /// Notes how many stages a job is going to go through.
    pub(super) fn expect(&self, job_id: JobId, stages: usize) {
        if let Some(run) = self.lock().get_mut(&job_id) {
            run.expected = stages;
        }
    }

    /// The stages of a job that ends now: those that were going on have been stopped.
    pub(super) fn ended_stages(&self, job_id: JobId) -> Vec<StageRun> {
        let mut stages = self.stages(job_id);
        for stage in &mut stages {
            if stage.status == StageStatus::Running {
                stage.end(StageStatus::Failed);
            }
        }
        stages
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
        self.jobs.tell(self.job_id);
    }
}

impl StageRun {
    fn end(&mut self, status: StageStatus) {
        let duration_ms = now_unix_ms().saturating_sub(self.started_at_ms);
        self.status = status;
        self.duration_ms = Some(u64::try_from(duration_ms).unwrap_or_default());
    }
}

fn running(stages: &[StageRun]) -> usize {
    let is_running = |run: &&StageRun| run.status == StageStatus::Running;
    stages.iter().filter(is_running).count()
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
        jobs.begin_step(job_id, Stage::Translate, None);
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
