//! What every path shares: the job's checkpoints, its events, and stages under a clock.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::sync::OwnedRwLockReadGuard;

use super::progress::{Progress, Step};
use super::{JobFailure, Pipeline, RecentTimes};
use crate::domain::timestamp::{from_unix_ms, now_unix_ms};
use crate::domain::{Deadline, Language};
use crate::engine::{EngineError, EngineHandle};
use crate::error::{ErrorCode, Stage, error_chain};
use crate::fault;
use crate::ledger::{
    Checkpoint, DocumentWrite, Emission, Finish, JobId, JobRecord, LedgerError, MAX_SOFT_FAILURES,
    NewCheckpoint, OutgoingEvent, StageStatus,
};
use crate::observe::metrics::STAGE_DURATION;
use crate::protocol::Event;
use crate::stages::Engine;

/// Stages of every recording: decode and transcribe.
const STAGES_OF_RECORDING: usize = 2;
/// Stages of a language that is spoken: translate, synthesize and encode.
const STAGES_OF_LANGUAGE: usize = 3;

/// Characters that one translate budget is meant for.
const CHARACTERS_PER_BUDGET: usize = 500;
/// Most budgets that a long text gets.
const MAX_BUDGETS: usize = 8;

/// The id of work that is in no ledger; those of jobs begin at one.
const UNRECORDED: JobId = JobId(0);

/// One attempt at a job.
pub(super) struct Job {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) record: JobRecord,
    pub(super) deadline: Deadline,
    /// False for the last attempt.
    may_retry: bool,
    /// Keys of the events that earlier attempts have stored.
    stored_events: HashSet<String>,
    checkpoints: HashMap<(String, String), Checkpoint>,
}

impl Job {
    pub(super) async fn restore(
        pipeline: Arc<Pipeline>,
        record: JobRecord,
        may_retry: bool,
        deadline: Deadline,
    ) -> Result<Self, LedgerError> {
        let checkpoints = pipeline.ledger.checkpoints(record.id).await?;
        let stored_events = pipeline.ledger.event_keys(record.id).await?;
        Ok(Self {
            may_retry,
            stored_events,
            pipeline,
            record,
            deadline,
            checkpoints: checkpoints
                .into_iter()
                .map(|checkpoint| {
                    let key = (checkpoint.stage.clone(), checkpoint.item.clone());
                    (key, checkpoint)
                })
                .collect(),
        })
    }

    /// Work that nobody asks for again after a crash: it is in no ledger.
    pub(super) fn unrecorded(pipeline: Arc<Pipeline>, kind: &str, deadline: Deadline) -> Self {
        let record = JobRecord {
            id: UNRECORDED,
            kind: kind.to_owned(),
            received_at_ms: now_unix_ms(),
            ..JobRecord::default()
        };
        Self {
            pipeline,
            record,
            deadline,
            may_retry: false,
            stored_events: HashSet::new(),
            checkpoints: HashMap::new(),
        }
    }

    pub(super) fn kind(&self) -> &str {
        &self.record.kind
    }

    /// Milliseconds since the job was accepted.
    pub(super) fn processing_time_ms(&self) -> u64 {
        u64::try_from(now_unix_ms().saturating_sub(self.record.received_at_ms)).unwrap_or_default()
    }

    /// When the job was accepted.
    pub(super) fn accepted_at(&self) -> OffsetDateTime {
        from_unix_ms(self.record.received_at_ms)
    }

    /// What keeps a deletion of everything of a user waiting; `None` when it was done since the job was
    /// accepted: then nothing more is kept of the user.
    pub(super) async fn hold(&self, user_id: &str) -> Option<OwnedRwLockReadGuard<()>> {
        let held = self.pipeline.voices.hold(user_id, self.accepted_at()).await;
        held.unwrap_or_else(|error| {
            tracing::error!(error = %error_chain(&error), "results of a user are not kept");
            None
        })
    }

    /// True when an earlier attempt has stored the event of that key.
    pub(super) fn has_stored(&self, key: &str) -> bool {
        self.stored_events.contains(key)
    }

    /// The failure for which the whole job should be tried again, if there is one: what has
    /// succeeded is kept, so only what has failed is done once more.
    ///
    /// # Errors
    /// That failure.
    pub(super) fn check_retry(&self, failures: &mut Vec<JobFailure>) -> Result<(), JobFailure> {
        let passing = failures
            .iter()
            .position(|failure| self.may_retry && failure.reason().is_retryable());
        match passing {
            Some(index) => Err(failures.swap_remove(index)),
            None => Ok(()),
        }
    }

