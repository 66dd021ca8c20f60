//! Attempts at jobs: begun, ended in good order or not, and what is still to be done.

use super::records::{JobId, UnfinishedJob};
use super::{Ledger, LedgerError, jobs};
use crate::domain::timestamp::now_unix_ms;

/// Attempts that the process did not survive, after which a job is taken for the cause and put aside.
pub const MAX_CRASHES: u32 = 3;
/// Attempts that failed in a way that may pass, after which it is not expected to pass.
pub const MAX_SOFT_FAILURES: u32 = 5;

impl Ledger {
    /// Counts an attempt before its work begins and returns how many there were with it. An attempt
    /// is open until the job ends or one of [`release_attempt`](Self::release_attempt) and
    /// [`count_soft_failure`](Self::count_soft_failure) is called.
    ///
    /// # Errors
    /// The job is unknown or has ended, or the database fails.
    pub async fn start_attempt(&self, job_id: JobId) -> Result<u32, LedgerError> {
        self.write(move |connection| jobs::start_attempt(connection, job_id, now_unix_ms()))
            .await
    }

    /// Ends an attempt that failed in a way that may pass; returns how many there were with it.
    ///
    /// # Errors
    /// The job is unknown or has ended, or the database fails.
    pub async fn count_soft_failure(&self, job_id: JobId) -> Result<u32, LedgerError> {
        self.write(move |connection| jobs::count_soft_failure(connection, job_id))
            .await
    }

    /// Takes back an attempt that was stopped in good order, so that it counts neither as a crash nor
    /// as a failure.
    ///
    /// # Errors
    /// The database fails.
    pub async fn release_attempt(&self, job_id: JobId) -> Result<(), LedgerError> {
        self.write(move |connection| jobs::release_attempt(connection, job_id))
            .await
    }

    /// Jobs that have not ended, in the order in which they were accepted.
    ///
    /// # Errors
    /// The database fails.
    pub async fn unfinished(&self) -> Result<Vec<UnfinishedJob>, LedgerError> {
        self.read(jobs::unfinished).await
    }
}
