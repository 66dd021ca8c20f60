//! Carries stored document writes to MongoDB, in order and until it takes them.
//!
//! Events never wait for this. While MongoDB is away its writes stay in the ledger; one try every
//! few seconds finds out when it is back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::error_chain;
use crate::ledger::{DocumentOutcome, Ledger, LedgerError, PendingDocument};
use crate::observe::Health;
use crate::observe::health::DatabaseStatus;
use crate::observe::metrics::DOCUMENTS_WRITTEN;
use crate::store::{Collection, DocumentWrite, MongoStore, StoreError};

/// Writes that are looked at together.
const BATCH: u32 = 64;
/// How often new writes are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Pause while MongoDB cannot be reached.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// Pause before a write that MongoDB refused for now is tried again: doubles up to a minute.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Runs until `stopping` is set.
pub async fn run(
    store: MongoStore,
    ledger: Ledger,
    health: Arc<Health>,
    mut stopping: watch::Receiver<bool>,
) {
    let work = async {
        let mut has_indexes = false;
        loop {
            if !has_indexes {
                has_indexes = ensure_indexes(&store, &health).await;
            }
            let pause = match drain(&store, &ledger, &health).await {
                Ok(Drained::All) => POLL_INTERVAL,
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

async fn ensure_indexes(store: &MongoStore, health: &Health) -> bool {
    match store.ensure_indexes().await {
        Ok(()) => {
            health.set_database(DatabaseStatus::Connected);
            true
        }
        Err(error) => {
            note_away(health, &error);
            false
        }
    }
}

enum Drained {
    All,
    Away,
}

async fn drain(
    store: &MongoStore,
    ledger: &Ledger,
    health: &Health,
) -> Result<Drained, LedgerError> {
    loop {
        let pending = ledger.pending_documents(BATCH, now_ms()).await?;
        if pending.is_empty() {
            return Ok(Drained::All);
        }
        // A write that has to wait holds back later ones for the same document, no others.
        let mut held_back = HashSet::new();
        for document in pending {
            if held_back.contains(&document.write.order_key) {
                continue;
            }
            let outcome = match write(store, &document).await {
                Ok(outcome) => {
                    health.set_database(DatabaseStatus::Connected);
                    outcome
                }
                Err(error) if error.is_transient() => {
                    note_away(health, &error);
                    return Ok(Drained::Away);
                }
                Err(error) => {
                    tracing::warn!(
                        collection = document.write.collection,
                        error = %error_chain(&error),
                        "mongodb refuses a document"
                    );
                    DocumentOutcome::RetryAt {
                        at_ms: now_ms() + retry_pause_ms(document.attempts),
                    }
                }
            };
            count(outcome);
            if matches!(outcome, DocumentOutcome::RetryAt { .. }) {
                held_back.insert(document.write.order_key.clone());
            }
            ledger.mark_document(document.id, outcome).await?;
        }
    }
}

/// Tries that a document gets which MongoDB refuses for itself.
const MAX_REFUSALS: u32 = 8;

async fn write(
    store: &MongoStore,
    document: &PendingDocument,
) -> Result<DocumentOutcome, StoreError> {
    let stored = &document.write;
    let Some(collection) = Collection::from_name(&stored.collection) else {
        return Ok(DocumentOutcome::Skipped);
    };
    let write = DocumentWrite::from_json(collection, &stored.filter, &stored.document)?;
    match store.upsert(&write).await {
        Ok(_) => Ok(DocumentOutcome::Done),
        Err(error) if !error.is_transient() && document.attempts + 1 >= MAX_REFUSALS => {
            tracing::error!(
                collection = stored.collection,
                error = %error_chain(&error),
                "document given up"
            );
            Ok(DocumentOutcome::Skipped)
        }
        Err(error) => Err(error),
    }
}

fn retry_pause_ms(attempts: u32) -> i64 {
    let pause = FIRST_RETRY
        .saturating_mul(1 << attempts.min(10))
        .min(LONGEST_RETRY);
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

fn note_away(health: &Health, error: &StoreError) {
    if health.database() != DatabaseStatus::Unreachable {
        tracing::warn!(error = %error_chain(error), "mongodb is away, its writes wait");
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

fn now_ms() -> i64 {
    crate::domain::timestamp::unix_ms(time::OffsetDateTime::now_utc())
}
