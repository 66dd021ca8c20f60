//! MarianMT (OPUS-MT) checkpoints: loading, and decoding in batches.

pub mod beam;
pub mod cohort;
pub mod exported;
pub mod graph;
pub mod greedy;
pub mod merged;
pub mod metadata;
pub mod search;
pub mod slots;

use std::path::Path;

pub use cohort::Cohort;
use exported::ExportedGraphs;
use graph::Graphs;
use merged::MergedGraphs;
pub use metadata::{Checkpoint, EarlyStopping};
pub use search::{Hypothesis, SearchRules};

use super::Precision;
use super::error::ModelError;
use super::tokenizer::Tokenizer;
use crate::onnx::{Device, Onnx};

/// Where the checkpoint in `directory` runs if `device` is there.
pub fn device_of(directory: &Path, device: Device) -> Device {
    if MergedGraphs::are_in(directory) {
        return device;
    }
    exported::graph_files(directory, Precision::default(), device).1
}

/// A loaded checkpoint.
pub struct Marian {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    graphs: Graphs,
}

impl Marian {
    /// Loads a model directory of either layout; `threads` threads work inside an operator.
    ///
    /// # Errors
    /// A file is missing or damaged, or the files contradict each other.
    pub fn load(
        onnx: &Onnx,
        directory: &Path,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::load(directory)?;
        let (checkpoint, graphs) = if MergedGraphs::are_in(directory) {
            let checkpoint = Checkpoint::read_transformers(directory)?;
            // Quantized products have no CUDA kernels.
            let precision = match onnx.device() {
                Device::Cpu => precision,
                Device::Cuda => Precision::Fp32,
            };
            let graphs = MergedGraphs::load(onnx, directory, &checkpoint, precision, threads)?;
            (checkpoint, Graphs::Merged(graphs))
        } else {
            let checkpoint = Checkpoint::read_exported(directory)?;
            let graphs = ExportedGraphs::load(onnx, directory, &checkpoint, precision, threads)?;
            (checkpoint, Graphs::Exported(graphs))
        };
        let same_ids =
            tokenizer.eos_id() == checkpoint.eos_id && tokenizer.pad_id() == checkpoint.pad_id;
        if !same_ids || tokenizer.id_bound() > checkpoint.vocab_size as i64 {
            return Err(ModelError::inconsistent(
                directory,
                "the vocabulary does not belong to the graphs",
            ));
        }
        Ok(Self {
            checkpoint,
            tokenizer,
            graphs,
        })
    }

    /// Sizes, ids and decoding rules.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids of a sentence for the target language that `target_token` names, if any.
    ///
    /// # Errors
    /// The vocabulary lacks the target token, or SentencePiece fails.
    pub fn encode(&self, text: &str, target_token: Option<&str>) -> Result<Vec<i64>, ModelError> {
        let target_token_id = match target_token {
            Some(token) => Some(self.tokenizer.target_token_id(token).ok_or_else(|| {
                ModelError::inconsistent("vocab.json", format!("the vocabulary lacks `{token}`"))
            })?),
            None => None,
        };
        self.tokenizer
            .encode(text, target_token_id, self.checkpoint.max_source_length)
    }

    /// The text of a hypothesis.
    ///
    /// # Errors
    /// SentencePiece fails.
    pub fn decode(&self, hypothesis: &Hypothesis) -> Result<String, ModelError> {
        self.tokenizer.decode(&hypothesis.ids)
    }

    /// Starts decoding sentences, given as (key, ids), together.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn start(
        &mut self,
        sentences: &[(usize, Vec<i64>)],
        beams: usize,
        max_new_tokens: usize,
    ) -> Result<Cohort, ModelError> {
        let rules = SearchRules::new(&self.checkpoint, beams, max_new_tokens);
        Cohort::start(&mut self.graphs, sentences, rules, self.checkpoint.pad_id)
    }

    /// Puts sentences, given as (key, ids), into a cohort that has [vacancies](Cohort::vacancies).
    ///
    /// # Errors
    /// The encoder fails, or nothing may join.
    pub fn join(
        &mut self,
        cohort: &mut Cohort,
        sentences: &[(usize, Vec<i64>)],
    ) -> Result<(), ModelError> {
        cohort.join(&mut self.graphs, sentences)
    }

    /// Decodes one token of every sentence and returns those that are done.
    ///
    /// # Errors
    /// The decoder fails.
    pub fn step(&mut self, cohort: &mut Cohort) -> Result<Vec<(usize, Hypothesis)>, ModelError> {
        cohort.step(&mut self.graphs)
    }
}

#[cfg(test)]
mod tests;
