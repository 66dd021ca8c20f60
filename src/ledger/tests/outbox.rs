//! Events and documents that wait.

use super::*;

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
