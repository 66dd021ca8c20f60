//! One file from the hub to a partial file, which goes on where an earlier try ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::content::{Digest, Hasher, read_through};
use super::error::{HubError, PullError};
use super::hub::Hub;
use super::install::remove;
use super::retry::{Retries, Stop};
use crate::fault;

/// Bytes after which a request counts as one that got somewhere.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Time in which a connection has to give [`MIN_WINDOW_BYTES`].
const WINDOW: Duration = Duration::from_secs(60);
const MIN_WINDOW_BYTES: u64 = 64 << 10;
const BUFFER_BYTES: usize = 128 << 10;

/// A file to fetch.
pub(super) struct Task {
    pub repository: String,
    pub commit: String,
    /// Path in the repository.
    pub remote: String,
    pub size_bytes: u64,
    pub digest: Digest,
    /// Who announced the digest, for messages.
    pub told: &'static str,
}

/// A folder of partial files, each named by the digest of what it will hold: what is there can belong
/// to that content only.
pub(super) struct Partials<'a> {
    pub folder: &'a Path,
}

impl Partials<'_> {
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.partial", digest.as_str()))
    }

    fn etag_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.etag", digest.as_str()))
    }

    /// Bytes that are here already.
    pub fn length(&self, task: &Task) -> u64 {
        let length = fs::metadata(self.path(&task.digest)).map_or(0, |facts| facts.len());
        if length > task.size_bytes { 0 } else { length }
    }

    /// Removes what is left of a file that has been installed.
    pub fn forget(&self, digest: &Digest) -> io::Result<()> {
        remove(&self.path(digest))?;
        remove(&self.etag_path(digest))
    }
}

/// What a download tells.
pub(super) struct Told<'a> {
    /// Bytes of the file that are here.
    pub position: &'a dyn Fn(u64),
    /// Another try after so long.
    pub retry: &'a dyn Fn(&HubError, Duration),
}

/// Why a try did not end with the whole file.
enum Failure {
    Hub(HubError),
    /// All bytes are here, and they are others.
    Content,
    Final(PullError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        Self::Final(error)
    }
}

/// Fetches a file, as far as it is not here, and checks it; its SHA-256. It is in the partial file then,
/// on the disk.
///
/// # Errors
/// It cannot be had, or is not what was announced.
pub(super) fn fetch(
    hub: &Hub,
    task: &Task,
    partials: &Partials<'_>,
    stop: &Stop<'_>,
    told: &Told<'_>,
) -> Result<String, PullError> {
    let path = partials.path(&task.digest);
    let mut retries = Retries::new(stop);
    let mut may_start_over = true;
    let mut reached = partials.length(task);
    loop {
        stop.check()?;
        match attempt(hub, task, partials, stop, told) {
            Ok(sha256) => return Ok(sha256),
            Err(Failure::Final(error)) => return Err(error),
            // Once, it may be the fault of the way here, or of a partial file that was tampered with.
            Err(Failure::Content) if may_start_over => {
                may_start_over = false;
                remove(&path).map_err(PullError::io(&path))?;
            }
            Err(Failure::Content) => {
                partials
                    .forget(&task.digest)
                    .map_err(PullError::io(&path))?;
                return Err(PullError::Damaged {
                    path: task.remote.clone(),
                    told: task.told,
                });
            }
            Err(Failure::Hub(error)) => {
                if matches!(error, HubError::NoSuchRange) {
                    remove(&path).map_err(PullError::io(&path))?;
                }
                let length = partials.length(task);
                if length > reached.saturating_add(PROGRESS_BYTES) {
                    retries.progressed();
                }
                reached = reached.max(length);
                retries.wait(error, told.retry)?;
            }
        }
    }
}

fn attempt(
    hub: &Hub,
    task: &Task,
    partials: &Partials<'_>,
    stop: &Stop<'_>,
    told: &Told<'_>,
) -> Result<String, Failure> {
    let path = partials.path(&task.digest);
    let mut partial = Partial::open(&path, task).map_err(PullError::io(&path))?;
    (told.position)(partial.length);
    if partial.length < task.size_bytes {
        let etag_path = partials.etag_path(&task.digest);
        let known = fs::read_to_string(&etag_path).ok();
        let download = hub.open(
            &task.repository,
            &task.commit,
            &task.remote,
            partial.length,
            known.as_deref(),
        )?;
        if download.from == 0 {
            partial.restart(task).map_err(PullError::io(&path))?;
            let etag = download.etag.unwrap_or_default();
            // Without one the digest alone tells whether the parts fit together.
            fs::write(&etag_path, etag).map_err(PullError::io(&etag_path))?;
        }
        let announced = download
            .length
            .map(|length| download.from.saturating_add(length));
        if let Some(actual) = announced.filter(|length| *length != task.size_bytes) {
            return Err(Failure::Final(PullError::Length {
                path: task.remote.clone(),
                expected: task.size_bytes,
                actual,
            }));
        }
        receive(download.reader, task, &mut partial, stop, told)?;
    }
    partial.file.sync_all().map_err(PullError::io(&path))?;
    partial.hasher.finish(&task.digest).ok_or(Failure::Content)
}

/// Appends what comes until the file is whole.
fn receive(
    mut reader: impl Read,
    task: &Task,
    partial: &mut Partial,
    stop: &Stop<'_>,
    told: &Told<'_>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut window = (Instant::now(), partial.length);
    loop {
        stop.check()?;
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(HubError::Broken(Box::new(error)).into()),
        };
        let length = partial.length + read as u64;
        if length > task.size_bytes {
            return Err(Failure::Final(PullError::Length {
                path: task.remote.clone(),
                expected: task.size_bytes,
                actual: length,
            }));
        }
        if read == 0 && length < task.size_bytes {
            return Err(Failure::Hub(HubError::Cut {
                expected: task.size_bytes,
                actual: length,
            }));
        }
        if read == 0 {
            return Ok(());
        }
        partial.append(&buffer[..read])?;
        (told.position)(length);
        if window.0.elapsed() > WINDOW {
            if length - window.1 < MIN_WINDOW_BYTES {
                return Err(HubError::Stalled(task.repository.clone()).into());
            }
            window = (Instant::now(), length);
        }
    }
}

/// A partial file, all of whose bytes have been hashed.
struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Hasher,
}

impl Partial {
    fn open(path: &Path, task: &Task) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if file.metadata()?.len() > task.size_bytes {
            file.set_len(0)?;
        }
        let mut hasher = Hasher::new(&task.digest, task.size_bytes);
        read_through(&mut file, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(Self {
            path: path.to_owned(),
            length: file.stream_position()?,
            file,
            hasher,
        })
    }

    fn restart(&mut self, task: &Task) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.hasher = Hasher::new(&task.digest, task.size_bytes);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), PullError> {
        let write = fault::disk("model").and_then(|()| self.file.write_all(bytes));
        write.map_err(PullError::io(&self.path))?;
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }
}
