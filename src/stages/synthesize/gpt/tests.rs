use std::collections::BTreeMap;

use super::*;
use crate::onnx::testing::{cuda, fixture, onnx};
use crate::stages::synthesize::options::Precision;
use crate::stages::synthesize::sampler::{Sampler, Sampling, SamplingHints};

/// A row of the test: who joins when, with which text, for how many codes.
struct Plan {
    joins_at: usize,
    text_len: usize,
    codes: usize,
    voice: u8,
}

/// Rows of all lengths that join and leave at different steps.
const PLANS: [Plan; 6] = [
    Plan {
        joins_at: 0,
        text_len: 3,
        codes: 25,
        voice: 0,
    },
    Plan {
        joins_at: 0,
        text_len: 122,
        codes: 9,
        voice: 1,
    },
    Plan {
        joins_at: 0,
        text_len: 40,
        codes: 40,
        voice: 0,
    },
    Plan {
        joins_at: 7,
        text_len: 17,
        codes: 30,
        voice: 2,
    },
    Plan {
        joins_at: 5,
        text_len: 80,
        codes: 5,
        voice: 1,
    },
    Plan {
        joins_at: 20,
        text_len: 1,
        codes: 33,
        voice: 0,
    },
];

#[derive(Default, PartialEq, Debug)]
struct Trace {
    codes: Vec<u32>,
    logits: Vec<f32>,
    latents: Vec<f32>,
}

struct Active {
    plan: usize,
    sampler: Sampler,
    next: NextCode,
}

fn load(precision: Precision, slots: usize) -> GptBatch {
    load_in(&onnx(), &Place::of(&onnx()).unwrap(), precision, slots)
}

fn load_in(onnx: &Onnx, place: &Place, precision: Precision, slots: usize) -> GptBatch {
    let directory = fixture("xtts");
    let metadata = XttsMetadata::read(&directory).unwrap();
    let file = directory.join(precision.decoder_file());
    GptBatch::load(onnx, place, &file, &metadata, slots, 1).unwrap()
}

fn latents(metadata: &XttsMetadata, voice: u8) -> Vec<f32> {
    let phase = f32::from(voice);
    (0..metadata.cond_len * metadata.width)
        .map(|i| (i as f32 * 0.37 + phase).sin())
        .collect()
}

fn text(metadata: &XttsMetadata, plan: usize, len: usize) -> Vec<i64> {
    let letters = metadata.text_vocab_size as i64 - 3;
    (0..len as i64)
        .map(|i| 3 + (i * 7 + plan as i64 * 5) % letters)
        .collect()
}

/// Decodes the given plans in one batch, greedily and without stopping.
fn decode(gpt: &mut GptBatch, plans: &[usize]) -> BTreeMap<usize, Trace> {
    let metadata = gpt.metadata.clone();
    let greedy = SamplingHints {
        temperature: Some(0.0),
        ..Default::default()
    };
    let mut traces: BTreeMap<usize, Trace> = BTreeMap::new();
    let mut active: Vec<Active> = Vec::new();
    for step in 0.. {
        for plan in plans
            .iter()
            .copied()
            .filter(|plan| PLANS[*plan].joins_at == step)
        {
            let sampling = Sampling::new(&metadata.sampling, greedy);
            let mut row = Active {
                plan,
                sampler: Sampler::new(&metadata, sampling, [0; 32], 0),
                next: NextCode {
                    code: 0,
                    position: 0,
                },
            };
            let voice = PLANS[plan].voice;
            let ids = text(&metadata, plan, PLANS[plan].text_len);
            assert!(gpt.make_vacancy());
            let prediction = gpt
                .join([voice; 32], &latents(&metadata, voice), &ids)
                .unwrap();
            record(&mut row, &mut traces, &prediction);
            active.push(row);
        }
        if active.is_empty() && step > 20 {
            return traces;
        }
        if !active.is_empty() {
            let codes: Vec<_> = active.iter().map(|row| row.next).collect();
            let predictions = gpt.step(&codes).unwrap();
            for (row, prediction) in active.iter_mut().zip(predictions.iter()) {
                record(row, &mut traces, &prediction);
            }
        }
        for index in (0..active.len()).rev() {
            if traces[&active[index].plan].codes.len() >= PLANS[active[index].plan].codes {
                gpt.leave(index);
                active.swap_remove(index);
            }
        }
    }
    unreachable!("the loop ends by itself")
}

