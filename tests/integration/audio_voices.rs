//! Whose voice speaks, what is kept of it, and what the gateway is told.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, repeated_recording};
use crate::support::voices::{
    FRENCH, clone_actions, clone_log, message_of, stored_metadata, voice_folder,
};

/// Quality that is stated for the default voice, and where none is known.
const DEFAULT_QUALITY: f64 = 0.5;

#[test]
fn a_first_message_makes_a_voice_and_the_next_ones_use_it() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let first = message_of("ann", "first");
    let first = Answer::to(&mut gateway, &daemon, &first, &[&recording], FRENCH);

    let profile = &first.completed().json["newVoiceProfile"];
    assert_eq!(profile["audioCount"], 1);
    assert_eq!(profile["version"], 1);
    // 12 seconds of speech.
    assert_eq!(profile["qualityScore"], 0.5);
    assert_eq!(
        profile["totalDurationMs"],
        first.completed().json["transcription"]["durationMs"]
    );
    assert_eq!(first.completed().json["voiceModelQuality"], 0.5);
    assert_eq!(first.translated("fr")["voiceCloned"], true);
    let stored = std::fs::read(voice_folder(&daemon, "ann").join("voice.bin")).unwrap();
    assert_eq!(
        first.embedding(),
        Some(&stored[..]),
        "the gateway keeps what is stored"
    );
    let metadata = stored_metadata(&daemon, "ann");
    assert_eq!(metadata["profile_id"], profile["profileId"]);

    let second = message_of("ann", "second");
    let second = Answer::to(&mut gateway, &daemon, &second, &[&recording], FRENCH);
    assert_eq!(
        second.completed().json.get("newVoiceProfile"),
        None,
        "nothing is new"
    );
    assert_eq!(second.completed().json["voiceModelQuality"], 0.5);
    assert_eq!(second.translated("fr")["voiceCloned"], true);
    assert_eq!(stored_metadata(&daemon, "ann"), metadata);
}

#[test]
fn a_voice_made_from_little_speech_is_improved() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let first = message_of("bob", "first");
    let first = Answer::to(&mut gateway, &daemon, &first, &[&recording], FRENCH);
    let second = message_of("bob", "second");
    let second = Answer::to(&mut gateway, &daemon, &second, &[&recording], FRENCH);
    let [first, second] =
        [&first, &second].map(|answer| &answer.completed().json["newVoiceProfile"]);
    assert_eq!(first["qualityScore"], 0.3);
    assert_eq!(second["qualityScore"], 0.35);
    assert_eq!(second["version"], 2);
    assert_eq!(second["audioCount"], 2);
    assert_eq!(second["profileId"], first["profileId"]);
    let total_ms = first["totalDurationMs"].as_u64().unwrap();
    assert_eq!(second["totalDurationMs"], 2 * total_ms);
}

#[test]
fn another_persons_recording_does_not_change_a_voice() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let message = message_of("cid", "first");
    Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    let before = stored_metadata(&daemon, "cid");
    let other = recordings::second_speaker();
    let message = message_of("cid", "other");
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&other], FRENCH);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);
    assert_eq!(answer.translated("fr")["voiceCloned"], true);
    assert_eq!(stored_metadata(&daemon, "cid"), before);
}

