//! Every metric that `/metrics` shows, with its unit, labels and meaning.
//!
//! Names end in their unit, counters in `_total`. Labels have few values: never an id.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Jobs taken in, by `kind`.
pub const JOBS_ACCEPTED: &str = "translator_jobs_accepted_total";
/// Jobs that reached their end, by `kind` and `outcome` (`done`, `failed`, `cancelled`, `quarantined`).
pub const JOBS_FINISHED: &str = "translator_jobs_finished_total";
/// Jobs that were put aside, by `cause` (`crashed`, or the reason of the last of many failures).
pub const JOBS_QUARANTINED: &str = "translator_jobs_quarantined_total";
/// Requests that became no job, by `reason`.
pub const REQUESTS_REJECTED: &str = "translator_requests_rejected_total";
/// Answers to what is no request that found no room before the publisher.
pub const ANSWERS_DROPPED: &str = "translator_answers_dropped_total";
/// Connections that were closed because of what they sent, by `socket` (`intake`, `publish`) and `reason`:
/// `message_too_large` for a message that does not end, `too_much_waits` where unread messages count too,
/// `too_much_in_all` for the one that waits longest when all together send too much.
pub const CONNECTIONS_CLOSED: &str = "translator_connections_closed_total";
/// Jobs waiting for their turn, by `lane`.
pub const QUEUE_DEPTH: &str = "translator_queue_depth";
/// Bytes of the requests that wait, with their frames, by `lane`.
pub const QUEUE_BYTES: &str = "translator_queue_bytes";
/// Jobs that were in work when the process ended, and wait to be tried one at a time.
pub const SUSPECTS: &str = "translator_suspects";
/// Time between acceptance and start of a job, by `lane`.
pub const QUEUE_WAIT: &str = "translator_queue_wait_seconds";
/// Jobs being worked on, by `lane`.
pub const JOBS_RUNNING: &str = "translator_jobs_running";
/// Memory that the jobs with recordings in work are expected to take, in bytes.
pub const RUNNING_BYTES: &str = "translator_jobs_running_bytes";
/// Time of one stage of one job, by `stage` and `outcome` (`ok`, `error`, `cancelled`).
pub const STAGE_DURATION: &str = "translator_stage_duration_seconds";
/// Whole time of a job from acceptance to its end, by `kind`.
pub const JOB_DURATION: &str = "translator_job_duration_seconds";
/// Time of one HTTP request until its answer begins, by `method`, `route` (`none` for paths that are none) and
/// `status`.
pub const HTTP_DURATION: &str = "translator_http_request_duration_seconds";
/// Requests that run together in an engine, at each step, by `engine`.
pub const ENGINE_BATCH_SIZE: &str = "translator_engine_batch_size";
/// Sequences (sentences, or hypotheses of sentences) that an engine decodes together, at each step that
/// decodes, by `engine`.
pub const ENGINE_DECODED_ROWS: &str = "translator_engine_decoded_rows";
/// Time a request is in an engine's batch, by `engine`.
pub const ENGINE_DURATION: &str = "translator_engine_duration_seconds";
/// Time a request waits for a place in an engine's batch, by `engine`.
pub const ENGINE_QUEUE_WAIT: &str = "translator_engine_queue_wait_seconds";
/// 1 when an engine is ready, by `engine`.
pub const ENGINE_READY: &str = "translator_engine_ready";
/// Events published, by `occasion` (`new`, `replayed` for a subscriber that came back, or `repeated` by the
/// clock).
pub const EVENTS_PUBLISHED: &str = "translator_events_published_total";
/// Stored events that wait to be published.
pub const OUTBOX_PENDING: &str = "translator_outbox_pending";
/// Events in the ledger, by `state` (`pending`, `published`, `settled`, `unconfirmed`).
pub const OUTBOX_EVENTS: &str = "translator_outbox_events";
/// Bytes of events that libzmq holds for subscribers.
pub const OUTBOX_BUFFERED: &str = "translator_outbox_buffered_bytes";
/// Events whose settlement has ended, by `outcome`: `read_back` for those found in the gateway's database,
/// `unconfirmed` for those that were given up.
pub const EVENTS_SETTLED: &str = "translator_events_settled_total";
/// Free space of the data directory.
pub const STORAGE_FREE: &str = "translator_storage_free_bytes";
/// 1 while requests are taken in, 0 while the disk does not allow it.
pub const STORAGE_WRITABLE: &str = "translator_storage_writable";
/// Whether MongoDB is called: 0 closed (it is), 1 half open, 2 open.
pub const MONGODB_BREAKER: &str = "translator_mongodb_breaker_state";
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
/// Recordings given to decode workers, by `outcome` (`ok`, `refused`, `crashed`, `deadline_exceeded`,
/// `cancelled`, `unavailable`).
pub const DECODES: &str = "translator_decodes_total";
/// Decode workers that died or had to be stopped, and were replaced where needed.
pub const DECODE_WORKER_RESTARTS: &str = "translator_decode_worker_restarts_total";
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
        .set_buckets_for_metric(Matcher::Full(ENGINE_DECODED_ROWS.to_owned()), &BATCH_SIZES)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    for (name, text) in [
        (JOBS_ACCEPTED, "jobs taken in"),
        (JOBS_FINISHED, "jobs that reached their end"),
        (JOBS_QUARANTINED, "jobs that were put aside"),
        (REQUESTS_REJECTED, "requests that became no job"),
        (
            ANSWERS_DROPPED,
            "answers to what is no request that found no room",
        ),
        (
            CONNECTIONS_CLOSED,
            "connections closed because of what they sent, or of their number",
        ),
        (
            EVENTS_PUBLISHED,
            "events published, replays and repeats included",
        ),
        (EVENTS_SETTLED, "events whose settlement has ended"),
        (DOCUMENTS_WRITTEN, "documents dealt with"),
        (CACHE_REQUESTS, "questions to the caches"),
        (LEDGER_DAMAGED, "damaged records of the ledger"),
        (DECODES, "recordings given to decode workers"),
        (
            DECODE_WORKER_RESTARTS,
            "decode workers that died or were stopped",
        ),
        (ERRORS, "failures by stage and reason"),
    ] {
        describe_counter!(name, text);
    }
    for (name, text) in [
        (QUEUE_DEPTH, "jobs waiting for their turn"),
        (SUSPECTS, "jobs that were in work in a crash and wait"),
        (JOBS_RUNNING, "jobs being worked on"),
        (ENGINE_READY, "1 when the engine is ready"),
        (OUTBOX_PENDING, "stored events that wait to be published"),
        (OUTBOX_EVENTS, "events in the ledger by state"),
        (
            STORAGE_WRITABLE,
            "1 while the disk lets requests be taken in",
        ),
        (MONGODB_BREAKER, "0 closed, 1 half open, 2 open"),
        (DOCUMENTS_PENDING, "documents that wait to be written"),
        (VOICES_DUE, "voices that are to be made anew"),
        (LEDGER_LOST_JOBS, "jobs that a damaged ledger has lost"),
    ] {
        describe_gauge!(name, text);
    }
    for (name, text) in [
        (OUTBOX_BUFFERED, "events that libzmq holds for subscribers"),
        (STORAGE_FREE, "free space of the data directory"),
    ] {
        describe_gauge!(name, Unit::Bytes, text);
    }
    for (name, text) in [
        (QUEUE_WAIT, "time between acceptance and start of a job"),
        (STAGE_DURATION, "time of one stage of one job"),
        (JOB_DURATION, "time of a job from acceptance to its end"),
        (HTTP_DURATION, "time of one http request"),
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
    for (name, text) in [
        (QUEUE_BYTES, "size of the requests that wait"),
        (RUNNING_BYTES, "memory that jobs in work may take"),
    ] {
        describe_gauge!(name, Unit::Bytes, text);
    }
    describe_histogram!(ENGINE_BATCH_SIZE, "requests that run together at a step");
    describe_histogram!(
        ENGINE_DECODED_ROWS,
        "sequences that are decoded together at a step"
    );
}
