//! Choosing tokens: what greedy and beam search share. Pure: no graph, no tensor.
//!
//! The rules are those of transformers 4.57 `generate` for encoder-decoder models, one sentence at a
//! time: a sentence's result never depends on the sentences that are decoded beside it.

use super::beam::BeamSearch;
use super::greedy::GreedySearch;
use super::metadata::{Checkpoint, EarlyStopping};

/// The rules of one search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRules {
    /// Rows of the decoder that a sentence takes; 1 is greedy.
    pub beams: usize,
    /// Ids of a row at most, the start included.
    pub max_length: usize,
    /// A hypothesis' score is its log-probability ÷ length ^ this.
    pub length_penalty: f32,
    /// When beam search ends.
    pub early_stopping: EarlyStopping,
    /// Every row starts with it.
    pub decoder_start_id: i64,
    /// Ends a row.
    pub eos_id: i64,
    /// Chosen, at no cost, when only one more id fits.
    pub forced_eos_id: Option<i64>,
}

impl SearchRules {
    /// The checkpoint's rules with `beams` beams and at most `max_new_tokens` generated ids.
    pub fn new(checkpoint: &Checkpoint, beams: usize, max_new_tokens: usize) -> Self {
        Self {
            beams: beams.max(1),
            max_length: checkpoint
                .max_length
                .min(max_new_tokens.saturating_add(1))
                .max(2),
            length_penalty: checkpoint.length_penalty,
            early_stopping: checkpoint.early_stopping,
            decoder_start_id: checkpoint.decoder_start_id,
            eos_id: checkpoint.eos_id,
            forced_eos_id: checkpoint.forced_eos_id,
        }
    }

    /// Continuations of each row that a step needs: twice the beams, because half may end a row.
    pub fn continuations(&self) -> usize {
        2 * self.beams
    }

    /// `length` generated ids as the divisor of a log-probability. Computed in f64 and rounded once,
    /// as the reference does.
    pub(super) fn length_divisor(&self, length: usize) -> f32 {
        (length as f64).powf(f64::from(self.length_penalty)) as f32
    }

    /// What a row may continue with: the forced end of sentence when only one more id fits.
    pub(super) fn allowed(
        &self,
        length: usize,
        continuations: impl Iterator<Item = Continuation>,
    ) -> Vec<Continuation> {
        match self.forced_eos_id {
            Some(id) if length + 1 >= self.max_length => vec![Continuation { id, log_prob: 0.0 }],
            _ => continuations.collect(),
        }
    }
}

/// A token that may follow a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continuation {
    /// The token.
    pub id: i64,
    /// Its log-probability.
    pub log_prob: f32,
}

/// The best continuations of every row of a decoder step, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuations {
    /// Continuations of a row.
    per_row: usize,
    /// [rows, per_row]
    ids: Vec<i64>,
    /// [rows, per_row]
    log_probs: Vec<f32>,
}

impl Continuations {
    /// Wraps row-major [rows, per_row] ids and log-probabilities; `None` when their lengths differ or
    /// are no multiple of `per_row`.
    pub fn new(per_row: usize, ids: Vec<i64>, log_probs: Vec<f32>) -> Option<Self> {
        let fits = per_row > 0 && ids.len() == log_probs.len() && ids.len().is_multiple_of(per_row);
        fits.then_some(Self {
            per_row,
            ids,
            log_probs,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len() / self.per_row
    }

    /// The continuations of one row, best first; none for a row that does not exist.
    pub fn row(&self, row: usize) -> impl Iterator<Item = Continuation> {
        let start = row * self.per_row;
        self.ids
            .iter()
            .zip(&self.log_probs)
            .skip(start)
            .take(self.per_row)
            .map(|(id, log_prob)| Continuation {
                id: *id,
                log_prob: *log_prob,
            })
    }
}

/// A finished translation of one sentence.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Generated ids, without the start, with the end of sentence.
    pub ids: Vec<i64>,
    /// Sum of the ids' log-probabilities.
    pub log_prob: f32,
}

impl Hypothesis {
    /// Geometric mean of the ids' probabilities, in 0..1.
    pub fn confidence(&self) -> f32 {
        (self.log_prob / self.ids.len().max(1) as f32)
            .exp()
            .min(1.0)
    }
}

/// The running search of one sentence.
pub enum Search {
    /// One row, the best token at each step.
    Greedy(GreedySearch),
    /// Several rows.
    Beam(BeamSearch),
}

impl Search {
    /// Starts a search.
    pub fn new(rules: SearchRules) -> Self {
        if rules.beams > 1 {
            Self::Beam(BeamSearch::new(rules))
        } else {
            Self::Greedy(GreedySearch::new(rules))
        }
    }

    /// The last token of every row: what the decoder is fed next.
    pub fn last_ids(&self) -> Vec<i64> {
        match self {
            Self::Greedy(greedy) => vec![greedy.last_id()],
            Self::Beam(beam) => beam.last_ids(),
        }
    }

    /// For every row, the row of the previous step that it continues.
    pub fn parents(&self) -> Vec<usize> {
        match self {
            Self::Greedy(_) => vec![0],
            Self::Beam(beam) => beam.parents(),
        }
    }

    /// Takes one step: the sentence's rows are those from `first_row` on. `Some` when it is done;
    /// the search must not be advanced any more then.
    pub fn advance(
        &mut self,
        continuations: &Continuations,
        first_row: usize,
    ) -> Option<Hypothesis> {
        match self {
            Self::Greedy(greedy) => greedy.advance(continuations.row(first_row)),
            Self::Beam(beam) => beam.advance(continuations, first_row),
        }
    }
}
