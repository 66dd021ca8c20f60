//! Statements on jobs, their frames and their checkpoints.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::blobs::{blob_ref, optional_blob_ref};
use super::events::{self, StoredEvent};
use super::records::{
    Accepted, Checkpoint, Finish, JobId, JobRecord, JobState, NewJob, UnfinishedJob,
};
use super::{BlobRef, LedgerError};

const COLUMNS: &str = "id, key, kind, lane, task_id, state, attempts, received_at_ms, \
                       finished_at_ms, request, user_id, public_id, reason, \
                       started_at_ms, crashes, soft_failures";

/// Where a request that is too large for its row lies among the frames.
const REQUEST_POSITION: i64 = -1;

/// A request whose payloads are on disk.
pub(super) struct StoredJob {
    pub(super) job: NewJob,
    /// Where the request is, if it is not in the job.
    pub(super) request: Option<BlobRef>,
    pub(super) frames: Vec<BlobRef>,
    pub(super) events: Vec<StoredEvent>,
}

pub(super) fn accept(
    connection: &Connection,
    batch: &[StoredJob],
    now_ms: i64,
) -> Result<Vec<Accepted>, LedgerError> {
    batch
        .iter()
        .map(|stored| accept_one(connection, stored, now_ms))
        .collect()
}

fn accept_one(
    connection: &Connection,
    StoredJob {
        job,
        request,
        frames,
        events,
    }: &StoredJob,
    now_ms: i64,
) -> Result<Accepted, LedgerError> {
    let known = known(connection, job)?;
    let is_repeat = known.is_repeat();
    let Known { jobs, missing } = known;
    if job.is_surplus && !is_repeat {
        return Ok(Accepted::Refused);
    }
    for earlier in jobs.iter().filter(|earlier| earlier.state.is_finished()) {
        events::reissue(connection, earlier.id, &earlier.items)?;
    }
    if let Some(earlier) = jobs.first().filter(|_| is_repeat) {
        return Ok(Accepted::Duplicate {
            job_id: earlier.id,
            state: earlier.state,
        });
    }
    // One job has an item of a task, so with its first item the task's key is the job's.
    let key = match missing.first() {
        Some(item) => format!("{}/{item}", job.key),
        None => job.key.clone(),
    };
    let blobs_bytes: u64 = request
        .iter()
        .chain(frames)
        .map(|blob| blob.size_bytes)
        .sum();
    connection
        .prepare_cached(
            "INSERT INTO jobs (key, kind, lane, task_id, received_at_ms, request, user_id, public_id,
                               size_bytes, memory_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            key,
            job.kind,
            job.lane,
            job.task_id,
            now_ms,
            job.request,
            job.user_id,
            job.public_id,
            to_integer(job.request.expose().len() as u64 + blobs_bytes),
            to_integer(job.memory_bytes)
        ])?;
    let job_id = JobId(connection.last_insert_rowid());
    let mut insert = connection.prepare_cached(
        "INSERT INTO job_frames (job_id, position, sha256, size_bytes) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let frames = (0..).zip(frames);
    let request = request.iter().map(|request| (REQUEST_POSITION, request));
    for (position, frame) in request.chain(frames) {
        insert.execute(params![
            job_id,
            position,
            frame.sha256,
            frame.size_bytes as i64
        ])?;
    }
    let mut insert = connection
        .prepare_cached("INSERT INTO job_items (task_key, item, job_id) VALUES (?1, ?2, ?3)")?;
    for item in missing {
        insert.execute(params![job.key, item, job_id])?;
    }
    events::store(connection, job_id, events)?;
    Ok(Accepted::New(job_id))
}

fn to_integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What earlier jobs do of a request.
struct Known<'a> {
    jobs: Vec<EarlierJob<'a>>,
    /// Items that none of them has.
    missing: Vec<&'a str>,
}

impl Known<'_> {
    /// True when nothing is left to be done by a new job.
    fn is_repeat(&self) -> bool {
        !self.jobs.is_empty() && self.missing.is_empty()
    }
}

struct EarlierJob<'a> {
    id: JobId,
    state: JobState,
    /// Those of the request's items that are its own.
    items: Vec<&'a str>,
}

