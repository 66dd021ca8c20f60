//! Texts that are spoken, and the later API.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, fixture_models};
use crate::support::forms::{Form, Reply, ended_job, get, post, post_async, send, uploads};
use crate::support::{local, recordings};

const TEXT: &str = "Hello my friend. How are you.";

fn speech(daemon: &Daemon, body: &Value) -> Reply {
    let headers = [("content-type", "application/json")];
    send(
        daemon,
        "POST",
        "/v1/audio/speech",
        &headers,
        body.to_string().as_bytes(),
    )
}

#[test]
fn a_text_is_spoken_in_every_format() {
    let daemon = Daemon::start();
    for (format, begin) in [("mp3", &b"\xff"[..]), ("wav", b"RIFF"), ("ogg", b"OggS")] {
        let form = Form::of(&[("text", TEXT), ("language", "en"), ("format", format)]);
        let reply = post(&daemon, "/audio/tts", &form);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("content-type"), format!("audio/{format}"));
        assert_eq!(
            reply.header("content-disposition"),
            format!("attachment; filename=\"tts_en.{format}\"")
        );
        assert_eq!(reply.header("x-voice-cloned"), "false");
        assert!(reply.body.starts_with(begin), "{format}");
        // The same is in the output folder, and the job names it.
        let job = get(&daemon, &format!("/jobs/{}", reply.header("x-job-id"))).json();
        assert_eq!(job["kind"], "tts");
        assert_eq!(job["result"]["format"], format);
        let file = get(&daemon, job["result"]["audio_url"].as_str().unwrap());
        assert!(file.body == reply.body, "{format}");
        // And it is what its name says.
        let heard = Form::default().file("audio", &reply.body);
        let heard = post(&daemon, "/audio/transcribe", &heard);
        assert_eq!(heard.status, 200, "{}", heard.text());
        assert_eq!(
            heard.json()["duration_ms"],
            job["result"]["duration_ms"],
            "{format}"
        );
    }
    // As FastAPI takes it too, and default values.
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let reply = send(
        &daemon,
        "POST",
        "/audio/tts",
        &headers,
        b"text=Hello+my+friend.",
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "audio/mp3");
    assert_eq!(
        post(&daemon, "/v1/tts", &Form::of(&[("text", TEXT)])).status,
        200
    );
}

#[test]
fn a_long_text_is_given_out_while_it_is_spoken() {
    let daemon = Daemon::start();
    let text = format!("{TEXT} ").repeat(20);
    for format in ["mp3", "wav"] {
        let fields = [("text", &text[..]), ("format", format)];
        let whole = post(&daemon, "/audio/tts", &Form::of(&fields));
        let streamed = Form::of(&fields).field("stream", "true");
        let streamed = post(&daemon, "/audio/tts", &streamed);
        assert_eq!(streamed.status, 200, "{}", streamed.text());
        assert_eq!(streamed.header("content-length"), "");
        if format == "wav" {
            // The same samples; the head of a stream does not know how many.
            assert!(streamed.body[44..] == whole.body[44..]);
        }
        let id = streamed.header("x-job-id");
        let ledger = rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3"));
        let pieces = "SELECT count(*) FROM events JOIN jobs ON jobs.id = job_id
                      WHERE public_id = ?1 AND events.kind = 'tts_piece'";
        let pieces: i64 = ledger
            .unwrap()
            .query_row(pieces, [id], |row| row.get(0))
            .unwrap();
        assert!(pieces > 1, "{pieces}");
        let heard = post(
            &daemon,
            "/audio/transcribe",
            &Form::default().file("audio", &streamed.body),
        );
        assert_eq!(heard.status, 200, "{}", heard.text());
    }
}

