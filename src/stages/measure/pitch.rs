//! Fundamental frequency and harmonicity from the autocorrelation.
//!
//! P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
//! ratio of a sampled sound", IFA Proceedings 17 (1993), 97–110: the autocorrelation of a windowed frame
//! divided by that of the window estimates the autocorrelation r of the sound itself. Its maxima are
//! candidates for the period; a path through the candidates of all frames with least cost is the
//! pitch; r at the period is the share of the harmonics in the power. The costs are the defaults of
//! Praat's "To Pitch (ac)".
//!
//! The range that every speaker fits into invites octave errors, so there are two passes, as D. Hirst
//! proposes ("The analysis by synthesis of speech melody", Journal of Speech Sciences 1 (2011),
//! 55–83): the second keeps to the range from 0.75 times the first quartile of the first pass's
//! pitches to 1.5 times the third.
//!
//! Where the paper interpolates r by a sinc, here the power spectrum is padded with zeros to twice the
//! rate, which is the same, and a parabola goes through the maximum.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, FftError, RealFftPlanner, RealToComplex};

use super::moments::Moments;
use super::{ANALYSIS_RATE_HZ, HOP, MARGIN, MeasureError, centre, frames};
use crate::domain::{Deadline, Pcm};

/// Every speaker's.
const FLOOR_HZ: f32 = 75.0;
const CEILING_HZ: f32 = 600.0;

/// Length of a frame in periods at the floor.
const WINDOW_PERIODS: f32 = 3.0;
/// Holds the longest frame and the longest lag without overlap.
const FFT: usize = 1024;
/// Values of the autocorrelation for each sample.
const LAGS_PER_SAMPLE: usize = 2;
const LAG_RATE_HZ: f32 = (ANALYSIS_RATE_HZ as usize * LAGS_PER_SAMPLE) as f32;
const BELOW_LOWER_QUARTILE: f32 = 0.75;
const ABOVE_UPPER_QUARTILE: f32 = 1.5;

const MAX_CANDIDATES: usize = 14;
const SILENCE_THRESHOLD: f32 = 0.03;
const VOICING_THRESHOLD: f32 = 0.45;
const OCTAVE_COST: f32 = 0.01;
const OCTAVE_JUMP_COST: f32 = 0.35;
const VOICED_UNVOICED_COST: f32 = 0.14;

/// Pitch and harmonicity of a voiced frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Voiced {
    /// Fundamental frequency.
    pub(super) hz: f32,
    /// Autocorrelation at the period, 0..1.
    pub(super) strength: f32,
}

/// The voicing of each frame.
pub(super) type Track = Vec<Option<Voiced>>;

/// The pitch of each frame of each excerpt of a recording with this largest magnitude.
pub(super) fn tracks(
    excerpts: &[Pcm],
    peak: f32,
    deadline: &Deadline,
) -> Result<Vec<Track>, MeasureError> {
    let pass = |floor_hz, ceiling_hz| {
        let mut analyser = PitchAnalyser::new(floor_hz, ceiling_hz, peak)?;
        excerpts
            .iter()
            .map(|excerpt| analyser.track(excerpt.samples(), deadline))
            .collect::<Result<Vec<Track>, MeasureError>>()
    };
    let first = pass(FLOOR_HZ, CEILING_HZ)?;
    let voiced = first.iter().flatten().flatten();
    let mut pitches_hz: Vec<f32> = voiced.map(|voiced| voiced.hz).collect();
    pitches_hz.sort_unstable_by(f32::total_cmp);
    let count = pitches_hz.len();
    match (pitches_hz.get(count / 4), pitches_hz.get(count * 3 / 4)) {
        (Some(lower), Some(upper)) => pass(
            (BELOW_LOWER_QUARTILE * lower).max(FLOOR_HZ),
            (ABOVE_UPPER_QUARTILE * upper).min(CEILING_HZ),
        ),
        _ => Ok(first),
    }
}

/// Finds the pitch in a range, one excerpt after the other.
struct PitchAnalyser {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
    /// Autocorrelation of the window, 1 at lag 0.
    window_correlation: Vec<f32>,
    floor_hz: f32,
    ceiling_hz: f32,
    frame: Vec<f32>,
    spectrum: Vec<Complex32>,
    padded: Vec<Complex32>,
    correlation: Vec<f32>,
    scratch: Vec<Complex32>,
    peak: f32,
}

