//! Piper voices: VITS on ONNX Runtime, phonemes in, samples out.
//!
//! A voice is two files: `<name>.onnx`, which takes `input` i64 [1, ids], `input_lengths` i64 `[1]`,
//! `scales` f32 `[3]` (noise of the sound, length of the phonemes, noise of the lengths) and, where it has
//! several speakers, `sid` i64 `[1]`, and gives samples f32 [1, 1, …, samples]; and `<name>.onnx.json` with
//! sample rate, ids of phonemes and defaults.
//!
//! The graph draws its noise itself, and ONNX Runtime lets nobody choose the seed: one text sounds a
//! little different each time, as the voice was trained to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::Tensor;
use serde::Deserialize;

use super::BaseVoiceError;
use crate::domain::{Language, Pcm};
use crate::onnx::Onnx;

/// Longest description that is read; real ones have 5 to 10 KB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Rates that a voice may have.
const SAMPLE_RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// A Piper voice that is installed; its graph is loaded when it is needed.
#[derive(Debug, Clone)]
pub struct PiperVoice {
    name: String,
    language: Language,
    graph: PathBuf,
    config: Config,
}

#[derive(Debug, Clone, Deserialize)]
struct Config {
    audio: Audio,
    espeak: Phonemizer,
    #[serde(default)]
    inference: Scales,
    #[serde(default)]
    phoneme_type: Option<String>,
    phoneme_id_map: HashMap<char, Vec<i64>>,
    #[serde(default)]
    language: Option<ConfigLanguage>,
}

#[derive(Debug, Clone, Deserialize)]
struct Audio {
    sample_rate: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct Phonemizer {
    voice: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ConfigLanguage {
    code: String,
}

/// What the model is told of the manner. The defaults are Piper's own.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Scales {
    /// Of the sound.
    pub(super) noise_scale: f32,
    /// Larger is slower.
    pub(super) length_scale: f32,
    /// Of the lengths.
    pub(super) noise_w: f32,
}

impl Default for Scales {
    fn default() -> Self {
        Self {
            noise_scale: 0.667,
            length_scale: 1.0,
            noise_w: 0.8,
        }
    }
}

impl PiperVoice {
    /// Reads the description beside a graph; loads no graph.
    ///
    /// # Errors
    /// There is none, or it is of a kind of voice that is not read.
    pub fn read(graph: &Path) -> Result<Self, BaseVoiceError> {
        let path = graph.with_added_extension("json");
        let config = read_config(&path)?;
        let unusable = |what| BaseVoiceError::Unusable {
            path: path.clone(),
            what,
        };
        // Voices of the first years do not say it.
        if !matches!(config.phoneme_type.as_deref(), None | Some("espeak")) {
            return Err(unusable("its phonemes are not those of espeak-ng"));
        }
        let has = |symbol| config.phoneme_id_map.contains_key(&symbol);
        if !['^', '_', '$'].into_iter().all(has) {
            return Err(unusable("it lacks the ids of ^, _ or $"));
        }
        if !SAMPLE_RATES_HZ.contains(&config.audio.sample_rate) {
            return Err(unusable("its sample rate is not from 8000 to 48000 Hz"));
        }
        let scales = config.inference;
        let is_sane = |value: f32, most| (0.0..=most).contains(&value);
        if !(0.1..=10.0).contains(&scales.length_scale)
            || !is_sane(scales.noise_scale, 10.0)
            || !is_sane(scales.noise_w, 10.0)
        {
            return Err(unusable("its scales are out of range"));
        }
        let code = config.language.as_ref().map(|language| &language.code);
        let language = code
            .and_then(|code| Language::parse(code))
            .or_else(|| Language::parse(&config.espeak.voice))
            .ok_or_else(|| unusable("it does not say its language"))?;
        let name = graph.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            language,
            graph: graph.to_owned(),
            config,
        })
    }

    /// Name of the voice: that of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The language that it speaks.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The voice of espeak-ng whose phonemes it reads.
    pub fn espeak_voice(&self) -> &str {
        &self.config.espeak.voice
    }

    /// The ids of phonemes.
    pub(super) fn ids(&self) -> &HashMap<char, Vec<i64>> {
        &self.config.phoneme_id_map
    }

    /// Rate of what it says.
    pub(super) fn sample_rate_hz(&self) -> u32 {
        self.config.audio.sample_rate
    }

    /// How it is to speak.
    pub(super) fn scales(&self) -> Scales {
        self.config.inference
    }

    /// Loads the graph.
    ///
    /// # Errors
    /// The file is missing, or no graph of a Piper voice.
    pub(super) fn load(&self, onnx: &Onnx, threads: usize) -> Result<PiperModel, BaseVoiceError> {
        let session = onnx
            .session(&self.graph, threads)
            .map_err(BaseVoiceError::Load)?;
        let has = |name: &str| session.inputs().iter().any(|input| input.name() == name);
        for (name, what) in [
            ("input", "it has no input `input`"),
            ("input_lengths", "it has no input `input_lengths`"),
            ("scales", "it has no input `scales`"),
        ] {
            if !has(name) {
                return Err(BaseVoiceError::Signature {
                    kind: "Piper voice",
                    what,
                });
            }
        }
        Ok(PiperModel {
            has_speakers: has("sid"),
            sample_rate_hz: self.config.audio.sample_rate,
            session,
        })
    }
}

