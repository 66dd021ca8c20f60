use std::f64::consts::{PI, TAU};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::Stop;
use crate::domain::measures::{EstimatedGender, VoiceType};
use crate::onnx::testing::{root, shared};
use crate::stages::StageError;
use crate::stages::decode::{DecodeLimits, decode};

const RATE_HZ: u32 = 16_000;

/// The signals of tests/fixtures/voice-measures/generate.py.
fn signal(name: &str) -> Pcm {
    let count = 2 * RATE_HZ as usize;
    let sampled = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
        (0..count)
            .map(|n| f(n as f64 / f64::from(RATE_HZ)))
            .collect()
    };
    let samples = match name {
        "tone" => sampled(&|t| 0.5 * (TAU * 220.0 * t).sin()),
        "stack" => sampled(&|t| stack(120.0 * t)),
        "vibrato" => {
            sampled(&|t| stack(200.0 * t + 200.0 * 0.05 / (TAU * 5.0) * (TAU * 5.0 * t).sin()))
        }
        "noisy_stack" => sampled(&|t| stack(150.0 * t))
            .into_iter()
            .zip(noise(count))
            .map(|(sample, noise)| sample + 0.05 * noise)
            .collect(),
        "syllables" => sampled(&|t| stack(130.0 * t) * (PI * 4.0 * t).sin().powi(2)),
        "pulses" => struck_resonance(count),
        "noise" => noise(count).into_iter().map(|noise| 0.3 * noise).collect(),
        _ => panic!("{name} is no signal"),
    };
    let samples: Vec<f32> = samples.into_iter().map(|sample| sample as f32).collect();
    Pcm::new(samples, RATE_HZ)
}

fn noise(count: usize) -> Vec<f64> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(1_u32 << 31) - 1.0
        })
        .collect()
}

fn stack(turns: f64) -> f64 {
    let harmonics = (1..=20).map(f64::from);
    0.2 * harmonics.map(|k| (TAU * k * turns).sin() / k).sum::<f64>()
}

fn struck_resonance(count: usize) -> Vec<f64> {
    let mut samples = vec![0.0; count];
    let (mut time, mut sign) = (0.01, -1.0);
    while time < count as f64 / f64::from(RATE_HZ) {
        for (n, sample) in samples.iter_mut().enumerate() {
            let t = n as f64 / f64::from(RATE_HZ) - time;
            if t >= 0.0 {
                *sample += 0.5 * (1.0 + 0.05 * sign) * (-600.0 * t).exp() * (TAU * 700.0 * t).sin();
            }
        }
        time += 0.008 * (1.0 + 0.01 * sign);
        sign = -sign;
    }
    samples
}

fn measured(pcm: &Pcm) -> VoiceMeasures {
    measure(pcm, &Deadline::none()).unwrap()
}

