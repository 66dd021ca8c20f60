//! Voice profiles: analyzed, verified by their fingerprint, compared.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meeshy_translator::domain::Deadline;
use meeshy_translator::stages::decode::{DecodeLimits, decode};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings::second_speaker;
use crate::support::voice_api::{ask, error_of, profile_request, recording, request, result_of};
use crate::support::wav::wav;

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
fn another_voice_is_not_taken_for_that_of_a_fingerprint() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "5000")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let fingerprint = analyze(&mut gateway, "awa", json!({}))["fingerprint"].clone();
    let other = STANDARD.encode(second_speaker());
    let others = analyze(&mut gateway, "ben", json!({"audio_data": other}));
    assert_ne!(others["fingerprint"]["signature"], fingerprint["signature"]);

    let mut verified = |audio: &str, fingerprint: &Value| {
        let verify = json!({
            "audio_data": audio, "audio_format": "ogg", "existing_fingerprint": fingerprint,
        });
        let verify = profile_request("voice_profile_verify", "awa", verify);
        ask(&mut gateway, &verify).json
    };
    let own = verified(&recording(), &fingerprint);
    let others_voice = verified(&other, &fingerprint);
    let score = |result: &Value| result["similarity_score"].as_f64().unwrap();
    assert_eq!(
        (&own["is_match"], &others_voice["is_match"]),
        (&json!(true), &json!(false))
    );
    assert!(score(&others_voice) < 0.8 && score(&own) > 0.8);
    // One that the replaced service made has no embedding: its hashes are compared.
    let mut older = fingerprint.clone();
    older.as_object_mut().unwrap().remove("embedding");
    assert_eq!(verified(&recording(), &older)["is_match"], true);

    // The voice is not improved by another's.
    let wanted = json!({
        "audio_data": other, "audio_format": "ogg", "is_update": true,
        "existing_fingerprint": fingerprint,
    });
    let reply = ask(
        &mut gateway,
        &profile_request("voice_profile_analyze", "awa", wanted),
    );
    assert_eq!(
        (reply.kind(), reply.text("reason")),
        ("voice_profile_error", "bad_output")
    );
    let update = json!({"audioBase64": other});
    let update = request("voice_profile_update", "awa", update);
    assert_eq!(error_of(&mut gateway, &update), "VOICE_CLONE_FAILED");
    let profile = result_of(
        &mut gateway,
        &request("voice_profile_get", "awa", json!({})),
    );
    assert_eq!(profile["sampleCount"], 1);
}

#[test]
fn previews_say_at_most_a_hundred_characters_in_three_languages() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "5000")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({
        "generate_previews": true,
        "preview_text": "I have just left the office and the traffic is terrible, so I will probably be \
                         late, and please do not wait for me.",
    });
    let analyzed = analyze(&mut gateway, "awa", wanted);
    assert_eq!(analyzed.get("transcription"), None, "nobody wants it");
    let previews = analyzed["voice_previews"].as_array().unwrap();
    let languages: Vec<&str> = previews
        .iter()
        .map(|preview| preview["language"].as_str().unwrap())
        .collect();
    assert_eq!(languages, ["en", "fr", "es"]);
    for preview in previews {
        let text = preview["original_text"].as_str().unwrap();
        assert!(text.chars().count() <= 100, "{text}");
        let mp3 = preview["audio_base64"].as_str().unwrap();
        let mp3 = STANDARD.decode(mp3).unwrap();
        let decoded = decode(&mp3, &DecodeLimits::default(), &Deadline::none()).unwrap();
        assert_eq!(decoded.codec, "mp3");
    }
}

#[test]
fn what_cannot_be_a_profile_is_refused_with_its_reason() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let audio = json!({"audio_data": recording(), "audio_format": "ogg"});
    let noise = json!({"audio_data": "bm8gYXVkaW8=", "audio_format": "wav"});
    let silence = STANDARD.encode(wav((0..11 * 8_000).map(|_| 0.0), 1, 8_000));
    let silence = json!({"audio_data": silence, "audio_format": "wav"});
    let damaged = json!({"fingerprint_a": {"fingerprint_id": "x"}, "fingerprint_b": {}});
    for (kind, wanted, reason) in [
        ("analyze", audio.clone(), "audio_too_short"),
        ("analyze", noise, "malformed_audio"),
        ("analyze", silence, "no_audio"),
        ("analyze", json!({"audio_format": "ogg"}), "no_audio"),
        ("verify", audio, "invalid_request"),
        ("verify", json!({"existing_fingerprint": {}}), "no_audio"),
        ("compare", damaged, "invalid_request"),
        ("compare", json!({"fingerprint_a": {}}), "invalid_request"),
    ] {
        let wanted = profile_request(&format!("voice_profile_{kind}"), "awa", wanted);
        let reply = ask(&mut gateway, &wanted);
        let (found, user_id) = (reply.text("reason"), reply.text("user_id"));
        assert_eq!(
            (reply.kind(), found, user_id),
            ("voice_profile_error", reason, "awa"),
            "{kind}"
        );
        assert_eq!(reply.json["success"], false);
        if reason == "audio_too_short" {
            let expected = "audio too short: 6000 ms, at least 10000 ms required";
            assert_eq!(reply.text("error"), expected);
        }
    }
    let mut nobodys = profile_request(
        "voice_profile_analyze",
        "awa",
        json!({"audio_data": "YQ=="}),
    );
    nobodys.as_object_mut().unwrap().remove("user_id");
    assert_eq!(ask(&mut gateway, &nobodys).text("reason"), "unauthorized");
    assert!(
        !daemon.folder().join("data/voices").exists(),
        "nothing was learnt"
    );

    drop(daemon);
    let daemon = Daemon::start_with(&[("ENABLE_VOICE_API", "false")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let compare = json!({"fingerprint_a": {}, "fingerprint_b": {}});
    let reply = ask(
        &mut gateway,
        &profile_request("voice_profile_compare", "awa", compare),
    );
    let found = (reply.kind(), reply.text("reason"));
    assert_eq!(found, ("voice_profile_error", "model_unavailable"));
}
