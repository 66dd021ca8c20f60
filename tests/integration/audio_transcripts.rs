//! Whose words are taken, in which language, and how sure.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, voice_message};

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
}
