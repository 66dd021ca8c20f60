//! Recording to acoustic measures of the voice: pitch, spectrum, cepstrum, level, regularity, rhythm.
//!
//! No model is involved; each measure has a published definition:
//!
//! | measure | definition | file |
//! | --- | --- | --- |
//! | pitch, harmonics to noise, breathiness | autocorrelation after Boersma (1993) | `pitch` |
//! | jitter, shimmer | "local", as Praat's manual defines them | `pulses` |
//! | centroid, bandwidth, rolloff, flatness | as librosa defines them | `spectrum` |
//! | brightness, warmth, nasality | shares of the spectrum | `spectrum` |
//! | MFCC | mel bands after Slaney, orthonormal DCT-II, as in librosa | `mfcc` |
//! | level, silence, dynamic range | root mean square of frames of 20 ms | `energy` |
//! | speech rate | words, else syllable nuclei after de Jong and Wempe (2009) | `rhythm` |
//! | classification | ranges of the mean pitch | `classify` |
//!
//! Level and silence are those of the whole recording. Everything else is measured at 16 kHz, on frames
//! whose centres are 10 ms apart, in at most two minutes of the recording: a longer one is cut into
//! 24 equal stretches, and of each the five seconds with most sound are taken. So time and memory
//! have a bound that does not depend on the length, but for eight bytes for each 20 ms.
//!
//! Deviations from Praat 6.1 and librosa 0.11, which tests/fixtures/voice-measures/generate.py runs, on 24
//! recordings of 5 to 20 s in five languages; the largest are those of one recording of 5 s where the
//! two judge an octave differently (see docs/adr/0010-voice-measures.md for why these definitions):
//!
//! | measure | reference | median | largest |
//! | --- | --- | --- | --- |
//! | mean pitch | Praat | 0.2 % | 3.5 % |
//! | standard deviation of the pitch | Praat | 1.6 % | 22 %, the next 6 % |
//! | harmonics to noise | Praat | 0.13 dB | 0.62 dB |
//! | jitter | Praat | 0.0013 | 0.0025 |
//! | shimmer | Praat | 0.0033 | 0.015 |
//! | centroid, bandwidth, rolloff | librosa | < 0.001 % | 2.0 % where resampled |
//! | flatness | librosa | < 1e-6 | 0.0006 where resampled |
//! | MFCC | librosa | < 0.0001 dB | 0.1 dB where resampled |
//!
//! On synthetic signals the mean pitch is within 0.05 Hz, the jitter within 0.00002, the spectrum within
//! 0.2 Hz and the cepstrum within 0.005 dB.
//!
//! One core measures 60 s in about 0.3 s, and half an hour in 0.8 s; without optimisation, as in the dev
//! profile, it takes some fifty times as long.

mod classify;
mod compare;
mod energy;
mod error;
mod excerpts;
mod mfcc;
mod moments;
mod pitch;
mod pulses;
mod rhythm;
mod spectrum;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

pub use compare::{SAME_SPEAKER, compare};
pub use error::MeasureError;

use crate::domain::measures::{
    MeasureMetadata, PitchMeasures, ProsodyMeasures, QualityMeasures, VoiceMeasures,
};
use crate::domain::{Deadline, Pcm};
use crate::stages::decode::resample;
use energy::Levels;
use moments::{Moments, finite};
use pitch::VoicedFrames;
use pulses::Perturbation;
use rhythm::SyllableCounter;
use spectrum::SpectrumAnalyser;

/// Rate at which pitch and spectrum are measured: what speech holds above 8 kHz says little about the
/// speaker, and telephones and codecs remove it.
const ANALYSIS_RATE_HZ: u32 = 16_000;

/// Samples from one frame's centre to the next: 10 ms.
const HOP: usize = 160;

/// Samples around a frame's centre that must be there on each side: half of the longest window.
const MARGIN: usize = 320;

/// Speech after which the confidence has reached 63 % of what the noise allows.
const CONFIDENT_VOICED_S: f64 = 3.0;

/// Signal to noise from which on the noise no longer lowers the confidence.
const CONFIDENT_SNR_DB: f64 = 20.0;

/// Frames of a recording at the rate of the analysis.
fn frames(samples: usize) -> usize {
    (samples + HOP).saturating_sub(2 * MARGIN) / HOP
}

/// The sample in the centre of a frame.
fn centre(frame: usize) -> usize {
    MARGIN + frame * HOP
}

