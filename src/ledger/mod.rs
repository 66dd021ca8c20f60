//! What the daemon must not forget: jobs, attempts, checkpoints, events and document writes.
//!
//! ```text
//! <data_dir>/ledger.lock       one daemon per directory
//! <data_dir>/ledger.sqlite3    the records (write-ahead log, a sync at every commit)
//! <data_dir>/blobs/ab/ab34…    payloads, named by the SHA-256 of their bytes
//! ```
//!
//! A function that changes something returns when the change would survive a power cut. An async
//! function runs on tokio's blocking pool and is carried out whole even if its future is dropped;
//! the others block and are for threads outside the runtime.

mod attempts;
mod blobs;
mod cache;
mod documents;
mod error;
mod events;
mod jobs;
mod records;
mod retention;
mod schema;
mod settlement;
#[cfg(test)]
mod tests;
mod users;
mod voice_api;
mod writer;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;

use blobs::BlobStore;
use writer::Writer;

use crate::domain::PrivateBytes;
use crate::domain::timestamp::now_unix_ms;
use crate::fault;
use crate::storage::Storage;

pub use attempts::{MAX_CRASHES, MAX_SOFT_FAILURES};
pub use blobs::BlobRef;
pub use cache::{CacheEntry, CacheKind, NewCacheEntry};
pub use error::LedgerError;
pub use records::{
    Accepted, CacheLimits, Checkpoint, DocumentOutcome, DocumentWrite, Emission, EventRef, Finish,
    Forgotten, JobId, JobRecord, JobState, LedgerCounts, NewCheckpoint, NewJob, OutgoingEvent,
    PendingDocument, Purged, RepeatWindow, Retention, UnfinishedJob, UnsettledEvent,
};
pub use voice_api::{
    HistoryPage, HistoryRange, JobStatistics, UserStatistics, VoiceFeedback, VoiceTranslationRecord,
};

/// Longest request that is kept in the database itself; longer ones bring a recording as base64.
const MAX_INLINE_REQUEST_BYTES: usize = 64 << 10;

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
    _lock: File,
}

