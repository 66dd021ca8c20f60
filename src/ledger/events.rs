//! Statements on the outbox.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::blobs::Deposit;
use super::frames::{EVENT_FRAMES, Payloads};
use super::records::{EventRef, JobId, OutgoingEvent};
use super::{BlobRef, Ledger, LedgerError, MAX_INLINE_BYTES, Store, count_damage, digest};

/// An event whose payloads are on disk: the binary frames of the event itself are empty.
pub(super) struct StoredEvent {
    pub(super) event: OutgoingEvent,
    /// Where the JSON is, if it is not in the event.
    pub(super) body: Option<BlobRef>,
    pub(super) frames: Vec<BlobRef>,
}

impl Ledger {
    /// Keys of the events that a job has stored, see [`OutgoingEvent::key`].
    ///
    /// # Errors
    /// The database fails.
    pub async fn event_keys(&self, job_id: JobId) -> Result<HashSet<String>, LedgerError> {
        self.read(move |connection| keys(connection, job_id)).await
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
        self.off_thread(move |store| {
            let found = store.read(|connection| find(connection, job_id, key))?;
            let Some(event_id) = found else {
                return Ok(None);
            };
            let stored = store.event(event_id)?;
            Ok(stored.map(|(body, _)| body.into()))
        })
        .await
    }

    /// The first events that wait, in the order in which they are to be published.
    ///
    /// # Errors
    /// The database fails.
    pub fn pending_events_blocking(&self, limit: u32) -> Result<Vec<EventRef>, LedgerError> {
        self.store.read(|connection| pending(connection, limit))
    }

    /// All frames of an event, its JSON first; empty when the event is no longer there.
    ///
    /// # Errors
    /// A frame is missing or damaged, or the database fails.
    pub fn event_frames_blocking(&self, event_id: i64) -> Result<Vec<Bytes>, LedgerError> {
        let Some((body, binary)) = self.store.event(event_id)? else {
            return Ok(Vec::new());
        };
        let mut frames = vec![body];
        for frame in &binary {
            frames.push(self.store.blobs.read(frame)?);
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
            .write(move |connection| mark_published(connection, &published))
    }

    /// Sets aside an event whose frames cannot be read any more, so that others are published.
    ///
    /// # Errors
    /// The database fails.
    pub fn mark_damaged_blocking(&self, event_id: i64) -> Result<(), LedgerError> {
        self.store.mark_event_damaged(event_id)
    }

    /// Events that were published first at `since_ms` or later and last at `until_ms` or before, `limit` at
    /// most: job by job in the order of their acceptance, first those after `after`. Times are milliseconds
    /// since 1970.
    ///
    /// # Errors
    /// The database fails.
    pub fn unsettled_blocking(
        &self,
        since_ms: i64,
        until_ms: i64,
        after: JobId,
        limit: u32,
    ) -> Result<Vec<EventRef>, LedgerError> {
        self.store
            .read(|connection| unsettled(connection, since_ms, until_ms, after, limit))
    }
}

impl Store {
    /// The JSON of an event, and where its binary frames are; `None` when it is no longer there.
    pub(super) fn event(
        &self,
        event_id: i64,
    ) -> Result<Option<(Bytes, Vec<BlobRef>)>, LedgerError> {
        let stored = self.read(|connection| frames(connection, event_id))?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let body = match stored.body {
            Body::Inline(body) => body.into(),
            Body::Blob(blob) => self.blobs.read(&blob)?,
        };
        Ok(Some((body, stored.frames)))
    }

    /// Counts an event that cannot be read any more, and sets it aside.
    pub(super) fn mark_event_damaged(&self, event_id: i64) -> Result<(), LedgerError> {
        count_damage("event", 1);
        self.write(move |connection| mark_damaged(connection, event_id))
    }
}

/// Stores what is too large for the rows of events; the events themselves are the caller's to store.
pub(super) fn put(
    deposit: &mut Deposit<'_>,
    events: Vec<OutgoingEvent>,
) -> Result<Vec<StoredEvent>, LedgerError> {
    let put = |mut event: OutgoingEvent| {
        let body = if event.body.expose().len() > MAX_INLINE_BYTES {
            let body = std::mem::take(&mut event.body).into_exposed();
            deposit.put(Some(body.into()))?
        } else {
            None
        };
        let frames = std::mem::take(&mut event.frames);
        let frames = deposit.put_all(frames.expose())?;
        Ok(StoredEvent {
            event,
            body,
            frames,
        })
    };
    events.into_iter().map(put).collect()
}

pub(super) fn store(
    connection: &Connection,
    job_id: JobId,
    events: &[StoredEvent],
) -> Result<(), LedgerError> {
    let mut insert_event = connection.prepare_cached(
        "INSERT INTO events (job_id, key, kind, repeatable, body, digest, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6,
                 iif((SELECT audience FROM jobs WHERE id = ?1) = 'http', 'settled', 'pending'))
         ON CONFLICT DO NOTHING",
    )?;
    for StoredEvent {
        event,
        body,
        frames,
    } in events
    {
        let payloads = Payloads::new(body.as_ref(), frames);
        let digest = digest::with_payloads(&[event.body.expose()], &payloads);
        let row = params![
            job_id,
            event.key,
            event.kind,
            event.is_repeatable,
            event.body,
            digest
        ];
        if insert_event.execute(row)? == 0 {
            continue;
        }
        EVENT_FRAMES.store(connection, connection.last_insert_rowid(), &payloads)?;
    }
    Ok(())
}

