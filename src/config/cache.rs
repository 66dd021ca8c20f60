use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Problems;

/// Results that are given out again.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Life of a text, a transcript or a speech.
    pub max_age_secs: u64,
    /// Of each kind.
    pub max_entries: u64,
}

impl CacheSettings {
    /// Life of a result.
    pub fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_secs)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("cache.max_age_secs", self.max_age_secs, 0..=31_536_000);
        problems.within("cache.max_entries", self.max_entries, 0..=10_000_000);
    }
}
