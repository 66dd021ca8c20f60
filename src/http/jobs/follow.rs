//! Streams of what happens to jobs (server-sent events). A new stream tells everything that is known so far.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use utoipa::ToSchema;

use super::report::{JobStatus, Loaded, StageReport, by_id};
use super::result::{SegmentReport, TranscriptionReport, TranslatedAudio};
use super::work::changed;
use super::{JobsState, heard, result};
use crate::error::{Stage, error_chain};
use crate::ledger::{Audience, Checkpoint, JobFilter, JobId, LedgerError, StageRun, StageStatus};
use crate::pipeline::WrittenTexts;

/// Least time between two looks at the ledger: what happens at once is told at once.
const PACE: Duration = Duration::from_millis(50);
/// How often jobs are looked for that nobody has told of: those of the gateway that wait.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Jobs that a stream of all of them begins with.
const NEWEST: u32 = 50;

/// An event of a stream.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes events, which axum writes")]
pub struct ServerEvent {
    event: EventName,
    /// As JSON: a `JobReport`, `StageNews`, `Heard`, `TranslatedLanguage` or `SpokenLanguage`.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// What an event tells.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(
    dead_code,
    reason = "it describes names, which are written where events are told"
)]
pub enum EventName {
    Job,
    Stage,
    Transcribed,
    Translated,
    Spoken,
}

/// How a stage of a job stands now.
#[derive(Serialize, ToSchema)]
pub struct StageNews {
    /// The job.
    id: String,
    #[serde(flatten)]
    stage: StageReport,
    /// Of the job, in percent.
    #[schema(maximum = 100)]
    progress: u8,
}

/// What is said in a recording.
#[derive(Serialize, ToSchema)]
pub struct Heard {
    text: String,
    language: String,
    /// In 0..1.
    confidence: f64,
    segments: Option<Vec<SegmentReport>>,
}

impl Heard {
    fn of(heard: TranscriptionReport) -> Self {
        Self {
            text: heard.text,
            language: heard.language,
            confidence: heard.confidence,
            segments: heard.segments,
        }
    }
}

/// The same in another language.
#[derive(Serialize, ToSchema)]
pub struct TranslatedLanguage {
    language: String,
    text: String,
}

/// Speech in another language.
#[derive(Serialize, ToSchema)]
pub struct SpokenLanguage {
    language: String,
    /// Where it is served.
    audio_url: String,
    duration_ms: u64,
    /// True when it is the sender's voice.
    voice_cloned: bool,
    /// In 0..1.
    voice_quality: f64,
}

impl SpokenLanguage {
    fn of(audio: TranslatedAudio) -> Self {
        Self {
            language: audio.target_language,
            audio_url: audio.audio_url,
            duration_ms: audio.duration_ms,
            voice_cloned: audio.voice_cloned,
            voice_quality: audio.voice_quality,
        }
    }
}

/// What tells of jobs, one event after the other.
pub(super) trait Follow: Send + 'static {
    /// The next event; `None` after the last, and when the daemon stops.
    fn next(&mut self) -> impl Future<Output = Option<sse::Event>> + Send;
}

/// The events as a stream; the place is free again once it is dropped.
pub(super) fn stream(
    follow: impl Follow,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    unfold((follow, place), |(mut follow, place)| async move {
        let event = follow.next().await?;
        Some((Ok(event), (follow, place)))
    })
}

/// The stream of one job.
pub(super) struct FollowJob {
    state: JobsState,
    changes: broadcast::Receiver<JobId>,
    job: Loaded,
    is_begun: bool,
    stages: Told,
    /// The last event of the job that was told.
    last_event: i64,
    /// Languages whose text was told.
    translated: HashSet<String>,
    waiting: VecDeque<sse::Event>,
}

/// The stages of a job that were told, each with how it stood.
#[derive(Default)]
struct Told(Vec<StageStatus>);

impl Told {
    /// The stages that are new, or stand otherwise.
    fn news<'a>(&mut self, stages: &'a [StageRun]) -> Vec<&'a StageRun> {
        // A new attempt begins anew.
        if stages.len() < self.0.len() {
            self.0.clear();
        }
        let mut news = Vec::new();
        for (position, stage) in stages.iter().enumerate() {
            match self.0.get_mut(position) {
                Some(told) if *told == stage.status => continue,
                Some(told) => *told = stage.status,
                None => self.0.push(stage.status),
            }
            news.push(stage);
        }
        news
    }
}

