//! The whole path against coqui-tts: text ids, greedy codes, latents, waveform.

use std::path::Path;

use serde_json::Value;

use super::gpt::{GptBatch, NextCode, Prediction};
use super::metadata::XttsMetadata;
use super::sampler::{Sampler, Sampling, SamplingHints};
use super::text::TextEncoder;
use super::vocoder::{Vocoder, Waveform, Windowing};
use crate::domain::Language;
use crate::onnx::testing::{
    Parity, assert_close, cuda, fixture, goldens, numbers, onnx, read_goldens,
};
use crate::onnx::{Onnx, Place};

/// A text of the goldens on its way.
struct Spoken {
    case: usize,
    sampler: Sampler,
    codes: Vec<u32>,
    latents: Vec<f32>,
}

impl Spoken {
    /// Keeps latent and code; true when the code is the stop code.
    fn take(&mut self, prediction: &Prediction<'_>, metadata: &XttsMetadata) -> bool {
        let code = self.sampler.choose(prediction.logits).unwrap();
        self.codes.push(code);
        self.latents.extend_from_slice(prediction.latent);
        code == metadata.stop_audio_id
    }
}

fn ids(case: &Value) -> Vec<i64> {
    serde_json::from_value(case["ids"].clone()).unwrap()
}

/// Decodes all cases greedily in one batch.
fn decode(
    onnx: &Onnx,
    file: &Path,
    metadata: &XttsMetadata,
    cases: &[Value],
    voice: &[f32],
) -> Vec<Spoken> {
    let place = Place::of(onnx).unwrap();
    let mut gpt = GptBatch::load(onnx, &place, file, metadata, cases.len(), 1).unwrap();
    let greedy = SamplingHints {
        temperature: Some(0.0),
        ..Default::default()
    };
    let sampling = Sampling::new(&metadata.sampling, greedy);
    let mut rows: Vec<Spoken> = Vec::new();
    let mut done = Vec::new();
    for (case, golden) in cases.iter().enumerate() {
        let mut row = Spoken {
            case,
            sampler: Sampler::new(metadata, sampling, [0; 32], 0),
            codes: Vec::new(),
            latents: Vec::new(),
        };
        assert!(gpt.make_vacancy());
        let prediction = gpt.join([0; 32], voice, &ids(golden)).unwrap();
        assert!(!row.take(&prediction, metadata));
        rows.push(row);
    }
    while !rows.is_empty() {
        let next: Vec<_> = rows
            .iter()
            .map(|row| NextCode {
                code: *row.codes.last().unwrap(),
                position: row.codes.len(),
            })
            .collect();
        let predictions = gpt.step(&next).unwrap();
        let ended: Vec<bool> = rows
            .iter_mut()
            .zip(predictions.iter())
            .map(|(row, prediction)| row.take(&prediction, metadata))
            .collect();
        for row in (0..rows.len()).rev().filter(|row| ended[*row]) {
            gpt.leave(row);
            done.push(rows.swap_remove(row));
        }
    }
    done.sort_by_key(|spoken| spoken.case);
    done
}

/// What a comparison has seen: codes, and the largest differences.
#[derive(Default)]
struct Compared {
    codes: usize,
    latents: f32,
    waveform: f32,
}

