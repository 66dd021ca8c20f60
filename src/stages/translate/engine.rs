//! The translate engine: sentences of all requests, decoded together.
//!
//! Sentences of the same model and search form a *cohort*, whosoever they are. They leave when they are done, and others join
//! at any step where the graphs allow it. Where they do not, or the cohort is full, a newcomer starts a cohort of its
//! own at once instead of waiting for a long text to end. Cohorts take turns, one token each. Recordings give way to
//! texts: while texts are decoded they have few of the turns.
//!
//! There are so many places for cohorts, and room for so many checkpoints. Where a sentence finds neither, a cohort is
//! *closed*: nothing joins it any more, it ends within a sentence, and what waits for that starts in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::TranslateOptions;
use super::cohorts::{Cohorts, Running};
use super::error::{ModelError, TranslateError};
use super::job::{Job, Progress, Request, Search, Sentence, Slot, Translation};
use super::line::{Kind, Line, Waiting, Whose};
use super::marian::{Hypothesis, Marian};
use super::models::Models;
use super::route::{Pair, Route, Routes};
use crate::onnx::Onnx;
use crate::stages::{Engine, Ticket};

type Answer = (Ticket, Result<Translation, TranslateError>);

/// MarianMT behind the engine contract. Checkpoints are loaded when they are first needed, or
/// [before](Self::preload); one that cannot be loaded fails only the requests that need it.
pub struct TranslateEngine {
    options: TranslateOptions,
    routes: Routes,
    models: Models,
    jobs: BTreeMap<Ticket, Job>,
    line: Line,
    cohorts: Cohorts,
    /// What a cohort was closed for: it starts before all others.
    next: Option<Kind>,
    /// Sentences that were given to cohorts so far: the next one's key.
    keys: usize,
    /// Requests that were answered while they joined.
    answers: Vec<Answer>,
    /// Decoder rows of the last step.
    decoded_rows: usize,
}

/// Sentences that were encoded for a cohort.
#[derive(Default)]
struct Batch {
    /// Ids by key, in the order of the rows.
    sentences: Vec<(usize, Vec<i64>)>,
    /// Whose they are.
    members: BTreeMap<usize, (Ticket, Slot)>,
}

impl TranslateEngine {
    /// An engine for the installed pairs; loads no checkpoint yet.
    pub fn new(onnx: Onnx, routes: Routes, options: TranslateOptions) -> Self {
        Self {
            models: Models::new(onnx, &options),
            options,
            routes,
            jobs: BTreeMap::new(),
            line: Line::default(),
            cohorts: Cohorts::new(options.max_cohorts),
            next: None,
            keys: 0,
            answers: Vec::new(),
            decoded_rows: 0,
        }
    }

    /// Loads as many checkpoints as may be in memory, so that no text waits for one of them.
    pub fn preload(&mut self) {
        let pairs = self.routes.pairs().to_vec();
        for pair in pairs.iter().take(self.options.max_loaded_models) {
            if let Err(error) = self.models.get(pair, &[]) {
                log_unloadable(pair, &error);
            }
        }
    }

    fn admit(&mut self, ticket: Ticket, request: Request) -> Result<(), TranslateError> {
        request.deadline.check()?;
        let characters = request.text.expose().chars().count();
        if characters > self.options.max_text_characters {
            return Err(TranslateError::TextTooLong {
                characters,
                limit: self.options.max_text_characters,
            });
        }
        let route = if request.text.expose().trim().is_empty() {
            Route::Same
        } else {
            self.routes
                .route(request.source_language, request.target_language)?
        };
        let (job, sentences) = Job::new(request, route, &self.options);
        if sentences.is_empty() {
            self.answers.push((ticket, Ok(job.unchanged())));
        } else {
            self.jobs.insert(ticket, job);
            self.enqueue(ticket, sentences);
        }
        Ok(())
    }

