//! The translate engine: sentences of all requests, decoded together.
//!
//! Sentences of the same model and search form a *cohort*, whosoever they are. They leave when they are done, and others join
//! at any step where the graphs allow it. Where they do not, or the cohort is full, a newcomer starts a cohort of its
//! own at once instead of waiting for a long text to end. Cohorts take turns, one token each. Recordings give way to
//! texts: while texts are decoded they have few of the turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::{ModelError, TranslateError};
use super::job::{Job, Progress, Request, Search, Sentence, Slot, Translation};
use super::line::{Blocked, Kind, Waiting, take_batch};
use super::marian::{Cohort, Hypothesis, Marian};
use super::models::Models;
use super::route::{Pair, Route, Routes};
use super::{Priority, TranslateOptions};
use crate::onnx::Onnx;
use crate::stages::{Engine, Ticket};

/// While texts are decoded, recordings have one turn of so many.
const RECORDING_TURNS: usize = 4;

type Answer = (Ticket, Result<Translation, TranslateError>);

/// MarianMT behind the engine contract. Checkpoints are loaded when they are first needed, or
/// [before](Self::preload); one that cannot be loaded fails only the requests that need it.
pub struct TranslateEngine {
    options: TranslateOptions,
    routes: Routes,
    models: Models,
    jobs: BTreeMap<Ticket, Job>,
    waiting: Vec<Waiting>,
    /// In the order of their turns.
    cohorts: Vec<Running>,
    /// Turns so far.
    turns: usize,
    /// Sentences that were given to cohorts so far: the next one's key.
    keys: usize,
    /// Requests that were answered while they joined.
    answers: Vec<Answer>,
    /// Decoder rows of the last step.
    decoded_rows: usize,
}

