//! What operators see of jobs and do with them. Nothing here shows what a job is about: no text, no
//! recording, no request.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::blobs::optional_blob_ref;
use super::records::{Audience, JobId, JobState, Purged, StageRun};
use super::retention::{self, IS_UNPUBLISHED, IS_UNWRITTEN, JOBS_PER_STEP};
use super::{BlobRef, DATABASE, Ledger, LedgerError, Store, schema};

/// Where events stand.
pub const EVENT_STATES: [&str; 5] = ["pending", "published", "settled", "unconfirmed", "damaged"];

/// Which jobs are listed; a filter that is not set lets every job pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Where they stand.
    pub state: Option<JobState>,
    /// Their `type` on the wire.
    pub kind: Option<String>,
    /// Their lane.
    pub lane: Option<String>,
    /// Whose they are.
    pub user_id: Option<String>,
    /// The task id of their events.
    pub task_id: Option<String>,
    /// What peers call it.
    pub public_id: Option<String>,
    /// Where at least one of their events stands, see [`EVENT_STATES`].
    pub event_state: Option<String>,
    /// Only jobs with smaller ids: the next page.
    pub before: Option<JobId>,
    /// Most jobs.
    pub limit: u32,
}

/// Jobs, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins, see [`JobFilter::before`]; `None` for the last page.
    pub next_before: Option<JobId>,
}

/// What is told of a job. Times are milliseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Its id in the ledger.
    pub id: JobId,
    /// The task id of its events.
    pub task_id: String,
    /// What peers call it, where they may ask for it.
    pub public_id: Option<String>,
    /// Its `type` on the wire.
    pub kind: String,
    /// Its lane.
    pub lane: String,
    /// Whose it is.
    pub user_id: Option<String>,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed.
    pub reason: Option<String>,
    /// Attempts that were begun and not taken back.
    pub attempts: i64,
    /// Attempts that the process did not survive.
    pub crashes: i64,
    /// Attempts that failed in a way that may pass.
    pub soft_failures: i64,
    /// When it was accepted.
    pub received_at_ms: i64,
    /// When the latest attempt was begun.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub finished_at_ms: Option<i64>,
    /// Who is told of it.
    pub audience: Audience,
    /// The stages that its last attempt went through, once it has ended.
    pub stages: Vec<StageRun>,
}

/// Everything that is told of one job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobDetails {
    /// The job.
    #[serde(flatten)]
    pub summary: JobSummary,
    /// Length of the request and its recordings.
    pub payload_bytes: u64,
    /// Memory that the work is expected to take.
    pub memory_bytes: u64,
    /// What stages have left.
    pub checkpoints: Vec<CheckpointSummary>,
    /// Events that are stored.
    pub events: Vec<EventSummary>,
    /// Documents that are stored.
    pub documents: Vec<DocumentSummary>,
}

/// A stage that need not run again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CheckpointSummary {
    /// The stage.
    pub stage: String,
    /// The language; empty for a stage that runs once.
    pub item: String,
    /// Length of what it made.
    pub size_bytes: u64,
}

/// An event of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventSummary {
    /// Its name within the job.
    pub key: String,
    /// Where it stands, see [`EVENT_STATES`].
    pub state: String,
    /// How often it was published.
    pub publish_count: i64,
    /// When first.
    pub first_published_at_ms: Option<i64>,
    /// When last.
    pub last_published_at_ms: Option<i64>,
    /// Length with its binary frames.
    pub size_bytes: u64,
}

/// A document of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DocumentSummary {
    /// The collection.
    pub collection: String,
    /// Where it stands: `pending`, `done`, `skipped`.
    pub state: String,
    /// Tries that were made.
    pub attempts: i64,
    /// When the next try may be made; 0 for at once.
    pub next_attempt_at_ms: i64,
}

impl Ledger {
    /// Lists jobs.
    ///
    /// # Errors
    /// The database fails.
    pub async fn jobs(&self, filter: JobFilter) -> Result<JobPage, LedgerError> {
        self.read(move |connection| page(connection, &filter)).await
    }

    /// Everything that may be told of a job; `None` when there is none of that id.
    ///
    /// # Errors
    /// The database fails.
    pub async fn job_details(&self, job_id: JobId) -> Result<Option<JobDetails>, LedgerError> {
        self.read(move |connection| details(connection, job_id))
            .await
    }

