//! Where a recording may come from: the request itself, an upload folder, a web server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, assert_shapes, voice_message};
use crate::support::web_server::WebServer;

/// The servers of tests are in no public network.
const LOOPBACK: (&str, &str) = ("AUDIO_URL_NETWORKS", "127.0.0.0/8");

/// A voice message in the form of the original plan: no frames.
fn message_without_frames(name: &str) -> Value {
    let mut message = voice_message(name, &["fr"]);
    message.as_object_mut().unwrap().remove("binaryFrames");
    message
}

#[test]
fn recordings_come_from_upload_folders_web_servers_and_base64() {
    let recording = recordings::bundled();
    let uploads = tempfile::tempdir().unwrap();
    std::fs::create_dir(uploads.path().join("2026")).unwrap();
    let file = uploads.path().join("2026/note.m4a");
    std::fs::write(&file, &recording).unwrap();
    let server = WebServer::start(recording.clone());
    let daemon = Daemon::start_with(&[
        ("AUDIO_UPLOAD_DIR", uploads.path().to_str().unwrap()),
        ("AUDIO_URL_HOSTS", "127.0.0.1"),
        LOOPBACK,
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    let base64 = STANDARD.encode(&recording);
    let cases = [
        ("path", json!({"audioPath": "2026/note.m4a"})),
        ("absolute", json!({"audioPath": file})),
        ("url", json!({"audioUrl": server.url("/recording")})),
        ("moved", json!({"audioUrl": server.url("/moved")})),
        ("base64", json!({"audioBase64": base64})),
        (
            "data-url",
            json!({"audioBase64": format!("data:audio/ogg;base64,{base64}")}),
        ),
        // The first that can be read counts.
        (
            "fallback",
            json!({"audioUrl": server.url("/missing"), "audioPath": "2026/note.m4a"}),
        ),
        (
            "other-host",
            json!({"audioUrl": "https://gateway.example.test/note.m4a", "audioPath": "2026/note.m4a"}),
        ),
    ];
    let mut transcriptions = Vec::new();
    for (name, source) in cases {
        let mut request = message_without_frames(name);
        for (key, value) in source.as_object().unwrap() {
            request[key] = value.clone();
        }
        let expected = Expected::spoken(&["fr"]);
        let answer = Answer::to(&mut gateway, &daemon, &request, &[], expected);
        transcriptions.push(answer.completed().json["transcription"].clone());
    }
    transcriptions.dedup();
    assert_eq!(transcriptions.len(), 1, "the same recording each time");
    assert_eq!(
        server.asked(),
        ["/recording", "/moved", "/recording", "/missing"]
    );
}

#[test]
fn a_request_to_write_down_prefers_the_path_to_the_url() {
    let server = WebServer::start(b"no recording".to_vec());
    let daemon = Daemon::start_with(&[("AUDIO_URL_HOSTS", "127.0.0.1"), LOOPBACK]);
    let uploads = daemon.folder().join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    std::fs::write(uploads.join("note.ogg"), recordings::bundled()).unwrap();
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.send(
        &json!({
            "type": "transcription_only", "taskId": "task", "messageId": "message",
            "audioFormat": "ogg", "audioPath": "uploads/note.ogg", "audioUrl": server.url("/recording"),
        }),
        &[],
    );
    let events = gateway.events_of(
        "message",
        &["transcription_completed", "transcription_error"],
    );
    assert_shapes(&events);
    assert_eq!(events[0].kind(), "transcription_completed", "{events:?}");
    assert!(server.asked().is_empty());
}

#[test]
fn sources_that_must_not_or_cannot_be_read_end_the_job() {
    let server = WebServer::start(recordings::bundled());
    let hosts = ("AUDIO_URL_HOSTS", "127.0.0.1, media.example.test");
    let daemon = Daemon::start_with(&[hosts, LOOPBACK]);
    let uploads = daemon.folder().join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    std::fs::write(daemon.folder().join("secret.ogg"), recordings::bundled()).unwrap();
    std::os::unix::fs::symlink("../secret.ogg", uploads.join("link.ogg")).unwrap();
    let outside = daemon.folder().join("secret.ogg");
    let localhost = server.url("/recording").replace("127.0.0.1", "localhost");
    // The first answer comes at once and is not kept for who subscribes later.
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let cases = [
        ("nothing", json!({})),
        ("missing", json!({"audioPath": "missing.ogg"})),
        ("parent", json!({"audioPath": "../secret.ogg"})),
        ("link", json!({"audioPath": "link.ogg"})),
        ("outside", json!({"audioPath": outside})),
        ("folder", json!({"audioPath": "uploads"})),
        ("not-found", json!({"audioUrl": server.url("/missing")})),
        ("away", json!({"audioUrl": server.url("/away")})),
        ("endless", json!({"audioUrl": server.url("/endless")})),
        ("other-host", json!({"audioUrl": localhost})),
        (
            "file",
            json!({"audioUrl": format!("file://{}", outside.display())}),
        ),
        ("no-base64", json!({"audioBase64": "*** not base64 ***"})),
    ];
    for (name, source) in cases {
        let mut request = message_without_frames(name);
        for (key, value) in source.as_object().unwrap() {
            request[key] = value.clone();
        }
        gateway.send(&request, &[]);
        let id = request["messageId"].as_str().unwrap();
        let mut events = gateway.events_of(id, &["audio_process_completed", "audio_process_error"]);
        events.extend(gateway.rest_of(id));
        assert_shapes(&events);
        let [error] = &events[..] else {
            panic!("{name}: {events:?}")
        };
        assert_eq!(
            error.text("errorCode"),
            "transcription_failed",
            "{name}: {error:?}"
        );
        assert_eq!(
            error.json["attachmentId"], request["attachmentId"],
            "{name}"
        );
    }
    // Neither the other host nor one that a redirect leads to was asked.
    assert_eq!(server.asked(), ["/missing", "/away", "/endless"]);

    // An address that is not public is not asked either, unless its network is allowed.
    let daemon = Daemon::start_with(&[hosts]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let mut request = message_without_frames("private");
    request["audioUrl"] = json!(server.url("/recording"));
    gateway.send(&request, &[]);
    let id = request["messageId"].as_str().unwrap();
    let events = gateway.events_of(id, &["audio_process_completed", "audio_process_error"]);
    let error = events.last().unwrap();
    assert_eq!(error.text("errorCode"), "transcription_failed", "{error:?}");
    assert!(error.text("error").contains("not public"), "{error:?}");
    assert_eq!(server.asked().len(), 3);
}
