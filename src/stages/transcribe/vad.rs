//! Voice activity detection: Silero on ONNX Runtime. It knows music and noise from speech, which
//! loudness does not.

use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;

use super::activity::Activity;
use super::{SAMPLE_RATE_HZ, TranscribeError};
use crate::domain::Deadline;
use crate::onnx::Onnx;

/// Samples that the network judges at once, at 16 kHz.
const FRAME_SAMPLES: usize = 512;
/// The same in milliseconds.
const FRAME_MS: u64 = 32;
/// Samples before the frame that the network sees with it.
const CONTEXT_SAMPLES: usize = 64;
/// Shape of what the network remembers from frame to frame.
const STATE_SHAPE: [usize; 3] = [2, 1, 128];
const STATE_LENGTH: usize = 2 * 128;
/// From this probability on a frame is speech (contract/rules.md, section 2).
const THRESHOLD: f32 = 0.3;
/// Speech goes on down to this probability: Silero's own margin below the threshold.
const END_THRESHOLD: f32 = THRESHOLD - 0.15;
/// Frames between two looks at the deadline: two seconds of audio.
const FRAMES_PER_CHECK: usize = 64;

/// Silero's voice activity detector, version 5 or later.
pub struct SileroVad {
    session: Session,
}

impl SileroVad {
    /// Loads the graph in the file `model`: `input` [1, 576], `state` [2, 1, 128] and `sr` give
    /// `output` [1, 1] and `stateN` [2, 1, 128].
    ///
    /// # Errors
    /// The file is missing, or is no such graph.
    pub fn load(onnx: &Onnx, model: &Path) -> Result<Self, TranscribeError> {
        // The network is tiny and its frames depend on each other: more threads would only wait.
        let session = onnx.session(model, 1).map_err(TranscribeError::LoadVad)?;
        for name in ["input", "state", "sr"] {
            if !session.inputs().iter().any(|input| input.name() == name) {
                return Err(TranscribeError::VadSignature(name));
            }
        }
        for name in ["output", "stateN"] {
            if !session.outputs().iter().any(|output| output.name() == name) {
                return Err(TranscribeError::VadSignature(name));
            }
        }
        Ok(Self { session })
    }

    /// Judges every frame of a recording at 16 kHz.
    pub(super) fn listen(
        &mut self,
        samples: &[f32],
        deadline: &Deadline,
    ) -> Result<Activity, TranscribeError> {
        let mut input = [0.0; CONTEXT_SAMPLES + FRAME_SAMPLES];
        let mut state = [0.0; STATE_LENGTH];
        let mut speaks = false;
        let mut voiced = Vec::with_capacity(samples.len().div_ceil(FRAME_SAMPLES));
        for (index, frame) in samples.chunks(FRAME_SAMPLES).enumerate() {
            if index % FRAMES_PER_CHECK == 0 {
                deadline.check()?;
            }
            // The end of the last frame becomes the context of this one.
            input.copy_within(FRAME_SAMPLES.., 0);
            input[CONTEXT_SAMPLES..].fill(0.0);
            for (slot, sample) in input[CONTEXT_SAMPLES..].iter_mut().zip(frame) {
                // One value that is no number would spoil the state for the rest of the recording.
                *slot = if sample.is_finite() { *sample } else { 0.0 };
            }
            let probability = self.judge(&input, &mut state)?;
            speaks = probability >= if speaks { END_THRESHOLD } else { THRESHOLD };
            voiced.push(speaks);
        }
        Ok(Activity::new(FRAME_MS, voiced))
    }

    /// The probability of speech in one frame, 0..1; moves `state` on.
    fn judge(
        &mut self,
        input: &[f32],
        state: &mut [f32; STATE_LENGTH],
    ) -> Result<f32, TranscribeError> {
        let sample_rate = [i64::from(SAMPLE_RATE_HZ)];
        let outputs = self.session.run(ort::inputs![
            "input" => TensorRef::from_array_view(([1, input.len()], input))?,
            "state" => TensorRef::from_array_view((STATE_SHAPE, &state[..]))?,
            "sr" => TensorRef::from_array_view(((), &sample_rate[..]))?,
        ])?;
        let output = |name| outputs.get(name).ok_or(TranscribeError::VadOutput);
        let (_, probability) = output("output")?.try_extract_tensor::<f32>()?;
        let (_, next) = output("stateN")?.try_extract_tensor::<f32>()?;
        let (Some(probability), true) = (probability.first(), next.len() == STATE_LENGTH) else {
            return Err(TranscribeError::VadOutput);
        };
        let probability = *probability;
        state.copy_from_slice(next);
        if probability.is_finite() {
            Ok(probability)
        } else {
            Err(TranscribeError::VadOutput)
        }
    }
}
