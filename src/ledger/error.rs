//! What can go wrong in the ledger.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::{JobId, JobState};

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
    /// The ledger stopped before it answered.
    #[error("the ledger stopped before it answered")]
    Stopped,
}

impl LedgerError {
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
            Self::Io { .. } | Self::Commit(_) | Self::Stopped | Self::Corrupt { .. } => true,
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
