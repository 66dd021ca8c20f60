//! The database: opening, checking and migrating it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{LedgerError, digest};

/// Step `n` takes a database from `user_version` n to n + 1. Steps are only ever appended.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema/001_jobs_outbox_documents.sql"),
    include_str!("schema/002_users_items_cache_voice_api.sql"),
    include_str!("schema/003_crashes_and_sizes.sql"),
    include_str!("schema/004_settlement.sql"),
    DIGESTS,
    include_str!("schema/006_http_jobs.sql"),
];

/// Adds columns that are filled in by [`digest::fill`], in the same transaction.
pub(super) const DIGESTS: &str = include_str!("schema/005_digests.sql");

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that a connection keeps parsed; there are fewer than that.
const PREPARED_STATEMENTS: usize = 64;

/// Size to which the write-ahead log shrinks when a burst has made it larger.
const WAL_LIMIT_BYTES: i64 = 16 << 20;

/// A `user_version` that no program will ever reach: the number itself is damaged.
const IMPOSSIBLE_VERSION: usize = 1_000;

/// `auto_vacuum` that hands pages back when it is told to.
const INCREMENTAL: i64 = 2;

/// Opens the database for the one writer; creates or migrates it.
///
/// # Errors
/// `Corrupt` when it cannot be trusted.
pub(super) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    prepare_writer(path).map_err(|error| match error {
        LedgerError::Database(source) if LedgerError::is_corruption_code(&source) => {
            LedgerError::Corrupt {
                path: path.to_owned(),
                source,
            }
        }
        other => other,
    })
}

fn prepare_writer(path: &Path) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if !can_shrink(&connection)? {
        // Takes effect on a new file, and on an old one with the next VACUUM.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode only FULL syncs at every commit, and "accepted" means synced.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", WAL_LIMIT_BYTES)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    let version = version(&connection, path)?;
    check(&connection, version)?;
    migrate(&mut connection, version)?;
    if !can_shrink(&connection)?
        && let Err(error) = connection.execute_batch("VACUUM")
    {
        // It needs as much free disk as the database has bytes.
        tracing::warn!(%error, "the ledger cannot give disk space back yet, it is tried at the next start");
    }
    Ok(connection)
}

/// True when the database hands pages back if it is told to.
fn can_shrink(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    Ok(mode == INCREMENTAL)
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

/// Carries the write-ahead log over into the database and makes it empty.
pub(super) fn truncate_wal(path: &Path) -> Result<(), LedgerError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The first column tells whether somebody was in the way: then the next time.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

fn version(connection: &Connection, path: &Path) -> Result<usize, LedgerError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match usize::try_from(version) {
        Ok(found) if found <= MIGRATIONS.len() => Ok(found),
        Ok(found) if found < IMPOSSIBLE_VERSION => Err(LedgerError::NewerSchema {
            path: path.to_owned(),
            found,
            supported: MIGRATIONS.len(),
        }),
        _ => Err(corrupt(format!("the schema version is {version}")).into()),
    }
}

/// Looks at every page, every row's columns and every index, and at the tables' definitions.
fn check(connection: &Connection, version: usize) -> Result<(), LedgerError> {
    let found = structure(connection)?;
    for (name, definition) in structure(&template(version)?)? {
        if found.get(&name) != Some(&definition) {
            return Err(corrupt(format!("{name} is not as it was made")).into());
        }
    }
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(corrupt(verdict).into())
}

/// An empty database of that version in memory.
pub(super) fn template(version: usize) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open_in_memory()?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    run(&mut connection, &MIGRATIONS[..version], 0)?;
    Ok(connection)
}

/// The statements that make each table and index, by what and whose they are.
fn structure(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare("SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .filter(|row| {
            // SQLite's own tables are made by SQLite.
            !row.as_ref()
                .is_ok_and(|(name, _): &(String, String)| name.contains(" sqlite_"))
        })
        .collect()
}

fn migrate(connection: &mut Connection, found: usize) -> Result<(), LedgerError> {
    run(connection, &MIGRATIONS[found..], found)
}

/// Runs steps, each in a transaction with its number.
fn run(connection: &mut Connection, steps: &[&str], found: usize) -> Result<(), LedgerError> {
    for (step, statements) in steps.iter().enumerate() {
        let transaction = connection.transaction()?;
        transaction.execute_batch(statements)?;
        if *statements == DIGESTS {
            digest::fill(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", (found + step + 1) as i64)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A database that SQLite takes and we do not.
pub(super) fn corrupt(why: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(why))
}
