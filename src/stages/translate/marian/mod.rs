//! MarianMT (OPUS-MT) checkpoints: loading, and decoding in batches.

pub mod beam;
pub mod cohort;
pub mod exported;
pub mod graph;
pub mod greedy;
pub mod merged;
pub mod metadata;
pub mod search;

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
use crate::onnx::Onnx;

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
            let graphs = MergedGraphs::load(onnx, directory, &checkpoint, precision, threads)?;
            (checkpoint, Graphs::Merged(graphs))
        } else {
            let checkpoint = Checkpoint::read_exported(directory)?;
            let graphs = ExportedGraphs::load(onnx, directory, &checkpoint, threads)?;
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
        self.tokenizer.encode(text, target_token_id, self.checkpoint.max_source_length)
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

    /// Decodes one token of every sentence and returns those that are done.
    ///
    /// # Errors
    /// The decoder fails.
    pub fn step(&mut self, cohort: &mut Cohort) -> Result<Vec<(usize, Hypothesis)>, ModelError> {
        cohort.step(&mut self.graphs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing;
    use serde::Deserialize;

    /// What transformers 4.57 `generate` made of a sentence with the weights of the fixtures; ids as
    /// it returns them, the start included.
    #[derive(Deserialize)]
    struct Golden {
        pair: String,
        text: String,
        target_token: Option<String>,
        source_ids: Vec<i64>,
        outputs: std::collections::BTreeMap<String, GoldenOutput>,
    }

    #[derive(Deserialize)]
    struct GoldenOutput {
        ids: Vec<i64>,
        score: Option<f32>,
    }

    fn goldens(pair: &str) -> Vec<Golden> {
        let file = testing::fixture("marian/goldens.jsonl");
        let goldens: Vec<Golden> = std::fs::read_to_string(file)
            .expect("goldens")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a golden line"))
            .filter(|golden: &Golden| golden.pair == pair)
            .collect();
        assert!(!goldens.is_empty());
        goldens
    }

    /// The settings that the goldens were made with, by their name there.
    fn rules(checkpoint: &Checkpoint, name: &str) -> SearchRules {
        let rules = |beams| SearchRules::new(checkpoint, beams, usize::MAX - 1);
        match name {
            "greedy" => rules(1),
            "beams4" => rules(4),
            "beams6" => SearchRules {
                length_penalty: 0.6,
                early_stopping: EarlyStopping::Always,
                ..rules(6)
            },
            "never" => SearchRules { early_stopping: EarlyStopping::Never, ..rules(4) },
            "penalty" => SearchRules { length_penalty: 2.0, ..rules(3) },
            "short" => SearchRules { max_length: 9, ..rules(4) },
            other => panic!("unknown settings {other}"),
        }
    }

    fn decode(model: &mut Marian, sources: &[Vec<i64>], rules: &SearchRules) -> Vec<Hypothesis> {
        let sentences: Vec<_> = sources.iter().cloned().enumerate().collect();
        let pad_id = model.checkpoint.pad_id;
        let mut cohort = Cohort::start(&mut model.graphs, &sentences, rules.clone(), pad_id)
            .expect("the encoder runs");
        let mut done = Vec::new();
        while !cohort.is_done() {
            done.extend(cohort.step(&mut model.graphs).expect("the decoder runs"));
        }
        done.sort_by_key(|(key, _)| *key);
        assert_eq!(done.len(), sources.len());
        done.into_iter().map(|(_, hypothesis)| hypothesis).collect()
    }

    /// All sentences of a pair in one batch, with every setting: the ids must be those of the
    /// reference, which decoded each sentence alone.
    fn ids_are_those_of_the_reference(directory: &Path, pair: &str) {
        let mut model = Marian::load(&testing::onnx(), &directory.join(pair), Precision::Fp32, 1)
            .expect("a model");
        let goldens = goldens(pair);
        for golden in &goldens {
            let ids = model.encode(&golden.text, golden.target_token.as_deref()).expect("ids");
            assert_eq!(ids, golden.source_ids);
        }
        let sources: Vec<_> = goldens.iter().map(|g| g.source_ids.clone()).collect();
        let settings: Vec<&String> = goldens.iter().flat_map(|g| g.outputs.keys()).collect();
        let settings: std::collections::BTreeSet<_> = settings.into_iter().collect();
        for name in settings {
            let rules = rules(&model.checkpoint, name);
            let hypotheses = decode(&mut model, &sources, &rules);
            for (index, (golden, hypothesis)) in goldens.iter().zip(&hypotheses).enumerate() {
                let Some(expected) = golden.outputs.get(name) else { continue };
                let label = format!("{pair} {name} sentence {index}");
                assert_eq!(hypothesis.ids, expected.ids[1..], "{label}");
                if let Some(score) = expected.score {
                    // Sums of up to 127 log-probabilities in f32, in another order.
                    let own = hypothesis.log_prob / rules.length_divisor(hypothesis.ids.len());
                    assert!((own - score).abs() < 1e-4 * score.abs().max(1.0), "{label}: {own} {score}");
                }
            }
        }
    }

    #[test]
    fn exported_graphs_decode_as_the_reference() {
        ids_are_those_of_the_reference(&testing::fixture("marian"), "fr-en");
        ids_are_those_of_the_reference(&testing::fixture("marian"), "en-mul");
    }

    #[test]
    fn merged_graphs_decode_as_the_reference() {
        ids_are_those_of_the_reference(&testing::fixture("marian-merged"), "fr-en");
    }

    #[test]
    fn a_sentence_can_be_given_up() {
        let onnx = testing::onnx();
        let directory = testing::fixture("marian/fr-en");
        let mut model = Marian::load(&onnx, &directory, Precision::Fp32, 1).expect("a model");
        let sources: Vec<_> = goldens("fr-en").into_iter().map(|g| g.source_ids).take(5).collect();
        let rules = SearchRules::new(&model.checkpoint, 4, 40);
        let all = decode(&mut model, &sources, &rules);

        let sentences: Vec<_> = sources.into_iter().enumerate().collect();
        let mut cohort = model.start(&sentences, 4, 40).expect("the encoder runs");
        let mut rest = model.step(&mut cohort).expect("the decoder runs");
        for key in [0, 3] {
            cohort.remove(key);
        }
        while !cohort.is_done() {
            rest.extend(model.step(&mut cohort).expect("the decoder runs"));
        }
        for (key, hypothesis) in rest {
            assert_eq!(hypothesis, all[key]);
        }
    }

    #[test]
    fn a_vocabulary_of_another_model_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = testing::fixture("marian/fr-en");
        for file in std::fs::read_dir(&own).expect("files") {
            let file = file.expect("a file").path();
            let name = file.file_name().expect("a name").to_owned();
            std::fs::copy(file, directory.path().join(name)).expect("a copy");
        }
        let other = testing::fixture("marian/en-mul/vocab.json");
        std::fs::copy(other, directory.path().join("vocab.json")).expect("a copy");
        let loaded = Marian::load(&testing::onnx(), directory.path(), Precision::Fp32, 1);
        assert!(matches!(loaded.err(), Some(ModelError::Inconsistent { .. })));
    }
}
