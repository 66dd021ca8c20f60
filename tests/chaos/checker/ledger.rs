//! The ledger by statements of our own, read while the daemon runs and never written.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::evidence::{EventFacts, StoredEvent, StoredJob, fingerprint};

/// A reader's view of a ledger.
pub struct LedgerView {
    connection: Connection,
}

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Jobs that have not ended.
    pub jobs: u64,
    /// Events that were not published.
    pub events: u64,
    /// Documents that were not written.
    pub documents: u64,
}

impl Unsettled {
    /// True when nothing is.
    pub fn is_none(self) -> bool {
        self.jobs + self.events + self.documents == 0
    }
}

impl LedgerView {
    /// Opens the ledger in a data directory.
    ///
    /// # Errors
    /// There is none yet, or it is no database.
    pub fn open(data_dir: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = data_dir.join("ledger.sqlite3");
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        Ok(Self { connection })
    }

    /// Task ids of everything that was accepted.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn task_ids(&self) -> rusqlite::Result<HashSet<String>> {
        let mut statement = self.connection.prepare_cached("SELECT task_id FROM jobs")?;
        statement.query_map([], |row| row.get(0))?.collect()
    }

    /// How much is left to do.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn unsettled(&self) -> rusqlite::Result<Unsettled> {
        let count = |statement: &str| {
            self.connection
                .query_row(statement, [], |row| row.get::<_, i64>(0))
                .map(|count| count as u64)
        };
        Ok(Unsettled {
            jobs: count("SELECT count(*) FROM jobs WHERE state IN ('accepted', 'running')")?,
            events: count("SELECT count(*) FROM events WHERE state = 'pending'")?,
            documents: count("SELECT count(*) FROM documents WHERE state = 'pending'")?,
        })
    }

    /// Jobs that have not ended.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn unfinished(&self) -> rusqlite::Result<u64> {
        Ok(self.unsettled()?.jobs)
    }

    /// When the first attempt of this life was begun, and when its first job ended, in milliseconds since
    /// 1970, given when the life began.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn first_signs(&self, since_ms: i64) -> rusqlite::Result<(Option<i64>, Option<i64>)> {
        let statement = "SELECT min(CASE WHEN started_at_ms >= ?1 THEN started_at_ms END),
                                min(CASE WHEN finished_at_ms >= ?1 THEN finished_at_ms END)
                         FROM jobs";
        self.connection
            .prepare_cached(statement)?
            .query_row([since_ms], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Milliseconds from the begin of the last attempt to the end, of every job that has ended, by task id.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn turns_ms(&self) -> rusqlite::Result<Vec<(String, u64)>> {
        let mut turns = self.connection.prepare_cached(
            "SELECT task_id, max(finished_at_ms - started_at_ms, 0) FROM jobs
             WHERE finished_at_ms IS NOT NULL AND started_at_ms IS NOT NULL",
        )?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64));
        turns.query_map([], read)?.collect()
    }

    /// Why jobs did not end well, with their numbers.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn failures(&self) -> rusqlite::Result<Vec<String>> {
        let mut failures = self.connection.prepare_cached(
            "SELECT kind, coalesce(reason, state), count(*) FROM jobs
             WHERE state IN ('failed', 'quarantined') GROUP BY 1, 2",
        )?;
        let read = |row: &Row<'_>| {
            let (kind, why, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("{count} {kind}: {why}"))
        };
        failures.query_map([], read)?.collect()
    }

    /// Requests with that text in them, of those that are kept in the database itself.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn requests_with(&self, text: &str) -> rusqlite::Result<u64> {
        let statement = "SELECT count(*) FROM jobs WHERE instr(request, ?1) > 0";
        let count: rusqlite::Result<i64> = self
            .connection
            .query_row(statement, [text], |row| row.get(0));
        count.map(|count| count as u64)
    }

    /// Every job with its events.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn jobs(&self) -> rusqlite::Result<Vec<StoredJob>> {
        let mut jobs = self
            .connection
            .prepare_cached("SELECT id, task_id, state FROM jobs ORDER BY id")?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let jobs: Vec<(i64, String, String)> =
            jobs.query_map([], read)?.collect::<Result<_, _>>()?;
        jobs.into_iter()
            .map(|(id, task_id, state)| {
                Ok(StoredJob {
                    task_id,
                    state,
                    events: self.events(id)?,
                })
            })
            .collect()
    }

    fn events(&self, job_id: i64) -> rusqlite::Result<Vec<StoredEvent>> {
        let mut events = self
            .connection
            .prepare_cached("SELECT id, body FROM events WHERE job_id = ?1 ORDER BY id")?;
        let mut frames = self.connection.prepare_cached(
            "SELECT sha256 FROM event_frames WHERE event_id = ?1 ORDER BY position",
        )?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let events: Vec<(i64, Vec<u8>)> = events
            .query_map([job_id], read)?
            .collect::<Result<_, _>>()?;
        events
            .into_iter()
            .map(|(id, body)| {
                let hashes: Vec<String> = frames
                    .query_map(params![id], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                Ok(StoredEvent {
                    fingerprint: fingerprint(&body, hashes.iter().map(String::as_str)),
                    facts: EventFacts::read(&body),
                })
            })
            .collect()
    }
}
