//! Latents to frames.

use std::ops::Range;

use crate::stages::synthesize::metadata::Ratio;

/// Two linear interpolations in time, one after the other, with half-pixel centres, clamped at both
/// ends, in double precision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interpolation {
    pub(super) upsample: usize,
    pub(super) resample: Ratio,
}

impl Interpolation {
    /// Frames for `latents` latents.
    pub(super) fn frames(self, latents: usize) -> usize {
        self.upsample * latents * self.resample.numerator / self.resample.denominator
    }

    /// The latents that a frame lies between, when there are enough of them.
    pub(super) fn latents(self, frame: usize) -> Range<usize> {
        let (step, next_step, _) = neighbours(frame, self.resample_step(), usize::MAX);
        let (first, ..) = neighbours(step, self.upsample_step(), usize::MAX);
        let (_, last, _) = neighbours(next_step, self.upsample_step(), usize::MAX);
        first..last + 1
    }

    /// The frames in `range` as [width, range], from `latents` [latents, width], which begin with the
    /// unit's `first` latent; the unit has `codes` of them.
    pub(super) fn interpolate(
        self,
        latents: &[f32],
        first: usize,
        codes: usize,
        width: usize,
        range: Range<usize>,
    ) -> Vec<f32> {
        let steps = self.upsample * codes;
        let columns = range.len();
        let mut frames = vec![0.0; width * columns];
        for (column, frame) in range.enumerate() {
            let (step, next_step, fraction) = neighbours(frame, self.resample_step(), steps);
            let weighted = [(step, 1.0 - fraction), (next_step, fraction)].map(|(step, weight)| {
                let (left, right, inner) = neighbours(step, self.upsample_step(), codes);
                [
                    (left - first, weight * (1.0 - inner)),
                    (right - first, weight * inner),
                ]
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

    /// Inputs of the second interpolation for each of its outputs.
    fn resample_step(self) -> f64 {
        self.resample.denominator as f64 / self.resample.numerator as f64
    }

    /// The same of the first one.
    fn upsample_step(self) -> f64 {
        1.0 / self.upsample as f64
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
