//! Audio as the references hear and write it: resampler and spectra of torchaudio, MP3 of ffmpeg.

use std::f64::consts::TAU;

use meeshy_translator::domain::{Deadline, Pcm};
use meeshy_translator::stages::decode::{DecodeLimits, decode, resample, resample_sinc};
use meeshy_translator::stages::encode::{Mp3Options, mp3};
use realfft::RealFftPlanner;
use serde_json::Value;

use crate::audio_formats::speech_like;
use crate::support::ffmpeg::Ffmpeg;
use crate::support::recordings::shared_folder;
use crate::support::wav::wav;

/// Every recording of the golden features, as the decoder gives it, with its features; none where the
/// shared data is not there.
fn recordings() -> Vec<(Pcm, Value)> {
    let Some(shared) = shared_folder() else {
        return Vec::new();
    };
    let goldens = std::fs::read_to_string(shared.join("goldens/audio-features.jsonl")).unwrap();
    goldens
        .lines()
        .map(|line| {
            let golden: Value = serde_json::from_str(line).unwrap();
            let recording = std::fs::read(shared.join(golden["file"].as_str().unwrap())).unwrap();
            let decoded = decode(&recording, &DecodeLimits::default(), &Deadline::none());
            (decoded.unwrap().pcm, golden)
        })
        .collect()
}

/// The reference is torchaudio at double precision; ours adds up in single precision.
#[test]
fn the_sinc_resampler_equals_the_reference_on_real_recordings() {
    for (source, golden) in recordings() {
        let at_22050 = resample_sinc(&source, 22_050);
        let back = resample_sinc(&at_22050, 16_000);
        for (pcm, feature) in [
            (&at_22050, "resampled_22050"),
            (&back, "resampled_22050_to_16000"),
        ] {
            let worst = worst_sample(pcm, &golden[feature]);
            eprintln!(
                "{} {feature}: largest difference {worst:.1e}",
                golden["file"]
            );
            assert!(worst < 1e-5, "{feature}: {worst}");
        }
    }
}

/// The largest difference of the samples that the golden has; lengths and power are the same.
fn worst_sample(pcm: &Pcm, golden: &Value) -> f64 {
    assert_eq!(
        pcm.samples().len() as u64,
        golden["samples"].as_u64().unwrap()
    );
    let power: f64 = pcm.samples().iter().map(|&x| f64::from(x).powi(2)).sum();
    let rms = (power / pcm.samples().len() as f64).sqrt();
    assert!(
        (rms - golden["rms"].as_f64().unwrap()).abs() < 1e-6,
        "{rms}"
    );
    let from = golden["from"].as_u64().unwrap() as usize;
    let expected = golden["values"].as_array().unwrap();
    expected
        .iter()
        .zip(&pcm.samples()[from..])
        .map(|(value, sample)| (value.as_f64().unwrap() - f64::from(*sample)).abs())
        .fold(0.0, f64::max)
}

/// A spectrogram in mel bands as torchaudio makes it: the window in the middle of the transform, frames
/// centred on multiples of the hop, edges mirrored.
struct Mel {
    rate_hz: u32,
    fft: usize,
    window: Vec<f64>,
    hop: usize,
    bands: usize,
    /// Bands have equal areas (Slaney), or equal heights.
    equal_areas: bool,
}

/// Highest frequency of the bands.
const TOP_HZ: f64 = 8000.0;

impl Mel {
    /// Power in each band, by frames.
    fn power(&self, samples: &[f64]) -> Vec<Vec<f64>> {
        let filters = self.filters();
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(self.fft);
        let (mut input, mut spectrum) = (transform.make_input_vec(), transform.make_output_vec());
        let window_start = (self.fft - self.window.len()) / 2;
        (0..=samples.len() / self.hop)
            .map(|frame| {
                let first = (frame * self.hop) as isize - (self.fft / 2) as isize;
                input.fill(0.0);
                for (index, weight) in self.window.iter().enumerate() {
                    let place = first + (window_start + index) as isize;
                    input[window_start + index] = weight * mirrored(samples, place);
                }
                transform.process(&mut input, &mut spectrum).unwrap();
                let powers: Vec<f64> = spectrum.iter().map(|bin| bin.norm_sqr()).collect();
                let band = |filter: &Vec<f64>| filter.iter().zip(&powers).map(|(w, p)| w * p).sum();
                filters.iter().map(band).collect()
            })
            .collect()
    }

    /// Triangles on HTK's mel scale, over the bins.
    fn filters(&self) -> Vec<Vec<f64>> {
        let mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
        let hz = |mel: f64| 700.0 * (10_f64.powf(mel / 2595.0) - 1.0);
        let edge = |index: usize| hz(mel(TOP_HZ) * index as f64 / (self.bands + 1) as f64);
        let bin_hz = f64::from(self.rate_hz) / self.fft as f64;
        (0..self.bands)
            .map(|band| {
                let [low, peak, high] = [band, band + 1, band + 2].map(edge);
                let height = if self.equal_areas {
                    2.0 / (high - low)
                } else {
                    1.0
                };
                (0..=self.fft / 2)
                    .map(|bin| {
                        let hz = bin as f64 * bin_hz;
                        let rising = (hz - low) / (peak - low);
                        let falling = (high - hz) / (high - peak);
                        rising.min(falling).max(0.0) * height
                    })
                    .collect()
            })
            .collect()
    }
}

fn mirrored(samples: &[f64], place: isize) -> f64 {
    let last = samples.len() as isize - 1;
    let place = place.abs();
    let place = if place > last {
        2 * last - place
    } else {
        place
    };
    samples[place as usize]
}

