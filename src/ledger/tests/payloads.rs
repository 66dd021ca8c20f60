//! Payloads: kept while they are needed, checked, and never shown.

use super::*;

#[tokio::test]
async fn purging_keeps_what_is_needed() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let [done, waiting, open] = [
        accept(&ledger, "done").await,
        accept(&ledger, "waiting").await,
        accept(&ledger, "open").await,
    ];
    let emission = |key| Emission {
        events: vec![event(key)],
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(done, emission("published")).await.unwrap();
    let published = ledger.pending_events_blocking(1).unwrap()[0];
    ledger.mark_published_blocking(&[(published, 1)]).unwrap();
    ledger.emit(waiting, emission("unpublished")).await.unwrap();
    let shared_blob = NewCheckpoint {
        stage: "decode".into(),
        item: String::new(),
        payload: Vec::new().into(),
        blob: Some(Bytes::from_static(b"audio of done").into()),
    };
    ledger.checkpoint(open, shared_blob).await.unwrap();

    let soon = retention(-60_000);
    let later = retention(60_000);
    assert_eq!(ledger.purge(later).await.unwrap(), Purged::default());
    // What a killed process leaves: a payload without a row, and half of one.
    let shard = directory.path().join("blobs/ab");
    fs::create_dir_all(&shard).unwrap();
    for name in ["abcd", ".tmpXYZ"] {
        fs::write(shard.join(name), "left").unwrap();
    }
    let swept = ledger.purge(later).await.unwrap();
    assert_eq!(
        swept,
        Purged {
            blobs: 2,
            ..Purged::default()
        }
    );
    // Gone is "speech of published"; the audio is a checkpoint of another job.
    assert_eq!(
        ledger.purge(soon).await.unwrap(),
        Purged {
            jobs: 1,
            blobs: 1,
            kept: 0
        }
    );
    assert!(ledger.load(done).await.unwrap().is_none());
    assert_eq!(
        ledger.frames(waiting).await.unwrap(),
        job("waiting").frames.into_exposed()
    );
    let checkpoint = ledger.checkpoints(open).await.unwrap().remove(0);
    assert_eq!(
        ledger.blob(checkpoint.blob.unwrap()).await.unwrap(),
        "audio of done"
    );
}

#[tokio::test]
async fn a_changed_payload_is_never_handed_out_and_heals_when_stored_again() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = accept(&ledger, "a").await;
    let stored = |payload: &'static [u8]| NewCheckpoint {
        stage: "encode".into(),
        item: "fr".into(),
        payload: Vec::new().into(),
        blob: Some(Bytes::from_static(payload).into()),
    };
    ledger.checkpoint(job_id, stored(b"bytes")).await.unwrap();
    let blob = ledger.checkpoints(job_id).await.unwrap()[0]
        .blob
        .clone()
        .unwrap();
    let path = directory
        .path()
        .join("blobs")
        .join(&blob.sha256[..2])
        .join(&blob.sha256);
    for damage in [&b"bytez"[..], b"byt"] {
        fs::write(&path, damage).unwrap();
        let error = ledger.blob(blob.clone()).await.unwrap_err();
        assert!(matches!(&error, LedgerError::DamagedBlob { path: named } if *named == path));
    }
    ledger.checkpoint(job_id, stored(b"bytes")).await.unwrap();
    assert_eq!(ledger.blob(blob.clone()).await.unwrap(), "bytes");
    fs::write(&path, "bytez").unwrap();
    ledger.checkpoint(job_id, stored(b"bytes")).await.unwrap();
    assert_eq!(ledger.blob(blob).await.unwrap(), "bytes");
}

#[tokio::test]
async fn debug_output_shows_no_text() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let canary = "canary";
    let request = NewJob {
        request: canary.into(),
        frames: vec![Bytes::from_static(canary.as_bytes())].into(),
        ..job("a")
    };
    let mut shown = format!("{request:?}");
    let Accepted::New(job_id) = ledger.accept(request).await.unwrap() else {
        panic!("the job is new");
    };
    let checkpoint = NewCheckpoint {
        stage: "transcribe".into(),
        item: String::new(),
        payload: canary.as_bytes().to_vec().into(),
        blob: None,
    };
    let emission = Emission {
        events: vec![OutgoingEvent {
            body: canary.as_bytes().to_vec().into(),
            ..event("e")
        }],
        documents: vec![write("k", canary)],
        finish: None,
        ..Emission::default()
    };
    shown.push_str(&format!("{checkpoint:?} {emission:?}"));
    ledger.checkpoint(job_id, checkpoint).await.unwrap();
    ledger.emit(job_id, emission).await.unwrap();
    let record = ledger.load(job_id).await.unwrap();
    let checkpoints = ledger.checkpoints(job_id).await.unwrap();
    let documents = ledger.pending_documents(1, i64::MAX).await.unwrap();
    shown.push_str(&format!("{record:?} {checkpoints:?} {documents:?}"));
    assert!(shown.contains("PendingDocument"));
    for form in [canary.to_owned(), format!("{:?}", canary.as_bytes())] {
        assert!(!shown.contains(&form), "{shown}");
    }
}