/// A cohort and whose sentences it decodes.
struct Running {
    kind: Kind,
    cohort: Cohort,
    /// By the cohort's key.
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
            waiting: Vec::new(),
            cohorts: Vec::new(),
            turns: 0,
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
                tracing::error!(
                    pair = &*pair.name,
                    error = &error as &dyn std::error::Error,
                    "translation model could not be loaded"
                );
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
        let priority = job.priority();
        self.waiting
            .extend(sentences.into_iter().map(|sentence| Waiting {
                ticket,
                priority,
                leg: leg.clone(),
                characters: sentence.text.expose().chars().count(),
                sentence,
            }));
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
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        for Running {
            cohort, members, ..
        } in &mut self.cohorts
        {
            members.retain(|key, (member, _)| {
                if *member == ticket {
                    cohort.remove(*key);
                }
                *member != ticket
            });
        }
        answers.push((ticket, Err(error)));
    }

    /// Lets sentences that wait join the cohorts of their kind.
    fn join_cohorts(&mut self, blocked: &[Blocked], answers: &mut Vec<Answer>) {
        for index in (0..self.cohorts.len()).rev() {
            let batch = self.joiners(index, blocked);
            if batch.is_empty() {
                continue;
            }
            if let Err(error) = self.join_cohort(index, &batch) {
                let failed = self.cohorts.remove(index);
                self.fail_run(&failed.kind.pair.clone(), failed.tickets(), error, answers);
            }
        }
    }

    /// The oldest requests, of each sort, with a sentence that can neither join a cohort nor start one: some cohort has
    /// to end first.
    fn blocked(&self) -> Vec<Blocked> {
        let busy = busy_pairs(&self.cohorts);
        let mut oldest: Vec<Blocked> = Vec::new();
        for waiting in &self.waiting {
            let (ticket, priority) = (waiting.ticket, waiting.priority);
            let runs = |cohort: &Running| waiting.is_for(&cohort.kind);
            let has_room = self.models.has_room_for(&waiting.leg.pair.name, &busy);
            if self.cohorts.iter().any(runs) || (has_room && self.has_place_for(priority)) {
                continue;
            }
            let has_own = self.cohorts.iter().any(|c| c.kind.priority == priority);
            let by_all = !has_room || !has_own;
            let is_alike = |b: &&mut Blocked| b.priority == priority && b.by_all == by_all;
            match oldest.iter_mut().find(is_alike) {
                Some(blocked) => blocked.ticket = blocked.ticket.min(ticket),
                None => oldest.push(Blocked {
                    ticket,
                    priority,
                    by_all,
                }),
            }
        }
        oldest
    }

    /// Takes those sentences out of the line that join a cohort now.
    fn joiners(&mut self, index: usize, blocked: &[Blocked]) -> Vec<Waiting> {
        let Running { kind, cohort, .. } = &self.cohorts[index];
        let vacancies = cohort.vacancies(self.options.max_batch_rows);
        if vacancies == 0 || self.waiting.is_empty() {
            return Vec::new();
        }
        let running = running_tickets(&self.cohorts);
        take_batch(&mut self.waiting, &running, vacancies, |waiting| {
            waiting.is_for(kind) && !waiting.is_behind(blocked)
        })
    }

    fn join_cohort(&mut self, index: usize, batch: &[Waiting]) -> Result<(), ModelError> {
        let first_key = take_keys(&mut self.keys, batch.len());
        let busy = busy_pairs(&self.cohorts);
        let running = &mut self.cohorts[index];
        running.members.extend(members(batch, first_key));
        let model = self.models.get(&running.kind.pair, &busy)?;
        let sentences = encode(model, batch, first_key)?;
        model.join(&mut running.cohort, &sentences)
    }

    /// Starts a cohort if sentences wait that should not wait any longer.
    fn start_cohort(&mut self, blocked: &[Blocked], answers: &mut Vec<Answer>) {
        let Some(kind) = self.next_kind(blocked) else {
            return;
        };
        let Kind { pair, search, .. } = kind.clone();
        let busy = busy_pairs(&self.cohorts);
        let model = match self.models.get(&pair, &busy) {
            Ok(model) => model,
            Err(error) => {
                tracing::error!(
                    pair = &*pair.name,
                    error = &error as &dyn std::error::Error,
                    "translation model could not be loaded"
                );
                let source = Arc::new(error);
                for ticket in self.tickets_waiting_for(&pair) {
                    let error = TranslateError::Load {
                        pair: Arc::clone(&pair.name),
                        source: Arc::clone(&source),
                    };
                    self.fail(ticket, error, answers);
                }
                return;
            }
        };
        let beams = beams(search, model);
        let sentences = (self.options.max_batch_rows / beams).max(1);
        let running = running_tickets(&self.cohorts);
        let batch = take_batch(&mut self.waiting, &running, sentences, |waiting| {
            waiting.is_for(&kind)
        });
        let first_key = take_keys(&mut self.keys, batch.len());
        let started = encode(model, &batch, first_key)
            .and_then(|sentences| model.start(&sentences, beams, self.options.max_new_tokens));
        match started {
            Ok(cohort) => self.cohorts.push(Running {
                kind,
                cohort,
                members: members(&batch, first_key).collect(),
            }),
            Err(error) => {
                let tickets = batch.iter().map(|waiting| waiting.ticket).collect();
                self.fail_run(&pair, tickets, error, answers);
            }
        }
    }

    /// What the oldest sentence needs that a new cohort may be started for: one whose request has
    /// nothing running, or for whose kind no cohort runs, and for whose checkpoint there is room.
    fn next_kind(&self, blocked: &[Blocked]) -> Option<Kind> {
        let busy = busy_pairs(&self.cohorts);
        let running = running_tickets(&self.cohorts);
        self.waiting
            .iter()
            .filter(|waiting| {
                let is_newcomer = !running.contains(&waiting.ticket);
                let runs = |cohort: &Running| waiting.is_for(&cohort.kind);
                self.has_place_for(waiting.priority)
                    && self.models.has_room_for(&waiting.leg.pair.name, &busy)
                    && !waiting.is_behind(blocked)
                    && (is_newcomer || !self.cohorts.iter().any(runs))
            })
            .min_by_key(|waiting| (waiting.priority, waiting.ticket))
            .map(Waiting::kind)
    }

    /// Texts and recordings leave each other one place at least.
    fn has_place_for(&self, priority: Priority) -> bool {
        let places = self.options.max_cohorts.max(1);
        let of_them = |running: &&Running| running.kind.priority == priority;
        let taken = self.cohorts.iter().filter(of_them).count();
        self.cohorts.len() < places && taken < (places - 1).max(1)
    }

    /// Index of the cohort whose turn it is.
    fn next_turn(&mut self) -> Option<usize> {
        self.turns = self.turns.wrapping_add(1);
        let first = if self.turns.is_multiple_of(RECORDING_TURNS) {
            Priority::Recording
        } else {
            Priority::Text
        };
        let is_first = |running: &Running| running.kind.priority == first;
        let any = (!self.cohorts.is_empty()).then_some(0);
        self.cohorts.iter().position(is_first).or(any)
    }

    fn tickets_waiting_for(&self, pair: &Arc<Pair>) -> BTreeSet<Ticket> {
        self.waiting
            .iter()
            .filter(|waiting| waiting.leg.pair == *pair)
            .map(|waiting| waiting.ticket)
            .collect()
    }

    /// Decodes one token of the cohort whose turn it is.
    fn step_cohort(&mut self, answers: &mut Vec<Answer>) {
        self.cohorts.retain(|running| !running.cohort.is_done());
        let busy = busy_pairs(&self.cohorts);
        let Some(index) = self.next_turn() else {
            self.decoded_rows = 0;
            return;
        };
        // Those behind keep their order.
        let mut running = self.cohorts.remove(index);
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
                self.cohorts.push(running);
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

    /// Answers what can be answered, lets sentences join their cohorts, starts a cohort if one is due, and decodes one
    /// token of one cohort.
    fn step(&mut self) -> Vec<Answer> {
        let mut answers = std::mem::take(&mut self.answers);
        self.expire(&mut answers);
        let blocked = self.blocked();
        self.join_cohorts(&blocked, &mut answers);
        self.start_cohort(&blocked, &mut answers);
        self.step_cohort(&mut answers);
        answers
    }

    fn decoded_rows(&self) -> Option<usize> {
        Some(self.decoded_rows)
    }
}

