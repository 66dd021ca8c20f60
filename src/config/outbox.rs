use serde::{Deserialize, Serialize};

use super::Problems;

/// How events are published.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxSettings {
    /// Times after its first publication at which an event is published again.
    pub republish_secs: Vec<u64>,
}

impl OutboxSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        // After the window for new subscribers nothing is published again.
        let is_in_window = self.republish_secs.iter().all(|at| (1..900).contains(at));
        problems.require(
            is_in_window && self.republish_secs.is_sorted_by(|a, b| a < b),
            "outbox.republish_secs",
            "must grow, from 1 to 899",
        );
    }
}
