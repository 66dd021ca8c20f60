//! Statements on the outbox.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::blobs::blob_ref;
use super::records::{EventRef, JobId, OutgoingEvent};
use super::{BlobRef, LedgerError};

/// An event whose binary frames are on disk: those of the event itself are empty.
pub(super) struct StoredEvent {
    pub(super) event: OutgoingEvent,
    pub(super) frames: Vec<BlobRef>,
}

pub(super) fn store(
    connection: &Connection,
    job_id: JobId,
    events: &[StoredEvent],
) -> Result<(), LedgerError> {
    let mut insert_event = connection.prepare_cached(
        "INSERT INTO events (job_id, key, kind, repeatable, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?;
    let mut insert_frame = connection.prepare_cached(
        "INSERT INTO event_frames (event_id, position, sha256, size_bytes) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for StoredEvent { event, frames } in events {
        let OutgoingEvent {
            key, kind, body, ..
        } = event;
        let row = params![job_id, key, kind, event.is_repeatable, body];
        if insert_event.execute(row)? == 0 {
            continue;
        }
        let event_id = connection.last_insert_rowid();
        for (position, frame) in frames.iter().enumerate() {
            insert_frame.execute(params![
                event_id,
                position as i64,
                frame.sha256,
                frame.size_bytes as i64
            ])?;
        }
    }
    Ok(())
}

pub(super) fn keys(connection: &Connection, job_id: JobId) -> Result<HashSet<String>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT key FROM events WHERE job_id = ?1")?;
    let keys = statement.query_map([job_id], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

pub(super) fn body(
    connection: &Connection,
    job_id: JobId,
    key: &str,
) -> Result<Option<Vec<u8>>, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT body FROM events WHERE job_id = ?1 AND key = ?2")?
        .query_row(params![job_id, key], |row| row.get(0))
        .optional()?)
}

pub(super) fn pending(connection: &Connection, limit: u32) -> Result<Vec<EventRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, reissues FROM events WHERE state = 'pending' ORDER BY id LIMIT ?1",
    )?;
    let events = statement.query_map([limit], event_ref)?;
    Ok(events.collect::<Result<_, _>>()?)
}

pub(super) fn unsettled(
    connection: &Connection,
    since_ms: i64,
    until_ms: i64,
) -> Result<Vec<EventRef>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, reissues FROM events
         WHERE state = 'published' AND first_published_at_ms >= ?1 AND last_published_at_ms <= ?2
         ORDER BY id",
    )?;
    let events = statement.query_map([since_ms, until_ms], event_ref)?;
    Ok(events.collect::<Result<_, _>>()?)
}

pub(super) fn event_ref(row: &Row<'_>) -> rusqlite::Result<EventRef> {
    Ok(EventRef {
        id: row.get(0)?,
        job_id: row.get(1)?,
        reissues: row.get(2)?,
    })
}

/// The JSON of an event, and where its binary frames lie.
type StoredFrames = (Vec<u8>, Vec<BlobRef>);

pub(super) fn frames(
    connection: &Connection,
    event_id: i64,
) -> Result<Option<StoredFrames>, LedgerError> {
    let body = connection
        .prepare_cached("SELECT body FROM events WHERE id = ?1")?
        .query_row([event_id], |row| row.get(0))
        .optional()?;
    let Some(body) = body else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT sha256, size_bytes FROM event_frames WHERE event_id = ?1 ORDER BY position",
    )?;
    let blobs = statement.query_map([event_id], |row| blob_ref(row, 0))?;
    Ok(Some((body, blobs.collect::<Result<_, _>>()?)))
}

pub(super) fn mark_published(
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

pub(super) fn mark_damaged(connection: &Connection, event_id: i64) -> Result<(), LedgerError> {
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
