//! Results that are given out again: the same events as those of a computation, without its work.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, repeated_recording, voice_message};

const CACHE: &str = "translator_cache_requests_total";
const STAGES: &str = "translator_stage_duration_seconds_count";

const FRENCH: Expected<'static> = Expected {
    spoken: &["fr"],
    failing: 0,
    error: None,
};

/// A message in the default voice, which does not change from message to message.
fn plain_message(name: &str, targets: &[&str]) -> Value {
    let mut message = voice_message(name, targets);
    message["generateVoiceClone"] = json!(false);
    message
}

fn count(daemon: &Daemon, cache: &str, outcome: &str) -> u64 {
    let labels = [
        &format!("cache=\"{cache}\"")[..],
        &format!("outcome=\"{outcome}\""),
    ];
    daemon.metric(CACHE, &labels) as u64
}

/// How often a stage ran.
fn runs(daemon: &Daemon, stage: &str) -> u64 {
    daemon.metric(STAGES, &[&format!("stage=\"{stage}\"")]) as u64
}

#[test]
fn a_recording_that_comes_again_is_answered_alike_without_the_work() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let expected = Expected::spoken(&["fr", "es"]);
    let first = plain_message("first", &["fr", "es"]);
    let first = Answer::to(&mut gateway, &daemon, &first, &[&recording], expected);
    assert_eq!(count(&daemon, "transcript", "miss"), 1);
    assert_eq!(count(&daemon, "speech", "miss"), 2);

    // Another message of another sender, as base64, in another order; the order of events is checked.
    use base64::Engine as _;
    let mut second = plain_message("second", &["es", "de", "fr"]);
    second.as_object_mut().unwrap().remove("binaryFrames");
    second["audioBase64"] = json!(base64::engine::general_purpose::STANDARD.encode(&recording));
    let expected = Expected::spoken(&["es", "de", "fr"]);
    let second = Answer::to(&mut gateway, &daemon, &second, &[], expected);
    assert_alike(&first, &second, &["fr", "es"]);
    assert_eq!(
        second.completed().json["transcription"]["source"],
        "whisper"
    );
    assert_eq!(count(&daemon, "transcript", "hit"), 1);
    assert_eq!(count(&daemon, "speech", "hit"), 2);
    assert_eq!(runs(&daemon, "transcribe"), 1);
    assert_eq!(runs(&daemon, "synthesize"), 3);
    assert_eq!(runs(&daemon, "encode"), 3);

    // What is only to be written down has been written down.
    gateway.send(
        &json!({
            "type": "transcription_only", "taskId": "task", "messageId": "third",
            "audioFormat": "ogg", "binaryFrames": {"audio": 1},
        }),
        &[&recording],
    );
    let events = gateway.events_of("third", &["transcription_completed"]);
    assert_eq!(
        events[0].json["transcription"],
        first.completed().json["transcription"]
    );

    // It outlives the process.
    assert_eq!(daemon.terminate().code(), Some(0));
    daemon.restart();
    let mut gateway = Gateway::connect(daemon.ports);
    let fourth = plain_message("fourth", &["fr"]);
    let fourth = Answer::to(&mut gateway, &daemon, &fourth, &[&recording], FRENCH);
    assert_alike(&first, &fourth, &["fr"]);
    assert_eq!(runs(&daemon, "transcribe"), 0);
    assert_eq!(runs(&daemon, "synthesize"), 0);
}

/// Asserts that two answers say the same, but for the names of files.
fn assert_alike(one: &Answer, other: &Answer, languages: &[&str]) {
    let transcription = |answer: &Answer| answer.completed().json["transcription"].clone();
    assert_eq!(transcription(one), transcription(other));
    for language in languages {
        assert!(one.speech(language) == other.speech(language), "{language}");
        let said = |answer: &Answer| {
            let mut audio = answer.translated(language).clone();
            let fields = audio.as_object_mut().unwrap();
            assert!(fields.remove("audioPath").is_some() && fields.remove("audioUrl").is_some());
            audio
        };
        assert_eq!(said(one), said(other), "{language}");
    }
}

