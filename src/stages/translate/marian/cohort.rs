//! Sentences that are decoded together, from their first token on.

use super::graph::{DecoderState, Graphs, SourceBatch};
use super::search::{Hypothesis, Search, SearchRules};
use crate::stages::translate::error::ModelError;

/// A running batch of one checkpoint. All rows are at the same position, because the decoder's past
/// has one length for all; sentences leave as soon as they are done, or are given up.
pub struct Cohort {
    state: DecoderState,
    members: Vec<Member>,
    rules: SearchRules,
    pad_id: i64,
}

struct Member {
    /// The caller's name for the sentence.
    key: usize,
    /// `None` once the sentence is done or given up.
    search: Option<Search>,
    /// The sentence's first row in the decoder's past.
    first_row: usize,
}

impl Cohort {
    /// Encodes sentences, given as (key, ids), and gives each of them its rows.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn start(
        graphs: &mut Graphs,
        sentences: &[(usize, Vec<i64>)],
        rules: SearchRules,
        pad_id: i64,
    ) -> Result<Self, ModelError> {
        let ids: Vec<&[i64]> = sentences.iter().map(|(_, ids)| ids.as_slice()).collect();
        let state = graphs.encode(&SourceBatch::new(&ids, rules.beams, pad_id))?;
        let members = sentences
            .iter()
            .enumerate()
            .map(|(index, (key, _))| Member {
                key: *key,
                search: Some(Search::new(rules.clone())),
                first_row: index * rules.beams,
            })
            .collect();
        Ok(Self {
            state,
            members,
            rules,
            pad_id,
        })
    }

    /// True when no sentence is running.
    pub fn is_done(&self) -> bool {
        self.running() == 0
    }

    /// Decoder rows of the sentences that are running.
    pub fn rows(&self) -> usize {
        self.running() * self.rules.beams
    }

    /// Gives a sentence up.
    pub fn remove(&mut self, key: usize) {
        for member in self.members.iter_mut().filter(|member| member.key == key) {
            member.search = None;
        }
    }

    /// Decodes one token of every sentence and returns those that are done.
    ///
    /// # Errors
    /// The decoder fails.
    pub fn step(&mut self, graphs: &mut Graphs) -> Result<Vec<(usize, Hypothesis)>, ModelError> {
        self.drop_done_rows()?;
        let mut ids = Vec::with_capacity(self.state.rows());
        let mut parents = Vec::with_capacity(self.state.rows());
        for member in &self.members {
            match &member.search {
                Some(search) => {
                    ids.extend(search.last_ids());
                    parents.extend(search.parents().iter().map(|row| member.first_row + row));
                }
                None => {
                    ids.extend(std::iter::repeat_n(self.pad_id, self.rules.beams));
                    parents.extend(member.first_row..member.first_row + self.rules.beams);
                }
            }
        }
        let continuations = self.rules.continuations();
        let step = graphs.step(&mut self.state, &ids, &parents, continuations)?;
        let mut done = Vec::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            member.first_row = index * self.rules.beams;
            let Some(search) = &mut member.search else {
                continue;
            };
            if let Some(hypothesis) = search.advance(&step, member.first_row) {
                member.search = None;
                done.push((member.key, hypothesis));
            }
        }
        Ok(done)
    }

    fn running(&self) -> usize {
        self.members.iter().filter(|m| m.search.is_some()).count()
    }

    /// Drops the rows of sentences that are done once they are a quarter of all: copying what is
    /// kept from the encoder costs about one step's attention, so it pays within few steps, and
    /// happens at most a few times in a cohort's life.
    fn drop_done_rows(&mut self) -> Result<(), ModelError> {
        let done = self.members.len() - self.running();
        if done * 4 < self.members.len() || done == 0 {
            return Ok(());
        }
        let beams = self.rules.beams;
        let kept_rows: Vec<usize> = self
            .members
            .iter()
            .filter(|member| member.search.is_some())
            .flat_map(|member| member.first_row..member.first_row + beams)
            .collect();
        self.state.keep_rows(&kept_rows)?;
        // `first_row` still names rows of the past, which the next step gathers.
        self.members.retain(|member| member.search.is_some());
        Ok(())
    }
}
