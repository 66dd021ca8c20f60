//! What the daemon must not forget: jobs, attempts, checkpoints, events and document writes.
//!
//! ```text
//! <data_dir>/ledger.lock       one daemon per directory
//! <data_dir>/ledger.sqlite3    the records (write-ahead log, a sync at every commit)
//! <data_dir>/ledger.sqlite3.damaged-<time>   what could not be trusted and was replaced
//! <data_dir>/blobs/ab/ab34…    payloads, named by the SHA-256 of their bytes
//! <data_dir>/uploads/          recordings that are being received
//! ```
//!
//! A function that changes something returns when the change would survive a power cut. An async
//! function runs on tokio's blocking pool and is carried out whole even if its future is dropped;
//! the others block and are for threads outside the runtime.

mod admin;
mod attempts;
mod blobs;
mod cache;
mod checkpoints;
mod digest;
mod documents;
mod error;
mod events;
mod frames;
mod jobs;
mod kept;
mod records;
mod retention;
mod salvage;
mod schema;
mod settlement;
#[cfg(test)]
mod tests;
mod uploads;
mod users;
mod voice_api;
mod wal;
mod writer;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::Connection;

use blobs::{BlobStore, Deposit};
use writer::Writer;

use crate::domain::PrivateBytes;
use crate::domain::timestamp::now_unix_ms;
use crate::fault;
use crate::storage::Storage;

pub use admin::{
    CheckpointSummary, DocumentSummary, EVENT_STATES, EventSummary, JobDetails, JobFilter, JobPage,
    JobSummary, read_details, read_page,
};
pub use attempts::{MAX_CRASHES, MAX_SOFT_FAILURES};
pub use blobs::BlobRef;
pub use cache::{CacheCount, CacheEntry, CacheKind, NewCacheEntry};
pub use error::LedgerError;
pub use kept::{KeptEvent, Tally};
pub use records::{
    Accepted, Audience, CacheLimits, Checkpoint, DocumentOutcome, DocumentWrite, Emission,
    EventRef, Finish, Forgotten, JobId, JobRecord, JobState, LedgerCounts, NewCheckpoint, NewJob,
    OutgoingEvent, PendingDocument, Purged, RepeatWindow, Retention, StageRun, StageStatus,
    UnfinishedJob, UnsettledEvent,
};
pub use salvage::Salvage;
pub use uploads::{ReceivedUpload, Upload};
pub use voice_api::{
    HistoryPage, HistoryRange, JobStatistics, UserStatistics, VoiceFeedback, VoiceTranslationRecord,
};

/// Longest request or event that is kept in the database itself; longer ones bring a recording as base64.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// Name of the database in the data directory.
const DATABASE: &str = "ledger.sqlite3";

/// The ledger of one data directory; clones share it.
///
/// The directory is free for another daemon when the last clone is dropped.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<Store>,
}

struct Store {
    // Dropped in this order: the lock goes last.
    writer: Writer,
    reader: Mutex<Connection>,
    blobs: BlobStore,
    storage: Arc<Storage>,
    /// Set when the file of the database turns out to be damaged.
    is_corrupt: AtomicBool,
    salvage: Option<Salvage>,
    /// Names of the files of damaged databases: looked up when they change, for `/health` must not wait
    /// for the disk.
    set_aside: Mutex<Vec<String>>,
    _lock: File,
}

