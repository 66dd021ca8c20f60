//! Carries stored document writes to MongoDB, in order and until it takes them.
//!
//! Events never wait for this. While MongoDB is away its writes stay in the ledger; one try every
//! few seconds finds out when it is back, and then no more go out in a second than it can bear.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::timestamp::now_unix_ms;
use crate::error::error_chain;
use crate::ledger::{DocumentOutcome, Ledger, LedgerError, PendingDocument};
use crate::observe::Health;
use crate::observe::health::DatabaseStatus;
use crate::observe::metrics::DOCUMENTS_WRITTEN;
use crate::store::{Collection, DocumentDelete, DocumentWrite, MongoStore, Outcome, StoreError};

/// Writes that are looked at together.
const BATCH: u32 = 64;
/// How often new writes are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Pause while MongoDB cannot be reached.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// How often MongoDB is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Least time from one write to the next: 200 a second, so that the end of an outage is not the begin of
/// another.
const WRITE_INTERVAL: Duration = Duration::from_millis(5);
/// Pause before a write that MongoDB refused is tried again: doubles up to a minute.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Runs until `stopping` is set.
pub async fn run(
    store: Arc<MongoStore>,
    ledger: Ledger,
    health: Arc<Health>,
    mut stopping: watch::Receiver<bool>,
) {
    let work = async {
        let mut has_indexes = false;
        let mut asked_at = Instant::now();
        loop {
            if !has_indexes {
                has_indexes = note(&health, store.ensure_indexes().await);
            }
            let pause = match drain(&store, &ledger, &health).await {
                Ok(Drained::All) => {
                    // Without this an outage shows only when there is something to write.
                    if asked_at.elapsed() >= PING_INTERVAL {
                        asked_at = Instant::now();
                        note(&health, store.ping().await);
                    }
                    POLL_INTERVAL
                }
                Ok(Drained::Away) => AWAY_PAUSE,
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "document writes cannot be read");
                    AWAY_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

enum Drained {
    /// Nothing waits that may be tried now.
    All,
    /// MongoDB cannot be reached.
    Away,
}

async fn drain(
    store: &MongoStore,
    ledger: &Ledger,
    health: &Health,
) -> Result<Drained, LedgerError> {
    loop {
        let pending = ledger.pending_documents(BATCH, now_unix_ms()).await?;
        if pending.is_empty() {
            return Ok(Drained::All);
        }
        for document in pending {
            let next_write = tokio::time::Instant::now() + WRITE_INTERVAL;
            let result = write(store, &document).await;
            if let Err(error) = &result
                && error.is_absence()
            {
                note_away(health, error);
                return Ok(Drained::Away);
            }
            health.set_database(DatabaseStatus::Connected);
            let outcome = result.unwrap_or_else(|error| after_refusal(&document, &error));
            count(outcome);
            ledger.mark_document(document.id, outcome).await?;
            tokio::time::sleep_until(next_write).await;
        }
    }
}

async fn write(
    store: &MongoStore,
    document: &PendingDocument,
) -> Result<DocumentOutcome, StoreError> {
    let stored = &document.write;
    let Some(collection) = Collection::from_name(&stored.collection) else {
        return Ok(DocumentOutcome::Skipped);
    };
    let (filter, document) = (&stored.filter, &stored.document);
    if let Some(delete) = DocumentDelete::from_json(collection, filter, document.expose())? {
        store.delete(&delete).await?;
        return Ok(DocumentOutcome::Done);
    }
    let write = DocumentWrite::from_json(collection, filter, document.expose())?;
    match store.upsert(&write).await? {
        Outcome::Written => Ok(DocumentOutcome::Done),
        Outcome::Conflict => {
            tracing::warn!(
                collection = stored.collection,
                "another document keeps the unique key, nothing is written"
            );
            Ok(DocumentOutcome::Skipped)
        }
    }
}

/// Tries that a document gets whose refusal is final.
const MAX_FINAL_REFUSALS: u32 = 8;
/// Tries that one gets whose refusal is not known to be final: those of a day, see [`LONGEST_RETRY`].
const MAX_REFUSALS: u32 = 24 * 60;

/// A refused document waits by itself; those of other keys go on.
fn after_refusal(document: &PendingDocument, error: &StoreError) -> DocumentOutcome {
    let collection = &document.write.collection;
    let error_text = error_chain(error);
    let most = if error.is_transient() {
        MAX_REFUSALS
    } else {
        MAX_FINAL_REFUSALS
    };
    if document.attempts >= most - 1 {
        tracing::error!(collection, error = %error_text, "document given up");
        return DocumentOutcome::Skipped;
    }
    tracing::warn!(collection, error = %error_text, "mongodb refuses a document");
    DocumentOutcome::RetryAt {
        at_ms: now_unix_ms() + retry_pause_ms(document.attempts),
    }
}

fn retry_pause_ms(attempts: u32) -> i64 {
    let pause = FIRST_RETRY
        .saturating_mul(1 << attempts.min(10))
        .min(LONGEST_RETRY);
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

/// Tells how a call that is about no document went, and whether it went well.
fn note(health: &Health, result: Result<(), StoreError>) -> bool {
    match result {
        Ok(()) => health.set_database(DatabaseStatus::Connected),
        Err(error) => {
            note_away(health, &error);
            return false;
        }
    }
    true
}

fn note_away(health: &Health, error: &StoreError) {
    // Of an outage the breaker has told.
    if let StoreError::Forbidden { .. } = error
        && health.database() != DatabaseStatus::Unreachable
    {
        tracing::warn!(%error, "mongodb takes no writes, they wait");
    }
    health.set_database(DatabaseStatus::Unreachable);
}

fn count(outcome: DocumentOutcome) {
    let outcome = match outcome {
        DocumentOutcome::Done => "written",
        DocumentOutcome::Skipped => "skipped",
        DocumentOutcome::RetryAt { .. } => "retried",
    };
    metrics::counter!(DOCUMENTS_WRITTEN, "outcome" => outcome).increment(1);
}
