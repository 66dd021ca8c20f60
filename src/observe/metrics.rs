//! Every metric that `/metrics` shows, with its unit, labels and meaning.
//!
//! Names end in their unit, counters in `_total`. Labels have few values: never an id.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Jobs taken in, by `kind`.
pub const JOBS_ACCEPTED: &str = "translator_jobs_accepted_total";
/// Jobs that reached their end, by `kind` and `outcome` (`done`, `failed`, `cancelled`, `quarantined`).
pub const JOBS_FINISHED: &str = "translator_jobs_finished_total";
/// Requests that became no job, by `reason`.
pub const REQUESTS_REJECTED: &str = "translator_requests_rejected_total";
/// Jobs waiting for their turn, by `lane`.
pub const QUEUE_DEPTH: &str = "translator_queue_depth";
/// Time between acceptance and start of a job, by `lane`.
pub const QUEUE_WAIT: &str = "translator_queue_wait_seconds";
/// Jobs being worked on, by `lane`.
pub const JOBS_RUNNING: &str = "translator_jobs_running";
/// Time of one stage of one job, by `stage` and `outcome` (`ok`, `error`, `cancelled`).
pub const STAGE_DURATION: &str = "translator_stage_duration_seconds";
/// Whole time of a job from acceptance to its end, by `kind`.
pub const JOB_DURATION: &str = "translator_job_duration_seconds";
/// Requests that run together in an engine, at each step, by `engine`.
pub const ENGINE_BATCH_SIZE: &str = "translator_engine_batch_size";
/// Time a request is in an engine's batch, by `engine`.
pub const ENGINE_DURATION: &str = "translator_engine_duration_seconds";
/// Time a request waits for a place in an engine's batch, by `engine`.
pub const ENGINE_QUEUE_WAIT: &str = "translator_engine_queue_wait_seconds";
/// 1 when an engine is ready, by `engine`.
pub const ENGINE_READY: &str = "translator_engine_ready";
/// Events published, by `occasion` (`new`, or `replayed` for a subscriber that came back).
pub const EVENTS_PUBLISHED: &str = "translator_events_published_total";
/// Stored events that wait to be published.
pub const OUTBOX_PENDING: &str = "translator_outbox_pending";
/// Time of one commit of the ledger, with its sync.
pub const LEDGER_COMMIT: &str = "translator_ledger_commit_duration_seconds";
/// What was found damaged in the ledger and was not used, by `what` (`job`, `checkpoint`, `event`, `document`).
pub const LEDGER_DAMAGED: &str = "translator_ledger_damaged_total";
/// Jobs that a damaged ledger has lost, at most, when it was opened; -1 when nothing could be read.
pub const LEDGER_LOST_JOBS: &str = "translator_ledger_lost_jobs";
/// Documents that wait to be written to MongoDB.
pub const DOCUMENTS_PENDING: &str = "translator_documents_pending";
/// Documents dealt with, by `outcome` (`written`, `skipped`, `retried`).
pub const DOCUMENTS_WRITTEN: &str = "translator_documents_written_total";
/// Voices whose time to be made anew has come.
pub const VOICES_DUE: &str = "translator_voices_due";
/// Questions to the caches, by `cache` (`text`, `transcript`, `speech`) and `outcome` (`hit`, `miss`).
pub const CACHE_REQUESTS: &str = "translator_cache_requests_total";
/// Failures, by `stage` and `reason`.
pub const ERRORS: &str = "translator_errors_total";
/// Length of each recording that was decoded.
pub const AUDIO_DECODED: &str = "translator_audio_decoded_seconds";
/// Length of each speech that was synthesized, by `language`.
pub const AUDIO_SYNTHESIZED: &str = "translator_audio_synthesized_seconds";

/// Bucket bounds for times, from a fast text to the longest allowed job.
const DURATION_SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0,
];
const BATCH_SIZES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Installs the recorder for the whole process; the handle renders the text format.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_SECONDS)?
        .set_buckets_for_metric(Matcher::Full(ENGINE_BATCH_SIZE.to_owned()), &BATCH_SIZES)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    for (name, text) in [
        (JOBS_ACCEPTED, "jobs taken in"),
        (JOBS_FINISHED, "jobs that reached their end"),
        (REQUESTS_REJECTED, "requests that became no job"),
        (EVENTS_PUBLISHED, "events published, replays included"),
        (DOCUMENTS_WRITTEN, "documents dealt with"),
        (CACHE_REQUESTS, "questions to the caches"),
        (LEDGER_DAMAGED, "damaged records of the ledger"),
        (ERRORS, "failures by stage and reason"),
    ] {
        describe_counter!(name, text);
    }
    for (name, text) in [
        (QUEUE_DEPTH, "jobs waiting for their turn"),
        (JOBS_RUNNING, "jobs being worked on"),
        (ENGINE_READY, "1 when the engine is ready"),
        (OUTBOX_PENDING, "stored events that wait to be published"),
        (DOCUMENTS_PENDING, "documents that wait to be written"),
        (VOICES_DUE, "voices that are to be made anew"),
        (LEDGER_LOST_JOBS, "jobs that a damaged ledger has lost"),
    ] {
        describe_gauge!(name, text);
    }
    for (name, text) in [
        (QUEUE_WAIT, "time between acceptance and start of a job"),
        (STAGE_DURATION, "time of one stage of one job"),
        (JOB_DURATION, "time of a job from acceptance to its end"),
        (AUDIO_DECODED, "length of a recording that was decoded"),
        (AUDIO_SYNTHESIZED, "length of a speech that was synthesized"),
        (LEDGER_COMMIT, "time of one commit of the ledger"),
        (ENGINE_DURATION, "time of a request in an engine's batch"),
        (
            ENGINE_QUEUE_WAIT,
            "time a request waits for a place in a batch",
        ),
    ] {
        describe_histogram!(name, Unit::Seconds, text);
    }
    describe_histogram!(ENGINE_BATCH_SIZE, "requests that run together at a step");
}