    /// How the job ends with a failure after which it is not tried again: put aside, if it has been
    /// tried often enough for what may pass.
    pub(super) fn finish_of(&self, failure: &JobFailure) -> Finish {
        let is_last = self.record.soft_failures + 1 >= MAX_SOFT_FAILURES;
        if is_last && failure.reason().is_retryable() {
            Finish::Quarantined(failure.reason().as_str())
        } else {
            failure.finish()
        }
    }

    /// What an earlier attempt made of a stage, with its large part.
    ///
    /// A record that cannot be read, or whose blob is damaged, counts as absent: the stage runs again.
    pub(super) async fn restored<T: DeserializeOwned>(
        &self,
        stage: Stage,
        item: &str,
    ) -> Option<(T, Option<Bytes>)> {
        let key = (stage.as_str().to_owned(), item.to_owned());
        let checkpoint = self.checkpoints.get(&key)?;
        let record = serde_json::from_slice(checkpoint.payload.expose()).ok()?;
        let blob = match checkpoint.blob.clone() {
            Some(blob) => Some(self.pipeline.ledger.blob(blob).await.ok()?),
            None => None,
        };
        Some((record, blob))
    }

    /// Keeps what a stage made, so that no later attempt does it again.
    pub(super) async fn checkpoint<T: Serialize>(
        &self,
        stage: Stage,
        item: &str,
        record: &T,
        blob: Option<Bytes>,
    ) -> Result<(), JobFailure> {
        let payload = serde_json::to_vec(record).map_err(|_| {
            JobFailure::new(
                stage,
                ErrorCode::ProcessingFailed,
                crate::error::Reason::Internal,
                "a checkpoint could not be written",
            )
        })?;
        let checkpoint = NewCheckpoint {
            stage: stage.as_str().to_owned(),
            item: item.to_owned(),
            payload: payload.into(),
            blob: blob.map(Into::into),
        };
        self.pipeline
            .ledger
            .checkpoint(self.record.id, checkpoint)
            .await?;
        Ok(())
    }

    /// Stores one event; `key` names it within the job, so that no attempt stores it twice.
    pub(super) async fn emit(&self, key: &str, event: Event) -> Result<(), LedgerError> {
        self.hand_over(vec![(key.to_owned(), event)], Vec::new(), None)
            .await
    }

    /// Stores document writes.
    pub(super) async fn hand_over_documents(
        &self,
        documents: Vec<DocumentWrite>,
    ) -> Result<(), LedgerError> {
        self.hand_over(Vec::new(), documents, None).await
    }

    /// Stores the last events and the job's end, all or nothing.
    pub(super) async fn finish(
        &self,
        events: Vec<(String, Event)>,
        documents: Vec<DocumentWrite>,
        finish: Finish,
    ) -> Result<(), LedgerError> {
        self.hand_over(events, documents, Some(finish)).await
    }

    /// Stores events that never go out on the wire, and perhaps the job's end.
    pub(super) async fn keep(
        &self,
        events: Vec<OutgoingEvent>,
        finish: Option<Finish>,
    ) -> Result<(), LedgerError> {
        let emission = Emission {
            events,
            finish,
            ..Emission::default()
        };
        self.pipeline.emit(self.record.id, emission).await
    }

    async fn hand_over(
        &self,
        events: Vec<(String, Event)>,
        documents: Vec<DocumentWrite>,
        finish: Option<Finish>,
    ) -> Result<(), LedgerError> {
        let mut outgoing = Vec::with_capacity(events.len());
        for (key, event) in events {
            let kind = event.kind();
            // Plain data with string keys always has a JSON form.
            match outgoing_event(key, &event) {
                Ok(event) => outgoing.push(event),
                Err(_) => tracing::error!(event = kind, "event could not be written as json"),
            }
        }
        let emission = Emission {
            events: outgoing,
            documents,
            finish,
            ..Emission::default()
        };
        self.pipeline.emit(self.record.id, emission).await
    }

    /// Runs a stage: tells progress, measures it, and lets tests break it.
    pub(super) async fn stage<T>(
        &self,
        stage: Stage,
        language: Option<Language>,
        code: ErrorCode,
        work: impl Future<Output = Result<T, JobFailure>>,
    ) -> Result<T, JobFailure> {
        self.tell(stage, language, Step::Started);
        let mut clock = StageClock::start(stage, &self.pipeline.recent_times);
        let item = language.as_ref().map_or("", Language::as_str);
        let result = match fault::point(stage, item, self.fault_target()).await {
            Ok(()) => work.await,
            Err(fault) => Err(JobFailure::injected(stage, code, fault)),
        };
        clock.outcome = if result.is_ok() { "ok" } else { "error" };
        let step = if result.is_ok() {
            Step::Done
        } else {
            Step::Failed
        };
        self.tell(stage, language, step);
        result
    }