impl Running {
    fn tickets(&self) -> BTreeSet<Ticket> {
        self.members.values().map(|(ticket, _)| *ticket).collect()
    }
}

fn busy_pairs(cohorts: &[Running]) -> Vec<Arc<str>> {
    cohorts
        .iter()
        .map(|running| Arc::clone(&running.kind.pair.name))
        .collect()
}

fn running_tickets(cohorts: &[Running]) -> BTreeSet<Ticket> {
    cohorts.iter().flat_map(Running::tickets).collect()
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

/// The first of `count` keys in a row that no sentence has had.
fn take_keys(next: &mut usize, count: usize) -> usize {
    let first = *next;
    *next += count;
    first
}

/// The sentences' ids under keys from `first_key` on.
fn encode(
    model: &Marian,
    batch: &[Waiting],
    first_key: usize,
) -> Result<Vec<(usize, Vec<i64>)>, ModelError> {
    let sentences = (first_key..).zip(batch).map(|(key, waiting)| {
        let target_token = waiting.leg.target_token.as_deref();
        let ids = model.encode(waiting.sentence.text.expose(), target_token)?;
        Ok((key, ids))
    });
    sentences.collect()
}

/// Whose the sentences under keys from `first_key` on are.
fn members(batch: &[Waiting], first_key: usize) -> impl Iterator<Item = (usize, (Ticket, Slot))> {
    (first_key..).zip(
        batch
            .iter()
            .map(|waiting| (waiting.ticket, waiting.sentence.slot)),
    )
}

#[cfg(test)]
mod tests;
