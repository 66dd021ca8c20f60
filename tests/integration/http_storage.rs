//! A full disk, as who asks over HTTP sees it: 507, and nothing is left behind.

use std::io::Write as _;
use std::path::Path;

use crate::support::daemon::Daemon;
use crate::support::disk_faults::DiskFaults;
use crate::support::forms::{Form, get, post, send, uploads};
use crate::support::http::connect;
use crate::support::small_disk::SmallDisk;
use crate::support::{recordings, settings_file, wait_for};

const TRANSCRIBE: &str = "/audio/transcribe";

fn recording() -> Form {
    Form::default().file("audio", &recordings::bundled())
}

fn wait_storage(daemon: &Daemon, state: &str) {
    wait_for(&format!("storage that is {state}"), || {
        (daemon.get_json("/health")["components"]["storage"] == state).then_some(())
    });
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn an_upload_that_fills_the_disk_is_refused_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let settings = settings_file("[ledger]\nmin_free_bytes = 0\n");
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_DATA_DIR", disk.data_dir().to_str().unwrap()),
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
    ]);
    let large = Form::default().file("audio", &vec![7; 8 << 20]).body();
    disk.fill(2 << 20);
    let head = format!(
        "POST {TRANSCRIBE} HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
        Form::content_type(),
        large.len()
    );
    let mut client = connect(&daemon);
    // What is not read any more may take the answer with it: the daemon's figures tell that it was given.
    drop(client.write_all(&[head.as_bytes(), &large].concat()));
    wait_for("a refusal", || {
        let name = "translator_http_request_duration_seconds_count";
        (daemon.metric(name, &["status=\"507\""]) == 1.0).then_some(())
    });
    assert_eq!(files(&disk.data_dir().join("uploads")), 0);

    // While it is full nothing is even begun, and what needs no disk goes on.
    disk.free();
    disk.fill(0);
    let refused = post(&daemon, TRANSCRIBE, &recording());
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.json()["detail"].as_str().unwrap().contains("disk"));
    wait_storage(&daemon, "full");
    for (method, path) in [
        ("POST", "/audio/process-message"),
        ("POST", "/audio/tts"),
        ("POST", "/v1/register-voice"),
        ("DELETE", "/audio/voice-models/anybody"),
    ] {
        let refused = send(&daemon, method, path, &[], &[]);
        assert_eq!(refused.status, 507, "{method} {path}");
    }
    let json = [("content-type", "application/json")];
    let text = br#"{"text": "Hello my friend.", "source_language": "en", "target_language": "fr"}"#;
    let translated = send(&daemon, "POST", "/translate", &json, text);
    assert_eq!(translated.status, 200, "{}", translated.text());
    assert_eq!(get(&daemon, "/jobs").json()["total"], 0);

    disk.free();
    wait_storage(&daemon, "ok");
    let heard = post(&daemon, TRANSCRIBE, &recording());
    assert_eq!(heard.status, 200, "{}", heard.text());
    assert_eq!(files(&disk.data_dir().join("uploads")), 0);
}

#[test]
fn a_job_that_the_disk_does_not_take_is_refused() {
    for site in ["upload", "commit"] {
        let faults = DiskFaults::none();
        let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT_FILE", faults.path())]);
        faults.set(&format!("disk.{site}:enospc\ndisk.probe:enospc\n"));
        let refused = post(&daemon, TRANSCRIBE, &recording());
        assert_eq!(refused.status, 507, "{site}: {}", refused.text());
        assert_eq!(uploads(&daemon), 0, "{site}");
        wait_storage(&daemon, "full");

        faults.set("");
        wait_storage(&daemon, "ok");
        let heard = post(&daemon, TRANSCRIBE, &recording());
        assert_eq!(heard.status, 200, "{site}: {}", heard.text());
        let jobs = get(&daemon, "/jobs").json();
        assert_eq!(jobs["total"], 1, "{site}: {jobs}");
    }
}
