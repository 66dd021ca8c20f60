//! Jobs that a full disk has stopped.

use std::sync::Arc;

use super::{Lane, RETRY_PAUSE, Scheduler};
use crate::engine::error_chain;
use crate::ledger::{JobId, Ledger};

/// Whether the attempt had begun, and so was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    Yes,
    No,
}

/// Puts a job back once the disk can be written, and takes back its attempt: it is not the job's fault.
pub(super) fn retry(
    scheduler: Arc<Scheduler>,
    lane: Lane,
    job_id: JobId,
    ledger: Ledger,
    begun: Begun,
) {
    // Of the disk the storage tells, once for all jobs.
    tracing::debug!(job.id = job_id.0, "job waits until the disk can be written");
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            ledger.storage().writable().await;
            if begun == Begun::No {
                break;
            }
            match ledger.release_attempt(job_id).await {
                Ok(()) => break,
                Err(error) if ledger.note_storage(&error) => {}
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "attempt could not be released");
                    break;
                }
            }
        }
        scheduler.push(lane, job_id);
    });
}