    /// Makes a job that failed or was quarantined an accepted one again, as if it had never been tried,
    /// without the events of those keys, which told of its end. Checkpoints stay.
    ///
    /// # Errors
    /// There is no such job, or it is in another state; the database fails.
    pub async fn retry(
        &self,
        job_id: JobId,
        ending_events: &'static [&'static str],
    ) -> Result<(), LedgerError> {
        self.write(move |connection| retry(connection, job_id, ending_events))
            .await
    }

    /// Deletes a job that has ended, with its payloads, checkpoints, events and documents. `force` takes
    /// one, too, whose events are not published or whose documents are not written.
    ///
    /// # Errors
    /// There is no such job, it has not ended, or an event or a document waits; the disk or the database
    /// fails.
    pub async fn purge_job(&self, job_id: JobId, force: bool) -> Result<Purged, LedgerError> {
        self.off_thread(move |store| {
            let payloads = store.write(move |connection| {
                let state = state(connection, job_id)?;
                if !state.is_finished() {
                    return Err(LedgerError::WrongState { job_id, state });
                }
                if !force {
                    require_handed_over(connection, job_id)?;
                }
                delete(connection, job_id)
            })?;
            Ok(Purged {
                jobs: 1,
                blobs: delete_payloads(store, &payloads)?,
                kept: 0,
            })
        })
        .await
    }

    /// Deletes all jobs that ended in that state before a time, as [`purge_job`](Self::purge_job) does;
    /// those that `force` would be needed for stay and are counted.
    ///
    /// # Errors
    /// The disk or the database fails; what was deleted before stays deleted.
    pub async fn purge_jobs(
        &self,
        state: JobState,
        before_ms: i64,
        force: bool,
    ) -> Result<Purged, LedgerError> {
        self.off_thread(move |store| {
            let mut purged = Purged::default();
            let mut after = JobId(0);
            loop {
                let (jobs, payloads) = store.write(move |connection| {
                    let jobs = ended(connection, state, before_ms, force, after)?;
                    let mut payloads = Vec::new();
                    for job_id in &jobs {
                        payloads.extend(delete(connection, *job_id)?);
                    }
                    Ok((jobs, payloads))
                })?;
                purged.jobs += jobs.len() as u64;
                purged.blobs += delete_payloads(store, &payloads)?;
                match jobs.last() {
                    Some(last) => after = *last,
                    None => break,
                }
            }
            retention::shrink(store)?;
            purged.kept = store.read(|connection| count_ended(connection, state, before_ms))?;
            Ok(purged)
        })
        .await
    }
}

/// Reads a page of jobs from the ledger of a data directory, whether or not a daemon works in it.
///
/// # Errors
/// There is no ledger, it is of another version, or the database fails.
pub fn read_page(data_dir: &Path, filter: &JobFilter) -> Result<JobPage, LedgerError> {
    page(&schema::open_reader(&data_dir.join(DATABASE))?, filter)
}

/// Reads one job as [`read_page`] reads many.
///
/// # Errors
/// As [`read_page`].
pub fn read_details(data_dir: &Path, job_id: JobId) -> Result<Option<JobDetails>, LedgerError> {
    details(&schema::open_reader(&data_dir.join(DATABASE))?, job_id)
}

const COLUMNS: &str = "id, task_id, public_id, kind, lane, user_id, state, reason, attempts, \
                       received_at_ms, started_at_ms, finished_at_ms, crashes, soft_failures, \
                       audience, stages";

