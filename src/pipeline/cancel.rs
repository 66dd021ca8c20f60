//! Ending a job because nobody wants it any more.

use std::sync::Arc;

use super::job::Job;
use super::{JobFailure, Pipeline, count_end};
use crate::domain::Deadline;
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::{JobId, LedgerError};

impl Pipeline {
    /// Ends a job that has not ended, with its error event; the work on it is stopped afterwards. Whichever end is
    /// stored first is the only one.
    ///
    /// # Errors
    /// There is no such job, it has ended, or the ledger fails.
    pub async fn cancel(self: &Arc<Self>, job_id: JobId) -> Result<(), LedgerError> {
        let record = self.ledger.load(job_id).await?;
        let record = record.ok_or(LedgerError::UnknownJob(job_id))?;
        if record.state.is_finished() {
            return Err(LedgerError::AlreadyFinished(job_id));
        }
        let failure = JobFailure::new(
            Stage::Intake,
            ErrorCode::ProcessingFailed,
            Reason::Cancelled,
            "the job was cancelled",
        );
        let (kind, received_at_ms) = (record.kind.clone(), record.received_at_ms);
        let job = Job::restore(Arc::clone(self), record, false, Deadline::none()).await?;
        self.fail(&Arc::new(job), &failure, failure.finish())
            .await?;
        count_end(&kind, received_at_ms, failure.finish());
        self.running.cancel(job_id);
        Ok(())
    }
}
