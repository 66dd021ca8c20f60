//! Every request of the contract's examples, with recordings in every container that clients send.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, fixture_models};
use crate::support::examples::{self, Example};
use crate::support::gateway::{Event, Gateway};
use crate::support::recordings::{self, CONVERSIONS, convert};
use crate::support::voice_job::{Answer, Expected, assert_shapes, voice_message};
use crate::support::wait_for;

/// What conversion may change in a recording's length: AAC adds up to two blocks of 1024 samples,
/// 128 ms at 16 kHz, and a live MP4 does not say so.
const LENGTH_TOLERANCE_MS: u64 = 130;

/// The language that the scripted recogniser hears in everything.
const HEARD: &str = "en";

/// Whether the fixture models translate from one language to the other.
fn is_translated(source: &str, target: &str) -> bool {
    let from_english = ["fr", "es", "de", "it", "pt"];
    match source {
        "en" => from_english.contains(&target),
        // To English, and through it.
        "fr" => target == "en" || from_english.contains(&target),
        _ => false,
    }
}

/// Whether the fixture models can speak a language.
fn is_spoken(language: &str) -> bool {
    let voices = [
        "en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "hu", "ko", "hi",
    ];
    voices.contains(&language)
}

/// The languages of a request in canonical form, each once.
fn targets(request: &Value) -> Vec<String> {
    let mut targets = Vec::new();
    for target in request["targetLanguages"].as_array().into_iter().flatten() {
        let code = target.as_str().unwrap_or_default().to_lowercase();
        let code = match code.split('-').next().unwrap() {
            "eng" => "en".to_owned(),
            code => code.to_owned(),
        };
        if !code.is_empty() && !targets.contains(&code) {
            targets.push(code);
        }
    }
    targets
}

fn source_of(request: &Value) -> &str {
    let device = &request["mobileTranscription"];
    device["language"].as_str().unwrap_or(HEARD)
}

#[test]
fn every_example_of_a_voice_message_is_answered_as_the_contract_says() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = match recordings::real("jfk/jfk.mp3") {
        Some(path) => std::fs::read(path).unwrap(),
        None => recordings::bundled(),
    };
    for Example { name, mut request } in examples::requests(&["audio_process"]) {
        // The examples share one sender, and what is known of a sender's voice changes the answer.
        request["senderId"] = json!(format!("sender-of-{name}"));
        let frames = provide(&daemon, &mut request, &recording);
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();

        let source = source_of(&request).to_owned();
        let mut wanted = targets(&request);
        wanted.retain(|target| *target != source);
        let with_voice: Vec<&str> = wanted
            .iter()
            .map(String::as_str)
            .filter(|t| is_spoken(t))
            .collect();
        let spoken: Vec<&str> = with_voice
            .iter()
            .copied()
            .filter(|target| is_translated(&source, target))
            .collect();
        let expected = Expected {
            spoken: &spoken,
            failing: with_voice.len() - spoken.len(),
            error: (!wanted.is_empty() && spoken.is_empty()).then_some("translation_failed"),
        };
        eprintln!("{name}: {source} → {expected:?}");
        let answer = Answer::to(&mut gateway, &daemon, &request, &frames, expected);

        let completed = &answer.completed().json;
        let is_new_voice = !wanted.is_empty() && request.get("existingVoiceProfile").is_none();
        assert_eq!(
            completed.get("newVoiceProfile").is_some(),
            is_new_voice,
            "{name}"
        );
        let transcription = &completed["transcription"];
        assert_eq!(transcription["language"], source, "{name}");
        if let Some(device) = request.get("mobileTranscription") {
            assert_eq!(transcription["source"], "mobile", "{name}");
            assert_eq!(transcription["text"], device["text"], "{name}");
            assert_eq!(transcription["model"], device["source"], "{name}");
        } else {
            assert_eq!(transcription["source"], "whisper", "{name}");
        }
    }
}

