//! What is done beside jobs: old files, jobs and cached results are deleted, the backlog is measured, and what
//! was measured is added up.

use std::path::Path;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::{blocking, days};
use crate::config::Settings;
use crate::error::error_chain;
use crate::ledger::{CacheLimits, Ledger, Retention};
use crate::observe::metrics::{DOCUMENTS_PENDING, OUTBOX_EVENTS, OUTBOX_PENDING};

/// How often finished jobs are looked through.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
/// How often the ledger's backlog is measured.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(5);
/// How often measured values are added to their histograms. Until then each of them is kept.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// Deletes what is old, and measures what waits, until it is dropped.
pub(super) async fn run(ledger: Ledger, settings: Settings, metrics: PrometheusHandle) {
    let speech_age = settings
        .output
        .retention_days
        .map(|count| days(count.get()));
    let retention = Retention {
        speech_ms: speech_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        finished_ms: i64::from(settings.ledger.retention_hours) * 3_600_000,
        quarantined_ms: i64::from(settings.ledger.failed_retention_days) * 86_400_000,
        history_ms: i64::from(settings.ledger.history_retention_days) * 86_400_000,
        cache: CacheLimits {
            max_age_ms: i64::try_from(settings.cache.max_age().as_millis()).unwrap_or(i64::MAX),
            max_entries: settings.cache.max_entries,
        },
    };
    let mut purge = tokio::time::interval(PURGE_INTERVAL);
    let mut backlog = tokio::time::interval(BACKLOG_INTERVAL);
    let mut addition = tokio::time::interval(METRICS_INTERVAL);
    loop {
        tokio::select! {
            _ = purge.tick() => {
                if let Some(age) = speech_age {
                    let folder = settings.output.path.join("translated");
                    blocking(move || delete_older(&folder, age)).await;
                }
                match ledger.purge(retention).await {
                    Ok(purged) if purged.jobs > 0 || purged.blobs > 0 => {
                        tracing::info!(jobs = purged.jobs, blobs = purged.blobs, "old jobs and payloads of no job deleted");
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(error = %error_chain(&error), "old jobs could not be deleted"),
                }
            },
            // Otherwise only a scrape does that, and nobody has to scrape.
            _ = addition.tick() => {
                let metrics = metrics.clone();
                blocking(move || metrics.run_upkeep()).await;
            }
            _ = backlog.tick() => match ledger.counts().await {
                Ok(counts) => {
                    metrics::gauge!(OUTBOX_PENDING).set(counts.pending_events as f64);
                    for (state, events) in [
                        ("pending", counts.pending_events),
                        ("published", counts.published_events),
                        ("settled", counts.settled_events),
                        ("unconfirmed", counts.unconfirmed_events),
                    ] {
                        metrics::gauge!(OUTBOX_EVENTS, "state" => state).set(events as f64);
                    }
                    metrics::gauge!(DOCUMENTS_PENDING).set(counts.pending_documents as f64);
                }
                Err(error) => tracing::warn!(error = %error_chain(&error), "backlog is not known"),
            },
        }
    }
}

/// Deletes files below `folder` that were last written longer than `age` ago.
fn delete_older(folder: &Path, age: Duration) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(facts) = entry.metadata() else {
            continue;
        };
        let is_old = facts
            .modified()
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age));
        if facts.is_dir() {
            delete_older(&entry.path(), age);
        } else if is_old
            && facts.is_file()
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(%error, "old speech file could not be deleted");
        }
    }
}
