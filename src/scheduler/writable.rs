//! Jobs that a full disk has stopped.

use std::sync::Arc;

use super::Scheduler;
use super::attempt::{RETRY_PAUSE, release};
use super::queue::Queued;
use crate::error::error_chain;
use crate::ledger::Ledger;

/// Whether the attempt had begun, and so was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    Yes,
    No,
}

/// Puts a job back once the disk can be written, and takes back its attempt: it is not the job's fault.
pub(super) fn retry(scheduler: Arc<Scheduler>, queued: Queued, ledger: Ledger, begun: Begun) {
    let job_id = queued.job_id;
    // Of the disk the storage tells, once for all jobs.
    tracing::debug!(job.id = job_id.0, "job waits until the disk can be written");
    if begun == Begun::Yes {
        scheduler.lock().unreleased.insert(job_id);
    }
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            ledger.storage().writable().await;
            if !scheduler.lock().unreleased.contains(&job_id) {
                break;
            }
            match ledger.release_attempt(job_id).await {
                Err(error) if ledger.note_storage(&error) => continue,
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "attempt could not be released");
                }
                Ok(()) => {}
            }
            scheduler.lock().unreleased.remove(&job_id);
            break;
        }
        scheduler.push(queued);
    });
}

/// Takes back the attempts of all jobs that wait for the disk, if it can be written again.
pub(super) async fn release_all(scheduler: &Scheduler, ledger: &Ledger) {
    let unreleased = std::mem::take(&mut scheduler.lock().unreleased);
    for job_id in unreleased {
        release(ledger, job_id).await;
    }
}
