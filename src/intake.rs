//! Receive, check, keep: what the PULL thread does with each message.
//!
//! A request counts as accepted when it is in the ledger. What cannot be accepted is answered at
//! once; what is no request at all is counted, and answered where that is possible. Nothing here waits for a model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{ErrorCode, Reason, Stage, error_chain};
use crate::ledger::{Accepted, Ledger, LedgerError, NewJob};
use crate::observe::metrics::{ANSWERS_DROPPED, JOBS_ACCEPTED, REQUESTS_REJECTED};
use crate::outbox::Outbox;
use crate::pipeline::{JobFailure, items, outgoing_event, voice_api};
use crate::protocol::{Event, POOL_FULL, Pong, Request, RequestError, Timestamp, VoiceCall, parse};
use crate::scheduler::{Lane, Place, Scheduler};
use crate::transport::zmq::Incoming;

/// Pause between tries to write to a ledger that refuses; meanwhile nothing is read, and senders wait.
const LEDGER_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Pause between tries to put an answer before a full queue.
const ANSWER_RETRY_PAUSE: Duration = Duration::from_millis(10);

/// What tells whether audio can be worked on right now.
pub type AudioAvailable = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the daemon says about itself when it is asked.
#[derive(Clone)]
pub struct SignOfLife {
    /// Port of the requests.
    pub pull_port: u16,
    /// Port of the events.
    pub pub_port: u16,
    /// Whether audio can be worked on right now.
    pub audio_available: AudioAvailable,
}

impl SignOfLife {
    /// The `pong` of this moment.
    pub fn pong(&self) -> Event {
        Event::Pong(Pong::new(
            self.pull_port,
            self.pub_port,
            (self.audio_available)(),
            Timestamp::now(),
        ))
    }
}

/// The receiving end: owns nothing but its ways to the rest.
pub struct Receiver {
    /// Where requests become jobs.
    pub ledger: Ledger,
    /// Where jobs wait.
    pub scheduler: Arc<Scheduler>,
    /// Where answers leave.
    pub outbox: Outbox,
    /// The answer to a ping.
    pub sign_of_life: SignOfLife,
    /// False: recordings are refused.
    pub audio_enabled: bool,
    /// False: requests of the voice API and of voice profiles are refused.
    pub voice_api_enabled: bool,
    /// Set when the daemon stops.
    pub stopping: Arc<AtomicBool>,
}

/// A request that is to become a job.
struct Candidate<'a> {
    request: Request,
    task_id: String,
    lane: Lane,
    memory_bytes: u64,
    /// `None` when the lane is full, for all or for the sender: then it must be a repeat.
    place: Option<Place<'a>>,
    frames: Vec<Bytes>,
}

impl Receiver {
    /// True while nothing is to be received: the disk takes nothing more, and senders wait.
    pub fn is_paused(&self) -> bool {
        self.ledger.storage().fault().is_some()
    }

    /// Takes what has arrived; returns when all of it is durable, answered or dropped.
    pub fn receive(&self, batch: Vec<Incoming>) {
        let mut rejected = Vec::new();
        let candidates: Vec<Candidate<'_>> = batch
            .into_iter()
            .filter_map(|incoming| match incoming {
                Incoming::Message(frames) => match parse(&frames) {
                    Ok(request) => self.check(request, frames),
                    Err(error) => {
                        rejected.push(error);
                        None
                    }
                },
                Incoming::TooLarge { head, .. } => {
                    self.refuse_too_large(head);
                    None
                }
            })
            .collect();
        if !candidates.is_empty() {
            self.accept(candidates);
        }
        for error in rejected {
            self.reject(&error);
        }
    }