/// Puts the recording where the request says that it is; returns the request's binary frames.
fn provide(daemon: &Daemon, request: &mut Value, recording: &[u8]) -> Vec<Vec<u8>> {
    // The committed examples hold base64 of no recording.
    if let Some(fields) = request.as_object_mut() {
        fields.remove("audioBase64");
    }
    if let Some(path) = request["audioPath"].as_str() {
        let path = match path.strip_prefix("uploads/") {
            Some(path) => path,
            None => path,
        };
        let file = daemon.folder().join("uploads").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, recording).unwrap();
    }
    let Some(numbers) = request.get("binaryFrames") else {
        return Vec::new();
    };
    let mut frames = vec![Vec::new(); 2];
    let at = |name: &str| numbers[name].as_u64().map(|number| number as usize - 1);
    if let Some(place) = at("audio") {
        frames[place] = recording.to_vec();
    }
    if let Some(place) = at("voiceProfile") {
        // As the replaced service stored them: 256 floats.
        frames[place] = 0.125f32.to_le_bytes().repeat(256);
    }
    frames.retain(|frame| !frame.is_empty());
    frames
}

#[test]
fn recordings_in_every_container_become_speech() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let bundled = fixture_models().join("audio/voice_message.ogg");
    let speakers = [
        "jfk/jfk.wav",
        "leopard/test_fr.wav",
        "ljspeech/LJ001-0001.flac",
        "librispeech/1998-15444-0003.flac",
        "leopard/test_de.wav",
        "openvoice-base/demo1--es.wav",
        "librispeech/2609-156975-0000.flac",
    ];
    for ((extension, arguments), speaker) in CONVERSIONS.into_iter().zip(speakers) {
        let original: PathBuf = recordings::real(speaker).unwrap_or_else(|| bundled.clone());
        let Some(recording) = convert(&original, arguments) else {
            return;
        };
        let mut request = voice_message(extension, &["fr", "de"]);
        // What the gateway tells of the container is a guess from the file's name.
        request["binaryFrames"] = json!({"audio": 1, "audioMimeType": "audio/wav", "audioSize": 1});
        let expected = Expected::spoken(&["fr", "de"]);
        let answer = Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);

        let transcription = &answer.completed().json["transcription"];
        let heard_ms = transcription["durationMs"].as_u64().unwrap();
        let length_ms = length_ms(&original);
        assert!(
            heard_ms.abs_diff(length_ms) <= LENGTH_TOLERANCE_MS,
            "{extension}: {heard_ms} ms of {length_ms} ms"
        );
        assert!(
            answer.embedding().is_some(),
            "{extension}: a first job makes a voice"
        );
        assert_eq!(answer.translated("fr")["voiceCloned"], true);
    }
}

fn length_ms(recording: &std::path::Path) -> u64 {
    use meeshy_translator::domain::Deadline;
    use meeshy_translator::stages::decode::{DecodeLimits, decode};
    let bytes = std::fs::read(recording).unwrap();
    let decoded = decode(&bytes, &DecodeLimits::default(), &Deadline::none()).unwrap();
    decoded.pcm.duration_ms()
}

#[test]
fn a_recording_to_write_down_gets_its_transcript_only() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let bundled = fixture_models().join("audio/voice_message.ogg");
    let original = recordings::real("leopard/test_es.wav").unwrap_or(bundled);
    let recording = std::fs::read(original).unwrap();
    for Example { name, request } in examples::requests(&["transcription_only"]) {
        gateway.send(&request, &[&recording]);
        let id = request["messageId"].as_str().unwrap();
        let mut events = gateway.events_of(id, &["transcription_completed", "transcription_error"]);
        events.extend(gateway.rest_of(id));
        assert_shapes(&events);
        let [completed] = &events[..] else {
            panic!("{name}: {events:?}")
        };
        assert_eq!(completed.kind(), "transcription_completed", "{name}");
        for key in ["taskId", "messageId", "attachmentId"] {
            assert_eq!(completed.json.get(key), request.get(key), "{name}: {key}");
        }
        assert!(
            !completed.json["transcription"]["text"]
                .as_str()
                .unwrap()
                .is_empty()
        );
        assert_eq!(completed.json["transcription"]["language"], HEARD);
    }
    let voices = daemon.folder().join("data/voices");
    assert!(!voices.exists(), "nothing is learnt about the speaker");
}

