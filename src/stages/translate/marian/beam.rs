//! Beam search with the rules of transformers 4.57.

use super::metadata::EarlyStopping;
use super::search::{Continuations, Hypothesis, SearchRules};

/// Score of a beam that does not exist yet, or may not be continued.
const IMPOSSIBLE: f32 = -1e9;

/// The running beam search of one sentence.
pub struct BeamSearch {
    rules: SearchRules,
    /// Running beams, best first; always `rules.beams` of them.
    running: Vec<Beam>,
    /// Finished hypotheses, best first; at most `rules.beams`.
    finished: Vec<Finished>,
    /// Ids of a running beam, the start included.
    length: usize,
    /// Off once no running beam can get better than the worst finished one; then it stays off.
    can_improve: bool,
}

#[derive(Clone)]
struct Beam {
    /// Generated ids, without the start.
    ids: Vec<i64>,
    /// Sum of log-probabilities.
    score: f32,
    /// Row of the previous step that this beam continues.
    parent: usize,
}

struct Finished {
    ids: Vec<i64>,
    log_prob: f32,
    /// Log-probability after the length penalty.
    score: f32,
}

struct Candidate {
    row: usize,
    id: i64,
    score: f32,
    stops: bool,
}

impl BeamSearch {
    /// Starts with the decoder's start token on every beam.
    pub fn new(rules: SearchRules) -> Self {
        // All beams are equal at first: only one of them may be continued.
        let running = (0..rules.beams)
            .map(|row| Beam {
                ids: Vec::new(),
                score: if row == 0 { 0.0 } else { IMPOSSIBLE },
                parent: row,
            })
            .collect();
        Self {
            rules,
            running,
            finished: Vec::new(),
            length: 1,
            can_improve: true,
        }
    }

    /// What the decoder is fed next, one id for each beam.
    pub fn last_ids(&self) -> Vec<i64> {
        self.running
            .iter()
            .map(|beam| {
                beam.ids
                    .last()
                    .copied()
                    .unwrap_or(self.rules.decoder_start_id)
            })
            .collect()
    }

    /// For each beam, the row of the previous step that it continues.
    pub fn parents(&self) -> Vec<usize> {
        self.running.iter().map(|beam| beam.parent).collect()
    }

    /// Takes one step; `Some` when the sentence is done.
    pub fn advance(&mut self, step: &Continuations, first_row: usize) -> Option<Hypothesis> {
        let candidates = self.candidates(step, first_row);
        self.finish(&candidates);
        let all_stop = candidates.iter().all(|candidate| candidate.stops);
        if !all_stop {
            self.continue_with(&candidates);
        }
        self.length += 1;
        self.can_improve = self.can_improve && self.may_still_improve();
        let is_full = self.finished.len() >= self.rules.beams;
        let is_done = all_stop
            || !self.can_improve
            || (is_full && self.rules.early_stopping == EarlyStopping::Always);
        is_done.then(|| self.best())
    }

    /// The best continuations of the sentence, best first: twice as many as there are beams, so that
    /// enough are left when the best ones end a sentence.
    fn candidates(&self, step: &Continuations, first_row: usize) -> Vec<Candidate> {
        let is_last = self.length + 1 >= self.rules.max_length;
        let mut candidates: Vec<Candidate> = Vec::new();
        for (row, beam) in self.running.iter().enumerate() {
            let allowed = self.rules.allowed(self.length, step.row(first_row + row));
            candidates.extend(allowed.into_iter().map(|continuation| Candidate {
                row,
                id: continuation.id,
                score: beam.score + continuation.log_prob,
                stops: is_last || continuation.id == self.rules.eos_id,
            }));
        }
        // Stable: equal scores keep the order of rows.
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates.truncate(self.rules.continuations());
        candidates
    }

    /// Takes those candidates that end a sentence and rank among the beams.
    fn finish(&mut self, candidates: &[Candidate]) {
        let is_full = self.finished.len() >= self.rules.beams;
        if !self.can_improve || (is_full && self.rules.early_stopping == EarlyStopping::Always) {
            return;
        }
        let divisor = self.rules.length_divisor(self.length);
        let ending = candidates.iter().take(self.rules.beams).filter(|c| c.stops);
        for candidate in ending {
            if let Some(ids) = self.ids_of(candidate) {
                self.finished.push(Finished {
                    ids,
                    log_prob: candidate.score,
                    score: candidate.score / divisor,
                });
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.rules.beams);
    }

    /// Makes the best candidates that go on the running beams.
    fn continue_with(&mut self, candidates: &[Candidate]) {
        let going_on = candidates.iter().filter(|c| !c.stops).map(|c| (c, c.score));
        // Reached only where a vocabulary is hardly larger than the number of beams.
        let stopped = candidates
            .iter()
            .filter(|c| c.stops)
            .map(|c| (c, IMPOSSIBLE));
        self.running = going_on
            .chain(stopped)
            .filter_map(|(candidate, score)| {
                Some(Beam {
                    ids: self.ids_of(candidate)?,
                    score,
                    parent: candidate.row,
                })
            })
            .take(self.rules.beams)
            .collect();
    }

    fn ids_of(&self, candidate: &Candidate) -> Option<Vec<i64>> {
        let mut ids = self.running.get(candidate.row)?.ids.clone();
        ids.push(candidate.id);
        Some(ids)
    }

    fn may_still_improve(&self) -> bool {
        let reachable_length = match self.rules.early_stopping {
            EarlyStopping::Never if self.rules.length_penalty > 0.0 => self.rules.max_length - 1,
            _ => self.length - 1,
        };
        let best_reachable = self.running.first().map_or(IMPOSSIBLE, |beam| beam.score)
            / self.rules.length_divisor(reachable_length);
        let worst_finished = match self.finished.last() {
            Some(worst) if self.finished.len() >= self.rules.beams => worst.score,
            _ => IMPOSSIBLE,
        };
        best_reachable > worst_finished
    }

    /// The best finished hypothesis, or the best beam when a graph never let one finish.
    fn best(&self) -> Hypothesis {
        match (self.finished.first(), self.running.first()) {
            (Some(best), _) => Hypothesis {
                ids: best.ids.clone(),
                log_prob: best.log_prob,
            },
            (None, Some(beam)) => Hypothesis {
                ids: beam.ids.clone(),
                log_prob: beam.score,
            },
            (None, None) => Hypothesis {
                ids: Vec::new(),
                log_prob: IMPOSSIBLE,
            },
        }
    }
}