/// True when earlier jobs do all that a request asks for.
pub(super) fn is_repeat(connection: &Connection, job: &NewJob) -> Result<bool, LedgerError> {
    Ok(known(connection, job)?.is_repeat())
}

fn known<'a>(connection: &Connection, job: &'a NewJob) -> Result<Known<'a>, LedgerError> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut known = Known {
        jobs: Vec::new(),
        missing: Vec::new(),
    };
    if job.items.is_empty() {
        let earlier = connection
            .prepare_cached("SELECT id, state FROM jobs WHERE key = ?1")?
            .query_row([&job.key], read)
            .optional()?;
        known.jobs.extend(earlier.map(|(id, state)| EarlierJob {
            id,
            state,
            items: Vec::new(),
        }));
        return Ok(known);
    }
    let mut owner = connection.prepare_cached(
        "SELECT job.id, job.state FROM job_items JOIN jobs AS job ON job.id = job_id
         WHERE task_key = ?1 AND item = ?2",
    )?;
    for item in &job.items {
        let Some((id, state)) = owner.query_row([&job.key, item], read).optional()? else {
            known.missing.push(item);
            continue;
        };
        match known.jobs.iter_mut().find(|job| job.id == id) {
            Some(job) => job.items.push(item),
            None => known.jobs.push(EarlierJob {
                id,
                state,
                items: vec![item],
            }),
        }
    }
    Ok(known)
}

pub(super) fn require_unfinished(
    connection: &Connection,
    job_id: JobId,
) -> Result<(), LedgerError> {
    let state: Option<JobState> = connection
        .prepare_cached("SELECT state FROM jobs WHERE id = ?1")?
        .query_row([job_id], |row| row.get(0))
        .optional()?;
    match state {
        None => Err(LedgerError::UnknownJob(job_id)),
        Some(state) if state.is_finished() => Err(LedgerError::AlreadyFinished(job_id)),
        Some(_) => Ok(()),
    }
}

pub(super) fn start_attempt(
    connection: &Connection,
    job_id: JobId,
    now_ms: i64,
) -> Result<u32, LedgerError> {
    require_unfinished(connection, job_id)?;
    let attempts = connection
        .prepare_cached(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_at_ms = ?2
             WHERE id = ?1 RETURNING attempts",
        )?
        .query_row(params![job_id, now_ms], |row| row.get(0))?;
    Ok(attempts)
}

pub(super) fn release_attempt(connection: &Connection, job_id: JobId) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET state = 'accepted', attempts = attempts - 1
             WHERE id = ?1 AND state = 'running'",
        )?
        .execute([job_id])?;
    Ok(())
}

/// Ends an attempt that failed in a way that may pass; returns how many there were with it.
pub(super) fn count_soft_failure(
    connection: &Connection,
    job_id: JobId,
) -> Result<u32, LedgerError> {
    require_unfinished(connection, job_id)?;
    let failures = connection
        .prepare_cached(
            "UPDATE jobs SET state = 'accepted', soft_failures = soft_failures + 1
             WHERE id = ?1 RETURNING soft_failures",
        )?
        .query_row([job_id], |row| row.get(0))?;
    Ok(failures)
}

/// Counts a crash for every job with an attempt that nobody has ended: no process works on it any
/// more. Returns how many there are.
pub(super) fn count_crashes(connection: &Connection) -> Result<usize, LedgerError> {
    let jobs = connection.execute(
        "UPDATE jobs SET state = 'accepted', crashes = crashes + 1 WHERE state = 'running'",
        [],
    )?;
    Ok(jobs)
}

pub(super) fn finish(
    connection: &Connection,
    job_id: JobId,
    finish: Finish,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let reason = match finish {
        Finish::Failed(reason) | Finish::Quarantined(reason) => Some(reason),
        Finish::Done => None,
    };
    connection
        .prepare_cached(
            "UPDATE jobs SET state = ?2, finished_at_ms = ?3, reason = ?4 WHERE id = ?1",
        )?
        .execute(params![
            job_id,
            JobState::from(finish).as_str(),
            now_ms,
            reason
        ])?;
    Ok(())
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<UnfinishedJob>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, lane, user_id, size_bytes, memory_bytes, crashes FROM jobs
         WHERE state IN ('accepted', 'running') ORDER BY id",
    )?;
    let jobs = statement.query_map([], |row| {
        Ok(UnfinishedJob {
            id: row.get(0)?,
            lane: row.get(1)?,
            user_id: row.get(2)?,
            size_bytes: row.get::<_, i64>(3)?.max(0) as u64,
            memory_bytes: row.get::<_, i64>(4)?.max(0) as u64,
            crashes: row.get(5)?,
        })
    })?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// A job, and where its request is if it is not in the record.