    /// Puts sentences of a job's current leg in line.
    fn enqueue(&mut self, ticket: Ticket, sentences: Vec<Sentence>) {
        let Some(job) = self.jobs.get(&ticket) else {
            return;
        };
        let Some(leg) = job.leg() else {
            return;
        };
        for sentence in sentences {
            let leg = leg.clone();
            let waiting = Waiting {
                ticket,
                leg,
                sentence,
            };
            self.line.push(job.priority(), waiting);
        }
    }

    /// Lets the requests go whose time is over.
    fn expire(&mut self, answers: &mut Vec<Answer>) {
        let stopped: Vec<_> = self
            .jobs
            .iter()
            .filter_map(|(ticket, job)| Some((*ticket, job.deadline().check().err()?)))
            .collect();
        for (ticket, stop) in stopped {
            self.fail(ticket, stop.into(), answers);
        }
    }

    fn fail(&mut self, ticket: Ticket, error: TranslateError, answers: &mut Vec<Answer>) {
        if self.jobs.remove(&ticket).is_none() {
            return;
        }
        self.line.remove(ticket);
        self.cohorts.remove(ticket);
        answers.push((ticket, Err(error)));
    }

    /// Lets sentences that wait join the cohorts of their kind. Only the first one of a kind takes those of requests that
    /// have something in it already: a long text would have all places else.
    fn join_cohorts(&mut self, answers: &mut Vec<Answer>) {
        for (index, is_first) in self.cohorts.by_rows() {
            let running = &self.cohorts.running[index];
            let vacancies = running.vacancies(self.options.max_batch_rows);
            if vacancies == 0 {
                continue;
            }
            let (kind, whose) = (running.kind.clone(), whose(!is_first));
            let batch = self
                .line
                .take(&kind, vacancies, whose, &self.cohorts.tickets());
            let Some(batch) = self.encode(&kind.pair, batch, answers) else {
                continue;
            };
            let running = &mut self.cohorts.running[index];
            running.members.extend(batch.members);
            let joined = self
                .models
                .get(&kind.pair, &[])
                .and_then(|model| model.join(&mut running.cohort, &batch.sentences));
            if let Err(error) = joined {
                let tickets = running.tickets();
                self.fail_run(&kind.pair, tickets, error, answers);
            }
        }
    }

    /// Starts a cohort if sentences wait that should not wait any longer.
    fn start_cohort(&mut self, answers: &mut Vec<Answer>) {
        let Some((kind, whose)) = self.next_kind() else {
            return;
        };
        let busy = self.cohorts.busy_pairs();
        let beams = match self.models.get(&kind.pair, &busy) {
            Ok(model) => beams(kind.search, model),
            Err(error) => {
                self.fail_load(&kind.pair, error, answers);
                return;
            }
        };
        let sentences = (self.options.max_batch_rows / beams).max(1);
        let batch = self
            .line
            .take(&kind, sentences, whose, &self.cohorts.tickets());
        let Some(batch) = self.encode(&kind.pair, batch, answers) else {
            return;
        };
        let started = self
            .models
            .get(&kind.pair, &busy)
            .and_then(|model| model.start(&batch.sentences, beams, self.options.max_new_tokens));
        match started {
            Ok(cohort) => self.cohorts.running.push(Running {
                kind,
                cohort,
                members: batch.members,
                is_closed: false,
            }),
            Err(error) => {
                let tickets = batch.members.values().map(|(ticket, _)| *ticket).collect();
                self.fail_run(&kind.pair, tickets, error, answers);
            }
        }
    }

    /// For which kind a cohort may be started, and with whose sentences: where one runs already, for requests that have
    /// nothing running.
    fn next_kind(&mut self) -> Option<(Kind, Whose)> {
        let running = self.cohorts.tickets();
        if let Some(next) = self.next.take() {
            let waits = self.line.oldest(&next, Whose::Anybodys, &running).is_some();
            if waits && self.may_start(&next) {
                return Some((next, Whose::Anybodys));
            }
            self.next = waits.then_some(next);
        }
        self.line
            .kinds()
            .filter(|kind| self.may_start(kind) && !self.cohorts.is_leaving(&kind.pair))
            .filter_map(|kind| {
                let whose = whose(self.cohorts.has(kind));
                let oldest = self.line.oldest(kind, whose, &running)?;
                Some((kind, whose, oldest))
            })
            .min_by_key(|(kind, _, oldest)| (kind.priority, *oldest))
            .map(|(kind, whose, _)| (kind.clone(), whose))
    }