#[test]
fn what_decides_a_transcript_is_part_of_its_key() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let mut language_of = |name: &str, user_language: Value| {
        let mut message = voice_message(name, &[]);
        message["userLanguage"] = user_language;
        message["audioDurationMs"] = json!(3000);
        let expected = Expected::spoken(&[]);
        let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);
        answer.completed().json["transcription"]["language"].clone()
    };
    assert_eq!(language_of("german", json!("de")), "de");
    assert_eq!(language_of("french", json!("fr")), "fr");
    assert_eq!(language_of("german-again", json!("DE-at")), "de");
    assert_eq!(language_of("none", Value::Null), "en");
    assert_eq!(count(&daemon, "transcript", "miss"), 3);
    assert_eq!(count(&daemon, "transcript", "hit"), 1);
}

#[test]
fn a_voice_that_has_changed_is_heard() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let mut speech = |name: &str, recording: &[u8]| {
        let mut message = voice_message(name, &["fr"]);
        message["senderId"] = json!("ann");
        let answer = Answer::to(&mut gateway, &daemon, &message, &[recording], FRENCH);
        let version = answer.completed().json["newVoiceProfile"]["version"].clone();
        (answer.speech("fr").to_vec(), version)
    };
    let recording = recordings::bundled();
    let (first, version) = speech("first", &recording);
    assert_eq!(version, 1);
    // More of the same speaker improves the voice.
    let (_, version) = speech("longer", &repeated_recording(2));
    assert_eq!(version, 2);
    let (second, _) = speech("second", &recording);
    assert_ne!(first, second, "spoken in the improved voice");
    assert_eq!(count(&daemon, "speech", "hit"), 0);
    assert_eq!(count(&daemon, "speech", "miss"), 3);
    assert_eq!(count(&daemon, "transcript", "hit"), 1);
}

#[test]
fn wishes_about_sampling_are_heard_in_either_form() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let mut speech = |name: &str, key: &str, wishes: Value| {
        let mut message = plain_message(name, &["fr"]);
        message[key] = wishes;
        let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
        answer.speech("fr").to_vec()
    };
    let wishes = json!({
        "exaggeration": 0.7, "cfgWeight": 0.4, "temperature": 1.7, "topP": 0.99, "minP": 0.01,
        "repetitionPenalty": 9.0, "autoOptimize": true,
    });
    let usual = speech(
        "usual",
        "voiceCloneParams",
        json!({"quality": {"maxRetries": 1}}),
    );
    let flat = speech("flat", "voiceCloneParams", wishes.clone());
    assert_ne!(usual, flat);
    let nested = json!({"chatterbox": wishes, "performance": {"parallel": true}});
    assert!(speech("nested", "voiceCloneParams", nested) == flat);
    assert!(speech("older", "cloningParams", wishes) == flat);
    assert_eq!(count(&daemon, "speech", "hit"), 2);
    // A single wish counts too, and one that makes no sense does not.
    let greedy = speech("greedy", "voiceCloneParams", json!({"minP": 1.0}));
    assert_ne!(greedy, usual);
    let absurd = json!({"chatterbox": {"temperature": -3, "topP": "high", "minP": 40}});
    assert!(speech("absurd", "voiceCloneParams", absurd) == usual);
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let daemon = Daemon::start_with(&[("TRANSLATION_CACHE_TTL", "0")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let answers = ["first", "second"].map(|name| {
        let message = plain_message(name, &["fr"]);
        Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH)
    });
    assert_alike(&answers[0], &answers[1], &["fr"]);
    assert_eq!(runs(&daemon, "transcribe"), 2);
    assert_eq!(runs(&daemon, "synthesize"), 2);
    for cache in ["transcript", "speech"] {
        assert_eq!(
            count(&daemon, cache, "hit") + count(&daemon, cache, "miss"),
            0
        );
    }
}
