//! Recordings that arrive piece by piece: files on the way to becoming payloads.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{BlobRef, Ledger, LedgerError, create_private_directory, io_error};
use crate::domain::digest::hex;
use crate::fault;

/// Name of the folder in the data directory. It is on the disk of the payloads, so that an upload becomes one
/// by getting another name.
const FOLDER: &str = "uploads";

/// A recording that is being received; dropped, it is deleted.
pub struct Upload {
    path: TempPath,
    file: File,
    hasher: Sha256,
    size_bytes: u64,
}

/// A recording that was received and that no job has yet; dropped, it is deleted.
pub struct ReceivedUpload {
    path: TempPath,
    blob: BlobRef,
}

impl Ledger {
    /// Begins to receive a recording.
    ///
    /// # Errors
    /// The disk takes nothing.
    pub async fn begin_upload(&self) -> Result<Upload, LedgerError> {
        self.off_thread(|store| {
            let folder = folder(store.storage.directory());
            let failed = |source| io_error(&folder, source);
            fault::disk("upload").map_err(failed)?;
            let (file, path) = NamedTempFile::new_in(&folder).map_err(failed)?.into_parts();
            Ok(Upload {
                path,
                file: File::from_std(file),
                hasher: Sha256::new(),
                size_bytes: 0,
            })
        })
        .await
    }
}

impl Upload {
    /// Takes the next piece.
    ///
    /// # Errors
    /// The disk takes nothing more.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), LedgerError> {
        let written = self.file.write_all(piece).await;
        written.map_err(|source| io_error(&self.path, source))?;
        self.hasher.update(piece);
        self.size_bytes += piece.len() as u64;
        Ok(())
    }

    /// Bytes that were taken.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Makes what was taken survive a power cut.
    ///
    /// # Errors
    /// The disk takes nothing more.
    pub async fn finish(mut self) -> Result<ReceivedUpload, LedgerError> {
        let failed = |source| io_error(&self.path, source);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_data().await.map_err(failed)?;
        Ok(ReceivedUpload {
            blob: BlobRef {
                sha256: hex(&self.hasher.finalize()),
                size_bytes: self.size_bytes,
            },
            path: self.path,
        })
    }
}

impl ReceivedUpload {
    /// Bytes of the recording.
    pub fn size_bytes(&self) -> u64 {
        self.blob.size_bytes
    }

    pub(super) fn into_parts(self) -> (TempPath, BlobRef) {
        (self.path, self.blob)
    }
}

impl fmt::Debug for ReceivedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<upload of {} bytes>", self.blob.size_bytes)
    }
}

/// Makes the folder anew: what is in it belonged to requests that an earlier process did not survive.
pub(super) fn clear(data_dir: &Path) -> Result<(), LedgerError> {
    let folder = folder(data_dir);
    match std::fs::remove_dir_all(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(io_error(&folder, source)),
    }
    create_private_directory(&folder)
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}
