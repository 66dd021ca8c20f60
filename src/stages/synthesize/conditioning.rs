//! Reference audio to what XTTS needs to speak like it.

use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;

use super::SynthesizeError;
use super::metadata::XttsMetadata;
use crate::domain::voice::Conditioning;
use crate::domain::{Deadline, Pcm};
use crate::onnx::Onnx;
use crate::stages::decode::resample_sinc;
use crate::stages::{Engine, Ticket};

/// Recordings of one speaker.
pub struct ConditioningRequest {
    /// Speech at the model's input rate (22 050 Hz); the more important first.
    pub references: Vec<Pcm>,
    /// When nobody waits any more.
    pub deadline: Deadline,
}

/// The two audio encoders of XTTS: one conditions the GPT, one the vocoder.
pub struct ConditioningEngine {
    conditioning: Session,
    speaker_encoder: Session,
    metadata: XttsMetadata,
    pending: Option<(Ticket, ConditioningRequest)>,
}

impl ConditioningEngine {
    /// Loads `conditioning.onnx` and `speaker_encoder.onnx` from the model's directory.
    ///
    /// # Errors
    /// A file is missing or damaged, or the device cannot be used.
    pub fn load(onnx: &Onnx, directory: &Path, threads: usize) -> Result<Self, SynthesizeError> {
        let metadata = XttsMetadata::read(directory)?;
        let session = |file: &str| {
            onnx.session(&directory.join(file), threads)
                .map_err(SynthesizeError::Load)
        };
        Ok(Self {
            conditioning: session("conditioning.onnx")?,
            speaker_encoder: session("speaker_encoder.onnx")?,
            metadata,
            pending: None,
        })
    }

    /// Sample rate of the references that [`ConditioningRequest`] takes.
    pub fn input_sample_rate_hz(&self) -> u32 {
        self.metadata.input_sample_rate_hz
    }

    fn condition(
        &mut self,
        request: &ConditioningRequest,
    ) -> Result<Conditioning, SynthesizeError> {
        let references = self.usable_references(&request.references)?;
        let mut speaker = Mean::default();
        for reference in &references {
            request.deadline.check()?;
            speaker.add(&self.embed_speaker(reference)?);
        }
        let mut latents = Mean::default();
        for piece in self.conditioning_pieces(&references) {
            request.deadline.check()?;
            latents.add(&self.condition_piece(&piece)?);
        }
        let conditioning = Conditioning {
            latents: latents.values.into(),
            speaker_embedding: speaker.values.into(),
        };
        let values = conditioning
            .latents
            .iter()
            .chain(conditioning.speaker_embedding.iter());
        if conditioning.latents.is_empty() || values.into_iter().any(|value| !value.is_finite()) {
            return Err(SynthesizeError::BadOutput(
                "the conditioning is empty or not finite",
            ));
        }
        super::gpt::check_conditioning(&self.metadata, &conditioning)?;
        Ok(conditioning)
    }

    /// The head of each reference, within −1..1; those too short for the encoders are left out.
    fn usable_references(&self, references: &[Pcm]) -> Result<Vec<Vec<f32>>, SynthesizeError> {
        let rate = self.metadata.input_sample_rate_hz;
        if let Some(other) = references.iter().find(|pcm| pcm.sample_rate_hz() != rate) {
            return Err(SynthesizeError::SampleRate {
                expected_hz: rate,
                actual_hz: other.sample_rate_hz(),
            });
        }
        let longest = self.samples_of(self.metadata.max_ref_len_s);
        let shortest = self.shortest_piece();
        let usable: Vec<Vec<f32>> = references
            .iter()
            .map(Pcm::samples)
            .filter(|samples| samples.len() >= shortest)
            .map(|samples| {
                let head = &samples[..samples.len().min(longest)];
                let clipped = head.iter().map(|x| {
                    if x.is_finite() {
                        x.clamp(-1.0, 1.0)
                    } else {
                        0.0
                    }
                });
                clipped.collect()
            })
            .collect();
        if usable.is_empty() {
            let duration_ms = references.iter().map(Pcm::duration_ms).sum();
            return Err(SynthesizeError::ReferenceTooShort { duration_ms });
        }
        Ok(usable)
    }

    /// The first gpt_cond_len seconds of all references together, in pieces of the chunk length.
    fn conditioning_pieces(&self, references: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let whole = self.samples_of(self.metadata.gpt_cond_len_s);
        let piece = self.samples_of(self.metadata.gpt_cond_chunk_len_s).max(1);
        let joined: Vec<f32> = references.iter().flatten().copied().take(whole).collect();
        joined
            .chunks(piece)
            .filter(|piece| piece.len() >= self.shortest_piece())
            .map(<[f32]>::to_vec)
            .collect()
    }

    fn shortest_piece(&self) -> usize {
        self.samples_of(self.metadata.min_cond_chunk_s).max(1)
    }

    fn samples_of(&self, seconds: f64) -> usize {
        (seconds * f64::from(self.metadata.input_sample_rate_hz)) as usize
    }

    fn embed_speaker(&mut self, reference: &[f32]) -> Result<Vec<f32>, SynthesizeError> {
        let reference = Pcm::new(reference, self.metadata.input_sample_rate_hz);
        // The filter that the encoder was trained behind.
        let audio = resample_sinc(&reference, self.metadata.speaker_sample_rate_hz);
        run(
            &mut self.speaker_encoder,
            "audio_16k",
            "speaker_embedding",
            audio.samples(),
        )
    }

    fn condition_piece(&mut self, piece: &[f32]) -> Result<Vec<f32>, SynthesizeError> {
        run(&mut self.conditioning, "audio_22k", "cond_latents", piece)
    }
}

/// Runs a graph from audio [1, samples] to one tensor.
fn run(
    session: &mut Session,
    input: &str,
    output: &str,
    audio: &[f32],
) -> Result<Vec<f32>, SynthesizeError> {
    let audio = TensorRef::from_array_view(([1, audio.len()], audio))?;
    let outputs = session.run(ort::inputs![input => audio])?;
    let values = outputs.get(output).ok_or(SynthesizeError::BadOutput(
        "an audio encoder lacks its output",
    ))?;
    Ok(values.try_extract_tensor::<f32>()?.1.to_vec())
}

/// Running arithmetic mean of vectors.
#[derive(Default)]
struct Mean {
    values: Vec<f32>,
    count: usize,
}

impl Mean {
    fn add(&mut self, vector: &[f32]) {
        self.values.resize(vector.len(), 0.0);
        self.count += 1;
        for (mean, value) in self.values.iter_mut().zip(vector) {
            *mean += (value - *mean) / self.count as f32;
        }
    }
}

impl Engine for ConditioningEngine {
    type Request = ConditioningRequest;
    type Output = Conditioning;
    type Error = SynthesizeError;

    fn vacancies(&self) -> usize {
        usize::from(self.pending.is_none())
    }

    fn join(&mut self, ticket: Ticket, request: ConditioningRequest) {
        self.pending = Some((ticket, request));
    }

    fn is_idle(&self) -> bool {
        self.pending.is_none()
    }

    fn step(&mut self) -> Vec<(Ticket, Result<Conditioning, SynthesizeError>)> {
        let Some((ticket, request)) = self.pending.take() else {
            return Vec::new();
        };
        vec![(ticket, self.condition(&request))]
    }
}

#[cfg(test)]
mod tests;
