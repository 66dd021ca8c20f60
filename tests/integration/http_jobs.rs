//! Jobs over HTTP: followed, cancelled, and gone on with after a kill.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::forms::{
    Events, Form, ServerEvent, ended_job, get, job_when, post, post_async, send, uploads,
};
use crate::support::gateway::Gateway;
use crate::support::requests::translation;
use crate::support::{recordings, settings_file};

const PROCESS: &str = "/audio/process-message";

fn message() -> Form {
    Form::of(&[
        ("sender_id", "sender"),
        ("conversation_id", "conversation"),
        ("target_languages", "fr,es"),
    ])
    .file("audio", &recordings::bundled())
}

fn accepted(daemon: &Daemon) -> String {
    let reply = post_async(daemon, PROCESS, &message());
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn named<'a>(events: &'a [ServerEvent], name: &str) -> Vec<&'a Value> {
    let named = events.iter().filter(|event| event.name == name);
    named.map(|event| &event.data).collect()
}

#[test]
fn a_job_is_followed_to_its_end_and_told_again_to_who_comes_later() {
    let daemon = Daemon::start();
    let id = accepted(&daemon);
    let path = format!("/jobs/{id}/events");
    let live = Events::open(&daemon, &path).all();
    let again = Events::open(&daemon, &path).all();
    for events in [&live, &again] {
        assert_eq!(events[0].name, "job");
        let last = events.last().unwrap();
        assert_eq!(last.name, "job");
        assert_eq!(last.data["status"], "completed");
        assert_eq!(last.data["result"]["original"]["language"], "en");
        let [transcribed] = named(events, "transcribed")[..] else {
            panic!("{events:?}")
        };
        assert_eq!(transcribed["language"], "en");
        assert!(transcribed["text"].as_str().unwrap().contains("hello"));
        assert!(transcribed["segments"].is_array());
        for name in ["translated", "spoken"] {
            let mut languages: Vec<&str> = named(events, name)
                .iter()
                .map(|data| data["language"].as_str().unwrap())
                .collect();
            languages.sort_unstable();
            assert_eq!(languages, ["es", "fr"], "{name}");
        }
        let spoken = named(events, "spoken")[0];
        let url = spoken["audio_url"].as_str().unwrap();
        assert_eq!(get(&daemon, url).status, 200);
        let stages = named(events, "stage");
        let is_done = |stage: &&&Value| stage["status"] == "done" && stage["stage"] == "encode";
        assert_eq!(stages.iter().filter(is_done).count(), 2);
        assert!(stages.iter().all(|stage| stage["id"] == id.as_str()));
    }
}

#[test]
fn all_jobs_are_followed_without_what_they_are_about() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let mut stream = Events::open(&daemon, "/jobs/events");
    let id = accepted(&daemon);
    let of_job = |event: &ServerEvent, status: &str| {
        event.name == "job" && event.data["id"] == id.as_str() && event.data["status"] == status
    };
    let events = stream.until(|event| of_job(event, "completed"));
    assert!(events.iter().any(|event| event.name == "stage"));
    gateway.send(&translation("text", "Hello.", "en", &["fr"]), &[]);
    let later = stream
        .until(|event| event.data["kind"] == "translation" && event.data["status"] == "completed");
    for event in events.iter().chain(&later) {
        assert!(event.data.get("result").is_none());
        assert!(
            !event.data.to_string().to_lowercase().contains("hello"),
            "{event:?}"
        );
    }
    // A stream that begins now begins with the jobs there are.
    let mut stream = Events::open(&daemon, "/jobs/events");
    stream.until(|event| of_job(event, "completed"));
}

#[test]
fn a_job_is_cancelled_once() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let id = accepted(&daemon);
    let path = format!("/jobs/{id}");
    let running = job_when(&daemon, &id, "speech", |job| job["stage"] == "synthesize");
    assert_eq!(running["status"], "running");
    assert!(running["progress"].as_u64().unwrap() > 0);
    let cancelled = send(&daemon, "DELETE", &path, &[], &[]);
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    let job = cancelled.json();
    assert_eq!(job["status"], "cancelled");
    assert_eq!(job["error"]["reason"], "cancelled");
    assert_eq!(job["result"], Value::Null);
    assert_eq!(send(&daemon, "DELETE", &path, &[], &[]).status, 409);
    let events = Events::open(&daemon, &format!("{path}/events")).all();
    assert_eq!(events.last().unwrap().data["status"], "cancelled");

    // One that waits for a text to be spoken, too.
    let form = Form::of(&[("text", "Hello my friend.")]);
    let job = post_async(&daemon, "/audio/tts", &form).json();
    let id = job["id"].as_str().unwrap();
    job_when(&daemon, id, "speech", |job| job["stage"] == "synthesize");
    let cancelled = send(&daemon, "DELETE", &format!("/jobs/{id}"), &[], &[]);
    assert_eq!(cancelled.json()["status"], "cancelled");
}

#[test]
fn a_job_goes_on_after_a_kill_and_its_result_is_there() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let id = accepted(&daemon);
    let form = Form::of(&[("text", "Hello my friend."), ("format", "wav")]);
    let spoken = post_async(&daemon, "/audio/tts", &form).json();
    job_when(&daemon, &id, "speech", |job| job["stage"] == "synthesize");
    // What somebody was sending when the daemon was killed belongs to nobody.
    std::fs::write(daemon.folder().join("data/uploads/.left"), b"half").unwrap();
    daemon.kill();
    daemon.restart_with(&[]);
    assert_eq!(uploads(&daemon), 0);
    let job = ended_job(&daemon, &id);
    assert_eq!(job["status"], "completed", "{job}");
    let languages = job["result"]["translations"].as_object().unwrap();
    assert_eq!(languages.len(), 2);
    let spoken = ended_job(&daemon, spoken["id"].as_str().unwrap());
    assert_eq!(spoken["status"], "completed", "{spoken}");
    let url = spoken["result"]["audio_url"].as_str().unwrap();
    let file = get(&daemon, url);
    assert_eq!(file.header("content-type"), "audio/wav");
    assert!(file.body.starts_with(b"RIFF"));
}

#[test]
fn a_job_that_fails_says_why() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "transcribe:fail")]);
    let id = accepted(&daemon);
    let job = ended_job(&daemon, &id);
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"]["code"], "transcription_failed");
    assert_eq!(job["error"]["reason"], "bad_output");
    assert!(job["error"]["detail"].is_string());
    assert_eq!(job["stages"][1]["status"], "failed");
    let waited = post(&daemon, PROCESS, &message());
    assert_eq!(waited.status, 500);
    assert_eq!(waited.json()["detail"], job["error"]["detail"]);
}

#[test]
fn streams_end_when_the_daemon_stops() {
    let settings = settings_file("[jobs]\ndrain_secs = 0\n");
    let mut daemon = Daemon::start_with(&[
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "synthesize:pause"),
    ]);
    let id = accepted(&daemon);
    job_when(&daemon, &id, "speech", |job| job["stage"] == "synthesize");
    let mut streams = ["/jobs/events".to_owned(), format!("/jobs/{id}/events")]
        .map(|path| Events::open(&daemon, &path));
    for stream in &mut streams {
        stream.until(|event| event.data["id"] == id.as_str());
    }
    assert_eq!(daemon.terminate().code(), Some(0));
    daemon.wait_logged("stopped");
    assert!(!daemon.log().contains("did not end in time"));
    for stream in streams {
        stream.all();
    }
}
