//! Jobs, attempts and what a kill leaves of them.

use super::*;

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
        ..Emission::default()
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
        ..Emission::default()
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

#[test]
fn one_daemon_per_directory() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let error = Ledger::open(directory.path()).err().unwrap();
    assert!(matches!(&error, LedgerError::Locked(path) if path == directory.path()));
    drop(ledger);
    Ledger::open(directory.path()).unwrap();
}
