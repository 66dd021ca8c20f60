//! The cohorts that run: their places, their turns, and which of them has to leave.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Priority;
use super::job::Slot;
use super::line::Kind;
use super::marian::Cohort;
use super::route::Pair;
use crate::stages::Ticket;

/// While texts wait, recordings have one turn of so many.
const RECORDING_TURNS: usize = 4;

/// A cohort and whose sentences it decodes.
pub struct Running {
    /// What its sentences have in common.
    pub kind: Kind,
    /// The sentences.
    pub cohort: Cohort,
    /// Whose they are, by the cohort's keys.
    pub members: BTreeMap<usize, (Ticket, Slot)>,
    /// True once nothing joins any more, so that it ends when its longest sentence does.
    pub is_closed: bool,
}

/// All that run.
pub struct Cohorts {
    /// Those that run, in the order of their turns.
    pub running: Vec<Running>,
    /// How many there may be.
    places: usize,
    turns: Turns,
    closures: Turns,
}

/// Shares turns between texts and recordings.
#[derive(Default)]
struct Turns(usize);

impl Turns {
    /// Who is to have the next one, if both want it.
    fn next(&mut self) -> Priority {
        self.0 = self.0.wrapping_add(1);
        if self.0.is_multiple_of(RECORDING_TURNS) {
            Priority::Recording
        } else {
            Priority::Text
        }
    }
}

impl Cohorts {
    /// None yet, at most `places` at a time.
    pub fn new(places: usize) -> Self {
        Self {
            running: Vec::new(),
            places: places.max(1),
            turns: Turns::default(),
            closures: Turns::default(),
        }
    }

    /// Requests of which something is decoded.
    pub fn tickets(&self) -> BTreeSet<Ticket> {
        self.running.iter().flat_map(Running::tickets).collect()
    }

    /// Names of the checkpoints that are in use.
    pub fn busy_pairs(&self) -> Vec<Arc<str>> {
        let pairs = self.running.iter().map(|running| &running.kind.pair.name);
        pairs.map(Arc::clone).collect()
    }

    /// True when a cohort of that kind runs.
    pub fn has(&self, kind: &Kind) -> bool {
        self.running.iter().any(|running| running.kind == *kind)
    }

    /// True when a cohort of that checkpoint has to leave.
    pub fn is_leaving(&self, pair: &Arc<Pair>) -> bool {
        let mut closed = self.running.iter().filter(|running| running.is_closed);
        closed.any(|running| running.kind.pair == *pair)
    }

    /// True when there is a place for one more. Texts and recordings leave each other one at least.
    pub fn has_place_for(&self, priority: Priority) -> bool {
        self.running.len() < self.places && !self.has_its_share(priority)
    }

    fn has_its_share(&self, priority: Priority) -> bool {
        let of_them = |running: &&Running| running.kind.priority == priority;
        self.running.iter().filter(of_them).count() >= (self.places - 1).max(1)
    }

    /// Lets those go of which no sentence runs.
    pub fn drop_ended(&mut self) {
        self.running.retain(|running| !running.cohort.is_done());
    }

    /// Gives up the sentences of a request.
    pub fn remove(&mut self, ticket: Ticket) {
        for Running {
            cohort, members, ..
        } in &mut self.running
        {
            members.retain(|key, (member, _)| {
                if *member == ticket {
                    cohort.remove(*key);
                }
                *member != ticket
            });
        }
    }

    /// The cohorts by how full they are, the fullest first, so that the others end. With each whether it is the first of its
    /// kind.
    pub fn by_rows(&self) -> Vec<(usize, bool)> {
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_by_key(|index| Reverse(self.running[*index].cohort.rows()));
        let is_first = |rank: usize| {
            let kind = &self.running[order[rank]].kind;
            let mut before = order[..rank].iter();
            !before.any(|index| self.running[*index].kind == *kind)
        };
        (0..order.len())
            .map(|rank| (order[rank], is_first(rank)))
            .collect()
    }

    /// Takes the cohort out whose turn it is; those behind it keep their order.
    pub fn next_turn(&mut self) -> Option<Running> {
        let first = self.turns.next();
        let is_first = |running: &Running| running.kind.priority == first;
        let any = (!self.running.is_empty()).then_some(0);
        let index = self.running.iter().position(is_first).or(any)?;
        Some(self.running.remove(index))
    }

    /// Closes what stands in the way of the oldest of some kinds, given with their oldest requests and whether there is
    /// room for their checkpoints. One at a time: nothing happens while another is leaving. Returns for which kind.
    pub fn make_way(&mut self, blocked: &[(Kind, Ticket, bool)]) -> Option<Kind> {
        if blocked.is_empty() || self.running.iter().any(|running| running.is_closed) {
            return None;
        }
        let first = self.closures.next();
        let (kind, _, has_room) = blocked
            .iter()
            .min_by_key(|(kind, ticket, _)| (kind.priority != first, *ticket))?;
        // Where its share of the places is used up, the end of others' cohorts would not help.
        let has_share = self.has_its_share(kind.priority);
        let is_in_the_way =
            |running: &Running| !has_share || running.kind.priority == kind.priority;
        if *has_room {
            // Recordings give way before texts do.
            let victims = self
                .running
                .iter_mut()
                .filter(|running| is_in_the_way(running));
            let victim = victims
                .min_by_key(|running| (Reverse(running.kind.priority), running.cohort.rows()))?;
            victim.is_closed = true;
        } else {
            let rows_of = |pair: &Arc<Pair>| -> usize {
                let of_pair = self.running.iter().filter(|r| r.kind.pair == *pair);
                of_pair.map(|running| running.cohort.rows()).sum()
            };
            let victims = self.running.iter().filter(|running| is_in_the_way(running));
            let pairs = victims.map(|running| &running.kind.pair);
            let pair = Arc::clone(pairs.min_by_key(|pair| rows_of(pair))?);
            for running in &mut self.running {
                running.is_closed |= running.kind.pair == pair;
            }
        }
        Some(kind.clone())
    }
}

impl Running {
    /// Whose sentences it decodes.
    pub fn tickets(&self) -> BTreeSet<Ticket> {
        self.members.values().map(|(ticket, _)| *ticket).collect()
    }

    /// Sentences that may join so that there are at most `max_rows` decoder rows.
    pub fn vacancies(&self, max_rows: usize) -> usize {
        if self.is_closed {
            0
        } else {
            self.cohort.vacancies(max_rows)
        }
    }
}
