//! What the replaced service got wrong, as the contract names it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::recordings::bundled;
use crate::support::requests::translation;
use crate::support::voice_api::{ask, profile_request, recording, request};
use crate::support::voice_job::{Answer, Expected, assert_shapes, voice_message};

#[test]
fn every_language_of_a_text_is_answered_the_failed_ones_once_after_the_others() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let text = translation("some", "Hello my friend.", "en", &["wo", "fr", "ru"]);
    gateway.send(&text, &[]);
    let is_error = |event: &Event| event.kind() == "translation_error";
    let mut events = gateway.events_until("error", is_error);
    events.extend(gateway.rest());
    assert_shapes(&events);
    let kinds: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.kind(), event.text("targetLanguage")))
        .collect();
    assert_eq!(
        kinds,
        [("translation_completed", "fr"), ("translation_error", "")]
    );
    // No language was put in the place of those that cannot be had.
    let translated = &events[0].json["result"]["translatedText"];
    assert_eq!(translated, "Bonjour mon ami.");
    let failed = &events[1].json["metadata"]["failedLanguages"];
    let failed: BTreeSet<&str> = failed
        .as_array()
        .unwrap()
        .iter()
        .map(|language| language.as_str().unwrap())
        .collect();
    assert_eq!(failed, BTreeSet::from(["ru", "wo"]));
}

#[test]
fn voice_messages_have_ids_of_their_own_and_all_events_from_the_cache_too() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = bundled();
    let mut task_ids = BTreeSet::new();
    for name in ["first", "second", "third"] {
        let mut message = voice_message(name, &["fr", "es"]);
        // The default voice, which does not change, so that the others come from the cache.
        message["generateVoiceClone"] = json!(false);
        let expected = Expected::spoken(&["fr", "es"]);
        // The order, the frames, their descriptors and the segments are checked there.
        let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);
        let completed = answer.completed();
        assert_eq!(completed.json["transcription"]["source"], "whisper");
        let frames: BTreeSet<&str> = completed.json["binaryFrames"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, descriptor)| {
                assert_eq!(descriptor["mimeType"], "audio/mp3");
                name.as_str()
            })
            .collect();
        assert_eq!(frames, BTreeSet::from(["audio_es", "audio_fr"]));
        task_ids.insert(completed.text("taskId").to_owned());
    }
    assert_eq!(task_ids.len(), 3, "{task_ids:?}");
    assert!(!task_ids.contains(""));
    let synthesized = "translator_stage_duration_seconds_count";
    assert_eq!(daemon.metric(synthesized, &["stage=\"synthesize\""]), 2.0);

    // A gateway that asks for no language gets none, and one that sends an id has it back.
    let mut message = voice_message("none", &[]);
    message["taskId"] = json!("the-gateways-own");
    let expected = Expected::spoken(&[]);
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);
    assert_eq!(answer.completed().text("taskId"), "the-gateways-own");
}

#[test]
fn whatever_is_asked_of_voices_is_answered() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "5000")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    // Dropped: the router knew another name.
    let audio = json!({"audio_data": recording(), "audio_format": "ogg"});
    let analyzed = ask(
        &mut gateway,
        &profile_request("voice_profile_analyze", "awa", audio.clone()),
    );
    assert_eq!(analyzed.kind(), "voice_profile_analyze_result");
    let fingerprint = &analyzed.json["fingerprint"];
    let mut verify = audio;
    verify["existing_fingerprint"] = fingerprint.clone();
    let compare = json!({"fingerprint_a": fingerprint, "fingerprint_b": fingerprint});
    for (kind, wanted) in [("verify", verify), ("compare", compare)] {
        let kind = format!("voice_profile_{kind}");
        let reply = ask(&mut gateway, &profile_request(&kind, "awa", wanted));
        assert_eq!(reply.kind(), format!("{kind}_result"));
    }

    // Answered with an internal error.
    let audio = json!({"audioBase64": recording()});
    for (kind, wanted) in [
        ("create", audio.clone()),
        ("get", json!({})),
        ("update", audio),
        ("list", json!({})),
        ("delete", json!({})),
    ] {
        let reply = ask(
            &mut gateway,
            &request(&format!("voice_profile_{kind}"), "awa", wanted),
        );
        assert_eq!(
            reply.kind(),
            "voice_api_success",
            "{kind}: {}",
            reply.text("error")
        );
    }

    // What nobody knows is refused; without an id, or a name of another kind, it is dropped.
    let unknown = |kind: &str| json!({"type": kind, "taskId": "unknown"});
    let reply = ask(&mut gateway, &unknown("voice_yodel"));
    let code = reply.text("errorCode");
    assert_eq!((reply.kind(), code), ("voice_api_error", "INVALID_REQUEST"));
    assert_eq!(reply.text("requestType"), "voice_yodel");
    gateway.send(&unknown("yodel"), &[]);
    gateway.send(&json!({"type": "voice_yodel"}), &[]);
    let rest: Vec<Value> = gateway.rest().into_iter().map(|event| event.json).collect();
    assert_eq!(rest, Vec::<Value>::new());
}
