//! What becomes of events once they are published: repeated, settled, or unconfirmed in the end.

use rusqlite::{Connection, OptionalExtension, params};

use super::events::event_ref;
use super::records::{EventRef, RepeatWindow, UnsettledEvent};
use super::{Ledger, LedgerError};
use crate::domain::PrivateBytes;

impl Ledger {
    /// Published events that are to be published again: those that the subscribers drop if they have
    /// them, of which a time of the schedule has come since they were published last. Times are
    /// milliseconds since 1970.
    ///
    /// Events that were asked for again are left out: who asked will do so again.
    ///
    /// # Errors
    /// The database fails.
    pub fn due_events_blocking(
        &self,
        window: &RepeatWindow<'_>,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<EventRef>, LedgerError> {
        self.store
            .read(|connection| due(connection, window, now_ms, limit))
    }

    /// Events of these kinds that were published first after `after_ms`, at `until_ms` at the latest, and
    /// are not settled; the oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn unsettled_events(
        &self,
        kinds: &[&str],
        after_ms: i64,
        until_ms: i64,
        limit: u32,
    ) -> Result<Vec<UnsettledEvent>, LedgerError> {
        let kinds = serde_json::Value::from(kinds).to_string();
        self.off_thread(move |store| {
            let found = store
                .read(|connection| unsettled(connection, &kinds, after_ms, until_ms, limit))?;
            let mut intact = Vec::with_capacity(found.len());
            for mut event in found {
                match store.event(event.event.id) {
                    Ok(Some((body, _))) => {
                        event.body = body.into();
                        intact.push(event);
                    }
                    // Purged meanwhile.
                    Ok(None) => {}
                    Err(error) if error.is_damage() => {
                        let event_id = event.event.id;
                        tracing::error!(
                            event.id = event_id,
                            "an event is damaged, it is not looked for"
                        );
                        store.mark_event_damaged(event_id)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(intact)
        })
        .await
    }

    /// Notes that the gateway has taken events; those that were asked for again meanwhile stay as they are.
    ///
    /// # Errors
    /// The database fails.
    pub async fn settle(&self, events: Vec<EventRef>) -> Result<u64, LedgerError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(
                "UPDATE events SET state = 'settled'
                 WHERE id = ?1 AND reissues = ?2 AND state IN ('published', 'unconfirmed')",
            )?;
            let mut settled = 0;
            for event in &events {
                settled += update.execute(params![event.id, event.reissues])? as u64;
            }
            Ok(settled)
        })
        .await
    }

    /// Gives up on published events that were published first at `until_ms` or earlier, on `limit` of
    /// them; returns how many there were.
    ///
    /// # Errors
    /// The database fails.
    pub async fn give_up_unsettled(&self, until_ms: i64, limit: u32) -> Result<u64, LedgerError> {
        self.write(move |connection| {
            let given_up = connection
                .prepare_cached(
                    "UPDATE events SET state = 'unconfirmed' WHERE id IN (
                         SELECT id FROM events
                         WHERE state = 'published' AND first_published_at_ms <= ?1 LIMIT ?2)",
                )?
                .execute(params![until_ms, limit])?;
            Ok(given_up as u64)
        })
        .await
    }
}

/// Published events of these kinds, still without their bodies.
fn unsettled(
    connection: &Connection,
    kinds: &str,
    after_ms: i64,
    until_ms: i64,
    limit: u32,
) -> Result<Vec<UnsettledEvent>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT event.id, event.job_id, event.reissues, event.kind, job.received_at_ms
         FROM events AS event JOIN jobs AS job ON job.id = event.job_id
         WHERE event.state = 'published' AND event.first_published_at_ms > ?1
           AND event.first_published_at_ms <= ?2
           AND event.kind IN (SELECT value FROM json_each(?3))
         ORDER BY event.first_published_at_ms, event.id LIMIT ?4",
    )?;
    let events = statement.query_map(params![after_ms, until_ms, kinds, limit], |row| {
        Ok(UnsettledEvent {
            event: event_ref(row)?,
            kind: row.get(3)?,
            body: PrivateBytes::default(),
            received_at_ms: row.get(4)?,
        })
    })?;
    Ok(events.collect::<Result<_, _>>()?)
}

fn due(
    connection: &Connection,
    window: &RepeatWindow<'_>,
    now_ms: i64,
    limit: u32,
) -> Result<Vec<EventRef>, LedgerError> {
    let too_old_ms = newest_too_old(connection, window.max_newer)?;
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, reissues FROM events
         WHERE state = 'published' AND repeatable = 1 AND reissues = 0
           AND first_published_at_ms > ?1 AND first_published_at_ms <= ?2
           AND last_published_at_ms < first_published_at_ms + ?3
         ORDER BY first_published_at_ms, id LIMIT ?4",
    )?;
    let mut due = Vec::new();
    // The oldest first: they leave the window soonest. Of the times that have come only the last counts.
    let mut from_ms = now_ms - window.window_ms;
    for step_ms in window.schedule_ms.iter().rev() {
        let until_ms = now_ms - step_ms;
        let room = limit.saturating_sub(due.len() as u32);
        let after_ms = from_ms.max(too_old_ms);
        let events = statement.query_map(params![after_ms, until_ms, step_ms, room], event_ref)?;
        due.extend(events.collect::<Result<Vec<_>, _>>()?);
        from_ms = until_ms;
    }
    Ok(due)
}

/// When the newest of those events was published first that have `max_newer` newer ones.
fn newest_too_old(connection: &Connection, max_newer: u32) -> Result<i64, LedgerError> {
    let at_ms: Option<i64> = connection
        .prepare_cached(
            "SELECT first_published_at_ms FROM events
             WHERE repeatable = 1 AND first_published_at_ms IS NOT NULL
             ORDER BY first_published_at_ms DESC LIMIT 1 OFFSET ?1",
        )?
        .query_row([max_newer], |row| row.get(0))
        .optional()?;
    Ok(at_ms.unwrap_or(i64::MIN))
}
