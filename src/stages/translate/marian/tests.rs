//! Searches on the bundled pairs, against what transformers answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::domain::Language;
use crate::onnx::{Place, testing};
use crate::stages::translate::Routes;

/// What transformers 4.57 `generate` made of sentences with the weights of the fixtures, each of
/// them decoded alone.
#[derive(Deserialize)]
struct Goldens {
    searches: BTreeMap<String, GoldenSearch>,
    cases: Vec<GoldenCase>,
}

/// Settings of `generate`; what is absent is the checkpoint's.
#[derive(Deserialize)]
struct GoldenSearch {
    num_beams: usize,
    length_penalty: Option<f32>,
    early_stopping: Option<EarlyStopping>,
    max_length: Option<usize>,
}

#[derive(Deserialize)]
struct GoldenCase {
    text: String,
    /// Language that a multilingual model is asked for.
    target: Option<String>,
    /// Source ids, with target token and end of sentence.
    ids: Vec<i64>,
    #[serde(flatten)]
    outputs: BTreeMap<String, serde_json::Value>,
}

/// Ids without the start, with the end of sentence.
#[derive(Deserialize)]
struct GoldenOutput {
    ids: Vec<i64>,
    text: String,
    score: Option<f32>,
}

fn goldens(pair: &str) -> Goldens {
    read_goldens(&testing::fixture(&format!("goldens/marian-{pair}.json")))
}

fn read_goldens(path: &Path) -> Goldens {
    metadata::read_json(path).expect("goldens")
}

