//! Voice messages over HTTP: what is answered, what is refused, and what is left behind.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::forms::{
    Connection, Form, ended_job, get, job_when, post, post_async, send, uploads,
};
use crate::support::gateway::Gateway;
use crate::support::requests::translation;
use crate::support::{recordings, wait_for};

const PROCESS: &str = "/audio/process-message";

fn message(languages: &str) -> Form {
    Form::of(&[
        ("sender_id", "sender"),
        ("conversation_id", "conversation"),
        ("target_languages", languages),
    ])
    .file("audio", &recordings::bundled())
}

/// The jobs that are listed.
fn listed(daemon: &Daemon) -> Vec<Value> {
    let page = get(daemon, "/jobs").json();
    page["jobs"].as_array().unwrap().clone()
}

#[test]
fn a_voice_message_is_answered_in_every_language_and_the_gateway_hears_nothing_of_it() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let reply = post(&daemon, PROCESS, &message("fr,es"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let result = reply.json();
    assert_eq!(result["original"]["language"], "en");
    assert_eq!(result["original"]["source"], "whisper");
    assert_eq!(result["original"]["duration_ms"], 6000);
    let words = result["original"]["transcription"].as_str().unwrap();
    assert!(words.contains("hello"), "{words}");
    let languages: Vec<&String> = result["translations"].as_object().unwrap().keys().collect();
    assert_eq!(languages, ["es", "fr"]);
    let french = &result["translations"]["fr"];
    assert_eq!(french["language"], "fr");
    assert_eq!(french["voice_cloned"], true);
    assert!(french["text"].as_str().unwrap().contains("bonjour"));

    // The speech is served, in parts too, and under its name alone.
    let url = french["audio_url"].as_str().unwrap();
    let speech = get(&daemon, url);
    assert_eq!(speech.status, 200);
    assert_eq!(speech.header("content-type"), "audio/mpeg");
    let part = send(&daemon, "GET", url, &[("range", "bytes=4-9")], &[]);
    assert_eq!(part.status, 206);
    assert_eq!(part.body, speech.body[4..10]);
    let name = url.rsplit('/').next().unwrap();
    for path in [format!("/audio/{name}"), format!("/v1/audio/{name}")] {
        let named = get(&daemon, &path);
        assert_eq!(named.status, 200, "{path}");
        assert!(named.body == speech.body, "{path}");
    }
    for path in [
        "/outputs/audio/translated/../../data/ledger.lock",
        "/outputs/audio/translated/%2e%2e/%2e%2e/data/ledger.lock",
        "/outputs/audio/none.mp3",
        "/outputs/audio/translated",
        "/audio/%2e%2e%2fledger.lock",
        "/audio/none.mp3",
    ] {
        let refused = get(&daemon, path);
        assert_eq!(refused.status, 404, "{path}");
        assert!(refused.json()["detail"].is_string(), "{path}");
    }

    // The job is there, and its result for whoever knows its name.
    let jobs = listed(&daemon);
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!(job["kind"], "process_message");
    assert_eq!(job["status"], "completed");
    assert_eq!(job["progress"], 100);
    assert!(job.get("result").is_none());
    assert!(!job.to_string().contains("hello"));
    let stages: Vec<&str> = job["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["status"] == "done")
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages[..2], ["decode", "transcribe"]);
    assert_eq!(stages.iter().filter(|stage| **stage == "encode").count(), 2);
    let id = job["id"].as_str().unwrap();
    assert_eq!(
        get(&daemon, &format!("/jobs/{id}")).json()["result"],
        result
    );
    // Its number in the ledger is no name for others.
    assert_eq!(get(&daemon, "/jobs/1").status, 404);

    // Of a job of the gateway that comes later all is published; of this one nothing ever was.
    gateway.send(&translation("text", "Hello.", "en", &["fr"]), &[]);
    let events = gateway.events_until("the translation", |event| {
        event.kind() == "translation_completed"
    });
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(uploads(&daemon), 0);
    let ledger = rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3")).unwrap();
    let published = "SELECT count(*) FROM events JOIN jobs ON jobs.id = job_id
                     WHERE audience = 'http' AND (publish_count > 0 OR events.state != 'settled')";
    let published: i64 = ledger.query_row(published, [], |row| row.get(0)).unwrap();
    assert_eq!(published, 0);

    // The job of the gateway is listed, and what it is about is not told.
    let jobs = listed(&daemon);
    assert_eq!(jobs[0]["kind"], "translation");
    let of_gateway = get(
        &daemon,
        &format!("/jobs/{}", jobs[0]["id"].as_str().unwrap()),
    )
    .json();
    assert_eq!(of_gateway["result"], Value::Null);
    let cancelled = send(&daemon, "DELETE", "/jobs/2", &[], &[]);
    assert_eq!(cancelled.status, 403);
}

#[test]
fn what_the_senders_device_has_heard_is_taken_and_nothing_need_be_translated() {
    let daemon = Daemon::start();
    let form = Form::of(&[
        ("sender_id", "sender"),
        ("conversation_id", "conversation"),
        ("mobile_transcription", "Hello my friend."),
        ("mobile_language", "en"),
        ("generate_voice_clone", "false"),
        ("target_languages", "fr"),
        ("target_languages", "es"),
    ])
    .file("audio", &recordings::bundled());
    let result = post(&daemon, PROCESS, &form).json();
    assert_eq!(result["original"]["source"], "mobile");
    assert_eq!(result["original"]["transcription"], "Hello my friend.");
    assert_eq!(result["translations"]["fr"]["voice_cloned"], false);
    assert_eq!(result["translations"].as_object().unwrap().len(), 2);
    assert_eq!(result["voice_model_quality"], 0.0);

    let form = Form::of(&[("sender_id", "sender"), ("conversation_id", "conversation")])
        .file("audio", &recordings::bundled());
    let result = post(&daemon, PROCESS, &form).json();
    assert_eq!(result["original"]["language"], "en");
    assert_eq!(result["translations"], json!({}));
}

#[test]
fn a_recording_is_written_down_with_times_where_they_are_asked_for() {
    let daemon = Daemon::start();
    let form = Form::default().file("audio", &recordings::bundled());
    for path in ["/audio/transcribe", "/v1/audio/transcribe"] {
        let plain = post(&daemon, path, &form);
        assert_eq!(plain.status, 200, "{}", plain.text());
        let plain = plain.json();
        assert_eq!(plain["language"], "en");
        assert_eq!(plain["duration_ms"], 6000);
        assert_eq!(plain["segments"], Value::Null);
    }
    let timed = form.clone().field("return_timestamps", "true");
    let timed = post(&daemon, "/audio/transcribe", &timed).json();
    let segments = timed["segments"].as_array().unwrap();
    let words: Vec<&str> = segments
        .iter()
        .map(|s| s["text"].as_str().unwrap())
        .collect();
    assert_eq!(words.join(" "), timed["text"].as_str().unwrap());
    assert!(segments[0]["end_ms"].as_u64() > segments[0]["start_ms"].as_u64());

    let accepted = post_async(&daemon, "/audio/transcribe", &form);
    assert_eq!(accepted.status, 202);
    assert_eq!(accepted.header("preference-applied"), "respond-async");
    let job = accepted.json();
    assert_eq!(job["kind"], "transcribe");
    assert_eq!(job["result"], Value::Null);
    let id = job["id"].as_str().unwrap();
    assert_eq!(accepted.header("location"), format!("/jobs/{id}"));
    let ended = ended_job(&daemon, id);
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["result"]["text"], timed["text"]);
    assert_eq!(ended["result"]["segments"], Value::Null);
}

