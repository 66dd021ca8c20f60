//! A ledger whose database was damaged: it is refused or read, and what is read ends in records or errors.
//! The input is what was done to the file: places and bytes to combine them with, and where it ends.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use meeshy_translator_fuzz::domain::{Segment, Transcript};
use meeshy_translator_fuzz::ledger::{
    Emission, JobId, Ledger, NewCheckpoint, NewJob, OutgoingEvent,
};
use meeshy_translator_fuzz::protocol::parse;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const DATABASE: &str = "ledger.sqlite3";
/// Bytes of the input for one change: a place, and what is combined with the byte there.
const CHANGE: usize = 4;

struct Setup {
    runtime: Runtime,
    folder: TempDir,
    intact: Vec<u8>,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // In memory where there is such a folder: every input is written to it.
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    let folder = folder.expect("a folder");
    runtime
        .block_on(fill(folder.path()))
        .expect("the ledger takes jobs");
    let intact = std::fs::read(folder.path().join(DATABASE)).expect("the database");
    Setup {
        runtime,
        folder,
        intact,
    }
});

/// Leaves a ledger with a few of everything; closing it moves all of it into one file.
async fn fill(folder: &Path) -> Result<(), meeshy_translator_fuzz::ledger::LedgerError> {
    let ledger = Ledger::open(folder)?;
    let request = r#"{"type":"translation","taskId":"t","messageId":"m","text":"hello","targetLanguages":["fr"]}"#;
    for number in 0..4 {
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
        ledger.checkpoint(JobId(number), checkpoint).await?;
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
    ledger.emit(JobId(1), emission).await
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

fuzz_target!(|data: &[u8]| {
    decode_record(data);
    let setup = &*SETUP;
    let mut damaged = setup.intact.clone();
    let mut changes = data.chunks_exact(CHANGE);
    for change in changes.by_ref().take(64) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]]))
            | usize::from(change[2] & 0x07) << 16;
        let place = place % damaged.len();
        damaged[place] ^= change[3];
    }
    if let [first, second] = changes.remainder() {
        let kept = usize::from(u16::from_le_bytes([*first, *second]));
        damaged.truncate(kept * damaged.len() / usize::from(u16::MAX));
    }
    for leftover in ["-wal", "-shm"] {
        // It is only there when the ledger before it was not closed.
        std::fs::remove_file(setup.folder.path().join(format!("{DATABASE}{leftover}"))).ok();
    }
    std::fs::write(setup.folder.path().join(DATABASE), damaged).expect("the folder has space");
    if let Ok(ledger) = Ledger::open(setup.folder.path()) {
        setup.runtime.block_on(read_all(&ledger));
    }
});