    fn check(&self, mut request: Request, frames: Vec<Bytes>) -> Option<Candidate<'_>> {
        let Some(lane) = Lane::of(&request) else {
            self.answer_ping();
            return None;
        };
        let task_id = match request.task_id() {
            Some(task_id) => task_id.to_owned(),
            None => Uuid::new_v4().to_string(),
        };
        request.set_task_id(task_id.clone());
        if let Some(service) = self.disabled_service(&request, lane) {
            let failure = JobFailure::new(
                Stage::Intake,
                ErrorCode::PipelineUnavailable,
                Reason::ModelUnavailable,
                format!("{service} is switched off in this daemon"),
            );
            self.refuse(&request, &task_id, &failure);
            return None;
        }
        let demand = self.scheduler.demand(&request, lane, &frames);
        Some(Candidate {
            request,
            task_id,
            lane,
            memory_bytes: demand.memory_bytes,
            place: self.scheduler.reserve(demand).ok(),
            frames,
        })
    }

    /// The service that the request needs and that is switched off, if there is one.
    fn disabled_service(&self, request: &Request, lane: Lane) -> Option<&'static str> {
        let is_voice_api = matches!(request, Request::VoiceApi(_) | Request::VoiceProfile(_));
        if is_voice_api && !self.voice_api_enabled {
            return Some("the voice api");
        }
        (lane.needs_audio() && !self.audio_enabled).then_some("audio")
    }

    /// Keeps the candidates, and tells those that are refused.
    fn accept(&self, candidates: Vec<Candidate<'_>>) {
        match self.keep(&candidates) {
            None => tracing::error!(
                requests = candidates.len(),
                "requests are lost: the daemon stops"
            ),
            Some(Ok(answers)) => {
                for (candidate, answer) in candidates.into_iter().zip(answers) {
                    self.settle(candidate, answer);
                }
                // Some answers are stored together with their jobs.
                self.outbox.wake();
            }
            // One of them must not keep the others out.
            Some(Err(_)) if candidates.len() > 1 => {
                for candidate in candidates {
                    self.accept(vec![candidate]);
                }
            }
            Some(Err(error)) => {
                tracing::error!(error = %error_chain(&error), "a request cannot be kept");
                let failure = JobFailure::new(
                    Stage::Intake,
                    ErrorCode::ProcessingFailed,
                    Reason::Internal,
                    "the request could not be stored",
                );
                for candidate in candidates {
                    self.refuse(&candidate.request, &candidate.task_id, &failure);
                }
            }
        }
    }

    /// Puts candidates into the ledger. Holds the thread, and with it the senders, while the disk refuses;
    /// `None` when the daemon stops meanwhile.
    fn keep(&self, candidates: &[Candidate<'_>]) -> Option<Result<Vec<Accepted>, LedgerError>> {
        loop {
            let jobs = candidates.iter().map(Candidate::job).collect();
            match self.ledger.accept_blocking(jobs) {
                // Of the disk the storage tells, once.
                Err(error) if self.ledger.note_storage(&error) => {}
                Err(error) if error.is_environmental() => {
                    tracing::error!(
                        error = %error_chain(&error),
                        requests = candidates.len(),
                        "requests cannot be kept, intake waits"
                    );
                }
                kept => return Some(kept),
            }
            if self.stopping.load(Ordering::Relaxed) {
                return None;
            }
            std::thread::sleep(LEDGER_RETRY_PAUSE);
        }
    }

    fn settle(&self, candidate: Candidate<'_>, answer: Accepted) {
        match answer {
            Accepted::New(job_id) => {
                metrics::counter!(JOBS_ACCEPTED, "kind" => candidate.request.kind().as_str())
                    .increment(1);
                if let Some(place) = candidate.place {
                    place.enqueue(job_id);
                }
            }
            Accepted::Duplicate { job_id, state } if state.is_finished() => {
                tracing::info!(job.id = job_id.0, "request repeats a finished job");
            }
            Accepted::Duplicate { job_id, .. } => {
                tracing::info!(job.id = job_id.0, "request repeats a job in progress");
            }
            Accepted::Refused => {
                let failure = JobFailure::new(
                    Stage::Intake,
                    ErrorCode::ProcessingFailed,
                    Reason::Overloaded,
                    POOL_FULL,
                );
                self.refuse(&candidate.request, &candidate.task_id, &failure);
            }
        }
    }

    fn reject(&self, error: &RequestError) {
        let reason = error.reason().as_str();
        metrics::counter!(REQUESTS_REJECTED, "reason" => reason).increment(1);
        tracing::warn!(reason, error = %error, "request rejected");
        if let Some(event) = error.answer(Timestamp::now()) {
            self.answer_if_possible(&event);
        }
    }

    fn refuse(&self, request: &Request, task_id: &str, failure: &JobFailure) {
        let reason = failure.reason().as_str();
        metrics::counter!(REQUESTS_REJECTED, "reason" => reason).increment(1);
        tracing::warn!(reason, kind = request.kind().as_str(), "request refused");
        if let Some(event) = failure.event(request, task_id, Timestamp::now()) {
            self.answer(&event);
        }
    }

    fn refuse_too_large(&self, head: Option<Bytes>) {
        let failure = JobFailure::new(
            Stage::Intake,
            ErrorCode::TranscriptionFailed,
            Reason::AudioTooLarge,
            "the request is larger than this daemon takes",
        );
        match head.map(|head| parse(&[head])) {
            Some(Ok(request)) => {
                let task_id = request
                    .task_id()
                    .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
                self.refuse(&request, &task_id, &failure);
            }
            Some(Err(error)) => self.reject(&error.of_oversized_message()),
            None => {
                let reason = failure.reason().as_str();
                metrics::counter!(REQUESTS_REJECTED, "reason" => reason).increment(1);
                tracing::warn!(reason, "request rejected");
            }
        }
    }

    /// Publishes a pong; one that finds no place would be worth nothing later.
    fn answer_ping(&self) {
        if let Ok(frames) = self.sign_of_life.pong().frames()
            && self.outbox.publish_now(frames).is_err()
        {
            tracing::debug!("ping not answered, the publisher does not keep up");
        }
    }

    /// Publishes the answer to a request that is refused. Holds the thread, and with it the senders, until
    /// there is room for it: whoever keeps to the rules waits or is told.
    fn answer(&self, event: &Event) {
        while !self.try_answer(event) {
            if self.stopping.load(Ordering::Relaxed) {
                tracing::warn!(event = event.kind(), "an answer is lost: the daemon stops");
                return;
            }
            std::thread::sleep(ANSWER_RETRY_PAUSE);
        }
    }

    /// Publishes the answer to what is no request; a flood of them must not hold those that are.
    fn answer_if_possible(&self, event: &Event) {
        if !self.try_answer(event) {
            metrics::counter!(ANSWERS_DROPPED).increment(1);
        }
    }

    /// False when the publisher has no room for the answer.
    fn try_answer(&self, event: &Event) -> bool {
        match event.frames() {
            Ok(frames) => self.outbox.publish_now(frames).is_ok(),
            Err(_) => {
                tracing::error!(event = event.kind(), "event could not be written as json");
                true
            }
        }
    }
}