impl GoldenSearch {
    fn rules(&self, checkpoint: &Checkpoint) -> SearchRules {
        let rules = SearchRules::new(checkpoint, self.num_beams, usize::MAX - 1);
        SearchRules {
            length_penalty: self.length_penalty.unwrap_or(rules.length_penalty),
            early_stopping: self.early_stopping.unwrap_or(rules.early_stopping),
            max_length: self.max_length.unwrap_or(rules.max_length),
            ..rules
        }
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

/// What a comparison has seen.
struct Compared {
    answers: usize,
    tokens: usize,
    score_error: f32,
}

/// All sentences of a pair in batches of `batch`, with every setting: the ids must be those of the
/// reference.
fn decodes_as_the_reference(
    directory: &Path,
    pair: &str,
    goldens: &Goldens,
    batch: usize,
) -> BTreeMap<String, Compared> {
    let routes = Routes::scan(directory).expect("pairs");
    let installed = routes
        .pairs()
        .iter()
        .find(|p| &*p.name == pair)
        .expect("the pair");
    let mut model =
        Marian::load(&testing::onnx(), &installed.directory, Precision::Fp32, 1).expect("a model");
    assert!(goldens.cases.len() >= 10 && goldens.searches.len() >= 3);
    for case in &goldens.cases {
        let target = case.target.as_deref().and_then(Language::parse);
        let token = target.and_then(|target| installed.targets.get(&target)?.clone());
        let ids = model.encode(&case.text, token.as_deref()).expect("ids");
        assert_eq!(ids, case.ids, "{pair}: {}", case.text);
    }
    let sources: Vec<_> = goldens.cases.iter().map(|case| case.ids.clone()).collect();
    let mut compared = BTreeMap::new();
    for (name, search) in &goldens.searches {
        let rules = search.rules(&model.checkpoint);
        let hypotheses: Vec<_> = sources
            .chunks(batch)
            .flat_map(|sources| decode(&mut model, sources, &rules))
            .collect();
        let mut seen = Compared {
            answers: hypotheses.len(),
            tokens: 0,
            score_error: 0.0,
        };
        for (case, hypothesis) in goldens.cases.iter().zip(&hypotheses) {
            let label = format!("{pair} {name}: {}", case.text);
            let expected = GoldenOutput::deserialize(&case.outputs[name]).expect("an output");
            assert_eq!(hypothesis.ids, expected.ids, "{label}");
            assert_eq!(
                model.decode(hypothesis).expect("text"),
                expected.text,
                "{label}"
            );
            if let Some(score) = expected.score {
                // Another order of summation, and six digits in the file.
                let own = hypothesis.log_prob / rules.length_divisor(hypothesis.ids.len());
                let error = (own - score).abs();
                assert!(error < 1e-4, "{label}: {own} for {score}");
                seen.score_error = seen.score_error.max(error);
            }
            seen.tokens += hypothesis.ids.len();
        }
        compared.insert(name.clone(), seen);
    }
    compared
}

#[test]
fn exported_graphs_decode_as_the_reference() {
    for pair in ["fr-en", "en-mul"] {
        decodes_as_the_reference(
            &testing::fixture("marian"),
            pair,
            &goldens(pair),
            usize::MAX,
        );
    }
}

#[test]
fn merged_graphs_decode_as_the_reference() {
    let directory = testing::fixture("marian-merged");
    decodes_as_the_reference(&directory, "fr-en", &goldens("fr-en"), usize::MAX);
}

#[test]
fn graphs_of_real_dimensions_decode_as_the_reference() {
    let Some(parity) = testing::Parity::find() else {
        return;
    };
    let goldens = read_goldens(&parity.goldens("marian-fr-en.json"));
    assert!(goldens.cases.len() >= 200);
    let compared = decodes_as_the_reference(&parity.model("marian"), "fr-en", &goldens, 16);
    for (search, seen) in compared {
        let figures = format!(
            "ids of {} of {} answers equal ({} tokens), scores within {:.1e}",
            seen.answers, seen.answers, seen.tokens, seen.score_error
        );
        testing::Parity::report(&format!("Marian, {search}"), &figures);
    }
}

/// The pair fr-en with graphs of a kind, and caches in a place of one's own.
fn model_in(onnx: &Onnx, place: &Place, suffix: &str) -> Marian {
    let directory = testing::fixture("marian/fr-en");
    let checkpoint = Checkpoint::read_exported(&directory).expect("a description");
    let files = ["encoder", "decoder"].map(|name| directory.join(format!("{name}{suffix}.onnx")));
    let graphs = ExportedGraphs::open(onnx, place, &files, &checkpoint, 1);
    Marian {
        tokenizer: Tokenizer::load(&directory).expect("a tokenizer"),
        graphs: Graphs::Exported(graphs.expect("graphs")),
        checkpoint,
    }
}

/// All sentences of fr-en with every setting, two at first, others when there is room.
fn decode_as_they_come(
    model: &mut Marian,
    goldens: &Goldens,
    longest_first: bool,
) -> BTreeMap<String, BTreeMap<usize, Hypothesis>> {
    let sources: Vec<_> = goldens.cases.iter().map(|c| c.ids.clone()).collect();
    let sentences: Vec<_> = sources.into_iter().enumerate().collect();
    let mut all = BTreeMap::new();
    for (name, search) in &goldens.searches {
        let rules = search.rules(&model.checkpoint);
        let max_rows = 5 * rules.beams;
        let (first, later) = sentences.split_at(2);
        let pad_id = model.checkpoint.pad_id;
        let mut cohort =
            Cohort::start(&mut model.graphs, first, rules, pad_id).expect("the encoder runs");
        // The slots have to grow with their sources, or to shrink.
        let mut later: Vec<_> = later.to_vec();
        later.sort_by_key(|(_, ids)| ids.len());
        if longest_first {
            later.reverse();
        }
        let mut later = later.into_iter().peekable();
        let mut done = BTreeMap::new();
        for step in 0.. {
            if cohort.is_done() && later.peek().is_none() {
                break;
            }
            if step % 3 == 2 || cohort.is_done() {
                let count = cohort.vacancies(max_rows).min(2);
                let joining: Vec<_> = later.by_ref().take(count).collect();
                if !joining.is_empty() {
                    model.join(&mut cohort, &joining).expect("there is room");
                }
            }
            assert!(cohort.rows() <= max_rows);
            done.extend(model.step(&mut cohort).expect("the decoder runs"));
        }
        all.insert(name.clone(), done);
    }
    all
}

fn joins_and_leaves_as_the_reference(onnx: &Onnx, suffix: &str) {
    let goldens = goldens("fr-en");
    let mut model = model_in(onnx, &Place::of(onnx).expect("a place"), suffix);
    for longest_first in [false, true] {
        for (name, done) in decode_as_they_come(&mut model, &goldens, longest_first) {
            for (key, case) in goldens.cases.iter().enumerate() {
                let expected = GoldenOutput::deserialize(&case.outputs[&name]).expect("an output");
                assert_eq!(done[&key].ids, expected.ids, "{name}: {}", case.text);
            }
        }
    }
}

#[test]
fn sentences_join_and_leave_at_any_step() {
    for suffix in ["", ".fp16"] {
        joins_and_leaves_as_the_reference(&testing::onnx(), suffix);
    }
}

#[test]
fn sentences_join_and_leave_on_cuda() {
    if let Some(cuda) = testing::cuda() {
        joins_and_leaves_as_the_reference(&cuda, ".fp16");
    }
}

#[test]
fn caches_in_the_memory_of_a_device_give_the_same_to_the_bit() {
    let (onnx, goldens) = (testing::onnx(), goldens("fr-en"));
    let [own, device] = [
        Place::of(&onnx).expect("a place"),
        Place::like_a_device(&onnx),
    ];
    for suffix in ["", ".fp16"] {
        let [own, device] = [&own, &device].map(|place| {
            let mut model = model_in(&onnx, place, suffix);
            decode_as_they_come(&mut model, &goldens, false)
        });
        assert_eq!(own, device, "{suffix}");
    }
}

#[test]
fn rows_that_outgrow_their_slots_decode_as_concatenated_ones() {
    let load = |model: &str| {
        let directory = testing::fixture(model);
        Marian::load(&testing::onnx(), &directory, Precision::Fp32, 1).expect("a model")
    };
    // The same weights.
    let (mut slots, mut merged) = (load("marian/fr-en"), load("marian-merged/fr-en"));
    let sources: Vec<_> = goldens("fr-en").cases.into_iter().map(|c| c.ids).collect();
    for beams in [1, 4] {
        let rules = SearchRules {
            // Nothing ends before the limit.
            eos_id: -1,
            max_length: 6 * slots::FIRST_POSITIONS,
            ..SearchRules::new(&slots.checkpoint, beams, usize::MAX - 1)
        };
        let expected = decode(&mut merged, &sources, &rules);
        let found = decode(&mut slots, &sources, &rules);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.ids, expected.ids, "{beams} beams");
        }
    }
}