#[test]
fn a_voice_that_comes_back_is_used_and_speaks_the_same() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let message = message_of("dora", "message");
    let first = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    let voice = first.embedding().unwrap();

    // The same message from a user of whom nothing is known.
    let mut again = message.clone();
    again["senderId"] = json!("eve");
    again["binaryFrames"] = json!({"audio": 1, "voiceProfile": 2, "voiceProfileSize": 1});
    again["existingVoiceProfile"] =
        json!({"profileId": "vp", "userId": "eve", "qualityScore": 0.82});
    again["useOriginalVoice"] = json!(true);
    let second = Answer::to(&mut gateway, &daemon, &again, &[&recording, voice], FRENCH);
    assert_eq!(second.completed().json["voiceModelQuality"], 0.82);
    assert_eq!(second.translated("fr")["voiceCloned"], true);
    assert_eq!(second.translated("fr")["voiceQuality"], 0.82);
    assert!(
        !voice_folder(&daemon, "eve").exists(),
        "a supplied voice is not stored"
    );
    assert_eq!(
        second.speech("fr"),
        first.speech("fr"),
        "the same voice says the same"
    );

    // In the older form, under another name, and without the profile around it.
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(voice);
    again["senderId"] = json!("fay");
    again["binaryFrames"] = json!({"audio": 1});
    again["existingVoiceProfile"] =
        json!({"profileId": "vp", "userId": "fay", "embedding": base64});
    let third = Answer::to(&mut gateway, &daemon, &again, &[&recording], FRENCH);
    assert_eq!(third.translated("fr")["voiceQuality"], DEFAULT_QUALITY);
    assert!(third.speech("fr") == first.speech("fr"), "another speech");
    assert!(!voice_folder(&daemon, "fay").exists());
}

#[test]
fn who_wants_no_clone_gets_the_default_voice_and_nothing_is_kept() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let mut message = message_of("gil", "message");
    message["generateVoiceClone"] = json!(false);
    let recording = recordings::bundled();
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);
    assert_eq!(answer.completed().json["voiceModelQuality"], 0.0);
    assert_eq!(answer.translated("fr")["voiceCloned"], false);
    assert_eq!(answer.translated("fr")["voiceQuality"], DEFAULT_QUALITY);
    assert!(!daemon.folder().join("data/voices").exists());
}

#[test]
fn a_forwarded_message_speaks_in_its_authors_voice() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let mut message = message_of("forwarder", "message");
    message["originalSenderId"] = json!("post:author");
    let recording = recordings::bundled();
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(
        answer.completed().json["newVoiceProfile"]["userId"],
        "post:author"
    );
    assert!(!voice_folder(&daemon, "forwarder").exists());
    // The id is no file name, so the folder has another.
    let folders = std::fs::read_dir(daemon.folder().join("data/voices")).unwrap();
    assert_eq!(folders.count(), 1);
}

#[test]
fn voices_that_are_not_ours_or_damaged_are_made_anew() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let first = message_of("hal", "first");
    let first = Answer::to(&mut gateway, &daemon, &first, &[&recording], FRENCH);
    let ours = first.embedding().unwrap();
    let cases: [(&str, Vec<u8>); 5] = [
        ("floats", 0.1f32.to_le_bytes().repeat(256)),
        ("half-floats", vec![0x2e; 512]),
        ("nonsense", b"not a voice".to_vec()),
        ("cut", ours[..ours.len() - 4].to_vec()),
        ("of-another-model", voice_of_another_model()),
    ];
    for (name, voice) in cases {
        eprintln!("{name}");
        let mut message = message_of(name, name);
        message["binaryFrames"] = json!({"audio": 1, "voiceProfile": 2});
        message["existingVoiceProfile"] =
            json!({"profileId": "vp", "userId": name, "qualityScore": 0.9});
        message["useOriginalVoice"] = json!(true);
        let answer = Answer::to(
            &mut gateway,
            &daemon,
            &message,
            &[&recording, &voice],
            FRENCH,
        );
        assert_eq!(answer.translated("fr")["voiceCloned"], true, "{name}");
        assert_eq!(answer.translated("fr")["voiceQuality"], 0.3, "{name}");
        assert_eq!(stored_metadata(&daemon, name)["version"], 1, "{name}");
    }
}

#[test]
fn a_stored_voice_of_another_model_is_made_anew() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let message = message_of("ida", "first");
    Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    // As if the operator had put other models in their place since.
    let file = voice_folder(&daemon, "ida").join("voice.bin");
    std::fs::write(&file, voice_of_another_model()).unwrap();
    let message = message_of("ida", "second");
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(answer.translated("fr")["voiceCloned"], true);
    assert!(answer.embedding() == Some(&std::fs::read(&file).unwrap()[..]));
}

