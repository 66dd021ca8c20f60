use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{DeviceChoice, Problems};
use crate::domain::Language;

/// Speech to text.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TranscribeSettings {
    /// What Whisper runs on.
    pub device: DeviceChoice,
    /// Preferred model; `None` takes the best one installed.
    pub model: Option<String>,
    /// `None`: chosen from the number of cores.
    pub threads: Option<NonZeroUsize>,
    /// 1 is greedy.
    pub beam_size: u32,
    /// The encoder hears 30 s for every recording.
    pub full_window: bool,
    /// When nothing tells the language.
    pub default_language: Language,
}

impl TranscribeSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        // whisper.cpp has eight decoders.
        problems.within("transcribe.beam_size", self.beam_size, 1..=8);
    }
}