fn cases() -> serde_json::Map<String, Value> {
    let path = root().join("tests/fixtures/voice-measures/cases.json");
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// How far a measure may be from the reference: absolutely, or as a share of it.
struct Tolerances {
    pitch_share: f32,
    pitch_std_hz: f32,
    outer_pitch_share: f32,
    harmonics_to_noise_db: f32,
    jitter: f32,
    shimmer: f32,
    spectrum_share: f32,
    flatness: f32,
    mfcc: f32,
}

const MAX_HARMONICS_TO_NOISE_DB: f32 = 20.0;

fn assert_near(name: &str, measures: &VoiceMeasures, expected: &Value, allowed: &Tolerances) {
    let assert = |key: &str, actual: f32, tolerance: f32, expected: &Value| {
        let expected = expected.as_f64().unwrap() as f32;
        let off = (actual - expected).abs();
        assert!(
            off <= tolerance,
            "{name}: {key} is {actual}, expected {expected}"
        );
    };
    let absolute = |key: &str, actual: f32, tolerance: f32| {
        assert(key, actual, tolerance, &expected[key]);
    };
    let share = |key: &str, actual: f32, share: f32| {
        let expected = &expected[key];
        assert(
            key,
            actual,
            share * expected.as_f64().unwrap() as f32,
            expected,
        );
    };
    if expected["voiced_s"].as_f64() > Some(0.0) {
        let pitch = &measures.pitch;
        share("mean_hz", pitch.mean_hz, allowed.pitch_share);
        absolute("std_hz", pitch.std_hz, allowed.pitch_std_hz);
        share("min_hz", pitch.min_hz, allowed.outer_pitch_share);
        share("max_hz", pitch.max_hz, allowed.outer_pitch_share);
        let quality = &measures.quality;
        // Beyond, the interpolation is compared and not the sound: tones have no noise at all.
        let limited = |db: f32| db.min(MAX_HARMONICS_TO_NOISE_DB);
        let expected = json!(limited(
            expected["harmonics_to_noise"].as_f64().unwrap() as f32
        ));
        assert(
            "harmonics_to_noise",
            limited(quality.harmonics_to_noise),
            allowed.harmonics_to_noise_db,
            &expected,
        );
        absolute("jitter", quality.jitter, allowed.jitter);
        absolute("shimmer", quality.shimmer, allowed.shimmer);
    } else {
        assert_eq!(measures.pitch, PitchMeasures::default(), "{name}");
        assert_eq!(measures.quality, QualityMeasures::default(), "{name}");
    }
    let spectral = &measures.spectral;
    for (key, actual) in [
        ("centroid_hz", spectral.centroid_hz),
        ("bandwidth_hz", spectral.bandwidth_hz),
        ("rolloff_hz", spectral.rolloff_hz),
    ] {
        let expected_hz = expected[key].as_f64().unwrap() as f32;
        absolute(key, actual, allowed.spectrum_share * expected_hz + 0.2);
    }
    absolute("flatness", spectral.flatness, allowed.flatness);
    for (key, actual) in [
        ("mfcc_mean", measures.mfcc.mean),
        ("mfcc_std", measures.mfcc.std),
    ] {
        let expected = expected[key].as_array().unwrap();
        assert_eq!(expected.len(), actual.len());
        for (actual, expected) in actual.into_iter().zip(expected) {
            assert(key, actual, allowed.mfcc, expected);
        }
    }
}

/// Praat and librosa compute in double precision, which shows in the weakest bins of a pure tone. Praat
/// interpolates the autocorrelation otherwise, which shows in the harmonics to noise.
#[test]
fn signals_are_measured_as_by_praat_and_librosa() {
    let tolerances = Tolerances {
        pitch_share: 0.0005,
        pitch_std_hz: 0.05,
        outer_pitch_share: 0.001,
        harmonics_to_noise_db: 0.7,
        jitter: 1e-4,
        shimmer: 0.005,
        spectrum_share: 1e-4,
        flatness: 1e-6,
        mfcc: 0.01,
    };
    let mut signals = 0;
    for (name, expected) in cases() {
        if let Some(signal_name) = name.strip_prefix("signal ") {
            assert_near(
                &name,
                &measured(&signal(signal_name)),
                &expected,
                &tolerances,
            );
            signals += 1;
        }
    }
    assert_eq!(signals, 7);
}

/// The recordings behind the figures of the module documentation, where they are at hand. Frames at the edge
/// of voicing are judged differently now and then, and an octave error among them moves the extremes.
#[test]
fn recordings_are_measured_as_by_praat_and_librosa() {
    let Some(folder) = shared("audio") else {
        return;
    };
    let tolerances = Tolerances {
        pitch_share: 0.02,
        pitch_std_hz: 3.0,
        outer_pitch_share: 0.1,
        harmonics_to_noise_db: 0.7,
        jitter: 0.003,
        shimmer: 0.02,
        spectrum_share: 0.02,
        flatness: 0.001,
        mfcc: 0.1,
    };
    let cases = cases();
    for name in [
        "jfk/jfk.wav",
        "leopard/test_fr.wav",
        "librispeech/1998-15444-0003.flac",
        "librispeech/2609-156975-0000.flac",
        "ljspeech/LJ001-0001.wav",
    ] {
        let recording = std::fs::read(folder.join(name)).unwrap();
        let limits = DecodeLimits::default();
        let decoded = decode(&recording, &limits, &Deadline::none()).unwrap();
        assert_near(name, &measured(&decoded.pcm), &cases[name], &tolerances);
    }
}

#[test]
fn where_nobody_speaks_there_is_nothing_to_measure() {
    for (what, samples) in [
        ("nothing", Vec::new()),
        ("one sample", vec![0.3]),
        ("a frame less one sample", vec![0.3; 2 * MARGIN - 1]),
        ("silence", vec![0.0; 32_000]),
        ("a constant", vec![0.5; 32_000]),
    ] {
        let measures = measured(&Pcm::new(samples, RATE_HZ));
        assert_eq!(measures.pitch, PitchMeasures::default(), "{what}");
        assert_eq!(measures.quality, QualityMeasures::default(), "{what}");
        assert_eq!(measures.prosody, ProsodyMeasures::default(), "{what}");
        assert_eq!(measures.spectral.breathiness, 0.0, "{what}");
        assert_eq!(measures.metadata.confidence, 0.0, "{what}");
        let classification = measures.classification;
        assert_eq!(classification.voice_type, VoiceType::Unknown, "{what}");
    }
    let silence = measured(&Pcm::new(vec![0.0; 32_000], RATE_HZ));
    assert_eq!(silence.energy.silence_ratio, 1.0);
    assert_eq!(silence.energy.dynamic_range_db, 0.0);
    let noise = measured(&signal("noise"));
    assert_eq!(noise.classification.voice_type, VoiceType::Unknown);
    assert!(noise.metadata.confidence < 0.05);
}

#[test]
fn a_clear_voice_is_classified() {
    let measures = measured(&signal("syllables"));
    let classification = measures.classification;
    assert_eq!(classification.voice_type, VoiceType::MediumMale);
    assert_eq!(classification.estimated_gender, EstimatedGender::Male);
    assert!((0.3..0.7).contains(&measures.metadata.confidence));
}

#[test]
fn the_rate_of_the_recording_does_not_matter() {
    for rate_hz in [8_000, 22_050, 44_100, 48_000] {
        let samples: Vec<f32> = (0..rate_hz)
            .map(|n| stack(120.0 * f64::from(n) / f64::from(rate_hz)) as f32)
            .collect();
        let measures = measured(&Pcm::new(samples, rate_hz));
        let off = (measures.pitch.mean_hz - 120.0).abs();
        assert!(off < 0.1, "{rate_hz} Hz: off by {off}");
        assert_eq!(measures.metadata.sample_rate, rate_hz);
        assert_eq!(measures.metadata.duration_seconds, 1.0);
    }
}

#[test]
fn words_or_syllables_give_the_speech_rate() {
    // Four swells a second.
    let syllables = signal("syllables");
    let by_ear = measured(&syllables).prosody.speech_rate_wpm;
    let expected = 4.0 * 60.0 / 1.35;
    assert!((by_ear - expected).abs() < 1.0, "{by_ear}");
    let by_words = measured(&syllables).with_words(7);
    assert_eq!(by_words.prosody.speech_rate_wpm, 210.0);
    assert_eq!(measured(&signal("stack")).prosody.speech_rate_wpm, {
        // One swell that never falls is one syllable.
        (60.0 / 2.0 / 1.35) as f32
    });
}

#[test]
fn pauses_show_in_the_energy() {
    let mut samples = signal("stack").samples().to_vec();
    samples.extend(vec![1e-4; samples.len()]);
    let energy = measured(&Pcm::new(samples, RATE_HZ)).energy;
    assert!((energy.silence_ratio - 0.5).abs() < 0.01);
    assert!((60.0..80.0).contains(&energy.dynamic_range_db));
    assert!((energy.mean - energy.std).abs() < 0.01 * energy.mean);
}

#[test]
fn what_is_beyond_full_scale_is_clipped() {
    let loud: Vec<f32> = signal("stack").samples().iter().map(|s| s * 1e30).collect();
    let measures = measured(&Pcm::new(loud, RATE_HZ));
    assert!((measures.pitch.mean_hz - 120.0).abs() < 0.1);
    assert!(measures.energy.mean <= 1.0);
}

#[test]
fn samples_that_are_no_numbers_are_refused() {
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let pcm = Pcm::new(vec![0.1, broken, 0.1], RATE_HZ);
        let error = measure(&pcm, &Deadline::none()).unwrap_err();
        assert_eq!(error.reason().as_str(), "malformed_audio");
    }
}