impl Candidate<'_> {
    fn job(&self) -> NewJob {
        // A repeat needs no frames, and what is refused must leave none on the disk.
        let kept = match self.place {
            Some(_) => &self.frames[..],
            None => self.frames.get(..1).unwrap_or_default(),
        };
        NewJob {
            is_surplus: self.place.is_none(),
            memory_bytes: self.memory_bytes,
            ..new_job(&self.request, self.lane, self.task_id.clone(), kept)
        }
    }
}

/// What the ledger keeps of a request that came as `frames`.
pub fn new_job(request: &Request, lane: Lane, task_id: String, frames: &[Bytes]) -> NewJob {
    let mut frames = frames.iter();
    let json = frames.next().map(Bytes::as_ref).unwrap_or_default();
    let key = request.dedup_key();
    let (public_id, events) = match request {
        Request::VoiceApi(request) if matches!(request.call, VoiceCall::TranslateAsync(..)) => {
            let job_id = voice_api::job_id(&key);
            let accepted = voice_api::accepted(request, job_id.clone());
            // Plain data with string keys always has a JSON form.
            let event = outgoing_event("accepted".to_owned(), &accepted).ok();
            (Some(job_id), event.into_iter().collect())
        }
        _ => (None, Vec::new()),
    };
    NewJob {
        key,
        items: items(request),
        kind: request.kind().as_str().to_owned(),
        lane: lane.as_str().to_owned(),
        task_id,
        // Parsed as JSON, so it is UTF-8.
        request: String::from_utf8_lossy(json).into_owned().into(),
        frames: frames.cloned().collect::<Vec<_>>().into(),
        user_id: request.user_id().map(str::to_owned),
        public_id,
        events,
        ..NewJob::default()
    }
}
