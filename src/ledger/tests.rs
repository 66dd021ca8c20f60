mod corruption;
mod items;
mod memory;
mod migrations;
mod operators;
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

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let [first, second] = [accept(&ledger, "a").await, accept(&ledger, "b").await];
    let third = accept(&ledger, "c").await;
    ledger.start_attempt(second).await.unwrap();
    let checkpoint = |item: &str, payload: &str| NewCheckpoint {
        stage: "synthesize".into(),
        item: item.into(),
        payload: payload.as_bytes().to_vec().into(),
        blob: Some(Bytes::from_static(b"mp3").into()),
    };
    ledger
        .checkpoint(second, checkpoint("fr", "1"))
        .await
        .unwrap();
    ledger
        .checkpoint(second, checkpoint("fr", "2"))
        .await
        .unwrap();
    let emission = Emission {
        events: vec![event("completed")],
        documents: vec![write("k", "{}")],
        finish: Some(Finish::Done),
    };
    ledger.emit(third, emission).await.unwrap();

    let (_copy, revived) = after_kill(directory.path());
    let unfinished = revived.unfinished().await.unwrap();
    assert_eq!(
        unfinished.iter().map(|job| job.id).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(unfinished[1].lane, job("b").lane);
    let size_bytes = job("b").request.expose().len() + "audio of b".len();
    assert_eq!(unfinished[1].size_bytes, size_bytes as u64);
    let waiting = revived.load(first).await.unwrap().unwrap();
    assert_eq!((waiting.state, waiting.attempts), (JobState::Accepted, 0));
    let begun = revived.load(second).await.unwrap().unwrap();
    assert_eq!((begun.attempts, begun.crashes), (1, 1));
    assert_eq!(begun.request.expose(), job("b").request.expose());
    assert_eq!(begun.task_id, "task of b");
    assert_eq!(
        revived.frames(second).await.unwrap(),
        job("b").frames.into_exposed()
    );
    let checkpoints = revived.checkpoints(second).await.unwrap();
    assert_eq!(
        checkpoints.len(),
        1,
        "a checkpoint replaces the one before it"
    );
    assert_eq!(checkpoints[0].payload.expose(), b"2");
    let blob = checkpoints[0].blob.clone().unwrap();
    assert_eq!(revived.blob(blob).await.unwrap(), "mp3");

    let pending = revived.pending_events_blocking(10).unwrap();
    assert_eq!(pending.len(), 1);
    let frames = revived.event_frames_blocking(pending[0].id).unwrap();
    assert_eq!(
        frames,
        [&br#"{"type":"completed"}"#[..], b"speech of completed"]
    );
    let keys = revived.event_keys(third).await.unwrap();
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["completed"]);
    let done = revived.load(third).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Done);
    assert!(done.finished_at_ms >= Some(done.received_at_ms));
}

#[tokio::test]
async fn changes_that_share_a_commit_do_not_share_a_fate() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                if number % 4 == 0 {
                    // Stores its event, then finds that the job is not there.
                    let emission = Emission {
                        events: vec![event("orphan")],
                        ..Emission::default()
                    };
                    let error = ledger.emit(JobId(1000), emission).await.unwrap_err();
                    assert!(matches!(error, LedgerError::UnknownJob(JobId(1000))));
                } else {
                    accept(&ledger, &number.to_string()).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (_copy, revived) = after_kill(directory.path());
    assert_eq!(revived.unfinished().await.unwrap().len(), 30);
    assert_eq!(revived.counts().await.unwrap().pending_events, 0);
}

#[test]
fn a_batch_is_answered_in_order_with_its_duplicates() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let answers = ledger
        .accept_blocking(vec![job("a"), job("b"), job("a")])
        .unwrap();
    let Accepted::New(first) = answers[0] else {
        panic!("{answers:?}");
    };
    assert!(matches!(answers[1], Accepted::New(second) if second > first));
    assert_eq!(
        answers[2],
        Accepted::Duplicate {
            job_id: first,
            state: JobState::Accepted
        }
    );
}

