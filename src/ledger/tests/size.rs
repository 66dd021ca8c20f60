//! The disk is given back.

use super::*;

fn pages(directory: &TempDir) -> (i64, i64, i64) {
    let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
    let read = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap()
    };
    (
        read("auto_vacuum"),
        read("page_count"),
        read("freelist_count"),
    )
}

fn bytes_below(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let facts = entry.metadata().unwrap();
            if facts.is_dir() {
                bytes_below(&entry.path())
            } else {
                facts.len()
            }
        })
        .sum()
}

#[tokio::test]
async fn what_many_jobs_have_taken_is_given_back() {
    const JOBS: usize = 1_500;
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let batch = |from: usize| -> Vec<NewJob> {
        (from..from + 100)
            .map(|number| NewJob {
                request: format!("{number}{}", "x".repeat(8_000)).into(),
                frames: vec![Bytes::from(format!("audio {number}").repeat(50))].into(),
                ..job(&number.to_string())
            })
            .collect()
    };
    let mut ids = Vec::new();
    for from in (0..JOBS).step_by(100) {
        for answer in ledger.accept_blocking(batch(from)).unwrap() {
            let Accepted::New(job_id) = answer else {
                panic!("{answer:?}");
            };
            ids.push(job_id);
        }
    }
    for job_id in &ids {
        let emission = Emission {
            events: vec![event("completed")],
            finish: Some(Finish::Done),
            ..Emission::default()
        };
        ledger.emit(*job_id, emission).await.unwrap();
    }
    let full = bytes_below(directory.path());
    assert!(full > 12 << 20, "{full}");
    loop {
        let events = ledger.pending_events_blocking(500).unwrap();
        if events.is_empty() {
            break;
        }
        let published: Vec<_> = events.into_iter().map(|event| (event, 1)).collect();
        ledger.mark_published_blocking(&published).unwrap();
    }
    let purged = ledger.purge(retention(-60_000)).await.unwrap();
    assert_eq!(purged.jobs, JOBS as u64);
    let (auto_vacuum, count, free) = pages(&directory);
    assert_eq!((auto_vacuum, free), (2, 0));
    assert!(count < 100, "{count} pages");
    let left = bytes_below(directory.path());
    assert!(left < 1 << 20, "{left} of {full} bytes are left");
}

#[tokio::test]
async fn a_database_that_could_not_shrink_is_made_to() {
    let directory = TempDir::new().unwrap();
    let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
    // As a tool makes a database, without the mode.
    for (version, step) in (1_i64..).zip(schema::MIGRATIONS) {
        connection.execute_batch(step).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    }
    drop(connection);
    assert_eq!(pages(&directory).0, 0);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(pages(&directory).0, 2);
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.salvaged(), None, "the definitions are the same");
}

#[tokio::test]
async fn a_large_event_lies_beside_the_database() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = accept(&ledger, "a").await;
    let large = OutgoingEvent {
        key: "reply".into(),
        body: vec![b'x'; 3 << 20].into(),
        frames: vec![Bytes::from_static(b"frame")].into(),
        ..OutgoingEvent::default()
    };
    let emission = Emission {
        events: vec![large],
        finish: Some(Finish::Done),
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    let inline: i64 = Connection::open(directory.path().join(DATABASE))
        .unwrap()
        .query_row("SELECT length(body) FROM events", [], |row| row.get(0))
        .unwrap();
    assert_eq!(inline, 0);
    let body = ledger.event(job_id, "reply").await.unwrap().unwrap();
    assert_eq!(body, vec![b'x'; 3 << 20]);
    let events = ledger.pending_events_blocking(1).unwrap();
    let frames = ledger.event_frames_blocking(events[0].id).unwrap();
    assert_eq!(frames, [Bytes::from(body), Bytes::from_static(b"frame")]);
    ledger.purge_job(job_id, true).await.unwrap();
    assert!(bytes_below(&directory.path().join("blobs")) == 0);
}

#[tokio::test]
async fn payloads_on_their_way_are_not_swept() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let store = &ledger.store;
    let mut deposit = store.blobs.deposit();
    let blob = deposit.put_all(&[Bytes::from_static(b"audio")]).unwrap();
    let sweep = || {
        store
            .blobs
            .sweep(|sha256| store.is_referenced(sha256))
            .unwrap()
    };
    assert_eq!(sweep(), 0);
    assert_eq!(store.blobs.read(&blob[0]).unwrap(), "audio");
    drop(deposit);
    assert_eq!(sweep(), 1);
}

/// A measure, not a check: `cargo test --lib measure_opening -- --ignored --nocapture`.
#[test]
#[ignore = "prints how long it takes to open 10,000 jobs"]
fn measure_opening() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    for from in (0..10_000).step_by(500) {
        let jobs = (from..from + 500).map(|number| NewJob {
            request: "x".repeat(4_000).into(),
            ..job(&number.to_string())
        });
        ledger.accept_blocking(jobs.collect()).unwrap();
    }
    let copy = TempDir::new().unwrap();
    copy_directory(directory.path(), copy.path());
    drop(ledger);
    for (what, directory) in [("after a stop", &directory), ("after a kill", &copy)] {
        let begun = std::time::Instant::now();
        drop(Ledger::open(directory.path()).unwrap());
        eprintln!("opened {what}: {:?}", begun.elapsed());
        let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
        for pragma in ["quick_check", "integrity_check"] {
            let begun = std::time::Instant::now();
            let verdict: String = connection
                .query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0))
                .unwrap();
            eprintln!("{pragma}: {verdict} in {:?}", begun.elapsed());
        }
        let database = fs::metadata(directory.path().join(DATABASE)).unwrap();
        eprintln!("{} bytes", database.len());
    }
    let mut file = File::options()
        .write(true)
        .open(copy.path().join(DATABASE))
        .unwrap();
    use std::io::{Seek as _, Write as _};
    file.seek(std::io::SeekFrom::Start(4096 * 4000)).unwrap();
    file.write_all(&[0xff; 4096]).unwrap();
    let begun = std::time::Instant::now();
    let ledger = Ledger::open(copy.path()).unwrap();
    eprintln!("salvaged in {:?}: {:?}", begun.elapsed(), ledger.salvaged());
}
