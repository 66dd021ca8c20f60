//! Shape of the spectrum.
//!
//! Frames of 512 samples (32 ms) under a Hann window. Centroid, bandwidth, rolloff and flatness are
//! those of librosa, the mean over the frames that are not silent: the spectrum of a pause is that of
//! the room. Brightness is that of the MIR toolbox (Lartillot and Toiviainen, 2007), with its cut-off of
//! 1,500 Hz. Nasality is the voice low tone to high tone ratio (Lee et al., "Voice low tone to high tone
//! ratio", IEEE Transactions on Biomedical Engineering 53 (2006), 1437–1439) of the voiced frames:
//! the nasal tract adds power below 600 Hz and takes some away above.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use super::mfcc::Cepstrum;
use super::moments::{Moments, finite};
use super::pitch::Track;
use super::{ANALYSIS_RATE_HZ, MeasureError, centre};
use crate::domain::Deadline;
use crate::domain::measures::{MFCC_COEFFICIENTS, MfccMeasures, SpectralMeasures};

const FFT: usize = 512;
const BIN_HZ: f32 = ANALYSIS_RATE_HZ as f32 / FFT as f32;

const ROLLOFF_SHARE: f32 = 0.85;
/// Powers below this count as this in the flatness.
const MIN_POWER: f32 = 1e-10;
const BRIGHT_FROM_HZ: f32 = 1500.0;
const WARM_BELOW_HZ: f32 = 1000.0;
/// Below it there is no voice, only hum.
const LOW_TONE_FROM_HZ: f32 = 65.0;
const HIGH_TONE_FROM_HZ: f32 = 600.0;
/// Ratio of low to high tones at which the nasality is 0, and how much above that it is 1: readings lie
/// between −8 and 10 dB.
const NO_NASALITY_DB: f64 = -10.0;
const NASALITY_SPAN_DB: f64 = 30.0;

/// Gathers the spectra of one excerpt after the other.
pub(super) struct SpectrumAnalyser {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    frame: Vec<f32>,
    bins: Vec<Complex32>,
    scratch: Vec<Complex32>,
    magnitudes: Vec<f32>,
    powers: Vec<f32>,
    cepstrum: Cepstrum,
    silence_level: f32,
    centroid: Moments,
    bandwidth: Moments,
    rolloff: Moments,
    flatness: Moments,
    brightness: Moments,
    warmth: Moments,
    coefficients: [Moments; MFCC_COEFFICIENTS],
    low_tones: f64,
    high_tones: f64,
}

