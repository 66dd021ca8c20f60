//! Level, pauses and noise of a whole recording.

use super::MeasureError;
use super::moments::{Moments, finite};
use crate::domain::measures::EnergyMeasures;
use crate::domain::{Deadline, Pcm};

/// Frames per second, of 20 ms.
const FRAMES_PER_SECOND: usize = 50;

/// A frame is silent this far below the loud ones: speech from its loudest vowel to its softest
/// consonant spans about 30 dB.
const SILENCE_BELOW_LOUD_DB: f64 = 30.0;

/// A frame below this level is silent in any recording.
const SILENCE_DB: f64 = -60.0;

/// Levels below this count as this: the difference between two kinds of nothing means nothing.
const FLOOR_DB: f64 = -80.0;

/// The root mean square of every frame of a recording.
pub(super) struct Levels {
    rms: Vec<f32>,
    sorted: Vec<f32>,
    frame_samples: usize,
    sample_rate_hz: usize,
    peak: f32,
}

impl Levels {
    /// Measures every frame; the last may be shorter.
    pub(super) fn of(pcm: &Pcm, deadline: &Deadline) -> Result<Self, MeasureError> {
        let frame_samples = (pcm.sample_rate_hz() as usize / FRAMES_PER_SECOND).max(1);
        let mut rms = Vec::with_capacity(pcm.samples().len() / frame_samples + 1);
        let mut peak = 0.0_f32;
        for frame in pcm.samples().chunks(frame_samples) {
            deadline.check()?;
            let mut sum = 0.0;
            for sample in frame {
                if !sample.is_finite() {
                    return Err(MeasureError::NotFinite);
                }
                let sample = sample.clamp(-1.0, 1.0);
                sum += f64::from(sample * sample);
                peak = peak.max(sample.abs());
            }
            rms.push((sum / frame.len() as f64).sqrt() as f32);
        }
        let mut sorted = rms.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        Ok(Self {
            rms,
            sorted,
            frame_samples,
            sample_rate_hz: pcm.sample_rate_hz() as usize,
            peak,
        })
    }

    /// Largest magnitude of a sample.
    pub(super) fn peak(&self) -> f32 {
        self.peak
    }

    /// Samples of the recording in a frame.
    pub(super) fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    /// Frames in so many seconds.
    pub(super) fn frames_in(&self, seconds: usize) -> usize {
        seconds * self.sample_rate_hz / self.frame_samples
    }

    /// Root mean square below which a frame is silent.
    pub(super) fn silence_level(&self) -> f32 {
        let level_db = (self.percentile_db(95) - SILENCE_BELOW_LOUD_DB).max(SILENCE_DB);
        10_f64.powf(level_db / 20.0) as f32
    }

    /// Of every frame, whether it is not silent.
    pub(super) fn sounding(&self) -> impl Iterator<Item = bool> {
        let silence = self.silence_level();
        self.rms.iter().map(move |rms| *rms >= silence)
    }

    /// The measures.
    pub(super) fn measures(&self) -> EnergyMeasures {
        if self.rms.is_empty() {
            return EnergyMeasures::default();
        }
        let moments: Moments = self.rms.iter().copied().map(f64::from).collect();
        let silent = self.sounding().filter(|sounds| !sounds).count();
        EnergyMeasures {
            mean: finite(moments.mean()),
            std: finite(moments.std()),
            dynamic_range_db: finite(self.percentile_db(90) - self.percentile_db(10)),
            silence_ratio: silent as f32 / self.rms.len() as f32,
        }
    }

    fn percentile_db(&self, percent: usize) -> f64 {
        let place = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        let rms = self.sorted.get(place).copied().unwrap_or(0.0);
        (20.0 * f64::from(rms).log10()).max(FLOOR_DB)
    }
}
