//! A damaged database: set aside, and all of it that can be read put into a new one (ADR 0016).
//!
//! Nothing is read from the damaged files themselves but bytes. A copy gets the pages of the write-ahead
//! log, and what is known of any of our databases: its header and its tables' definitions. Rows are read
//! from the copy table by table: forwards up to what cannot be read, backwards up to it, and what lies
//! between one by one.

mod copy;
mod rows;

use std::error::Error as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::wal::{PAGE_BYTES, Wal};
use super::{LedgerError, blobs, io_error, schema};
use crate::observe::metrics::LEDGER_LOST_JOBS;
use crate::storage::StorageFault;

/// What comes behind the name of a database that was set aside, before the time.
const SET_ASIDE: &str = ".damaged-";

/// Disk that the making of the new database's tables takes for a moment, at most.
const TABLES_BYTES: u64 = 1 << 20;

/// Databases that may be set aside within one second.
const MAX_NAMES: u32 = 100;

/// What was kept and what was lost of a damaged database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Salvage {
    /// Name of the damaged file, in the data directory.
    pub set_aside: String,
    /// Jobs that were kept.
    pub kept_jobs: u64,
    /// Those of them that have not ended.
    pub unfinished_jobs: u64,
    /// Events that were kept and wait to be published.
    pub pending_events: u64,
    /// Jobs that are lost, at most; `None` when nothing of any could be read.
    pub lost_jobs: Option<u64>,
    /// Other rows that are lost, as far as they are known.
    pub lost_rows: u64,
    /// Tables of which a part could not be read.
    pub unread_tables: Vec<String>,
}

/// Opens a database for the writer, or a new one with what can be read of it.
///
/// # Errors
/// The disk fails, or a later version wrote the database.
pub(super) fn open(
    database: &Path,
    has_no_payloads: bool,
) -> Result<(Connection, Option<Salvage>), LedgerError> {
    complete_replacement(database).map_err(|source| io_error(database, source))?;
    let error = match open_trusted(database, has_no_payloads) {
        Ok(connection) => {
            metrics::gauge!(LEDGER_LOST_JOBS).set(0.0);
            return Ok((connection, None));
        }
        Err(error) if error.is_corruption() => error,
        Err(error) => return Err(error),
    };
    let why = error.source().map(ToString::to_string);
    tracing::error!(why, "the ledger is damaged; what can be read of it is kept");
    let salvage = replace(database).inspect_err(|error| {
        if error.storage_fault() == Some(StorageFault::Full) {
            tracing::error!(
                free_bytes = salvage_bytes(database),
                "there is no room for what can be read of the damaged ledger, and nothing was changed: \
                 free as many bytes on its disk and start again"
            );
        }
    })?;
    tracing::error!(
        set_aside = salvage.set_aside,
        kept_jobs = salvage.kept_jobs,
        unfinished_jobs = salvage.unfinished_jobs,
        pending_events = salvage.pending_events,
        lost_jobs = salvage.lost_jobs,
        lost_rows = salvage.lost_rows,
        unread_tables = salvage.unread_tables.join(" "),
        "a new ledger holds what could be read of the damaged one"
    );
    let lost = salvage.lost_jobs.map_or(-1.0, |lost| lost as f64);
    metrics::gauge!(LEDGER_LOST_JOBS).set(lost);
    Ok((schema::open_writer(database)?, Some(salvage)))
}

/// Names of the databases in a data directory that were set aside, oldest first.
pub(super) fn set_aside(data_dir: &Path) -> Vec<String> {
    let prefix = format!("{}{SET_ASIDE}", super::DATABASE);
    let Ok(entries) = fs::read_dir(data_dir) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut found: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    found.sort();
    found
}

fn open_trusted(database: &Path, has_no_payloads: bool) -> Result<Connection, LedgerError> {
    let distrusted = |why: &str| LedgerError::Corrupt {
        path: database.to_owned(),
        source: schema::corrupt(why.to_owned()),
    };
    let wal = read_wal(database)?;
    // SQLite takes what is shorter than a page for a new database and deletes the log beside it.
    let is_emptied = fs::metadata(database).is_ok_and(|facts| facts.len() < PAGE_BYTES as u64);
    if is_emptied && !(has_no_payloads && wal.is_none()) {
        return Err(distrusted("the file is shorter than a page"));
    }
    if wal.is_some_and(|wal| wal.is_damaged()) {
        return Err(distrusted("the write-ahead log is damaged"));
    }
    schema::open_writer(database)
}

fn read_wal(database: &Path) -> Result<Option<Wal>, LedgerError> {
    let path = beside(database, "-wal");
    Wal::read(&path).map_err(|source| io_error(&path, source))
}

/// Free disk that a salvage takes: a copy of the database with the pages of its log, and the new one.
fn salvage_bytes(database: &Path) -> u64 {
    let files = [database.to_owned(), beside(database, "-wal")];
    let lengths = files.map(|file| fs::metadata(file).map_or(0, |facts| facts.len()));
    2 * lengths.iter().sum::<u64>() + TABLES_BYTES
}

/// Replaces a damaged database by one with what can be read of it.
fn replace(database: &Path) -> Result<Salvage, LedgerError> {
    let (readable, fresh) = (beside(database, ".salvage"), beside(database, ".new"));
    let failed = |source| io_error(database, source);
    remove(&readable).map_err(failed)?;
    remove(&fresh).map_err(failed)?;
    let wal = read_wal(database)?;
    let made = copy::make_readable(database, wal.as_ref(), &readable)
        .and_then(|()| rows::carry_over(&readable, &fresh));
    remove(&readable).map_err(failed)?;
    if made.is_err() {
        // Half of it would only take room.
        remove(&fresh).map_err(failed)?;
    }
    let mut salvage = made?;
    let aside = free_name(database);
    salvage.set_aside = aside
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    File::open(&fresh)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    // Once the damaged database is away, the new one is complete: see `complete_replacement`.
    fs::rename(database, &aside).map_err(failed)?;
    put_in_place(database, &aside).map_err(failed)?;
    Ok(salvage)
}

/// Goes on with a replacement that a kill has interrupted.
fn complete_replacement(database: &Path) -> io::Result<()> {
    if !database.exists() && beside(database, ".new").exists() {
        put_in_place(database, &free_name(database))?;
    }
    Ok(())
}

fn put_in_place(database: &Path, aside: &Path) -> io::Result<()> {
    let wal = beside(database, "-wal");
    if wal.exists() {
        fs::rename(wal, beside(aside, "-wal"))?;
    }
    remove_file(&beside(database, "-shm"))?;
    fs::rename(beside(database, ".new"), database)?;
    blobs::sync_directory(database.parent().unwrap_or(Path::new(".")))
}

/// A name for the damaged database that nothing has yet.
fn free_name(database: &Path) -> PathBuf {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let stamp = format!(
        "{SET_ASIDE}{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    let plain = beside(database, &stamp);
    let numbered = (2..MAX_NAMES).map(|number| beside(database, &format!("{stamp}-{number}")));
    std::iter::once(plain.clone())
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or(plain)
}

/// The file of that name with something behind it.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a database with its log.
fn remove(database: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove_file(&beside(database, suffix))?;
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
