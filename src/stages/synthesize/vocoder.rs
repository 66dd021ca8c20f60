//! Latents to waveform, in windows that join without a trace.
//!
//! The two linear interpolations between latents and vocoder frames run here, because their phase
//! repeats only every few hundred frames and a graph that is fed parts could not keep it. The rest is
//! a convolutional network: a frame depends on a fixed number of neighbours, so a window with that
//! many real frames on each side gives exactly what the whole would give.
//!
//! So a unit's first windows run, on threads of their own, while its later codes are still
//! being chosen, and several at once. Windows begin and end at the same frames whenever they run: the
//! samples do not depend on it.

mod interpolation;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ort::session::Session;
use ort::value::{TensorElementType, TensorRef};

use super::SynthesizeError;
use super::metadata::XttsMetadata;
use crate::domain::voice::Conditioning;
use crate::onnx::Onnx;
use crate::stages::Ticket;
use interpolation::Interpolation;

/// Frames that one run emits: 40 latents of XTTS v2, 1.9 s of speech. Longer windows waste less on
/// context, shorter ones leave less to do when the last code is chosen.
const WINDOW_FRAMES: usize = 174;
/// The graph's input that names the frames to give out, [first, last + 1]. It cuts the others off as soon as the stages
/// that are left do not need them.
const EMIT: &str = "emit";

/// The graph.
pub(super) struct Vocoder {
    session: Session,
    windowing: Windowing,
}

/// How a model's latents are cut into windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windowing {
    interpolation: Interpolation,
    width: usize,
    frame_samples: usize,
    context_frames: usize,
}

/// What one run of the graph takes.
pub(super) struct Window {
    /// [latents, width], from `first_latent` of the unit on: those that the frames of `run` need.
    latents: Vec<f32>,
    first_latent: usize,
    /// Latents of the unit that are known.
    known_latents: usize,
    /// Frames that are computed, context included.
    run: Range<usize>,
    /// Those of them that are kept.
    emit: Range<usize>,
}

/// A window of a unit, and in whose voice it sounds.
pub(super) struct VocoderWork {
    pub(super) ticket: Ticket,
    pub(super) unit: usize,
    pub(super) window: Window,
    pub(super) conditioning: Arc<Conditioning>,
}

/// What became of a window.
pub(super) struct VocoderResult {
    pub(super) ticket: Ticket,
    pub(super) unit: usize,
    /// Its first frame.
    pub(super) frame: usize,
    pub(super) samples: Result<Vec<f32>, SynthesizeError>,
}

/// One unit on its way through the vocoder: latents come in, windows go out, samples come back.
pub(super) struct Waveform {
    windowing: Windowing,
    /// [codes, width]
    latents: Vec<f32>,
    /// No more latents will come.
    is_complete: bool,
    /// Frames of the windows that went out.
    handed_out: usize,
    samples: Vec<f32>,
    /// How many of them have come.
    accepted: usize,
}