fn page(connection: &Connection, filter: &JobFilter) -> Result<JobPage, LedgerError> {
    let state = filter.state.map(JobState::as_str);
    let mut conditions = vec!["true"];
    let mut values: Vec<&dyn ToSql> = Vec::new();
    for (condition, value) in [
        ("state = ?", state.as_ref().map(|state| state as &dyn ToSql)),
        ("kind = ?", filter.kind.as_ref().map(|kind| kind as _)),
        ("lane = ?", filter.lane.as_ref().map(|lane| lane as _)),
        ("user_id = ?", filter.user_id.as_ref().map(|id| id as _)),
        ("task_id = ?", filter.task_id.as_ref().map(|id| id as _)),
        ("public_id = ?", filter.public_id.as_ref().map(|id| id as _)),
        (
            "id IN (SELECT job_id FROM events WHERE state = ?)",
            filter.event_state.as_ref().map(|state| state as _),
        ),
        ("id < ?", filter.before.as_ref().map(|id| id as _)),
    ] {
        if let Some(value) = value {
            values.push(value);
            conditions.push(condition);
        }
    }
    let condition = conditions.join(" AND ");
    // One more than asked for tells whether there is a next page.
    let limit = i64::from(filter.limit) + 1;
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM jobs WHERE {condition} ORDER BY id DESC LIMIT {limit}"
    ))?;
    let mut jobs: Vec<JobSummary> = statement
        .query_map(&values[..], |row| Ok(summary(row)))?
        .collect::<Result<_, _>>()?;
    let has_more = jobs.len() > filter.limit as usize;
    jobs.truncate(filter.limit as usize);
    let next_before = jobs.last().filter(|_| has_more).map(|job| job.id);
    Ok(JobPage { jobs, next_before })
}

/// Reads a job whatever its row holds: damaged ones are what operators look for.
fn summary(row: &Row<'_>) -> JobSummary {
    JobSummary {
        id: row.get(0).unwrap_or_default(),
        task_id: row.get(1).unwrap_or_default(),
        public_id: row.get(2).unwrap_or_default(),
        kind: row.get(3).unwrap_or_default(),
        lane: row.get(4).unwrap_or_default(),
        user_id: row.get(5).unwrap_or_default(),
        state: row.get(6).unwrap_or(JobState::Running),
        reason: row.get(7).unwrap_or_default(),
        attempts: row.get(8).unwrap_or_default(),
        received_at_ms: row.get(9).unwrap_or_default(),
        started_at_ms: row.get(10).unwrap_or_default(),
        finished_at_ms: row.get(11).unwrap_or_default(),
        crashes: row.get(12).unwrap_or_default(),
        soft_failures: row.get(13).unwrap_or_default(),
        audience: row.get(14).unwrap_or_default(),
        stages: row
            .get::<_, String>(15)
            .ok()
            .and_then(|stages| serde_json::from_str(&stages).ok())
            .unwrap_or_default(),
    }
}

