//! Graphs of the widespread export: `onnx/encoder_model*.onnx` and `onnx/decoder_model_merged*.onnx`.
//!
//! The merged decoder holds both branches behind the input `use_cache_branch`: the first step also
//! projects the cross-attention keys and values (`present.i.encoder.*`), later ones take them back
//! unchanged. It gives logits, so that the past of the beams is gathered and the best tokens are found
//! here.

use std::path::{Path, PathBuf};

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use super::graph::{SourceBatch, ids_tensor};
use super::metadata::Checkpoint;
use super::search::Continuations;
use crate::onnx::Onnx;
use crate::stages::translate::Precision;
use crate::stages::translate::error::ModelError;

/// The two sessions and the names of their tensors.
pub struct MergedGraphs {
    encoder: Session,
    decoder: Session,
    /// `past_key_values.i.decoder.*` → `present.i.decoder.*`, two a layer.
    decoder_cache: Vec<CacheNames>,
    /// `past_key_values.i.encoder.*` → `present.i.encoder.*`, two a layer.
    encoder_cache: Vec<CacheNames>,
    /// Some exports pass the encoder's output to the decoder at every step.
    takes_hidden_states: bool,
    suppressed_ids: Vec<i64>,
    vocab_size: usize,
    heads: usize,
    head_dim: usize,
}

struct CacheNames {
    past: String,
    present: String,
}

/// What the decoder keeps between two steps. Every sentence has `beams` rows, one behind the other.
pub struct MergedState {
    beams: usize,
    /// Ids of a source row.
    source_length: usize,
    /// [rows, source_length], 1 where an id is no filling.
    mask: Vec<i64>,
    /// What every step takes from the encoder, unchanged; the first dimension is the rows.
    from_encoder: Vec<DynValue>,
    /// Keys and values of the tokens so far; empty before the first step. The first dimension is the rows.
    past: Vec<DynValue>,
}

impl MergedState {
    fn rows(&self) -> usize {
        self.mask.len() / self.source_length.max(1)
    }

    /// Keeps some sentences, in the order given.
    pub(super) fn keep(&mut self, order: &[usize]) -> Result<(), ModelError> {
        let rows = rows_of(order, self.beams);
        for value in self.from_encoder.iter_mut().chain(&mut self.past) {
            *value = gather_rows(value, &rows)?;
        }
        self.mask = gathered(&self.mask, self.source_length, &rows);
        Ok(())
    }
}

const HIDDEN_STATES: &str = "encoder_hidden_states";

impl MergedGraphs {
    /// Tells whether a model directory holds graphs of this kind.
    pub fn are_in(directory: &Path) -> bool {
        graph_file(directory, "decoder_model_merged", Precision::default()).is_some()
    }

    /// Loads both graphs of a model directory, quantized ones if `precision` prefers them and they
    /// are there.
    ///
    /// # Errors
    /// A file is missing or no graph of this kind.
    pub fn load(
        onnx: &Onnx,
        directory: &Path,
        checkpoint: &Checkpoint,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let session = |name: &str| -> Result<Session, ModelError> {
            let file = graph_file(directory, name, precision).ok_or_else(|| {
                ModelError::inconsistent(directory, format!("onnx/{name}.onnx is missing"))
            })?;
            Ok(onnx.session(&file, threads)?)
        };
        let decoder = session("decoder_model_merged")?;
        let cache = |side: &str| -> Vec<CacheNames> {
            (0..checkpoint.layers)
                .flat_map(|layer| ["key", "value"].map(|kind| format!("{layer}.{side}.{kind}")))
                .map(|name| CacheNames {
                    past: format!("past_key_values.{name}"),
                    present: format!("present.{name}"),
                })
                .collect()
        };
        Ok(Self {
            encoder: session("encoder_model")?,
            takes_hidden_states: decoder.inputs().iter().any(|i| i.name() == HIDDEN_STATES),
            decoder,
            decoder_cache: cache("decoder"),
            encoder_cache: cache("encoder"),
            suppressed_ids: checkpoint.suppressed_ids.clone(),
            vocab_size: checkpoint.vocab_size,
            heads: checkpoint.heads,
            head_dim: checkpoint.head_dim,
        })
    }

