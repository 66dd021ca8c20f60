use super::*;

const SCHEDULE_MS: [i64; 2] = [5_000, 30_000];
const WINDOW: RepeatWindow<'_> = RepeatWindow {
    schedule_ms: &SCHEDULE_MS,
    window_ms: 60_000,
    max_newer: 3,
};

/// A job with events that are repeatable where their key says so; all were published first at `at_ms`.
async fn published(ledger: &Ledger, job_key: &str, keys: &[&str], at_ms: i64) -> Vec<EventRef> {
    let job_id = accept(ledger, job_key).await;
    let events = keys.iter().map(|key| OutgoingEvent {
        kind: "translation_completed",
        is_repeatable: key.starts_with("repeatable"),
        ..event(key)
    });
    let emission = Emission {
        events: events.collect(),
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    let pending = ledger.pending_events_blocking(100).unwrap();
    let marks: Vec<_> = pending.iter().map(|event| (*event, at_ms)).collect();
    ledger.mark_published_blocking(&marks).unwrap();
    pending
}

fn due(ledger: &Ledger, now_ms: i64) -> Vec<EventRef> {
    ledger.due_events_blocking(&WINDOW, now_ms, 100).unwrap()
}

#[tokio::test]
async fn events_are_due_once_for_each_time_of_the_schedule() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let events = published(&ledger, "a", &["repeatable", "other"], 100_000).await;
    let repeatable = vec![events[0]];
    assert_eq!(due(&ledger, 104_999), []);
    assert_eq!(due(&ledger, 105_000), repeatable);
    ledger
        .mark_published_blocking(&[(events[0], 105_100)])
        .unwrap();
    assert_eq!(due(&ledger, 129_999), []);
    assert_eq!(due(&ledger, 130_000), repeatable);
    // A time that was missed is not made up for.
    ledger
        .mark_published_blocking(&[(events[0], 130_001)])
        .unwrap();
    assert_eq!(due(&ledger, 159_999), []);
    assert_eq!(
        due(&ledger, 160_001),
        [],
        "nothing is repeated after the window"
    );
    let late = published(&ledger, "b", &["repeatable"], 200_000).await;
    assert_eq!(due(&ledger, 240_000), late);
    ledger
        .mark_published_blocking(&[(late[0], 240_000)])
        .unwrap();
    assert_eq!(due(&ledger, 240_001), []);
    let schedule_off = RepeatWindow {
        schedule_ms: &[],
        ..WINDOW
    };
    let none = ledger.due_events_blocking(&schedule_off, 205_000, 100);
    assert_eq!(none.unwrap(), []);
}

#[tokio::test]
async fn events_that_a_gateway_may_have_forgotten_are_not_repeated() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let old = published(&ledger, "a", &["repeatable"], 100_000).await;
    published(
        &ledger,
        "b",
        &["repeatable 1", "repeatable 2", "other"],
        101_000,
    )
    .await;
    let due_ids = |now_ms| -> Vec<i64> {
        let due = due(&ledger, now_ms);
        due.iter().map(|event| event.id).collect()
    };
    assert_eq!(due_ids(106_000).len(), 3, "two are newer");
    published(&ledger, "c", &["repeatable"], 102_000).await;
    assert!(!due_ids(106_000).contains(&old[0].id), "three are newer");
    // What is asked for again is not repeated on top of that.
    ledger.accept(job("c")).await.unwrap();
    let again = ledger.pending_events_blocking(100).unwrap();
    ledger
        .mark_published_blocking(&[(again[0], 103_000)])
        .unwrap();
    assert!(!due_ids(109_000).contains(&again[0].id));
}

#[tokio::test]
async fn settled_events_leave_the_replay_and_unconfirmed_ones_are_listed() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let events = published(&ledger, "a", &["one", "two", "three"], 100_000).await;
    let kinds = ["translation_error", "translation_completed"];
    let found = ledger
        .unsettled_events(&kinds, 99_999, 100_000, 2)
        .await
        .unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].event, events[0]);
    assert_eq!(found[0].kind, "translation_completed");
    assert_eq!(found[0].body.expose(), r#"{"type":"one"}"#);
    for (kinds, after_ms) in [(&kinds[..], 100_000), (&kinds[..1], 99_999)] {
        let none = ledger.unsettled_events(kinds, after_ms, 200_000, 9).await;
        assert!(none.unwrap().is_empty());
    }

    let asked_for_again = EventRef {
        reissues: 1,
        ..events[1]
    };
    let settled = ledger
        .settle(vec![events[0], asked_for_again])
        .await
        .unwrap();
    assert_eq!(
        settled, 1,
        "what was asked for again meanwhile waits for its own settlement"
    );
    // It had been sent once more before that was known.
    ledger
        .mark_published_blocking(&[(events[0], 101_000)])
        .unwrap();
    let unsettled = ledger.unsettled_blocking(0, 200_000, JobId(0), 9).unwrap();
    assert_eq!(unsettled, events[1..]);

    assert_eq!(ledger.give_up_unsettled(99_999, 9).await.unwrap(), 0);
    assert_eq!(ledger.give_up_unsettled(100_000, 1).await.unwrap(), 1);
    assert_eq!(ledger.give_up_unsettled(100_000, 9).await.unwrap(), 1);
    let unconfirmed = JobFilter {
        event_state: Some("unconfirmed".into()),
        limit: 9,
        ..JobFilter::default()
    };
    let page = ledger.jobs(unconfirmed).await.unwrap();
    let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
    assert_eq!(ids, [events[0].job_id]);
    let details = ledger.job_details(ids[0]).await.unwrap().unwrap();
    let states: Vec<&str> = details
        .events
        .iter()
        .map(|event| event.state.as_str())
        .collect();
    assert_eq!(states, ["settled", "unconfirmed", "unconfirmed"]);
    let counts = ledger.counts().await.unwrap();
    assert_eq!(
        (
            counts.pending_events,
            counts.published_events,
            counts.settled_events,
            counts.unconfirmed_events
        ),
        (0, 0, 1, 2)
    );

    // A repeat of the request asks for all of them, whatever became of them.
    ledger.accept(job("a")).await.unwrap();
    assert_eq!(ledger.counts().await.unwrap().pending_events, 3);
}

