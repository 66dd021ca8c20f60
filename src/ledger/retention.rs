//! How the ledger stays small, and how large it is.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::records::{Forgotten, LedgerCounts, Purged, Retention};
use super::{LedgerError, Store};

/// Jobs that are deleted in one transaction, so that others do not wait for long.
const JOBS_PER_STEP: u64 = 200;

/// A payload is stored before the row that refers to it.
const BLOB_GRACE: Duration = Duration::from_secs(3600);

pub(super) fn purge(
    store: &Store,
    retention: Retention,
    now_ms: i64,
) -> Result<Purged, LedgerError> {
    let mut purged = Purged::default();
    loop {
        let deleted = store
            .writer
            .write(move |connection| delete_finished(connection, retention, now_ms))?;
        purged.jobs += deleted;
        if deleted < JOBS_PER_STEP {
            break;
        }
    }
    store.writer.write(move |connection| {
        super::cache::trim(connection, retention.cache, now_ms)?;
        super::voice_api::delete_older(connection, now_ms.saturating_sub(retention.history_ms))?;
        match retention.speech_ms {
            Some(age_ms) => {
                super::users::forget_older_speech_files(connection, now_ms.saturating_sub(age_ms))
            }
            None => Ok(()),
        }
    })?;
    purged.blobs = store.blobs.sweep(BLOB_GRACE, |sha256| {
        store.read(|connection| is_referenced(connection, sha256))
    })?;
    Ok(purged)
}

fn delete_finished(
    connection: &Connection,
    retention: Retention,
    now_ms: i64,
) -> Result<u64, LedgerError> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM jobs WHERE id IN (
                 SELECT id FROM jobs AS job
                 WHERE finished_at_ms < iif(state = 'quarantined', ?1, ?2)
                   AND NOT EXISTS (SELECT 1 FROM events
                                   WHERE job_id = job.id AND state = 'pending')
                   AND NOT EXISTS (SELECT 1 FROM documents
                                   WHERE job_id = job.id AND state = 'pending')
                 LIMIT ?3)",
        )?
        .execute(params![
            now_ms.saturating_sub(retention.quarantined_ms),
            now_ms.saturating_sub(retention.finished_ms),
            JOBS_PER_STEP as i64
        ])?;
    // Hands the emptied pages back to the file system.
    let mut vacuum = connection.prepare_cached("PRAGMA incremental_vacuum")?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(deleted as u64)
}

fn is_referenced(connection: &Connection, sha256: &str) -> Result<bool, LedgerError> {
    let is_referenced = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM job_frames WHERE sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM checkpoints WHERE sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM event_frames WHERE sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM cache WHERE sha256 = ?1)",
        )?
        .query_row([sha256], |row| row.get(0))?;
    Ok(is_referenced)
}

pub(super) fn forget_user(
    connection: &Connection,
    user_id: &str,
    keep_unpublished: bool,
) -> Result<Forgotten, LedgerError> {
    const IS_OVER: &str = "user_id = ?1 AND finished_at_ms IS NOT NULL";
    const IS_PUBLISHED: &str = "NOT EXISTS (SELECT 1 FROM events
                                            WHERE job_id = jobs.id AND events.state = 'pending')";
    let delete = |statement: &str| -> Result<u64, LedgerError> {
        Ok(connection.prepare_cached(statement)?.execute([user_id])? as u64)
    };
    let jobs = if keep_unpublished {
        delete(&format!(
            "DELETE FROM jobs WHERE {IS_OVER} AND {IS_PUBLISHED}"
        ))?
    } else {
        delete(&format!("DELETE FROM jobs WHERE {IS_OVER}"))?
    };
    let unpublished: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM jobs WHERE {IS_OVER}"))?
        .query_row([user_id], |row| row.get(0))?;
    Ok(Forgotten {
        jobs,
        unpublished: unpublished.unsigned_abs(),
        cached: delete("DELETE FROM cache WHERE user_id = ?1")?,
        history: delete("DELETE FROM voice_translations WHERE user_id = ?1")?
            + delete("DELETE FROM voice_feedback WHERE user_id = ?1")?,
    })
}

pub(super) fn counts(connection: &Connection) -> Result<LedgerCounts, LedgerError> {
    let count = |query: &str| -> Result<u64, LedgerError> {
        let count: i64 = connection
            .prepare_cached(query)?
            .query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    };
    let events = |state: &str| {
        count(&format!(
            "SELECT count(*) FROM events WHERE state = '{state}'"
        ))
    };
    Ok(LedgerCounts {
        accepted: count("SELECT count(*) FROM jobs WHERE state = 'accepted'")?,
        running: count("SELECT count(*) FROM jobs WHERE state = 'running'")?,
        quarantined: count("SELECT count(*) FROM jobs WHERE state = 'quarantined'")?,
        pending_events: events("pending")?,
        published_events: events("published")?,
        settled_events: events("settled")?,
        unconfirmed_events: events("unconfirmed")?,
        pending_documents: count("SELECT count(*) FROM documents WHERE state = 'pending'")?,
    })
}
