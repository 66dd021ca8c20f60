//! Bits that change, files that end early, rows that hold nonsense: contained, reported, never executed.

use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom, Write as _};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const JOBS: usize = 40;

/// What each job was accepted with, and what it has stored since.
struct Original {
    directory: TempDir,
    jobs: BTreeMap<JobId, String>,
}

/// A ledger with jobs in every state. `is_closed`: carried over into the database file; else, as after a
/// kill, what was done last is in the write-ahead log.
async fn original(is_closed: bool) -> Original {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut jobs = BTreeMap::new();
    for number in 0..JOBS {
        let key = format!("key {number}");
        let job_id = accept(&ledger, &key).await;
        jobs.insert(job_id, key.clone());
        let checkpoint = NewCheckpoint {
            stage: "transcribe".into(),
            item: String::new(),
            payload: format!("transcript of {key}").into_bytes().into(),
            blob: None,
        };
        ledger.checkpoint(job_id, checkpoint).await.unwrap();
        let finish = (number % 3 == 0).then_some(Finish::Done);
        let emission = Emission {
            events: vec![event(&format!("event of {key}"))],
            documents: vec![write(&key, &format!(r#"{{"text":"{key}"}}"#))],
            finish,
            ..Emission::default()
        };
        ledger.emit(job_id, emission).await.unwrap();
        if number == JOBS / 2 && !is_closed {
            schema::truncate_wal(&directory.path().join(DATABASE)).unwrap();
        }
    }
    let copy = TempDir::new().unwrap();
    if is_closed {
        drop(ledger);
    }
    copy_directory(directory.path(), copy.path());
    Original {
        directory: copy,
        jobs,
    }
}

impl Original {
    fn damaged(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_directory(self.directory.path(), copy.path());
        copy
    }

    /// Opens what was damaged: nothing that is there may be other than it was, and what is not there must
    /// be told of. Returns how many jobs are lost, and how many can only be ended.
    async fn check(&self, directory: &TempDir, what: &str) -> (u64, u64) {
        let ledger = match Ledger::open(directory.path()) {
            Ok(ledger) => ledger,
            // A version that may be that of a later program cannot be told from one.
            Err(LedgerError::NewerSchema { .. }) => return (0, 0),
            Err(error) => panic!("{what}: {error:?}"),
        };
        let (mut lost, mut damaged) = (0, 0);
        for (job_id, key) in &self.jobs {
            let Some(record) = ledger.load(*job_id).await.unwrap() else {
                lost += 1;
                continue;
            };
            if record.kind == "lost" {
                lost += 1;
                continue;
            }
            if record.is_damaged {
                damaged += 1;
                continue;
            }
            assert_eq!(record.key, *key, "{what}");
            assert_eq!(record.task_id, format!("task of {key}"), "{what}");
            let request = job(key).request.into_exposed();
            assert_eq!(record.request.expose(), &request, "{what}");
            let frames = ledger.frames(*job_id).await.unwrap();
            assert_eq!(frames, job(key).frames.into_exposed(), "{what}");
            for checkpoint in ledger.checkpoints(*job_id).await.unwrap() {
                let expected = format!("transcript of {key}").into_bytes();
                assert_eq!(checkpoint.payload.expose(), &expected, "{what}");
            }
        }
        for pending in ledger.pending_events_blocking(1000).unwrap() {
            match ledger.event_frames_blocking(pending.id) {
                Ok(frames) => {
                    let body = String::from_utf8(frames[0].to_vec()).unwrap();
                    assert!(body.starts_with(r#"{"type":"event of key "#), "{what}");
                    assert!(body.ends_with("\"}"), "{what}");
                }
                Err(error) => assert!(error.is_damage(), "{what}: {error:?}"),
            }
        }
        for pending in ledger.pending_documents(1000, i64::MAX).await.unwrap() {
            let expected = format!(r#"{{"text":"{}"}}"#, pending.write.order_key);
            assert_eq!(pending.write.document.expose(), &expected, "{what}");
        }
        if lost > 0 {
            let salvage = ledger
                .salvaged()
                .unwrap_or_else(|| panic!("{what}: {lost} jobs"));
            assert!(
                salvage.lost_jobs.is_none_or(|reported| reported >= lost),
                "{what}: {lost} jobs are lost, reported: {salvage:?}"
            );
        }
        // It can be worked with.
        accept(&ledger, "after the damage").await;
        (lost, damaged)
    }
}

fn flip(path: &Path, offset: u64, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset as usize] ^= 1 << bit;
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&bytes[offset as usize..=offset as usize])
        .unwrap();
}

/// Flips bits, one at a time. So many cost hardly a job: most lie in what is known anyway, in empty pages, or
/// in one row.
async fn flip_bits(original: &Original, file: &str, seed: u64, count: u64) {
    let length = fs::metadata(original.directory.path().join(file))
        .unwrap()
        .len();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut lost, mut damaged) = (0, 0);
    for _ in 0..count {
        let (offset, bit) = (random.next_u64() % length, (random.next_u32() % 8) as u8);
        let directory = original.damaged();
        flip(&directory.path().join(file), offset, bit);
        let what = format!("bit {bit} of byte {offset} of {file}");
        let here = original.check(&directory, &what).await;
        (lost, damaged) = (lost + here.0, damaged + here.1);
    }
    eprintln!("{file}: {count} flips, {lost} jobs lost, {damaged} to be ended");
    assert!(
        lost + damaged <= count / 2,
        "{file}: {lost} lost, {damaged} damaged"
    );
}

#[tokio::test]
async fn a_flipped_bit_in_the_database_costs_little_and_is_told() {
    flip_bits(&original(true).await, DATABASE, 1, 120).await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_costs_little_and_is_told() {
    flip_bits(&original(false).await, "ledger.sqlite3-wal", 2, 60).await;
}

#[tokio::test]
async fn a_flipped_bit_beside_a_log_costs_little_and_is_told() {
    flip_bits(&original(false).await, DATABASE, 3, 60).await;
}

#[tokio::test]
async fn a_database_that_ends_early_keeps_its_beginning() {
    let original = original(true).await;
    let database = |directory: &TempDir| directory.path().join(DATABASE);
    let length = fs::metadata(database(&original.directory)).unwrap().len();
    for part in [0, 1, 99, 100, 4095, 4096, 4097, 9000] {
        let directory = original.damaged();
        let file = File::options()
            .write(true)
            .open(database(&directory))
            .unwrap();
        file.set_len(part).unwrap();
        original.check(&directory, &format!("{part} bytes")).await;
    }
    for percent in [20, 40, 60, 80, 95, 99] {
        let directory = original.damaged();
        let file = File::options()
            .write(true)
            .open(database(&directory))
            .unwrap();
        file.set_len(length * percent / 100).unwrap();
        original.check(&directory, &format!("{percent} %")).await;
    }
    // No database at all.
    let directory = original.damaged();
    fs::write(database(&directory), vec![b'x'; 8192]).unwrap();
    let (lost, _) = original.check(&directory, "garbage").await;
    assert_eq!(lost, JOBS as u64);
    let aside = salvage::set_aside(directory.path());
    assert!(fs::read(directory.path().join(&aside[0])).unwrap() == vec![b'x'; 8192]);
}

#[tokio::test]
async fn a_log_that_ends_early_is_what_a_power_cut_leaves() {
    let original = original(false).await;
    let wal = |directory: &TempDir| directory.path().join("ledger.sqlite3-wal");
    let length = fs::metadata(wal(&original.directory)).unwrap().len();
    for part in [0, 31, 32, 4000, length / 3, length / 2, length - 1] {
        let directory = original.damaged();
        let file = File::options().write(true).open(wal(&directory)).unwrap();
        file.set_len(part).unwrap();
        // Commits that are not there cannot be missed; those before must be.
        let ledger = Ledger::open(directory.path()).unwrap();
        let kept = ledger.counts().await.unwrap();
        assert!(kept.accepted >= JOBS as u64 / 3, "{part}: {kept:?}");
        assert_eq!(ledger.salvaged(), None, "{part}");
    }
}

#[tokio::test]
async fn a_replacement_that_is_killed_goes_on() {
    let original = original(true).await;
    let directory = original.damaged();
    let database = directory.path().join(DATABASE);
    // As after the damaged database was put away and before the new one was in its place.
    fs::rename(&database, directory.path().join("ledger.sqlite3.new")).unwrap();
    fs::write(
        directory.path().join("ledger.sqlite3-wal"),
        "of the damaged one",
    )
    .unwrap();
    assert_eq!(original.check(&directory, "killed").await, (0, 0));
    assert_eq!(salvage::set_aside(directory.path()).len(), 1);
}

/// Changes rows behind the ledger's back, as a bit that changes in memory does.
fn meddle(directory: &TempDir, statement: &str) {
    let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
    connection
        .execute_batch("PRAGMA ignore_check_constraints = true")
        .unwrap();
    let changed = connection.execute(statement, []).unwrap();
    assert_eq!(changed, 1, "{statement}");
}

#[tokio::test]
async fn a_row_that_holds_nonsense_concerns_its_job_only() {
    for statement in [
        "UPDATE jobs SET request = replace(request, 'secret', 'sacred') WHERE id = 2",
        "UPDATE jobs SET task_id = 'another' WHERE id = 2",
        "UPDATE jobs SET user_id = 'another' WHERE id = 2",
        "UPDATE jobs SET key = 'another' WHERE id = 2",
        "UPDATE jobs SET request = CAST(x'ff00fe' AS TEXT) WHERE id = 2",
        "UPDATE jobs SET kind = CAST(x'ff00fe' AS TEXT) WHERE id = 2",
        "UPDATE jobs SET lane = CAST(x'ff00fe' AS TEXT), task_id = '' WHERE id = 2",
        "UPDATE jobs SET attempts = 9223372036854775807 WHERE id = 2",
        "UPDATE jobs SET attempts = -1 WHERE id = 2",
        "UPDATE jobs SET state = 'nonsense' WHERE id = 2",
        "UPDATE jobs SET crashes = -1 WHERE id = 2",
        "UPDATE jobs SET soft_failures = 9223372036854775807 WHERE id = 2",
        "UPDATE job_frames SET sha256 = replace(sha256, 'a', 'b') WHERE job_id = 2 AND position = 0",
        "UPDATE job_frames SET sha256 = '../../../etc/passwd' WHERE job_id = 2 AND position = 0",
        "UPDATE job_frames SET position = 7 WHERE job_id = 2 AND position = 0",
        "DELETE FROM job_frames WHERE job_id = 2 AND position = 0",
    ] {
        let directory = TempDir::new().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        for key in ["a", "b", "c"] {
            accept(&ledger, key).await;
        }
        meddle(&directory, statement);
        for job_id in [JobId(1), JobId(3)] {
            let other = ledger.load(job_id).await.unwrap().unwrap();
            assert!(!other.is_damaged, "{statement}");
        }
        let record = ledger.load(JobId(2)).await.unwrap().unwrap();
        assert!(record.is_damaged, "{statement}");
        assert!(!record.state.is_finished(), "{statement}");
        let emission = Emission {
            events: vec![event("error")],
            finish: Some(Finish::Failed("internal")),
            ..Emission::default()
        };
        ledger.emit(JobId(2), emission).await.unwrap();
        let ended = ledger.load(JobId(2)).await.unwrap().unwrap();
        assert_eq!(ended.state, JobState::Failed, "{statement}");
    }
}

#[tokio::test]
async fn numbers_that_are_none_keep_neither_the_ledger_shut_nor_a_job_from_its_end() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    for key in ["a", "b"] {
        let job_id = accept(&ledger, key).await;
        ledger.start_attempt(job_id).await.unwrap();
    }
    drop(ledger);
    meddle(
        &directory,
        "UPDATE jobs SET crashes = 9223372036854775807, size_bytes = -1 WHERE id = 1",
    );
    let ledger = Ledger::open(directory.path()).unwrap();
    let unfinished = ledger.unfinished().await.unwrap();
    assert!(unfinished[0].crashes >= MAX_CRASHES, "{unfinished:?}");
    assert_eq!(unfinished[0].size_bytes, 0);
    assert_eq!(unfinished[1].crashes, 1);
}

#[tokio::test]
async fn changed_checkpoints_events_and_documents_are_not_used() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let job_id = accept(&ledger, "a").await;
    let checkpoint = |item: &str| NewCheckpoint {
        stage: "translate".into(),
        item: item.into(),
        payload: b"bonjour".to_vec().into(),
        blob: None,
    };
    for item in ["fr", "es"] {
        ledger.checkpoint(job_id, checkpoint(item)).await.unwrap();
    }
    let emission = Emission {
        events: vec![event("1"), event("2"), event("3")],
        documents: vec![write("k", "{}"), write("k2", "{}")],
        finish: None,
        ..Emission::default()
    };
    ledger.emit(job_id, emission).await.unwrap();
    let entry = NewCacheEntry {
        kind: CacheKind::Text,
        key: "k".into(),
        user_id: None,
        payload: b"bonjour".to_vec().into(),
        blob: None,
    };
    ledger.cache(entry).await.unwrap();
    meddle(
        &directory,
        "UPDATE checkpoints SET payload = x'00' WHERE item = 'fr'",
    );
    meddle(
        &directory,
        "UPDATE events SET body = x'7b7d' WHERE key = '1'",
    );
    meddle(&directory, "DELETE FROM event_frames WHERE event_id = 2");
    meddle(
        &directory,
        "UPDATE documents SET filter = '{\"_id\":1}' WHERE order_key = 'k'",
    );
    meddle(&directory, "UPDATE cache SET payload = x'00'");

    let kept = ledger.checkpoints(job_id).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].item, "es");
    let events = ledger.pending_events_blocking(10).unwrap();
    for damaged in &events[..2] {
        let error = ledger.event_frames_blocking(damaged.id).unwrap_err();
        assert!(
            matches!(
                error,
                LedgerError::DamagedRow {
                    table: "events",
                    ..
                }
            ),
            "{error}"
        );
    }
    assert_eq!(ledger.event_frames_blocking(events[2].id).unwrap().len(), 2);
    let documents = ledger.pending_documents(10, i64::MAX).await.unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].write.order_key, "k2");
    let cached = ledger
        .cached(CacheKind::Text, "k", Duration::from_secs(60))
        .await;
    assert!(cached.unwrap().is_none());
}

#[tokio::test]
async fn damage_that_is_met_at_work_is_known_and_mended_at_the_next_start() {
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    for number in 0..200 {
        accept(&ledger, &number.to_string()).await;
    }
    assert!(!ledger.is_corrupt());
    schema::truncate_wal(&directory.path().join(DATABASE)).unwrap();
    let database = directory.path().join(DATABASE);
    let pages = fs::metadata(&database).unwrap().len() / 4096;
    let mut file = File::options().write(true).open(&database).unwrap();
    file.seek(SeekFrom::Start(4096 * 3)).unwrap();
    file.write_all(&vec![0xff; 4096 * (pages as usize - 3)])
        .unwrap();
    // Another connection's change makes SQLite forget the pages it has in memory.
    drop(
        Connection::open(&database)
            .unwrap()
            .pragma_update(None, "user_version", 1),
    );
    let mut failed = false;
    for id in 1..=200 {
        failed |= ledger.load(JobId(id)).await.is_err();
    }
    assert!(failed && ledger.is_corrupt());
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert!(ledger.salvaged().is_some());
}
