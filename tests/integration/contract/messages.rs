//! Texts, stories, recordings and pings.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Session;
use crate::support::examples::Example;
use crate::support::gateway::Event;
use crate::support::requests::{transcription_only, translation};
use crate::support::voice_job::{Answer, Expected, assert_shapes, voice_message};

/// The language that the scripted recogniser hears in everything.
const HEARD: &str = "en";

/// The language of a text that is too short to tell.
const DEFAULT: &str = "fr";

/// Whether the fixture models translate from one language to the other.
pub(super) fn is_translated(source: &str, target: &str) -> bool {
    let from_english = ["fr", "es", "de", "it", "pt"];
    match source {
        "en" => from_english.contains(&target),
        // To English, and through it.
        "fr" => target == "en" || from_english.contains(&target),
        _ => false,
    }
}

/// Whether the fixture models can speak a language.
pub(super) fn is_spoken(language: &str) -> bool {
    let voices = [
        "en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "hu", "ko", "hi",
    ];
    voices.contains(&language)
}

/// The languages of a request in canonical form, each once.
pub(super) fn targets(request: &Value) -> Vec<String> {
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

pub(super) fn source_of(request: &Value) -> &str {
    let device = &request["mobileTranscription"];
    device["language"].as_str().unwrap_or(HEARD)
}

pub(super) fn ping(session: &mut Session, example: &Example) {
    // A pong says nothing about its ping, so the example is one of several that are alike.
    session.gateway.send(&example.json, &[]);
    let pong = session.gateway.ping();
    assert_shapes(std::slice::from_ref(&pong));
    assert_eq!(pong.json["translator_status"], "alive");
    let ports = session.daemon.ports;
    assert_eq!(pong.json["translator_port_pull"], ports.pull);
    assert_eq!(pong.json["translator_port_pub"], ports.publish);
    assert_eq!(pong.json["audio_pipeline_available"], true);
    session.published.push(pong);
}

pub(super) fn text(
    session: &mut Session,
    Example {
        name,
        json: request,
    }: &Example,
) {
    let source = request["sourceLanguage"].as_str().unwrap().to_lowercase();
    let source = source.replace("auto", DEFAULT);
    let requested = requested_languages(request);
    let canonical = |target: &str| target.split('-').next().unwrap().to_owned();
    let is_possible =
        |target: &String| canonical(target) == source || is_translated(&source, &canonical(target));
    let (possible, failed): (Vec<String>, Vec<String>) =
        requested.iter().cloned().partition(is_possible);

    let mut left = possible.len() + usize::from(!failed.is_empty());
    let events = session.exchange(request, &[], |_| {
        left -= 1;
        left == 0
    });
    let (translations, errors) = events.split_at(possible.len());
    let languages: Vec<&str> = translations
        .iter()
        .map(|event| event.text("targetLanguage"))
        .collect();
    assert_eq!(languages, possible, "{name}");
    for event in translations {
        assert_eq!(event.kind(), "translation_completed", "{name}");
        check_translation(request, &source, event);
    }
    let kinds: Vec<&str> = errors.iter().map(Event::kind).collect();
    let expected = if failed.is_empty() {
        &[][..]
    } else {
        &["translation_error"]
    };
    assert_eq!(kinds, expected, "{name}");
    for error in errors {
        let reported = error.json["metadata"]["failedLanguages"].as_array();
        let reported = reported
            .unwrap()
            .iter()
            .map(|language| language.as_str().unwrap());
        assert_eq!(
            reported.collect::<BTreeSet<_>>(),
            failed.iter().map(String::as_str).collect(),
            "{name}"
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

pub(super) fn story(
    session: &mut Session,
    Example {
        name,
        json: request,
    }: &Example,
) {
    let events = session.exchange(request, &[], |_| true);
    let [event] = &events[..] else {
        panic!("{name}: {events:?}")
    };
    assert_eq!(event.kind(), "story_text_object_translation_completed");
    for key in ["postId", "textObjectIndex"] {
        assert_eq!(event.json[key], request[key], "{name}");
    }
    let source = request["sourceLanguage"].as_str().unwrap();
    let mut wanted = requested_languages(request);
    wanted.retain(|target| is_translated(source, target));
    let translations = event.json["translations"].as_object().unwrap();
    assert_eq!(
        translations.keys().cloned().collect::<BTreeSet<_>>(),
        wanted.into_iter().collect::<BTreeSet<_>>(),
        "{name}"
    );
}

pub(super) fn transcription(
    session: &mut Session,
    Example {
        name,
        json: request,
    }: &Example,
) {
    let recording = session.recording.clone();
    let events = session.exchange(request, &[&recording], |_| true);
    let [completed] = &events[..] else {
        panic!("{name}: {events:?}")
    };
    assert_eq!(completed.kind(), "transcription_completed", "{name}");
    for key in ["taskId", "messageId", "attachmentId"] {
        assert_eq!(completed.json.get(key), request.get(key), "{name}: {key}");
    }
    let transcription = &completed.json["transcription"];
    assert_ne!(transcription["text"], "", "{name}");
    assert_eq!(transcription["language"], HEARD, "{name}");
    let voices = session.daemon.folder().join("data/voices");
    assert!(!voices.exists(), "nothing is learnt about the speaker");
}

pub(super) fn audio(session: &mut Session, Example { name, json }: &Example) {
    let mut request = json.clone();
    // The examples share one sender, and what is known of a sender's voice changes the answer.
    request["senderId"] = json!(format!("sender-of-{name}"));
    let frames = provide(session, &mut request);

    let source = source_of(&request).to_owned();
    let mut wanted = targets(&request);
    wanted.retain(|target| *target != source);
    let with_voice: Vec<&str> = wanted
        .iter()
        .map(String::as_str)
        .filter(|target| is_spoken(target))
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
    let answer = voice_answer(session, &request, &frames, expected);

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

/// Sends a voice message and checks its events as a whole.
fn voice_answer(
    session: &mut Session,
    request: &Value,
    frames: &[Vec<u8>],
    expected: Expected<'_>,
) -> Answer {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let events = session.exchange(request, &frames, |event| match event.kind() {
        "audio_process_error" => true,
        kind => kind == "audio_process_completed" && expected.error.is_none(),
    });
    let answer = Answer { events };
    answer.check(&session.daemon, request, expected);
    answer
}

/// Puts the recording where the request says that it is; returns the request's binary frames.
fn provide(session: &Session, request: &mut Value) -> Vec<Vec<u8>> {
    // The committed examples hold base64 of no recording.
    if let Some(fields) = request.as_object_mut() {
        fields.remove("audioBase64");
    }
    if let Some(path) = request["audioPath"].as_str() {
        session.upload(path, &session.recording);
    }
    let Some(numbers) = request.get("binaryFrames") else {
        return Vec::new();
    };
    let mut frames = vec![Vec::new(); 2];
    let at = |name: &str| numbers[name].as_u64().map(|number| number as usize - 1);
    if let Some(place) = at("audio") {
        frames[place] = session.recording.clone();
    }
    if let Some(place) = at("voiceProfile") {
        // As the replaced service stored them: 256 floats.
        frames[place] = 0.125f32.to_le_bytes().repeat(256);
    }
    frames.retain(|frame| !frame.is_empty());
    frames
}

/// Asks for the events that no example of a request leads to.
pub(super) fn other_events(session: &mut Session) {
    let recording = [session.recording.clone()];
    for languages in [&["fr"][..], &["fr", "es"], &[]] {
        let name = format!("languages-{}", languages.len());
        let request = voice_message(&name, languages);
        voice_answer(session, &request, &recording, Expected::spoken(languages));
    }
    let mut of_post = voice_message("post", &["fr"]);
    of_post["postId"] = json!("post-7");
    of_post["postMediaId"] = json!("media-7");
    voice_answer(session, &of_post, &recording, Expected::spoken(&["fr"]));

    let noise = [b"no recording".to_vec()];
    let request = voice_message("noise", &["fr"]);
    let frames: Vec<&[u8]> = noise.iter().map(Vec::as_slice).collect();
    let events = session.exchange(&request, &frames, |_| true);
    assert_eq!(kinds(&events), ["audio_process_error"]);
    assert_eq!(events[0].text("errorCode"), "transcription_failed");

    let task_id = Uuid::new_v4().to_string();
    let events = session.exchange(&transcription_only(&task_id), &frames, |_| true);
    assert_eq!(kinds(&events), ["transcription_error"]);
    assert_eq!(events[0].text("errorCode"), "transcription_failed");
    assert_eq!(events[0].text("taskId"), task_id);

    let long = "Hello my friend. ".repeat(200);
    let request = translation("too-long", &long, "en", &["fr", "es"]);
    let events = session.exchange(&request, &[], |event| event.kind() == "translation_error");
    assert_eq!(kinds(&events), ["translation_skipped", "translation_error"]);
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::kind).collect()
}