fn read_config(path: &Path) -> Result<Config, BaseVoiceError> {
    let unreadable = |source| BaseVoiceError::Read {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_CONFIG_BYTES {
        return Err(BaseVoiceError::Unusable {
            path: path.to_owned(),
            what: "it is too long",
        });
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    serde_json::from_slice(&bytes).map_err(|source| BaseVoiceError::Config {
        path: path.to_owned(),
        source,
    })
}

/// The graph of a voice.
pub(super) struct PiperModel {
    session: Session,
    has_speakers: bool,
    sample_rate_hz: u32,
}

impl PiperModel {
    /// Speaks an utterance; of several speakers the first.
    ///
    /// # Errors
    /// The model fails, or gives what is no sound.
    pub(super) fn speak(&mut self, ids: &[i64], scales: Scales) -> Result<Pcm, BaseVoiceError> {
        let length = ids.len() as i64;
        let mut inputs = ort::inputs![
            "input" => Tensor::from_array(([1, ids.len()], ids.to_vec()))?,
            "input_lengths" => Tensor::from_array(([1], vec![length]))?,
            "scales" => Tensor::from_array((
                [3],
                vec![scales.noise_scale, scales.length_scale, scales.noise_w],
            ))?,
        ];
        if self.has_speakers {
            let first = Tensor::from_array(([1], vec![0_i64]))?;
            inputs.push(("sid".into(), first.into()));
        }
        let outputs = self.session.run(inputs)?;
        let output = outputs
            .values()
            .next()
            .ok_or(BaseVoiceError::BadOutput("there is none"))?;
        let (_, samples) = output.try_extract_tensor::<f32>()?;
        if samples.is_empty() || samples.iter().any(|sample| !sample.is_finite()) {
            return Err(BaseVoiceError::BadOutput("its samples are not finite"));
        }
        let samples: Vec<f32> = samples.iter().map(|s| s.clamp(-1.0, 1.0)).collect();
        Ok(Pcm::new(samples, self.sample_rate_hz))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing::{assert_close, fixture, goldens, numbers, onnx};

    #[test]
    fn speech_is_that_of_the_reference() {
        let voice = "piper/it_IT-fixture-x_low/it_IT-fixture-x_low.onnx";
        let voice = PiperVoice::read(&fixture(voice)).unwrap();
        let mut model = voice.load(&onnx(), 1).unwrap();
        let goldens = goldens("base_voices.json");
        let cases = goldens["piper"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let ids: Vec<i64> = serde_json::from_value(case["ids"].clone()).unwrap();
            let scales = Scales {
                noise_scale: 0.0,
                length_scale: case["length_scale"].as_f64().unwrap() as f32,
                noise_w: 0.0,
            };
            let pcm = model.speak(&ids, scales).unwrap();
            let samples = pcm.samples();
            assert_eq!(pcm.sample_rate_hz(), 16_000);
            assert_eq!(samples.len() as u64, case["samples"].as_u64().unwrap());
            assert_close(&samples[..12], &numbers(&case["start"]), 1e-4, "start");
            let end = &samples[samples.len() - 12..];
            assert_close(end, &numbers(&case["end"]), 1e-4, "end");
        }
    }

    #[test]
    fn another_graph_is_no_voice() {
        let folder = tempfile::tempdir().unwrap();
        let graph = folder.path().join("voice.onnx");
        let config = "piper/it_IT-fixture-x_low/it_IT-fixture-x_low.onnx.json";
        std::fs::copy(fixture("vad/silero_vad.onnx"), &graph).unwrap();
        std::fs::copy(fixture(config), graph.with_added_extension("json")).unwrap();
        let loaded = PiperVoice::read(&graph).unwrap().load(&onnx(), 1);
        let error = loaded.err().unwrap();
        assert!(matches!(error, BaseVoiceError::Signature { .. }), "{error}");
    }
}
