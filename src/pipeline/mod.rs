//! The path of one job as straight code, from its stored request to its terminal event.
//!
//! ```text
//! audio.rs        recording → transcript → every language → completed
//! message.rs        the voice message of it: what is heard, whose voice, all languages at once
//! speech.rs         one language of it: translate → synthesize → encode → file
//! speaker.rs        who says it: XTTS or a base voice; spoken.rs which of them a language has
//! transcription.rs recording → transcript
//! spoken_text.rs  text → speech
//! text.rs         text → every language, and story texts
//! translation.rs    one language of it, or of a transcript: cache → translate
//! direct.rs       a text whose sender waits: no job, one language
//! voice_api/      what the voice API is asked, one file for each concern
//! voice_profile.rs voices that are measured, verified and compared for the gateway
//! conversation.rs which languages, when the request does not say
//! recording.rs    where audio comes from, and its transcript
//! uploads.rs      files that a request names
//! web.rs          URLs that a request names; addresses.rs where they may lead
//! cache.rs        texts, transcripts and speech that are given out again
//! voice.rs        the voice that a job speaks in, or makes
//! history.rs      earlier recordings of a user, for a voice
//! voice_task.rs   jobs of the daemon's own: a voice is made anew, or deleted
//! documents.rs    what a job leaves in MongoDB
//! job.rs          what every path shares: checkpoints, events, stages under a clock
//! cancel.rs       ending a job that nobody wants any more
//! end.rs          what is counted of a job that has ended
//! running.rs      how far jobs are, and a way to stop them
//! ```
//! Each step that costs something is checkpointed in the ledger, so a job that was interrupted goes
//! on where it stood, and an event that was stored once is not stored again.

mod addresses;
mod audio;
mod cache;
mod cancel;
mod conversation;
mod direct;
mod documents;
mod end;
mod failure;
mod history;
mod job;
mod message;
pub mod progress;
mod recording;
mod running;
mod speaker;
mod speech;
mod spoken;
mod spoken_text;
mod text;
mod transcription;
mod translation;
mod uploads;
mod voice;
pub mod voice_api;
mod voice_profile;
mod voice_task;
mod web;
mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::decoder::DecoderPool;
use crate::domain::{Deadline, Language};
use crate::engine::{EngineHandle, EngineStatus};
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::{Emission, Finish, JobId, JobRecord, Ledger, LedgerError, MAX_CRASHES};
use crate::observe::Health;
use crate::observe::latency::RecentMean;
use crate::outbox::Outbox;
use crate::protocol::{Event, Request, RequestError, Timestamp, readable_request};
use crate::stages::decode::DecodeLimits;
use crate::stages::encode::Mp3Options;
pub use crate::stages::encode::SpeechFormat;
use crate::stages::synthesize::XttsEngine;
use crate::stages::synthesize::base::BaseVoiceEngine;
use crate::stages::transcribe::{self, WhisperEngine};
use crate::stages::translate::{Routes, TranslateEngine};
use crate::store::{IdPolicy, MongoStore};
use crate::voices::Voices;

pub use cache::{CacheOptions, EngineFingerprint};
pub use conversation::Conversations;
pub use direct::{DirectText, DirectTranslation};
pub use end::count_end;
pub use failure::JobFailure;
use job::Job;
pub use job::outgoing_event;
pub use progress::Progress;
pub use recording::RecordingOptions;
pub use running::{Advance, RunningJob, RunningJobs};
pub use spoken::Spoken;
pub use spoken_text::SpokenText;
pub use text::items;
use voice_api::Webhooks;
pub use voice_task::{Deleted, VoiceTask, VoiceTaskKind};
pub use web::WebOptions;
pub use written::{WrittenText, WrittenTexts};

/// Lanes of jobs with recordings that are heard or spoken, by their names in the ledger: those that
/// somebody waits for, and those that may wait.
pub const AUDIO_LANES: [&str; 2] = ["audio", "audio_low"];

