use serde::{Deserialize, Serialize};

use super::Problems;

/// How much is done at once, and how long it may take.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// Voice messages in work.
    pub max_concurrent_audio: usize,
    /// Voice messages that wait.
    pub max_queued_audio: usize,
    /// Texts in work.
    pub max_concurrent_texts: usize,
    /// Texts that wait.
    pub max_queued_texts: usize,
    /// For one attempt at a job.
    pub deadline_secs: u64,
    /// From SIGTERM to the end.
    pub drain_secs: u64,
    /// For models that are still loading.
    pub model_wait_secs: u64,
}

impl JobSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within(
            "jobs.max_concurrent_audio",
            self.max_concurrent_audio,
            1..=1_000,
        );
        problems.within(
            "jobs.max_queued_audio",
            self.max_queued_audio,
            1..=1_000_000,
        );
        problems.within(
            "jobs.max_concurrent_texts",
            self.max_concurrent_texts,
            1..=1_000,
        );
        problems.within(
            "jobs.max_queued_texts",
            self.max_queued_texts,
            1..=1_000_000,
        );
        problems.within("jobs.deadline_secs", self.deadline_secs, 1..=86_400);
        problems.within("jobs.drain_secs", self.drain_secs, 0..=3_600);
        problems.within("jobs.model_wait_secs", self.model_wait_secs, 0..=3_600);
    }
}
