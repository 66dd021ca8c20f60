//! Every way in which a voice message can fail, and the events that say so.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::models::{copied_models, replace};
use crate::support::recordings;
use crate::support::requests::{transcription_only, translation};
use crate::support::voice_job::{Answer, Expected, assert_shapes, voice_message};

/// A message that belongs to a post: all of its events say so.
fn post_message(name: &str, targets: &[&str]) -> Value {
    let mut message = voice_message(name, targets);
    message["postId"] = json!("66b1f0a4c2d3e4f5a6b70001");
    message["postMediaId"] = json!("66b1f0a4c2d3e4f5a6b70002");
    message
}

/// The one event of a message that fails before it is transcribed.
fn only_error(gateway: &mut Gateway, request: &Value, recording: &[u8]) -> Event {
    gateway.send(request, &[recording]);
    let id = request["messageId"].as_str().unwrap();
    let mut events = gateway.events_of(id, &["audio_process_completed", "audio_process_error"]);
    events.extend(gateway.rest_of(id));
    assert_shapes(&events);
    let [error] = &events[..] else {
        panic!("{events:?}")
    };
    for key in ["messageId", "attachmentId", "postId", "postMediaId"] {
        assert_eq!(error.json.get(key), request.get(key), "{key}");
    }
    error.clone()
}

#[test]
fn before_there_is_a_transcript_the_error_is_all() {
    for (fault, recording, code) in [
        (
            "none:fail",
            b"no recording".to_vec(),
            "transcription_failed",
        ),
        ("decode:fail", recordings::bundled(), "transcription_failed"),
        (
            "transcribe:fail",
            recordings::bundled(),
            "transcription_failed",
        ),
        ("decode:panic", recordings::bundled(), "processing_failed"),
    ] {
        let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", fault)]);
        let mut gateway = Gateway::connect(daemon.ports);
        let message = post_message("message", &["fr"]);
        let error = only_error(&mut gateway, &message, &recording);
        assert_eq!(error.text("errorCode"), code, "{fault}");
    }
}

#[test]
fn when_no_language_can_be_heard_the_transcript_is_told_all_the_same() {
    // Russian has a voice, but nothing translates into it.
    for (fault, targets, code) in [
        ("translate.fr:fail", ["fr", "ru"], "translation_failed"),
        ("synthesize:fail", ["fr", "es"], "tts_failed"),
        ("encode:fail", ["fr", "es"], "tts_failed"),
    ] {
        let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", fault)]);
        let mut gateway = Gateway::connect(daemon.ports);
        let message = post_message("message", &targets);
        let recording = recordings::bundled();
        let expected = Expected::error(code).beside_failing(2);
        let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);
        let transcription = &answer.completed().json["transcription"];
        assert_ne!(transcription["text"], "", "{fault}");
    }
}

#[test]
fn when_neither_the_senders_nor_the_default_voice_can_be_had_nothing_is_heard() {
    let models = copied_models();
    replace(models.path(), "xtts/default_voice.ogg", b"no recording");
    let daemon = Daemon::start_with(&[
        ("MODELS_PATH", models.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "embed:fail"),
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let message = post_message("clone", &["fr"]);
    let expected = Expected::error("voice_clone_failed").beside_failing(1);
    Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);

    // Where no clone is wanted, it is not the clone that fails.
    let mut message = post_message("plain", &["fr"]);
    message["generateVoiceClone"] = json!(false);
    let expected = Expected::error("tts_failed").beside_failing(1);
    Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);
}

#[test]
fn audio_that_is_switched_off_is_refused_and_texts_go_on() {
    let daemon = Daemon::start_with(&[("ENABLE_AUDIO_SERVICES", "false")]);
    // The answers come at once and are not kept for who subscribes later.
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    assert_eq!(gateway.ping().json["audio_pipeline_available"], false);
    let recording = recordings::bundled();
    let message = post_message("message", &["fr"]);
    let error = only_error(&mut gateway, &message, &recording);
    assert_eq!(error.text("errorCode"), "pipeline_unavailable");
    gateway.send(&transcription_only("task"), &[&recording]);
    let error = gateway.next("transcription_error");
    assert_eq!(error.text("errorCode"), "transcription_failed");
    gateway.send(&translation("text", "Hello.", "en", &["fr"]), &[]);
    gateway.next("translation_completed");
}