#[test]
fn what_is_wrong_with_a_text_is_told() {
    let daemon = Daemon::start();
    let long = "x ".repeat(10_001);
    for (path, fields, status) in [
        ("/audio/tts", &[("text", " ")][..], 400),
        ("/audio/tts", &[("language", "en")], 422),
        ("/audio/tts", &[("text", TEXT), ("language", "??")], 422),
        ("/audio/tts", &[("text", TEXT), ("format", "flac")], 415),
        (
            "/audio/tts",
            &[("text", TEXT), ("format", "ogg"), ("stream", "true")],
            415,
        ),
        ("/audio/tts", &[("text", &long)], 413),
        // Nobody speaks it.
        ("/audio/tts", &[("text", TEXT), ("language", "ln")], 400),
        ("/v1/tts", &[("text", " ")], 400),
    ] {
        let reply = post(&daemon, path, &Form::of(fields));
        assert_eq!(reply.status, status, "{fields:?}: {}", reply.text());
        assert!(!reply.json()["detail"].is_null());
    }
    for (body, status) in [
        (json!({ "voice": "alloy" }), 422),
        (json!({ "input": "" }), 400),
        (json!({ "input": TEXT, "voice": "x".repeat(513) }), 400),
        (json!({ "input": TEXT, "response_format": "aac" }), 415),
        (json!({ "input": TEXT, "language": "??" }), 422),
        (json!(null), 422),
    ] {
        let reply = speech(&daemon, &body);
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
    }
    let headers = [("content-type", "application/json")];
    let broken = send(&daemon, "POST", "/v1/audio/speech", &headers, b"{");
    assert_eq!(broken.status, 422, "{}", broken.text());
}

#[test]
fn a_voice_that_was_registered_speaks() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "3000")]);
    let form = Form::of(&[("user_id", "ann")]).file("audio", &recordings::bundled());
    let reply = post(&daemon, "/v1/register-voice", &form);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let voice = reply.json();
    assert_eq!(voice["user_id"], "ann");
    assert_eq!(voice["status"], "registered");
    assert_eq!(voice["audio_count"], 1);
    assert!(voice["quality_score"].as_f64().unwrap() > 0.0);
    assert!(
        voice["voice_embedding_id"]
            .as_str()
            .unwrap()
            .starts_with("vp_")
    );
    assert_eq!(get(&daemon, "/audio/voice-models/ann").status, 200);

    let spoken = Form::of(&[("text", TEXT), ("user_id", "ann")]);
    assert_eq!(
        post(&daemon, "/audio/tts", &spoken).header("x-voice-cloned"),
        "true"
    );
    let spoken = Form::of(&[("text", TEXT), ("voice_id", "ann")]);
    assert_eq!(
        post(&daemon, "/v1/tts", &spoken).header("x-voice-cloned"),
        "true"
    );
    let spoken = speech(
        &daemon,
        &json!({ "input": TEXT, "voice": "ann", "language": "en" }),
    );
    assert_eq!(spoken.header("x-voice-cloned"), "true");
    let other = Form::of(&[("text", TEXT), ("user_id", "bob")]);
    assert_eq!(
        post(&daemon, "/audio/tts", &other).header("x-voice-cloned"),
        "false"
    );
    // What was said in her voice goes when she does.
    let said = daemon.folder().join("outputs/audio/translated");
    let deleted = send(&daemon, "DELETE", "/audio/voice-models/ann", &[], &[]).json();
    assert_eq!(
        deleted["deleted"]["speech_files"],
        3,
        "{deleted} {}",
        said.display()
    );

    let short = Daemon::start();
    let reply = post(&short, "/v1/register-voice", &form);
    assert_eq!(reply.status, 400, "{}", reply.text());
    let reply = post(
        &short,
        "/v1/register-voice",
        &Form::of(&[("user_id", "ann")]),
    );
    assert_eq!(reply.status, 400);
    let nobody = Form::default().file("audio", &recordings::bundled());
    assert_eq!(post(&short, "/v1/register-voice", &nobody).status, 422);
    assert_eq!(uploads(&short), 0);
}

