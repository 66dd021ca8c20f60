//! The file that says what is measured.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::commands::CommandError;
use crate::commands::request::{self, MobileText, Outgoing, Recording};
use crate::domain::Language;

/// What is measured when no file is named.
const DEFAULT: &str = include_str!("../../../benches/workloads.toml");

/// Longest recording that is made up.
const MAX_SOUND_SECS: f64 = 3600.0;

/// A file of workloads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workloads {
    /// Measured messages of each workload that does not say it itself.
    messages: NonZeroUsize,
    /// Threads inside an operator, for all engines; `None` leaves them to the settings.
    pub(super) threads: Option<NonZeroUsize>,
    #[serde(rename = "workload")]
    pub(super) workloads: Vec<Workload>,
}

/// Messages of one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) name: String,
    /// The recording of a voice message.
    audio: Option<PathBuf>,
    /// In its place: the length of a recording that is made up.
    sound_secs: Option<f64>,
    /// The text of a text message, or what the sender's device heard in the recording.
    text: Option<String>,
    /// Its language.
    from: Option<Language>,
    pub(super) to: Vec<Language>,
    messages: Option<NonZeroUsize>,
    #[serde(default = "one")]
    concurrency: NonZeroUsize,
    /// Each message is of another sender.
    #[serde(default)]
    new_voices: bool,
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// What every message of a workload carries.
pub(super) enum Content {
    Voice(Recording),
    Text,
}

impl Workloads {
    /// Reads the file, or the one that is part of the program.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, CommandError> {
        let text = match path {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|source| CommandError::path(path, source))?
            }
            None => DEFAULT.to_owned(),
        };
        let name = path.map_or_else(|| "the built-in file".into(), Path::to_string_lossy);
        let workloads: Self = toml::from_str(&text)
            .map_err(|error| CommandError::Workload(name.to_string(), error.to_string()))?;
        let problem = match workloads.workloads.as_slice() {
            [] => Some("there is no [[workload]] in it".to_owned()),
            some => some.iter().find_map(Workload::problem),
        };
        match problem {
            Some(problem) => Err(CommandError::Workload(name.to_string(), problem)),
            None => Ok(workloads),
        }
    }

    /// Measured messages of one of the workloads.
    pub(super) fn messages(&self, workload: &Workload) -> usize {
        workload.messages.unwrap_or(self.messages).get()
    }
}

impl Workload {
    /// What contradicts itself, if anything.
    fn problem(&self) -> Option<String> {
        let problem = if self.to.is_empty() {
            "`to` names no language"
        } else if self.audio.is_some() && self.sound_secs.is_some() {
            "it has `audio` and `sound_secs`"
        } else if self.audio.is_none() && self.sound_secs.is_none() && self.text.is_none() {
            "it has neither `audio` nor `sound_secs` nor `text`"
        } else if self.from.is_some() && self.text.is_none() {
            "`from` is the language of `text`, which is missing"
        } else if self
            .sound_secs
            .is_some_and(|seconds| !(0.1..=MAX_SOUND_SECS).contains(&seconds))
        {
            "`sound_secs` must be 0.1 to 3600"
        } else {
            return None;
        };
        Some(format!("{}: {problem}", self.name))
    }

    /// Messages that are in work at once.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency.get()
    }

    pub(super) fn content(&self, max_bytes: u64) -> Result<Content, CommandError> {
        Ok(match (&self.audio, self.sound_secs) {
            (Some(path), _) => Content::Voice(Recording::read(path, max_bytes)?),
            (None, Some(seconds)) => Content::Voice(Recording::of_wav(sound(seconds))),
            (None, None) => Content::Text,
        })
    }

    /// The message with this number.
    pub(super) fn message(&self, content: &Content, number: usize) -> Outgoing {
        let text = self.text.as_deref();
        match content {
            Content::Text => request::translation(text.unwrap_or_default(), self.from, &self.to),
            Content::Voice(recording) => {
                let mobile = text.map(|text| MobileText {
                    text,
                    language: self.from,
                });
                let user = match self.new_voices {
                    true => format!("bench-{}-{number}", self.name),
                    false => "bench".to_owned(),
                };
                request::audio_process(recording, &self.to, mobile, &user, true)
            }
        }
    }
}

/// Sample rate of recordings that are made up.
const SOUND_RATE_HZ: u32 = 16_000;

/// A WAV file of something like a voice: harmonics of a fundamental that moves, in syllables.
fn sound(seconds: f64) -> Vec<u8> {
    let samples = (seconds * f64::from(SOUND_RATE_HZ)) as usize;
    let mut phase = 0.0_f64;
    let pcm: Vec<u8> = (0..samples)
        .map(|index| {
            let time = index as f64 / f64::from(SOUND_RATE_HZ);
            let pitch_hz = 140.0 + 25.0 * (1.9 * time).sin();
            phase += pitch_hz / f64::from(SOUND_RATE_HZ) * std::f64::consts::TAU;
            let syllable = (4.0 * std::f64::consts::PI * time).sin().powi(2);
            let voice: f64 = (1..=20)
                .map(|harmonic| (f64::from(harmonic) * phase).sin() / f64::from(harmonic))
                .sum();
            ((voice * syllable * 0.25).clamp(-1.0, 1.0) * 32_767.0) as i16
        })
        .flat_map(i16::to_le_bytes)
        .collect();
    wav(&pcm)
}

/// Puts a header before 16-bit mono samples.
fn wav(pcm: &[u8]) -> Vec<u8> {
    let length = pcm.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    file.extend([1, 0, 1, 0]);
    file.extend(SOUND_RATE_HZ.to_le_bytes());
    file.extend((SOUND_RATE_HZ * 2).to_le_bytes());
    // Bytes of a frame, bits of a sample.
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(pcm);
    file
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::domain::Deadline;
    use crate::stages::decode::{DecodeLimits, decode};

    fn read(text: &str) -> Result<Workloads, CommandError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Workloads::read(Some(file.path()))
    }

    #[test]
    fn the_built_in_file_is_valid() {
        let workloads = Workloads::read(None).unwrap();
        assert!(workloads.workloads.len() >= 4);
        for workload in &workloads.workloads {
            assert!(workloads.messages(workload) >= workload.concurrency());
        }
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        for (workload, problem) in [
            ("to = []\ntext = \"a\"", "names no language"),
            ("to = [\"fr\"]", "neither"),
            (
                "to = [\"fr\"]\naudio = \"a\"\nsound_secs = 1",
                "`audio` and",
            ),
            ("to = [\"fr\"]\nsound_secs = 0", "0.1 to 3600"),
            ("to = [\"fr\"]\nsound_secs = nan", "0.1 to 3600"),
            ("to = [\"fr\"]\nsound_secs = 1\nfrom = \"en\"", "`text`"),
            ("to = [\"fr\"]\ntext = \"a\"\nspeed = 1", "speed"),
            ("to = [\"klingon\"]\ntext = \"a\"", "klingon"),
            (
                "to = [\"fr\"]\ntext = \"a\"\nconcurrency = 0",
                "concurrency",
            ),
        ] {
            let file = format!("messages = 1\n[[workload]]\nname = \"it\"\n{workload}\n");
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(read("messages = 1\nworkload = []").is_err());
    }

    #[test]
    fn a_sound_has_its_length_and_can_be_decoded() {
        let sound = decode(&sound(1.5), &DecodeLimits::default(), &Deadline::none()).unwrap();
        assert_eq!(sound.pcm.duration_ms(), 1500);
        assert!(sound.pcm.samples().iter().any(|sample| sample.abs() > 0.1));
    }
}