#[tokio::test]
async fn crashes_and_soft_failures_are_counted_apart_and_orderly_stops_are_not() {
    let directory = TempDir::new().unwrap();
    let job_id = {
        let ledger = Ledger::open(directory.path()).unwrap();
        let job_id = accept(&ledger, "a").await;
        accept(&ledger, "not begun").await;
        for _ in 0..5 {
            assert_eq!(ledger.start_attempt(job_id).await.unwrap(), 1);
            ledger.release_attempt(job_id).await.unwrap();
        }
        job_id
    };
    for crashes in 0..MAX_CRASHES {
        let ledger = Ledger::open(directory.path()).unwrap();
        let job = ledger.load(job_id).await.unwrap().unwrap();
        assert_eq!((job.crashes, job.state), (crashes, JobState::Accepted));
        for failures in 1..=2 {
            ledger.start_attempt(job_id).await.unwrap();
            let counted = ledger.count_soft_failure(job_id).await.unwrap();
            assert_eq!(counted, crashes * 2 + failures);
        }
        // It ends while the attempt is open.
        ledger.start_attempt(job_id).await.unwrap();
    }
    let ledger = Ledger::open(directory.path()).unwrap();
    let crashes: Vec<u32> = ledger
        .unfinished()
        .await
        .unwrap()
        .iter()
        .map(|job| job.crashes)
        .collect();
    assert_eq!(crashes, [MAX_CRASHES, 0]);
    let emission = Emission {
        finish: Some(Finish::Quarantined("crashed")),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    assert_eq!(ledger.counts().await.unwrap().quarantined, 1);
    let ended = ledger.load(job_id).await.unwrap().unwrap();
    assert_eq!(ended.reason.as_deref(), Some("crashed"));
    for error in [
        ledger.start_attempt(job_id).await.unwrap_err(),
        ledger.count_soft_failure(job_id).await.unwrap_err(),
    ] {
        assert!(matches!(error, LedgerError::AlreadyFinished(id) if id == job_id));
    }
}

#[tokio::test]
async fn a_second_attempt_stores_no_second_copy_and_a_job_ends_once() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = accept(&ledger, "a").await;
    let emission = |finish| Emission {
        events: vec![event("transcription_ready"), event("audio:fr")],
        documents: vec![write("transcript", "{}")],
        finish,
    };
    ledger.emit(job_id, emission(None)).await.unwrap();
    ledger
        .emit(job_id, emission(Some(Finish::Done)))
        .await
        .unwrap();
    let counts = ledger.counts().await.unwrap();
    assert_eq!((counts.pending_events, counts.pending_documents), (2, 1));

    let late = Emission {
        events: vec![event("too late")],
        finish: Some(Finish::Failed("internal")),
        ..Emission::default()
    };
    let error = ledger.emit(job_id, late).await.unwrap_err();
    assert!(matches!(error, LedgerError::AlreadyFinished(id) if id == job_id));
    assert_eq!(ledger.counts().await.unwrap().pending_events, 2);
    assert_eq!(
        ledger.load(job_id).await.unwrap().unwrap().state,
        JobState::Done
    );
}

#[tokio::test]
async fn published_events_leave_the_queue_and_can_be_found_and_reissued() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = accept(&ledger, "a").await;
    let emission = Emission {
        events: vec![event("1"), event("2"), event("3")],
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    let events = ledger.pending_events_blocking(10).unwrap();
    assert_eq!(ledger.pending_events_blocking(2).unwrap(), events[..2]);
    let [one, two, three] = [events[0].id, events[1].id, events[2].id];
    ledger
        .mark_published_blocking(&[(events[0], 1_000), (events[1], 2_000)])
        .unwrap();
    ledger.mark_damaged_blocking(three).unwrap();
    assert!(ledger.pending_events_blocking(10).unwrap().is_empty());

    // Published again at 3 s: too late for a subscriber who came at 2.5 s to have missed it.
    ledger
        .mark_published_blocking(&[(events[0], 3_000)])
        .unwrap();
    let ids = |events: Vec<EventRef>| events.iter().map(|event| event.id).collect::<Vec<_>>();
    let unsettled = |since_ms, until_ms| {
        let events = ledger.unsettled_blocking(since_ms, until_ms, JobId(0), 9);
        ids(events.unwrap())
    };
    assert_eq!(unsettled(0, 2_500), [two]);
    // The window is counted from the first time, or replays would keep an event in it for ever.
    assert_eq!(unsettled(1_500, 9_000), [two]);
    assert_eq!(unsettled(0, 9_000), [one, two]);

    ledger.accept(job("a")).await.unwrap();
    let again = ledger.pending_events_blocking(10).unwrap();
    assert_eq!(ids(again.clone()), [one, two]);

    // Asked for once more between being sent and being marked: it goes out again.
    ledger.accept(job("a")).await.unwrap();
    ledger
        .mark_published_blocking(&[(again[0], 4_000), (again[1], 4_000)])
        .unwrap();
    let last = ledger.pending_events_blocking(10).unwrap();
    assert_eq!(ids(last.clone()), [one, two]);
    ledger
        .mark_published_blocking(&[(last[0], 5_000), (last[1], 5_000)])
        .unwrap();
    assert!(ledger.pending_events_blocking(10).unwrap().is_empty());
}

