//! What goes into the ledger and what comes out. Text and bytes of a job are [private](Private).

use std::fmt;

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BlobRef, ReceivedUpload};
use crate::domain::{Private, PrivateBytes, PrivateText};

/// Names a job; later jobs have larger ids.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: ToSql> ToSql for Private<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.expose().to_sql()
    }
}

impl<T: FromSql> FromSql for Private<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        T::column_result(value).map(Self::from)
    }
}

impl ToSql for JobId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for JobId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Durable, not begun.
    #[default]
    Accepted,
    /// An attempt was begun.
    Running,
    /// Ended with its result.
    Done,
    /// Ended with its error event.
    Failed,
    /// Ended because it takes the process down, or fails again and again.
    Quarantined,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Quarantined,
    ];

    /// The state's name in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// True for the states that a job leaves only if an operator wants it.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Quarantined)
    }
}

impl FromSql for JobState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_name(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// Who is told of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The gateway, to which the events of the job are published.
    #[default]
    Gateway,
    /// Whoever asks over HTTP: the events are read in the ledger and never published.
    Http,
}

impl Audience {
    /// The audience's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Http => "http",
        }
    }
}

impl FromSql for Audience {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "gateway" => Ok(Self::Gateway),
            "http" => Ok(Self::Http),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// How one run of a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// It goes on.
    Running,
    /// It ended well.
    Done,
    /// It failed, or was stopped.
    Failed,
}

/// One run of a stage of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageRun {
    /// The stage's name.
    pub stage: String,
    /// The language, for stages that run once for each.
    pub language: Option<String>,
    /// How it stands.
    pub status: StageStatus,
    /// When it began, milliseconds since 1970.
    pub started_at_ms: i64,
    /// How long it took; `None` while it goes on.
    pub duration_ms: Option<u64>,
}

/// A request that was checked and is to be kept.
#[derive(Debug, Default)]
pub struct NewJob {
    /// What makes two requests the same job, or with [`items`](Self::items) the same task.
    pub key: String,
    /// Keys of the events that answer the request part by part; none where it is answered as a whole.
    pub items: Vec<String>,
    /// True: there is no place for a new job, only for a repeat.
    pub is_surplus: bool,
    /// The request's `type` on the wire.
    pub kind: String,
    /// The lane of the scheduler.
    pub lane: String,
    /// The task id of every event of the job.
    pub task_id: String,
    /// The request as JSON text.
    pub request: PrivateText,
    /// The binary frames after the JSON, in order.
    pub frames: Private<Vec<Bytes>>,
    /// More frames, after those: recordings that were received piece by piece.
    pub uploads: Vec<ReceivedUpload>,
    /// Whose job it is: the owner of the voice, or who asks.
    pub user_id: Option<String>,
    /// What peers call the job, where they may ask for it.
    pub public_id: Option<String>,
    /// Who is told of it.
    pub audience: Audience,
    /// Memory that the work is expected to take.
    pub memory_bytes: u64,
    /// Events that are stored with the job: the answer that it was accepted.
    pub events: Vec<OutgoingEvent>,
}

/// What became of a request. What of it earlier jobs have done, which have ended, waits to be published
/// again; what they are doing will be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is a new job and durable, for those items that no earlier job has.
    New(JobId),
    /// It repeats one earlier job or several.
    Duplicate {
        /// The first of them.
        job_id: JobId,
        /// Where that stands.
        state: JobState,
    },
    /// It would be a new job and is [surplus](NewJob::is_surplus): nothing is kept.
    Refused,
}

