//! Payloads as files that are named by the hash of their bytes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rusqlite::Row;

use super::LedgerError;
use crate::domain::digest::sha256_hex;
use crate::fault;
use crate::storage::StorageFault;

/// Names the bytes of one payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRef {
    /// SHA-256 of the bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length of the payload.
    pub size_bytes: u64,
}

/// The directory of payloads: `<root>/ab/abcdef…`.
pub(super) struct BlobStore {
    root: PathBuf,
    /// Writers share it; the sweep holds it alone while it decides on a file, so that a payload
    /// that is stored again at that moment is not deleted.
    sweep: RwLock<()>,
}

impl BlobStore {
    pub(super) fn open(root: PathBuf) -> Result<Self, LedgerError> {
        fs::create_dir_all(&root).map_err(|source| at(&root, source))?;
        Ok(Self {
            root,
            sweep: RwLock::new(()),
        })
    }

    /// Stores payloads durably; equal bytes are stored once.
    pub(super) fn put_all(&self, payloads: &[Bytes]) -> Result<Vec<BlobRef>, LedgerError> {
        let _shared = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let mut touched = BTreeSet::new();
        let mut refs = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let blob = BlobRef {
                sha256: sha256_hex(payload),
                size_bytes: payload.len() as u64,
            };
            let path = self.path(&blob);
            let directory = path.parent().unwrap_or(&self.root).to_owned();
            if !refresh(&path, blob.size_bytes) {
                self.write(&path, &directory, payload)
                    .map_err(|source| at(&path, source))?;
            }
            // Also for a payload that was there: who put it there may not have synced yet.
            touched.insert(directory);
            refs.push(blob);
        }
        for directory in &touched {
            sync_directory(directory).map_err(|source| at(directory, source))?;
        }
        Ok(refs)
    }

    fn write(&self, path: &Path, directory: &Path, payload: &[u8]) -> io::Result<()> {
        fault::disk("blob")?;
        if !directory.is_dir() {
            fs::create_dir_all(directory)?;
            sync_directory(&self.root)?;
        }
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(payload)?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Reads a payload and checks that its bytes are those that were stored.
    pub(super) fn read(&self, blob: &BlobRef) -> Result<Bytes, LedgerError> {
        let path = self.path(blob);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // A sector that cannot be read is one payload's end, not the disk's.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || StorageFault::of(&error) == Some(StorageFault::Failing) =>
            {
                return Err(LedgerError::DamagedBlob { path });
            }
            Err(source) => return Err(at(&path, source)),
        };
        if bytes.len() as u64 != blob.size_bytes || sha256_hex(&bytes) != blob.sha256 {
            return Err(LedgerError::DamagedBlob { path });
        }
        Ok(bytes.into())
    }

    /// Deletes files that are older than `grace` and that `is_referenced` does not know.
    ///
    /// The grace covers payloads whose row is not committed yet, and what a crash left half-written.
    pub(super) fn sweep(
        &self,
        grace: Duration,
        is_referenced: impl Fn(&str) -> Result<bool, LedgerError>,
    ) -> Result<u64, LedgerError> {
        let mut deleted = 0;
        for shard in entries(&self.root)? {
            if !shard.is_dir() {
                continue;
            }
            for path in entries(&shard)? {
                let _alone = self.sweep.write().unwrap_or_else(PoisonError::into_inner);
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or("");
                if age(&path) >= grace && !is_referenced(name)? {
                    fs::remove_file(&path).map_err(|source| at(&path, source))?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }

    fn path(&self, blob: &BlobRef) -> PathBuf {
        let shard = blob.sha256.get(..2).unwrap_or("");
        self.root.join(shard).join(&blob.sha256)
    }
}

/// True when the payload is there already; makes it young again, so that no sweep takes it.
///
/// A file of another length is what a failing disk left: it is written again.
fn refresh(path: &Path, size_bytes: u64) -> bool {
    let Ok(file) = File::options().write(true).open(path) else {
        return false;
    };
    let is_whole = file.metadata().is_ok_and(|found| found.len() == size_bytes);
    is_whole && file.set_modified(SystemTime::now()).is_ok()
}

fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    // A time in the future counts as new.
    modified.map_or(Duration::ZERO, |at| at.elapsed().unwrap_or_default())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        })
        .map_err(|source| at(directory, source))
}

/// Makes a rename or a new entry survive a power cut.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// As [`blob_ref`], for columns that are null where there is no payload.
pub(super) fn optional_blob_ref(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<BlobRef>> {
    let sha256: Option<String> = row.get(column)?;
    sha256.map(|_| blob_ref(row, column)).transpose()
}

/// Reads the columns `sha256, size_bytes` that begin at `column`.
pub(super) fn blob_ref(row: &Row<'_>, column: usize) -> rusqlite::Result<BlobRef> {
    Ok(BlobRef {
        sha256: row.get(column)?,
        size_bytes: row.get::<_, i64>(column + 1)?.unsigned_abs(),
    })
}

fn at(path: &Path, source: io::Error) -> LedgerError {
    LedgerError::Io {
        path: path.to_owned(),
        source,
    }
}
