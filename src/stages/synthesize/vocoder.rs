//! Latents to waveform, in windows that join without a trace.
//!
//! The two linear interpolations between latents and vocoder frames run here, because their phase
//! repeats only every few hundred frames and a graph that is fed parts could not keep it. The rest is
//! a convolutional network: a frame depends on a fixed number of neighbours, so a window with that
//! many real frames on each side gives exactly what the whole would give.

use std::ops::Range;
use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;

use super::SynthesizeError;
use super::metadata::{Ratio, XttsMetadata};
use crate::onnx::{Onnx, OnnxError};

/// Frames that one run emits: 40 latents of XTTS v2, 1.9 s of speech. Longer windows waste less on
/// context, shorter ones hold up the other rows less.
const WINDOW_FRAMES: usize = 174;

/// The vocoder.
pub(super) struct Vocoder {
    session: Session,
    interpolation: Interpolation,
    width: usize,
    frame_samples: usize,
    context_frames: usize,
}

/// One unit on its way through the vocoder.
pub(super) struct Waveform {
    /// [codes, width]
    latents: Vec<f32>,
    /// Frames of the whole unit.
    frames: usize,
    /// Frames that `samples` holds.
    emitted: usize,
    samples: Vec<f32>,
}

impl Vocoder {
    pub(super) fn load(
        onnx: &Onnx,
        path: &Path,
        metadata: &XttsMetadata,
        threads: usize,
    ) -> Result<Self, OnnxError> {
        Ok(Self {
            session: onnx.session(path, threads)?,
            interpolation: Interpolation {
                upsample: metadata.latent_upsample,
                resample: metadata.frame_resample,
            },
            width: metadata.width,
            frame_samples: metadata.frame_samples,
            context_frames: metadata.vocoder_context_frames,
        })
    }

    /// Begins a waveform from `latents` [codes, width].
    pub(super) fn begin(&self, latents: Vec<f32>) -> Waveform {
        let frames = self.interpolation.frames(latents.len() / self.width);
        Waveform {
            latents,
            frames,
            emitted: 0,
            samples: Vec::with_capacity(frames * self.frame_samples),
        }
    }

    /// Adds one window; true when the waveform is whole.
    ///
    /// # Errors
    /// The graph fails, or gives samples that are no numbers.
    pub(super) fn advance(
        &mut self,
        waveform: &mut Waveform,
        speaker_embedding: &[f32],
    ) -> Result<bool, SynthesizeError> {
        let end = waveform.frames.min(waveform.emitted + WINDOW_FRAMES);
        if waveform.emitted < end {
            let window = waveform.emitted..end;
            let samples = self.window(
                &waveform.latents,
                window,
                waveform.frames,
                speaker_embedding,
            )?;
            waveform.samples.extend_from_slice(&samples);
            waveform.emitted = end;
        }
        Ok(waveform.emitted == waveform.frames)
    }

    /// Samples of the frames in `emit`, of a unit of `frames` frames.
    fn window(
        &mut self,
        latents: &[f32],
        emit: Range<usize>,
        frames: usize,
        speaker_embedding: &[f32],
    ) -> Result<Vec<f32>, SynthesizeError> {
        // At the true ends there is no context: the padding there is the real one.
        let run = emit.start.saturating_sub(self.context_frames)
            ..(emit.end + self.context_frames).min(frames);
        let input = self
            .interpolation
            .interpolate(latents, self.width, run.clone());
        let outputs = self.session.run(ort::inputs![
            "frames" => TensorRef::from_array_view(([1, self.width, run.len()], input.as_slice()))?,
            "speaker_embedding" =>
                TensorRef::from_array_view(([1, speaker_embedding.len(), 1], speaker_embedding))?,
        ])?;
        let wav = outputs.get("wav").ok_or(SynthesizeError::BadOutput(
            "the vocoder has no output `wav`",
        ))?;
        let (_, samples) = wav.try_extract_tensor::<f32>()?;
        if samples.len() != run.len() * self.frame_samples {
            return Err(SynthesizeError::BadOutput(
                "the waveform has another length than its frames",
            ));
        }
        let kept = (emit.start - run.start) * self.frame_samples
            ..(emit.end - run.start) * self.frame_samples;
        let samples = &samples[kept];
        if samples.iter().any(|sample| !sample.is_finite()) {
            return Err(SynthesizeError::BadOutput("the waveform is not finite"));
        }
        Ok(samples.to_vec())
    }
}

impl Waveform {
    /// The samples so far.
    pub(super) fn into_samples(self) -> Vec<f32> {
        self.samples
    }
}

/// Two linear interpolations in time, one after the other, with half-pixel centres, clamped at both
/// ends, in double precision.
#[derive(Debug, Clone, Copy)]
struct Interpolation {
    upsample: usize,
    resample: Ratio,
}

impl Interpolation {
    /// Frames for `latents` latents.
    fn frames(self, latents: usize) -> usize {
        self.upsample * latents * self.resample.numerator / self.resample.denominator
    }

    /// The frames in `range` as [width, range], from `latents` [codes, width].
    fn interpolate(self, latents: &[f32], width: usize, range: Range<usize>) -> Vec<f32> {
        let codes = latents.len() / width;
        let steps = self.upsample * codes;
        let resample_step = self.resample.denominator as f64 / self.resample.numerator as f64;
        let columns = range.len();
        let mut frames = vec![0.0; width * columns];
        for (column, frame) in range.enumerate() {
            let (first, second, fraction) = neighbours(frame, resample_step, steps);
            let weighted = [(first, 1.0 - fraction), (second, fraction)].map(|(step, weight)| {
                let (left, right, inner) = neighbours(step, 1.0 / self.upsample as f64, codes);
                [(left, weight * (1.0 - inner)), (right, weight * inner)]
            });
            for channel in 0..width {
                let value: f64 = weighted
                    .iter()
                    .flatten()
                    .map(|(latent, weight)| weight * f64::from(latents[latent * width + channel]))
                    .sum();
                frames[channel * columns + column] = value as f32;
            }
        }
        frames
    }
}

/// The two inputs, of `inputs`, between which the output `index` lies, and how far along.
fn neighbours(index: usize, step: f64, inputs: usize) -> (usize, usize, f64) {
    let centre = ((index as f64 + 0.5) * step - 0.5).max(0.0);
    let last = inputs.saturating_sub(1);
    let first = (centre as usize).min(last);
    let fraction = (centre - first as f64).min(1.0);
    (first, (first + 1).min(last), fraction)
}

#[cfg(test)]
mod tests;