impl PitchAnalyser {
    /// For a recording with this largest magnitude.
    fn new(floor_hz: f32, ceiling_hz: f32, peak: f32) -> Result<Self, FftError> {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(FFT);
        let inverse = planner.plan_fft_inverse(FFT * LAGS_PER_SAMPLE);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        let half_window = (WINDOW_PERIODS / 2.0 * ANALYSIS_RATE_HZ as f32 / floor_hz) as usize;
        let mut analyser = Self {
            window: hann(2 * half_window.min(MARGIN)),
            window_correlation: Vec::new(),
            floor_hz,
            ceiling_hz,
            frame: forward.make_input_vec(),
            spectrum: forward.make_output_vec(),
            padded: inverse.make_input_vec(),
            correlation: inverse.make_output_vec(),
            scratch: vec![Complex32::default(); scratch],
            forward,
            inverse,
            peak,
        };
        analyser.frame[..analyser.window.len()].copy_from_slice(&analyser.window);
        analyser.correlate()?;
        analyser.window_correlation = analyser.normalised();
        Ok(analyser)
    }

    /// The pitch of each frame.
    fn track(&mut self, samples: &[f32], deadline: &Deadline) -> Result<Track, MeasureError> {
        let candidates = (0..frames(samples.len()))
            .map(|frame| {
                deadline.check()?;
                Ok(self.candidates(samples, centre(frame))?)
            })
            .collect::<Result<Vec<Candidates>, MeasureError>>()?;
        Ok(best_path(&candidates))
    }

    fn candidates(&mut self, samples: &[f32], centre: usize) -> Result<Candidates, FftError> {
        let half_window = self.window.len() / 2;
        let around = &samples[centre - half_window..centre + half_window];
        let mean = around.iter().sum::<f32>() / around.len() as f32;
        // The middle period at the floor.
        let half_period = (ANALYSIS_RATE_HZ as f32 / self.floor_hz / 2.0) as usize;
        let peak = around[half_window - half_period..half_window + half_period]
            .iter()
            .fold(0.0_f32, |peak, sample| peak.max((sample - mean).abs()));
        let intensity = if self.peak > 0.0 {
            peak / self.peak
        } else {
            0.0
        };
        let quiet = 2.0 - intensity * (1.0 + VOICING_THRESHOLD) / SILENCE_THRESHOLD;
        let unvoiced = VOICING_THRESHOLD + quiet.max(0.0);
        if peak == 0.0 {
            return Ok(Candidates {
                unvoiced,
                voiced: Vec::new(),
            });
        }

        self.frame.fill(0.0);
        for ((value, sample), weight) in self.frame.iter_mut().zip(around).zip(&self.window) {
            *value = (sample - mean) * weight;
        }
        self.correlate()?;
        let mut r = self.normalised();
        for (value, window) in r.iter_mut().zip(&self.window_correlation) {
            *value /= window;
        }
        let shortest = (LAG_RATE_HZ / self.ceiling_hz) as usize;
        let mut voiced: Vec<Candidate> = (shortest..r.len() - 1)
            .filter(|&lag| r[lag] > 0.5 * VOICING_THRESHOLD)
            .filter(|&lag| r[lag] > r[lag - 1] && r[lag] >= r[lag + 1])
            .map(|lag| Candidate::at_maximum(lag, [r[lag - 1], r[lag], r[lag + 1]]))
            .filter(|candidate| candidate.voiced.hz >= self.floor_hz)
            .filter(|candidate| candidate.voiced.hz <= self.ceiling_hz)
            .collect();
        voiced.sort_by(|a, b| b.score.total_cmp(&a.score));
        voiced.truncate(MAX_CANDIDATES);
        Ok(Candidates { unvoiced, voiced })
    }

    /// Autocorrelation of `frame` at twice its rate, into `correlation`.
    fn correlate(&mut self) -> Result<(), FftError> {
        self.forward.process_with_scratch(
            &mut self.frame,
            &mut self.spectrum,
            &mut self.scratch[..self.forward.get_scratch_len()],
        )?;
        self.padded.fill(Complex32::default());
        for (power, bin) in self.padded.iter_mut().zip(&self.spectrum) {
            *power = Complex32::new(bin.norm_sqr(), 0.0);
        }
        // The bin at the old Nyquist frequency stands for two at the new rate.
        self.padded[FFT / 2] *= 0.5;
        self.inverse.process_with_scratch(
            &mut self.padded,
            &mut self.correlation,
            &mut self.scratch[..self.inverse.get_scratch_len()],
        )
    }

    fn normalised(&self) -> Vec<f32> {
        // The longest period, and a neighbour for the parabola.
        let lags = (LAG_RATE_HZ / self.floor_hz) as usize + 2;
        let power = self.correlation[0].max(f32::MIN_POSITIVE);
        self.correlation[..lags].iter().map(|r| r / power).collect()
    }
}

/// A Hann window of which every value is above 0.
fn hann(length: usize) -> Vec<f32> {
    (0..length)
        .map(|n| {
            let turn = (n as f64 + 0.5) / length as f64 * std::f64::consts::TAU;
            (0.5 - 0.5 * turn.cos()) as f32
        })
        .collect()
}

/// A possible period.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    voiced: Voiced,
    /// Octaves above 1 Hz.
    octave: f32,
    /// Strength less the cost of being low: of two equal maxima the shorter period is meant.
    score: f32,
}