impl FollowJob {
    pub(super) fn new(state: JobsState, job: Loaded) -> Self {
        Self {
            changes: state.pipeline.running.changes(),
            state,
            job,
            is_begun: false,
            stages: Told::default(),
            last_event: 0,
            translated: HashSet::new(),
            waiting: VecDeque::new(),
        }
    }
}

impl Follow for FollowJob {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_begun {
                if self.job.is_over() {
                    return None;
                }
                let state = self.state.clone();
                tokio::select! {
                    () = state.stopped() => return None,
                    () = changed(&mut self.changes, self.job.summary.id) => {}
                }
                tokio::time::sleep(PACE).await;
            }
            if let Err(error) = self.look().await {
                tracing::error!(error = %error_chain(&error), "a job can no longer be followed");
                return None;
            }
        }
    }
}

impl FollowJob {
    /// Looks at the job, and notes what is new of it.
    async fn look(&mut self) -> Result<(), LedgerError> {
        let job_id = self.job.summary.id;
        let Some(summary) = by_id(&self.state.pipeline, job_id).await? else {
            return Err(LedgerError::UnknownJob(job_id));
        };
        // Before its events: a job that has ended has all of them.
        let job = Loaded::of(&self.state.pipeline, summary).await?;
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let is_changed = !is_first && job.status != self.job.status;
        self.job = job;
        if is_first {
            self.tell_job().await?;
        }
        for stage in self.stages.news(&self.job.stages) {
            self.waiting.push_back(stage_event(&self.job, stage));
        }
        if self.job.summary.audience == Audience::Http {
            self.tell_content().await?;
        }
        // Of one that has ended before, the job is the last as well as the first.
        if is_changed || (is_first && self.job.is_over()) {
            self.tell_job().await?;
        }
        Ok(())
    }

    async fn tell_job(&mut self) -> Result<(), LedgerError> {
        let report = self.job.whole(&self.state.pipeline).await?;
        self.waiting.push_back(event("job", &report));
        Ok(())
    }

