//! Graphs of our own export: `encoder.onnx` and `decoder.onnx`, or the same with `.int8r` before `.onnx`.
//!
//! The encoder also projects every decoder layer's cross-attention keys and values and expands them to
//! the decoder's rows. One decoder graph serves the first step (past length 0) and all others; it
//! gathers the past of the beams, suppresses the padding token and sorts out the best tokens, so that
//! only those leave it.

use std::path::{Path, PathBuf};

use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::DynValue;

use super::graph::{DecoderState, SourceBatch, empty_past, ids_tensor};
use super::metadata::Checkpoint;
use super::search::Continuations;
use crate::onnx::Onnx;
use crate::stages::translate::Precision;
use crate::stages::translate::error::ModelError;

/// The two sessions and the names of their tensors.
pub struct ExportedGraphs {
    encoder: Session,
    decoder: Session,
    /// Leaves out `logits`, which nobody reads.
    decoder_outputs: RunOptions<HasSelectedOutputs>,
    cross_names: Vec<String>,
    past_names: Vec<String>,
    present_names: Vec<String>,
    heads: usize,
    head_dim: usize,
}

impl ExportedGraphs {
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
        let [encoder, decoder] = graph_files(directory, precision);
        let names = |prefix: &str| -> Vec<String> {
            (0..checkpoint.layers)
                .flat_map(|layer| ["key", "value"].map(|kind| format!("{prefix}_{kind}_{layer}")))
                .collect()
        };
        let present_names = names("present");
        let wanted = ["topk_logprobs", "topk_ids"]
            .into_iter()
            .chain(present_names.iter().map(String::as_str))
            .fold(OutputSelector::no_default(), OutputSelector::with);
        Ok(Self {
            encoder: onnx.session(&encoder, threads)?,
            decoder: onnx.session(&decoder, threads)?,
            decoder_outputs: RunOptions::new()?.with_outputs(wanted),
            cross_names: names("cross"),
            past_names: names("past"),
            present_names,
            heads: checkpoint.heads,
            head_dim: checkpoint.head_dim,
        })
    }

    /// Runs the encoder.
    pub(super) fn encode(&mut self, batch: &SourceBatch) -> Result<DecoderState, ModelError> {
        let shape = [batch.sentences(), batch.source_length];
        let rows = batch.sentence_of_row.len();
        let row_idx = batch
            .sentence_of_row
            .iter()
            .map(|sentence| *sentence as i64)
            .collect();
        let mut outputs = self.encoder.run(ort::inputs![
            "input_ids" => ids_tensor(&shape, batch.ids.clone())?,
            "attention_mask" => ids_tensor(&shape, batch.mask.clone())?,
            "row_idx" => ids_tensor(&[rows], row_idx)?,
        ])?;
        let from_encoder = self
            .cross_names
            .iter()
            .map(|name| outputs.remove(name).ok_or(ModelError::Output("cross_…")))
            .collect::<Result<_, _>>()?;
        Ok(DecoderState {
            source_length: batch.source_length,
            mask: batch.row_mask(),
            from_encoder,
            past: Vec::new(),
        })
    }

    /// Runs one decoder step.
    pub(super) fn step(
        &mut self,
        state: &mut DecoderState,
        ids: &[i64],
        parents: &[usize],
        continuations: usize,
    ) -> Result<Continuations, ModelError> {
        let rows = state.rows();
        if state.past.is_empty() {
            state.past = self
                .past_names
                .iter()
                .map(|_| empty_past(rows, self.heads, self.head_dim))
                .collect::<Result<_, _>>()?;
        }
        let beam_idx = parents.iter().map(|row| *row as i64).collect();
        let mut inputs = ort::inputs![
            "input_ids" => ids_tensor(&[rows, 1], ids.to_vec())?,
            "attention_mask" => ids_tensor(&[rows, state.source_length], state.mask.clone())?,
            "beam_idx" => ids_tensor(&[rows], beam_idx)?,
            "top_k" => ids_tensor(&[1], vec![continuations as i64])?,
        ];
        let kept = |name: &'_ String, value| (name.clone().into(), SessionInputValue::from(value));
        inputs.extend(
            self.past_names
                .iter()
                .zip(&state.past)
                .map(|(n, v)| kept(n, v)),
        );
        inputs.extend(
            self.cross_names
                .iter()
                .zip(&state.from_encoder)
                .map(|(n, v)| kept(n, v)),
        );
        let mut outputs = self
            .decoder
            .run_with_options(inputs, &self.decoder_outputs)?;

        let log_probs = outputs
            .get("topk_logprobs")
            .ok_or(ModelError::Output("topk_logprobs"))?
            .try_extract_tensor::<f32>()?
            .1
            .to_vec();
        let best_ids = outputs
            .get("topk_ids")
            .ok_or(ModelError::Output("topk_ids"))?
            .try_extract_tensor::<i64>()?
            .1
            .to_vec();
        let step = Continuations::new(continuations, best_ids, log_probs)
            .filter(|step| step.rows() == rows)
            .ok_or(ModelError::Output("topk_ids"))?;
        let present: Vec<DynValue> = self
            .present_names
            .iter()
            .map(|name| outputs.remove(name).ok_or(ModelError::Output("present_…")))
            .collect::<Result<_, _>>()?;
        drop(outputs);
        state.past = present;
        Ok(step)
    }
}

/// The graph files of a model directory: those of the preferred precision, else the other ones. The two
/// belong together.
fn graph_files(directory: &Path, precision: Precision) -> [PathBuf; 2] {
    let suffixes = match precision {
        Precision::Int8 => [".int8r", ""],
        Precision::Fp32 => ["", ".int8r"],
    };
    let [preferred, other] = suffixes.map(|suffix| {
        ["encoder", "decoder"].map(|name| directory.join(format!("{name}{suffix}.onnx")))
    });
    if preferred.iter().all(|file| file.is_file()) {
        return preferred;
    }
    // Where neither is whole, the file that is missed is the ordinary one.
    if other.iter().all(|file| file.is_file()) || precision == Precision::Int8 {
        return other;
    }
    preferred
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantized_graphs_are_taken_together_where_they_are_preferred() {
        let folder = tempfile::tempdir().unwrap();
        let names = |precision| {
            graph_files(folder.path(), precision).map(|file| {
                let name = file.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            })
        };
        let make = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let (float, int8) = (
            ["encoder.onnx", "decoder.onnx"],
            ["encoder.int8r.onnx", "decoder.int8r.onnx"],
        );
        assert_eq!(
            (names(Precision::Int8), names(Precision::Fp32)),
            (float.map(String::from), float.map(String::from))
        );
        make("encoder.int8r.onnx");
        assert_eq!(names(Precision::Int8), float);
        make("decoder.int8r.onnx");
        assert_eq!(names(Precision::Int8), int8);
        assert_eq!(names(Precision::Fp32), int8, "there is nothing else");
        float.iter().for_each(|name| make(name));
        assert_eq!(names(Precision::Int8), int8);
        assert_eq!(names(Precision::Fp32), float);
    }
}
