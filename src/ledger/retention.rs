//! How the ledger stays small, and how large it is.

use std::fs;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};

use super::records::{Forgotten, LedgerCounts, Purged, Retention};
use super::{Ledger, LedgerError, Store, salvage, schema};
use crate::domain::timestamp::now_unix_ms;

/// Jobs that are deleted in one transaction, so that others do not wait for long.
pub(super) const JOBS_PER_STEP: u32 = 200;

/// True of a job with an event that waits to be published.
pub(super) const IS_UNPUBLISHED: &str =
    "EXISTS (SELECT 1 FROM events WHERE job_id = jobs.id AND events.state = 'pending')";

/// True of a job with a document that waits to be written.
pub(super) const IS_UNWRITTEN: &str =
    "EXISTS (SELECT 1 FROM documents WHERE job_id = jobs.id AND documents.state = 'pending')";

/// Empty pages (4 KiB) that are handed back in one transaction.
const PAGES_PER_STEP: u32 = 2_000;

impl Ledger {
    /// Deletes what is kept of a user: jobs that have ended with everything that belongs to them, cache
    /// entries, history and feedback. Payloads that nothing refers to any more go with the next purge.
    ///
    /// `keep_unpublished` leaves the jobs with events that wait to be published: somebody waits for
    /// them. Documents that wait to be written are deleted, too: nothing of the user is to be kept.
    ///
    /// # Errors
    /// The database fails; then nothing was deleted.
    pub async fn forget_user(
        &self,
        user_id: &str,
        keep_unpublished: bool,
    ) -> Result<Forgotten, LedgerError> {
        let user_id = user_id.to_owned();
        self.write(move |connection| forget_user(connection, &user_id, keep_unpublished))
            .await
    }

    /// Deletes jobs that ended long ago and have nothing left to publish or write, and payloads that
    /// nothing refers to.
    ///
    /// # Errors
    /// The disk or the database fails; what was deleted before stays deleted.
    pub async fn purge(&self, retention: Retention) -> Result<Purged, LedgerError> {
        self.off_thread(move |store| purge(store, retention, now_unix_ms()))
            .await
    }

    /// How much is in the ledger.
    ///
    /// # Errors
    /// The database fails.
    pub async fn counts(&self) -> Result<LedgerCounts, LedgerError> {
        self.read(counts).await
    }
}

fn purge(store: &Store, retention: Retention, now_ms: i64) -> Result<Purged, LedgerError> {
    let mut purged = Purged::default();
    loop {
        let deleted =
            store.write(move |connection| delete_finished(connection, retention, now_ms))?;
        purged.jobs += deleted;
        if deleted < u64::from(JOBS_PER_STEP) {
            break;
        }
    }
    store.write(move |connection| {
        super::cache::trim(connection, retention.cache, now_ms)?;
        super::voice_api::delete_older(connection, now_ms.saturating_sub(retention.history_ms))?;
        match retention.speech_ms {
            Some(age_ms) => {
                super::users::forget_older_speech_files(connection, now_ms.saturating_sub(age_ms))
            }
            None => Ok(()),
        }
    })?;
    purged.blobs = store.blobs.sweep(|sha256| store.is_referenced(sha256))?;
    delete_set_aside(store, retention);
    shrink(store)?;
    Ok(purged)
}

/// Gives what was emptied back to the file system, and ends the write-ahead log.
pub(super) fn shrink(store: &Store) -> Result<(), LedgerError> {
    while store.write(vacuum_step)? {}
    let database = store.storage.directory().join(super::DATABASE);
    store.noted(schema::truncate_wal(&database))
}

/// Hands some empty pages back; true while there are more.
fn vacuum_step(connection: &Connection) -> Result<bool, LedgerError> {
    let empty_pages = || -> rusqlite::Result<i64> {
        connection
            .prepare_cached("PRAGMA freelist_count")?
            .query_row([], |row| row.get(0))
    };
    let before = empty_pages()?;
    let mut vacuum =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_PER_STEP})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    let left = empty_pages()?;
    Ok(0 < left && left < before)
}

/// Deletes damaged databases that were set aside as long ago as a quarantined job is kept: they hold
/// what people said.
fn delete_set_aside(store: &Store, retention: Retention) {
    let age = Duration::from_millis(retention.quarantined_ms.unsigned_abs());
    let directory = store.storage.directory();
    for name in salvage::set_aside(directory) {
        let path = directory.join(name);
        let is_old = fs::metadata(&path)
            .and_then(|facts| facts.modified())
            .is_ok_and(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|past| past > age)
            });
        if is_old && let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, "a damaged database could not be deleted");
        }
    }
    let mut names = store
        .set_aside
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *names = salvage::set_aside(directory);
}

fn delete_finished(
    connection: &Connection,
    retention: Retention,
    now_ms: i64,
) -> Result<u64, LedgerError> {
    let deleted = connection
        .prepare_cached(&format!(
            "DELETE FROM jobs WHERE id IN (
                 SELECT id FROM jobs
                 WHERE finished_at_ms < iif(state = 'quarantined', ?1, ?2)
                   AND NOT {IS_UNPUBLISHED} AND NOT {IS_UNWRITTEN}
                 LIMIT {JOBS_PER_STEP})"
        ))?
        .execute(params![
            now_ms.saturating_sub(retention.quarantined_ms),
            now_ms.saturating_sub(retention.finished_ms)
        ])?;
    Ok(deleted as u64)
}

impl Store {
    /// True when a row refers to the payload of that hash.
    pub(super) fn is_referenced(&self, sha256: &str) -> Result<bool, LedgerError> {
        self.read(|connection| is_referenced(connection, sha256))
    }
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

fn forget_user(
    connection: &Connection,
    user_id: &str,
    keep_unpublished: bool,
) -> Result<Forgotten, LedgerError> {
    const IS_OVER: &str = "user_id = ?1 AND finished_at_ms IS NOT NULL";
    let delete = |statement: &str| -> Result<u64, LedgerError> {
        Ok(connection.prepare_cached(statement)?.execute([user_id])? as u64)
    };
    let jobs = if keep_unpublished {
        delete(&format!(
            "DELETE FROM jobs WHERE {IS_OVER} AND NOT {IS_UNPUBLISHED}"
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

fn counts(connection: &Connection) -> Result<LedgerCounts, LedgerError> {
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