    /// Runs the encoder and expands its output to the decoder's rows.
    pub(super) fn encode(
        &mut self,
        batch: &SourceBatch,
        beams: usize,
    ) -> Result<MergedState, ModelError> {
        let sentences = batch.lengths.len();
        let shape = [sentences, batch.source_length];
        let outputs = self.encoder.run(ort::inputs![
            "input_ids" => ids_tensor(&shape, batch.ids.clone())?,
            "attention_mask" => ids_tensor(&shape, batch.mask.clone())?,
        ])?;
        let hidden_states = outputs
            .get("last_hidden_state")
            .ok_or(ModelError::Output("last_hidden_state"))?;
        let sentence_of_row: Vec<_> = (0..sentences)
            .flat_map(|sentence| std::iter::repeat_n(sentence, beams))
            .collect();
        Ok(MergedState {
            beams,
            source_length: batch.source_length,
            mask: gathered(&batch.mask, batch.source_length, &sentence_of_row),
            // The cross-attention's keys and values join after the first step.
            from_encoder: vec![gather_rows(hidden_states, &sentence_of_row)?],
            past: Vec::new(),
        })
    }

    /// Runs one decoder step; parents are beams of the same sentence.
    pub(super) fn step(
        &mut self,
        state: &mut MergedState,
        ids: &[i64],
        parents: &[usize],
        continuations: usize,
    ) -> Result<Continuations, ModelError> {
        let rows = state.rows();
        let is_first = state.past.is_empty();
        let layers = self.decoder_cache.len();
        if is_first {
            state.past = (0..layers)
                .map(|_| empty_past(rows, self.heads, self.head_dim))
                .collect::<Result<_, _>>()?;
            for _ in 0..self.encoder_cache.len() {
                state
                    .from_encoder
                    .push(empty_past(rows, self.heads, self.head_dim)?);
            }
        } else if !parents
            .iter()
            .copied()
            .eq((0..state.beams).cycle().take(rows))
        {
            let parent_rows: Vec<_> = parents
                .iter()
                .enumerate()
                .map(|(row, parent)| row - row % state.beams + parent)
                .collect();
            for value in &mut state.past {
                *value = gather_rows(value, &parent_rows)?;
            }
        }
        let mask = ids_tensor(&[rows, state.source_length], state.mask.clone())?;
        let mut inputs = ort::inputs![
            "input_ids" => ids_tensor(&[rows, 1], ids.to_vec())?,
            "encoder_attention_mask" => mask,
            "use_cache_branch" => Tensor::from_array(([1_usize], vec![!is_first]))?,
        ];
        let Some((hidden_states, encoder_past)) = state.from_encoder.split_first() else {
            return Err(ModelError::Output("last_hidden_state"));
        };
        if self.takes_hidden_states {
            inputs.push((HIDDEN_STATES.into(), hidden_states.into()));
        }
        let named =
            |names: &CacheNames, value| (names.past.clone().into(), SessionInputValue::from(value));
        inputs.extend(
            self.decoder_cache
                .iter()
                .zip(&state.past)
                .map(|(n, v)| named(n, v)),
        );
        inputs.extend(
            self.encoder_cache
                .iter()
                .zip(encoder_past)
                .map(|(n, v)| named(n, v)),
        );
        let mut outputs = self.decoder.run(inputs)?;

        let logits = outputs.get("logits").ok_or(ModelError::Output("logits"))?;
        let (_, logits) = logits.try_extract_tensor::<f32>()?;
        if logits.len() != rows * self.vocab_size {
            return Err(ModelError::Output("logits"));
        }
        let step = best_tokens(logits, self.vocab_size, continuations, &self.suppressed_ids)
            .ok_or(ModelError::Output("logits"))?;

        let mut take = |names: &CacheNames| -> Result<DynValue, ModelError> {
            outputs
                .remove(&names.present)
                .ok_or(ModelError::Output("present.…"))
        };
        let past: Vec<_> = self
            .decoder_cache
            .iter()
            .map(&mut take)
            .collect::<Result<_, _>>()?;
        // Later steps give the encoder's part as placeholders: it is kept from the first.
        let cross = if is_first {
            Some(
                self.encoder_cache
                    .iter()
                    .map(&mut take)
                    .collect::<Result<Vec<_>, _>>()?,
            )
        } else {
            None
        };
        drop(outputs);
        state.past = past;
        if let Some(cross) = cross {
            state.from_encoder.truncate(1);
            state.from_encoder.extend(cross);
        }
        Ok(step)
    }
}

