//! A ledger that is damaged, and requests that it refuses.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::requests::translation;
use crate::support::voice_message::VoiceMessage;

const ERROR: &str = "audio_process_error";
const COMPLETED: &str = "audio_process_completed";

fn ledger(daemon: &Daemon) -> rusqlite::Connection {
    rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3")).unwrap()
}

#[test]
fn a_request_whose_bytes_changed_is_answered_and_not_done() {
    for change in [
        // Still JSON, in other languages.
        "replace(request, '\"fr\"', '\"es\"')",
        // No JSON any more.
        "replace(request, '\"senderId\":', '\"senderId\"~')",
    ] {
        let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "decode:pause")]);
        let mut gateway = Gateway::connect(daemon.ports);
        let (damaged, intact) = (
            VoiceMessage::named("damaged"),
            VoiceMessage::named("intact"),
        );
        damaged.send(&mut gateway, &["fr"]);
        intact.send(&mut gateway, &["fr"]);
        while daemon.log().matches("fault: paused").count() < 2 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        daemon.kill();
        let statement =
            format!("UPDATE jobs SET request = {change} WHERE request LIKE '%message-damaged%'");
        assert_eq!(ledger(&daemon).execute(&statement, []).unwrap(), 1);
        daemon.restart_with(&[]);
        let events = gateway.events_of(&damaged.message_id, &[ERROR, COMPLETED]);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].kind(), ERROR);
        assert_eq!(events[0].text("attachmentId"), damaged.attachment_id);
        let events = gateway.events_of(&intact.message_id, &[ERROR, COMPLETED]);
        assert_eq!(events.last().unwrap().kind(), COMPLETED);
        let found = daemon.metric("translator_ledger_damaged_total", &["what=\"job\""]);
        assert_eq!(found, 1.0);
        let transcribed = ["stage=\"transcribe\"", "outcome=\"ok\""];
        let count = daemon.metric("translator_stage_duration_seconds_count", &transcribed);
        assert_eq!(count, 1.0);
    }
}

#[test]
fn a_damaged_database_is_replaced_by_what_can_be_read_and_told_of() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "decode:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("kept");
    message.send(&mut gateway, &["fr"]);
    daemon.wait_logged("fault: paused");
    daemon.kill();
    // Carries the log over, and turns the root of the events' table into nonsense.
    let connection = ledger(&daemon);
    let root: u32 = connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'events'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    connection.close().unwrap();
    let file = daemon.folder().join("data/ledger.sqlite3");
    let mut bytes = std::fs::read(&file).unwrap();
    let page = (root as usize - 1) * 4096;
    bytes[page..page + 4096].fill(0xa5);
    std::fs::write(&file, &bytes).unwrap();

    daemon.restart_with(&[]);
    let events = gateway.events_of(&message.message_id, &[ERROR, COMPLETED]);
    assert_eq!(events.last().unwrap().kind(), COMPLETED);
    let health = daemon.get_json("/health");
    assert_eq!(health["status"], "degraded");
    let ledger: &Value = &health["components"]["ledger"];
    assert_eq!(ledger["status"], "salvaged");
    assert_eq!(ledger["salvage"]["unfinished_jobs"], 1);
    assert_eq!(ledger["salvage"]["lost_jobs"], 0);
    assert_eq!(ledger["salvage"]["unread_tables"][0], "events");
    let aside = ledger["set_aside"][0].as_str().unwrap();
    assert_eq!(ledger["salvage"]["set_aside"], aside);
    let kept = std::fs::read(daemon.folder().join("data").join(aside)).unwrap();
    assert!(kept == bytes, "the damaged file is left as it was");
    assert!(daemon.log().contains("the ledger is damaged"));
    assert_eq!(daemon.metric("translator_ledger_lost_jobs", &[]), 0.0);

    daemon.terminate();
    daemon.restart();
    let health = daemon.get_json("/health");
    assert_eq!(health["components"]["ledger"]["status"], "intact");
    assert_eq!(health["components"]["ledger"]["set_aside"][0], aside);
}

#[test]
fn a_request_that_the_ledger_refuses_does_not_keep_others_out() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    ledger(&daemon)
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON jobs WHEN new.task_id LIKE 'refused%'
             BEGIN SELECT raise(ABORT, 'injected'); END",
        )
        .unwrap();
    let tasks = ["first", "refused-1", "second", "refused-2", "third"];
    for task in tasks {
        gateway.send(&translation(task, "Hello my friend.", "en", &["fr"]), &[]);
    }
    let mut answered = std::collections::BTreeMap::new();
    gateway.events_until("all answers", |event| {
        answered.insert(event.text("taskId").to_owned(), event.clone());
        answered.len() == tasks.len()
    });
    for task in tasks {
        let event = &answered[task];
        if task.starts_with("refused") {
            assert_eq!(event.kind(), "translation_error");
            assert_eq!(event.text("reason"), "internal");
        } else {
            assert_eq!(event.kind(), "translation_completed");
        }
    }
    let refused = daemon.metric(
        "translator_requests_rejected_total",
        &["reason=\"internal\""],
    );
    assert_eq!(refused, 2.0);
}
