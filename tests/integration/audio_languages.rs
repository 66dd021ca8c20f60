//! Which of the target languages of a voice message are heard, and what is said of the others.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, voice_message};

#[test]
fn only_languages_that_can_be_heard_are_answered() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let cases: [(&str, &[&str], Expected<'_>); 8] = [
        ("none", &[], Expected::spoken(&[])),
        // The recogniser hears English.
        ("source", &["EN", "en-GB", "eng"], Expected::spoken(&[])),
        ("one", &["es"], Expected::spoken(&["es"])),
        (
            "spellings",
            &["fr-FR", "en", "FR", "fra", "es"],
            Expected::spoken(&["fr", "es"]),
        ),
        // Swahili and Lingala have no voice: left out before anything starts.
        (
            "without-voice",
            &["sw", "fr", "ln"],
            Expected::spoken(&["fr"]),
        ),
        (
            "all-without-voice",
            &["sw", "ln"],
            Expected::error("tts_failed"),
        ),
        // Russian has a voice, but nothing translates into it.
        (
            "one-fails",
            &["fr", "ru", "es"],
            Expected::spoken(&["fr", "es"]).beside_failing(1),
        ),
        (
            "all-fail",
            &["ru"],
            Expected::error("translation_failed").beside_failing(1),
        ),
    ];
    for (name, targets, expected) in cases {
        eprintln!("{name}");
        let request = voice_message(name, targets);
        Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    }
}

#[test]
fn target_languages_that_are_absent_null_or_no_languages() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let mut absent = voice_message("absent", &[]);
    absent.as_object_mut().unwrap().remove("targetLanguages");
    let mut null = voice_message("null", &[]);
    null["targetLanguages"] = Value::Null;
    // Without a database nobody knows the members of the conversation: transcription only.
    for request in [absent, null] {
        Answer::to(
            &mut gateway,
            &daemon,
            &request,
            &[&recording],
            Expected::spoken(&[]),
        );
    }
    let mut nonsense = voice_message("nonsense", &[]);
    nonsense["targetLanguages"] = json!(["12", 7, ""]);
    let expected = Expected::error("tts_failed");
    Answer::to(&mut gateway, &daemon, &nonsense, &[&recording], expected);
}

#[test]
fn a_job_with_many_languages_is_heard_in_the_first_ones() {
    let daemon = Daemon::start_with(&[("TTS_MAX_EAGER_LANGUAGES", "2")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let request = voice_message("many", &["sw", "es", "en", "it", "fr", "de"]);
    let expected = Expected::spoken(&["es", "it"]);
    Answer::to(
        &mut gateway,
        &daemon,
        &request,
        &[&recordings::bundled()],
        expected,
    );
}

#[test]
fn languages_without_voice_can_be_spoken_by_another_languages_rules() {
    let daemon = Daemon::start_with(&[("TTS_UNSUPPORTED", "english")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let request = voice_message("foreign", &["fr", "sw"]);
    // Swahili may be spoken now, but nothing translates into it.
    let expected = Expected::spoken(&["fr"]).beside_failing(1);
    Answer::to(
        &mut gateway,
        &daemon,
        &request,
        &[&recordings::bundled()],
        expected,
    );
}
