//! Mel-frequency cepstral coefficients.
//!
//! As librosa's `feature.mfcc` with `n_mels=40`, `top_db=None`: 40 triangular bands on Slaney's mel scale
//! (linear below 1 kHz, logarithmic above) up to 8 kHz, each of the same area; their power in dB; the
//! first 13 coefficients of the orthonormal DCT-II.

use std::f64::consts::PI;

use super::ANALYSIS_RATE_HZ;
use crate::domain::measures::MFCC_COEFFICIENTS;

const BANDS: usize = 40;

/// Powers below this count as this.
const MIN_POWER: f32 = 1e-10;

/// A triangle over neighbouring bins.
struct Band {
    first_bin: usize,
    weights: Vec<f32>,
}

/// Turns power spectra into coefficients.
pub(super) struct Cepstrum {
    bands: Vec<Band>,
    cosines: Vec<[f32; BANDS]>,
}

impl Cepstrum {
    /// For power spectra of transforms of `fft` samples.
    pub(super) fn new(fft: usize) -> Self {
        let top = mel(f64::from(ANALYSIS_RATE_HZ) / 2.0);
        let edges_hz: Vec<f64> = (0..BANDS + 2)
            .map(|edge| hz(top * edge as f64 / (BANDS + 1) as f64))
            .collect();
        let bin_hz = f64::from(ANALYSIS_RATE_HZ) / fft as f64;
        let bands = edges_hz
            .windows(3)
            .map(|edges| Band::new([edges[0], edges[1], edges[2]], bin_hz, fft / 2 + 1))
            .collect();
        let cosines = (0..MFCC_COEFFICIENTS)
            .map(|coefficient| {
                let share = if coefficient == 0 { 1.0 } else { 2.0 };
                let scale = (share / BANDS as f64).sqrt();
                std::array::from_fn(|band| {
                    let turn = PI * coefficient as f64 * (band as f64 + 0.5) / BANDS as f64;
                    (scale * turn.cos()) as f32
                })
            })
            .collect();
        Self { bands, cosines }
    }

    /// The coefficients of a frame, from the power of each bin.
    pub(super) fn coefficients(&self, powers: &[f32]) -> [f32; MFCC_COEFFICIENTS] {
        let mut decibels = [0.0; BANDS];
        for (level, band) in decibels.iter_mut().zip(&self.bands) {
            let bins = powers.get(band.first_bin..).unwrap_or_default();
            let power: f32 = band.weights.iter().zip(bins).map(|(w, p)| w * p).sum();
            *level = 10.0 * power.max(MIN_POWER).log10();
        }
        let mut coefficients = [0.0; MFCC_COEFFICIENTS];
        for (value, cosines) in coefficients.iter_mut().zip(&self.cosines) {
            *value = cosines.iter().zip(&decibels).map(|(c, d)| c * d).sum();
        }
        coefficients
    }
}

impl Band {
    fn new([low, peak, high]: [f64; 3], bin_hz: f64, bins: usize) -> Self {
        let area = 2.0 / (high - low);
        let weight = |bin: usize| {
            let hz = bin as f64 * bin_hz;
            let rising = (hz - low) / (peak - low);
            let falling = (high - hz) / (high - peak);
            (rising.min(falling).max(0.0) * area) as f32
        };
        let first_bin = (low / bin_hz).ceil() as usize;
        let end = ((high / bin_hz).floor() as usize + 1).min(bins);
        Self {
            first_bin,
            weights: (first_bin..end).map(weight).collect(),
        }
    }
}

/// Where Slaney's scale turns from linear to logarithmic.
const BREAK_HZ: f64 = 1000.0;
const HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_MEL: f64 = BREAK_HZ / HZ_PER_MEL;

/// Logarithm of the ratio of frequencies one mel apart above the break.
fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

fn mel(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / HZ_PER_MEL
    } else {
        BREAK_MEL + (hz / BREAK_HZ).ln() / log_step()
    }
}

fn hz(mel: f64) -> f64 {
    if mel < BREAK_MEL {
        mel * HZ_PER_MEL
    } else {
        BREAK_HZ * ((mel - BREAK_MEL) * log_step()).exp()
    }
}
