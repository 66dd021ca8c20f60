//! One attempt at a job, and what becomes of a job after it.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::queue::Queued;
use super::writable::{self, Begun};
use crate::domain::Deadline;
use crate::error::error_chain;
use crate::ledger::{JobId, JobRecord, Ledger, LedgerError, MAX_CRASHES, MAX_SOFT_FAILURES};
use crate::pipeline::{Attempt, Pipeline, count_end};

/// Pause before a job that may succeed later is tried again; doubled with every failure.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Longest such pause.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);

/// One attempt at a job.
pub(super) async fn attempt(
    scheduler: Arc<Scheduler>,
    queued: Queued,
    ledger: Ledger,
    pipeline: Arc<Pipeline>,
    deadline: Deadline,
) {
    let job_id = queued.job_id;
    match begin(&ledger, &pipeline, job_id).await {
        Ok(Some(record)) => {
            let may_retry = record.soft_failures + 1 < MAX_SOFT_FAILURES;
            let (kind, received_at_ms) = (record.kind.clone(), record.received_at_ms);
            match pipeline.run(record, may_retry, deadline).await {
                Ok(Attempt::Finished(finish)) => count_end(&kind, received_at_ms, finish),
                Ok(Attempt::Retry(failure)) => {
                    failure.record(&kind);
                    fail_softly(scheduler, queued, ledger).await;
                }
                // Somebody has cancelled it, or even deleted it since.
                Err(LedgerError::AlreadyFinished(_) | LedgerError::UnknownJob(_)) => {
                    tracing::info!(job.id = job_id.0, "job was ended from outside");
                }
                Err(error) if ledger.note_storage(&error) => {
                    writable::retry(scheduler, queued, ledger, Begun::Yes);
                }
                Err(error) => {
                    tracing::error!(job.id = job_id.0, error = %error_chain(&error), "job stopped at the ledger");
                    if error.is_environmental() {
                        // It is not the job's fault: it must not use up the attempts.
                        release(&ledger, job_id).await;
                        retry(scheduler, queued, RETRY_PAUSE);
                    } else {
                        fail_softly(scheduler, queued, ledger).await;
                    }
                }
            }
        }
        Ok(None) | Err(LedgerError::AlreadyFinished(_) | LedgerError::UnknownJob(_)) => {}
        Err(error) if ledger.note_storage(&error) => {
            writable::retry(scheduler, queued, ledger, Begun::No);
        }
        Err(error) => {
            tracing::error!(job.id = job_id.0, error = %error_chain(&error), "job could be neither begun nor ended");
            retry(scheduler, queued, pause_after(&error));
        }
    }
}

/// Counts the attempt and reads the job; `None` when nothing is left to do for it.
async fn begin(
    ledger: &Ledger,
    pipeline: &Arc<Pipeline>,
    job_id: JobId,
) -> Result<Option<JobRecord>, LedgerError> {
    let Some(record) = ledger.load(job_id).await? else {
        return Ok(None);
    };
    if record.state.is_finished() {
        return Ok(None);
    }
    // Before its work begins once more: that may be what stops the process.
    let is_poison = record.crashes >= MAX_CRASHES || record.soft_failures >= MAX_SOFT_FAILURES;
    if record.is_damaged || is_poison {
        let (kind, received_at_ms) = (record.kind.clone(), record.received_at_ms);
        let finish = if record.is_damaged {
            pipeline.end_damaged(record).await?
        } else {
            pipeline.quarantine(record).await?
        };
        count_end(&kind, received_at_ms, finish);
        return Ok(None);
    }
    ledger.start_attempt(job_id).await?;
    Ok(Some(record))
}

/// Counts an attempt that failed in a way that may pass; the job waits for another, longer each time.
/// After the last it is quarantined instead.
pub(super) async fn fail_softly(scheduler: Arc<Scheduler>, queued: Queued, ledger: Ledger) {
    let job_id = queued.job_id;
    let pause = match ledger.count_soft_failure(job_id).await {
        Ok(failures) if failures >= MAX_SOFT_FAILURES => Duration::ZERO,
        Ok(failures) => retry_pause(failures),
        Err(LedgerError::AlreadyFinished(_) | LedgerError::UnknownJob(_)) => return,
        Err(error) if ledger.note_storage(&error) => {
            return writable::retry(scheduler, queued, ledger, Begun::Yes);
        }
        Err(error) => {
            tracing::error!(job.id = job_id.0, error = %error_chain(&error), "a failure could not be counted");
            pause_after(&error)
        }
    };
    retry(scheduler, queued, pause);
}

/// Takes back an attempt that ended through no fault of the job.
pub(super) async fn release(ledger: &Ledger, job_id: JobId) {
    if let Err(error) = ledger.release_attempt(job_id).await {
        tracing::warn!(error = %error_chain(&error), "attempt could not be released");
    }
}

/// Pause after an error that has kept the ledger from noting how a job stands. What is neither the disk's
/// nor the machine's hardly passes by itself.
fn pause_after(error: &LedgerError) -> Duration {
    if error.is_environmental() {
        RETRY_PAUSE
    } else {
        MAX_RETRY_PAUSE
    }
}

fn retry_pause(failures: u32) -> Duration {
    let doubled = RETRY_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(MAX_RETRY_PAUSE)
}

fn retry(scheduler: Arc<Scheduler>, queued: Queued, pause: Duration) {
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        scheduler.push(queued);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::JobState;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let seconds = [1, 2, 3, 4, 5, 6, 40].map(|failures| retry_pause(failures).as_secs());
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause_after(&LedgerError::Stopped), RETRY_PAUSE);
        let lasting = LedgerError::WrongState {
            job_id: JobId(1),
            state: JobState::Accepted,
        };
        assert_eq!(pause_after(&lasting), MAX_RETRY_PAUSE);
    }
}
