//! Finds out which events the gateway has taken: it acknowledges nothing, but keeps results in its own
//! collections (docs/adr/0015).

use std::sync::Arc;
use std::time::Duration;

use super::REPLAY_WINDOW;
use super::receipt;
use crate::domain::timestamp::now_unix_ms;
use crate::error::error_chain;
use crate::ledger::{EventRef, Ledger, LedgerError, UnsettledEvent};
use crate::observe::metrics::EVENTS_SETTLED;
use crate::store::{MongoStore, Sought, StoreError};

/// How often events are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Ages in seconds at which an event is looked for: soon, then each time before it would be published
/// again, and a last time before it is given up.
const AGES_SECS: [i64; 9] = [3, 6, 12, 25, 60, 110, 300, 590, 890];

/// Events that one sweep looks for; what is left is looked for at its next age.
const MAX_EVENTS: u32 = 256;

/// Longest time between two sweeps that is made up for, so that an outage is not followed by a rush.
const MAX_LAG_MS: i64 = 60_000;

/// Events that are given up in one transaction.
const GIVE_UP_BATCH: u32 = 500;

/// Runs for ever; may be dropped anywhere. Without a database events are only given up in the end.
pub async fn run(ledger: Ledger, store: Option<Arc<MongoStore>>) {
    let mut swept_until_ms = now_unix_ms();
    let mut is_failing = false;
    let mut is_answered = true;
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let now_ms = now_unix_ms();
        // Also when the clock was set back.
        swept_until_ms = swept_until_ms.clamp(now_ms - MAX_LAG_MS, now_ms);
        let swept = sweep(&ledger, store.as_deref(), swept_until_ms, now_ms).await;
        match &swept {
            Ok(Answer::Given) => swept_until_ms = now_ms,
            // Without an answer the same events are looked for again. Of an outage the breaker tells.
            Ok(Answer::None(error)) if is_answered && !error.is_outage() => {
                tracing::warn!(error = %error_chain(error), "the gateway's collections cannot be read");
            }
            Ok(Answer::None(_)) => {}
            Err(error) if !is_failing => {
                tracing::error!(error = %error_chain(error), "events cannot be settled");
            }
            Err(_) => {}
        }
        is_answered = !matches!(swept, Ok(Answer::None(_)));
        is_failing = swept.is_err();
    }
}

enum Answer {
    Given,
    /// The database does not tell.
    None(StoreError),
}

async fn sweep(
    ledger: &Ledger,
    store: Option<&MongoStore>,
    after_ms: i64,
    now_ms: i64,
) -> Result<Answer, LedgerError> {
    let mut answer = Answer::Given;
    if let Some(store) = store {
        let events = of_age(ledger, after_ms, now_ms).await?;
        match taken(store, events).await {
            Ok(taken) if !taken.is_empty() => {
                let settled = ledger.settle(taken).await?;
                metrics::counter!(EVENTS_SETTLED, "outcome" => "read_back").increment(settled);
            }
            Ok(_) => {}
            Err(error) => answer = Answer::None(error),
        }
    }
    let window_ms = REPLAY_WINDOW.as_millis() as i64;
    let given_up = ledger
        .give_up_unsettled(now_ms - window_ms, GIVE_UP_BATCH)
        .await?;
    metrics::counter!(EVENTS_SETTLED, "outcome" => "unconfirmed").increment(given_up);
    Ok(answer)
}

/// The events that have reached one of the ages between the two times.
async fn of_age(
    ledger: &Ledger,
    after_ms: i64,
    now_ms: i64,
) -> Result<Vec<UnsettledEvent>, LedgerError> {
    let mut events: Vec<UnsettledEvent> = Vec::new();
    for age_ms in AGES_SECS.map(|seconds| seconds * 1000) {
        let room = MAX_EVENTS - events.len() as u32;
        let found =
            ledger.unsettled_events(&receipt::KINDS, after_ms - age_ms, now_ms - age_ms, room);
        events.extend(found.await?);
    }
    Ok(events)
}

/// Those of the events that have left all their traces.
async fn taken(
    store: &MongoStore,
    events: Vec<UnsettledEvent>,
) -> Result<Vec<EventRef>, StoreError> {
    let mut sought = Vec::new();
    let mut owners = Vec::new();
    for event in &events {
        let traces = receipt::traces(event).unwrap_or_default();
        if traces.is_empty() || !traces.iter().all(MongoStore::can_find) {
            continue;
        }
        owners.push((event.event, traces.len()));
        sought.extend(traces.into_iter().map(|trace| Sought {
            trace,
            since_ms: event.received_at_ms,
        }));
    }
    if sought.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = store.find_traces(&sought).await?.into_iter();
    owners.retain(|(_, traces)| {
        // Counted to the end, so that the next event begins with its own.
        found.by_ref().take(*traces).filter(|found| !found).count() == 0
    });
    Ok(owners.into_iter().map(|(event, _)| event).collect())
}