impl Ledger {
    /// Opens the ledger of `data_dir`, which is created when it is not there. Of a damaged database all
    /// that can be read is kept, see [`salvaged`](Self::salvaged). Jobs whose attempt an earlier process
    /// has begun and not ended count a [crash](JobRecord::crashes).
    ///
    /// # Errors
    /// The directory cannot be used or another daemon uses it; the database is of a later version.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        create_private_directory(data_dir)?;
        let lock = lock(data_dir)?;
        let blobs = BlobStore::open(data_dir.join("blobs"))?;
        uploads::clear(data_dir)?;
        let database = data_dir.join(DATABASE);
        let (connection, salvage) = salvage::open(&database, blobs.is_empty())?;
        let crashed = jobs::count_crashes(&connection)?;
        if crashed > 0 {
            tracing::warn!(jobs = crashed, "jobs were in work when the process ended");
        }
        let reader = Mutex::new(schema::open_reader(&database)?);
        blobs::sync_directory(data_dir).map_err(|source| io_error(data_dir, source))?;
        let writer = Writer::spawn(connection).map_err(|source| io_error(data_dir, source))?;
        Ok(Self {
            store: Arc::new(Store {
                writer,
                reader,
                blobs,
                storage: Arc::new(Storage::new(data_dir.to_owned())),
                is_corrupt: AtomicBool::new(false),
                salvage,
                set_aside: Mutex::new(salvage::set_aside(data_dir)),
                _lock: lock,
            }),
        })
    }

    /// The disk that the ledger is on.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.store.storage
    }

    /// Tells the [storage](Self::storage) of an error that is the disk's fault; true if it is.
    pub fn note_storage(&self, error: &LedgerError) -> bool {
        self.store.note_storage(error)
    }

    /// What was kept and what was lost of a damaged database when this one was opened; `None` when it was
    /// intact.
    pub fn salvaged(&self) -> Option<&Salvage> {
        self.store.salvage.as_ref()
    }

    /// Names of the files of damaged databases that are still there, oldest first, as of the start or the
    /// latest purge.
    pub fn set_aside(&self) -> Vec<String> {
        let names = self.store.set_aside.lock();
        names.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// False when nothing can be written any more, because the thread that writes has panicked.
    pub fn is_running(&self) -> bool {
        self.store.writer.is_running()
    }

    /// True once the file of the database has turned out to be damaged since it was opened: opened again,
    /// all that can be read is kept.
    pub fn is_corrupt(&self) -> bool {
        self.store.is_corrupt.load(Ordering::Relaxed)
    }

    /// Keeps requests; one answer for each, in order. Blocks until they are durable.
    ///
    /// # Errors
    /// The disk or the database fails; then none of the requests was kept.
    pub fn accept_blocking(&self, batch: Vec<NewJob>) -> Result<Vec<Accepted>, LedgerError> {
        self.store.noted(self.store.accept(batch))
    }

    /// Keeps one request.
    ///
    /// # Errors
    /// As [`accept_blocking`](Self::accept_blocking).
    pub async fn accept(&self, job: NewJob) -> Result<Accepted, LedgerError> {
        let answers = self.off_thread(|store| store.accept(vec![job])).await?;
        answers.into_iter().next().ok_or(LedgerError::Stopped)
    }

    /// A job, or `None`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn load(&self, job_id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.off_thread(move |store| {
            let found = store.read(|connection| jobs::load(connection, job_id))?;
            let Some((mut record, request)) = found else {
                return Ok(None);
            };
            if let Some(blob) = request {
                match store.blobs.read(&blob) {
                    Ok(request) => record.request = request.into(),
                    // A job that cannot be read can at least end.
                    Err(error) if error.is_damage() => record.is_damaged = true,
                    Err(error) => return Err(error),
                }
            }
            if record.is_damaged && !record.state.is_finished() {
                tracing::error!(job.id = job_id.0, "a job is not what was accepted");
                count_damage("job", 1);
            }
            Ok(Some(record))
        })
        .await
    }

    /// The job that peers call `public_id`, see [`NewJob::public_id`], or `None`. A large request is
    /// left out: peers ask often.
    ///
    /// # Errors
    /// The database fails.
    pub async fn load_public(&self, public_id: String) -> Result<Option<JobRecord>, LedgerError> {
        self.read(move |connection| jobs::load_public(connection, &public_id))
            .await
    }

    /// The binary frames of a job's request, in order.
    ///
    /// # Errors
    /// A frame is missing or damaged, or the database fails.
    pub async fn frames(&self, job_id: JobId) -> Result<Vec<Bytes>, LedgerError> {
        self.off_thread(move |store| {
            let frames = store.read(|connection| jobs::frames(connection, job_id))?;
            frames.iter().map(|frame| store.blobs.read(frame)).collect()
        })
        .await
    }

    /// Keeps what a stage made; replaces an earlier checkpoint of the same stage and item.
    ///
    /// # Errors
    /// The job is unknown, or the disk or the database fails.
    pub async fn checkpoint(
        &self,
        job_id: JobId,
        checkpoint: NewCheckpoint,
    ) -> Result<(), LedgerError> {
        self.off_thread(move |store| {
            fault::disk("checkpoint")
                .map_err(|source| io_error(store.storage.directory(), source))?;
            let mut deposit = store.blobs.deposit();
            let blob = deposit.put(checkpoint.blob.map(PrivateBytes::into_exposed))?;
            let stored = Checkpoint {
                stage: checkpoint.stage,
                item: checkpoint.item,
                payload: checkpoint.payload,
                blob,
            };
            store.write(move |connection| checkpoints::store(connection, job_id, &stored))
        })
        .await
    }

    /// Everything that stages of a job have left, but for what is damaged: those stages run again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn checkpoints(&self, job_id: JobId) -> Result<Vec<Checkpoint>, LedgerError> {
        let read = self.read(move |connection| checkpoints::load(connection, job_id));
        let (intact, damaged) = read.await?;
        if damaged > 0 {
            tracing::error!(job.id = job_id.0, damaged, "checkpoints are damaged");
            count_damage("checkpoint", damaged);
        }
        Ok(intact)
    }

    /// The bytes of a payload, checked against their hash.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub async fn blob(&self, blob: BlobRef) -> Result<Bytes, LedgerError> {
        self.off_thread(move |store| store.blobs.read(&blob)).await
    }

    /// Stores events, document writes and the job's end in one transaction.
    ///
    /// An event or a write that the job has stored before is not stored again, so a later attempt may
    /// emit all it has.
    ///
    /// # Errors
    /// The job is unknown or has ended, or the disk or the database fails; then nothing was stored.
    pub async fn emit(&self, job_id: JobId, emission: Emission) -> Result<(), LedgerError> {
        self.off_thread(move |store| {
            let mut deposit = store.blobs.deposit();
            let Emission {
                events,
                documents,
                finish,
                stages,
            } = emission;
            let events = events::put(&mut deposit, events)?;
            store.write(move |connection| {
                jobs::require_unfinished(connection, job_id)?;
                events::store(connection, job_id, &events)?;
                documents::store(connection, job_id, &documents)?;
                match finish {
                    Some(finish) => {
                        jobs::finish(connection, job_id, finish, &stages, now_unix_ms())
                    }
                    None => Ok(()),
                }
            })
        })
        .await
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || store.noted(work(&store)))
            .await
            .unwrap_or(Err(LedgerError::Stopped))
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.off_thread(|store| store.write(change)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.off_thread(|store| store.read(query)).await
    }
}