fn compare_with_reference(directory: &Path, goldens: &Value) -> Compared {
    let metadata = XttsMetadata::read(directory).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    let voice = numbers(&goldens["conditioning"]["mean_cond_latents"]);
    let speaker = numbers(&goldens["speaker"]["speaker_embedding"]);
    let vocoder_file = directory.join("vocoder_frames.onnx");
    let mut vocoder = Vocoder::load(&onnx(), &vocoder_file, &metadata, 1).unwrap();

    let mut seen = Compared::default();
    let decoder = directory.join("gpt_batched.onnx");
    let decoded = decode(&onnx(), &decoder, &metadata, cases, &voice);
    for (spoken, golden) in decoded.into_iter().zip(cases) {
        let text = golden["text"].as_str().unwrap();
        let codes: Vec<u32> = serde_json::from_value(golden["codes"].clone()).unwrap();
        assert_eq!(spoken.codes, codes, "{text}");
        seen.codes += codes.len();
        // The reference computes latents in a second pass over the whole sequence.
        for (step, latent) in golden["latents"].as_object().unwrap() {
            let start = step.parse::<usize>().unwrap() * metadata.width;
            let ours = &spoken.latents[start..start + metadata.width];
            let label = format!("latent {step} of {text}");
            let difference = assert_close(ours, &numbers(latent), 1e-4, &label);
            seen.latents = seen.latents.max(difference);
        }

        let mut waveform = Waveform::new(Windowing::of(&metadata));
        waveform.push(&spoken.latents);
        waveform.complete();
        while let Some(window) = waveform.next_window() {
            let frame = window.first_frame();
            waveform.accept(frame, &vocoder.run(&window, &speaker).unwrap());
        }
        let samples = waveform.into_samples();
        assert_eq!(
            samples.len() as u64,
            golden["samples"].as_u64().unwrap(),
            "{text}"
        );
        let start = numbers(&golden["wav_start"]);
        let at_start = assert_close(&samples[..start.len()], &start, 1e-4, text);
        let middle = numbers(&golden["wav_middle"]["values"]);
        let from = golden["wav_middle"]["from"].as_u64().unwrap() as usize;
        let inside = assert_close(&samples[from..from + middle.len()], &middle, 1e-4, text);
        seen.waveform = seen.waveform.max(at_start).max(inside);
        let power = samples.iter().map(|x| f64::from(x * x)).sum::<f64>() / samples.len() as f64;
        let rms = golden["wav_rms"].as_f64().unwrap();
        assert!((power.sqrt() - rms).abs() < 1e-4, "{text}");
    }
    seen
}

#[test]
fn speech_is_that_of_the_reference() {
    compare_with_reference(&fixture("xtts"), &goldens("xtts.json"));
}

/// The codes of the decoder in 16-bit floats; the reference's lead over the second best ones is large enough.
fn half_floats_choose_the_codes_of_the_reference(onnx: &Onnx) {
    let (directory, goldens) = (fixture("xtts"), goldens("xtts.json"));
    let metadata = XttsMetadata::read(&directory).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    let voice = numbers(&goldens["conditioning"]["mean_cond_latents"]);
    let decoder = directory.join("gpt_batched.fp16.onnx");
    let decoded = decode(onnx, &decoder, &metadata, cases, &voice);
    for (spoken, golden) in decoded.into_iter().zip(cases) {
        let codes: Vec<u32> = serde_json::from_value(golden["codes"].clone()).unwrap();
        assert_eq!(spoken.codes, codes, "{}", golden["text"]);
        for (step, latent) in golden["latents"].as_object().unwrap() {
            let start = step.parse::<usize>().unwrap() * metadata.width;
            let ours = &spoken.latents[start..start + metadata.width];
            assert_close(ours, &numbers(latent), 2e-2, &golden["text"].to_string());
        }
    }
}

#[test]
fn half_floats_on_the_processor_choose_the_codes_of_the_reference() {
    half_floats_choose_the_codes_of_the_reference(&onnx());
}

#[test]
fn half_floats_on_cuda_choose_the_codes_of_the_reference() {
    if let Some(cuda) = cuda() {
        half_floats_choose_the_codes_of_the_reference(&cuda);
    }
}

#[test]
fn speech_of_real_dimensions_is_that_of_the_reference() {
    let Some(parity) = Parity::find() else {
        return;
    };
    let goldens = read_goldens(&parity.goldens("xtts.json"));
    let seen = compare_with_reference(&parity.model("xtts"), &goldens);
    let codes = format!("all {} greedy codes equal", seen.codes);
    Parity::report("XTTS codes, rows in one batch", &codes);
    Parity::report("XTTS latents", &format!("within {:.1e}", seen.latents));
    Parity::report("XTTS waveform", &format!("within {:.1e}", seen.waveform));
}

#[test]
fn text_ids_are_those_of_the_reference() {
    let encoder = TextEncoder::load(&fixture("xtts/vocab.json")).unwrap();
    for case in goldens("xtts.json")["cases"].as_array().unwrap() {
        let language = Language::parse(case["language"].as_str().unwrap()).unwrap();
        let text = case["text"].as_str().unwrap();
        assert_eq!(encoder.encode(text, language).unwrap(), ids(case), "{text}");
    }
}