#[test]
fn every_example_of_a_text_is_answered_in_the_order_of_its_languages() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    for Example { name, request } in examples::requests(&["translation"]) {
        let source = request["sourceLanguage"].as_str().unwrap().to_lowercase();
        // Two words are too few to tell a language by, so it is the default.
        let source = source.replace("auto", "fr");
        let requested = requested_languages(&request);
        let canonical = |target: &str| target.split('-').next().unwrap().to_owned();
        let is_possible = |target: &String| {
            canonical(target) == source || is_translated(&source, &canonical(target))
        };
        let (possible, failed): (Vec<String>, Vec<String>) =
            requested.iter().cloned().partition(is_possible);

        gateway.send(&request, &[]);
        let id = request["messageId"].as_str().unwrap();
        let mut left = possible.len() + usize::from(!failed.is_empty());
        let events = gateway.events_until(&name, |_| {
            left -= 1;
            left == 0
        });
        assert!(gateway.rest_of(id).is_empty(), "{name}");
        assert_shapes(&events);
        let (translations, errors) = events.split_at(possible.len());
        let languages: Vec<&str> = translations
            .iter()
            .map(|e| e.text("targetLanguage"))
            .collect();
        assert_eq!(languages, possible, "{name}");
        for event in translations {
            assert_eq!(event.kind(), "translation_completed", "{name}");
            check_translation(&request, &source, event);
        }
        let reported: BTreeSet<&str> = errors
            .iter()
            .flat_map(|event| {
                event.json["metadata"]["failedLanguages"]
                    .as_array()
                    .unwrap()
            })
            .map(|language| language.as_str().unwrap())
            .collect();
        assert_eq!(
            reported,
            failed.iter().map(String::as_str).collect(),
            "{name}"
        );
        assert!(
            errors
                .iter()
                .all(|event| event.kind() == "translation_error")
        );
    }
}

/// The languages as requested, lower-cased, each once.
fn requested_languages(request: &Value) -> Vec<String> {
    let many = request["targetLanguages"].as_array().into_iter().flatten();
    let mut requested: Vec<String> = Vec::new();
    for target in many.chain(request.get("targetLanguage")) {
        let target = target.as_str().unwrap().to_lowercase();
        if !requested.contains(&target) {
            requested.push(target);
        }
    }
    requested
}

fn check_translation(request: &Value, source: &str, event: &Event) {
    let result = &event.json["result"];
    assert_eq!(result["messageId"], request["messageId"]);
    assert_eq!(result["sourceLanguage"], source);
    assert_eq!(result["targetLanguage"], event.json["targetLanguage"]);
    if let Some(task_id) = request.get("taskId") {
        assert_eq!(&event.json["taskId"], task_id);
    }
    let (text, translated) = (&request["text"], &result["translatedText"]);
    let (text, translated) = (text.as_str().unwrap(), translated.as_str().unwrap());
    assert!(!translated.is_empty());
    assert_eq!(
        translated.lines().count(),
        text.lines().count(),
        "{translated:?}"
    );
    let emojis = |text: &str| {
        text.chars()
            .filter(|c| *c > '\u{1F000}')
            .collect::<String>()
    };
    assert_eq!(emojis(translated), emojis(text), "{translated:?}");
}

#[test]
fn a_storys_text_is_answered_once_for_all_languages() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    for Example { name, request } in examples::requests(&["story_text_object_translation"]) {
        gateway.send(&request, &[]);
        let event = gateway.next("story_text_object_translation_completed");
        assert_shapes(std::slice::from_ref(&event));
        for key in ["postId", "textObjectIndex"] {
            assert_eq!(event.json[key], request[key], "{name}");
        }
        let source = request["sourceLanguage"].as_str().unwrap();
        let mut wanted = requested_languages(&request);
        wanted.retain(|target| is_translated(source, target));
        let translations = event.json["translations"].as_object().unwrap();
        assert_eq!(
            translations.keys().cloned().collect::<BTreeSet<_>>(),
            wanted.into_iter().collect::<BTreeSet<_>>(),
            "{name}"
        );
    }
}

#[test]
fn a_ping_is_answered() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    for Example { request, .. } in examples::requests(&["ping"]) {
        let pong = wait_for("pong", || {
            gateway.send(&request, &[]);
            let mut events = gateway
                .listen(std::time::Duration::from_millis(500))
                .into_iter();
            events.find(|event| event.kind() == "pong")
        });
        assert_shapes(std::slice::from_ref(&pong));
        assert_eq!(pong.json["translator_status"], "alive");
        assert_eq!(pong.json["translator_port_pull"], daemon.ports.pull);
        assert_eq!(pong.json["translator_port_pub"], daemon.ports.publish);
        assert_eq!(pong.json["audio_pipeline_available"], true);
    }
}