impl Store {
    fn note_storage(&self, error: &LedgerError) -> bool {
        let Some(fault) = error.storage_fault() else {
            return false;
        };
        let place = error.path().unwrap_or(self.storage.directory());
        self.storage.note(fault, place);
        true
    }

    /// Tells the storage of what is the disk's fault, and remembers that the file of the database turned out
    /// to be damaged.
    fn noted<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        result.inspect_err(|error| {
            self.note_storage(error);
            if error.is_corruption() {
                self.is_corrupt.store(true, Ordering::Relaxed);
            }
        })
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.noted(self.writer.write(change))
    }

    fn accept(&self, batch: Vec<NewJob>) -> Result<Vec<Accepted>, LedgerError> {
        let mut deposit = self.blobs.deposit();
        let mut stored = Vec::with_capacity(batch.len());
        for mut job in batch {
            let mut frames = deposit.put_all(job.frames.expose())?;
            for upload in std::mem::take(&mut job.uploads) {
                frames.push(deposit.adopt(upload)?);
            }
            stored.push(jobs::StoredJob {
                request: self.put_request(&mut deposit, &mut job)?,
                frames,
                events: events::put(&mut deposit, std::mem::take(&mut job.events))?,
                job,
            });
        }
        self.write(move |connection| jobs::accept(connection, &stored, now_unix_ms()))
    }

    /// Stores a large request, so that the database reads and writes small rows; what would become no job
    /// leaves nothing on the disk.
    fn put_request(
        &self,
        deposit: &mut Deposit<'_>,
        job: &mut NewJob,
    ) -> Result<Option<BlobRef>, LedgerError> {
        if job.request.expose().len() <= MAX_INLINE_BYTES
            || job.is_surplus
            || self.read(|connection| jobs::is_repeat(connection, job))?
        {
            return Ok(None);
        }
        let request = std::mem::take(&mut job.request).into_exposed();
        deposit.put(Some(request.into()))
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.noted(query(&reader))
    }
}

/// Counts what was found damaged, by what it is.
fn count_damage(what: &'static str, number: u64) {
    metrics::counter!(crate::observe::metrics::LEDGER_DAMAGED, "what" => what).increment(number);
}

/// Creates a directory that only its owner enters: it holds voices and texts.
fn create_private_directory(path: &Path) -> Result<(), LedgerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| io_error(path, source))
}

fn lock(data_dir: &Path) -> Result<File, LedgerError> {
    let path = data_dir.join("ledger.lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| io_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error(&path, source)),
    }
}

fn io_error(path: &Path, source: std::io::Error) -> LedgerError {
    LedgerError::Io {
        path: path.to_owned(),
        source,
    }
}
