//! The two graphs of a checkpoint, whichever way they were exported, behind one face.

use ort::value::{DynValue, Tensor};

use super::exported::ExportedGraphs;
use super::merged::{MergedGraphs, MergedState};
use super::search::{Continuations, SearchRules};
use super::slots::Slots;
use crate::stages::translate::error::ModelError;

/// Source sentences, filled up to the longest of them.
pub struct SourceBatch {
    /// Ids of the longest sentence.
    pub source_length: usize,
    /// Ids of each sentence.
    pub lengths: Vec<usize>,
    /// [sentences, source_length]
    pub ids: Vec<i64>,
    /// [sentences, source_length], 1 where an id is no filling.
    pub mask: Vec<i64>,
}

impl SourceBatch {
    /// Fills up `sentences` with `pad_id`.
    pub fn new<'a>(sentences: impl Iterator<Item = &'a [i64]>, pad_id: i64) -> Self {
        let sentences: Vec<_> = sentences.collect();
        let lengths: Vec<_> = sentences.iter().map(|ids| ids.len()).collect();
        let source_length = lengths.iter().copied().max().unwrap_or_default();
        let filled = |value_of: fn(i64) -> i64, filling: i64| -> Vec<i64> {
            sentences
                .iter()
                .flat_map(|ids| {
                    let filling = std::iter::repeat_n(filling, source_length - ids.len());
                    ids.iter().map(move |id| value_of(*id)).chain(filling)
                })
                .collect()
        };
        Self {
            source_length,
            ids: filled(|id| id, pad_id),
            mask: filled(|_| 1, 0),
            lengths,
        }
    }
}

/// What the decoder keeps between two steps.
pub enum DecoderState {
    /// Each row has a position of its own.
    Slots(Box<Slots>),
    /// All rows are at the same position.
    Merged(MergedState),
}

impl DecoderState {
    /// True where sentences may join later, and leave at no cost.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Slots(_))
    }

    /// Keeps some sentences: `order[s]` is the number, until now, of what is sentence s from now on; s itself or
    /// one behind all that are kept.
    ///
    /// # Errors
    /// A tensor is not what the graphs of its kind give.
    pub fn keep(&mut self, order: &[usize]) -> Result<(), ModelError> {
        match self {
            Self::Slots(slots) => {
                slots.keep(order)?;
                Ok(())
            }
            Self::Merged(state) => state.keep(order),
        }
    }
}

/// Encoder and decoder of one checkpoint.
pub enum Graphs {
    /// Our export: sentences join and leave at any step, and the best tokens are found inside the graph.
    Exported(ExportedGraphs),
    /// The widespread export with one decoder for first and later steps.
    Merged(MergedGraphs),
}

impl Graphs {
    /// Runs the encoder and starts to decode its sentences together.
    ///
    /// # Errors
    /// ONNX Runtime fails, or a tensor is not what the graphs of this kind give.
    pub fn start(
        &mut self,
        batch: &SourceBatch,
        rules: &SearchRules,
    ) -> Result<DecoderState, ModelError> {
        match self {
            Self::Exported(graphs) => {
                let mut slots = graphs.slots(rules)?;
                graphs.join(&mut slots, batch)?;
                Ok(DecoderState::Slots(Box::new(slots)))
            }
            Self::Merged(graphs) => {
                let state = graphs.encode(batch, rules.beams)?;
                Ok(DecoderState::Merged(state))
            }
        }
    }

    /// Runs the encoder and puts its sentences behind the others.
    ///
    /// # Errors
    /// ONNX Runtime fails, a tensor is not what the graphs of this kind give, or the state is not
    /// [open](DecoderState::is_open).
    pub fn join(
        &mut self,
        state: &mut DecoderState,
        batch: &SourceBatch,
    ) -> Result<(), ModelError> {
        match (self, state) {
            (Self::Exported(graphs), DecoderState::Slots(slots)) => graphs.join(slots, batch),
            _ => Err(ModelError::ForeignState),
        }
    }

    /// Runs one decoder step, in the order of sentences and of their beams: each beam is fed its id, continues the beam
    /// `parents` of its sentence, and gets its best tokens, as many as `rules` say.
    ///
    /// # Errors
    /// ONNX Runtime fails, or a tensor is not what the graphs of this kind give.
    pub fn step(
        &mut self,
        state: &mut DecoderState,
        ids: &[i64],
        parents: &[usize],
        rules: &SearchRules,
    ) -> Result<Continuations, ModelError> {
        match (self, state) {
            (Self::Exported(graphs), DecoderState::Slots(slots)) => {
                graphs.step(slots, ids, parents)
            }
            (Self::Merged(graphs), DecoderState::Merged(state)) => {
                graphs.step(state, ids, parents, rules.continuations())
            }
            _ => Err(ModelError::ForeignState),
        }
    }
}

/// An i64 tensor.
pub(super) fn ids_tensor(shape: &[usize], ids: Vec<i64>) -> Result<DynValue, ModelError> {
    Ok(Tensor::from_array((shape, ids))?.into_dyn())
}