#[tokio::test]
async fn documents_of_one_key_are_written_in_order() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let [first, second] = [accept(&ledger, "a").await, accept(&ledger, "b").await];
    let emission = |documents| Emission {
        documents,
        ..Emission::default()
    };
    let old = vec![write("voice", "old"), write("transcript", "other")];
    ledger.emit(first, emission(old)).await.unwrap();
    ledger
        .emit(second, emission(vec![write("voice", "new")]))
        .await
        .unwrap();
    let texts = async |now_ms| {
        let pending = ledger.pending_documents(10, now_ms).await.unwrap();
        let texts = pending.iter().map(|pending| pending.write.document.clone());
        (texts.collect::<Vec<_>>(), pending)
    };

    let (found, pending) = texts(100).await;
    assert_eq!(found, ["old", "other"]);
    let retry = DocumentOutcome::RetryAt { at_ms: 500 };
    ledger.mark_document(pending[0].id, retry).await.unwrap();
    ledger
        .mark_document(pending[1].id, DocumentOutcome::Skipped)
        .await
        .unwrap();
    assert!(
        texts(499).await.0.is_empty(),
        "the newer one waits for the older"
    );
    let (found, pending) = texts(500).await;
    assert_eq!(found, ["old"]);
    assert_eq!(pending[0].attempts, 1);
    ledger
        .mark_document(pending[0].id, DocumentOutcome::Done)
        .await
        .unwrap();
    assert_eq!(texts(500).await.0, ["new"]);
}

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
    assert_eq!(swept, Purged { jobs: 0, blobs: 2 });
    // Gone is "speech of published"; the audio is a checkpoint of another job.
    assert_eq!(
        ledger.purge(soon).await.unwrap(),
        Purged { jobs: 1, blobs: 1 }
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

#[test]
fn one_daemon_per_directory() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let error = Ledger::open(directory.path()).err().unwrap();
    assert!(matches!(&error, LedgerError::Locked(path) if path == directory.path()));
    drop(ledger);
    Ledger::open(directory.path()).unwrap();
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

#[tokio::test]
async fn events_that_come_with_a_job_are_stored_once() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let asked = || NewJob {
        public_id: Some("job_1".into()),
        user_id: Some("user".into()),
        events: vec![event("accepted")],
        ..job("a")
    };
    let Accepted::New(job_id) = ledger.accept(asked()).await.unwrap() else {
        panic!("the job is new");
    };
    let again = ledger.accept(asked()).await.unwrap();
    assert!(matches!(again, Accepted::Duplicate { job_id: earlier, .. } if earlier == job_id));
    let events = ledger.pending_events_blocking(10).unwrap();
    assert_eq!(events.len(), 1);
    let frames = ledger.event_frames_blocking(events[0].id).unwrap();
    assert_eq!(
        frames,
        ["{\"type\":\"accepted\"}", "speech of accepted"].map(Bytes::from)
    );
    let found = ledger.load_public("job_1".into()).await.unwrap().unwrap();
    assert_eq!((found.id, found.user_id.as_deref()), (job_id, Some("user")));
    assert!(ledger.load_public("job_2".into()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_failed_job_keeps_its_reason() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let Accepted::New(job_id) = ledger.accept(job("a")).await.unwrap() else {
        panic!("the job is new");
    };
    let emission = Emission {
        finish: Some(Finish::Failed("cancelled")),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    let record = ledger.load(job_id).await.unwrap().unwrap();
    assert_eq!(record.reason.as_deref(), Some("cancelled"));
}
