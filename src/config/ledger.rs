use serde::{Deserialize, Serialize};

use super::Problems;

/// What is kept, and for how long.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSettings {
    /// Finished jobs.
    pub retention_hours: u32,
    /// Failed jobs.
    pub failed_retention_days: u32,
    /// The voice API's history and feedback.
    pub history_retention_days: u32,
    /// Free bytes below which nothing more is taken in; 0 for no such bound.
    pub min_free_bytes: u64,
}

impl LedgerSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        // Repeats of a finished request are answered from the ledger for at least ten minutes.
        problems.within("ledger.retention_hours", self.retention_hours, 1..=8_760);
        problems.within(
            "ledger.failed_retention_days",
            self.failed_retention_days,
            1..=365,
        );
        problems.within(
            "ledger.history_retention_days",
            self.history_retention_days,
            1..=3650,
        );
    }
}
