//! Statements on jobs, their frames and their checkpoints.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::{self, StoredEvent};
use super::records::{
    Accepted, Checkpoint, Finish, JobId, JobRecord, JobState, NewJob, UnfinishedJob,
};
use super::{BlobRef, LedgerError};

const COLUMNS: &str = "id, key, kind, lane, task_id, state, attempts, received_at_ms, \
                       finished_at_ms, request, user_id, public_id, reason";

/// A request whose payloads are on disk.
pub(super) struct StoredJob {
    pub(super) job: NewJob,
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
        frames,
        events,
    }: &StoredJob,
    now_ms: i64,
) -> Result<Accepted, LedgerError> {
    let earlier = connection
        .prepare_cached("SELECT id, state FROM jobs WHERE key = ?1")?
        .query_row([&job.key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((job_id, state)) = earlier {
        return Ok(Accepted::Duplicate { job_id, state });
    }
    connection
        .prepare_cached(
            "INSERT INTO jobs (key, kind, lane, task_id, received_at_ms, request, user_id, public_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            job.key,
            job.kind,
            job.lane,
            job.task_id,
            now_ms,
            job.request,
            job.user_id,
            job.public_id
        ])?;
    let job_id = JobId(connection.last_insert_rowid());
    let mut insert = connection.prepare_cached(
        "INSERT INTO job_frames (job_id, position, sha256, size_bytes) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (position, frame) in frames.iter().enumerate() {
        insert.execute(params![
            job_id,
            position as i64,
            frame.sha256,
            frame.size_bytes as i64
        ])?;
    }
    events::store(connection, job_id, events)?;
    Ok(Accepted::New(job_id))
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

pub(super) fn start_attempt(connection: &Connection, job_id: JobId) -> Result<u32, LedgerError> {
    require_unfinished(connection, job_id)?;
    let attempts = connection
        .prepare_cached(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE id = ?1
             RETURNING attempts",
        )?
        .query_row([job_id], |row| row.get(0))?;
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

pub(super) fn finish(
    connection: &Connection,
    job_id: JobId,
    finish: Finish,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let reason = match finish {
        Finish::Failed(reason) => Some(reason),
        Finish::Done | Finish::Quarantined => None,
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
        "SELECT id, lane FROM jobs WHERE state IN ('accepted', 'running') ORDER BY id",
    )?;
    let jobs = statement.query_map([], |row| {
        Ok(UnfinishedJob {
            id: row.get(0)?,
            lane: row.get(1)?,
        })
    })?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

pub(super) fn load(
    connection: &Connection,
    job_id: JobId,
) -> Result<Option<JobRecord>, LedgerError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"))?;
    Ok(statement.query_row([job_id], job).optional()?)
}

/// The job that peers call `public_id`.
pub(super) fn load_public(
    connection: &Connection,
    public_id: &str,
) -> Result<Option<JobRecord>, LedgerError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE public_id = ?1"))?;
    Ok(statement.query_row([public_id], job).optional()?)
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    Ok(JobRecord {
        id: row.get(0)?,
        key: row.get(1)?,
        kind: row.get(2)?,
        lane: row.get(3)?,
        task_id: row.get(4)?,
        state: row.get(5)?,
        attempts: row.get(6)?,
        received_at_ms: row.get(7)?,
        finished_at_ms: row.get(8)?,
        request: row.get(9)?,
        user_id: row.get(10)?,
        public_id: row.get(11)?,
        reason: row.get(12)?,
    })
}

pub(super) fn frames(connection: &Connection, job_id: JobId) -> Result<Vec<BlobRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT sha256, size_bytes FROM job_frames WHERE job_id = ?1 ORDER BY position",
    )?;
    let frames = statement.query_map([job_id], |row| blob_ref(row, 0))?;
    Ok(frames.collect::<Result<_, _>>()?)
}

/// Reads the columns `sha256, size_bytes` that begin at `column`.
pub(super) fn blob_ref(row: &Row<'_>, column: usize) -> rusqlite::Result<BlobRef> {
    Ok(BlobRef {
        sha256: row.get(column)?,
        size_bytes: row.get::<_, i64>(column + 1)?.unsigned_abs(),
    })
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
        let has_blob = row.get::<_, Option<i64>>(4)?.is_some();
        Ok(Checkpoint {
            stage: row.get(0)?,
            item: row.get(1)?,
            payload: row.get(2)?,
            blob: if has_blob {
                Some(blob_ref(row, 3)?)
            } else {
                None
            },
        })
    })?;
    Ok(checkpoints.collect::<Result<_, _>>()?)
}
