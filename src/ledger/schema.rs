//! The database: opening, checking and migrating it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::LedgerError;

/// Step `n` takes a database from `user_version` n to n + 1. Steps are only ever appended.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/001_jobs_outbox_documents.sql"),
    include_str!("schema/002_users_items_cache_voice_api.sql"),
    include_str!("schema/003_crashes_and_sizes.sql"),
    include_str!("schema/004_settlement.sql"),
];

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that a connection keeps parsed; there are fewer than that.
const PREPARED_STATEMENTS: usize = 64;

/// Opens the database for the one writer; creates or migrates it.
pub(super) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    prepare_writer(path).map_err(|error| name_corruption(error, path))
}

fn prepare_writer(path: &Path) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Takes effect only on a new file: lets `purge` hand pages back to the file system.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode only FULL syncs at every commit, and "accepted" means synced.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    check(&connection)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens a second, read-only connection.
pub(super) fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    Ok(connection)
}

fn check(connection: &Connection) -> Result<(), rusqlite::Error> {
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(verdict),
    ))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(found..) else {
        return Err(LedgerError::NewerSchema {
            path: path.to_owned(),
            found,
            supported: MIGRATIONS.len(),
        });
    };
    for (step, statements) in missing.iter().enumerate() {
        let transaction = connection.transaction()?;
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", (found + step + 1) as i64)?;
        transaction.commit()?;
    }
    Ok(())
}

fn name_corruption(error: LedgerError, path: &Path) -> LedgerError {
    match error {
        LedgerError::Database(source)
            if matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ) =>
        {
            LedgerError::Corrupt {
                path: path.to_owned(),
                source,
            }
        }
        other => other,
    }
}