impl Candidate {
    /// From three values around a maximum at `lag`.
    fn at_maximum(lag: usize, [left, middle, right]: [f32; 3]) -> Self {
        let curvature = 2.0 * middle - left - right;
        let offset = 0.5 * (right - left) / curvature;
        let maximum = middle + 0.25 * (right - left) * offset;
        // A changing amplitude can lift the estimate above 1.
        let strength = if maximum > 1.0 {
            1.0 / maximum
        } else {
            maximum
        };
        let hz = LAG_RATE_HZ / (lag as f32 + offset);
        let octave = hz.log2();
        Self {
            voiced: Voiced { hz, strength },
            octave,
            score: strength - OCTAVE_COST * (CEILING_HZ.log2() - octave),
        }
    }
}

/// What a frame can be.
struct Candidates {
    /// Score of being unvoiced.
    unvoiced: f32,
    voiced: Vec<Candidate>,
}

/// One choice in a frame of a path, and the best path that leads to it.
struct Choice {
    candidate: Option<Candidate>,
    score: f32,
    before: usize,
}

/// The path through the candidates that scores most (Viterbi).
fn best_path(frames: &[Candidates]) -> Track {
    let mut steps: Vec<Vec<Choice>> = Vec::with_capacity(frames.len());
    for candidates in frames {
        let before = steps.last().map_or(&[][..], Vec::as_slice);
        let unvoiced = std::iter::once((None, candidates.unvoiced));
        let voiced = candidates.voiced.iter().map(|c| (Some(*c), c.score));
        let choices = unvoiced
            .chain(voiced)
            .map(|(candidate, own)| {
                let scores = before
                    .iter()
                    .map(|choice| choice.score - transition(choice.candidate, candidate));
                let (before, score) = highest(scores).unwrap_or((0, 0.0));
                Choice {
                    candidate,
                    score: score + own,
                    before,
                }
            })
            .collect();
        steps.push(choices);
    }
    let last = steps.last().map_or(&[][..], Vec::as_slice);
    let mut place = highest(last.iter().map(|choice| choice.score)).map_or(0, |(place, _)| place);
    let mut track: Track = steps
        .iter()
        .rev()
        .map(|choices| {
            let choice = &choices[place];
            place = choice.before;
            choice.candidate.map(|candidate| candidate.voiced)
        })
        .collect();
    track.reverse();
    track
}

/// The highest value and its place.
fn highest(values: impl Iterator<Item = f32>) -> Option<(usize, f32)> {
    values.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// The frames are as far apart as the costs expect: 10 ms.
fn transition(from: Option<Candidate>, to: Option<Candidate>) -> f32 {
    match (from, to) {
        (None, None) => 0.0,
        (Some(from), Some(to)) => OCTAVE_JUMP_COST * (from.octave - to.octave).abs(),
        _ => VOICED_UNVOICED_COST,
    }
}

/// The voiced frames of all excerpts.
#[derive(Default)]
pub(super) struct VoicedFrames {
    pitches_hz: Vec<f32>,
    harmonics_to_noise_db: Moments,
    strength: Moments,
}

impl VoicedFrames {
    /// Harmonics to noise of a frame are at most 60 dB: single precision knows no more.
    const MAX_STRENGTH: f64 = 1.0 - 1e-6;

    /// Adds an excerpt.
    pub(super) fn add(&mut self, track: &Track) {
        for voiced in track.iter().flatten() {
            self.pitches_hz.push(voiced.hz);
            let strength = f64::from(voiced.strength).clamp(1e-6, Self::MAX_STRENGTH);
            self.strength.add(strength);
            let ratio = strength / (1.0 - strength);
            self.harmonics_to_noise_db.add(10.0 * ratio.log10());
        }
    }

    /// Length of all of them together.
    pub(super) fn seconds(&self) -> f64 {
        (self.pitches_hz.len() * HOP) as f64 / f64::from(ANALYSIS_RATE_HZ)
    }

    /// Pitch of each.
    pub(super) fn pitches_hz(&self) -> &[f32] {
        &self.pitches_hz
    }

    /// Pitch that 2 % stay below, and 98 %; 0 of none.
    pub(super) fn outer_percentiles_hz(&mut self) -> (f32, f32) {
        self.pitches_hz.sort_unstable_by(f32::total_cmp);
        let count = self.pitches_hz.len();
        let at = |place: usize| self.pitches_hz.get(place).copied().unwrap_or(0.0);
        let outside = count / 50;
        (at(outside), at(count.saturating_sub(outside + 1)))
    }

    /// Mean harmonics to noise; 0 of none.
    pub(super) fn harmonics_to_noise_db(&self) -> f64 {
        self.harmonics_to_noise_db.mean()
    }

    /// Mean share of noise in the power; 0 of none.
    pub(super) fn noise_share(&self) -> f64 {
        if self.pitches_hz.is_empty() {
            return 0.0;
        }
        1.0 - self.strength.mean()
    }
}
