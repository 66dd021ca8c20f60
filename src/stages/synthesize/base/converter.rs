//! The tone colour converter of OpenVoice V2: what one voice says, in another voice.
//!
//! The graph takes `audio` f32 [1, samples] at 22,050 Hz, `src_se` and `tgt_se` f32 [1, dim, 1], `noise` f32
//! [1, channels, ⌊samples / hop⌋] and `tau` f32 `[1]`, and gives `wav` f32 [1, hop · frames]; the embeddings
//! are those of the extractor beside it.

use std::collections::HashMap;
use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::Deserialize;

use super::BaseVoiceError;
use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Deadline, Pcm};
use crate::onnx::Onnx;
use crate::stages::embed::{EmbedRequest, OpenVoiceEngine, SAMPLE_RATE_HZ};

/// File of the graph in the folder of OpenVoice.
pub const CONVERTER_FILE: &str = "converter.onnx";

/// Samples of one frame in OpenVoice V2.
const DEFAULT_HOP_LENGTH: usize = 256;

/// Least audio that is converted or embedded: shorter audio is repeated, or followed by silence.
const MINIMUM_SAMPLES: usize = 2 * SAMPLE_RATE_HZ as usize;

/// Converts what base voices say.
pub struct ToneConverter {
    session: Session,
    embedder: OpenVoiceEngine,
    hop_length: usize,
    noise_channels: usize,
    tau: f32,
    /// The embedding of each base voice, by its name.
    sources: HashMap<String, SpeakerEmbedding>,
}

#[derive(Deserialize)]
struct Metadata {
    hop_length: usize,
}

impl ToneConverter {
    /// Loads converter and extractor from the folder of OpenVoice. `tau` is the share of noise in what
    /// is converted, 0..1: with more of it less of the base voice stays, and less that is clear.
    ///
    /// # Errors
    /// A file is missing, or another graph.
    pub fn load(
        onnx: &Onnx,
        directory: &Path,
        threads: usize,
        tau: f32,
    ) -> Result<Self, BaseVoiceError> {
        let signature = |what| BaseVoiceError::Signature {
            kind: "tone colour converter",
            what,
        };
        let session = onnx
            .session(&directory.join(CONVERTER_FILE), threads)
            .map_err(BaseVoiceError::Load)?;
        for (name, what) in [
            ("audio", "it has no input `audio`"),
            ("src_se", "it has no input `src_se`"),
            ("tgt_se", "it has no input `tgt_se`"),
            ("tau", "it has no input `tau`"),
        ] {
            if !session.inputs().iter().any(|input| input.name() == name) {
                return Err(signature(what));
            }
        }
        let noise = session
            .inputs()
            .iter()
            .find(|input| input.name() == "noise")
            .and_then(|input| input.dtype().tensor_shape());
        let noise_channels = match noise.map(|shape| &**shape) {
            Some([1, channels, _]) if *channels > 0 => {
                usize::try_from(*channels).unwrap_or_default()
            }
            _ => return Err(signature("its input `noise` is not [1, channels, frames]")),
        };
        let embedder = OpenVoiceEngine::load(onnx, &directory.join("tone_embedding.onnx"), threads);
        Ok(Self {
            session,
            embedder: embedder.map_err(BaseVoiceError::Embed)?,
            hop_length: hop_length(&directory.join("metadata.json"))?,
            noise_channels,
            tau,
            sources: HashMap::new(),
        })
    }

    /// The embedding of the base voice `name`, made from what `say` says the first time.
    pub(super) fn source(
        &mut self,
        name: &str,
        say: impl FnOnce() -> Result<Pcm, BaseVoiceError>,
    ) -> Result<SpeakerEmbedding, BaseVoiceError> {
        if let Some(source) = self.sources.get(name) {
            return Ok(source.clone());
        }
        let embedding = self.embedding(say()?.samples())?;
        self.sources.insert(name.to_owned(), embedding.clone());
        Ok(embedding)
    }

    /// Gives `audio`, which is in the voice `source`, the voice `target`. The same seed gives the same.
    ///
    /// # Errors
    /// The embeddings are another model's, the graph fails, or gives what is no sound.
    pub(super) fn convert(
        &mut self,
        audio: &[f32],
        source: &SpeakerEmbedding,
        target: &SpeakerEmbedding,
        seed: [u8; 32],
    ) -> Result<Vec<f32>, BaseVoiceError> {
        if source.0.len() != target.0.len() {
            return Err(BaseVoiceError::BadOutput(
                "the sender's embedding is another model's",
            ));
        }
        // The window of the first frames reaches beyond short audio.
        let mut padded = audio.to_vec();
        padded.resize(audio.len().max(MINIMUM_SAMPLES), 0.0);
        let frames = padded.len() / self.hop_length;
        let noise = normal(seed, self.noise_channels * frames);
        let mut samples = self.run(&padded, source, target, &noise)?;
        samples.truncate(audio.len());
        if samples.is_empty() || samples.iter().any(|sample| !sample.is_finite()) {
            return Err(BaseVoiceError::BadOutput(
                "what was converted is not finite",
            ));
        }
        samples.iter_mut().for_each(|s| *s = s.clamp(-1.0, 1.0));
        Ok(samples)
    }

