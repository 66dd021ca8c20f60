//! Voice profiles: analyzed, verified by their fingerprint, compared.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::voice_api::{ask, profile_request, recording};

fn analyze(gateway: &mut Gateway, user_id: &str, more: Value) -> Value {
    let mut wanted = json!({"audio_data": recording(), "audio_format": "ogg"});
    for (key, value) in more.as_object().unwrap() {
        wanted[key] = value.clone();
    }
    let reply = ask(
        gateway,
        &profile_request("voice_profile_analyze", user_id, wanted),
    );
    assert_eq!(
        reply.kind(),
        "voice_profile_analyze_result",
        "{}",
        reply.text("error")
    );
    reply.json
}

#[test]
fn an_analyzed_voice_is_recognised_by_its_fingerprint() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "5000")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({
        "include_transcription": true, "generate_previews": true, "preview_languages": ["fr", "en", "wo"],
    });
    let analyzed = analyze(&mut gateway, "awa", wanted);
    assert_eq!(
        analyzed["transcription"]["text"],
        "hello my friend. how are you."
    );
    let previews: Vec<_> = analyzed["voice_previews"]
        .as_array()
        .unwrap()
        .iter()
        .map(|preview| {
            assert!(!preview["audio_base64"].as_str().unwrap().is_empty());
            (
                preview["language"].as_str().unwrap(),
                preview["translated_text"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        previews,
        [
            ("fr", "bonjour mon ami. comment es tu."),
            ("en", "hello my friend. how are you.")
        ]
    );
    // What was made for the previews leaves no file.
    assert!(!daemon.folder().join("outputs").exists());

    let fingerprint = &analyzed["fingerprint"];
    let verify = json!({
        "audio_data": recording(), "audio_format": "ogg", "existing_fingerprint": fingerprint,
    });
    let verified = ask(
        &mut gateway,
        &profile_request("voice_profile_verify", "awa", verify),
    );
    assert_eq!(verified.kind(), "voice_profile_verify_result");
    assert_eq!(verified.json["is_match"], true);
    assert_eq!(verified.json["threshold"], 0.8);

    let compare = json!({"fingerprint_a": fingerprint, "fingerprint_b": fingerprint});
    let compared = ask(
        &mut gateway,
        &profile_request("voice_profile_compare", "awa", compare),
    );
    assert_eq!(compared.json["similarity_score"], 1.0);
}

#[test]
fn what_cannot_be_a_profile_is_refused_with_its_reason() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let too_short = json!({"audio_data": recording(), "audio_format": "ogg"});
    let reply = ask(
        &mut gateway,
        &profile_request("voice_profile_analyze", "awa", too_short),
    );
    assert_eq!(reply.kind(), "voice_profile_error");
    assert_eq!(
        reply.text("error"),
        "audio too short: 6000 ms, at least 10000 ms required"
    );
    let damaged = json!({"fingerprint_a": {"fingerprint_id": "x"}, "fingerprint_b": {}});
    let reply = ask(
        &mut gateway,
        &profile_request("voice_profile_compare", "awa", damaged),
    );
    assert_eq!(
        (reply.kind(), reply.text("reason")),
        ("voice_profile_error", "invalid_request")
    );
}
