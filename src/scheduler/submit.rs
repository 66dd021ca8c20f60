//! Jobs of the daemon's own, and waiting for their end.

use std::time::Duration;

use super::{Lane, LaneFull, Scheduler};
use crate::ledger::{Accepted, JobId, JobRecord, Ledger, LedgerError, NewJob};

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
        &self,
        ledger: &Ledger,
        lane: Lane,
        job: NewJob,
    ) -> Result<JobId, SubmitError> {
        let place = self.reserve(lane)?;
        match ledger.accept(job).await? {
            Accepted::New(job_id) => {
                place.enqueue(job_id);
                Ok(job_id)
            }
            Accepted::Duplicate { job_id, .. } => Ok(job_id),
        }
    }

    /// True while no job waits in a lane.
    pub fn is_idle(&self, lane: Lane) -> bool {
        self.lock()
            .waiting
            .get(&lane)
            .is_none_or(std::collections::VecDeque::is_empty)
    }
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
