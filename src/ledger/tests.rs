mod corruption;
mod items;
mod jobs;
mod kept;
mod memory;
mod migrations;
mod operators;
mod outbox;
mod payloads;
mod settlement;
mod size;

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

fn job(key: &str) -> NewJob {
    NewJob {
        key: key.into(),
        kind: "audio_process".into(),
        lane: "audio".into(),
        task_id: format!("task of {key}"),
        request: format!(r#"{{"secret":"{key}"}}"#).into(),
        frames: vec![Bytes::from(format!("audio of {key}")), Bytes::new()].into(),
        ..NewJob::default()
    }
}

fn retention(age_ms: i64) -> Retention {
    Retention {
        speech_ms: Some(age_ms),
        finished_ms: age_ms,
        quarantined_ms: age_ms,
        history_ms: age_ms,
        cache: CacheLimits {
            max_age_ms: age_ms,
            max_entries: 2,
        },
    }
}

fn event(key: &str) -> OutgoingEvent {
    OutgoingEvent {
        key: key.into(),
        body: format!(r#"{{"type":"{key}"}}"#).into_bytes().into(),
        frames: vec![Bytes::from(format!("speech of {key}"))].into(),
        ..OutgoingEvent::default()
    }
}

fn write(order_key: &str, document: &str) -> DocumentWrite {
    DocumentWrite {
        order_key: order_key.into(),
        collection: "message_translated_audios".into(),
        filter: "{}".into(),
        document: document.into(),
    }
}

async fn accept(ledger: &Ledger, key: &str) -> JobId {
    match ledger.accept(job(key)).await.unwrap() {
        Accepted::New(job_id) => job_id,
        duplicate => panic!("{duplicate:?}"),
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Opens what a kill at this moment would leave: the files as they are, nothing closed.
fn after_kill(data_dir: &Path) -> (TempDir, Ledger) {
    let copy = TempDir::new().unwrap();
    copy_directory(data_dir, copy.path());
    let ledger = Ledger::open(copy.path()).unwrap();
    (copy, ledger)
}
