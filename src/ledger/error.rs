//! What can go wrong in the ledger.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};

use super::{JobId, JobState};
use crate::storage::StorageFault;

/// Why the ledger could not do what it was asked. No text of a job is in any of these.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process works in the directory.
    #[error(
        "another daemon uses the data directory {0}; give this one its own (TRANSLATOR_DATA_DIR)"
    )]
    Locked(PathBuf),
    /// The database file is damaged or no database.
    #[error("the ledger {path} is damaged; move it away or restore it from a backup")]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What SQLite found.
        source: rusqlite::Error,
    },
    /// A later version of this program wrote the database.
    #[error("the ledger {path} has schema version {found}, this program knows up to {supported}")]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Version in the file.
        found: usize,
        /// Last version known here.
        supported: usize,
    },
    /// The file system refuses.
    #[error("cannot use {path}")]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database refuses a statement.
    #[error("the ledger's database failed")]
    Database(#[from] rusqlite::Error),
    /// The transaction that held the change could not be made durable: nothing of it was kept.
    #[error("the ledger could not commit")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// The disk takes nothing, there or elsewhere: it is not for want of trying that nothing is kept.
    #[error("{path} cannot be written, the disk is {fault}")]
    Storage {
        /// What was being written.
        path: PathBuf,
        /// What is wrong.
        fault: StorageFault,
    },
    /// A stored payload is gone, or its bytes are not those that were stored.
    #[error("the stored payload {path} is missing or damaged")]
    DamagedBlob {
        /// The payload's file.
        path: PathBuf,
    },
    /// A row of the database does not hold what was stored.
    #[error("row {id} of {table} does not hold what was stored")]
    DamagedRow {
        /// The table.
        table: &'static str,
        /// The row's id.
        id: i64,
    },
    /// No such job.
    #[error("job {0} is not in the ledger")]
    UnknownJob(JobId),
    /// The job has ended; a job ends once.
    #[error("job {0} has already ended")]
    AlreadyFinished(JobId),
    /// The job is in a state in which this cannot be done.
    #[error("job {job_id} is {}", .state.as_str())]
    WrongState {
        /// The job.
        job_id: JobId,
        /// Where it stands.
        state: JobState,
    },
    /// Somebody still waits for an event of the job.
    #[error("an event of job {0} is not published yet")]
    Unpublished(JobId),
    /// The database still lacks a document of the job.
    #[error("a document of job {0} is not written yet")]
    Unwritten(JobId),
    /// The ledger stopped before it answered.
    #[error("the ledger stopped before it answered")]
    Stopped,
}

impl LedgerError {
    /// The fault of the disk that it tells of, if it is one: then the same may succeed later, and nobody
    /// else is to blame.
    pub fn storage_fault(&self) -> Option<StorageFault> {
        match self {
            Self::Storage { fault, .. } => Some(*fault),
            Self::Io { source, .. } => StorageFault::of(source),
            Self::Database(error) => fault_of(error),
            Self::Commit(error) => fault_of(error),
            _ => None,
        }
    }

    /// The same once more, if it tells of a fault of the disk.
    pub fn same_storage_fault(&self) -> Option<Self> {
        let fault = self.storage_fault()?;
        let path = self.path().unwrap_or(Path::new("the ledger")).to_owned();
        Some(Self::Storage { path, fault })
    }

    /// What was being written, where it is known.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Storage { path, .. } | Self::Io { path, .. } => Some(path),
            _ => None,
        }
    }

    /// True when what was stored has changed since: another try finds the same.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::DamagedBlob { .. } | Self::DamagedRow { .. } => true,
            Self::Database(source) => Self::is_content(source),
            _ => false,
        }
    }

    /// True when the reason is the disk, the database file or the machine and not what was to be stored:
    /// the same may succeed later.
    pub fn is_environmental(&self) -> bool {
        match self {
            Self::Database(source) => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::DiskFull
                        | ErrorCode::CannotOpen
                        | ErrorCode::ReadOnly
                        | ErrorCode::PermissionDenied
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::FileLockingProtocolFailed
                        | ErrorCode::OutOfMemory
                        | ErrorCode::NoLargeFileSupport
                        | ErrorCode::OperationInterrupted
                        | ErrorCode::OperationAborted
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                )
            ),
            Self::Storage { .. }
            | Self::Io { .. }
            | Self::Commit(_)
            | Self::Stopped
            | Self::Corrupt { .. } => true,
            _ => false,
        }
    }

    /// True when the file of the database is damaged.
    pub(super) fn is_corruption(&self) -> bool {
        match self {
            Self::Database(source) => Self::is_corruption_code(source),
            Self::Commit(source) => Self::is_corruption_code(source),
            Self::Corrupt { .. } => true,
            _ => false,
        }
    }

    /// True when SQLite cannot trust the file.
    pub(super) fn is_corruption_code(error: &rusqlite::Error) -> bool {
        let code = error.sqlite_error_code();
        matches!(
            code,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }

    /// True for a column that holds something else than it is for.
    pub(super) fn is_content(error: &rusqlite::Error) -> bool {
        use rusqlite::Error;
        matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..)
        )
    }
}

/// A page that cannot be read is not among them: it would pause everything for ever.
fn fault_of(error: &rusqlite::Error) -> Option<StorageFault> {
    const READS: [i32; 3] = [
        ffi::SQLITE_IOERR_READ,
        ffi::SQLITE_IOERR_SHORT_READ,
        ffi::SQLITE_IOERR_CORRUPTFS,
    ];
    if READS.contains(&error.sqlite_error()?.extended_code) {
        return None;
    }
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some(StorageFault::Full),
        ErrorCode::ReadOnly => Some(StorageFault::ReadOnly),
        ErrorCode::SystemIoFailure => Some(StorageFault::Failing),
        _ => None,
    }
}

/// What SQLite would say of an error of the file system.
pub(super) fn sqlite_error(error: &std::io::Error) -> rusqlite::Error {
    let code = match StorageFault::of(error) {
        Some(StorageFault::Full) => ffi::SQLITE_FULL,
        Some(StorageFault::ReadOnly) => ffi::SQLITE_READONLY,
        Some(StorageFault::Failing) | None => ffi::SQLITE_IOERR,
    };
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}
