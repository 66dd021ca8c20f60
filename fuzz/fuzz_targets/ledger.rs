//! A ledger whose database or write-ahead log was damaged: it is refused or read, and what is read ends in
//! records or errors. The input is whether there is a log, and what was done to the two files: places and
//! bytes to combine them with, and where one of them ends.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use meeshy_translator_fuzz::domain::{Segment, Transcript};
use meeshy_translator_fuzz::ledger::{
    Emission, JobId, Ledger, LedgerError, NewCheckpoint, NewJob, OutgoingEvent,
};
use meeshy_translator_fuzz::protocol::parse;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const DATABASE: &str = "ledger.sqlite3";
const LOG: &str = "ledger.sqlite3-wal";
/// Bytes of the input for one change: a place, and what is combined with the byte there.
const CHANGE: usize = 4;
/// Bit of a place that means one in the log.
const IN_LOG: usize = 1 << 19;
/// Bit of the first byte of the input that means that there is a log.
const HAS_LOG: u8 = 1;

struct Setup {
    runtime: Runtime,
    /// A ledger that was closed: one file.
    closed: Files,
    /// One that was killed: what was done last is in the log.
    killed: Files,
}

struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn read(folder: &Path) -> Self {
        Self {
            database: fs::read(folder.join(DATABASE)).expect("the database"),
            log: fs::read(folder.join(LOG)).unwrap_or_default(),
        }
    }
}

/// A folder in memory, where there is such a place: every input is written to one.
fn folder() -> TempDir {
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    folder.expect("a folder")
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let folder = folder();
    let path = folder.path();
    let open_filled = |from| {
        let ledger = Ledger::open(path).expect("a ledger");
        let filled = runtime.block_on(fill(&ledger, from));
        filled.expect("the ledger takes jobs");
        ledger
    };
    drop(open_filled(0));
    let closed = Files::read(path);
    let ledger = open_filled(4);
    let killed = Files::read(path);
    drop(ledger);
    assert!(!killed.log.is_empty());
    Setup {
        runtime,
        closed,
        killed,
    }
});

/// Stores a few of everything, in four jobs; `from` have been stored before.
async fn fill(ledger: &Ledger, from: i64) -> Result<(), LedgerError> {
    let request = r#"{"type":"translation","taskId":"t","messageId":"m","text":"hello","targetLanguages":["fr"]}"#;
    for number in from..from + 4 {
        let job = NewJob {
            key: format!("translation:{number}"),
            items: vec!["translation:fr".to_owned()],
            kind: "translation".to_owned(),
            lane: "text".to_owned(),
            task_id: format!("task {number}"),
            request: request.into(),
            user_id: Some("user".to_owned()),
            public_id: Some(format!("job_{number}")),
            ..NewJob::default()
        };
        ledger.accept(job).await?;
    }
    let transcript =
        r#"{"text":"hello","language":"en","confidence":0.5,"source":"whisper","duration_ms":900}"#;
    for (number, payload) in [(1, transcript), (2, "{}")] {
        let checkpoint = NewCheckpoint {
            stage: "transcribe".to_owned(),
            item: String::new(),
            payload: payload.as_bytes().to_vec().into(),
            blob: None,
        };
        ledger.checkpoint(JobId(from + number), checkpoint).await?;
    }
    let event = OutgoingEvent {
        key: "completed".to_owned(),
        body: br#"{"type":"translation_completed"}"#.to_vec().into(),
        frames: Vec::new().into(),
        ..OutgoingEvent::default()
    };
    let emission = Emission {
        events: vec![event],
        ..Emission::default()
    };
    ledger.emit(JobId(from + 1), emission).await
}

/// Reads everything that a start of the daemon reads.
async fn read_all(ledger: &Ledger) {
    for job in ledger.unfinished().await.unwrap_or_default() {
        if let Ok(Some(record)) = ledger.load(job.id).await {
            let mut frames = vec![record.request.expose().clone()];
            frames.extend(ledger.frames(job.id).await.unwrap_or_default());
            parse(&frames).ok();
        }
        for checkpoint in ledger.checkpoints(job.id).await.unwrap_or_default() {
            decode_record(checkpoint.payload.expose());
        }
    }
    for event in ledger.pending_events_blocking(100).unwrap_or_default() {
        ledger.event_frames_blocking(event.id).ok();
    }
    ledger.pending_documents(100, i64::MAX).await.ok();
    ledger.counts().await.ok();
}

fn decode_record(payload: &[u8]) {
    serde_json::from_slice::<Transcript>(payload).ok();
    serde_json::from_slice::<Vec<Segment>>(payload).ok();
    parse(&[Bytes::copy_from_slice(payload)]).ok();
}

/// Changes bytes of the two files, and lets one end early: two bytes at the end of the input are for the
/// database, three for the log.
fn damage(files: &Files, changes: &[u8]) -> Files {
    let (mut database, mut log) = (files.database.clone(), files.log.clone());
    let mut changes = changes.chunks_exact(CHANGE);
    for change in changes.by_ref().take(64) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]]))
            | usize::from(change[2] & 0x0f) << 16;
        let file = if place & IN_LOG != 0 && !log.is_empty() {
            &mut log
        } else {
            &mut database
        };
        let place = (place & !IN_LOG) % file.len();
        file[place] ^= change[3];
    }
    let end = |file: &mut Vec<u8>, first, second| {
        let kept = usize::from(u16::from_le_bytes([first, second]));
        file.truncate(kept * file.len() / usize::from(u16::MAX));
    };
    match changes.remainder() {
        [first, second] => end(&mut database, *first, *second),
        [first, second, _] => end(&mut log, *first, *second),
        _ => {}
    }
    Files { database, log }
}

fuzz_target!(|data: &[u8]| {
    decode_record(data);
    let setup = &*SETUP;
    let (first, changes) = data.split_first().unwrap_or((&0, &[]));
    let files = if first & HAS_LOG == 0 {
        &setup.closed
    } else {
        &setup.killed
    };
    let damaged = damage(files, changes);
    // Deleted with everything that the ledger leaves: what it sets aside, too.
    let folder = folder();
    fs::write(folder.path().join(DATABASE), damaged.database).expect("the folder has space");
    if !damaged.log.is_empty() {
        fs::write(folder.path().join(LOG), damaged.log).expect("the folder has space");
    }
    if let Ok(ledger) = Ledger::open(folder.path()) {
        setup.runtime.block_on(read_all(&ledger));
    }
});