fn record(row: &mut Active, traces: &mut BTreeMap<usize, Trace>, prediction: &Prediction<'_>) {
    let code = row.sampler.choose(prediction.logits).unwrap();
    row.next = NextCode {
        code,
        position: row.next.position + 1,
    };
    let trace = traces.entry(row.plan).or_default();
    trace.codes.push(code);
    trace.logits.extend_from_slice(prediction.logits);
    trace.latents.extend_from_slice(prediction.latent);
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn int8_rows_do_not_depend_on_their_neighbours_to_the_bit() {
    let mut gpt = load(Precision::Int8r, 6);
    assert_eq!(gpt.caches.rows(), GROWTH_SLOTS);
    let together = decode(&mut gpt, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(gpt.caches.rows(), 6, "more rows than there was memory for");
    for plan in 0..PLANS.len() {
        let alone = decode(&mut load(Precision::Int8r, 1), &[plan]);
        assert_eq!(together[&plan], alone[&plan], "row {plan}");
    }
}

#[test]
fn float_rows_do_not_depend_on_their_neighbours() {
    // Matrix products sum in another order for another number of rows.
    for (precision, tolerance) in [(Precision::Fp32, 1e-4), (Precision::Fp16, 1e-2)] {
        let together = decode(&mut load(precision, 6), &[0, 1, 2, 3, 4, 5]);
        for plan in 0..PLANS.len() {
            let alone = &decode(&mut load(precision, 1), &[plan])[&plan];
            let together = &together[&plan];
            assert_eq!(together.codes, alone.codes, "row {plan}");
            assert!(greatest_difference(&together.logits, &alone.logits) < tolerance);
            assert!(greatest_difference(&together.latents, &alone.latents) < tolerance);
        }
    }
}

#[test]
fn a_kept_voice_gives_the_same_as_a_new_one() {
    let mut gpt = load(Precision::Fp32, 2);
    let first = decode(&mut gpt, &[2]);
    // The prefix is in the cache now, and other rows have used the slot since.
    decode(&mut gpt, &[1]);
    assert_eq!(gpt.prefixes.len(), 2);
    assert_eq!(decode(&mut gpt, &[2]), first);
    assert_eq!(gpt.prefixes.len(), 2);
}

#[test]
fn the_text_and_the_voice_matter() {
    let traces = decode(&mut load(Precision::Fp32, 6), &[0, 1, 2, 3, 4, 5]);
    assert_ne!(traces[&0].codes[..5], traces[&1].codes[..5]);
    let mut gpt = load(Precision::Fp32, 1);
    let metadata = gpt.metadata.clone();
    let ids = text(&metadata, 0, 10);
    let mut logits = |voice: u8| {
        let logits = gpt
            .join([voice; 32], &latents(&metadata, voice), &ids)
            .unwrap()
            .logits
            .to_vec();
        gpt.leave(0);
        logits
    };
    assert!(greatest_difference(&logits(0), &logits(1)) > 1e-3);
}

#[test]
fn the_longest_text_and_the_most_codes_fit_into_a_slot() {
    let mut gpt = load(Precision::Fp32, 1);
    let metadata = gpt.metadata.clone();
    let ids = text(&metadata, 0, metadata.max_text_ids);
    gpt.join([0; 32], &latents(&metadata, 0), &ids).unwrap();
    for position in 1..metadata.max_codes {
        let next = NextCode {
            code: (position % 100) as u32,
            position,
        };
        let predictions = gpt.step(&[next]).unwrap();
        assert!(
            predictions
                .iter()
                .all(|p| p.logits.iter().all(|logit| logit.is_finite()))
        );
    }
}

#[test]
fn old_voices_are_forgotten() {
    let mut gpt = load(Precision::Fp32, 1);
    let metadata = gpt.metadata.clone();
    for voice in 0..KEPT_VOICES as u8 + 3 {
        gpt.join([voice; 32], &latents(&metadata, voice), &[5])
            .unwrap();
        gpt.leave(0);
    }
    let kept: Vec<u8> = gpt.prefixes.iter().map(|(key, _)| key[0]).collect();
    assert_eq!(kept, (3..KEPT_VOICES as u8 + 3).collect::<Vec<_>>());
}

/// Logits and latents of a long and a short row, of which one joins after the other has outgrown a slot.
fn long_and_short(gpt: &mut GptBatch) -> Vec<f32> {
    let metadata = gpt.metadata.clone();
    let mut seen = Vec::new();
    let join = |gpt: &mut GptBatch, voice: u8, text_len: usize| {
        let ids = text(&metadata, 0, text_len);
        let latents = latents(&metadata, voice);
        let prediction = gpt.join([voice; 32], &latents, &ids).unwrap();
        prediction.logits.to_vec()
    };
    seen.extend(join(gpt, 0, 10));
    seen.extend(join(gpt, 1, 200));
    for position in 1..80 {
        if position == 60 {
            seen.extend(join(gpt, 0, 25));
        }
        let codes: Vec<_> = (0..gpt.rows())
            .map(|row| NextCode {
                code: (position * (row + 3) % 100) as u32,
                position: if row == 2 { position - 59 } else { position },
            })
            .collect();
        for prediction in gpt.step(&codes).unwrap().iter() {
            seen.extend_from_slice(prediction.logits);
            seen.extend_from_slice(prediction.latent);
        }
    }
    seen
}

#[test]
fn rows_that_outgrow_their_slots_go_on_to_the_bit() {
    for precision in [Precision::Int8r, Precision::Fp32, Precision::Fp16] {
        let mut growing = load(precision, 3);
        assert_eq!(growing.caches.capacity(), GROWTH_POSITIONS);
        let grown = long_and_short(&mut growing);
        // 32 + 203 positions before the first of 79 steps.
        assert_eq!(growing.caches.capacity(), 2 * GROWTH_POSITIONS);

        let mut large = load(precision, 3);
        large.make_room(large.metadata.max_positions()).unwrap();
        assert_eq!(large.caches.capacity(), large.metadata.max_positions());
        assert!(grown.iter().all(|value| value.is_finite()));
        assert_eq!(long_and_short(&mut large), grown, "{precision:?}");
    }
}

#[test]
fn where_memory_is_short_fewer_speak_and_they_go_on_to_the_bit() {
    let metadata = XttsMetadata::read(&fixture("xtts")).unwrap();
    // One cache of four slots as they are at first.
    let floats = GROWTH_SLOTS * metadata.heads * GROWTH_POSITIONS * metadata.head_dim;
    let place = Place::with_small_blocks(&onnx(), floats * size_of::<f32>());
    let mut gpt = load_in(&onnx(), &place, Precision::Int8r, 6);
    let text = text(&metadata, 0, 9);
    let join = |gpt: &mut GptBatch, voice| {
        let latents = latents(&metadata, voice);
        gpt.join([voice; 32], &latents, &text)
            .map(|p| p.logits.to_vec())
    };
    for voice in 0..4 {
        assert!(gpt.make_vacancy());
        join(&mut gpt, voice).unwrap();
    }
    assert!(!gpt.make_vacancy());
    assert_eq!(gpt.slots(), GROWTH_SLOTS);

    // Those that speak go on, and one that leaves makes room.
    let mut roomy = load(Precision::Int8r, 6);
    for voice in 0..4 {
        assert!(roomy.make_vacancy());
        join(&mut roomy, voice).unwrap();
    }
    let code = NextCode {
        code: 5,
        position: 1,
    };
    let logits = |gpt: &mut GptBatch| -> Vec<f32> {
        let predictions = gpt.step(&[code; 4]).unwrap();
        predictions.iter().flat_map(|p| p.logits.to_vec()).collect()
    };
    assert_eq!(logits(&mut gpt), logits(&mut roomy));
    assert!(!gpt.is_lost());
    gpt.leave(1);
    assert!(gpt.make_vacancy());

    // Longer rows are not to be had: what was there is lost, until all have left.
    let longest = metadata.max_positions();
    assert!(matches!(
        gpt.make_room(longest),
        Err(OnnxError::CacheMemory { .. })
    ));
    assert!(gpt.is_lost());
    gpt.clear();
    assert!(!gpt.is_lost() && gpt.make_vacancy());
    let again = join(&mut gpt, 0).unwrap();
    roomy.clear();
    assert!(roomy.make_vacancy());
    assert_eq!(again, join(&mut roomy, 0).unwrap());
}

#[test]
fn caches_in_the_memory_of_a_device_give_the_same_to_the_bit() {
    let device = Place::like_a_device(&onnx());
    for precision in [Precision::Int8r, Precision::Fp32, Precision::Fp16] {
        let on_device = |slots| load_in(&onnx(), &device, precision, slots);
        let all = [0, 1, 2, 3, 4, 5];
        let expected = decode(&mut load(precision, 6), &all);
        let mut gpt = on_device(6);
        assert_eq!(decode(&mut gpt, &all), expected, "{precision:?}");
        // With voices that are kept.
        assert_eq!(decode(&mut gpt, &all), expected, "{precision:?}");
        let expected = long_and_short(&mut load(precision, 3));
        assert_eq!(long_and_short(&mut on_device(3)), expected, "{precision:?}");
    }
}

#[test]
fn cuda_gives_what_the_processor_gives() {
    let Some(cuda) = cuda() else { return };
    let place = Place::of(&cuda).unwrap();
    let expected = long_and_short(&mut load(Precision::Fp16, 3));
    let found = long_and_short(&mut load_in(&cuda, &place, Precision::Fp16, 3));
    let difference = greatest_difference(&found, &expected);
    println!("XTTS on CUDA: logits and latents within {difference:.1e} of the processor's");
    assert!(difference < 5e-2, "off by {difference}");

    let together = decode(
        &mut load_in(&cuda, &place, Precision::Fp16, 6),
        &[0, 1, 2, 3, 4, 5],
    );
    for plan in 0..PLANS.len() {
        let alone = decode(&mut load_in(&cuda, &place, Precision::Fp16, 1), &[plan]);
        assert_eq!(together[&plan].codes, alone[&plan].codes, "row {plan}");
    }
}
