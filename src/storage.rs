//! Whether the disk takes what must not be lost. While it does not, nothing more is taken in; what was
//! taken in goes on when it does again.
//!
//! A write that fails tells at once. Otherwise [`monitor`] looks at the free space every second, keeps a
//! reserve for what is under way, and finds out when there is space again.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, StatVfsMountFlags};
use rustix::io::Errno;
use tokio::sync::watch;

use crate::fault;
use crate::observe::metrics::{STORAGE_FREE, STORAGE_WRITABLE};

/// How often the disk is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What must fit onto a disk that was full before it counts as free again.
const PROBE_BYTES: u64 = 4 << 20;

/// Share of the reserve that must be free beyond it before intake goes on, so that it does not come and go.
const HYSTERESIS: u64 = 16;

/// Why the disk takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFault {
    /// No space, no quota, or less than the reserve.
    Full,
    /// Mounted read-only, as the system does with a disk that fails.
    ReadOnly,
    /// The device fails.
    Failing,
}

impl StorageFault {
    /// The fault that an error of the file system tells of, if it is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::NOSPC | Errno::DQUOT => Some(Self::Full),
            Errno::ROFS => Some(Self::ReadOnly),
            Errno::IO => Some(Self::Failing),
            _ => None,
        }
    }

    /// The fault's name in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "readonly",
            Self::Failing => "failing",
        }
    }
}

impl fmt::Display for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of the data directory's disk, shared by all who write or ask.
pub struct Storage {
    directory: PathBuf,
    fault: watch::Sender<Option<StorageFault>>,
    /// Where a write has failed, until one succeeds there.
    failed_in: Mutex<Option<PathBuf>>,
}

impl Storage {
    /// Nothing is known to be wrong with it.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            fault: watch::Sender::new(None),
            failed_in: Mutex::default(),
        }
    }

    /// The directory whose disk it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Why nothing is taken in now; `None` while everything is well.
    pub fn fault(&self) -> Option<StorageFault> {
        *self.fault.borrow()
    }

    /// Waits until everything is well.
    pub async fn writable(&self) {
        let mut fault = self.fault.subscribe();
        // The sender is borrowed, so it cannot be gone.
        drop(fault.wait_for(Option::is_none).await);
    }

    /// Notes that a write below `place` has failed.
    pub fn note(&self, fault: StorageFault, place: &Path) {
        // A file that could not be made has a parent, or that has one.
        let directory = place.ancestors().find(|place| place.is_dir());
        *self.lock() = Some(directory.unwrap_or(&self.directory).to_owned());
        self.set(Some(fault));
    }

    /// Looks at the disk. Blocks for a moment.
    pub fn look(&self, min_free_bytes: u64) {
        let mut found = match rustix::fs::statvfs(&self.directory) {
            Ok(disk) => {
                let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
                metrics::gauge!(STORAGE_FREE).set(free_bytes as f64);
                let reserve = match self.fault() {
                    None => min_free_bytes,
                    Some(_) => min_free_bytes.saturating_add(min_free_bytes / HYSTERESIS),
                };
                if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
                    Some(StorageFault::ReadOnly)
                } else {
                    (free_bytes < reserve).then_some(StorageFault::Full)
                }
            }
            Err(error) => StorageFault::of(&error.into()),
        };
        let failed_in = self.lock().clone();
        if found.is_none()
            && let Some(directory) = failed_in
        {
            match probe(&directory) {
                Ok(()) => *self.lock() = None,
                // What is wrong now may be something else: it lasts all the same.
                Err(error) => found = StorageFault::of(&error).or(self.fault()),
            }
        }
        self.set(found);
    }

    fn set(&self, fault: Option<StorageFault>) {
        metrics::gauge!(STORAGE_WRITABLE).set(f64::from(u8::from(fault.is_none())));
        let is_change = self.fault.send_if_modified(|current| {
            let is_change = *current != fault;
            *current = fault;
            is_change
        });
        match fault {
            Some(fault) if is_change => tracing::error!(
                storage = fault.as_str(),
                directory = %self.directory.display(),
                "intake pauses until the disk can be written again"
            ),
            None if is_change => tracing::info!("the disk can be written, intake goes on"),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.failed_in
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the disk again and again; may be dropped anywhere.
pub async fn monitor(storage: Arc<Storage>, min_free_bytes: u64) {
    loop {
        let looked = Arc::clone(&storage);
        let look = tokio::task::spawn_blocking(move || looked.look(min_free_bytes));
        if look.await.is_err() {
            tracing::error!("looking at the disk panicked");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Writes a file without a name, which is gone when it is closed, and makes it durable.
fn probe(directory: &Path) -> io::Result<()> {
    fault::disk("probe")?;
    let mut file = tempfile::tempfile_in(directory)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, PROBE_BYTES) {
        Ok(()) => {}
        // Not every file system can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.write_all(&[0; 4096])?,
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_stays_so_until_a_write_succeeds_where_it_failed() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path().to_owned());
        storage.look(0);
        assert_eq!(storage.fault(), None);
        let below = folder.path().join("not/there/yet");
        storage.note(StorageFault::Full, &below);
        assert_eq!(storage.fault(), Some(StorageFault::Full));
        storage.look(0);
        assert_eq!(storage.fault(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn less_than_the_reserve_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path().to_owned());
        storage.look(u64::MAX);
        assert_eq!(storage.fault(), Some(StorageFault::Full));
        storage.look(1);
        assert_eq!(storage.fault(), None);
    }

    #[test]
    fn only_errors_of_the_disk_are_faults() {
        let of = |errno: Errno| StorageFault::of(&errno.into());
        assert_eq!(of(Errno::NOSPC), Some(StorageFault::Full));
        assert_eq!(of(Errno::DQUOT), Some(StorageFault::Full));
        assert_eq!(of(Errno::ROFS), Some(StorageFault::ReadOnly));
        assert_eq!(of(Errno::IO), Some(StorageFault::Failing));
        assert_eq!(of(Errno::ACCESS), None);
        assert_eq!(StorageFault::of(&io::ErrorKind::Other.into()), None);
    }
}
