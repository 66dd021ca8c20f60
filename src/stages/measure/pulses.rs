//! Jitter and shimmer: how much neighbouring periods of the voice differ.
//!
//! The periods are found as Praat's manual describes under "Sound & Pitch: To PointProcess (cc)": from
//! the strongest sample in the middle of a voiced stretch, the next period is where the waveform of one
//! period correlates best with itself, looked for between 0.8 and 1.25 periods further, to both
//! sides. "Jitter (local)" and "shimmer (local)" are those of "PointProcess: Get jitter (local)" and
//! "Get shimmer (local)" with the defaults: of two neighbouring periods that differ by more than a
//! factor of 1.3, or amplitudes by more than 1.6, one was found wrongly, and they do not count.

use std::ops::RangeInclusive;

use super::pitch::{Track, Voiced};
use super::{ANALYSIS_RATE_HZ, HOP, MeasureError, centre};
use crate::domain::Deadline;

const NEXT_PERIOD: RangeInclusive<f32> = 0.8..=1.25;
/// Waveforms that correlate less are not neighbouring periods of one voice.
const MIN_CORRELATION: f32 = 0.3;
const MAX_PERIOD_FACTOR: f64 = 1.3;
const MAX_AMPLITUDE_FACTOR: f64 = 1.6;
/// Part of a period on each side of its pulse in which its amplitude is taken.
const AMPLITUDE_REACH: f64 = 0.2;

/// Differences of neighbouring values over their mean.
#[derive(Debug, Default)]
struct Variation {
    differences: f64,
    pairs: u64,
    sum: f64,
    values: u64,
}

impl Variation {
    fn add(&mut self, values: &[f64], max_factor: f64) {
        self.sum += values.iter().sum::<f64>();
        self.values += values.len() as u64;
        for pair in values.windows(2) {
            let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
            if high <= low * max_factor {
                self.differences += high - low;
                self.pairs += 1;
            }
        }
    }

    fn relative(&self) -> f64 {
        if self.pairs == 0 || self.sum <= 0.0 {
            return 0.0;
        }
        (self.differences / self.pairs as f64) / (self.sum / self.values as f64)
    }
}

/// Periods and amplitudes of one excerpt after the other.
#[derive(Debug, Default)]
pub(super) struct Perturbation {
    periods: Variation,
    amplitudes: Variation,
}

impl Perturbation {
    /// Adds an excerpt.
    pub(super) fn add(
        &mut self,
        samples: &[f32],
        track: &Track,
        deadline: &Deadline,
    ) -> Result<(), MeasureError> {
        let mut first = 0;
        for stretch in track.split(Option::is_none) {
            if !stretch.is_empty() {
                deadline.check()?;
                self.add_stretch(&Stretch::new(samples, first, stretch));
            }
            first += stretch.len() + 1;
        }
        Ok(())
    }

    fn add_stretch(&mut self, stretch: &Stretch<'_>) {
        let pulses = stretch.pulses();
        let periods: Vec<f64> = pulses.windows(2).map(|pair| pair[1] - pair[0]).collect();
        self.periods.add(&periods, MAX_PERIOD_FACTOR);
        let inner = pulses.iter().skip(1).zip(periods.windows(2));
        let amplitudes: Vec<f64> = inner
            .map(|(pulse, periods)| amplitude(stretch.samples, *pulse, periods))
            .collect();
        self.amplitudes.add(&amplitudes, MAX_AMPLITUDE_FACTOR);
    }

    /// Jitter (local), as a ratio; 0 without periods.
    pub(super) fn jitter(&self) -> f64 {
        self.periods.relative()
    }

    /// Shimmer (local), as a ratio; 0 without periods.
    pub(super) fn shimmer(&self) -> f64 {
        self.amplitudes.relative()
    }
}

/// Voiced frames in a row.
struct Stretch<'a> {
    samples: &'a [f32],
    frames: Vec<Voiced>,
    /// Centre of the first frame.
    start: usize,
}

impl<'a> Stretch<'a> {
    fn new(samples: &'a [f32], first: usize, frames: &[Option<Voiced>]) -> Self {
        Self {
            samples,
            frames: frames.iter().copied().flatten().collect(),
            start: centre(first),
        }
    }

