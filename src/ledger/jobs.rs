//! Statements on jobs and their frames.

use std::cell::Cell;

use bytes::Bytes;
use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::digest;
use super::events::{self, StoredEvent};
use super::frames::{JOB_FRAMES, Payloads};
use super::records::{
    Accepted, Audience, Finish, JobId, JobRecord, JobState, NewJob, StageRun, UnfinishedJob,
};
use super::{BlobRef, LedgerError};

const COLUMNS: &str = "id, key, kind, lane, task_id, state, attempts, received_at_ms, \
                       finished_at_ms, request, user_id, public_id, reason, \
                       started_at_ms, crashes, soft_failures, digest, audience";

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
    let payloads = Payloads::new(request.as_ref(), frames);
    let digest = job_digest(
        &Identity {
            key: &key,
            kind: &job.kind,
            task_id: &job.task_id,
            user_id: job.user_id.as_deref(),
            public_id: job.public_id.as_deref(),
            audience: job.audience,
            received_at_ms: now_ms,
            request: job.request.expose().as_bytes(),
            items: missing.clone(),
        },
        &payloads,
    );
    connection
        .prepare_cached(
            "INSERT INTO jobs (key, kind, lane, task_id, received_at_ms, request, user_id, public_id,
                               size_bytes, memory_bytes, digest, audience)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
            to_integer(job.request.expose().len() as u64 + payloads.size_bytes()),
            to_integer(job.memory_bytes),
            digest,
            job.audience.as_str()
        ])?;
    let job_id = JobId(connection.last_insert_rowid());
    JOB_FRAMES.store(connection, job_id.0, &payloads)?;
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

/// Gives jobs without a digest theirs.
pub(super) fn fill_digests(connection: &Connection) -> Result<(), LedgerError> {
    let ids: Vec<JobId> = connection
        .prepare("SELECT id FROM jobs WHERE digest IS NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut update = connection.prepare("UPDATE jobs SET digest = ?2 WHERE id = ?1")?;
    for job_id in ids {
        if let Some((record, _)) = load_where(connection, "id = ?1", &job_id)? {
            let digest = job_digest(&identity(&record), &JOB_FRAMES.load(connection, job_id.0)?);
            update.execute(params![job_id, digest])?;
        }
    }
    Ok(())
}

/// What tells one job from another and never changes.
struct Identity<'a> {
    key: &'a str,
    kind: &'a str,
    task_id: &'a str,
    user_id: Option<&'a str>,
    public_id: Option<&'a str>,
    audience: Audience,
    received_at_ms: i64,
    /// Empty when it is a payload.
    request: &'a [u8],
    items: Vec<&'a str>,
}

fn identity(record: &JobRecord) -> Identity<'_> {
    Identity {
        key: &record.key,
        kind: &record.kind,
        task_id: &record.task_id,
        user_id: record.user_id.as_deref(),
        public_id: record.public_id.as_deref(),
        audience: record.audience,
        received_at_ms: record.received_at_ms,
        request: record.request.expose(),
        items: record.items.iter().map(String::as_str).collect(),
    }
}