/// A periodic window of `length` samples that falls to `edge` at its ends.
fn raised_cosine(length: usize, edge: f64) -> Vec<f64> {
    let half = (1.0 - edge) / 2.0;
    (0..length)
        .map(|n| edge + half * (1.0 - (TAU * n as f64 / length as f64).cos()))
        .collect()
}

fn samples_of(pcm: &Pcm) -> Vec<f64> {
    pcm.samples().iter().copied().map(f64::from).collect()
}

/// The largest difference of the frames that the golden has, and of the means of the bands.
fn worst_of(features: &[Vec<f64>], golden: &Value) -> (f64, f64) {
    assert_eq!(features.len() as u64, golden["frames"].as_u64().unwrap());
    let frames =
        |key: &str| -> Vec<Vec<f64>> { serde_json::from_value(golden[key].clone()).unwrap() };
    let last = &features[features.len() - 5..];
    let ours = features[..5].iter().chain(last).flatten();
    let theirs = [frames("first_5"), frames("last_5")].concat();
    let difference = |(a, b): (&f64, &f64)| (a - b).abs();
    let worst = ours
        .zip(theirs.iter().flatten())
        .map(difference)
        .fold(0.0, f64::max);
    let means: Vec<f64> = serde_json::from_value(golden["mean_per_band"].clone()).unwrap();
    let worst_mean = (0..means.len())
        .map(|band| {
            let sum: f64 = features.iter().map(|frame| frame[band]).sum();
            (sum / features.len() as f64 - means[band]).abs()
        })
        .fold(0.0, f64::max);
    (worst, worst_mean)
}

/// What reaches XTTS' networks is what the reference computes from the same file: decoder and resampler add
/// nothing that its spectrograms show. (That the exported graphs compute these spectrograms is what the golden
/// vectors of the bundled models hold.)
#[test]
fn the_spectrograms_of_xtts_are_those_of_the_reference() {
    for (source, golden) in recordings() {
        let at_22050 = resample_sinc(&source, 22_050);
        let conditioning = Mel {
            rate_hz: 22_050,
            fft: 2048,
            window: raised_cosine(1024, 0.0),
            hop: 256,
            bands: 80,
            equal_areas: true,
        };
        let mut log_mel = conditioning.power(&samples_of(&at_22050));
        for value in log_mel.iter_mut().flatten() {
            *value = value.max(1e-5).ln();
        }
        let conditioning = worst_of(&log_mel, &golden["xtts_conditioning_mel"]);

        let at_16000 = samples_of(&resample_sinc(&at_22050, 16_000));
        let emphasized: Vec<f64> = (0..at_16000.len())
            .map(|n| at_16000[n] - 0.97 * mirrored(&at_16000, n as isize - 1))
            .collect();
        let speaker = Mel {
            rate_hz: 16_000,
            fft: 512,
            window: raised_cosine(400, 0.08),
            hop: 160,
            bands: 64,
            equal_areas: false,
        };
        let mut log_mel = speaker.power(&emphasized);
        for value in log_mel.iter_mut().flatten() {
            *value = (*value + 1e-6).ln();
        }
        let speaker = worst_of(&log_mel, &golden["xtts_speaker_log_mel"]);
        for (name, (worst, worst_mean)) in [("conditioning", conditioning), ("speaker", speaker)] {
            eprintln!(
                "{} {name}: largest difference of a value {worst:.1e}, of a band's mean {worst_mean:.1e}",
                golden["file"]
            );
            assert!(
                worst < 5e-2 && worst_mean < 1e-3,
                "{name}: {worst}, {worst_mean}"
            );
        }
    }
}

/// Both are LAME at the same rate, so the noise that the coding adds is the same.
#[test]
fn mp3_is_as_near_to_the_original_as_ffmpegs() {
    let Some(ffmpeg) = Ffmpeg::find() else { return };
    let mut sources = vec![("speech-like".to_owned(), speech_like(5.0))];
    for (pcm, golden) in recordings() {
        sources.push((golden["file"].as_str().unwrap().to_owned(), pcm));
    }
    for (name, source) in sources {
        let original = resample(&source, 24_000).unwrap();
        let file = ffmpeg.write(
            "original.wav",
            &wav(original.samples().iter().copied(), 1, 24_000),
        );
        for bitrate_kbps in [64, 128] {
            let options = Mp3Options { bitrate_kbps };
            let ours = mp3(&original, &options, &Deadline::none()).unwrap();
            let ours = ffmpeg.write("ours.mp3", &ours);
            let theirs = ffmpeg.encode(
                &file,
                &format!("-c:a libmp3lame -b:a {bitrate_kbps}k -f mp3"),
            );
            let [ours, theirs] = [&ours, &theirs].map(|mp3| {
                let decoded = ffmpeg.decode(mp3, 24_000, 1);
                assert_eq!(decoded.samples().len(), original.samples().len(), "{name}");
                signal_to_noise_db(&original, &decoded)
            });
            eprintln!("{name} at {bitrate_kbps} kbit/s: {ours:.2} dB, ffmpeg {theirs:.2} dB");
            assert!(ours > theirs - 0.5, "{name}: {ours} and {theirs}");
        }
    }
}

/// Level of the original over that of what the coding changed, beside the volume.
fn signal_to_noise_db(original: &Pcm, coded: &Pcm) -> f64 {
    let pairs = || {
        let pairs = original.samples().iter().zip(coded.samples());
        pairs.map(|(a, b)| (f64::from(*a), f64::from(*b)))
    };
    let product: f64 = pairs().map(|(a, b)| a * b).sum();
    let volume = product / pairs().map(|(a, _)| a * a).sum::<f64>();
    let signal: f64 = pairs().map(|(a, _)| (volume * a).powi(2)).sum();
    let noise: f64 = pairs().map(|(a, b)| (volume * a - b).powi(2)).sum();
    10.0 * (signal / noise).log10()
}
