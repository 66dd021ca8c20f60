//! Every step from every earlier version, with data in it.

use super::*;

/// A database of that version with one job that waits, one that has ended, an event and a document.
fn of_version(version: usize) -> TempDir {
    let directory = TempDir::new().unwrap();
    let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    for step in &schema::MIGRATIONS[..version] {
        connection.execute_batch(step).unwrap();
    }
    connection
        .pragma_update(None, "user_version", version as i64)
        .unwrap();
    connection
        .execute_batch(
            "INSERT INTO jobs (key, kind, lane, task_id, received_at_ms, request)
             VALUES ('a', 'translation', 'text_fast', 'task a', 1, '{\"a\":1}'),
                    ('b', 'translation', 'text_fast', 'task b', 2, '{\"b\":1}');
             UPDATE jobs SET state = 'done', finished_at_ms = 3 WHERE key = 'b';
             INSERT INTO events (job_id, key, body) VALUES (2, 'completed', x'7b7d');
             INSERT INTO documents (job_id, order_key, collection, filter, document)
             VALUES (2, 'k', 'c', '{}', '{}');
             INSERT INTO checkpoints (job_id, stage, item, payload) VALUES (1, 'translate', 'fr', x'31')",
        )
        .unwrap();
    // From the version on that has digests, every row was stored with its own.
    if schema::MIGRATIONS[..version].contains(&schema::DIGESTS) {
        digest::fill(&connection).unwrap();
    }
    directory
}

#[tokio::test]
async fn every_earlier_version_becomes_this_one_with_all_it_has() {
    for version in 1..schema::MIGRATIONS.len() {
        let directory = of_version(version);
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(ledger.salvaged(), None, "version {version}");
        let waiting = ledger.load(JobId(1)).await.unwrap().unwrap();
        assert!(!waiting.is_damaged, "version {version}");
        assert_eq!(waiting.request.expose(), r#"{"a":1}"#);
        assert_eq!(ledger.unfinished().await.unwrap().len(), 1);
        let checkpoints = ledger.checkpoints(JobId(1)).await.unwrap();
        assert_eq!(checkpoints[0].payload.expose(), b"1");
        let events = ledger.pending_events_blocking(10).unwrap();
        let frames = ledger.event_frames_blocking(events[0].id).unwrap();
        assert_eq!(frames, ["{}"]);
        let documents = ledger.pending_documents(10, i64::MAX).await.unwrap();
        assert_eq!(documents.len(), 1, "version {version}");
        ledger.start_attempt(JobId(1)).await.unwrap();
        let found: i64 = Connection::open(directory.path().join(DATABASE))
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(found as usize, schema::MIGRATIONS.len());
    }
}

#[test]
fn a_step_that_fails_leaves_the_version_before_it() {
    let directory = of_version(1);
    let database = directory.path().join(DATABASE);
    // In the way of the second step.
    Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE speech_files (x)")
        .unwrap();
    let error = Ledger::open(directory.path()).err().unwrap();
    assert!(matches!(error, LedgerError::Database(_)), "{error}");
    let connection = Connection::open(&database).unwrap();
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 1);
    let columns = "SELECT count(*) FROM pragma_table_info('jobs') WHERE name = 'user_id'";
    let columns: i64 = connection.query_row(columns, [], |row| row.get(0)).unwrap();
    assert_eq!(columns, 0);
    connection.execute_batch("DROP TABLE speech_files").unwrap();
    drop(connection);
    Ledger::open(directory.path()).unwrap();
}

#[test]
fn a_later_version_is_refused_and_left_alone() {
    let directory = of_version(schema::MIGRATIONS.len());
    let database = directory.path().join(DATABASE);
    let set = |version: i64| {
        let connection = Connection::open(&database).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    set(99);
    let error = Ledger::open(directory.path()).err().unwrap();
    assert!(
        matches!(error, LedgerError::NewerSchema { found: 99, supported, .. } if supported < 99)
    );
    assert!(error.to_string().contains("version 99"), "{error}");
    assert!(salvage::set_aside(directory.path()).is_empty());
    Connection::open(&database)
        .unwrap()
        .execute_batch(
            "UPDATE jobs SET crashes = 2, soft_failures = 3, size_bytes = 4, memory_bytes = 5;
             UPDATE events SET kind = 'translation_completed', repeatable = 1",
        )
        .unwrap();
    // No program has these: the number is damaged, and so is one that is too small.
    for version in [-1, 1 << 30, 1] {
        set(version);
        let ledger = Ledger::open(directory.path()).unwrap();
        let salvage = ledger.salvaged().unwrap();
        assert_eq!((salvage.kept_jobs, salvage.lost_jobs), (2, Some(0)));
        assert_eq!((salvage.unfinished_jobs, salvage.pending_events), (1, 1));
        let kept: String = Connection::open(&database)
            .unwrap()
            .query_row(
                "SELECT concat_ws(' ', crashes, soft_failures, jobs.size_bytes, memory_bytes,
                                  events.kind, repeatable)
                 FROM jobs JOIN events ON job_id = jobs.id",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(kept, "2 3 4 5 translation_completed 1");
    }
}

#[tokio::test]
async fn a_damaged_database_of_an_earlier_version_is_carried_over_too() {
    for version in 1..schema::MIGRATIONS.len() {
        let directory = of_version(version);
        let database = directory.path().join(DATABASE);
        // An index that is not of its table.
        let mut bytes = fs::read(&database).unwrap();
        let root: u32 = Connection::open(&database)
            .unwrap()
            .query_row(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_by_state'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        let page = (root as usize - 1) * 4096;
        bytes[page..page + 4096].fill(0xa5);
        fs::write(&database, bytes).unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        let salvage = ledger.salvaged().unwrap();
        assert_eq!((salvage.kept_jobs, salvage.lost_jobs), (2, Some(0)));
        let waiting = ledger.load(JobId(1)).await.unwrap().unwrap();
        assert!(!waiting.is_damaged, "version {version}");
        assert_eq!(ledger.checkpoints(JobId(1)).await.unwrap().len(), 1);
        let events = ledger.pending_events_blocking(10).unwrap();
        let frames = ledger.event_frames_blocking(events[0].id).unwrap();
        assert_eq!(frames, ["{}"]);
        assert_eq!(
            ledger.pending_documents(10, i64::MAX).await.unwrap().len(),
            1
        );
    }
}
