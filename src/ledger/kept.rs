//! What is read of jobs by whoever asks for them, and by nobody else: their events with what they tell.

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::records::{JobId, JobState};
use super::{Ledger, LedgerError};
use crate::domain::PrivateBytes;

/// An event of a job that is read here and published nowhere.
#[derive(Debug, Clone)]
pub struct KeptEvent {
    /// Later events have larger ids.
    pub id: i64,
    /// See [`OutgoingEvent::key`](super::OutgoingEvent::key).
    pub key: String,
    /// See [`OutgoingEvent::body`](super::OutgoingEvent::body).
    pub body: PrivateBytes,
}

/// Jobs of one kind that stand alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Their kind.
    pub kind: String,
    /// How they stand.
    pub state: JobState,
    /// How many there are.
    pub jobs: u64,
}

impl Ledger {
    /// The events of a job with larger ids than `after`, in the order in which they were stored. One that is
    /// damaged is left out.
    ///
    /// # Errors
    /// The database fails.
    pub async fn events_after(
        &self,
        job_id: JobId,
        after: i64,
    ) -> Result<Vec<KeptEvent>, LedgerError> {
        self.off_thread(move |store| {
            let found = store.read(|connection| after_id(connection, job_id, after))?;
            let mut events = Vec::with_capacity(found.len());
            for (id, key) in found {
                match store.event(id) {
                    Ok(Some((body, _))) => events.push(KeptEvent {
                        id,
                        key,
                        body: body.into(),
                    }),
                    // Purged meanwhile.
                    Ok(None) => {}
                    Err(error) if error.is_damage() => store.mark_event_damaged(id)?,
                    Err(error) => return Err(error),
                }
            }
            Ok(events)
        })
        .await
    }

    /// The first binary frame of an event; `None` when there is none.
    ///
    /// # Errors
    /// It is damaged, or the database fails.
    pub async fn event_payload(&self, event_id: i64) -> Result<Option<Bytes>, LedgerError> {
        self.off_thread(move |store| {
            let frames = store.event(event_id)?.map(|(_, frames)| frames);
            match frames.unwrap_or_default().first() {
                Some(frame) => store.blobs.read(frame).map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// How many jobs of each kind are in the ledger, by how they stand.
    ///
    /// # Errors
    /// The database fails.
    pub async fn tally(&self) -> Result<Vec<Tally>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT kind, state, count(*) FROM jobs GROUP BY kind, state")?;
            let tallies = statement.query_map([], |row| {
                Ok(Tally {
                    kind: row.get(0)?,
                    state: row.get(1)?,
                    jobs: row.get::<_, i64>(2)?.unsigned_abs(),
                })
            })?;
            Ok(tallies.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How many jobs are in the ledger.
    ///
    /// # Errors
    /// The database fails.
    pub async fn job_count(&self) -> Result<u64, LedgerError> {
        self.read(|connection| {
            let count: i64 = connection
                .prepare_cached("SELECT count(*) FROM jobs")?
                .query_row([], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
        .await
    }
}

fn after_id(
    connection: &Connection,
    job_id: JobId,
    after: i64,
) -> Result<Vec<(i64, String)>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, key FROM events WHERE job_id = ?1 AND id > ?2 AND state != 'damaged' ORDER BY id",
    )?;
    let events =
        statement.query_map(params![job_id, after], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(events.collect::<Result<_, _>>()?)
}
