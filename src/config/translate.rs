use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::Problems;
use crate::domain::Language;

/// Text to text.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TranslateSettings {
    /// `None`: chosen from the number of cores.
    pub threads: Option<NonZeroUsize>,
    /// Sentences that decode together.
    pub max_batch_rows: usize,
    /// Language pairs in memory.
    pub max_loaded_models: usize,
    /// Longest text.
    pub max_characters: usize,
    /// When the language of a text can't be detected.
    pub default_detect_language: Language,
    /// For one language of one text of ordinary length.
    pub timeout_secs: u64,
    /// Translations remembered; 0 remembers none.
    pub cache_entries: usize,
    /// How long they are remembered.
    pub cache_ttl_secs: u64,
}

impl TranslateSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("translate.max_batch_rows", self.max_batch_rows, 1..=512);
        problems.within(
            "translate.max_loaded_models",
            self.max_loaded_models,
            1..=1_000,
        );
        problems.within(
            "translate.max_characters",
            self.max_characters,
            1..=10_000_000,
        );
        problems.within("translate.timeout_secs", self.timeout_secs, 1..=3_600);
        problems.within(
            "translate.cache_entries",
            self.cache_entries,
            0..=10_000_000,
        );
        problems.within(
            "translate.cache_ttl_secs",
            self.cache_ttl_secs,
            1..=31_536_000,
        );
    }
}