#[test]
fn the_deadline_ends_the_work() {
    let deadline = Deadline::none();
    deadline.cancel();
    let error = measure(&signal("tone"), &deadline).unwrap_err();
    assert!(matches!(error, MeasureError::Stopped(Stop::Cancelled)));
    assert_eq!(error.reason().as_str(), "cancelled");
}

#[test]
fn debug_output_does_not_describe_the_voice() {
    let measures = measured(&signal("tone"));
    let shown = format!("{measures:?} {:?}", measures.mfcc);
    assert!(
        !shown.contains("pitch") && !shown.contains("mean"),
        "{shown}"
    );
}

/// The keys of `result` in the contract's voice_api_success.voice_analyze.json.
#[test]
fn the_wire_form_is_that_of_the_gateway() {
    let value = serde_json::to_value(measured(&signal("syllables"))).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let expected: Value = serde_json::from_str(
        r#"{
            "pitch": ["mean_hz", "std_hz", "min_hz", "max_hz", "range_hz"],
            "classification": ["voice_type", "estimated_gender", "estimated_age_range"],
            "spectral": ["centroid_hz", "bandwidth_hz", "rolloff_hz", "flatness", "brightness",
                         "warmth", "breathiness", "nasality"],
            "energy": ["mean", "std", "dynamic_range_db", "silence_ratio"],
            "quality": ["harmonics_to_noise", "jitter", "shimmer"],
            "prosody": ["speech_rate_wpm"],
            "mfcc": ["mean", "std"],
            "metadata": ["sample_rate", "bit_depth", "channels", "codec", "duration_seconds",
                         "analysis_time_ms", "confidence"]
        }"#,
    )
    .unwrap();
    assert_eq!(keys(&value), keys(&expected));
    for (group, expected) in expected.as_object().unwrap() {
        let expected: Vec<String> = serde_json::from_value(expected.clone()).unwrap();
        let mut actual = keys(&value[group]);
        let mut sorted = expected.clone();
        actual.sort();
        sorted.sort();
        assert_eq!(actual, sorted, "{group}");
    }
    assert_eq!(value["classification"]["voice_type"], "medium_male");
}

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(values) => values.iter().all(is_finite),
        Value::Object(fields) => fields.values().all(is_finite),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_recording_gives_finite_measures_that_equal_themselves(
        samples in prop::collection::vec(
            prop_oneof![-1.0_f32..1.0, Just(0.0_f32), Just(1e38_f32), Just(1e-38_f32)],
            0..6_000,
        ),
        period in 1_usize..400,
        rate_hz in prop::sample::select(vec![8_000_u32, 11_025, 16_000, 44_100]),
    ) {
        // Every second case repeats itself, so that there is a pitch.
        let periodic: Vec<f32> = samples.iter().take(period).copied().cycle().take(samples.len()).collect();
        for samples in [samples, periodic] {
            let measures = measured(&Pcm::new(samples, rate_hz));
            prop_assert!(is_finite(&serde_json::to_value(&measures).unwrap()));
            let comparison = compare(&measures, &measures, None);
            prop_assert!(comparison.overall_score > 0.999);
            prop_assert!(comparison.is_likely_same_speaker);
        }
    }
}
