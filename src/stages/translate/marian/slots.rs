//! The decoder's memory of sentences that join and leave at any step.
//!
//! Every sentence has a slot: `beams` rows of the past, and one row of what the encoder says of it, which its beams
//! share. Rows never move while their sentence runs. A beam goes on in the row of the beam that it continues; only
//! where a beam has several continuations is its past copied, into a row that nobody continues.

use ort::session::Session;
use ort::value::{DynValue, Tensor, TensorElementType};

use super::search::{Continuations, SearchRules};
use crate::onnx::{CacheNames, CacheView, Floats, InPlaceBinding, OnnxError, RowCaches};
use crate::stages::translate::error::ModelError;

/// Positions of a row at first; it gets twice as many when they are used up. A row of an OPUS-MT checkpoint takes
/// 0.4 MB for so many.
pub(super) const FIRST_POSITIONS: usize = 16;

/// Source lengths are filled up to a multiple of this.
const SOURCE_POSITIONS: usize = 8;

/// Outputs in the order of [`Slots::bind`].
const LOG_PROBS: usize = 0;
const IDS: usize = 1;

/// What the slots have to know of the decoder.
pub(super) struct DecoderLayout {
    pub(super) past: CacheNames,
    pub(super) cross: CacheNames,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    /// Ids that are never chosen.
    pub(super) suppressed_ids: Vec<i64>,
}

/// The slots of one cohort.
pub struct Slots {
    /// Keys and values of the tokens so far; slot s has the rows from s · beams on.
    past: RowCaches,
    /// Keys and values of the source; slot s has row s.
    cross: RowCaches,
    beams: usize,
    continuations: usize,
    /// Tokens of a row at most.
    max_length: usize,
    /// One for each slot that is taken, the first ones.
    sentences: Vec<Sentence>,
    /// Made anew when a sentence has come or gone.
    step: Option<Step>,
}

struct Sentence {
    /// Ids of the source.
    source_length: usize,
    /// Tokens so far, the start included.
    length: usize,
    /// For each beam, which of the slot's rows holds its past.
    row_of_beam: Vec<usize>,
}

/// Inputs and outputs of a step, rewritten in place.
struct Step {
    binding: InPlaceBinding,
    input_ids: Tensor<i64>,
    position_ids: Tensor<i64>,
    seqlens_k: Tensor<i32>,
}

/// Keys and values of some sentences' sources as the encoder gives them, filled up to the longest.
pub(super) struct Encoded {
    /// [caches][sentences, heads, ids of the longest source, head_dim]
    pub(super) cross: Vec<DynValue>,
    /// Ids of each source.
    pub(super) lengths: Vec<usize>,
}

impl Slots {
    /// No sentence yet; all will be searched by the same rules.
    pub(super) fn new(layout: &DecoderLayout, rules: &SearchRules) -> Result<Self, OnnxError> {
        let row_shape = |positions| [layout.heads, positions, layout.head_dim];
        Ok(Self {
            past: RowCaches::new(&layout.past, 0, row_shape(FIRST_POSITIONS), f32::NAN)?,
            // Numbers, for the mask does not hide NaN.
            cross: RowCaches::new(&layout.cross, 0, row_shape(0), 0.0)?,
            beams: rules.beams,
            continuations: rules.continuations(),
            max_length: rules.max_length,
            sentences: Vec::new(),
            step: None,
        })
    }

    /// Gives sentences the slots behind the others.
    pub(super) fn join(&mut self, encoded: &Encoded) -> Result<(), ModelError> {
        let first = self.sentences.len();
        self.sentences
            .extend(encoded.lengths.iter().map(|length| Sentence {
                source_length: *length,
                length: 0,
                row_of_beam: (0..self.beams).collect(),
            }));
        self.step = None;
        self.make_room_for_slots(first)?;
        for (cache, values) in encoded.cross.iter().enumerate() {
            let is_written = match Floats::of(values)? {
                Some(values) => self
                    .cross
                    .write_rows(cache, first, &encoded.lengths, &values)?,
                None => false,
            };
            if !is_written {
                return Err(ModelError::Output("cross_…"));
            }
        }
        Ok(())
    }

    /// Keeps some sentences: `order[s]` is the slot whose sentence is in slot s from now on, s itself or one behind all
    /// that are kept.
    pub(super) fn keep(&mut self, order: &[usize]) -> Result<(), OnnxError> {
        for (to, from) in order.iter().copied().enumerate() {
            if to == from {
                continue;
            }
            let sentence = &self.sentences[from];
            self.cross.copy_row(from, to, sentence.source_length)?;
            for row in 0..self.beams {
                let rows = [from, to].map(|slot| slot * self.beams + row);
                self.past.copy_row(rows[0], rows[1], sentence.length)?;
            }
            self.sentences.swap(from, to);
        }
        self.sentences.truncate(order.len());
        self.step = None;
        Ok(())
    }

