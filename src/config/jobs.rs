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
    /// Bytes of the requests that wait, in each lane.
    pub max_queued_bytes: u64,
    /// Share of the places and bytes for recordings that one sender may take, in percent.
    pub max_sender_percent: u8,
    /// Memory that recordings in work may be expected to take, in bytes.
    pub max_running_bytes: u64,
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

/// Below it a bound in bytes would be one of a single job: 1 MiB.
const MIN_BYTES: u64 = 1 << 20;
/// 1 PiB.
const MAX_BYTES: u64 = 1 << 50;

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
            "jobs.max_queued_bytes",
            self.max_queued_bytes,
            MIN_BYTES..=MAX_BYTES,
        );
        problems.within("jobs.max_sender_percent", self.max_sender_percent, 1..=100);
        problems.within(
            "jobs.max_running_bytes",
            self.max_running_bytes,
            MIN_BYTES..=MAX_BYTES,
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
