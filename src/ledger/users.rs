//! Statements on what the ledger holds of one user.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::records::JobId;
use super::{Ledger, LedgerError};
use crate::domain::timestamp::now_unix_ms;

impl Ledger {
    /// The last `limit` jobs of a user of one kind, newest first; those older than one job, where that is
    /// given.
    ///
    /// # Errors
    /// The database fails.
    pub async fn jobs_of_user(
        &self,
        user_id: &str,
        kind: &'static str,
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

    /// Notes a file of speech in the output folder, by its path below it. To be called before the file is
    /// written, so that there is none that nobody knows of.
    ///
    /// # Errors
    /// The database fails.
    pub async fn note_speech_file(&self, user_id: &str, file: &Path) -> Result<(), LedgerError> {
        let (user_id, file) = (user_id.to_owned(), file.display().to_string());
        self.write(move |connection| note_speech_file(connection, &user_id, &file, now_unix_ms()))
            .await
    }

    /// The files of speech that were written for a user, by their paths below the output folder.
    ///
    /// # Errors
    /// The database fails.
    pub async fn speech_files_of_user(&self, user_id: &str) -> Result<Vec<PathBuf>, LedgerError> {
        let user_id = user_id.to_owned();
        self.read(move |connection| speech_files_of_user(connection, &user_id))
            .await
    }

    /// Forgets files of speech that are no longer there.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_speech_files(&self, files: Vec<PathBuf>) -> Result<(), LedgerError> {
        self.write(move |connection| forget_speech_files(connection, &files))
            .await
    }
}

fn jobs_of_user(
    connection: &Connection,
    user_id: &str,
    kind: &str,
    before: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobId>, LedgerError> {
    let before = before.unwrap_or(JobId(i64::MAX));
    let mut statement = connection.prepare_cached(
        "SELECT id FROM jobs
         WHERE user_id = ?1 AND kind = ?2 AND id < ?3
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

fn note_speech_file(
    connection: &Connection,
    user_id: &str,
    file: &str,
    now_ms: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO speech_files (file, user_id, written_at_ms)
             VALUES (?1, ?2, ?3)",
        )?
        .execute(params![file, user_id, now_ms])?;
    Ok(())
}

fn speech_files_of_user(
    connection: &Connection,
    user_id: &str,
) -> Result<Vec<PathBuf>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT file FROM speech_files WHERE user_id = ?1")?;
    let files = statement.query_map([user_id], |row| row.get::<_, String>(0).map(PathBuf::from))?;
    Ok(files.collect::<Result<_, _>>()?)
}

fn forget_speech_files(connection: &Connection, files: &[PathBuf]) -> Result<(), LedgerError> {
    let mut delete = connection.prepare_cached("DELETE FROM speech_files WHERE file = ?1")?;
    for file in files {
        delete.execute([file.display().to_string()])?;
    }
    Ok(())
}

/// Forgets files of speech that were written before a time: whoever keeps them no longer has deleted
/// them.
pub(super) fn forget_older_speech_files(
    connection: &Connection,
    before_ms: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM speech_files WHERE written_at_ms < ?1")?
        .execute([before_ms])?;
    Ok(())
}
