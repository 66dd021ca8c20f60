//! Jobs over HTTP: recordings that come piece by piece, and events that nobody publishes.

use super::*;
use crate::domain::Private;

/// Files of recordings that are being received.
fn uploads(directory: &TempDir) -> usize {
    fs::read_dir(directory.path().join("uploads"))
        .unwrap()
        .count()
}

async fn received(ledger: &Ledger, pieces: &[&str]) -> ReceivedUpload {
    let mut upload = ledger.begin_upload().await.unwrap();
    for piece in pieces {
        upload.write(piece.as_bytes()).await.unwrap();
    }
    upload.finish().await.unwrap()
}

fn over_http(key: &str, uploads: Vec<ReceivedUpload>) -> NewJob {
    NewJob {
        audience: Audience::Http,
        public_id: Some(format!("id of {key}")),
        uploads,
        ..job(key)
    }
}

#[tokio::test]
async fn a_recording_that_came_in_pieces_is_a_frame_of_its_job() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let upload = received(&ledger, &["a record", "", "ing"]).await;
    assert_eq!(upload.size_bytes(), 11);
    assert_eq!(uploads(&directory), 1);
    let job = NewJob {
        frames: Private::default(),
        ..over_http("a", vec![upload])
    };
    let Accepted::New(job_id) = ledger.accept(job).await.unwrap() else {
        panic!("it is new");
    };
    assert_eq!(uploads(&directory), 0);
    assert_eq!(ledger.frames(job_id).await.unwrap(), ["a recording"]);
    // The same bytes once more, while they are there.
    let again = received(&ledger, &["a recording"]).await;
    let job = over_http("b", vec![again]);
    let Accepted::New(second) = ledger.accept(job).await.unwrap() else {
        panic!("it is new");
    };
    let frames = ledger.frames(second).await.unwrap();
    assert_eq!(frames, ["audio of b", "", "a recording"]);

    let (_copy, ledger) = after_kill(directory.path());
    assert_eq!(ledger.frames(job_id).await.unwrap(), ["a recording"]);
    assert!(!ledger.load(job_id).await.unwrap().unwrap().is_damaged);
}

#[tokio::test]
async fn a_recording_without_a_job_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    drop(received(&ledger, &["whole"]).await);
    let mut upload = ledger.begin_upload().await.unwrap();
    upload.write(b"half").await.unwrap();
    assert_eq!(uploads(&directory), 1);
    drop(upload);
    assert_eq!(uploads(&directory), 0);
    // One that the process did not live to delete.
    fs::write(directory.path().join("uploads/.left"), b"half").unwrap();
    drop(ledger);
    drop(Ledger::open(directory.path()).unwrap());
    assert_eq!(uploads(&directory), 0);
}

#[tokio::test]
async fn events_of_a_job_over_http_are_read_and_never_wait_to_be_published() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let Accepted::New(job_id) = ledger.accept(over_http("a", Vec::new())).await.unwrap() else {
        panic!("it is new");
    };
    let emission = Emission {
        events: vec![event("ready"), event("completed")],
        finish: Some(Finish::Done),
        stages: vec![StageRun {
            stage: "decode".into(),
            language: None,
            status: StageStatus::Done,
            started_at_ms: 1,
            duration_ms: Some(2),
        }],
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    assert!(ledger.pending_events_blocking(10).unwrap().is_empty());
    let events = ledger.events_after(job_id, 0).await.unwrap();
    let keys: Vec<&str> = events.iter().map(|event| &event.key[..]).collect();
    assert_eq!(keys, ["ready", "completed"]);
    assert_eq!(events[0].body.expose(), r#"{"type":"ready"}"#);
    let payload = ledger.event_payload(events[1].id).await.unwrap();
    assert_eq!(payload.unwrap(), "speech of completed");
    let later = ledger.events_after(job_id, events[0].id).await.unwrap();
    assert_eq!(later.len(), 1);

    let filter = JobFilter {
        public_id: Some("id of a".into()),
        limit: 1,
        ..JobFilter::default()
    };
    let summary = ledger.jobs(filter).await.unwrap().jobs.remove(0);
    assert_eq!(summary.audience, Audience::Http);
    assert_eq!(summary.stages[0].duration_ms, Some(2));
    let tally = ledger.tally().await.unwrap();
    assert_eq!((tally[0].state, tally[0].jobs), (JobState::Done, 1));
    assert_eq!(ledger.job_count().await.unwrap(), 1);

    // Those of the gateway do, as ever.
    let of_gateway = accept(&ledger, "b").await;
    let emission = Emission {
        events: vec![event("ready")],
        ..Emission::default()
    };
    ledger.emit(of_gateway, emission).await.unwrap();
    assert_eq!(ledger.pending_events_blocking(10).unwrap().len(), 1);
}
