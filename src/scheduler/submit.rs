//! Jobs of the daemon's own, and waiting for their end.

use std::sync::Arc;
use std::time::Duration;

use super::{Demand, Lane, LaneFull, Scheduler};
use crate::ledger::{Accepted, JobDetails, JobId, JobRecord, Ledger, LedgerError, NewJob};
use crate::observe::metrics::JOBS_ACCEPTED;
use crate::pipeline::ENDING_EVENTS;

/// How often a job that is waited for is looked at.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many wait.
    #[error(transparent)]
    LaneFull(#[from] LaneFull),
    /// It could not be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Scheduler {
    /// Keeps a job and puts it into its lane; a job with the same key as an earlier one is that one.
    ///
    /// # Errors
    /// The lane is full, or the ledger fails.
    pub async fn submit(
        self: &Arc<Self>,
        ledger: &Ledger,
        lane: Lane,
        job: NewJob,
    ) -> Result<JobId, SubmitError> {
        let demand = Demand::of_task(
            lane,
            job.user_id.as_deref(),
            job.request.expose().len() as u64,
            self.options.max_decoded_bytes,
        );
        self.submit_with(ledger, demand, job).await
    }

    /// The same for a job whose demand is known.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_with(
        self: &Arc<Self>,
        ledger: &Ledger,
        demand: Demand,
        job: NewJob,
    ) -> Result<JobId, SubmitError> {
        let (scheduler, ledger) = (Arc::clone(self), ledger.clone());
        to_the_end(async move {
            let lane = demand.lane;
            let job = NewJob {
                memory_bytes: demand.memory_bytes,
                ..job
            };
            let place = scheduler.reserve(demand)?;
            let kind = job.kind.clone();
            match ledger.accept(job).await? {
                Accepted::New(job_id) => {
                    metrics::counter!(JOBS_ACCEPTED, "kind" => kind).increment(1);
                    place.enqueue(job_id);
                    Ok(job_id)
                }
                Accepted::Duplicate { job_id, .. } => Ok(job_id),
                // Only for a job without a place, and this one has one.
                Accepted::Refused => Err(LaneFull(lane).into()),
            }
        })
        .await
    }

    /// Does a job once more that failed or was quarantined, see [`Ledger::retry`].
    ///
    /// # Errors
    /// The lane is full, or the ledger refuses.
    pub async fn retry(
        self: &Arc<Self>,
        ledger: &Ledger,
        job: &JobDetails,
    ) -> Result<(), SubmitError> {
        let (scheduler, ledger) = (Arc::clone(self), ledger.clone());
        let (job_id, demand) = (job.summary.id, Demand::of_ended(job));
        to_the_end(async move {
            let place = scheduler.reserve(demand)?;
            ledger.retry(job_id, &ENDING_EVENTS).await?;
            place.enqueue(job_id);
            Ok(())
        })
        .await
    }

    /// True while no job waits in a lane.
    pub fn is_idle(&self, lane: Lane) -> bool {
        self.lock()
            .lanes
            .get(&lane)
            .is_none_or(|queue| queue.waiting().jobs == 0)
    }
}

/// Runs work to its end even if the caller, as an HTTP client that leaves, is gone: a job that is in the ledger
/// and in no lane would wait for the next start.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, SubmitError>> + Send + 'static,
) -> Result<T, SubmitError> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or(Err(SubmitError::Ledger(LedgerError::Stopped)))
}

/// Waits until a job has ended; `None` when it is no longer in the ledger.
///
/// # Errors
/// The ledger fails.
pub async fn ended(ledger: &Ledger, job_id: JobId) -> Result<Option<JobRecord>, LedgerError> {
    loop {
        match ledger.load(job_id).await? {
            Some(record) if !record.state.is_finished() => {}
            ended => return Ok(ended),
        }
        tokio::time::sleep(END_CHECK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Emission, Finish, JobState};
    use crate::scheduler::tests::options;

    fn job(key: &str) -> NewJob {
        NewJob {
            key: key.to_owned(),
            ..NewJob::default()
        }
    }

    #[tokio::test]
    async fn a_job_is_kept_and_waits_once_and_its_end_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let scheduler = Arc::new(Scheduler::new(options()));
        assert!(scheduler.is_idle(Lane::Audio));
        let first = scheduler.submit(&ledger, Lane::Audio, job("a")).await;
        let first = first.unwrap();
        let again = scheduler.submit(&ledger, Lane::Audio, job("a")).await;
        assert_eq!(again.unwrap(), first);
        assert!(!scheduler.is_idle(Lane::Audio));
        let second = scheduler.submit(&ledger, Lane::Audio, job("b")).await;
        second.unwrap();
        let third = scheduler.submit(&ledger, Lane::Audio, job("c")).await;
        assert!(matches!(third, Err(SubmitError::LaneFull(_))));
        assert_eq!(ledger.counts().await.unwrap().accepted, 2, "c is not kept");

        let emission = Emission {
            finish: Some(Finish::Failed("no_audio")),
            ..Emission::default()
        };
        let (end, emitted) = tokio::join!(ended(&ledger, first), ledger.emit(first, emission));
        emitted.unwrap();
        let end = end.unwrap().unwrap();
        assert_eq!(end.state, JobState::Failed);
        assert_eq!(end.reason.as_deref(), Some("no_audio"));
        assert!(ended(&ledger, JobId(99)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_job_whose_submitter_leaves_waits_in_its_lane() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let scheduler = Arc::new(Scheduler::new(options()));
        let submitted = scheduler.submit(&ledger, Lane::Audio, job("a"));
        // Polled once, then dropped.
        tokio::select! {
            biased;
            _ = submitted => panic!("a commit takes longer"),
            () = std::future::ready(()) => {}
        }
        while scheduler.is_idle(Lane::Audio) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(ledger.counts().await.unwrap().accepted, 1);
    }
}