#[test]
fn nothing_joins_where_all_rows_have_one_position() {
    let directory = testing::fixture("marian-merged/fr-en");
    let mut model =
        Marian::load(&testing::onnx(), &directory, Precision::Fp32, 1).expect("a model");
    let sentence = goldens("fr-en").cases[0].ids.clone();
    let mut cohort = model
        .start(&[(0, sentence.clone())], 4, 40)
        .expect("a cohort");
    assert_eq!(cohort.vacancies(64), 0);
    let joined = model.join(&mut cohort, &[(1, sentence)]);
    assert!(matches!(joined, Err(ModelError::ForeignState)));
}

#[test]
fn graphs_of_an_earlier_export_say_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    testing::copy_fixture("marian/fr-en", directory.path());
    let metadata = directory.path().join("metadata.json");
    let text = std::fs::read_to_string(&metadata).expect("a description");
    let text = text
        .replace("\"layout\": \"slots\"", "\"layout\": \"exported\"")
        .replace("suppressed_ids", "bad_words_ids");
    std::fs::write(&metadata, text).expect("a file");
    let loaded = Marian::load(&testing::onnx(), directory.path(), Precision::Fp32, 1);
    let error = loaded.err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("export the checkpoint again")));
}

#[test]
fn a_sentence_can_be_given_up() {
    let onnx = testing::onnx();
    let directory = testing::fixture("marian/fr-en");
    let mut model = Marian::load(&onnx, &directory, Precision::Fp32, 1).expect("a model");
    let sources: Vec<_> = goldens("fr-en")
        .cases
        .into_iter()
        .map(|case| case.ids)
        .take(5)
        .collect();
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
    testing::copy_fixture("marian/fr-en", directory.path());
    let other = testing::fixture("marian/en-mul/vocab.json");
    std::fs::copy(other, directory.path().join("vocab.json")).expect("a copy");
    let loaded = Marian::load(&testing::onnx(), directory.path(), Precision::Fp32, 1);
    assert!(matches!(
        loaded.err(),
        Some(ModelError::Inconsistent { .. })
    ));
}