#[tokio::test]
async fn events_are_looked_for_by_what_they_hold_wherever_it_lies_and_damaged_ones_are_not() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let kind = "translation_completed";
    let large = OutgoingEvent {
        body: vec![b'x'; 2 * MAX_INLINE_BYTES].into(),
        kind,
        ..event("large")
    };
    let small = OutgoingEvent {
        kind,
        ..event("small")
    };
    let job_id = accept(&ledger, "a").await;
    let emission = Emission {
        events: vec![large, small],
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    let pending = ledger.pending_events_blocking(9).unwrap();
    let marks: Vec<_> = pending.iter().map(|event| (*event, 100)).collect();
    ledger.mark_published_blocking(&marks).unwrap();
    let unsettled = async || ledger.unsettled_events(&[kind], 0, 100, 9).await.unwrap();
    let found = unsettled().await;
    assert_eq!(found[0].body.expose().len(), 2 * MAX_INLINE_BYTES);
    assert_eq!(found[1].body.expose(), r#"{"type":"small"}"#);

    Connection::open(folder.path().join(DATABASE))
        .unwrap()
        .execute("UPDATE events SET body = x'7b7d' WHERE key = 'small'", [])
        .unwrap();
    assert_eq!(unsettled().await.len(), 1);
    let details = ledger.job_details(job_id).await.unwrap().unwrap();
    assert_eq!(details.events[1].state, "damaged");
}

#[test]
fn events_of_an_earlier_version_keep_their_frames_and_ids() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.sqlite3");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(concat!(
            include_str!("../schema/001_jobs_outbox_documents.sql"),
            include_str!("../schema/002_users_items_cache_voice_api.sql"),
            "INSERT INTO jobs (key, kind, lane, task_id, received_at_ms, request)
                 VALUES ('a', 'translation', 'text', 't', 1, '{}');
             INSERT INTO events (id, job_id, key, body, state, first_published_at_ms)
                 VALUES (7, 1, 'one', x'7b7d', 'published', 5), (8, 1, 'two', x'7b7d', 'pending', NULL);
             INSERT INTO event_frames VALUES (7, 0, 'hash', 3);
             DELETE FROM events WHERE id = 8;
             PRAGMA user_version = 2;"
        ))
        .unwrap();
    drop(connection);
    drop(Ledger::open(folder.path()).unwrap());
    let connection = Connection::open(&path).unwrap();
    let frames: i64 = connection
        .query_row(
            "SELECT count(*) FROM event_frames WHERE event_id = 7",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(frames, 1);
    connection
        .execute(
            "INSERT INTO events (job_id, key, body) VALUES (1, 'three', x'7b7d')",
            [],
        )
        .unwrap();
    assert_eq!(connection.last_insert_rowid(), 9, "an id is not used twice");
    connection
        .execute_batch("PRAGMA foreign_keys = ON; DELETE FROM jobs")
        .unwrap();
    let left: i64 = connection
        .query_row(
            "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM event_frames)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn unsettled_events_are_listed_job_by_job_from_anywhere() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let (a, b) = (accept(&ledger, "a").await, accept(&ledger, "b").await);
    let c = accept(&ledger, "c").await;
    for number in ["1", "2"] {
        for job_id in [a, b, c] {
            let emission = Emission {
                events: vec![event(number)],
                ..Emission::default()
            };
            ledger.emit(job_id, emission).await.unwrap();
        }
    }
    let published = ledger.pending_events_blocking(10).unwrap();
    let published: Vec<_> = published.into_iter().map(|event| (event, 1_000)).collect();
    ledger.mark_published_blocking(&published).unwrap();
    let listed = |after, limit| {
        let events = ledger.unsettled_blocking(0, 9_000, after, limit).unwrap();
        events.iter().map(|event| event.job_id).collect::<Vec<_>>()
    };
    assert_eq!(listed(JobId(0), 9), [a, a, b, b, c, c]);
    assert_eq!(listed(a, 9), [b, b, c, c, a, a]);
    assert_eq!(listed(c, 3), [a, a, b]);
}