fn details(connection: &Connection, job_id: JobId) -> Result<Option<JobDetails>, LedgerError> {
    let found = connection
        .prepare(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"))?
        .query_row([job_id], |row| Ok(summary(row)))
        .optional()?;
    let Some(summary) = found else {
        return Ok(None);
    };
    let size = |row: &Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let (payload_bytes, memory_bytes) = connection
        .prepare(
            "SELECT length(CAST(request AS BLOB)) + (SELECT coalesce(sum(size_bytes), 0)
                                                     FROM job_frames WHERE job_id = ?1),
                    memory_bytes
             FROM jobs WHERE id = ?1",
        )?
        .query_row([job_id], |row| Ok((size(row, 0)?, size(row, 1)?)))?;
    let checkpoints = connection
        .prepare(
            "SELECT stage, item, length(payload) + coalesce(size_bytes, 0) FROM checkpoints
             WHERE job_id = ?1 ORDER BY stage, item",
        )?
        .query_map([job_id], |row| {
            Ok(CheckpointSummary {
                stage: row.get(0)?,
                item: row.get(1)?,
                size_bytes: size(row, 2)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let events = connection
        .prepare(
            "SELECT key, state, publish_count, first_published_at_ms, last_published_at_ms,
                    length(body) + (SELECT coalesce(sum(size_bytes), 0) FROM event_frames
                                    WHERE event_id = events.id)
             FROM events WHERE job_id = ?1 ORDER BY id",
        )?
        .query_map([job_id], |row| {
            Ok(EventSummary {
                key: row.get(0)?,
                state: row.get(1)?,
                publish_count: row.get(2)?,
                first_published_at_ms: row.get(3)?,
                last_published_at_ms: row.get(4)?,
                size_bytes: size(row, 5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let documents = connection
        .prepare(
            "SELECT collection, state, attempts, next_attempt_at_ms FROM documents
             WHERE job_id = ?1 ORDER BY id",
        )?
        .query_map([job_id], |row| {
            Ok(DocumentSummary {
                collection: row.get(0)?,
                state: row.get(1)?,
                attempts: row.get(2)?,
                next_attempt_at_ms: row.get(3)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Some(JobDetails {
        summary,
        payload_bytes,
        memory_bytes,
        checkpoints,
        events,
        documents,
    }))
}

fn state(connection: &Connection, job_id: JobId) -> Result<JobState, LedgerError> {
    connection
        .prepare_cached("SELECT state FROM jobs WHERE id = ?1")?
        // A state that is none counts as unfinished, as everywhere.
        .query_row([job_id], |row| Ok(row.get(0).unwrap_or(JobState::Running)))
        .optional()?
        .ok_or(LedgerError::UnknownJob(job_id))
}

fn retry(
    connection: &Connection,
    job_id: JobId,
    ending_events: &[&str],
) -> Result<(), LedgerError> {
    let state = state(connection, job_id)?;
    if !matches!(state, JobState::Failed | JobState::Quarantined) {
        return Err(LedgerError::WrongState { job_id, state });
    }
    connection
        .prepare_cached(
            "UPDATE jobs SET state = 'accepted', attempts = 0, crashes = 0, soft_failures = 0,
                             started_at_ms = NULL, finished_at_ms = NULL, reason = NULL
             WHERE id = ?1",
        )?
        .execute([job_id])?;
    let mut delete =
        connection.prepare_cached("DELETE FROM events WHERE job_id = ?1 AND key = ?2")?;
    for key in ending_events {
        delete.execute(params![job_id, key])?;
    }
    Ok(())
}

/// Refuses a job of which something waits to be published or written.
fn require_handed_over(connection: &Connection, job_id: JobId) -> Result<(), LedgerError> {
    let query = format!("SELECT {IS_UNPUBLISHED}, {IS_UNWRITTEN} FROM jobs WHERE id = ?1");
    let (is_unpublished, is_unwritten) = connection
        .prepare_cached(&query)?
        .query_row([job_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if is_unpublished {
        return Err(LedgerError::Unpublished(job_id));
    }
    if is_unwritten {
        return Err(LedgerError::Unwritten(job_id));
    }
    Ok(())
}

/// The next jobs that ended in that state before a time.
fn ended(
    connection: &Connection,
    state: JobState,
    before_ms: i64,
    force: bool,
    after: JobId,
) -> Result<Vec<JobId>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id FROM jobs
         WHERE state = ?1 AND id > ?2 AND finished_at_ms <= ?3
           AND (?4 OR NOT ({IS_UNPUBLISHED} OR {IS_UNWRITTEN}))
         ORDER BY id LIMIT {JOBS_PER_STEP}"
    ))?;
    let jobs = statement.query_map(params![state.as_str(), after, before_ms, force], |row| {
        row.get(0)
    })?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

fn count_ended(
    connection: &Connection,
    state: JobState,
    before_ms: i64,
) -> Result<u64, LedgerError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM jobs WHERE state = ?1 AND finished_at_ms <= ?2")?
        .query_row(params![state.as_str(), before_ms], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Deletes a job with all that belongs to it; returns its payloads, which are files.
fn delete(connection: &Connection, job_id: JobId) -> Result<Vec<BlobRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT sha256, size_bytes FROM job_frames WHERE job_id = ?1
         UNION SELECT sha256, size_bytes FROM checkpoints WHERE job_id = ?1
         UNION SELECT frame.sha256, frame.size_bytes FROM event_frames AS frame
               JOIN events ON events.id = event_id WHERE job_id = ?1",
    )?;
    let payloads: Vec<Option<BlobRef>> = statement
        .query_map([job_id], |row| optional_blob_ref(row, 0))?
        .collect::<Result<_, _>>()?;
    connection
        .prepare_cached("DELETE FROM jobs WHERE id = ?1")?
        .execute([job_id])?;
    Ok(payloads.into_iter().flatten().collect())
}

/// Deletes payloads that nothing else refers to.
fn delete_payloads(store: &Store, payloads: &[BlobRef]) -> Result<u64, LedgerError> {
    let mut deleted = 0;
    for payload in payloads {
        let is_deleted = store
            .blobs
            .delete(payload, |sha256| store.is_referenced(sha256))?;
        deleted += u64::from(is_deleted);
    }
    Ok(deleted)
}