    fn end(&self) -> usize {
        self.start + self.frames.len().saturating_sub(1) * HOP
    }

    /// The period at a place, in samples.
    fn period(&self, place: f64) -> f32 {
        let frame = (place - self.start as f64) / HOP as f64;
        let frame = (frame.round().max(0.0) as usize).min(self.frames.len() - 1);
        ANALYSIS_RATE_HZ as f32 / self.frames[frame].hz
    }

    /// Places of the pulses in samples, ascending.
    fn pulses(&self) -> Vec<f64> {
        let middle = (self.start + self.end()) / 2;
        let half = (self.period(middle as f64) / 2.0) as usize;
        let around = middle - half..(middle + half).min(self.samples.len());
        let strongest = around
            .max_by(|&a, &b| f32::total_cmp(&self.samples[a].abs(), &self.samples[b].abs()))
            .unwrap_or(middle) as f64;
        let mut pulses = self.walk(strongest, -1);
        pulses.reverse();
        pulses.push(strongest);
        pulses.extend(self.walk(strongest, 1));
        pulses
    }

    /// Pulses on one side of `from`, going away from it.
    fn walk(&self, from: f64, direction: i64) -> Vec<f64> {
        let limits = self.start as f64 - HOP as f64 / 2.0..=self.end() as f64 + HOP as f64 / 2.0;
        let mut pulses = Vec::new();
        let mut place = from;
        while let Some(lag) = self.next_period(place, direction) {
            place += direction as f64 * f64::from(lag);
            if !limits.contains(&place) {
                break;
            }
            pulses.push(place);
        }
        pulses
    }

    /// Distance to the neighbouring period, which correlates best; at least 0.8 periods.
    fn next_period(&self, place: f64, direction: i64) -> Option<f32> {
        let period = self.period(place);
        let anchor = place.round() as i64;
        let half = (period / 2.0).round() as i64;
        let here = self.around(anchor, half)?;
        let power: f32 = here.iter().map(|x| x * x).sum();
        let shortest = (NEXT_PERIOD.start() * period).floor() as i64;
        let longest = (NEXT_PERIOD.end() * period).ceil() as i64;
        let correlations: Vec<f32> = (shortest..=longest)
            .map_while(|lag| self.around(anchor + direction * lag, half))
            .map(|there| correlation(here, power, there))
            .collect();
        let (best, &middle) = correlations
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        if middle < MIN_CORRELATION {
            return None;
        }
        let at = |place: usize| correlations.get(place).copied().unwrap_or(middle);
        let (left, right) = (at(best.wrapping_sub(1)), at(best + 1));
        let curvature = 2.0 * middle - left - right;
        let offset = if curvature > 0.0 {
            0.5 * (right - left) / curvature
        } else {
            0.0
        };
        Some((shortest + best as i64) as f32 + offset)
    }

    fn around(&self, centre: i64, half: i64) -> Option<&'a [f32]> {
        let start = usize::try_from(centre - half).ok()?;
        let end = usize::try_from(centre + half).ok()?;
        self.samples.get(start..end)
    }
}

/// Normalised correlation of two waveforms; `power` is that of the first.
fn correlation(a: &[f32], power: f32, b: &[f32]) -> f32 {
    let (mut product, mut other_power) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        product += a * b;
        other_power += b * b;
    }
    let scale = (power * other_power).sqrt();
    if scale > 0.0 { product / scale } else { 0.0 }
}

/// Root mean square under a Hann window around a pulse, given the periods on both sides of it.
fn amplitude(samples: &[f32], pulse: f64, periods: &[f64]) -> f64 {
    let reach = AMPLITUDE_REACH * periods.iter().sum::<f64>() / periods.len().max(1) as f64;
    let first = (pulse - reach).ceil().max(0.0) as usize;
    let last = (pulse + reach).floor().max(0.0) as usize;
    let (mut sum, mut weights) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate().take(last + 1).skip(first) {
        let phase = (n as f64 - pulse) / reach * std::f64::consts::PI;
        let weight = 0.5 + 0.5 * phase.cos();
        sum += f64::from(sample * sample) * weight;
        weights += weight;
    }
    if weights > 0.0 {
        (sum / weights).sqrt()
    } else {
        0.0
    }
}