    /// Tells what was heard, translated and spoken.
    async fn tell_content(&mut self) -> Result<(), LedgerError> {
        self.tell_translations().await?;
        let ledger = &self.state.pipeline.ledger;
        let events = ledger
            .events_after(self.job.summary.id, self.last_event)
            .await?;
        for stored in events {
            self.last_event = stored.id;
            let body = stored.body.expose();
            match stored.key.split_once(':') {
                Some(("audio", _)) => {
                    if let Some(audio) = result::translated(body) {
                        self.tell_translation(&audio.target_language, &audio.translated_text);
                        let spoken = SpokenLanguage::of(audio);
                        self.waiting.push_back(event("spoken", &spoken));
                    }
                }
                None if stored.key == WrittenTexts::KEY => {
                    for written in result::written_texts(body).into_iter().flatten() {
                        self.tell_translation(&written.language, &written.text);
                    }
                }
                None if is_of_transcript(&self.job, &stored.key) => {
                    if let Some(heard) = heard(body) {
                        let heard = Heard::of(heard);
                        self.waiting.push_back(event("transcribed", &heard));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells texts that are translated and not spoken yet.
    async fn tell_translations(&mut self) -> Result<(), LedgerError> {
        let is_untold = |stage: &&StageRun| {
            let language = stage.language.as_deref().unwrap_or_default();
            stage.stage == Stage::Translate.as_str()
                && stage.status == StageStatus::Done
                && !self.translated.contains(language)
        };
        if !self.job.stages.iter().any(|stage| is_untold(&stage)) {
            return Ok(());
        }
        let ledger = &self.state.pipeline.ledger;
        for (language, text) in translations(&ledger.checkpoints(self.job.summary.id).await?) {
            self.tell_translation(&language, &text);
        }
        Ok(())
    }

    fn tell_translation(&mut self, language: &str, text: &str) {
        if self.translated.insert(language.to_owned()) {
            let translated = TranslatedLanguage {
                language: language.to_owned(),
                text: text.to_owned(),
            };
            self.waiting.push_back(event("translated", &translated));
        }
    }
}

/// The stream of all jobs.
pub(super) struct FollowAll {
    state: JobsState,
    changes: broadcast::Receiver<JobId>,
    /// Jobs that have not ended, as they were told.
    told: HashMap<JobId, (JobStatus, Told)>,
    /// The newest job that was told.
    newest: Option<JobId>,
    waiting: VecDeque<sse::Event>,
}

impl FollowAll {
    pub(super) fn new(state: JobsState) -> Self {
        Self {
            changes: state.pipeline.running.changes(),
            state,
            told: HashMap::new(),
            newest: None,
            waiting: VecDeque::new(),
        }
    }
}

impl Follow for FollowAll {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let mut changed = HashSet::new();
            if self.newest.is_some() {
                let state = self.state.clone();
                tokio::select! {
                    () = state.stopped() => return None,
                    first = self.changes.recv() => self.note(first, &mut changed),
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                }
                tokio::time::sleep(PACE).await;
                loop {
                    match self.changes.try_recv() {
                        Ok(next) => self.note(Ok(next), &mut changed),
                        Err(TryRecvError::Lagged(missed)) => {
                            self.note(Err(RecvError::Lagged(missed)), &mut changed);
                        }
                        Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    }
                }
            }
            if let Err(error) = self.look(changed).await {
                tracing::error!(error = %error_chain(&error), "jobs can no longer be followed");
                return None;
            }
        }
    }
}

impl FollowAll {
    fn note(&self, change: Result<JobId, RecvError>, changed: &mut HashSet<JobId>) {
        match change {
            Ok(job_id) => drop(changed.insert(job_id)),
            // What was missed was about one of these, or of one that the next look finds.
            Err(_) => changed.extend(self.told.keys()),
        }
    }

    async fn look(&mut self, changed: HashSet<JobId>) -> Result<(), LedgerError> {
        let filter = JobFilter {
            limit: NEWEST,
            ..JobFilter::default()
        };
        let mut summaries = self.state.pipeline.ledger.jobs(filter).await?.jobs;
        let newest = self.newest.unwrap_or_default();
        self.newest = Some(summaries.first().map_or(newest, |summary| summary.id));
        summaries.retain(|summary| summary.id > newest || changed.contains(&summary.id));
        let known: HashSet<JobId> = summaries.iter().map(|summary| summary.id).collect();
        for job_id in changed.difference(&known) {
            summaries.extend(by_id(&self.state.pipeline, *job_id).await?);
        }
        summaries.sort_by_key(|summary| summary.id);
        for summary in summaries {
            let job = Loaded::of(&self.state.pipeline, summary).await?;
            self.tell(&job);
        }
        Ok(())
    }

    fn tell(&mut self, job: &Loaded) {
        let job_id = job.summary.id;
        let is_new = !self.told.contains_key(&job_id);
        let (status, stages) = self
            .told
            .entry(job_id)
            .or_insert_with(|| (job.status, Told::default()));
        let is_changed = is_new || *status != job.status;
        *status = job.status;
        // A job comes with all its stages.
        let news = stages.news(&job.stages);
        if is_changed {
            self.waiting.push_back(event("job", &job.report()));
        } else {
            for stage in news {
                self.waiting.push_back(stage_event(job, stage));
            }
        }
        if job.is_over() {
            self.told.remove(&job_id);
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> sse::Event {
    let event = sse::Event::default().event(name);
    // Plain data with string keys always has a JSON form.
    event.json_data(data).unwrap_or_default()
}

fn stage_event(job: &Loaded, stage: &StageRun) -> sse::Event {
    let news = StageNews {
        id: job.id(),
        stage: StageReport::of(stage),
        progress: job.progress(),
    };
    event("stage", &news)
}

/// True for the event that tells first what was heard.
fn is_of_transcript(job: &Loaded, key: &str) -> bool {
    match job.summary.kind.as_str() {
        "audio_process" => key == "transcription_ready",
        "transcription_only" => key == "completed",
        _ => false,
    }
}

/// What the job has translated so far.
fn translations(checkpoints: &[Checkpoint]) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Translated {
        text: String,
    }

    let of_language = |checkpoint: &&Checkpoint| {
        checkpoint.stage == Stage::Translate.as_str() && !checkpoint.item.is_empty()
    };
    let texts = checkpoints
        .iter()
        .filter(of_language)
        .filter_map(|checkpoint| {
            let translated: Translated =
                serde_json::from_slice(checkpoint.payload.expose()).ok()?;
            Some((checkpoint.item.clone(), translated.text))
        });
    texts.collect()
}