/// The graph file of a model directory: the preferred precision, else the other one.
fn graph_file(directory: &Path, name: &str, precision: Precision) -> Option<PathBuf> {
    let suffixes = match precision {
        Precision::Int8 => ["_quantized", ""],
        Precision::Fp32 => ["", "_quantized"],
    };
    suffixes
        .iter()
        .map(|suffix| directory.join("onnx").join(format!("{name}{suffix}.onnx")))
        .find(|file| file.is_file())
}

/// The rows of sentences, in their order.
fn rows_of(sentences: &[usize], beams: usize) -> Vec<usize> {
    sentences
        .iter()
        .flat_map(|sentence| sentence * beams..(sentence + 1) * beams)
        .collect()
}

/// A tensor [rows, heads, 0, head_dim]: the past before the first token.
fn empty_past(rows: usize, heads: usize, head_dim: usize) -> Result<DynValue, ModelError> {
    Ok(Tensor::from_array(([rows, heads, 0, head_dim], Vec::<f32>::new()))?.into_dyn())
}

/// Some rows of an f32 tensor, in the order given.
fn gather_rows(value: &DynValue, rows: &[usize]) -> Result<DynValue, ModelError> {
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

/// The best `per_row` tokens of each row of logits [rows, vocab_size], after log-softmax, without
/// those that are suppressed. Among equals the lower id comes first.
fn best_tokens(
    logits: &[f32],
    vocab_size: usize,
    per_row: usize,
    suppressed_ids: &[i64],
) -> Option<Continuations> {
    let mut ids = Vec::new();
    let mut log_probs = Vec::new();
    for row in logits.chunks_exact(vocab_size.max(1)) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log_sum = row
            .iter()
            .map(|logit| (logit - max).exp())
            .sum::<f32>()
            .ln();
        let mut best: Vec<(f32, i64)> = Vec::with_capacity(per_row + 1);
        for (id, logit) in (0_i64..).zip(row) {
            let is_better =
                best.len() < per_row || best.last().is_some_and(|worst| *logit > worst.0);
            if is_better && !suppressed_ids.contains(&id) {
                let rank = best.partition_point(|(other, _)| other >= logit);
                best.insert(rank, (*logit, id));
                best.truncate(per_row);
            }
        }
        ids.extend(best.iter().map(|(_, id)| *id));
        log_probs.extend(best.iter().map(|(logit, _)| logit - max - log_sum));
    }
    Continuations::new(per_row, ids, log_probs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_tokens_are_sorted_and_normalized() {
        let logits = [1.0, 3.0, 2.0, 3.0, 9.0, 0.0, 0.0, 5.0, 0.0, 9.0];
        let Some(best) = best_tokens(&logits, 5, 2, &[4]) else {
            panic!("two rows of five");
        };
        assert_eq!(best.rows(), 2);
        let ids = |row| best.row(row).map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [1, 3]);
        assert_eq!(ids(1), [2, 0]);
        // Suppressed tokens take part in the softmax, as in the reference: ln(e^5 / (3 + e^5 + e^9)).
        let first = best.row(1).next().map(|c| c.log_prob);
        assert!(
            first.is_some_and(|p| (p - -4.018_518).abs() < 1e-5),
            "{first:?}"
        );
    }
}
