use serde::Deserialize;

use super::*;
use crate::onnx::testing::{Parity, root, shared};
use crate::stages::synthesize::metadata::tests::xtts_v2;

/// What the processors of the reference's generate call leave of one row of logits.
#[derive(Deserialize)]
struct Golden {
    id: String,
    logits: Vec<f32>,
    history: Vec<u32>,
    by_repetition_penalty: std::collections::BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    after_top_k: usize,
    greedy: u32,
    survivors: Vec<(u32, f64)>,
}

fn sampler(hints: SamplingHints, seed: u8) -> Sampler {
    let metadata = xtts_v2();
    let sampling = Sampling::new(&metadata.sampling, hints);
    Sampler::new(&metadata, sampling, [seed; 32], 0)
}

/// Draws for each row of the goldens: enough that an error of a hundredth shows.
const DRAWS: usize = 20_000;

/// What a comparison has seen.
#[derive(Default)]
struct Compared {
    rows: usize,
    /// Largest difference of a probability.
    probability: f64,
    /// Largest distance of drawn counts to those expected, in standard deviations of chi-square.
    draws: f64,
}

/// Distance of the counts of draws to probabilities: (χ² − degrees) ÷ √(2 · degrees), 0 on average and
/// rarely above 4.
fn distance_of_draws(sampler: &mut Sampler, survivors: &[(u32, f64)]) -> f64 {
    let mut counts = std::collections::HashMap::new();
    for _ in 0..DRAWS {
        *counts.entry(sampler.draw().unwrap()).or_insert(0.0) += 1.0;
    }
    let drawn: f64 = survivors
        .iter()
        .map(|(code, _)| counts.get(code).unwrap_or(&0.0))
        .sum();
    assert_eq!(
        drawn, DRAWS as f64,
        "a code was drawn that the reference drops"
    );
    let chi_square: f64 = survivors
        .iter()
        .map(|(code, probability)| {
            let expected = probability * DRAWS as f64;
            (counts.get(code).unwrap_or(&0.0) - expected).powi(2) / expected
        })
        .sum();
    let degrees = (survivors.len() - 1).max(1) as f64;
    (chi_square - degrees) / (2.0 * degrees).sqrt()
}

fn compare_with_reference(lines: &str) -> Compared {
    let mut compared = Compared::default();
    for line in lines.lines() {
        let golden: Golden = serde_json::from_str(line).unwrap();
        for (penalty, expected) in &golden.by_repetition_penalty {
            let id = format!("{} with penalty {penalty}", golden.id);
            let mut sampler = sampler(
                SamplingHints {
                    repetition_penalty: penalty.parse().ok(),
                    ..Default::default()
                },
                0,
            );
            sampler.seen.fill(false);
            golden
                .history
                .iter()
                .for_each(|code| sampler.mark_seen(*code));

            assert_eq!(
                sampler.likeliest(&golden.logits),
                Some(expected.greedy),
                "{id}"
            );
            assert_eq!(
                sampler.distribute(&golden.logits, 0.75),
                expected.after_top_k,
                "{id}"
            );
            let mut survivors: Vec<_> = sampler
                .candidates
                .iter()
                .map(|c| (c.code, c.probability))
                .collect();
            let mut expected = expected.survivors.clone();
            survivors.sort_by_key(|survivor| survivor.0);
            expected.sort_by_key(|survivor| survivor.0);
            assert_eq!(survivors.len(), expected.len(), "{id}");
            for (ours, theirs) in survivors.iter().zip(&expected) {
                assert_eq!(ours.0, theirs.0, "{id}");
                // The reference computes in single precision.
                assert!(
                    (ours.1 - theirs.1).abs() < 2e-6,
                    "{id}: {ours:?} against {theirs:?}"
                );
                compared.probability = compared.probability.max((ours.1 - theirs.1).abs());
            }
            let distance = distance_of_draws(&mut sampler, &expected);
            assert!(distance < 6.0, "{id}: draws are {distance} deviations off");
            compared.draws = compared.draws.max(distance);
            compared.rows += 1;
        }
    }
    compared
}

#[test]
fn the_choice_is_that_of_the_reference() {
    let bundled = root().join("tests/fixtures/xtts-sampler.jsonl");
    assert_eq!(
        compare_with_reference(&std::fs::read_to_string(bundled).unwrap()).rows,
        16
    );
}