/// A job as it is stored.
#[derive(Debug, Default, Clone)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// See [`NewJob::key`].
    pub key: String,
    /// See [`NewJob::kind`].
    pub kind: String,
    /// See [`NewJob::lane`].
    pub lane: String,
    /// See [`NewJob::task_id`].
    pub task_id: String,
    /// Where the job stands.
    pub state: JobState,
    /// Attempts that were begun, without those that were stopped in good order.
    pub attempts: u32,
    /// Attempts that the process did not survive.
    pub crashes: u32,
    /// Attempts that failed in a way that may pass.
    pub soft_failures: u32,
    /// When the job was accepted, milliseconds since 1970.
    pub received_at_ms: i64,
    /// When the job ended.
    pub finished_at_ms: Option<i64>,
    /// See [`NewJob::request`].
    pub request: PrivateBytes,
    /// Those of [`NewJob::items`] that this job answers.
    pub items: Vec<String>,
    /// See [`NewJob::user_id`].
    pub user_id: Option<String>,
    /// See [`NewJob::public_id`].
    pub public_id: Option<String>,
    /// See [`NewJob::audience`].
    pub audience: Audience,
    /// See [`Finish::Failed`] and [`Finish::Quarantined`].
    pub reason: Option<String>,
    /// When the latest attempt was begun.
    pub started_at_ms: Option<i64>,
    /// True when the row or the request is not what was accepted: such a job is ended, never done.
    pub is_damaged: bool,
}

/// What a stage of a job made.
#[derive(Debug)]
pub struct NewCheckpoint {
    /// The stage's name.
    pub stage: String,
    /// The language, or empty for a stage that runs once.
    pub item: String,
    /// A small record, as JSON.
    pub payload: Private<Vec<u8>>,
    /// What is too large for the database, as audio.
    pub blob: Option<PrivateBytes>,
}

/// A checkpoint as it is stored; [`Ledger::blob`](super::Ledger::blob) reads the large part.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// See [`NewCheckpoint::stage`].
    pub stage: String,
    /// See [`NewCheckpoint::item`].
    pub item: String,
    /// See [`NewCheckpoint::payload`].
    pub payload: Private<Vec<u8>>,
    /// See [`NewCheckpoint::blob`].
    pub blob: Option<BlobRef>,
}

/// A job that is to be done, as the scheduler needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// The job.
    pub id: JobId,
    /// See [`NewJob::lane`].
    pub lane: String,
    /// See [`NewJob::user_id`].
    pub user_id: Option<String>,
    /// Bytes of the request with its frames.
    pub size_bytes: u64,
    /// See [`NewJob::memory_bytes`].
    pub memory_bytes: u64,
    /// See [`JobRecord::crashes`].
    pub crashes: u32,
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// With its result.
    Done,
    /// With its error event, for this reason.
    Failed(&'static str),
    /// Given up for this reason, with its error event, after [`MAX_CRASHES`](super::MAX_CRASHES) or
    /// [`MAX_SOFT_FAILURES`](super::MAX_SOFT_FAILURES).
    Quarantined(&'static str),
}

impl From<Finish> for JobState {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Done => Self::Done,
            Finish::Failed(_) => Self::Failed,
            Finish::Quarantined(_) => Self::Quarantined,
        }
    }
}

/// An event to be published.
#[derive(Debug, Default)]
pub struct OutgoingEvent {
    /// Names the event within its job, as `transcription_ready` or `audio:fr`.
    pub key: String,
    /// The event's `type` on the wire.
    pub kind: &'static str,
    /// Whether a subscriber that has the event drops a repeat of it.
    pub is_repeatable: bool,
    /// The JSON of frame 0.
    pub body: Private<Vec<u8>>,
    /// The binary frames after it.
    pub frames: Private<Vec<Bytes>>,
}

/// An upsert for the document store, or a deletion.
#[derive(Debug, Clone)]
pub struct DocumentWrite {
    /// Writes with equal keys reach the store in the order in which they were stored here. A job
    /// stores one write per key.
    pub order_key: String,
    /// The collection.
    pub collection: String,
    /// Which document, as JSON text.
    pub filter: String,
    /// What is written, as JSON text; `null` deletes.
    pub document: PrivateText,
}

