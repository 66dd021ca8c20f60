//! A ledger that is damaged, and requests that it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use meeshy_translator::ledger::{CacheLimits, Ledger, NewJob, Retention};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::requests::translation;
use crate::support::small_disk::SmallDisk;
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

const JOBS: usize = 40;

/// The files of the database, whole or half.
fn database_files(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("ledger.sqlite3"))
        .collect()
}

/// Purges, and checks that every job is there with its recording.
async fn assert_holds_all(ledger: &Ledger, what: &str) {
    let retention = Retention {
        finished_ms: 0,
        quarantined_ms: i64::MAX,
        history_ms: 0,
        speech_ms: None,
        cache: CacheLimits {
            max_age_ms: 0,
            max_entries: 0,
        },
    };
    ledger.purge(retention).await.unwrap();
    let jobs = ledger.unfinished().await.unwrap();
    assert_eq!(jobs.len(), JOBS, "{what}");
    for job in jobs {
        let frames = ledger.frames(job.id).await.unwrap();
        assert!(frames[0].starts_with(b"recording "), "{what}");
    }
}

#[tokio::test]
async fn a_salvage_keeps_everything_or_has_no_room_and_changes_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let data_dir = disk.data_dir();
    let jobs = (0..JOBS).map(|number| NewJob {
        key: number.to_string(),
        lane: "audio".into(),
        request: format!("{number:04000}").into(),
        frames: vec![format!("recording {number}").into()].into(),
        ..NewJob::default()
    });
    Ledger::open(&data_dir)
        .unwrap()
        .accept_blocking(jobs.collect())
        .unwrap();
    let database = data_dir.join("ledger.sqlite3");
    let mut damaged = fs::read(&database).unwrap();
    // No database any more, and every row of it can be read.
    damaged[0] ^= 1;

    let enough = 2 * damaged.len() as u64 + (1 << 20);
    let (mut kept, mut refused) = (0, 0);
    for left in (0..=enough).rev().step_by(16 << 10) {
        for file in database_files(&data_dir) {
            fs::remove_file(file).unwrap();
        }
        fs::write(&database, &damaged).unwrap();
        disk.fill(left);
        let opened = Ledger::open(&data_dir);
        disk.free();
        let what = format!("{left} bytes free for {}", damaged.len());
        match opened {
            Ok(ledger) => {
                let salvage = ledger.salvaged().unwrap();
                assert_eq!(salvage.kept_jobs, JOBS as u64, "{what}");
                assert_holds_all(&ledger, &what).await;
                kept += 1;
            }
            Err(error) => {
                assert!(kept > 0, "{what} are enough: {error:?}");
                assert!(error.storage_fault().is_some(), "{what}: {error:?}");
                assert_eq!(database_files(&data_dir), [&*database], "{what}");
                assert!(fs::read(&database).unwrap() == damaged, "{what}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "{kept} kept");
}
