//! What is counted and logged of every job that has ended.

use crate::domain::timestamp::now_unix_ms;
use crate::error::Reason;
use crate::ledger::Finish;
use crate::observe::metrics::{JOB_DURATION, JOBS_FINISHED, JOBS_QUARANTINED};

/// Counts the end of a job; called once, by whoever has stored it.
pub fn count_end(kind: &str, received_at_ms: i64, finish: Finish) {
    let outcome = match finish {
        Finish::Done => "done",
        Finish::Failed(reason) if reason == Reason::Cancelled.as_str() => "cancelled",
        Finish::Failed(_) => "failed",
        Finish::Quarantined(cause) => {
            metrics::counter!(JOBS_QUARANTINED, "cause" => cause).increment(1);
            "quarantined"
        }
    };
    let seconds = now_unix_ms().saturating_sub(received_at_ms).max(0) as f64 / 1000.0;
    metrics::counter!(JOBS_FINISHED, "kind" => kind.to_owned(), "outcome" => outcome).increment(1);
    metrics::histogram!(JOB_DURATION, "kind" => kind.to_owned()).record(seconds);
    tracing::info!(
        job.kind = kind,
        outcome,
        duration_ms = (seconds * 1000.0) as u64,
        "job ended"
    );
}