#[test]
fn what_is_wrong_is_told_and_leaves_nothing_behind() {
    let daemon = Daemon::start_with(&[("AUDIO_MAX_SIZE_MB", "1")]);
    let audio = recordings::bundled();
    let whole = |fields: &[(&str, &str)]| Form::of(fields).file("audio", &audio);
    let ids = [("sender_id", "s"), ("conversation_id", "c")];
    let long_id = "x".repeat(513);
    for (path, form, status) in [
        (PROCESS, Form::of(&ids), 400),
        (PROCESS, Form::of(&ids).file("audio", b""), 400),
        (PROCESS, whole(&ids[..1]), 422),
        (PROCESS, whole(&[("sender_id", &long_id), ids[1]]), 400),
        (
            PROCESS,
            whole(&[ids[0], ids[1], ("target_languages", "fr,?")]),
            422,
        ),
        (PROCESS, whole(&[ids[0], ids[1], ("language", "??")]), 422),
        (
            PROCESS,
            whole(&[ids[0], ids[1], ("model_type", "huge")]),
            422,
        ),
        (
            PROCESS,
            whole(&[ids[0], ids[1], ("generate_voice_clone", "maybe")]),
            422,
        ),
        (PROCESS, Form::of(&ids).file("audio", b"no recording"), 415),
        (
            PROCESS,
            Form::of(&ids).file("audio", &vec![0; 1 << 20 | 1]),
            413,
        ),
        (
            PROCESS,
            whole(&ids).field("mobile_transcription", &"x".repeat(1 << 20 | 1)),
            413,
        ),
        ("/audio/transcribe", Form::default(), 400),
        (
            "/audio/transcribe",
            Form::default().file("audio", b"no recording"),
            415,
        ),
        ("/audio/transcribe", whole(&[("language", "??")]), 422),
    ] {
        let reply = post(&daemon, path, &form);
        let detail = &reply.json()["detail"];
        assert_eq!(reply.status, status, "{detail}");
        if status == 422 {
            assert!(
                detail[0]["loc"][0] == "body" && detail[0]["type"].is_string(),
                "{detail}"
            );
        } else {
            assert!(detail.is_string(), "{detail}");
        }
    }
    let missing = post(&daemon, PROCESS, &whole(&[]));
    let fields: Vec<Value> = missing.json()["detail"].as_array().unwrap().to_vec();
    let names: Vec<&Value> = fields.iter().map(|field| &field["loc"][1]).collect();
    assert_eq!(names, ["sender_id", "conversation_id"]);
    assert_eq!(fields[0]["type"], "missing");

    let announced = [("content-type", "multipart/form-data; boundary=x")];
    let broken = send(&daemon, "POST", PROCESS, &announced, b"--x\r\nno form");
    assert_eq!(broken.status, 400, "{}", broken.text());
    let no_form = send(
        &daemon,
        "POST",
        PROCESS,
        &[("content-type", "text/plain")],
        b"hello",
    );
    assert_eq!(no_form.status, 400, "{}", no_form.text());
    for (method, path) in [
        ("GET", "/jobs/nothing"),
        ("DELETE", "/jobs/nothing"),
        ("GET", "/jobs/7/events"),
    ] {
        let reply = send(&daemon, method, path, &[], &[]);
        assert_eq!(reply.status, 404, "{method} {path}");
    }
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn what_cannot_be_done_now_is_refused() {
    let off = Daemon::start_with(&[("ENABLE_AUDIO_SERVICES", "false")]);
    let reply = post(&off, PROCESS, &message("fr"));
    assert_eq!(reply.status, 503, "{}", reply.text());
    let models = tempfile::tempdir().unwrap();
    let bare = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    bare.wait_loaded();
    for path in [
        PROCESS,
        "/audio/transcribe",
        "/audio/tts",
        "/v1/register-voice",
    ] {
        let reply = post(&bare, path, &message("fr"));
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.json()["detail"].is_string());
    }
    assert_eq!(listed(&bare).len(), 0);

    // One is in work and stays there, one waits.
    let full = Daemon::start_with(&[
        ("TRANSLATOR_FAULT", "decode:pause"),
        ("MAX_CONCURRENT_JOBS", "1"),
        ("MAX_QUEUE_SIZE", "2"),
    ]);
    let first = post_async(&full, PROCESS, &message("fr")).json();
    job_when(&full, first["id"].as_str().unwrap(), "work", |job| {
        job["status"] == "running"
    });
    assert_eq!(post_async(&full, PROCESS, &message("fr")).status, 202);
    let refused = post_async(&full, PROCESS, &message("fr"));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(uploads(&full), 0);
}