    /// Decodes one token of every row. `ids` and `parents` are in the order of slots and, inside a slot, of beams, as
    /// is the answer; a parent is a beam of the step before, of the same sentence.
    pub(super) fn step(
        &mut self,
        session: &mut Session,
        layout: &DecoderLayout,
        ids: &[i64],
        parents: &[usize],
    ) -> Result<Continuations, ModelError> {
        for (slot, parents) in parents.chunks_exact(self.beams).enumerate() {
            self.follow(slot, parents)?;
        }
        self.make_room_for_tokens()?;
        let mut step = match self.step.take() {
            Some(step) => step,
            None => self.bind(session, layout)?,
        };
        let input_ids = step.input_ids.extract_tensor_mut().1;
        let position_ids = step.position_ids.extract_tensor_mut().1;
        let seqlens_k = step.seqlens_k.extract_tensor_mut().1;
        for (slot, ids) in ids.chunks_exact(self.beams).enumerate() {
            let sentence = &self.sentences[slot];
            for (id, row) in ids.iter().zip(&sentence.row_of_beam) {
                let row = slot * self.beams + row;
                input_ids[row] = *id;
                position_ids[row] = sentence.length as i64;
                // The total after this step, minus one.
                seqlens_k[row] = sentence.length as i32;
            }
        }
        let changed = [
            ("input_ids", &*step.input_ids.upcast_ref()),
            ("position_ids", &*step.position_ids.upcast_ref()),
            ("seqlens_k", &*step.seqlens_k.upcast_ref()),
        ];
        let caches = &mut [&mut self.past, &mut self.cross];
        step.binding.run(session, &changed, caches)?;
        for sentence in &mut self.sentences {
            sentence.length += 1;
        }
        let continuations = self.continuations(&step.binding, layout);
        self.step = Some(step);
        continuations
    }

    /// Lets each beam of a sentence have the past of its parent.
    fn follow(&mut self, slot: usize, parents: &[usize]) -> Result<(), OnnxError> {
        let sentence = &mut self.sentences[slot];
        let row_of_parent = sentence.row_of_beam.clone();
        let mut is_free = vec![true; self.beams];
        // The first continuation of a beam goes on in its row; the others need one to copy it to.
        let rows: Vec<Option<usize>> = parents
            .iter()
            .map(|parent| {
                let row = row_of_parent[*parent];
                std::mem::take(&mut is_free[row]).then_some(row)
            })
            .collect();
        let mut free = (0..self.beams).filter(|row| is_free[*row]);
        for (beam, (row, parent)) in rows.into_iter().zip(parents).enumerate() {
            // There are as many rows as beams.
            let Some(row) = row.or_else(|| free.next()) else {
                continue;
            };
            if row != row_of_parent[*parent] {
                let rows = [row_of_parent[*parent], row].map(|row| slot * self.beams + row);
                self.past.copy_row(rows[0], rows[1], sentence.length)?;
            }
            sentence.row_of_beam[beam] = row;
        }
        Ok(())
    }

    /// Lets there be slots for all sentences, of which those before `joined` hold something. All positions of a source
    /// take part in the attention, and a cohort may run for long: what has left costs until others join only.
    fn make_room_for_slots(&mut self, joined: usize) -> Result<(), OnnxError> {
        let longest = |length_of: fn(&Sentence) -> usize| {
            let lengths = self.sentences.iter().map(length_of);
            lengths.max().unwrap_or_default()
        };
        let sources = longest(|s| s.source_length).next_multiple_of(SOURCE_POSITIONS);
        let tokens = (longest(|s| s.length) + 1).next_power_of_two();
        let rows = fitting(
            self.cross.rows(),
            self.sentences.len().next_power_of_two(),
            4,
        );
        let sources = fitting(self.cross.capacity(), sources, 2);
        let tokens = fitting(self.past.capacity(), tokens.max(FIRST_POSITIONS), 4);
        if (rows, sources) != (self.cross.rows(), self.cross.capacity()) {
            let kept = self.sentences.iter().take(joined);
            let lengths: Vec<_> = kept.map(|sentence| sentence.source_length).collect();
            self.cross.resize(rows, sources, &lengths)?;
        }
        let rows = rows * self.beams;
        if (rows, tokens) != (self.past.rows(), self.past.capacity()) {
            let lengths = self.row_lengths(joined);
            self.past.resize(rows, tokens, &lengths)?;
        }
        Ok(())
    }

