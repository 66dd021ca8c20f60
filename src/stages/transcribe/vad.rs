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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stop;
    use crate::onnx::testing::{fixture, onnx, shared};
    use crate::stages::decode::{DecodeLimits, decode};

    fn bundled() -> SileroVad {
        SileroVad::load(&onnx(), &fixture("vad/silero_vad.onnx")).unwrap()
    }

    fn tone(amplitude: f32, duration_ms: usize) -> Vec<f32> {
        (0..duration_ms * 16)
            .map(|i| amplitude * (i as f32 * 0.17).sin())
            .collect()
    }

    fn noise(amplitude: f32, duration_ms: usize) -> Vec<f32> {
        let mut x = 1_u32;
        (0..duration_ms * 16)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((x >> 8) as f32 / 8_388_608.0 - 1.0) * amplitude
            })
            .collect()
    }

    #[test]
    fn frames_are_judged_with_what_came_before() {
        let samples = [tone(0.0, 1024), tone(0.1, 1024), tone(0.0, 1024)].concat();
        let activity = bundled().listen(&samples, &Deadline::none()).unwrap();
        // The bundled graph remembers silence, so it takes a second loud frame to change its mind;
        // the first quiet frame comes with the end of the last loud one.
        assert_eq!(
            activity.pauses(300),
            [(0, 1024 + FRAME_MS), (2048 + FRAME_MS, 3072)]
        );
    }

    #[test]
    fn nothing_is_left_of_one_recording_when_the_next_comes() {
        let mut vad = bundled();
        let quiet = tone(0.005, 640);
        let alone = vad.listen(&quiet, &Deadline::none()).unwrap();
        vad.listen(&tone(0.9, 640), &Deadline::none()).unwrap();
        let after = vad.listen(&quiet, &Deadline::none()).unwrap();
        assert!(alone.is_silent() && after.is_silent());
    }

    #[test]
    fn recordings_of_any_length_and_content_are_judged() {
        let mut vad = bundled();
        for samples in [
            vec![],
            vec![0.5],
            vec![f32::NAN; 2_000],
            vec![f32::INFINITY; 700],
        ] {
            vad.listen(&samples, &Deadline::none()).unwrap();
        }
        let spoilt = [vec![f32::NAN; 512], tone(0.3, 640)].concat();
        assert!(!vad.listen(&spoilt, &Deadline::none()).unwrap().is_silent());
    }

    #[test]
    fn it_stops_when_nobody_waits() {
        let deadline = Deadline::none();
        deadline.cancel();
        assert!(matches!(
            bundled().listen(&tone(0.3, 100), &deadline),
            Err(TranscribeError::Stopped(Stop::Cancelled))
        ));
    }

    #[test]
    fn another_graph_is_refused() {
        let other = fixture("openvoice/tone_embedding.onnx");
        assert!(matches!(
            SileroVad::load(&onnx(), &other),
            Err(TranscribeError::VadSignature("input"))
        ));
        assert!(matches!(
            SileroVad::load(&onnx(), Path::new("absent.onnx")),
            Err(TranscribeError::LoadVad(_))
        ));
    }

    #[test]
    fn the_real_detector_knows_speech_from_everything_else() {
        let Some(model) = shared("models/vad/silero/silero_vad.onnx") else {
            return;
        };
        let Some(speech) = shared("audio/jfk/jfk.wav") else {
            return;
        };
        let mut vad = SileroVad::load(&onnx(), &model).unwrap();
        let mut listen = |samples: &[f32]| vad.listen(samples, &Deadline::none()).unwrap();
        let chord: Vec<f32> = [261.6, 329.6, 392.0]
            .iter()
            .map(|hertz| hertz * std::f32::consts::TAU / 16_000.0)
            .fold(vec![0.0; 48_000], |mut sum, step| {
                for (i, sample) in sum.iter_mut().enumerate() {
                    *sample += 0.1 * (i as f32 * step).sin();
                }
                sum
            });
        for (name, samples) in [
            ("tone", tone(0.3, 3_000)),
            ("noise", noise(0.2, 3_000)),
            ("chord", chord),
            ("silence", tone(0.0, 3_000)),
        ] {
            assert!(listen(&samples).is_silent(), "{name}");
        }
        let bytes = std::fs::read(speech).unwrap();
        let decoded = decode(&bytes, &DecodeLimits::default(), &Deadline::none()).unwrap();
        assert_eq!(decoded.pcm.sample_rate_hz(), SAMPLE_RATE_HZ);
        let samples = [&noise(0.001, 2_000)[..], decoded.pcm.samples()].concat();
        let activity = listen(&samples);
        assert!(activity.voiced_fraction(0, 1_900) < 0.01);
        assert!(activity.voiced_fraction(2_200, 12_500) > 0.6);
    }
}