/// Measures a voice recording of any length and of any rate from 8 kHz on, as whatever is decoded has,
/// on the caller's thread; `deadline` is looked at with every frame. What lies above half the rate is
/// missing in the spectrum, so recordings of unlike rates differ in it.
///
/// The speech rate is estimated from the syllables that can be heard; who has a transcript knows better,
/// see [`VoiceMeasures::with_words`].
///
/// `metadata.confidence` is (1 − exp(−v / 3 s)) · min(1, SNR / 20 dB), v being the length of the voiced
/// frames. The SNR is the larger of two estimates, since each falls short in its own way: the dynamic
/// range, which is small when nobody pauses, and the harmonics to noise, which count breath as noise.
///
/// # Errors
/// Samples that are not finite, or the deadline.
pub fn measure(pcm: &Pcm, deadline: &Deadline) -> Result<VoiceMeasures, MeasureError> {
    let begun_at = Instant::now();
    let levels = Levels::of(pcm, deadline)?;
    let energy = levels.measures();
    let excerpts = excerpts::choose(&levels, pcm)
        .into_iter()
        .map(|range| excerpt(pcm, range))
        .collect::<Result<Vec<Pcm>, _>>()?;
    let tracks = pitch::tracks(&excerpts, levels.peak(), deadline)?;

    let mut voiced = VoicedFrames::default();
    let mut perturbation = Perturbation::default();
    let mut spectrum = SpectrumAnalyser::new(levels.silence_level());
    let mut syllables = SyllableCounter::new(levels.silence_level());
    for (excerpt, track) in excerpts.iter().zip(tracks) {
        voiced.add(&track);
        perturbation.add(excerpt.samples(), &track, deadline)?;
        spectrum.add(excerpt.samples(), &track, deadline)?;
        syllables.add(excerpt.samples(), &track);
    }

    let duration_s = seconds(pcm);
    let analysed_s = excerpts.iter().map(seconds).sum();
    let harmonics_to_noise = voiced.harmonics_to_noise_db();
    let confidence = confidence(
        voiced.seconds(),
        f64::from(energy.dynamic_range_db).max(harmonics_to_noise),
    );
    let pitch = pitch_measures(&mut voiced);
    let speech_rate = rhythm::per_minute(syllables.words(), analysed_s);
    Ok(VoiceMeasures {
        classification: classify::classify(&pitch, confidence),
        pitch,
        spectral: spectrum.measures(voiced.noise_share()),
        energy,
        quality: QualityMeasures {
            harmonics_to_noise: finite(harmonics_to_noise),
            jitter: finite(perturbation.jitter()),
            shimmer: finite(perturbation.shimmer()),
        },
        prosody: ProsodyMeasures {
            speech_rate_wpm: finite(speech_rate),
        },
        mfcc: spectrum.mfcc(),
        metadata: MeasureMetadata {
            sample_rate: pcm.sample_rate_hz(),
            bit_depth: 32,
            channels: 1,
            codec: "pcm_f32le",
            duration_seconds: finite(duration_s),
            analysis_time_ms: u64::try_from(begun_at.elapsed().as_millis()).unwrap_or(u64::MAX),
            confidence,
        },
    })
}

/// A part of the recording at the rate of the analysis. Floating point recordings may go beyond full
/// scale; what does is clipped, as it would be in any loudspeaker.
fn excerpt(pcm: &Pcm, range: std::ops::Range<usize>) -> Result<Pcm, MeasureError> {
    let samples: Arc<[f32]> = pcm.samples()[range]
        .iter()
        .map(|sample| sample.clamp(-1.0, 1.0))
        .collect();
    Ok(resample(
        &Pcm::new(samples, pcm.sample_rate_hz()),
        ANALYSIS_RATE_HZ,
    )?)
}

fn seconds(pcm: &Pcm) -> f64 {
    pcm.samples().len() as f64 / f64::from(pcm.sample_rate_hz())
}

fn pitch_measures(voiced: &mut VoicedFrames) -> PitchMeasures {
    let moments: Moments = voiced.pitches_hz().iter().copied().map(f64::from).collect();
    let (min_hz, max_hz) = voiced.outer_percentiles_hz();
    PitchMeasures {
        mean_hz: finite(moments.mean()),
        std_hz: finite(moments.std()),
        min_hz,
        max_hz,
        range_hz: max_hz - min_hz,
    }
}

fn confidence(voiced_s: f64, snr_db: f64) -> f32 {
    let heard = 1.0 - (-voiced_s / CONFIDENT_VOICED_S).exp();
    let clarity = (snr_db / CONFIDENT_SNR_DB).clamp(0.0, 1.0);
    finite(heard * clarity)
}