    /// Notes how far the job is when so many languages of a recording are to be spoken.
    pub(super) fn expect_languages(&self, languages: usize) {
        let voice = usize::from(languages > 0);
        let stages = STAGES_OF_RECORDING + voice + STAGES_OF_LANGUAGE * languages;
        self.pipeline.running.expect(self.record.id, stages);
    }

    /// What faults that tests inject are chosen by.
    pub(super) fn fault_target(&self) -> fault::Target<'_> {
        fault::Target {
            task_id: &self.record.task_id,
            request: self.record.request.expose(),
        }
    }

    /// When the translation of a text has to be done: longer texts get more time.
    pub(super) fn translate_deadline(&self, text: &str) -> Deadline {
        let share = self.pipeline.options.translate_budget;
        self.deadline.with_budget(translate_budget(text, share))
    }

    /// Runs one request in an engine, once its model is loaded.
    ///
    /// A crash of the engine may be a neighbour's fault, so the request gets a second chance.
    pub(super) async fn engine<E: Engine + 'static>(
        &self,
        stage: Stage,
        code: ErrorCode,
        engine: &EngineHandle<E>,
        request: impl Fn() -> E::Request,
    ) -> Result<E::Output, JobFailure> {
        let patience = self.pipeline.options.model_patience;
        let mut may_be_innocent = true;
        loop {
            let answer = if engine.ready_within(patience).await {
                engine.run(request()).await
            } else {
                Err(EngineError::Unavailable(engine.name()))
            };
            match answer {
                Err(EngineError::Crashed(_)) if may_be_innocent => may_be_innocent = false,
                answer => {
                    return answer.map_err(|error| JobFailure::of_engine(stage, code, &error));
                }
            }
        }
    }

    fn tell(&self, stage: Stage, language: Option<Language>, step: Step) {
        if self.record.id == UNRECORDED {
            return;
        }
        let (running, job_id) = (&self.pipeline.running, self.record.id);
        match step {
            Step::Started => running.begin_step(job_id, stage, language),
            Step::Done => running.end_step(job_id, stage, language, StageStatus::Done),
            Step::Failed => running.end_step(job_id, stage, language, StageStatus::Failed),
        }
        let progress = Progress {
            job_id: self.record.id,
            stage,
            language,
            step,
        };
        // Nobody has to listen.
        drop(self.pipeline.progress.send(progress));
    }
}

/// An event as the ledger keeps it.
///
/// # Errors
/// As [`Event::frames`].
pub fn outgoing_event(key: String, event: &Event) -> Result<OutgoingEvent, serde_json::Error> {
    let mut frames = event.frames()?.into_iter();
    Ok(OutgoingEvent {
        key,
        kind: event.kind(),
        is_repeatable: event.is_repeatable(),
        body: frames.next().unwrap_or_default().to_vec().into(),
        frames: frames.collect::<Vec<_>>().into(),
    })
}

/// Time for a text: one share for each started 500 characters, at most eight (contract/rules.md,
/// section 3).
fn translate_budget(text: &str, share: Duration) -> Duration {
    let shares = text.chars().count().div_ceil(CHARACTERS_PER_BUDGET);
    share.saturating_mul(shares.clamp(1, MAX_BUDGETS) as u32)
}

/// Measures a stage; one that is dropped half-way counts as cancelled.
struct StageClock<'a> {
    stage: Stage,
    started: Instant,
    outcome: &'static str,
    recent: &'a RecentTimes,
}

impl<'a> StageClock<'a> {
    fn start(stage: Stage, recent: &'a RecentTimes) -> Self {
        Self {
            stage,
            started: Instant::now(),
            outcome: "cancelled",
            recent,
        }
    }
}

impl Drop for StageClock<'_> {
    fn drop(&mut self) {
        let time = self.started.elapsed();
        metrics::histogram!(STAGE_DURATION, "stage" => self.stage.as_str(), "outcome" => self.outcome)
            .record(time.as_secs_f64());
        if self.outcome == "ok" {
            self.recent.record(self.stage, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_texts_get_more_time() {
        let seconds = |characters| {
            let text = "é".repeat(characters);
            translate_budget(&text, Duration::from_secs(45)).as_secs()
        };
        for (characters, budget) in [(1, 45), (500, 45), (501, 90), (1_000, 90), (3_501, 360)] {
            assert_eq!(seconds(characters), budget, "{characters}");
        }
        assert_eq!(seconds(100_000), 360);
    }
}
