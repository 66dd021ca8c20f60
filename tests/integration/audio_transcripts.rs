//! Whose words are taken, in which language, and how sure.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::models::{copied_models, replace};
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, bundled_samples, voice_message};
use crate::support::wav::wav;

/// A message to transcribe only; returns its transcription.
fn transcription(daemon: &Daemon, gateway: &mut Gateway, name: &str, fields: Value) -> Value {
    let mut request = voice_message(name, &[]);
    for (key, value) in fields.as_object().unwrap() {
        request[key] = value.clone();
    }
    let recording = recordings::bundled();
    let expected = Expected::spoken(&[]);
    let answer = Answer::to(gateway, daemon, &request, &[&recording], expected);
    answer.completed().json["transcription"].clone()
}

#[test]
fn the_devices_words_are_used_as_they_are() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let mut of = |name: &str, fields: Value| transcription(&daemon, &mut gateway, name, fields);

    let full = of(
        "full",
        json!({"mobileTranscription": {
            "text": "Guten Abend. Bis gleich.", "language": "de-AT", "confidence": 0.71, "source": "whisperkit",
            "segments": [
                {"text": "Guten Abend.", "startMs": 100, "endMs": 900, "confidence": 0.6},
                {"text": "Bis gleich.", "start_ms": 1000, "end_ms": 1800},
            ],
        }}),
    );
    assert_eq!(full["text"], "Guten Abend. Bis gleich.");
    assert_eq!(full["language"], "de");
    assert_eq!(full["confidence"], 0.71);
    assert_eq!(full["source"], "mobile");
    assert_eq!(full["model"], "whisperkit");
    assert_eq!(
        full["segments"],
        json!([
            {"text": "Guten Abend.", "startMs": 100, "endMs": 900, "confidence": 0.6},
            {"text": "Bis gleich.", "startMs": 1000, "endMs": 1800, "confidence": 0.9},
        ])
    );

    let text = "Good evening, I am on my way and will be with you in half an hour.";
    let sparse = of("sparse", json!({"mobileTranscription": {"text": text}}));
    assert_eq!(sparse["language"], "en", "told by the text");
    assert_eq!(sparse["confidence"], 0.85);
    assert!(
        sparse["durationMs"].as_u64().unwrap() > 5000,
        "measured in the recording"
    );

    let auto = of(
        "auto",
        json!({"mobileTranscription": {"text": text, "language": "auto"}, "userLanguage": "pt-BR"}),
    );
    assert_eq!(
        auto["language"], "pt",
        "the sender's own language goes before the text"
    );
}

#[test]
fn without_words_of_the_device_the_recording_is_heard() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let mut of = |name: &str, fields: Value| transcription(&daemon, &mut gateway, name, fields);

    let blank = of(
        "blank",
        json!({"mobileTranscription": {"text": " \n", "language": "fr"}}),
    );
    assert_eq!(blank["source"], "whisper");
    assert!(!blank["text"].as_str().unwrap().trim().is_empty());
    let heard = blank["language"].as_str().unwrap().to_owned();

    // A language that is recognised in a few seconds is worth less than what the sender says.
    let short = of(
        "short",
        json!({"userLanguage": "FR-ca", "audioDurationMs": 3000}),
    );
    assert_eq!(short["language"], "fr");
    assert_ne!(heard, "fr");
    // In a long recording a language that is recognised surely is worth more.
    let long = of(
        "long",
        json!({"userLanguage": "deu", "audioDurationMs": 60_000}),
    );
    assert_eq!(long["language"], heard);
    // A word that is none leaves it to the recogniser.
    let unknown = of("unknown", json!({"userLanguage": "auto"}));
    assert_eq!(unknown["language"], heard);
}

/// What is heard in some samples at 16 kHz; the message is also to be spoken in French.
fn heard(daemon: &Daemon, gateway: &mut Gateway, name: &str, samples: &[f32]) -> Value {
    let is_blank = name.starts_with("no ");
    let spoken: &[&str] = if is_blank { &[] } else { &["fr"] };
    let request = voice_message(name, &["fr"]);
    let recording = wav(samples.iter().copied(), 1, 16_000);
    let expected = Expected::spoken(spoken);
    let answer = Answer::to(gateway, daemon, &request, &[&recording], expected);
    let transcription = answer.completed().json["transcription"].clone();
    assert_eq!(
        transcription["text"] == "",
        is_blank,
        "{name}: {transcription}"
    );
    if is_blank {
        assert_eq!(transcription["confidence"], 0.0, "{name}");
        assert_eq!(answer.kinds(), ["audio_process_completed"], "{name}");
    }
    transcription
}

fn chord(amplitude: f32, seconds: usize) -> Vec<f32> {
    let tones = [261.6_f32, 329.6, 392.0];
    (0..seconds * 16_000)
        .map(|i| {
            let at = i as f32 * std::f32::consts::TAU / 16_000.0;
            amplitude * tones.iter().map(|hertz| (hertz * at).sin()).sum::<f32>()
        })
        .collect()
}

#[test]
fn only_what_the_detector_takes_for_speech_is_heard() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    // Louder than silence, too quiet for the bundled detector.
    let hum = chord(0.002, 3);
    let transcription = heard(&daemon, &mut gateway, "no speech in a hum", &hum);
    assert_eq!(transcription["language"], "fr", "the default language");
    assert_eq!(transcription["durationMs"], 3_000);
    let speech = bundled_samples(16_000);
    let late = [vec![0.0; 5 * 16_000], speech].concat();
    let transcription = heard(&daemon, &mut gateway, "late", &late);
    let start_ms = transcription["segments"][0]["startMs"].as_u64().unwrap();
    assert!((4_800..5_500).contains(&start_ms), "{transcription}");
}

#[test]
fn music_and_noise_are_no_speech_to_the_real_detector() {
    let (Some(speech), Some(shared)) =
        (recordings::real("jfk/jfk.wav"), recordings::shared_folder())
    else {
        return;
    };
    let detector = std::fs::read(shared.join("models/vad/silero/silero_vad.onnx")).unwrap();
    let models = copied_models();
    replace(models.path(), "vad/silero_vad.onnx", &detector);
    let daemon = Daemon::start_with(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    let mut gateway = Gateway::connect(daemon.ports);
    heard(&daemon, &mut gateway, "no speech in music", &chord(0.2, 4));
    let mut x = 1_u32;
    let noise: Vec<f32> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / 16_777_216.0 * 0.4 - 0.2
    })
    .take(4 * 16_000)
    .collect();
    heard(&daemon, &mut gateway, "no speech in noise", &noise);
    let request = voice_message("speech", &[]);
    let speech = std::fs::read(speech).unwrap();
    let expected = Expected::spoken(&[]);
    let answer = Answer::to(&mut gateway, &daemon, &request, &[&speech], expected);
    assert_ne!(answer.completed().json["transcription"]["text"], "");
}