#[test]
fn the_choice_is_that_of_the_reference_in_all_goldens() {
    let Some(goldens) = shared("goldens/xtts-sampler.jsonl") else {
        return;
    };
    assert_eq!(
        compare_with_reference(&std::fs::read_to_string(goldens).unwrap()).rows,
        40
    );
}

#[test]
fn the_choice_among_logits_of_real_dimensions_is_that_of_the_reference() {
    let Some(parity) = Parity::find() else {
        return;
    };
    let goldens = std::fs::read_to_string(parity.goldens("xtts-sampler.jsonl")).unwrap();
    let seen = compare_with_reference(&goldens);
    assert!(seen.rows >= 20);
    let figures = format!(
        "{} rows: same survivors, probabilities within {:.1e}; {DRAWS} draws each, at most {:.1} deviations off",
        seen.rows, seen.probability, seen.draws
    );
    Parity::report(
        "XTTS sampler (penalty, temperature, top-k, top-p)",
        &figures,
    );
}

#[test]
fn draws_follow_the_probabilities_and_the_seed() {
    let mut logits = vec![f32::NEG_INFINITY; 1026];
    logits[7] = 3.0f32.ln() * 0.75;
    logits[9] = 0.0;
    let draws = |seed| {
        let hints = SamplingHints {
            top_p: Some(1.0),
            repetition_penalty: Some(1.0),
            ..Default::default()
        };
        let mut sampler = sampler(hints, seed);
        (0..4000)
            .map(|_| sampler.choose(&logits).unwrap())
            .collect::<Vec<_>>()
    };
    let first = draws(1);
    let sevens = first.iter().filter(|code| **code == 7).count();
    // Expected 3000; six standard deviations are 164.
    assert!((2836..3164).contains(&sevens), "{sevens}");
    assert!(first.iter().all(|code| [7, 9].contains(code)));
    assert_eq!(first, draws(1));
    assert_ne!(first, draws(2));
}

#[test]
fn codes_that_are_far_less_likely_than_the_likeliest_fall() {
    let mut logits = vec![f32::NEG_INFINITY; 1026];
    // Probabilities of 8, 4 and 1 to each other.
    for (code, probability) in [(3, 8.0f32), (4, 4.0), (5, 1.0)] {
        logits[code] = probability.ln() * 0.75;
    }
    let survivors = |min_p| {
        let hints = SamplingHints {
            top_p: Some(1.0),
            min_p,
            repetition_penalty: Some(1.0),
            ..Default::default()
        };
        let mut sampler = sampler(hints, 0);
        sampler.distribute(&logits, 0.75);
        let sum: f64 = sampler.candidates.iter().map(|c| c.probability).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        sampler
            .candidates
            .iter()
            .map(|c| c.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(survivors(None), [3, 4, 5]);
    assert_eq!(survivors(Some(0.1)), [3, 4, 5]);
    assert_eq!(survivors(Some(0.2)), [3, 4]);
    assert_eq!(survivors(Some(1.0)), [3]);
}

#[test]
fn logits_that_are_no_numbers_are_never_chosen() {
    let mut logits = vec![f32::NAN; 1026];
    for temperature in [0.0, 0.75] {
        let hints = SamplingHints {
            temperature: Some(temperature),
            ..Default::default()
        };
        assert_eq!(sampler(hints, 0).choose(&logits), None);
    }
    logits[500] = -40.0;
    assert_eq!(
        sampler(SamplingHints::default(), 0).choose(&logits),
        Some(500)
    );
}

#[test]
fn hints_out_of_range_are_moved_into_it() {
    let defaults = xtts_v2().sampling;
    let wild = SamplingHints {
        temperature: Some(f32::NAN),
        top_k: Some(0),
        top_p: Some(-3.0),
        min_p: Some(7.0),
        repetition_penalty: Some(f32::INFINITY),
    };
    let expected = Sampling {
        temperature: Some(0.75),
        top_k: 1,
        top_p: 0.0,
        min_p: 1.0,
        repetition_penalty: 5.0,
    };
    assert_eq!(Sampling::new(&defaults, wild), expected);
}
