//! Statements on what the ledger holds of one user.

use rusqlite::{Connection, params};

use super::records::JobId;
use super::{Ledger, LedgerError};

impl Ledger {
    /// The last `limit` jobs of a user, newest first; those of one kind, and older than one job, where
    /// that is given.
    ///
    /// # Errors
    /// The database fails.
    pub async fn jobs_of_user(
        &self,
        user_id: &str,
        kind: Option<&'static str>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<JobId>, LedgerError> {
        let user_id = user_id.to_owned();
        self.read(move |connection| jobs_of_user(connection, &user_id, kind, before, limit))
            .await
    }

    /// Jobs of a user that have not ended.
    ///
    /// # Errors
    /// The database fails.
    pub async fn unfinished_jobs_of_user(&self, user_id: &str) -> Result<u64, LedgerError> {
        let user_id = user_id.to_owned();
        self.read(move |connection| unfinished_jobs_of_user(connection, &user_id))
            .await
    }

    /// The JSON of every event that a job has stored.
    ///
    /// # Errors
    /// The database fails.
    pub async fn event_bodies(&self, job_id: JobId) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.read(move |connection| event_bodies(connection, job_id))
            .await
    }
}

fn jobs_of_user(
    connection: &Connection,
    user_id: &str,
    kind: Option<&str>,
    before: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobId>, LedgerError> {
    let before = before.unwrap_or(JobId(i64::MAX));
    let mut statement = connection.prepare_cached(
        "SELECT id FROM jobs
         WHERE user_id = ?1 AND (?2 IS NULL OR kind = ?2) AND id < ?3
         ORDER BY id DESC LIMIT ?4",
    )?;
    let jobs = statement.query_map(params![user_id, kind, before, limit], |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

fn unfinished_jobs_of_user(connection: &Connection, user_id: &str) -> Result<u64, LedgerError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM jobs WHERE user_id = ?1 AND state IN ('accepted', 'running')",
        )?
        .query_row([user_id], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn event_bodies(connection: &Connection, job_id: JobId) -> Result<Vec<Vec<u8>>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT body FROM events WHERE job_id = ?1 ORDER BY id")?;
    let bodies = statement.query_map([job_id], |row| row.get(0))?;
    Ok(bodies.collect::<Result<_, _>>()?)
}
