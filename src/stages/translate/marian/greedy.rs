//! Greedy search: the best token at each step.

use super::search::{Continuation, Hypothesis, SearchRules};

/// The running greedy search of one sentence.
pub struct GreedySearch {
    rules: SearchRules,
    /// The start and what was generated.
    ids: Vec<i64>,
    log_prob: f32,
}

impl GreedySearch {
    /// Starts with the decoder's start token.
    pub fn new(rules: SearchRules) -> Self {
        Self {
            ids: vec![rules.decoder_start_id],
            log_prob: 0.0,
            rules,
        }
    }

    /// What the decoder is fed next.
    pub fn last_id(&self) -> i64 {
        self.ids
            .last()
            .copied()
            .unwrap_or(self.rules.decoder_start_id)
    }

    /// Takes the best continuation; `Some` when the sentence is done.
    pub fn advance(
        &mut self,
        continuations: impl Iterator<Item = Continuation>,
    ) -> Option<Hypothesis> {
        let allowed = self.rules.allowed(self.ids.len(), continuations);
        // A step without continuations cannot go on; the sentence ends as it is.
        let best = allowed.first();
        if let Some(best) = best {
            self.ids.push(best.id);
            self.log_prob += best.log_prob;
        }
        let is_done = best.is_none_or(|best| best.id == self.rules.eos_id)
            || self.ids.len() >= self.rules.max_length;
        is_done.then(|| Hypothesis {
            ids: self.ids.split_off(1),
            log_prob: self.log_prob,
        })
    }
}