impl Vocoder {
    pub(super) fn load(
        onnx: &Onnx,
        path: &Path,
        metadata: &XttsMetadata,
        threads: usize,
    ) -> Result<Self, SynthesizeError> {
        let session = onnx.session(path, threads).map_err(SynthesizeError::Load)?;
        let takes_bounds = session.inputs().iter().any(|input| {
            let (kind, shape) = (input.dtype().tensor_type(), input.dtype().tensor_shape());
            let is_pair = shape.is_some_and(|shape| **shape == [2]);
            input.name() == EMIT && kind == Some(TensorElementType::Int64) && is_pair
        });
        if !takes_bounds {
            return Err(SynthesizeError::NoVocoder {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            session,
            windowing: Windowing::of(metadata),
        })
    }

    /// Turns windows into samples, as one of several threads does.
    pub(super) fn into_worker(mut self) -> impl FnMut(VocoderWork) -> VocoderResult {
        move |work| VocoderResult {
            ticket: work.ticket,
            unit: work.unit,
            frame: work.window.first_frame(),
            samples: self.run(&work.window, &work.conditioning.speaker_embedding),
        }
    }

    /// Samples of the frames that the window keeps.
    ///
    /// # Errors
    /// The graph fails, or gives samples that are no numbers.
    pub(super) fn run(
        &mut self,
        window: &Window,
        speaker_embedding: &[f32],
    ) -> Result<Vec<f32>, SynthesizeError> {
        let Windowing {
            interpolation,
            width,
            frame_samples,
            ..
        } = self.windowing;
        let Window { run, emit, .. } = window;
        let input = interpolation.interpolate(
            &window.latents,
            window.first_latent,
            window.known_latents,
            width,
            run.clone(),
        );
        let emitted = emit.start - run.start..emit.end - run.start;
        let bounds = [emitted.start as i64, emitted.end as i64];
        let outputs = self.session.run(ort::inputs![
            "frames" => TensorRef::from_array_view(([1, width, run.len()], input.as_slice()))?,
            "speaker_embedding" =>
                TensorRef::from_array_view(([1, speaker_embedding.len(), 1], speaker_embedding))?,
            EMIT => TensorRef::from_array_view(([2], bounds.as_slice()))?,
        ])?;
        let wav = outputs.get("wav").ok_or(SynthesizeError::BadOutput(
            "the vocoder has no output `wav`",
        ))?;
        let (_, samples) = wav.try_extract_tensor::<f32>()?;
        if samples.len() != emitted.len() * frame_samples {
            return Err(SynthesizeError::BadOutput(
                "the waveform has another length than its frames",
            ));
        }
        if samples.iter().any(|sample| !sample.is_finite()) {
            return Err(SynthesizeError::BadOutput("the waveform is not finite"));
        }
        Ok(samples.to_vec())
    }
}

impl Window {
    /// The first frame whose samples are kept.
    pub(super) fn first_frame(&self) -> usize {
        self.emit.start
    }
}

impl Windowing {
    pub(super) fn of(metadata: &XttsMetadata) -> Self {
        Self {
            interpolation: Interpolation {
                upsample: metadata.latent_upsample,
                resample: metadata.frame_resample,
            },
            width: metadata.width,
            frame_samples: metadata.frame_samples,
            context_frames: metadata.vocoder_context_frames,
        }
    }
}

impl Waveform {
    pub(super) fn new(windowing: Windowing) -> Self {
        Self {
            windowing,
            latents: Vec::new(),
            is_complete: false,
            handed_out: 0,
            samples: Vec::new(),
            accepted: 0,
        }
    }

    /// Adds the latents of one or more codes, [codes, width].
    pub(super) fn push(&mut self, latents: &[f32]) {
        self.latents.extend_from_slice(latents);
    }

    /// Says that no more latents will come.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Codes whose latents are known.
    pub(super) fn codes(&self) -> usize {
        self.latents.len() / self.windowing.width
    }

    /// Frames of the unit if no more latents come.
    fn frames(&self) -> usize {
        self.windowing.interpolation.frames(self.codes())
    }

    /// The next window that nothing can change any more; it is then regarded as handed out.
    pub(super) fn next_window(&mut self) -> Option<Window> {
        let Windowing {
            interpolation,
            context_frames,
            width,
            ..
        } = self.windowing;
        let start = self.handed_out;
        let mut end = start + WINDOW_FRAMES;
        let mut run_end = end + context_frames;
        if self.is_complete {
            // At the true ends there is no context: the padding there is the real one.
            end = end.min(self.frames());
            run_end = run_end.min(self.frames());
            if start == end {
                return None;
            }
        } else if interpolation.latents(run_end - 1).end > self.codes() {
            return None;
        }
        let run = start.saturating_sub(context_frames)..run_end;
        let first_latent = interpolation.latents(run.start).start;
        let last_latent = interpolation.latents(run_end - 1).end.min(self.codes());
        self.handed_out = end;
        Some(Window {
            latents: self.latents[first_latent * width..last_latent * width].to_vec(),
            first_latent,
            known_latents: self.codes(),
            run,
            emit: start..end,
        })
    }

    /// Takes the samples of the window that begins with `frame`; windows may come in any order.
    pub(super) fn accept(&mut self, frame: usize, samples: &[f32]) {
        let start = frame * self.windowing.frame_samples;
        let end = start + samples.len();
        self.samples.resize(self.samples.len().max(end), 0.0);
        self.samples[start..end].copy_from_slice(samples);
        self.accepted += samples.len();
    }

    /// True when the samples of all windows are there.
    pub(super) fn is_whole(&self) -> bool {
        self.is_complete && self.accepted == self.frames() * self.windowing.frame_samples
    }

    /// The samples.
    pub(super) fn into_samples(self) -> Vec<f32> {
        self.samples
    }
}

#[cfg(test)]
mod tests;