/// What a job hands over at once: kept as a whole or not at all.
#[derive(Debug, Default)]
pub struct Emission {
    /// Events, in the order in which they are to be published.
    pub events: Vec<OutgoingEvent>,
    /// Upserts.
    pub documents: Vec<DocumentWrite>,
    /// Set when the job ends with it.
    pub finish: Option<Finish>,
    /// The stages that the job went through, when it ends.
    pub stages: Vec<StageRun>,
}

/// Names a stored event; events are published in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventRef {
    /// The event.
    pub id: i64,
    /// The job it belongs to.
    pub job_id: JobId,
    /// How often it was asked for again when this was read.
    pub reissues: i64,
}

/// An event that was published and of which it is not known whether anybody has taken it.
#[derive(Debug, Clone)]
pub struct UnsettledEvent {
    /// The event.
    pub event: EventRef,
    /// See [`OutgoingEvent::kind`].
    pub kind: String,
    /// See [`OutgoingEvent::body`].
    pub body: PrivateBytes,
    /// When its job was accepted, milliseconds since 1970.
    pub received_at_ms: i64,
}

/// When published events are published again, see [`Ledger::due_events_blocking`].
///
/// [`Ledger::due_events_blocking`]: super::Ledger::due_events_blocking
#[derive(Debug, Clone, Copy)]
pub struct RepeatWindow<'a> {
    /// Times after the first publication, in milliseconds, growing.
    pub schedule_ms: &'a [i64],
    /// Time after which nothing is repeated any more.
    pub window_ms: i64,
    /// Only while fewer repeatable events than that were published first since.
    pub max_newer: u32,
}

/// A document write that waits.
#[derive(Debug, Clone)]
pub struct PendingDocument {
    /// Names the write in [`Ledger::mark_document`](super::Ledger::mark_document).
    pub id: i64,
    /// The job it belongs to.
    pub job_id: JobId,
    /// Tries that failed.
    pub attempts: u32,
    /// What is to be written.
    pub write: DocumentWrite,
}

/// What became of a try to write a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// It is in the store.
    Done,
    /// The store will never take it.
    Skipped,
    /// To be tried again.
    RetryAt {
        /// Not before this time, milliseconds since 1970.
        at_ms: i64,
    },
}

/// How long what has ended is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Jobs that are done or failed.
    pub finished_ms: i64,
    /// Jobs that are quarantined.
    pub quarantined_ms: i64,
    /// The voice API's history and feedback.
    pub history_ms: i64,
    /// Files of speech; `None` where they are kept for ever.
    pub speech_ms: Option<i64>,
    /// Results that may be given out again.
    pub cache: CacheLimits,
}

/// How long cache entries live, and how many of each kind.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Age at which an entry is deleted.
    pub max_age_ms: i64,
    /// Entries of each kind; the oldest make room.
    pub max_entries: u64,
}

/// What the ledger has deleted of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Jobs that had ended, with everything that belongs to them.
    pub jobs: u64,
    /// Jobs that have ended too and are still there, since an event of theirs waits to be published.
    pub unpublished: u64,
    /// Cache entries.
    pub cached: u64,
    /// Entries of the history, and feedback.
    pub history: u64,
}

/// What a purge deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Jobs with everything that belongs to them.
    pub jobs: u64,
    /// Payload files.
    pub blobs: u64,
    /// Jobs that an operator wanted deleted and that stay, since something of them waits to be published or
    /// written.
    pub kept: u64,
}

/// How much is in the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Jobs that were not begun.
    pub accepted: u64,
    /// Jobs that were begun.
    pub running: u64,
    /// Jobs that are quarantined.
    pub quarantined: u64,
    /// Events that wait for a subscriber.
    pub pending_events: u64,
    /// Events that were published; nothing more is known of them yet.
    pub published_events: u64,
    /// Events that the gateway is known to have taken, or that are for nobody but who asks for them.
    pub settled_events: u64,
    /// Events that were published often enough and that nobody is known to have taken.
    pub unconfirmed_events: u64,
    /// Upserts that wait for the document store.
    pub pending_documents: u64,
}
