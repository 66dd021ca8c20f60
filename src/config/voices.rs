use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Problems;

/// What is learnt about speakers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VoiceSettings {
    /// Where voices are stored; see [`Settings::voices_dir`](super::Settings::voices_dir).
    pub path: Option<PathBuf>,
    /// Where it is written who had whose voice made; see
    /// [`Settings::clone_log`](super::Settings::clone_log).
    pub clone_log: Option<PathBuf>,
    /// An older voice is improved, or made anew.
    pub max_age_days: u32,
    /// A shorter recording makes a voice together with earlier ones only.
    pub min_duration_ms: u64,
}

impl VoiceSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("voices.max_age_days", self.max_age_days, 1..=36_500);
        problems.within("voices.min_duration_ms", self.min_duration_ms, 0..=600_000);
    }
}