#[test]
fn who_leaves_leaves_no_file_and_no_job_behind() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    // In the middle of the upload.
    let body = message("fr").body();
    let mut cut = Connection::post(&daemon, PROCESS, body.len());
    cut.write(&body[..body.len() / 2]);
    wait_for("the upload", || (uploads(&daemon) == 1).then_some(()));
    drop(cut);
    wait_for("the end of the upload", || {
        (uploads(&daemon) == 0).then_some(())
    });
    assert_eq!(listed(&daemon).len(), 0);

    // In the middle of the work.
    let mut waiting = Connection::post(&daemon, PROCESS, body.len());
    waiting.write(&body);
    wait_for("work", || {
        let jobs = listed(&daemon);
        (jobs.first()?["stage"] == "synthesize").then_some(())
    });
    drop(waiting);
    let job = wait_for("the job's end", || {
        listed(&daemon)
            .into_iter()
            .find(|job| job["status"] == "cancelled")
    });
    assert_eq!(job["error"]["reason"], "cancelled");
    let stages = job["stages"].as_array().unwrap();
    assert_eq!(stages.last().unwrap()["status"], "failed");

    // Whoever comes later is served: the place is free again.
    let job = post_async(&daemon, "/audio/transcribe", &message("")).json();
    let ended = ended_job(&daemon, job["id"].as_str().unwrap());
    assert_eq!(ended["status"], "completed");
}

