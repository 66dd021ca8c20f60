//! The line of sentences that wait for a cohort.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Priority;
use super::job::{Search, Sentence};
use super::route::{Leg, Pair};
use crate::stages::Ticket;

/// A sentence that waits for a cohort.
pub struct Waiting {
    /// The request it belongs to.
    pub ticket: Ticket,
    /// The request's.
    pub priority: Priority,
    /// Which model is to translate it, into what.
    pub leg: Leg,
    /// Its length.
    pub characters: usize,
    /// The text, and where its translation goes.
    pub sentence: Sentence,
}

/// What the sentences of a cohort have in common.
#[derive(Clone, PartialEq)]
pub struct Kind {
    /// The checkpoint.
    pub pair: Arc<Pair>,
    /// How tokens are chosen.
    pub search: Search,
    /// How often it has its turn.
    pub priority: Priority,
}

/// A request that waits for a cohort to end.
pub struct Blocked {
    /// The request.
    pub ticket: Ticket,
    /// The request's.
    pub priority: Priority,
    /// True when any cohort's end may help it, false when it waits for a place among those of its priority.
    pub by_all: bool,
}

impl Waiting {
    /// What a cohort for it would be.
    pub fn kind(&self) -> Kind {
        Kind {
            pair: Arc::clone(&self.leg.pair),
            search: self.sentence.search,
            priority: self.priority,
        }
    }

    /// True when this sentence would prolong a cohort, or take a place, that a request which comes first waits for:
    /// one that is older, or a text where this is of a recording.
    pub fn is_behind(&self, blocked: &[Blocked]) -> bool {
        blocked.iter().any(|first| {
            let comes_first = first.ticket < self.ticket || first.priority < self.priority;
            comes_first && (first.by_all || first.priority == self.priority)
        })
    }

    /// True when it belongs into a cohort of that kind.
    pub fn is_for(&self, kind: &Kind) -> bool {
        self.leg.pair == kind.pair
            && self.sentence.search == kind.search
            && self.priority == kind.priority
    }
}

/// Takes at most `count` of the sentences that are `wanted` out of the line: first one of the oldest
/// request that has nothing running, or of the oldest one, so that none waits for ever; then those of requests that have
/// nothing running; of those the short ones, which also wastes the least on filling up the batch.
pub fn take_batch(
    line: &mut Vec<Waiting>,
    running: &BTreeSet<Ticket>,
    count: usize,
    wanted: impl Fn(&Waiting) -> bool,
) -> Vec<Waiting> {
    let (mut batch, others): (Vec<_>, Vec<_>) = std::mem::take(line).into_iter().partition(wanted);
    *line = others;
    let runs = |waiting: &Waiting| running.contains(&waiting.ticket);
    batch.sort_by_key(|waiting| (runs(waiting), waiting.characters));
    let first = (0..batch.len()).min_by_key(|index| (runs(&batch[*index]), batch[*index].ticket));
    if let Some(first) = first {
        batch[..=first].rotate_right(1);
    }
    line.extend(batch.split_off(count.min(batch.len())));
    batch
}
