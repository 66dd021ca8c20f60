//! What bodies say beyond the usual: damaged, encoded otherwise, with wishes that are not served.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::forms::{Events, Form, ended_job, get, post, post_async, send, uploads};
use crate::support::http::connect;
use crate::support::models::{copied_models, remove};
use crate::support::recordings;

const PROCESS: &str = "/audio/process-message";
const URL_ENCODED: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn message(languages: &str) -> Form {
    Form::of(&[
        ("sender_id", "sender"),
        ("conversation_id", "conversation"),
        ("target_languages", languages),
    ])
    .file("audio", &recordings::bundled())
}

#[test]
fn a_body_that_is_damaged_is_told_as_such() {
    let daemon = Daemon::start();
    let multipart = Form::content_type();
    for (path, kind, begin) in [
        ("/translate", "application/json", "{\"text\": "),
        ("/v1/audio/speech", "application/json", "{"),
        ("/audio/tts", URL_ENCODED.1, "text="),
        ("/audio/transcribe", &multipart, "--"),
    ] {
        let mut stream = connect(&daemon);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let chunk = format!("{:x}\r\n{begin}\r\n", begin.len());
        stream.write_all((head + &chunk).as_bytes()).unwrap();
        stream.write_all(b"no length\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(answer.contains("damaged"), "{path}: {answer}");
    }
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn more_languages_than_there_are_make_no_job() {
    let daemon = Daemon::start();
    let many = vec!["fr"; 201].join(",");
    let refused = post(&daemon, PROCESS, &message(&many));
    assert_eq!(refused.status, 422, "{}", refused.text());
    let problem = &refused.json()["detail"][0];
    assert_eq!(problem["loc"], json!(["body", "target_languages"]));
    assert_eq!(problem["type"], "too_long");
    assert_eq!(get(&daemon, "/jobs").json()["total"], 0);
    assert_eq!(uploads(&daemon), 0);
    let most = vec!["fr"; 200].join(",");
    assert_eq!(post(&daemon, PROCESS, &message(&most)).status, 200);
}

#[test]
fn what_is_preferred_is_read_with_its_quotes() {
    let daemon = Daemon::start();
    let body = Form::default().file("audio", &recordings::bundled()).body();
    let kind = Form::content_type();
    for (preference, status) in [
        ("handling=\"lenient, respond-async\"", 200),
        ("handling=\"a, b\", respond-async; wait=9", 202),
    ] {
        let headers = [("content-type", &kind[..]), ("prefer", preference)];
        let answer = send(&daemon, "POST", "/audio/transcribe", &headers, &body);
        assert_eq!(answer.status, status, "{preference}");
    }
}

#[test]
fn a_recording_in_base64_comes_url_encoded_too() {
    let daemon = Daemon::start();
    let path = "/v1/audio/transcriptions";
    let base64 = STANDARD.encode(recordings::bundled());
    let encoded = base64.replace('+', "%2B").replace('=', "%3D");
    let body = format!("audio_base64={encoded}&audio_format=ogg&response_format=text");
    let heard = send(&daemon, "POST", path, &[URL_ENCODED], body.as_bytes());
    assert_eq!(heard.status, 200, "{}", heard.text());
    assert!(heard.text().contains("hello"), "{}", heard.text());
    for (body, detail) in [
        ("audio_base64=%3F%3F%3F%3F", "The audio is not base64"),
        ("audio_base64=", "No audio"),
        ("language=en", "No audio"),
    ] {
        let refused = send(&daemon, "POST", path, &[URL_ENCODED], body.as_bytes());
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.json()["detail"], detail, "{body}");
    }
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn an_embedding_is_no_voice() {
    let daemon = Daemon::start();
    let text = Form::of(&[("text", "Hello.")]);
    let file = text.clone().file("voice_embedding", &[7; 1024]);
    let field = text.field("voice_embedding", "7");
    for form in [file, field] {
        let refused = post(&daemon, "/v1/tts", &form);
        assert_eq!(refused.status, 422, "{}", refused.text());
        let problem = &refused.json()["detail"][0];
        assert_eq!(problem["loc"], json!(["body", "voice_embedding"]));
        assert!(problem["msg"].as_str().unwrap().contains("voice_id"));
    }
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn what_nobody_speaks_is_answered_as_text() {
    let models = copied_models();
    remove(models.path(), "xtts");
    let daemon = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    daemon.wait_loaded();
    let reply = post(&daemon, PROCESS, &message("fr,es"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let result = reply.json();
    let words = result["original"]["transcription"].as_str().unwrap();
    assert!(words.contains("hello"), "{words}");
    let translations = result["translations"].as_object().unwrap();
    assert_eq!(translations.len(), 2, "{result}");
    let french = &translations["fr"];
    assert!(french["text"].as_str().unwrap().contains("bonjour"));
    assert_eq!(french["voice_cloned"], false);
    for field in ["audio_path", "audio_url", "duration_ms"] {
        assert_eq!(french[field], Value::Null, "{field}");
    }

    // Translations of the voice API are always spoken.
    let recording = STANDARD.encode(recordings::bundled());
    let body = json!({"audio_base64": recording, "target_languages": ["fr"]}).to_string();
    let json = [("content-type", "application/json")];
    for route in ["/api/v1/voice/translate", "/api/v1/voice/translate/async"] {
        let refused = send(&daemon, "POST", route, &json, body.as_bytes());
        assert_eq!(refused.status, 503, "{route}: {}", refused.text());
    }

    // Whoever follows the job is told, also afterwards.
    let job = post_async(&daemon, PROCESS, &message("fr")).json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(ended_job(&daemon, id)["status"], "completed");
    let events = Events::open(&daemon, &format!("/jobs/{id}/events")).all();
    let translated: Vec<&Value> = events
        .iter()
        .filter(|event| event.name == "translated")
        .map(|event| &event.data)
        .collect();
    let [french] = translated[..] else {
        panic!("{events:?}")
    };
    assert_eq!(french["language"], "fr");

    let form = Form::of(&[("user_id", "ann"), ("target_language", "fr")])
        .file("audio", &recordings::bundled());
    let message = post(&daemon, "/v1/voice-message", &form);
    assert_eq!(message.status, 200, "{}", message.text());
    let message = message.json();
    assert_eq!(message["target_language"], "fr");
    assert!(
        message["translated_text"]
            .as_str()
            .unwrap()
            .contains("bonjour")
    );
    assert_eq!(message["audio_url"], Value::Null);

    // What is only to be spoken cannot be done, nor can what nobody translates.
    let spoken = post(&daemon, "/audio/tts", &Form::of(&[("text", "Hello.")]));
    assert_eq!(spoken.status, 503, "{}", spoken.text());
    remove(models.path(), "marian");
    let deaf = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    deaf.wait_loaded();
    assert_eq!(post(&deaf, PROCESS, &self::message("fr")).status, 503);
}