impl Ledger {
    /// Opens the ledger of `data_dir`, which is created when it is not there. Jobs whose attempt an
    /// earlier process has begun and not ended count a [crash](JobRecord::crashes).
    ///
    /// # Errors
    /// The directory cannot be used or another daemon uses it; the database is damaged or of a
    /// later version.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        create_private_directory(data_dir)?;
        let lock = lock(data_dir)?;
        let blobs = BlobStore::open(data_dir.join("blobs"))?;
        let database = data_dir.join("ledger.sqlite3");
        let connection = schema::open_writer(&database)?;
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
                    Err(error @ LedgerError::DamagedBlob { .. }) => {
                        tracing::error!(job.id = job_id.0, %error, "a request is lost");
                    }
                    Err(error) => return Err(error),
                }
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
            let blob = store.put_blob(checkpoint.blob)?;
            let stored = Checkpoint {
                stage: checkpoint.stage,
                item: checkpoint.item,
                payload: checkpoint.payload,
                blob,
            };
            store
                .writer
                .write(move |connection| jobs::checkpoint(connection, job_id, &stored))
        })
        .await
    }

    /// Everything that stages of a job have left.
    ///
    /// # Errors
    /// The database fails.
    pub async fn checkpoints(&self, job_id: JobId) -> Result<Vec<Checkpoint>, LedgerError> {
        self.read(move |connection| jobs::checkpoints(connection, job_id))
            .await
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
            let events = store.put_events(emission.events)?;
            let (documents, finish) = (emission.documents, emission.finish);
            store.writer.write(move |connection| {
                jobs::require_unfinished(connection, job_id)?;
                events::store(connection, job_id, &events)?;
                documents::store(connection, job_id, &documents)?;
                match finish {
                    Some(finish) => jobs::finish(connection, job_id, finish, now_unix_ms()),
                    None => Ok(()),
                }
            })
        })
        .await
    }

    /// Keys of the events that a job has stored, see [`OutgoingEvent::key`].
    ///
    /// # Errors
    /// The database fails.
    pub async fn event_keys(&self, job_id: JobId) -> Result<HashSet<String>, LedgerError> {
        self.read(move |connection| events::keys(connection, job_id))
            .await
    }

    /// The JSON of the event that a job has stored under `key`, or `None`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn event(
        &self,
        job_id: JobId,
        key: &'static str,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read(move |connection| events::body(connection, job_id, key))
            .await
    }

    /// The first events that wait, in the order in which they are to be published.
    ///
    /// # Errors
    /// The database fails.
    pub fn pending_events_blocking(&self, limit: u32) -> Result<Vec<EventRef>, LedgerError> {
        self.store
            .read(|connection| events::pending(connection, limit))
    }

    /// All frames of an event, its JSON first; empty when the event is no longer there.
    ///
    /// # Errors
    /// A frame is missing or damaged, or the database fails.
    pub fn event_frames_blocking(&self, event_id: i64) -> Result<Vec<Bytes>, LedgerError> {
        let stored = self
            .store
            .read(|connection| events::frames(connection, event_id))?;
        let Some((body, blobs)) = stored else {
            return Ok(Vec::new());
        };
        let mut frames = vec![Bytes::from(body)];
        for blob in &blobs {
            frames.push(self.store.blobs.read(blob)?);
        }
        Ok(frames)
    }

    /// Notes that events were published, each with the time in milliseconds since 1970.
    ///
    /// # Errors
    /// The database fails.
    pub fn mark_published_blocking(
        &self,
        published: &[(EventRef, i64)],
    ) -> Result<(), LedgerError> {
        let published = published.to_vec();
        self.store
            .write(move |connection| events::mark_published(connection, &published))
    }

    /// Sets aside an event whose frames cannot be read any more, so that others are published.
    ///
    /// # Errors
    /// The database fails.
    pub fn mark_damaged_blocking(&self, event_id: i64) -> Result<(), LedgerError> {
        self.store
            .write(move |connection| events::mark_damaged(connection, event_id))
    }

    /// Events that were published first at `since_ms` or later and last at `until_ms` or before, in
    /// order. Times are milliseconds since 1970.
    ///
    /// # Errors
    /// The database fails.
    pub fn unsettled_blocking(
        &self,
        since_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<EventRef>, LedgerError> {
        self.store
            .read(|connection| events::unsettled(connection, since_ms, until_ms))
    }

    /// Document writes that may be tried now, oldest first. Of writes with one order key only the
    /// oldest that waits is given.
    ///
    /// # Errors
    /// The database fails.
    pub async fn pending_documents(
        &self,
        limit: u32,
        now_ms: i64,
    ) -> Result<Vec<PendingDocument>, LedgerError> {
        self.read(move |connection| documents::pending(connection, limit, now_ms))
            .await
    }

    /// Notes what became of a try to write a document.
    ///
    /// # Errors
    /// The database fails.
    pub async fn mark_document(
        &self,
        document_id: i64,
        outcome: DocumentOutcome,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| documents::mark(connection, document_id, outcome))
            .await
    }

    /// The cache entry of that key, if it is younger than `max_age`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn cached(
        &self,
        kind: CacheKind,
        key: &str,
        max_age: Duration,
    ) -> Result<Option<CacheEntry>, LedgerError> {
        let key = key.to_owned();
        let max_age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let since_ms = now_unix_ms().saturating_sub(max_age_ms);
        self.read(move |connection| cache::load(connection, kind, &key, since_ms))
            .await
    }

    /// Keeps a result that may be given out again; replaces an earlier one of the same key.
    ///
    /// # Errors
    /// The disk or the database fails.
    pub async fn cache(&self, mut entry: NewCacheEntry) -> Result<(), LedgerError> {
        self.off_thread(move |store| {
            let blob = store.put_blob(entry.blob.take())?;
            store.writer.write(move |connection| {
                cache::store(connection, &entry, blob.as_ref(), now_unix_ms())
            })
        })
        .await
    }

    /// Deletes what is kept of a user: jobs that have ended with everything that belongs to them, cache
    /// entries, history and feedback. Payloads that nothing refers to any more go with the next purge.
    ///
    /// `keep_unpublished` leaves the jobs with events that wait to be published: somebody waits for
    /// them.
    ///
    /// # Errors
    /// The database fails; then nothing was deleted.
    pub async fn forget_user(
        &self,
        user_id: &str,
        keep_unpublished: bool,
    ) -> Result<Forgotten, LedgerError> {
        let user_id = user_id.to_owned();
        self.write(move |connection| retention::forget_user(connection, &user_id, keep_unpublished))
            .await
    }

    /// Deletes jobs that ended long ago and have nothing left to publish or write, and payloads that
    /// nothing refers to.
    ///
    /// # Errors
    /// The disk or the database fails; what was deleted before stays deleted.
    pub async fn purge(&self, retention: Retention) -> Result<Purged, LedgerError> {
        self.off_thread(move |store| retention::purge(store, retention, now_unix_ms()))
            .await
    }

    /// How much is in the ledger.
    ///
    /// # Errors
    /// The database fails.
    pub async fn counts(&self) -> Result<LedgerCounts, LedgerError> {
        self.read(retention::counts).await
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
        self.off_thread(|store| store.writer.write(change)).await
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

    fn noted<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        result.inspect_err(|error| {
            self.note_storage(error);
        })
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.noted(self.writer.write(change))
    }

    fn accept(&self, batch: Vec<NewJob>) -> Result<Vec<Accepted>, LedgerError> {
        let mut stored = Vec::with_capacity(batch.len());
        for mut job in batch {
            stored.push(jobs::StoredJob {
                request: self.put_request(&mut job)?,
                frames: self.blobs.put_all(job.frames.expose())?,
                events: self.put_events(std::mem::take(&mut job.events))?,
                job,
            });
        }
        self.writer
            .write(move |connection| jobs::accept(connection, &stored, now_unix_ms()))
    }

    /// Stores a large request, so that the database reads and writes small rows; what would become no job
    /// leaves nothing on the disk.
    fn put_request(&self, job: &mut NewJob) -> Result<Option<BlobRef>, LedgerError> {
        if job.request.expose().len() <= MAX_INLINE_REQUEST_BYTES
            || job.is_surplus
            || self.read(|connection| jobs::is_repeat(connection, job))?
        {
            return Ok(None);
        }
        let request = std::mem::take(&mut job.request).into_exposed();
        Ok(self.blobs.put_all(&[Bytes::from(request)])?.pop())
    }

    fn put_blob(&self, blob: Option<PrivateBytes>) -> Result<Option<BlobRef>, LedgerError> {
        let blob = blob.map(PrivateBytes::into_exposed);
        Ok(self.blobs.put_all(blob.as_slice())?.pop())
    }

    /// Stores the binary frames of events; the events themselves are the caller's to store.
    fn put_events(
        &self,
        events: Vec<OutgoingEvent>,
    ) -> Result<Vec<events::StoredEvent>, LedgerError> {
        let put = |mut event: OutgoingEvent| {
            let frames = std::mem::take(&mut event.frames);
            let frames = self.blobs.put_all(frames.expose())?;
            Ok(events::StoredEvent { event, frames })
        };
        events.into_iter().map(put).collect()
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        query(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