pub(super) fn load(
    connection: &Connection,
    job_id: JobId,
) -> Result<Option<(JobRecord, Option<BlobRef>)>, LedgerError> {
    let Some(record) = load_where(connection, "id = ?1", &job_id)? else {
        return Ok(None);
    };
    let request = connection
        .prepare_cached(
            "SELECT sha256, size_bytes FROM job_frames WHERE job_id = ?1 AND position = ?2",
        )?
        .query_row(params![job_id, REQUEST_POSITION], |row| blob_ref(row, 0))
        .optional()?;
    Ok(Some((record, request)))
}

/// The job that peers call `public_id`.
pub(super) fn load_public(
    connection: &Connection,
    public_id: &str,
) -> Result<Option<JobRecord>, LedgerError> {
    load_where(connection, "public_id = ?1", &public_id)
}

fn load_where(
    connection: &Connection,
    condition: &str,
    value: &dyn ToSql,
) -> Result<Option<JobRecord>, LedgerError> {
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE {condition}"))?
        .query_row([value], job)
        .optional()?;
    let Some(mut record) = found else {
        return Ok(None);
    };
    let mut statement =
        connection.prepare_cached("SELECT item FROM job_items WHERE job_id = ?1")?;
    let items = statement.query_map([record.id], |row| row.get(0))?;
    record.items = items.collect::<Result<_, _>>()?;
    Ok(Some(record))
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    Ok(JobRecord {
        items: Vec::new(),
        id: row.get(0)?,
        key: row.get(1)?,
        kind: row.get(2)?,
        lane: row.get(3)?,
        task_id: row.get(4)?,
        state: row.get(5)?,
        attempts: row.get(6)?,
        received_at_ms: row.get(7)?,
        finished_at_ms: row.get(8)?,
        request: Bytes::from(row.get::<_, String>(9)?).into(),
        user_id: row.get(10)?,
        public_id: row.get(11)?,
        reason: row.get(12)?,
        started_at_ms: row.get(13)?,
        crashes: row.get(14)?,
        soft_failures: row.get(15)?,
    })
}

pub(super) fn frames(connection: &Connection, job_id: JobId) -> Result<Vec<BlobRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT sha256, size_bytes FROM job_frames WHERE job_id = ?1 AND position >= 0
         ORDER BY position",
    )?;
    let frames = statement.query_map([job_id], |row| blob_ref(row, 0))?;
    Ok(frames.collect::<Result<_, _>>()?)
}

pub(super) fn checkpoint(
    connection: &Connection,
    job_id: JobId,
    checkpoint: &Checkpoint,
) -> Result<(), LedgerError> {
    require_unfinished(connection, job_id)?;
    let blob = checkpoint.blob.as_ref();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO checkpoints (job_id, stage, item, payload, sha256, size_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            job_id,
            checkpoint.stage,
            checkpoint.item,
            checkpoint.payload,
            blob.map(|blob| &blob.sha256),
            blob.map(|blob| blob.size_bytes as i64)
        ])?;
    Ok(())
}

pub(super) fn checkpoints(
    connection: &Connection,
    job_id: JobId,
) -> Result<Vec<Checkpoint>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT stage, item, payload, sha256, size_bytes FROM checkpoints WHERE job_id = ?1",
    )?;
    let checkpoints = statement.query_map([job_id], |row| {
        Ok(Checkpoint {
            stage: row.get(0)?,
            item: row.get(1)?,
            payload: row.get(2)?,
            blob: optional_blob_ref(row, 3)?,
        })
    })?;
    Ok(checkpoints.collect::<Result<_, _>>()?)
}