#[test]
fn transcriptions_come_in_every_form_and_from_base64() {
    let daemon = Daemon::start();
    let path = "/v1/audio/transcriptions";
    let file = Form::of(&[("model", "whisper-1")]).file("file", &recordings::bundled());
    let plain = post(&daemon, path, &file);
    assert_eq!(plain.status, 200, "{}", plain.text());
    let plain = plain.json();
    assert_eq!(plain["language"], "en");
    assert_eq!(plain["source"], "whisper");
    assert_eq!(plain["duration_ms"], 6000);
    let words = plain["text"].as_str().unwrap();
    let form = |name: &str| post(&daemon, path, &file.clone().field("response_format", name));
    let verbose = form("verbose_json").json();
    assert_eq!(verbose["duration"], 6.0);
    assert_eq!(verbose["segments"][0]["id"], 0);
    assert_eq!(form("text").text().trim(), words);
    assert!(form("srt").text().starts_with("1\n00:00:0"));
    let vtt = form("vtt");
    assert_eq!(vtt.header("content-type"), "text/vtt; charset=utf-8");
    assert!(vtt.text().starts_with("WEBVTT\n\n00:00:0"));
    assert_eq!(form("html").status, 422);

    let encoded = STANDARD.encode(recordings::bundled());
    for text in [encoded.clone(), format!("data:audio/ogg;base64,{encoded}")] {
        let base64 = Form::of(&[("audio_base64", &text), ("audio_format", "ogg")]);
        assert_eq!(post(&daemon, path, &base64).json()["text"], words);
    }
    for broken in ["?", "AAAA?"] {
        let reply = post(&daemon, path, &Form::of(&[("audio_base64", broken)]));
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    assert_eq!(
        post(&daemon, path, &Form::of(&[("model", "whisper-1")])).status,
        400
    );
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn a_voice_message_in_one_language_and_figures() {
    let daemon = Daemon::start();
    let form = Form::of(&[("user_id", "ann"), ("target_language", "fr")])
        .file("audio", &recordings::bundled());
    let reply = post(&daemon, "/v1/voice-message", &form);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let message = reply.json();
    assert_eq!(message["original_language"], "en");
    assert_eq!(message["target_language"], "fr");
    assert!(
        message["translated_text"]
            .as_str()
            .unwrap()
            .contains("bonjour")
    );
    assert_eq!(
        get(&daemon, message["audio_url"].as_str().unwrap()).status,
        200
    );
    let accepted = post_async(&daemon, "/v1/voice-message", &form).json();
    let job = ended_job(&daemon, accepted["id"].as_str().unwrap());
    assert_eq!(job["result"]["translated_text"], message["translated_text"]);
    let no_language = Form::of(&[("user_id", "ann")]).file("audio", &recordings::bundled());
    assert_eq!(post(&daemon, "/v1/voice-message", &no_language).status, 422);

    let stats = get(&daemon, "/v1/audio/stats").json();
    assert_eq!(stats["jobs"]["audio_process"]["done"], 2);
    assert_eq!(stats["voices"], 1);
}

/// The client that most programs use, not ours.
const OPENAI: &str = r#"
import sys
from openai import OpenAI
url, recording, speech = sys.argv[1:]
client = OpenAI(base_url=url, api_key="none", max_retries=0)
with open(recording, "rb") as file:
    heard = client.audio.transcriptions.create(model="whisper-1", file=file)
assert "hello" in heard.text, heard
with open(recording, "rb") as file:
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=file, response_format="verbose_json", language="en"
    )
assert heard.language == "en" and float(heard.duration) == 6.0, heard
assert heard.segments[0].end > heard.segments[0].start, heard
with open(recording, "rb") as file:
    cues = client.audio.transcriptions.create(model="whisper-1", file=file, response_format="vtt")
assert cues.startswith("WEBVTT"), cues
with client.audio.speech.with_streaming_response.create(
    model="tts-1", voice="alloy", input="Hello my friend.", response_format="wav"
) as spoken:
    spoken.stream_to_file(speech)
"#;

#[test]
fn the_client_of_openai_transcribes_and_speaks() {
    let daemon = Daemon::start();
    let libraries = std::env::var_os("PYTHONPATH").unwrap_or_else(|| local("python").into());
    let spoken = daemon.folder().join("spoken.wav");
    let output = Command::new("python3")
        .env("PYTHONPATH", libraries)
        .args(["-c", OPENAI])
        .arg(format!("http://127.0.0.1:{}/v1", daemon.ports.http))
        .arg(fixture_models().join("audio/voice_message.ogg"))
        .arg(&spoken)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "needs openai: run `make setup-tests`\n{error}"
    );
    let speech = std::fs::read(spoken).unwrap();
    assert!(speech.starts_with(b"RIFF") && speech.len() > 10_000);
}