/// Gives events without a digest theirs.
pub(super) fn fill_digests(connection: &Connection) -> Result<(), LedgerError> {
    let ids: Vec<i64> = connection
        .prepare("SELECT id FROM events WHERE digest IS NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut select = connection.prepare("SELECT body FROM events WHERE id = ?1")?;
    let mut update = connection.prepare("UPDATE events SET digest = ?2 WHERE id = ?1")?;
    for event_id in ids {
        let body: Vec<u8> = select.query_row([event_id], |row| row.get(0))?;
        let digest = digest::with_payloads(&[&body], &EVENT_FRAMES.load(connection, event_id)?);
        update.execute(params![event_id, digest])?;
    }
    Ok(())
}

fn keys(connection: &Connection, job_id: JobId) -> Result<HashSet<String>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT key FROM events WHERE job_id = ?1")?;
    let keys = statement.query_map([job_id], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// The event that a job has stored under `key`.
fn find(connection: &Connection, job_id: JobId, key: &str) -> Result<Option<i64>, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT id FROM events WHERE job_id = ?1 AND key = ?2")?
        .query_row(params![job_id, key], |row| row.get(0))
        .optional()?)
}

fn pending(connection: &Connection, limit: u32) -> Result<Vec<EventRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, reissues FROM events WHERE state = 'pending' ORDER BY id LIMIT ?1",
    )?;
    let events = statement.query_map([limit], event_ref)?;
    Ok(events.collect::<Result<_, _>>()?)
}

fn unsettled(
    connection: &Connection,
    since_ms: i64,
    until_ms: i64,
    after: JobId,
    limit: u32,
) -> Result<Vec<EventRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, reissues FROM events
         WHERE state = 'published' AND first_published_at_ms >= ?1 AND last_published_at_ms <= ?2
         ORDER BY job_id <= ?3, job_id, id LIMIT ?4",
    )?;
    let events = statement.query_map(params![since_ms, until_ms, after, limit], event_ref)?;
    Ok(events.collect::<Result<_, _>>()?)
}

pub(super) fn event_ref(row: &Row<'_>) -> rusqlite::Result<EventRef> {
    Ok(EventRef {
        id: row.get(0)?,
        job_id: row.get(1)?,
        reissues: row.get(2)?,
    })
}

/// What an event consists of.
struct StoredFrames {
    body: Body,
    frames: Vec<BlobRef>,
}

/// The JSON of an event, or where it lies.
enum Body {
    Inline(Vec<u8>),
    Blob(BlobRef),
}

fn frames(connection: &Connection, event_id: i64) -> Result<Option<StoredFrames>, LedgerError> {
    let found: Option<(Vec<u8>, Option<String>)> = connection
        .prepare_cached("SELECT body, digest FROM events WHERE id = ?1")?
        .query_row([event_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((body, digest)) = found else {
        return Ok(None);
    };
    let payloads = EVENT_FRAMES.load(connection, event_id)?;
    if !digest::is_intact(digest.as_deref(), || {
        digest::with_payloads(&[&body], &payloads)
    }) {
        let table = "events";
        return Err(LedgerError::DamagedRow {
            table,
            id: event_id,
        });
    }
    let (blob, frames) = payloads.split();
    let body = blob.map_or(Body::Inline(body), Body::Blob);
    Ok(Some(StoredFrames { body, frames }))
}

fn mark_published(
    connection: &Connection,
    published: &[(EventRef, i64)],
) -> Result<(), LedgerError> {
    // What was asked for again after it was read is to be published again; what has settled meanwhile
    // stays so.
    let mut update = connection.prepare_cached(
        "UPDATE events SET state = CASE WHEN reissues != ?3 THEN 'pending'
                                        WHEN state = 'pending' THEN 'published'
                                        ELSE state END,
             publish_count = publish_count + 1,
             first_published_at_ms = coalesce(first_published_at_ms, ?2),
             last_published_at_ms = ?2
         WHERE id = ?1",
    )?;
    for (event, at_ms) in published {
        update.execute([event.id, *at_ms, event.reissues])?;
    }
    Ok(())
}

fn mark_damaged(connection: &Connection, event_id: i64) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE events SET state = 'damaged' WHERE id = ?1")?
        .execute([event_id])?;
    Ok(())
}

/// Makes the published events of a job that has ended wait again: all of them, or those that answer
/// `items`. An item without an event has failed, and its answer is what belongs to no item: the error.
pub(super) fn reissue(
    connection: &Connection,
    job_id: JobId,
    items: &[&str],
) -> Result<(), LedgerError> {
    const REISSUE: &str = "UPDATE events SET state = 'pending', first_published_at_ms = NULL,
                               reissues = reissues + 1
                           WHERE job_id = ?1 AND state != 'damaged'";
    let mut has_event = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM events WHERE job_id = ?1 AND key = ?2)")?;
    let mut of_item = connection.prepare_cached(&format!("{REISSUE} AND key = ?2"))?;
    let mut is_any_failed = items.is_empty();
    for item in items {
        of_item.execute(params![job_id, item])?;
        let is_answered: bool = has_event.query_row(params![job_id, item], |row| row.get(0))?;
        is_any_failed |= !is_answered;
    }
    if is_any_failed {
        connection
            .prepare_cached(&format!(
                "{REISSUE} AND key NOT IN (SELECT item FROM job_items WHERE job_id = ?1)"
            ))?
            .execute([job_id])?;
    }
    Ok(())
}
