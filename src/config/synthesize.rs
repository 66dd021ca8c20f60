use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Problems;

/// Bit rates that MP3 knows at 22 to 24 kHz, in kbit/s.
const MP3_BITRATES_KBPS: [u32; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// Text to speech.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SynthesizeSettings {
    /// `None`: chosen from the number of cores.
    pub threads: Option<NonZeroUsize>,
    /// Sentences that are spoken together.
    pub slots: usize,
    /// For the speech of one language.
    pub timeout_secs: u64,
    /// When base voices speak.
    pub base_voice: BaseVoiceChoice,
    /// espeak-ng: a path, or a name to look for as a shell does.
    pub espeak_program: PathBuf,
    /// Whether what base voices say is given the sender's voice, where OpenVoice's converter is installed.
    pub convert_base_voice: bool,
    /// Share of noise in that, 0..1.
    pub conversion_tau: f32,
    /// What becomes of languages without a voice.
    pub unsupported: Unsupported,
    /// Languages of one job that get speech.
    pub max_eager_languages: usize,
    /// What files are made.
    pub format: SpeechFormat,
    /// Of those files.
    pub bitrate_kbps: u32,
}

/// When base voices speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseVoiceChoice {
    /// Where XTTS does not: languages that it does not speak, and all where none is installed.
    Auto,
    /// Whatever they can. Without espeak-ng the daemon does not start.
    Always,
    /// Never.
    Off,
}

/// What becomes of languages without a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// No speech: the text is translated all the same.
    Skip,
    /// Spoken by English rules.
    English,
    /// Spoken by the rules of a related language, where one has a voice.
    Related,
}

/// A container and codec for speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeechFormat {
    /// MPEG-2 layer III.
    Mp3,
}

impl SynthesizeSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("synthesize.slots", self.slots, 1..=256);
        problems.within("synthesize.timeout_secs", self.timeout_secs, 1..=3_600);
        problems.require(
            !self.espeak_program.as_os_str().is_empty(),
            "synthesize.espeak_program",
            "is empty; to do without it set base_voice = \"off\"",
        );
        problems.within("synthesize.conversion_tau", self.conversion_tau, 0.0..=1.0);
        problems.within(
            "synthesize.max_eager_languages",
            self.max_eager_languages,
            1..=200,
        );
        problems.require(
            MP3_BITRATES_KBPS.contains(&self.bitrate_kbps),
            "synthesize.bitrate_kbps",
            format!("must be one of {MP3_BITRATES_KBPS:?}"),
        );
    }
}