    /// True when there is a place for a cohort of a kind, and room for its checkpoint.
    fn may_start(&self, kind: &Kind) -> bool {
        self.cohorts.has_place_for(kind.priority) && self.has_room_for(kind)
    }

    fn has_room_for(&self, kind: &Kind) -> bool {
        let busy = self.cohorts.busy_pairs();
        self.models.has_room_for(&kind.pair.name, &busy)
    }

    /// Closes a cohort for the sake of sentences of whose kind none runs and none may start.
    fn make_way(&mut self) {
        let nobody = BTreeSet::new();
        let blocked: Vec<_> = self
            .line
            .kinds()
            .filter(|kind| !self.cohorts.has(kind) && !self.may_start(kind))
            .filter_map(|kind| {
                let oldest = self.line.oldest(kind, Whose::Anybodys, &nobody)?;
                Some((kind.clone(), oldest, self.has_room_for(kind)))
            })
            .collect();
        if let Some(kind) = self.cohorts.make_way(&blocked) {
            self.next = Some(kind);
        }
    }

    /// Encodes sentences under keys of their own. One that cannot be encoded fails its request alone; `None` when no
    /// other is left.
    fn encode(
        &mut self,
        pair: &Pair,
        batch: Vec<Waiting>,
        answers: &mut Vec<Answer>,
    ) -> Option<Batch> {
        let mut encoded = Batch::default();
        for waiting in batch {
            let target_token = waiting.leg.target_token.as_deref();
            let ids = self
                .models
                .get(pair, &[])
                .and_then(|model| model.encode(waiting.sentence.text.expose(), target_token));
            match ids {
                Ok(ids) => {
                    let slot = (waiting.ticket, waiting.sentence.slot);
                    encoded.sentences.push((self.keys, ids));
                    encoded.members.insert(self.keys, slot);
                    self.keys += 1;
                }
                Err(error) => {
                    self.fail_run(pair, BTreeSet::from([waiting.ticket]), error, answers);
                }
            }
        }
        // A request may have failed over a sentence behind one that was encoded.
        let jobs = &self.jobs;
        encoded
            .members
            .retain(|_, (ticket, _)| jobs.contains_key(ticket));
        let members = &encoded.members;
        encoded
            .sentences
            .retain(|(key, _)| members.contains_key(key));
        (!encoded.sentences.is_empty()).then_some(encoded)
    }

    /// Decodes one token of the cohort whose turn it is.
    fn step_cohort(&mut self, answers: &mut Vec<Answer>) {
        self.cohorts.drop_ended();
        let busy = self.cohorts.busy_pairs();
        let Some(mut running) = self.cohorts.next_turn() else {
            self.decoded_rows = 0;
            return;
        };
        self.decoded_rows = running.cohort.rows();
        let pair = Arc::clone(&running.kind.pair);
        let stepped = self.models.get(&pair, &busy).and_then(|model| {
            let done = model.step(&mut running.cohort)?;
            done.into_iter()
                .map(|(key, hypothesis)| Ok((key, model.decode(&hypothesis)?, hypothesis)))
                .collect::<Result<Vec<_>, ModelError>>()
        });
        match stepped {
            Ok(done) => {
                let done: Vec<_> = done
                    .into_iter()
                    .filter_map(|(key, text, hypothesis)| {
                        Some((running.members.remove(&key)?, text, hypothesis))
                    })
                    .collect();
                self.cohorts.running.push(running);
                for ((ticket, slot), text, hypothesis) in done {
                    self.accept(ticket, slot, text, &hypothesis, answers);
                }
            }
            Err(error) => {
                self.fail_run(&pair, running.tickets(), error, answers);
            }
        }
    }

