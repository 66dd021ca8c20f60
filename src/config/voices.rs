use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Problems;

/// What is learnt about speakers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VoiceSettings {
    /// Where voices are stored; see [`Settings::voices_dir`](super::Settings::voices_dir).
    pub path: Option<PathBuf>,
    /// An older voice is improved.
    pub max_age_days: u32,
    /// Until so much of a speaker was heard, every recording improves the voice.
    pub min_duration_ms: u64,
}

impl VoiceSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("voices.max_age_days", self.max_age_days, 1..=36_500);
        problems.within("voices.min_duration_ms", self.min_duration_ms, 0..=600_000);
    }
}
