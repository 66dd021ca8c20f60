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
    /// For each started 500 characters of one text in one language.
    pub timeout_secs: u64,
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
    }
}
