//! Choice of the next audio code: repetition penalty, temperature, top-k, top-p, min-p, multinomial.
//!
//! The order and the details are those of the generate call of the reference implementation
//! (coqui-tts 0.28 on transformers 4.57): values equal to the k-th stay in the choice, top-p drops
//! from the least likely while the sum stays at or below 1 − p, and the penalty also sees the
//! placeholder that stands for the prompt, and the start code.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::metadata::{SamplingDefaults, XttsMetadata};

/// Wishes of one request; what is left out is the model's default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SamplingHints {
    /// Divides the logits; 0 always takes the likeliest code.
    pub temperature: Option<f32>,
    /// So many codes stay in the choice.
    pub top_k: Option<usize>,
    /// Codes stay until this probability is reached.
    pub top_p: Option<f32>,
    /// Codes stay that are at least so likely, as a share of the likeliest; 0 keeps all.
    pub min_p: Option<f32>,
    /// Divides (or multiplies, when negative) logits of codes already used.
    pub repetition_penalty: Option<f32>,
}

impl SamplingHints {
    /// These wishes, and where they are silent those of `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
        }
    }
}

/// How codes are chosen, within the ranges where that means something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    /// `None`: always the likeliest code.
    temperature: Option<f32>,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
}

impl Sampling {
    /// The model's defaults with the hints over them; hints out of range are moved into it.
    pub(super) fn new(defaults: &SamplingDefaults, hints: SamplingHints) -> Self {
        let default_temperature = if defaults.do_sample {
            defaults.temperature
        } else {
            0.0
        };
        let in_range = |hint: Option<f32>, default: f32, low: f32, high: f32| {
            hint.filter(|value| value.is_finite())
                .unwrap_or(default)
                .clamp(low, high)
        };
        let temperature = in_range(hints.temperature, default_temperature, 0.0, 10.0);
        Self {
            temperature: (temperature > 1e-3).then_some(temperature),
            top_k: hints.top_k.unwrap_or(defaults.top_k).max(1),
            top_p: in_range(hints.top_p, defaults.top_p, 0.0, 1.0),
            min_p: in_range(hints.min_p, 0.0, 0.0, 1.0),
            repetition_penalty: in_range(
                hints.repetition_penalty,
                defaults.repetition_penalty,
                0.1,
                100.0,
            ),
        }
    }
}

/// Chooses the codes of one unit.
///
/// Random numbers come from a generator of its own, so the choice does not depend on neighbours.
pub(super) struct Sampler {
    sampling: Sampling,
    seen: Vec<bool>,
    rng: ChaCha8Rng,
    /// Kept between steps for its memory.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    code: u32,
    /// Penalized and divided by the temperature.
    score: f32,
    probability: f64,
}

impl Sampler {
    /// A sampler for a fresh unit; `stream` tells units of one seed apart.
    pub(super) fn new(
        metadata: &XttsMetadata,
        sampling: Sampling,
        seed: [u8; 32],
        stream: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(stream);
        let mut sampler = Self {
            sampling,
            seen: vec![false; metadata.audio_vocab_size],
            rng,
            candidates: Vec::with_capacity(metadata.audio_vocab_size),
        };
        sampler.mark_seen(metadata.placeholder_audio_id);
        sampler.mark_seen(metadata.start_audio_id);
        sampler
    }

    /// Chooses a code by its logit; `None` when no logit is a number.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let code = match self.sampling.temperature {
            None => self.likeliest(logits),
            Some(temperature) => {
                self.distribute(logits, temperature);
                self.draw()
            }
        }?;
        self.mark_seen(code);
        Some(code)
    }

    fn mark_seen(&mut self, code: u32) {
        if let Some(seen) = self.seen.get_mut(code as usize) {
            *seen = true;
        }
    }

    /// Penalized logits of all codes whose logit is a number.
    fn penalized<'a>(&'a self, logits: &'a [f32]) -> impl Iterator<Item = (u32, f32)> + 'a {
        let penalty = self.sampling.repetition_penalty;
        logits
            .iter()
            .zip(&self.seen)
            .zip(0u32..)
            .filter(|((logit, _), _)| logit.is_finite())
            .map(move |((logit, seen), code)| {
                let score = match *seen {
                    true if *logit < 0.0 => logit * penalty,
                    true => logit / penalty,
                    false => *logit,
                };
                (code, score)
            })
    }

    /// The code of the highest penalized logit, the first of equals.
    fn likeliest(&self, logits: &[f32]) -> Option<u32> {
        self.penalized(logits)
            .reduce(|best, other| if other.1 > best.1 { other } else { best })
            .map(|(code, _)| code)
    }

    /// Leaves in `candidates` the codes of the choice, likeliest first, with their probabilities.
    /// Returns how many top-k left.
    fn distribute(&mut self, logits: &[f32], temperature: f32) -> usize {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend(self.penalized(logits).map(|(code, score)| Candidate {
            code,
            score: score / temperature,
            probability: 0.0,
        }));
        let top_k = self.sampling.top_k;
        if candidates.len() > top_k {
            let (_, kth, _) =
                candidates.select_nth_unstable_by(top_k - 1, |a, b| b.score.total_cmp(&a.score));
            let least = kth.score;
            candidates.retain(|candidate| candidate.score >= least);
        }
        candidates.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.code.cmp(&b.code)));
        let after_top_k = candidates.len();

        set_probabilities(&mut candidates);
        let mut dropped = 0.0;
        while let [_, .., last] = candidates.as_slice() {
            dropped += last.probability;
            if dropped > 1.0 - f64::from(self.sampling.top_p) {
                break;
            }
            candidates.pop();
        }
        let least = candidates.first().map_or(0.0, |first| {
            first.probability * f64::from(self.sampling.min_p)
        });
        candidates.retain(|candidate| candidate.probability >= least);
        set_probabilities(&mut candidates);
        self.candidates = candidates;
        after_top_k
    }

    /// Draws one of the candidates by its probability.
    fn draw(&mut self) -> Option<u32> {
        // 53 random bits: every double in 0..1 that is a multiple of 2^-53.
        let point = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut sum = 0.0;
        self.candidates
            .iter()
            .find(|candidate| {
                sum += candidate.probability;
                point < sum
            })
            .or(self.candidates.last())
            .map(|candidate| candidate.code)
    }
}

/// Softmax over candidates whose highest score comes first.
fn set_probabilities(candidates: &mut [Candidate]) {
    let highest = candidates
        .first()
        .map_or(0.0, |first| f64::from(first.score));
    let mut sum = 0.0;
    for candidate in &mut *candidates {
        candidate.probability = (f64::from(candidate.score) - highest).exp();
        sum += candidate.probability;
    }
    for candidate in candidates {
        candidate.probability /= sum;
    }
}

#[cfg(test)]
mod tests;