/// Why a job that stopped the process repeatedly has ended.
const CRASHED: &str = "crashed";

/// Keys of the events that tell of a job's end. A job that is done once more stores them anew; events of
/// single languages that succeeded stay.
pub const ENDING_EVENTS: [&str; 4] = ["error", "completed", "skipped", voice_api::REPLY];

/// Time that stages get to notice a deadline.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);

/// The engines that a job passes through; those that hear voices belong to [`Voices`].
#[derive(Clone)]
pub struct Engines {
    /// Speech to text.
    pub transcribe: EngineHandle<WhisperEngine>,
    /// Text to text.
    pub translate: EngineHandle<TranslateEngine>,
    /// Text to speech in a given voice; `None` where base voices do without it.
    pub synthesize: Option<EngineHandle<XttsEngine>>,
    /// Text to speech by base voices; `None` where there are none.
    pub base_voice: Option<EngineHandle<BaseVoiceEngine>>,
}

impl Engines {
    /// True when a language is heard; none is while there is nothing that hears.
    pub fn hears(&self, language: Language) -> bool {
        !matches!(self.transcribe.status(), EngineStatus::Failed(_)) && transcribe::knows(language)
    }

    /// True when all that there is for speech takes requests.
    pub fn can_speak(&self) -> bool {
        let xtts = self.synthesize.as_ref().map(EngineHandle::is_ready);
        let base = self.base_voice.as_ref().map(EngineHandle::is_ready);
        xtts.or(base).is_some() && xtts.unwrap_or(true) && base.unwrap_or(true)
    }
}

/// What to do with a language that has a translation but no voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnspokenLanguage {
    /// Leave it out of the speech.
    #[default]
    Skip,
    /// Speak it with English phonetics.
    English,
    /// Speak it with the phonetics of the nearest language that has a voice.
    Related,
}

/// How jobs are done.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Bounds of what is decoded.
    pub decode_limits: DecodeLimits,
    /// Where audio may come from.
    pub recording: RecordingOptions,
    /// The speech that is given out.
    pub mp3: Mp3Options,
    /// Folder of the speech files; their paths and URLs begin with it.
    pub output_directory: PathBuf,
    /// Language of a recording when nothing says it.
    pub default_language: Language,
    /// Language of a text when it cannot be told.
    pub default_text_language: Language,
    /// Longest text that is translated.
    pub max_text_characters: usize,
    /// What to do with a language that has no voice.
    pub unspoken_language: UnspokenLanguage,
    /// Languages that one job speaks at most; the first of the request.
    pub max_spoken_languages: usize,
    /// Time for the translation of each started 500 characters into one language.
    pub translate_budget: Duration,
    /// Time for the speech of one language.
    pub synthesize_budget: Duration,
    /// Results that are given out again.
    pub cache: CacheOptions,
    /// Time that a job waits for a model to be loaded.
    pub model_patience: Duration,
}

/// Everything that a job may touch, built once.
pub struct Pipeline {
    /// Where jobs, checkpoints and events are kept.
    pub ledger: Ledger,
    /// Where events leave; `None` when nobody listens, as for a single file on the command line.
    pub outbox: Option<Outbox>,
    /// The engines.
    pub engines: Engines,
    /// What decodes recordings.
    pub decoder: Arc<DecoderPool>,
    /// The voices of users.
    pub voices: Voices,
    /// Which models translate what; none while no such model is installed.
    pub routes: Routes,
    /// What the synthesizers can speak.
    pub spoken: Spoken,
    /// Who is in which conversation.
    pub conversations: Conversations,
    /// What the gateway knows of users; `None` without a database.
    pub database: Option<Arc<MongoStore>>,
    /// How ids are written to MongoDB; `None` when nothing is written there.
    pub documents: Option<IdPolicy>,
    /// How jobs are done.
    pub options: PipelineOptions,
    /// Posts the events of voice API jobs.
    pub webhooks: Webhooks,
    /// Tells who listens how far jobs are; nobody has to.
    pub progress: broadcast::Sender<Progress>,
    /// The jobs that are being worked on.
    pub running: Arc<RunningJobs>,
    /// How long stages took lately.
    pub recent_times: RecentTimes,
    /// How the parts of the daemon are.
    pub health: Arc<Health>,
}

