//! The line of sentences that wait for a cohort.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Priority;
use super::job::{Search, Sentence};
use super::route::{Leg, Pair};
use crate::stages::Ticket;

/// What the sentences of a cohort have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// The checkpoint.
    pub pair: Arc<Pair>,
    /// How tokens are chosen.
    pub search: Search,
    /// How often it has its turn.
    pub priority: Priority,
}

/// A sentence that waits for a cohort.
pub struct Waiting {
    /// The request it belongs to.
    pub ticket: Ticket,
    /// Which model is to translate it, into what.
    pub leg: Leg,
    /// The text, and where its translation goes.
    pub sentence: Sentence,
}

/// Whose sentences are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Anybody's.
    Anybodys,
    /// Those of requests of which nothing is decoded now.
    Newcomers,
}

/// Sentences by kind, and by request inside a kind, in the order in which they came.
#[derive(Default)]
pub struct Line {
    kinds: Vec<(Kind, BTreeMap<Ticket, VecDeque<Waiting>>)>,
}

impl Line {
    /// Puts a sentence behind those of its request.
    pub fn push(&mut self, priority: Priority, waiting: Waiting) {
        let kind = Kind {
            pair: Arc::clone(&waiting.leg.pair),
            search: waiting.sentence.search,
            priority,
        };
        let index = self.position(&kind).unwrap_or_else(|| {
            self.kinds.push((kind, BTreeMap::new()));
            self.kinds.len() - 1
        });
        let requests = &mut self.kinds[index].1;
        requests
            .entry(waiting.ticket)
            .or_default()
            .push_back(waiting);
    }

    /// Takes the sentences of a request out.
    pub fn remove(&mut self, ticket: Ticket) {
        for (_, requests) in &mut self.kinds {
            requests.remove(&ticket);
        }
        self.kinds.retain(|(_, requests)| !requests.is_empty());
    }

    /// True when no sentence waits.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The kinds of which sentences wait.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter().map(|(kind, _)| kind)
    }

    /// The oldest request with a sentence of a kind.
    pub fn oldest(&self, kind: &Kind, whose: Whose, running: &BTreeSet<Ticket>) -> Option<Ticket> {
        let (_, requests) = &self.kinds[self.position(kind)?];
        let is_wanted = |ticket: &&Ticket| whose == Whose::Anybodys || !running.contains(ticket);
        requests.keys().find(is_wanted).copied()
    }

    /// The requests with a sentence for a checkpoint.
    pub fn tickets_for(&self, pair: &Pair) -> BTreeSet<Ticket> {
        let of_pair = self.kinds.iter().filter(|(kind, _)| *kind.pair == *pair);
        of_pair
            .flat_map(|(_, requests)| requests.keys().copied())
            .collect()
    }

    /// Takes at most `count` sentences of a kind out: one of each newcomer, the oldest first; then what newcomers have
    /// besides; then the others', if they are wanted. So a request gets on by one sentence at a time at least, whatever
    /// comes after it.
    pub fn take(
        &mut self,
        kind: &Kind,
        count: usize,
        whose: Whose,
        running: &BTreeSet<Ticket>,
    ) -> Vec<Waiting> {
        let Some(index) = self.position(kind) else {
            return Vec::new();
        };
        let requests = &mut self.kinds[index].1;
        let mut taken = Vec::new();
        let is_newcomer = |ticket: &Ticket| !running.contains(ticket);
        let newcomers = requests
            .iter_mut()
            .filter(|(ticket, _)| is_newcomer(ticket));
        taken.extend(
            newcomers
                .take(count)
                .filter_map(|(_, line)| line.pop_front()),
        );
        for others in [false, true] {
            if others && whose == Whose::Newcomers {
                continue;
            }
            for (ticket, line) in requests.iter_mut() {
                if is_newcomer(ticket) != others {
                    taken.extend(line.drain(..line.len().min(count - taken.len())));
                }
            }
        }
        requests.retain(|_, line| !line.is_empty());
        if requests.is_empty() {
            self.kinds.remove(index);
        }
        taken
    }

    fn position(&self, kind: &Kind) -> Option<usize> {
        self.kinds.iter().position(|(known, _)| known == kind)
    }
}
