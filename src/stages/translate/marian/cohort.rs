//! Sentences that are decoded together.

use super::graph::{DecoderState, Graphs, SourceBatch};
use super::search::{Hypothesis, Search, SearchRules};
use crate::stages::translate::error::ModelError;

/// A running batch of one checkpoint. Sentences leave as soon as they are done, or are given up; where the
/// graphs allow it, others join at any step.
pub struct Cohort {
    state: DecoderState,
    /// In the order of the decoder's rows, `rules.beams` for each.
    members: Vec<Member>,
    rules: SearchRules,
    pad_id: i64,
}

struct Member {
    /// The caller's name for the sentence.
    key: usize,
    /// `None` once the sentence is done or given up.
    search: Option<Search>,
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
        let state = graphs.start(&source_batch(sentences, pad_id), &rules)?;
        Ok(Self {
            state,
            members: members(sentences, &rules).collect(),
            rules,
            pad_id,
        })
    }

    /// Sentences that may [`join`](Self::join) so that there are at most `max_rows` decoder rows.
    pub fn vacancies(&self, max_rows: usize) -> usize {
        if self.state.is_open() {
            (max_rows / self.rules.beams).saturating_sub(self.running())
        } else {
            0
        }
    }

    /// Encodes more sentences and gives them rows beside the others, which go on as if nothing had happened.
    ///
    /// # Errors
    /// The encoder fails, or nothing may join.
    pub fn join(
        &mut self,
        graphs: &mut Graphs,
        sentences: &[(usize, Vec<i64>)],
    ) -> Result<(), ModelError> {
        self.drop_done()?;
        graphs.join(&mut self.state, &source_batch(sentences, self.pad_id))?;
        self.members.extend(members(sentences, &self.rules));
        Ok(())
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
        self.drop_done()?;
        let beams = self.rules.beams;
        let mut ids = Vec::with_capacity(self.members.len() * beams);
        let mut parents = Vec::with_capacity(self.members.len() * beams);
        for member in &self.members {
            match &member.search {
                Some(search) => {
                    ids.extend(search.last_ids());
                    parents.extend(search.parents());
                }
                None => {
                    ids.extend(std::iter::repeat_n(self.pad_id, beams));
                    parents.extend(0..beams);
                }
            }
        }
        let step = graphs.step(&mut self.state, &ids, &parents, &self.rules)?;
        if step.rows() != ids.len() {
            return Err(ModelError::Output("topk_ids"));
        }
        let mut done = Vec::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            let Some(search) = &mut member.search else {
                continue;
            };
            if let Some(hypothesis) = search.advance(&step, index * beams) {
                member.search = None;
                done.push((member.key, hypothesis));
            }
        }
        Ok(done)
    }

    fn running(&self) -> usize {
        self.members.iter().filter(|m| m.search.is_some()).count()
    }

    /// Drops the rows of sentences that are done. Where all rows are at one position that copies all that are
    /// kept, which costs about one step's attention: it is put off until a quarter is done, so that it pays within few
    /// steps, and happens at most a few times in a cohort's life.
    fn drop_done(&mut self) -> Result<(), ModelError> {
        let done = self.members.len() - self.running();
        let is_worth_it = self.state.is_open() || done * 4 >= self.members.len();
        if done == 0 || !is_worth_it {
            return Ok(());
        }
        // The last ones take the places of those that leave.
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        let mut index = 0;
        while let Some(member) = self.members.get(index) {
            if member.search.is_some() {
                index += 1;
            } else {
                self.members.swap_remove(index);
                order.swap_remove(index);
            }
        }
        self.state.keep(&order)
    }
}

fn source_batch(sentences: &[(usize, Vec<i64>)], pad_id: i64) -> SourceBatch {
    SourceBatch::new(sentences.iter().map(|(_, ids)| ids.as_slice()), pad_id)
}

fn members(sentences: &[(usize, Vec<i64>)], rules: &SearchRules) -> impl Iterator<Item = Member> {
    sentences.iter().map(|(key, _)| Member {
        key: *key,
        search: Some(Search::new(rules.clone())),
    })
}