/// How long the stages that wait for an engine took lately.
#[derive(Debug, Default)]
pub struct RecentTimes {
    /// Speech to text.
    pub transcribe: RecentMean,
    /// Text to text.
    pub translate: RecentMean,
    /// Text to speech.
    pub synthesize: RecentMean,
}

impl RecentTimes {
    fn record(&self, stage: Stage, time: Duration) {
        match stage {
            Stage::Transcribe => self.transcribe.record(time),
            Stage::Translate => self.translate.record(time),
            Stage::Synthesize => self.synthesize.record(time),
            Stage::Intake | Stage::Decode | Stage::Embed | Stage::Encode | Stage::Measure => {}
        }
    }
}

/// How an attempt at a job ended.
#[derive(Debug)]
pub enum Attempt {
    /// The job has reached its end; its terminal event is stored.
    Finished(Finish),
    /// The job may succeed later; nothing terminal is stored.
    Retry(JobFailure),
}

impl Pipeline {
    /// Does a job, or goes on with it. `may_retry` is false for the last attempt.
    ///
    /// # Errors
    /// The ledger fails: then nothing is known about the job's end, and it stays unfinished.
    pub async fn run(
        self: &Arc<Self>,
        record: JobRecord,
        may_retry: bool,
        deadline: Deadline,
    ) -> Result<Attempt, LedgerError> {
        let _running = self.running.enter(record.id, deadline.clone());
        let job = Job::restore(Arc::clone(self), record, may_retry, deadline).await?;
        let job = Arc::new(job);
        let work = async {
            if let Some(task) = VoiceTask::of(&job.record) {
                return voice_task::run(&job, &task).await;
            }
            if let Some(wanted) = SpokenText::of(&job.record) {
                return spoken_text::run(&job, wanted?).await;
            }
            match self.request_of(&job.record).await? {
                Ok(Request::AudioProcess(request)) => audio::run(&job, *request).await,
                Ok(Request::TranscriptionOnly(request)) => transcription::run(&job, request).await,
                Ok(Request::Translation(request)) => text::run(&job, request).await,
                Ok(Request::StoryText(request)) => text::run_story(&job, request).await,
                Ok(Request::VoiceApi(request)) => voice_api::run(&job, *request).await,
                Ok(Request::VoiceProfile(request)) => voice_profile::run(&job, *request).await,
                // Neither is ever accepted into the ledger by this version, but frames may get lost.
                Ok(Request::Ping) | Err(_) => Err(JobFailure::unreadable_request()),
            }
        };
        // Stages end by themselves at the deadline; this catches one that hangs.
        let outcome = match job.deadline.remaining() {
            None => work.await,
            Some(remaining) => tokio::time::timeout(remaining + DEADLINE_GRACE, work)
                .await
                .unwrap_or_else(|_| Err(JobFailure::overdue())),
        };
        match outcome {
            Ok(finish) => Ok(Attempt::Finished(finish)),
            Err(JobFailure::Ledger(error)) => Err(error),
            Err(failure) if may_retry && failure.reason().is_retryable() => {
                Ok(Attempt::Retry(failure))
            }
            Err(failure) => {
                let finish = job.finish_of(&failure);
                self.fail(&job, &failure, finish).await?;
                Ok(Attempt::Finished(finish))
            }
        }
    }

