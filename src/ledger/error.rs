//! What can go wrong in the ledger.

use std::path::PathBuf;
use std::sync::Arc;

use super::JobId;

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
    /// No such job.
    #[error("job {0} is not in the ledger")]
    UnknownJob(JobId),
    /// The job has ended; a job ends once.
    #[error("job {0} has already ended")]
    AlreadyFinished(JobId),
    /// The ledger stopped before it answered.
    #[error("the ledger stopped before it answered")]
    Stopped,
}