    /// Lets every row have one more token.
    fn make_room_for_tokens(&mut self) -> Result<(), OnnxError> {
        let longest = self.sentences.iter().map(|s| s.length).max();
        let (needed, capacity) = (longest.unwrap_or_default() + 1, self.past.capacity());
        if needed <= capacity {
            return Ok(());
        }
        // The binding holds addresses in the caches.
        self.step = None;
        let lengths = self.row_lengths(self.sentences.len());
        let capacity = (2 * capacity).min(self.max_length).max(needed);
        self.past.resize(self.past.rows(), capacity, &lengths)
    }

    /// Tokens of each row of the first `slots` slots.
    fn row_lengths(&self, slots: usize) -> Vec<usize> {
        let sentences = self.sentences.iter().take(slots);
        sentences
            .flat_map(|sentence| std::iter::repeat_n(sentence.length, self.beams))
            .collect()
    }

    fn bind(&self, session: &Session, layout: &DecoderLayout) -> Result<Step, ModelError> {
        let (sentences, positions) = (self.sentences.len(), self.cross.capacity());
        let rows = sentences * self.beams;
        let input_ids = Tensor::from_array(([rows, 1], vec![0_i64; rows]))?;
        let position_ids = Tensor::from_array(([rows, 1], vec![0_i64; rows]))?;
        let seqlens_k = Tensor::from_array(([rows], vec![0_i32; rows]))?;
        // Any value but 1 says that this is a step and no prompt.
        let total = Tensor::from_array(((), vec![self.past.capacity() as i32]))?;
        let best = self.candidates(layout);
        let top_k = Tensor::from_array(([1], vec![best as i64]))?;
        let mask = self
            .sentences
            .iter()
            .flat_map(|s| (0..positions).map(|position| i64::from(position < s.source_length)));
        let mask = Tensor::from_array(([sentences, positions], mask.collect::<Vec<_>>()))?;
        let binding = InPlaceBinding::new(
            session,
            &[
                ("input_ids", &input_ids.upcast_ref()),
                ("position_ids", &position_ids.upcast_ref()),
                ("seqlens_k", &seqlens_k.upcast_ref()),
                ("total_sequence_length", &total.upcast_ref()),
                ("attention_mask", &mask.upcast_ref()),
                ("top_k", &top_k.upcast_ref()),
            ],
            &[
                ("topk_logprobs", TensorElementType::Float32, &[rows, best]),
                ("topk_ids", TensorElementType::Int64, &[rows, best]),
            ],
            &[
                CacheView {
                    caches: &self.past,
                    rows: 0..rows,
                    names: &layout.past,
                },
                CacheView {
                    caches: &self.cross,
                    rows: 0..sentences,
                    names: &layout.cross,
                },
            ],
        )?;
        Ok(Step {
            binding,
            input_ids,
            position_ids,
            seqlens_k,
        })
    }

    /// Best tokens of each row that the graph has to give, so that enough are left without those that are suppressed.
    fn candidates(&self, layout: &DecoderLayout) -> usize {
        self.continuations + layout.suppressed_ids.len()
    }

    /// The best continuations in the order of slots and beams.
    fn continuations(
        &self,
        binding: &InPlaceBinding,
        layout: &DecoderLayout,
    ) -> Result<Continuations, ModelError> {
        let all_ids: &[i64] = binding.output(IDS)?;
        let all_log_probs: &[f32] = binding.output(LOG_PROBS)?;
        let (mut ids, mut log_probs) = (Vec::new(), Vec::new());
        let best = self.candidates(layout);
        for (slot, sentence) in self.sentences.iter().enumerate() {
            for row in &sentence.row_of_beam {
                let start = (slot * self.beams + row) * best;
                let of_row = start..start + best;
                let allowed = all_ids[of_row.clone()]
                    .iter()
                    .zip(&all_log_probs[of_row])
                    .filter(|(id, _)| !layout.suppressed_ids.contains(id));
                for (id, log_prob) in allowed.take(self.continuations) {
                    ids.push(*id);
                    log_probs.push(*log_prob);
                }
            }
        }
        Continuations::new(self.continuations, ids, log_probs).ok_or(ModelError::Output("topk_ids"))
    }
}

/// What is held, where it is what is needed or up to `factor` times as much; else what is needed.
fn fitting(held: usize, needed: usize, factor: usize) -> usize {
    if (needed..=factor * needed).contains(&held) {
        held
    } else {
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_shrinks_when_it_is_far_too_large() {
        let cases = [
            ((0, 8, 2), 8),
            ((8, 8, 2), 8),
            ((16, 8, 2), 16),
            ((17, 8, 2), 8),
            ((512, 24, 2), 24),
            ((64, 16, 4), 64),
            ((128, 16, 4), 16),
        ];
        for ((held, needed, factor), size) in cases {
            assert_eq!(fitting(held, needed, factor), size, "{held} for {needed}");
        }
    }
}
