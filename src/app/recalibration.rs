//! Makes voices anew when their time has come: one at a time, and only while nobody waits.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::error::error_chain;
use crate::observe::metrics::VOICES_DUE;
use crate::pipeline::{Pipeline, VoiceTask};
use crate::scheduler::{Lane, Scheduler, ended};
use crate::voices::VoiceMetadata;

/// How often voices are looked through.
const INTERVAL: Duration = Duration::from_secs(3600);

/// How often the recordings' lane is looked at while somebody waits in it.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until it is dropped. `max_age` is how far back recordings are listened to.
pub async fn run(pipeline: Arc<Pipeline>, scheduler: Arc<Scheduler>, max_age: Duration) {
    let mut rounds = tokio::time::interval(INTERVAL);
    loop {
        rounds.tick().await;
        if let Err(error) = pipeline.voices.tidy().await {
            tracing::warn!(error = %error_chain(&error), "old notes about deletions stay");
        }
        let due = match pipeline.voices.due(OffsetDateTime::now_utc()).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "voices cannot be looked through");
                continue;
            }
        };
        if !due.is_empty() {
            tracing::info!(voices = due.len(), "voices are to be made anew");
        }
        for (done, voice) in due.iter().enumerate() {
            metrics::gauge!(VOICES_DUE).set((due.len() - done) as f64);
            recalibrate(&pipeline, &scheduler, voice, max_age).await;
        }
        metrics::gauge!(VOICES_DUE).set(0.0);
    }
}

/// Waits for a quiet moment, and for the end of the job; a voice that fails has its turn again in a
/// later round, when the ledger has forgotten the failure.
async fn recalibrate(
    pipeline: &Pipeline,
    scheduler: &Arc<Scheduler>,
    voice: &VoiceMetadata,
    max_age: Duration,
) {
    while !scheduler.is_idle(Lane::Audio) {
        tokio::time::sleep(IDLE_CHECK_INTERVAL).await;
    }
    let task = VoiceTask::scheduled(voice, OffsetDateTime::now_utc() - max_age);
    let (lane, ledger) = (Lane::Audio, &pipeline.ledger);
    let job = scheduler.submit(ledger, lane, task.job(lane.as_str()));
    let ended = match job.await {
        Ok(job_id) => ended(ledger, job_id).await,
        Err(error) => {
            tracing::warn!(error = %error_chain(&error), "a voice cannot be made anew now");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::warn!(error = %error_chain(&error), "the end of a voice's job is not known");
    }
}