/// A well-formed voice whose arrays have other lengths than the fixture models'.
fn voice_of_another_model() -> Vec<u8> {
    let mut bytes = b"MSHV".to_vec();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend([256u32, 32 * 1024, 512].map(u32::to_le_bytes).concat());
    bytes.extend(0.1f32.to_le_bytes().repeat(256 + 32 * 1024 + 512));
    bytes
}

#[test]
fn when_the_voice_cannot_be_cloned_the_default_voice_speaks() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "embed:fail")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = message_of("jay", "message");
    let recording = recordings::bundled();
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(answer.translated("fr")["voiceCloned"], false);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);
    assert_eq!(answer.completed().json["voiceModelQuality"], 0.0);
}

#[test]
fn a_voice_speaks_languages_that_it_was_not_made_for() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    // Made by a message that is heard in no language but French.
    let first = message_of("kim", "first");
    let first = Answer::to(&mut gateway, &daemon, &first, &[&recording], FRENCH);
    let voice = first.embedding().unwrap();
    let mut message = message_of("kim", "second");
    message["targetLanguages"] = json!(["es", "fr"]);
    let expected = Expected::spoken(&["es", "fr"]);
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], expected);
    assert_eq!(answer.translated("es")["voiceCloned"], true);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);

    // Likewise one that comes with the message.
    message["senderId"] = json!("lou");
    message["messageId"] = json!("message-third");
    message["binaryFrames"] = json!({"audio": 1, "voiceProfile": 2});
    message["existingVoiceProfile"] = json!({"profileId": "vp", "userId": "lou"});
    message["useOriginalVoice"] = json!(true);
    let answer = Answer::to(
        &mut gateway,
        &daemon,
        &message,
        &[&recording, voice],
        expected,
    );
    assert_eq!(answer.translated("es")["voiceCloned"], true);
}

#[test]
fn every_clone_is_logged_without_audio_or_print() {
    use std::os::unix::fs::PermissionsExt as _;

    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let mut first = message_of("forwarder", "first");
    first["originalSenderId"] = json!("meg");
    first["taskId"] = json!("task-1");
    Answer::to(&mut gateway, &daemon, &first, &[&recording], FRENCH);
    let second = message_of("meg", "second");
    Answer::to(&mut gateway, &daemon, &second, &[&recording], FRENCH);
    let mut third = message_of("meg", "third");
    third["generateVoiceClone"] = json!(false);
    Answer::to(&mut gateway, &daemon, &third, &[&recording], FRENCH);

    assert_eq!(clone_actions(&daemon, "meg"), ["created", "used"]);
    let lines = clone_log(&daemon);
    assert_eq!(lines.len(), 2, "the default voice is nobody's");
    let made = &lines[0];
    assert_eq!(made["requested_by"], "forwarder");
    assert_eq!(made["task_id"], "task-1");
    assert_eq!(made["version"], 1);
    use sha2::Digest as _;
    let sha256: String = sha2::Sha256::digest(&recording)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(made["reference_sha256"], json!([sha256]));
    assert_eq!(lines[1]["requested_by"], "meg");
    let file = daemon.folder().join("data/clone_log.jsonl");
    let facts = std::fs::metadata(&file).unwrap();
    assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    assert!(facts.len() < 1000, "{} bytes", facts.len());
}

#[test]
fn nothing_is_cloned_while_the_log_cannot_be_written() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    // Root may write anywhere, but not to a folder as to a file.
    let log = daemon.folder().join("data/clone_log.jsonl");
    std::fs::create_dir(&log).unwrap();
    let recording = recordings::bundled();
    let message = message_of("ned", "message");
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(answer.translated("fr")["voiceCloned"], false);
    assert_eq!(answer.completed().json.get("newVoiceProfile"), None);
    assert!(!voice_folder(&daemon, "ned").exists());
    std::fs::remove_dir(&log).unwrap();
    let message = message_of("ned", "again");
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert_eq!(answer.translated("fr")["voiceCloned"], true);
    assert_eq!(clone_actions(&daemon, "ned"), ["created"]);
}
