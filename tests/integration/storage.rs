//! A disk that is full, read-only or slow: nothing more is taken in, nothing is lost, and it goes on by
//! itself.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::disk_faults::DiskFaults;
use crate::support::gateway::Gateway;
use crate::support::small_disk::SmallDisk;
use crate::support::voice_message::VoiceMessage;
use crate::support::{settings_file, wait_for};

const COMPLETED: &str = "audio_process_completed";

fn text(task_id: &str) -> Value {
    json!({
        "type": "translation", "taskId": task_id, "messageId": task_id, "text": "hello my friend",
        "sourceLanguage": "en", "targetLanguages": ["fr"],
    })
}

fn wait_storage(daemon: &Daemon, state: &str) {
    wait_for(&format!("storage that is {state}"), || {
        (daemon.get_json("/health")["components"]["storage"] == state).then_some(())
    });
}

/// Checks that a line was logged, which may come a moment after what it tells, and only once.
fn assert_logged_once(daemon: &Daemon, line: &str) {
    daemon.wait_logged(line);
    assert_eq!(daemon.log().matches(line).count(), 1, "{line}");
}

/// The number of attempts at each job.
fn attempts(daemon: &Daemon) -> Vec<i64> {
    let ledger = rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3")).unwrap();
    let mut statement = ledger.prepare("SELECT attempts FROM jobs").unwrap();
    let attempts = statement.query_map([], |row| row.get(0)).unwrap();
    attempts.map(Result::unwrap).collect()
}

/// Lets every write at a site fail while a voice message is on its way, and then no more.
fn assert_waits_for_space(site: &str, action: &str, state: &str) {
    let faults = DiskFaults::none();
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT_FILE", faults.path())]);
    let mut gateway = Gateway::connect(daemon.ports);
    faults.set(&format!("disk.{site}:{action}\ndisk.probe:{action}\n"));
    let message = VoiceMessage::named(site);
    message.send(&mut gateway, &["fr", "es"]);
    wait_storage(&daemon, state);
    assert_eq!(daemon.get_json("/health")["status"], "degraded");
    assert_eq!(daemon.metric("translator_storage_writable", &[]), 0.0);
    assert_eq!(daemon.call("DELETE", "/audio/voice-models/anybody").0, 507);
    assert_logged_once(&daemon, "intake pauses");

    faults.set("");
    let events = gateway.events_of(&message.message_id, &[COMPLETED, "audio_process_error"]);
    let completed = events.last().unwrap();
    assert_eq!(completed.kind(), COMPLETED, "{site}");
    let spoken = completed.json["translatedAudios"].as_array().unwrap();
    assert_eq!(spoken.len(), 2, "{site}");
    for audio in spoken {
        assert_eq!(
            audio["voiceCloned"], true,
            "{site}: no other voice is taken"
        );
        let path = daemon.folder().join(audio["audioPath"].as_str().unwrap());
        assert!(path.is_file(), "{site}: {}", path.display());
    }
    wait_storage(&daemon, "ok");
    assert_eq!(daemon.get_json("/health")["status"], "healthy");
    assert_eq!(
        attempts(&daemon),
        [1],
        "{site}: a full disk is not the job's fault"
    );
    assert_logged_once(&daemon, "intake goes on");
    assert_eq!(daemon.call("DELETE", "/audio/voice-models/anybody").0, 404);
}

#[test]
fn payloads_wait_for_space() {
    assert_waits_for_space("blob", "enospc", "full");
}

#[test]
fn commits_wait_for_space() {
    assert_waits_for_space("commit", "enospc", "full");
}

#[test]
fn checkpoints_wait_for_space() {
    assert_waits_for_space("checkpoint", "enospc", "full");
}

#[test]
fn speech_files_wait_for_space() {
    assert_waits_for_space("speech", "enospc", "full");
}

#[test]
fn voices_wait_for_space() {
    assert_waits_for_space("voice", "enospc", "full");
}

#[test]
fn the_clone_log_waits_for_space() {
    assert_waits_for_space("clone_log", "enospc", "full");
}

#[test]
fn a_disk_that_becomes_read_only_or_fails_is_waited_for() {
    assert_waits_for_space("*", "erofs", "readonly");
    assert_waits_for_space("commit", "eio", "failing");
}

#[test]
fn a_slow_disk_slows_texts_down_and_stops_nothing() {
    let faults = DiskFaults::none();
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT_FILE", faults.path())]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    faults.set("disk.commit:slow\n");
    for number in 0..20 {
        gateway.send(&text(&format!("slow-{number}")), &[]);
    }
    gateway.ping();
    faults.set("disk.commit:slow\n");
    gateway.events_of_task("slow-19", 1);
    assert_eq!(daemon.get_json("/health")["components"]["storage"], "ok");
}

fn start_on(disk: &SmallDisk, config: &Path) -> Daemon {
    Daemon::start_with(&[
        ("TRANSLATOR_DATA_DIR", disk.data_dir().to_str().unwrap()),
        ("TRANSLATOR_CONFIG", config.to_str().unwrap()),
    ])
}

#[test]
fn a_full_disk_pauses_intake_and_signs_of_life_go_on() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let settings = settings_file("[ledger]\nmin_free_bytes = 0\n");
    let mut daemon = start_on(&disk, settings.path());
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    gateway.send(&text("before"), &[]);
    gateway.events_of_task("before", 1);

    disk.fill(0);
    for number in 0..50 {
        gateway.send(&text(&format!("full-{number}")), &[]);
    }
    wait_storage(&daemon, "full");
    assert_eq!(
        daemon.call("POST", "/audio/voice-models/a/recalibrate").0,
        507
    );
    assert_eq!(daemon.get("/live").unwrap().0, 200);
    wait_for("an unsolicited pong", || {
        let events = gateway.listen(Duration::from_secs(1));
        events
            .iter()
            .any(|event| event.kind() == "pong")
            .then_some(())
    });
    wait_storage(&daemon, "full");

    disk.free();
    let mut missing: Vec<String> = (0..50).map(|number| format!("full-{number}")).collect();
    gateway.events_until("all texts", |event| {
        missing.retain(|task_id| event.text("taskId") != task_id);
        missing.is_empty()
    });
    wait_storage(&daemon, "ok");

    // A stop in a pause is a stop in order.
    disk.fill(0);
    gateway.send(&text("last"), &[]);
    wait_storage(&daemon, "full");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(daemon.log().contains("stopped"));
    disk.free();
    daemon.restart();
    gateway.send(&text("after"), &[]);
    gateway.events_of_task("after", 1);
}

#[test]
fn the_reserve_lets_running_jobs_end() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let settings = settings_file("[ledger]\nmin_free_bytes = 12_582_912\n");
    let daemon = start_on(&disk, settings.path());
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let message = VoiceMessage::named("running");
    message.send(&mut gateway, &["fr", "es", "de"]);
    gateway.next("transcription_ready");
    disk.fill(10 << 20);
    wait_storage(&daemon, "full");
    gateway.send(&text("waiting"), &[]);
    let events = gateway.events_of(&message.message_id, &[COMPLETED]);
    let spoken = events.last().unwrap().json["translatedAudios"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(spoken, 3);
    assert_eq!(
        daemon.metric("translator_jobs_accepted_total", &["kind=\"translation\""]),
        0.0
    );
    disk.free();
    gateway.events_of_task("waiting", 1);
    assert_logged_once(&daemon, "intake pauses");
}
