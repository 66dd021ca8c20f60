//! Payloads as files that are named by the hash of their bytes.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use rusqlite::Row;

use super::{LedgerError, ReceivedUpload};
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
    /// Writers share it; whoever deletes holds it alone while it decides on a file, so that a payload
    /// that is stored again at that moment stays.
    sweep: RwLock<()>,
    /// Payloads whose rows are not committed yet, with how many callers are about to do so.
    deposited: Mutex<HashMap<String, usize>>,
}

/// Payloads on their way into the ledger: nobody deletes them while this lives, which is to be until the
/// rows that refer to them are committed.
pub(super) struct Deposit<'a> {
    store: &'a BlobStore,
    hashes: Vec<String>,
}

impl Deposit<'_> {
    /// Stores a payload, if there is one, as [`put_all`](Self::put_all) does.
    pub(super) fn put(&mut self, payload: Option<Bytes>) -> Result<Option<BlobRef>, LedgerError> {
        Ok(self.put_all(payload.as_slice())?.pop())
    }

    /// Stores payloads durably; equal bytes are stored once.
    pub(super) fn put_all(&mut self, payloads: &[Bytes]) -> Result<Vec<BlobRef>, LedgerError> {
        let store = self.store;
        let _shared = store.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let mut touched = BTreeSet::new();
        let mut refs = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let blob = BlobRef {
                sha256: sha256_hex(payload),
                size_bytes: payload.len() as u64,
            };
            *store.deposits().entry(blob.sha256.clone()).or_default() += 1;
            self.hashes.push(blob.sha256.clone());
            let path = store.path(&blob);
            let directory = path.parent().unwrap_or(&store.root).to_owned();
            if !holds(&path, payload) {
                store
                    .write(&path, &directory, payload)
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

    /// Makes a payload of a recording that was received, durably, by giving its file the name of its hash.
    pub(super) fn adopt(&mut self, upload: ReceivedUpload) -> Result<BlobRef, LedgerError> {
        let store = self.store;
        let _shared = store.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let (file, blob) = upload.into_parts();
        *store.deposits().entry(blob.sha256.clone()).or_default() += 1;
        self.hashes.push(blob.sha256.clone());
        let path = store.path(&blob);
        let directory = path.parent().unwrap_or(&store.root);
        let adopted = (|| {
            fault::disk("blob")?;
            store.create_shard(directory)?;
            // One that is there already has the same bytes, or is damaged.
            file.persist(&path).map_err(|error| error.error)?;
            sync_directory(directory)
        })();
        adopted.map_err(|source| at(&path, source))?;
        Ok(blob)
    }
}

impl Drop for Deposit<'_> {
    fn drop(&mut self) {
        let mut deposits = self.store.deposits();
        for hash in &self.hashes {
            if let Some(count) = deposits.get_mut(hash) {
                *count -= 1;
                if *count == 0 {
                    deposits.remove(hash);
                }
            }
        }
    }
}

impl BlobStore {
    pub(super) fn open(root: PathBuf) -> Result<Self, LedgerError> {
        fs::create_dir_all(&root).map_err(|source| at(&root, source))?;
        Ok(Self {
            root,
            sweep: RwLock::new(()),
            deposited: Mutex::default(),
        })
    }

    /// Begins to store payloads.
    pub(super) fn deposit(&self) -> Deposit<'_> {
        Deposit {
            store: self,
            hashes: Vec::new(),
        }
    }

    /// True while no payload was ever stored.
    pub(super) fn is_empty(&self) -> bool {
        fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_none())
    }

    fn deposits(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.deposited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, path: &Path, directory: &Path, payload: &[u8]) -> io::Result<()> {
        fault::disk("blob")?;
        self.create_shard(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(payload)?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn create_shard(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(directory)?;
        sync_directory(&self.root)
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

    /// Deletes what `is_referenced` does not know: payloads without a row, and what a killed process has
    /// left half-written.
    pub(super) fn sweep(
        &self,
        is_referenced: impl Fn(&str) -> Result<bool, LedgerError>,
    ) -> Result<u64, LedgerError> {
        let mut deleted = 0;
        for shard in entries(&self.root)? {
            if !shard.is_dir() {
                continue;
            }
            for path in entries(&shard)? {
                deleted += u64::from(self.delete_orphan(&path, &is_referenced)?);
            }
        }
        Ok(deleted)
    }

    /// Deletes a payload at once, unless a row refers to it.
    pub(super) fn delete(
        &self,
        blob: &BlobRef,
        is_referenced: impl Fn(&str) -> Result<bool, LedgerError>,
    ) -> Result<bool, LedgerError> {
        self.delete_orphan(&self.path(blob), &is_referenced)
    }

    fn delete_orphan(
        &self,
        path: &Path,
        is_referenced: &impl Fn(&str) -> Result<bool, LedgerError>,
    ) -> Result<bool, LedgerError> {
        let _alone = self.sweep.write().unwrap_or_else(PoisonError::into_inner);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if self.deposits().contains_key(name) || is_referenced(name)? {
            return Ok(false);
        }
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            // A half-written file has got its name since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(at(path, source)),
        }
    }

    fn path(&self, blob: &BlobRef) -> PathBuf {
        let shard = blob.sha256.get(..2).unwrap_or("");
        self.root.join(shard).join(&blob.sha256)
    }
}

/// True when the payload is there already; a file with other bytes, as a failing disk leaves it, is
/// written again.
fn holds(path: &Path, payload: &[u8]) -> bool {
    let is_as_long = fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.len() == payload.len() as u64);
    is_as_long && fs::read(path).is_ok_and(|found| found == payload)
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