    fn accept(
        &mut self,
        ticket: Ticket,
        slot: Slot,
        text: String,
        hypothesis: &Hypothesis,
        answers: &mut Vec<Answer>,
    ) {
        // The request may have failed over another sentence of the same step.
        let Some(job) = self.jobs.get_mut(&ticket) else {
            return;
        };
        match job.accept(slot, hypothesis, text, &self.options) {
            Ok(Progress::Continues(sentences)) => self.enqueue(ticket, sentences),
            Ok(Progress::Done(translation)) => {
                self.jobs.remove(&ticket);
                answers.push((ticket, Ok(translation)));
            }
            Err(error) => self.fail(ticket, error, answers),
        }
    }

    /// Fails the requests that wait for a checkpoint which cannot be loaded.
    fn fail_load(&mut self, pair: &Arc<Pair>, error: ModelError, answers: &mut Vec<Answer>) {
        log_unloadable(pair, &error);
        let source = Arc::new(error);
        for ticket in self.line.tickets_for(pair) {
            let error = TranslateError::Load {
                pair: Arc::clone(&pair.name),
                source: Arc::clone(&source),
            };
            self.fail(ticket, error, answers);
        }
    }

    /// Fails the requests that had sentences in a run that failed.
    fn fail_run(
        &mut self,
        pair: &Pair,
        tickets: BTreeSet<Ticket>,
        error: ModelError,
        answers: &mut Vec<Answer>,
    ) {
        tracing::error!(
            pair = &*pair.name,
            error = &error as &dyn std::error::Error,
            "translation model failed"
        );
        let source = Arc::new(error);
        for ticket in tickets {
            let error = TranslateError::Run {
                pair: Arc::clone(&pair.name),
                source: Arc::clone(&source),
            };
            self.fail(ticket, error, answers);
        }
    }
}

impl Engine for TranslateEngine {
    type Request = Request;
    type Output = Translation;
    type Error = TranslateError;

    fn vacancies(&self) -> usize {
        let requests = self.jobs.len() + self.answers.len();
        self.options.max_requests.max(1).saturating_sub(requests)
    }

    fn join(&mut self, ticket: Ticket, request: Request) {
        if let Err(error) = self.admit(ticket, request) {
            self.answers.push((ticket, Err(error)));
        }
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.answers.is_empty()
    }

    /// Answers what can be answered, lets sentences join their cohorts or start one, and decodes one token of one cohort.
    fn step(&mut self) -> Vec<Answer> {
        let mut answers = std::mem::take(&mut self.answers);
        self.expire(&mut answers);
        self.cohorts.drop_ended();
        if !self.line.is_empty() {
            self.join_cohorts(&mut answers);
            self.start_cohort(&mut answers);
            self.make_way();
        }
        self.step_cohort(&mut answers);
        answers
    }

    fn decoded_rows(&self) -> Option<usize> {
        Some(self.decoded_rows)
    }
}

fn beams(search: Search, model: &Marian) -> usize {
    match search {
        Search::Greedy => 1,
        // A checkpoint tuned for greedy search still gets what OPUS-MT checkpoints are tuned for.
        Search::Beam => match model.checkpoint().num_beams {
            0 | 1 => 4,
            beams => beams,
        },
    }
}

/// Whose sentences go into a cohort: where another one of their kind runs, only newcomers'.
fn whose(is_another: bool) -> Whose {
    if is_another {
        Whose::Newcomers
    } else {
        Whose::Anybodys
    }
}

fn log_unloadable(pair: &Pair, error: &ModelError) {
    tracing::error!(
        pair = &*pair.name,
        error = error as &dyn std::error::Error,
        "translation model could not be loaded"
    );
}

#[cfg(test)]
mod tests;