    /// Gives up a job that killed the process again and again, or panicked; returns how it has ended.
    ///
    /// # Errors
    /// The ledger fails.
    pub async fn quarantine(self: &Arc<Self>, record: JobRecord) -> Result<Finish, LedgerError> {
        let (cause, message) = if record.crashes >= MAX_CRASHES {
            let message = "the job stopped the process repeatedly and was put aside";
            (CRASHED, message)
        } else {
            let message = "the job failed repeatedly and was put aside";
            (Reason::Internal.as_str(), message)
        };
        let job = Job::restore(Arc::clone(self), record, false, Deadline::none()).await?;
        let failure = JobFailure::new(
            Stage::Intake,
            ErrorCode::ProcessingFailed,
            Reason::Internal,
            message,
        );
        let finish = Finish::Quarantined(cause);
        self.fail(&Arc::new(job), &failure, finish).await?;
        Ok(finish)
    }

    /// Ends a job that is not what was accepted, with an error event for whom it still names. Nothing of it
    /// is done.
    ///
    /// # Errors
    /// The ledger fails.
    pub async fn end_damaged(
        self: &Arc<Self>,
        mut record: JobRecord,
    ) -> Result<Finish, LedgerError> {
        let failure = JobFailure::new(
            Stage::Intake,
            ErrorCode::ProcessingFailed,
            Reason::Internal,
            "the stored request is damaged",
        );
        let request = readable_request(&record.kind, &record.task_id, record.request.expose());
        record.request = request.into();
        let job = Job::restore(Arc::clone(self), record, false, Deadline::none()).await?;
        self.fail(&Arc::new(job), &failure, failure.finish())
            .await?;
        Ok(failure.finish())
    }

    /// Stores the error event that tells the gateway, and the job's end.
    async fn fail(
        &self,
        job: &Arc<Job>,
        failure: &JobFailure,
        finish: Finish,
    ) -> Result<(), LedgerError> {
        failure.record(job.kind());
        if SpokenText::is_of(&job.record) {
            return spoken_text::fail(job, failure, finish).await;
        }
        let event = if VoiceTask::of(&job.record).is_some() {
            None
        } else {
            match self.request_of(&job.record).await? {
                Ok(Request::VoiceApi(request)) if job.record.public_id.is_some() => {
                    let event = voice_api::failed(&job.record, &request, failure);
                    let events = vec![(voice_api::FAILED.to_owned(), event.clone())];
                    job.finish(events, Vec::new(), finish).await?;
                    voice_api::post(self, *request, &event);
                    return Ok(());
                }
                Ok(request) => failure.event(&request, &job.record.task_id, Timestamp::now()),
                Err(error) => error.answer(Timestamp::now()),
            }
        };
        let events: Vec<(String, Event)> = event
            .into_iter()
            .map(|event| ("error".to_owned(), event))
            .collect();
        job.finish(events, Vec::new(), finish).await?;
        Ok(())
    }

    /// Stores what a job hands over, and lets its events be published.
    async fn emit(&self, job_id: JobId, mut emission: Emission) -> Result<(), LedgerError> {
        if emission.finish.is_some() {
            emission.stages = self.running.ended_stages(job_id);
        }
        match &self.outbox {
            Some(outbox) => outbox.emit(job_id, emission).await?,
            None => self.ledger.emit(job_id, emission).await?,
        }
        self.running.tell(job_id);
        Ok(())
    }

    async fn request_of(
        &self,
        record: &JobRecord,
    ) -> Result<Result<Request, RequestError>, LedgerError> {
        let mut frames = vec![record.request.expose().clone()];
        match self.ledger.frames(record.id).await {
            Ok(binary) => frames.extend(binary),
            // The JSON names what is missing and whom to tell: better than a job that never ends.
            Err(error) if error.is_damage() => {
                tracing::error!(job.id = record.id.0, %error, "a request has lost its frames");
            }
            Err(error) => return Err(error),
        }
        Ok(match crate::protocol::parse(&frames) {
            Ok(mut request) => {
                request.set_task_id(record.task_id.clone());
                text::keep_items(&mut request, &record.items);
                Ok(request)
            }
            Err(mut error) => {
                error.set_task_id(record.task_id.clone());
                Err(error)
            }
        })
    }
}