#[test]
fn a_request_that_takes_too_long_is_answered_and_its_job_cancelled() {
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_FAULT", "decode:pause"),
        ("TRANSLATOR_HTTP_TIMEOUT_SECS", "1"),
    ]);
    let reply = post(&daemon, PROCESS, &message("fr"));
    assert_eq!(reply.status, 504, "{}", reply.text());
    wait_for("the job's end", || {
        listed(&daemon)
            .into_iter()
            .find(|job| job["status"] == "cancelled")
    });
}

#[test]
fn no_form_takes_more_than_it_may() {
    let daemon = Daemon::start();
    let multipart = [("content-type", "multipart/form-data; boundary=x")];
    // What is left unread could take the answer with it: so the head ends where it is too long.
    let mut endless = Connection::post(&daemon, "/audio/transcribe", 50 << 20);
    let content_type = Form::content_type();
    let boundary = content_type.rsplit_once("boundary=").unwrap().1;
    endless.write(format!("--{boundary}\r\nContent-Disposition: form-data; ").as_bytes());
    endless.write(&[b'a'; 64 << 10]);
    endless.write(&[b'a'; 1 << 10]);
    let refused = endless.answer();
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(refused.contains("head of a part"), "{refused}");

    // Empty and repeated parts count too.
    let part = "--x\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a\"\r\n\r\n\r\n";
    let parts = part.repeat(200) + "--x--\r\n";
    let refused = send(
        &daemon,
        "POST",
        "/audio/transcribe",
        &multipart,
        parts.as_bytes(),
    );
    assert_eq!(refused.status, 413, "{}", refused.text());
    let nameless = "--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n";
    let refused = send(
        &daemon,
        "POST",
        "/audio/transcribe",
        &multipart,
        nameless.as_bytes(),
    );
    assert_eq!(refused.status, 400, "{}", refused.text());

    let encoded = [("content-type", "application/x-www-form-urlencoded")];
    let refused = send(
        &daemon,
        "POST",
        "/audio/tts",
        &encoded,
        "a=1&".repeat(200).as_bytes(),
    );
    assert_eq!(refused.status, 413, "{}", refused.text());
    // What is no head is not bound by that, however much of it comes at once.
    let large = Form::default().file("audio", &vec![7; 8 << 20]);
    let refused = post(&daemon, "/audio/transcribe", &large);
    assert_eq!(refused.status, 415, "{}", refused.text());
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn links_do_not_lead_out_of_the_speech_files() {
    let daemon = Daemon::start();
    let speech = daemon.folder().join("outputs/audio/translated/2026/01");
    std::fs::create_dir_all(&speech).unwrap();
    let secret = daemon.folder().join("secret.mp3");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, speech.join("link.mp3")).unwrap();
    std::fs::write(speech.join("file.mp3"), "speech").unwrap();
    for (name, status) in [("file.mp3", 200), ("link.mp3", 404)] {
        for path in [
            format!("/outputs/audio/translated/2026/01/{name}"),
            format!("/audio/{name}"),
        ] {
            assert_eq!(get(&daemon, &path).status, status, "{path}");
        }
    }
}