    /// Runs the graph; `noise` is [channels, frames].
    fn run(
        &mut self,
        audio: &[f32],
        source: &SpeakerEmbedding,
        target: &SpeakerEmbedding,
        noise: &[f32],
    ) -> Result<Vec<f32>, BaseVoiceError> {
        let embedding = [1, source.0.len(), 1];
        let frames = noise.len() / self.noise_channels;
        let outputs = self.session.run(ort::inputs![
            "audio" => TensorRef::from_array_view(([1, audio.len()], audio))?,
            "src_se" => TensorRef::from_array_view((embedding, &source.0[..]))?,
            "tgt_se" => TensorRef::from_array_view((embedding, &target.0[..]))?,
            "noise" => TensorRef::from_array_view(([1, self.noise_channels, frames], noise))?,
            "tau" => TensorRef::from_array_view(([1], &[self.tau][..]))?,
        ])?;
        let wav = outputs
            .get("wav")
            .ok_or(BaseVoiceError::BadOutput("the converter gave none"))?;
        Ok(wav.try_extract_tensor::<f32>()?.1.to_vec())
    }

    /// How alike the voice in `audio` and `target` are, in 0..1.
    ///
    /// # Errors
    /// The extractor fails.
    pub(super) fn similarity(
        &mut self,
        audio: &[f32],
        target: &SpeakerEmbedding,
    ) -> Result<f32, BaseVoiceError> {
        let embedding = self.embedding(audio)?;
        Ok(embedding.cosine_similarity(target).clamp(0.0, 1.0))
    }

    /// A word is too short to tell a voice by, so it is heard again and again.
    fn embedding(&mut self, audio: &[f32]) -> Result<SpeakerEmbedding, BaseVoiceError> {
        let length = audio.len().max(MINIMUM_SAMPLES);
        let repeated: Vec<f32> = audio.iter().copied().cycle().take(length).collect();
        let request = EmbedRequest {
            pcm: Pcm::new(repeated, SAMPLE_RATE_HZ),
            deadline: Deadline::none(),
        };
        self.embedder.embed(&request).map_err(BaseVoiceError::Embed)
    }
}

/// Samples of a frame, as the description beside the graphs says, where there is one.
fn hop_length(path: &Path) -> Result<usize, BaseVoiceError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(DEFAULT_HOP_LENGTH);
        }
        Err(source) => {
            return Err(BaseVoiceError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let metadata: Metadata =
        serde_json::from_slice(&bytes).map_err(|source| BaseVoiceError::Config {
            path: path.to_owned(),
            source,
        })?;
    match metadata.hop_length {
        hop_length @ 1..=4096 => Ok(hop_length),
        _ => Err(BaseVoiceError::Unusable {
            path: path.to_owned(),
            what: "its hop length is not from 1 to 4096",
        }),
    }
}

/// Standard normal values, in pairs from uniform ones (Box and Muller, 1958).
fn normal(seed: [u8; 32], count: usize) -> Vec<f32> {
    let mut generator = ChaCha8Rng::from_seed(seed);
    // In (0, 1]: the logarithm of 0 is no number.
    let mut uniform = || (f64::from(generator.next_u32()) + 1.0) / 4_294_967_296.0;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * uniform()).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing::{assert_close, fixture, golden_signal, goldens, numbers, onnx};

    #[test]
    fn conversions_are_those_of_the_reference() {
        let golden = &goldens("base_voices.json")["converter"];
        let number = |key: &str| golden[key].as_u64().unwrap() as u32;
        let tau = golden["tau"].as_f64().unwrap() as f32;
        let mut converter = ToneConverter::load(&onnx(), &fixture("openvoice"), 1, tau).unwrap();
        let ramp = |count: usize, step: f64| -> Vec<f32> {
            (0..count).map(|n| (step * n as f64).sin() as f32).collect()
        };
        let embedding = |step| SpeakerEmbedding(ramp(32, step).into());
        let audio = golden_signal(number("count") as usize, number("rate_hz"), number("seed"));
        let frames = audio.len() / converter.hop_length;
        let noise = ramp(converter.noise_channels * frames, 1.1);
        let wav = converter
            .run(&audio, &embedding(0.7), &embedding(0.3), &noise)
            .unwrap();
        assert_eq!(wav.len(), number("samples") as usize);
        assert_close(&wav[..12], &numbers(&golden["start"]), 1e-4, "start");
        assert_close(
            &wav[wav.len() - 12..],
            &numbers(&golden["end"]),
            1e-4,
            "end",
        );
    }

    #[test]
    fn another_graph_is_no_converter() {
        let folder = tempfile::tempdir().unwrap();
        let graph = fixture("openvoice/tone_embedding.onnx");
        std::fs::copy(&graph, folder.path().join(CONVERTER_FILE)).unwrap();
        let loaded = ToneConverter::load(&onnx(), folder.path(), 1, 0.3);
        let error = loaded.err().unwrap();
        assert!(matches!(error, BaseVoiceError::Signature { .. }), "{error}");
    }

    #[test]
    fn noise_is_normal_and_the_same_for_a_seed() {
        let values = normal([7; 32], 100_001);
        assert_eq!(values.len(), 100_001);
        assert_eq!(values, normal([7; 32], 100_001));
        assert_ne!(values[..9], normal([8; 32], 9)[..]);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 100_000.0;
        // Five standard errors of each: 1 / √n and √(2 / n).
        assert!(mean.abs() < 0.016, "{mean}");
        assert!((variance - 1.0).abs() < 0.023, "{variance}");
    }
}
