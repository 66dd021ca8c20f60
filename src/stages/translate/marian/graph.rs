//! The two graphs of a checkpoint, whichever way they were exported, behind one face.

use ort::value::{DynValue, Tensor};

use super::exported::ExportedGraphs;
use super::merged::MergedGraphs;
use super::search::Continuations;
use crate::stages::translate::error::ModelError;

/// Source sentences of a batch, filled up to the longest of them.
pub struct SourceBatch {
    /// Ids of the longest sentence.
    pub source_length: usize,
    /// [sentences, source_length]
    pub ids: Vec<i64>,
    /// [sentences, source_length], 1 where an id is no filling.
    pub mask: Vec<i64>,
    /// For every decoder row, the sentence it belongs to.
    pub sentence_of_row: Vec<usize>,
}

impl SourceBatch {
    /// Fills up `sentences` with `pad_id` and gives each of them `beams` rows.
    pub fn new(sentences: &[&[i64]], beams: usize, pad_id: i64) -> Self {
        let source_length = sentences
            .iter()
            .map(|ids| ids.len())
            .max()
            .unwrap_or_default();
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
            sentence_of_row: (0..sentences.len())
                .flat_map(|sentence| std::iter::repeat_n(sentence, beams))
                .collect(),
        }
    }

    /// Number of sentences.
    pub fn sentences(&self) -> usize {
        self.ids.len() / self.source_length.max(1)
    }

    /// The mask of every decoder row, [rows, source_length].
    pub fn row_mask(&self) -> Vec<i64> {
        gathered(&self.mask, self.source_length, &self.sentence_of_row)
    }
}

/// What the decoder keeps between two steps.
pub struct DecoderState {
    /// Ids of a source row.
    pub source_length: usize,
    /// [rows, source_length]
    pub mask: Vec<i64>,
    /// What every step takes from the encoder, unchanged; the first dimension is the rows.
    pub from_encoder: Vec<DynValue>,
    /// Keys and values of the tokens so far; empty before the first step. The first dimension is the
    /// rows of the step before.
    pub past: Vec<DynValue>,
}

impl DecoderState {
    /// Rows that the next step has.
    pub fn rows(&self) -> usize {
        self.mask.len() / self.source_length.max(1)
    }

    /// Keeps only some rows, in the order given. The past is not touched: the next step gathers it.
    ///
    /// # Errors
    /// A tensor is not what the graphs of its kind give.
    pub fn keep_rows(&mut self, rows: &[usize]) -> Result<(), ModelError> {
        for value in &mut self.from_encoder {
            *value = gather_rows(value, rows)?;
        }
        self.mask = gathered(&self.mask, self.source_length, rows);
        Ok(())
    }
}

/// Encoder and decoder of one checkpoint.
pub enum Graphs {
    /// Our export: the beam's past is gathered, and the best tokens are found, inside the graph.
    Exported(ExportedGraphs),
    /// The widespread export with one decoder for first and later steps.
    Merged(MergedGraphs),
}

impl Graphs {
    /// Runs the encoder.
    ///
    /// # Errors
    /// ONNX Runtime fails, or a tensor is not what the graphs of this kind give.
    pub fn encode(&mut self, batch: &SourceBatch) -> Result<DecoderState, ModelError> {
        match self {
            Self::Exported(graphs) => graphs.encode(batch),
            Self::Merged(graphs) => graphs.encode(batch),
        }
    }

    /// Runs one decoder step: row r is fed `ids[r]`, continues row `parents[r]` of the step before,
    /// and gets its `continuations` best tokens.
    ///
    /// # Errors
    /// ONNX Runtime fails, or a tensor is not what the graphs of this kind give.
    pub fn step(
        &mut self,
        state: &mut DecoderState,
        ids: &[i64],
        parents: &[usize],
        continuations: usize,
    ) -> Result<Continuations, ModelError> {
        match self {
            Self::Exported(graphs) => graphs.step(state, ids, parents, continuations),
            Self::Merged(graphs) => graphs.step(state, ids, parents, continuations),
        }
    }
}

/// An i64 tensor.
pub(super) fn ids_tensor(shape: &[usize], ids: Vec<i64>) -> Result<DynValue, ModelError> {
    Ok(Tensor::from_array((shape, ids))?.into_dyn())
}

/// A tensor [rows, heads, 0, head_dim]: the past before the first token.
pub(super) fn empty_past(
    rows: usize,
    heads: usize,
    head_dim: usize,
) -> Result<DynValue, ModelError> {
    Ok(Tensor::from_array(([rows, heads, 0, head_dim], Vec::<f32>::new()))?.into_dyn())
}

/// Some rows of an f32 tensor, in the order given.
pub(super) fn gather_rows(value: &DynValue, rows: &[usize]) -> Result<DynValue, ModelError> {
    let (shape, data) = value.try_extract_tensor::<f32>()?;
    let mut shape: Vec<usize> = shape
        .iter()
        .map(|dimension| usize::try_from(*dimension).unwrap_or_default())
        .collect();
    let available = shape.first().copied().unwrap_or_default();
    if rows.iter().any(|row| *row >= available) {
        return Err(ModelError::Output("rows"));
    }
    let data = gathered(data, data.len() / available.max(1), rows);
    shape[0] = rows.len();
    Ok(Tensor::from_array((shape, data))?.into_dyn())
}

/// Some rows of a row-major matrix, in the order given; rows that do not exist are left out.
fn gathered<T: Copy>(data: &[T], row_length: usize, rows: &[usize]) -> Vec<T> {
    let mut gathered = Vec::with_capacity(rows.len() * row_length);
    for row in rows {
        let start = row * row_length;
        gathered.extend_from_slice(data.get(start..start + row_length).unwrap_or_default());
    }
    gathered
}