fn job_digest(identity: &Identity<'_>, payloads: &Payloads) -> String {
    let received_at_ms = identity.received_at_ms.to_le_bytes();
    let mut columns = vec![
        identity.key.as_bytes(),
        identity.kind.as_bytes(),
        identity.task_id.as_bytes(),
        identity.user_id.unwrap_or_default().as_bytes(),
        identity.public_id.unwrap_or_default().as_bytes(),
        &received_at_ms,
        identity.request,
    ];
    // Jobs that are older than audiences are the gateway's.
    if identity.audience != Audience::Gateway {
        columns.push(identity.audience.as_str().as_bytes());
    }
    let mut items = identity.items.clone();
    items.sort_unstable();
    columns.extend(items.into_iter().map(str::as_bytes));
    digest::with_payloads(&columns, payloads)
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
    // A state that is none counts as unfinished: the job is to end.
    let is_finished: Option<bool> = connection
        .prepare_cached(
            "SELECT state IN ('done', 'failed', 'quarantined') FROM jobs WHERE id = ?1",
        )?
        .query_row([job_id], |row| row.get(0))
        .optional()?;
    match is_finished {
        None => Err(LedgerError::UnknownJob(job_id)),
        Some(true) => Err(LedgerError::AlreadyFinished(job_id)),
        Some(false) => Ok(()),
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
    // A damaged number must not overflow: the ledger could not be opened.
    let jobs = connection.execute(
        "UPDATE jobs SET state = 'accepted', crashes = min(crashes, 1000000) + 1
         WHERE state = 'running'",
        [],
    )?;
    Ok(jobs)
}

pub(super) fn finish(
    connection: &Connection,
    job_id: JobId,
    finish: Finish,
    stages: &[StageRun],
    now_ms: i64,
) -> Result<(), LedgerError> {
    // Plain data with string keys always has a JSON form.
    let stages = serde_json::to_string(stages).unwrap_or_default();
    let reason = match finish {
        Finish::Failed(reason) | Finish::Quarantined(reason) => Some(reason),
        Finish::Done => None,
    };
    connection
        .prepare_cached(
            "UPDATE jobs SET state = ?2, finished_at_ms = ?3, reason = ?4, stages = ?5 WHERE id = ?1",
        )?
        .execute(params![
            job_id,
            JobState::from(finish).as_str(),
            now_ms,
            reason,
            stages
        ])?;
    Ok(())
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<UnfinishedJob>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, lane, user_id, size_bytes, memory_bytes, crashes FROM jobs
         WHERE state IN ('accepted', 'running') ORDER BY id",
    )?;
    let jobs = statement.query_map([], |row| {
        let columns = Columns::of(row);
        Ok(UnfinishedJob {
            id: columns.get(0),
            // Whatever the row may hold, the job is not to be forgotten.
            lane: columns.get(1),
            user_id: columns.get(2),
            size_bytes: columns.get::<i64>(3).max(0) as u64,
            memory_bytes: columns.get::<i64>(4).max(0) as u64,
            crashes: columns.get(5),
        })
    })?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// A job, and where its request is if it is not in the record.
pub(super) fn load(
    connection: &Connection,
    job_id: JobId,
) -> Result<Option<(JobRecord, Option<BlobRef>)>, LedgerError> {
    let Some((mut record, digest)) = load_where(connection, "id = ?1", &job_id)? else {
        return Ok(None);
    };
    let payloads = JOB_FRAMES.load(connection, job_id.0).or_else(|error| {
        if !error.is_damage() {
            return Err(error);
        }
        record.is_damaged = true;
        Ok(Payloads::default())
    })?;
    let is_intact = digest::is_intact(digest.as_deref(), || {
        job_digest(&identity(&record), &payloads)
    });
    record.is_damaged |= !is_intact;
    let (request, _) = payloads.split();
    Ok(Some((record, request)))
}

/// The job that peers call `public_id`.
pub(super) fn load_public(
    connection: &Connection,
    public_id: &str,
) -> Result<Option<JobRecord>, LedgerError> {
    Ok(load_where(connection, "public_id = ?1", &public_id)?.map(|(record, _)| record))
}

/// A job with the digest that was stored with it.
fn load_where(
    connection: &Connection,
    condition: &str,
    value: &dyn ToSql,
) -> Result<Option<(JobRecord, Option<String>)>, LedgerError> {
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE {condition}"))?
        .query_row([value], |row| Ok(job(row)))
        .optional()?;
    let Some((mut record, digest)) = found else {
        return Ok(None);
    };
    let mut statement =
        connection.prepare_cached("SELECT item FROM job_items WHERE job_id = ?1")?;
    let items = statement.query_map([record.id], |row| Ok(row.get(0).unwrap_or_default()))?;
    record.items = items.collect::<Result<_, _>>()?;
    Ok(Some((record, digest)))
}

/// A row that may hold anything.
struct Columns<'row> {
    row: &'row Row<'row>,
    /// True once a column did not hold what it is for.
    is_damaged: Cell<bool>,
}

impl<'row> Columns<'row> {
    fn of(row: &'row Row<'row>) -> Self {
        Self {
            row,
            is_damaged: Cell::new(false),
        }
    }

    fn get<T: FromSql + Default>(&self, column: usize) -> T {
        self.row.get(column).unwrap_or_else(|_| {
            self.is_damaged.set(true);
            T::default()
        })
    }

    /// The bytes of a text, whether or not they are one.
    fn bytes(&self, column: usize) -> Bytes {
        match self.row.get_ref(column) {
            Ok(ValueRef::Text(bytes)) => Bytes::copy_from_slice(bytes),
            _ => {
                self.is_damaged.set(true);
                Bytes::new()
            }
        }
    }
}

/// Reads a job whatever its row holds: one that cannot be done must at least be able to end.
fn job(row: &Row<'_>) -> (JobRecord, Option<String>) {
    let columns = Columns::of(row);
    let finished_at_ms: Option<i64> = columns.get(8);
    let state = columns.get::<Option<JobState>>(5).unwrap_or_else(|| {
        columns.is_damaged.set(true);
        match finished_at_ms {
            Some(_) => JobState::Failed,
            None => JobState::Running,
        }
    });
    let mut record = JobRecord {
        items: Vec::new(),
        id: columns.get(0),
        key: columns.get(1),
        kind: columns.get(2),
        lane: columns.get(3),
        task_id: columns.get(4),
        state,
        attempts: columns.get(6),
        received_at_ms: columns.get(7),
        finished_at_ms,
        request: columns.bytes(9).into(),
        user_id: columns.get(10),
        public_id: columns.get(11),
        audience: columns.get(17),
        reason: columns.get(12),
        started_at_ms: columns.get(13),
        crashes: columns.get(14),
        soft_failures: columns.get(15),
        is_damaged: false,
    };
    let digest = columns.get(16);
    record.is_damaged = columns.is_damaged.get();
    (record, digest)
}

pub(super) fn frames(connection: &Connection, job_id: JobId) -> Result<Vec<BlobRef>, LedgerError> {
    let (_, frames) = JOB_FRAMES.load(connection, job_id.0)?.split();
    Ok(frames)
}