impl SpectrumAnalyser {
    /// For a recording that is silent below this root mean square.
    pub(super) fn new(silence_level: f32) -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(FFT);
        // Periodic, as for every short-time transform.
        let window = (0..FFT)
            .map(|n| {
                let turn = n as f64 / FFT as f64 * std::f64::consts::TAU;
                (0.5 - 0.5 * turn.cos()) as f32
            })
            .collect();
        Self {
            window,
            frame: transform.make_input_vec(),
            bins: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
            magnitudes: Vec::with_capacity(FFT / 2 + 1),
            powers: Vec::with_capacity(FFT / 2 + 1),
            cepstrum: Cepstrum::new(FFT),
            silence_level,
            centroid: Moments::default(),
            bandwidth: Moments::default(),
            rolloff: Moments::default(),
            flatness: Moments::default(),
            brightness: Moments::default(),
            warmth: Moments::default(),
            coefficients: [Moments::default(); MFCC_COEFFICIENTS],
            low_tones: 0.0,
            high_tones: 0.0,
        }
    }

    /// Adds the frames of an excerpt.
    pub(super) fn add(
        &mut self,
        samples: &[f32],
        track: &Track,
        deadline: &Deadline,
    ) -> Result<(), MeasureError> {
        for (index, voicing) in track.iter().enumerate() {
            deadline.check()?;
            let start = centre(index) - FFT / 2;
            let frame = &samples[start..start + FFT];
            let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / FFT as f32;
            if power == 0.0 || power.sqrt() < self.silence_level {
                continue;
            }
            for ((value, sample), weight) in self.frame.iter_mut().zip(frame).zip(&self.window) {
                *value = sample * weight;
            }
            self.transform.process_with_scratch(
                &mut self.frame,
                &mut self.bins,
                &mut self.scratch,
            )?;
            self.powers.clear();
            self.powers
                .extend(self.bins.iter().map(Complex32::norm_sqr));
            self.magnitudes.clear();
            self.magnitudes.extend(self.powers.iter().map(|p| p.sqrt()));
            self.add_shape();
            if voicing.is_some() {
                self.add_tones();
            }
            let coefficients = self.cepstrum.coefficients(&self.powers);
            for (moments, value) in self.coefficients.iter_mut().zip(coefficients) {
                moments.add(f64::from(value));
            }
        }
        Ok(())
    }

    fn add_shape(&mut self) {
        let total: f32 = self.magnitudes.iter().sum();
        let centroid = weighted(&self.magnitudes, |hz| hz) / total;
        let variance = weighted(&self.magnitudes, |hz| (hz - centroid) * (hz - centroid)) / total;
        self.centroid.add(f64::from(centroid));
        self.bandwidth.add(f64::from(variance.max(0.0).sqrt()));

        let mut below = 0.0;
        let rolloff = self.magnitudes.iter().position(|magnitude| {
            below += magnitude;
            below >= ROLLOFF_SHARE * total
        });
        let rolloff = rolloff.unwrap_or(FFT / 2);
        self.rolloff.add(f64::from(rolloff as f32 * BIN_HZ));

        let count = self.powers.len() as f32;
        let floored = || self.powers.iter().map(|power| power.max(MIN_POWER));
        let geometric = (floored().map(f32::ln).sum::<f32>() / count).exp();
        let arithmetic = floored().sum::<f32>() / count;
        self.flatness.add(f64::from(geometric / arithmetic));

        let bright = self.magnitudes.get(first_bin(BRIGHT_FROM_HZ)..);
        let bright: f32 = bright.unwrap_or_default().iter().sum();
        self.brightness.add(f64::from(bright / total));
        let warm = self.magnitudes.iter().take(first_bin(WARM_BELOW_HZ));
        self.warmth.add(f64::from(warm.sum::<f32>() / total));
    }

    fn add_tones(&mut self) {
        let (low, high) = (first_bin(LOW_TONE_FROM_HZ), first_bin(HIGH_TONE_FROM_HZ));
        self.low_tones += f64::from(self.powers[low..high].iter().sum::<f32>());
        self.high_tones += f64::from(self.powers[high..].iter().sum::<f32>());
    }

    /// The means; `noise_share` is the share of noise in the power of the voiced frames.
    pub(super) fn measures(&self, noise_share: f64) -> SpectralMeasures {
        let is_voiced = self.low_tones > 0.0 && self.high_tones > 0.0;
        let nasality = if is_voiced {
            let ratio_db = 10.0 * (self.low_tones / self.high_tones).log10();
            (ratio_db - NO_NASALITY_DB) / NASALITY_SPAN_DB
        } else {
            0.0
        };
        SpectralMeasures {
            centroid_hz: finite(self.centroid.mean()),
            bandwidth_hz: finite(self.bandwidth.mean()),
            rolloff_hz: finite(self.rolloff.mean()),
            flatness: finite(self.flatness.mean()),
            brightness: finite(self.brightness.mean()),
            warmth: finite(self.warmth.mean()),
            breathiness: finite(noise_share.clamp(0.0, 1.0)),
            nasality: finite(nasality.clamp(0.0, 1.0)),
        }
    }

    /// Mean and standard deviation of the coefficients.
    pub(super) fn mfcc(&self) -> MfccMeasures {
        MfccMeasures {
            mean: self.coefficients.map(|moments| finite(moments.mean())),
            std: self.coefficients.map(|moments| finite(moments.std())),
        }
    }
}

/// Sum over the bins of the magnitude times what `f` gives for the frequency.
fn weighted(magnitudes: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let bins = magnitudes.iter().enumerate();
    bins.map(|(bin, magnitude)| magnitude * f(bin as f32 * BIN_HZ))
        .sum()
}

/// The first bin at or above a frequency.
fn first_bin(hz: f32) -> usize {
    (hz / BIN_HZ).ceil() as usize
}
