//! Runs one engine on what standard input asks for and tells what it cost: our half of `make bench-peer`.
//!
//! ```text
//! engine xtts|marian|openvoice|whisper PATH THREADS PRECISION
//! ```
//!
//! When the engine is loaded it prints `{"ready": …}`. Then each line of JSON is a run, answered by one line
//! of JSON with `wall_s`, `cpu_s` and `cpu_by_thread_s`. A problem ends the program.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program of its own that talks over its standard output and has no settings"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use meeshy_translator::domain::voice::Conditioning;
use meeshy_translator::domain::{Deadline, Language, Pcm};
use meeshy_translator::observe::process::{cpu_time_by_thread, peak_resident_bytes};
use meeshy_translator::onnx::{Device, Onnx};
use meeshy_translator::stages::embed::{self, EmbedRequest, OpenVoiceEngine};
use meeshy_translator::stages::synthesize::{
    Precision, SamplingHints, SpeechRequest, SynthesizeOptions, XttsEngine, XttsMetadata,
};
use meeshy_translator::stages::transcribe::{
    self, TranscribeRequest, WhisperEngine, WhisperOptions,
};
use meeshy_translator::stages::translate;
use meeshy_translator::stages::translate::marian::Marian;
use meeshy_translator::stages::{Engine, Ticket};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Does one run and says what is worth telling of it beside its cost.
type Run = Box<dyn FnMut(&Value) -> Result<Value>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        // `cargo bench` adds it.
        .filter(|argument| argument != "--bench")
        .collect();
    let [engine, path, threads, precision] = arguments.as_slice() else {
        return Err("usage: engine xtts|marian|openvoice|whisper PATH THREADS PRECISION".into());
    };
    let (path, threads) = (PathBuf::from(path), threads.parse()?);
    let (engine, is_exact) = (engine.clone(), precision == "fp32");
    // Threads that a library starts get the name of the one that starts them.
    let worker = std::thread::Builder::new()
        .name(format!("{engine}-0"))
        .spawn(move || serve(load(&engine, &path, threads, is_exact)?))?;
    worker.join().map_err(|_| "the engine panicked")?
}

fn load(engine: &str, path: &Path, threads: usize, is_exact: bool) -> Result<Run> {
    match engine {
        "xtts" => xtts(path, threads, is_exact),
        "marian" => marian(path, threads, is_exact),
        "openvoice" => openvoice(path, threads),
        "whisper" => whisper(path, threads),
        _ => Err(format!("there is no engine {engine}").into()),
    }
}

fn serve(mut run: Run) -> Result<()> {
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let before = cpu_time_by_thread();
        let started = Instant::now();
        let told = run(&request)?;
        let wall_s = started.elapsed().as_secs_f64();
        let used: BTreeMap<String, f64> = cpu_time_by_thread()
            .into_iter()
            .map(|(name, time)| {
                let earlier = before.get(&name).copied().unwrap_or_default();
                (name, time.saturating_sub(earlier).as_secs_f64())
            })
            .collect();
        let cpu_s: f64 = used.values().sum();
        println!(
            "{}",
            json!({
                "wall_s": wall_s,
                "cpu_s": cpu_s,
                "cpu_by_thread_s": used,
                "peak_memory_bytes": peak_resident_bytes(),
                "told": told,
            })
        );
    }
    Ok(())
}

fn onnx() -> Result<Onnx> {
    let library = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH is not set")?;
    Ok(Onnx::load(Path::new(&library), Device::Cpu)?)
}

/// A number of the request.
fn number(request: &Value, key: &str) -> Result<f64> {
    let number = request.get(key).and_then(Value::as_f64);
    number.ok_or_else(|| format!("the request has no number {key:?}").into())
}

fn strings<'a>(request: &'a Value, key: &str) -> Result<Vec<&'a str>> {
    let strings = request.get(key).and_then(Value::as_array);
    let strings = strings.ok_or_else(|| format!("the request has no list {key:?}"))?;
    Ok(strings.iter().filter_map(Value::as_str).collect())
}

/// Steps until nothing is left.
fn finish<E: Engine>(engine: &mut E) -> Result<Vec<E::Output>> {
    let mut outputs = Vec::new();
    while !engine.is_idle() {
        for (_, result) in engine.step() {
            outputs.push(result?);
        }
    }
    Ok(outputs)
}

/// `{"languages": […], "text": …}`: the text in all languages at once, in one voice.
fn xtts(directory: &Path, threads: usize, is_exact: bool) -> Result<Run> {
    let options = SynthesizeOptions {
        threads,
        precision: is_exact.then_some(Precision::Fp32),
        ..SynthesizeOptions::default()
    };
    let mut engine = XttsEngine::load(&onnx()?, directory, options)?;
    let metadata = XttsMetadata::read(directory)?;
    let values = |length: usize, scale: f32| {
        (0..length)
            .map(|i| (i as f32 * 0.61).sin() * scale)
            .collect()
    };
    let conditioning = Arc::new(Conditioning {
        latents: values(metadata.cond_len * metadata.width, 1.0),
        speaker_embedding: values(metadata.speaker_dim, 0.06),
    });
    Ok(Box::new(move |request| {
        let text = request.get("text").and_then(Value::as_str);
        let text = text.ok_or("the request has no text")?;
        for (ticket, language) in strings(request, "languages")?.into_iter().enumerate() {
            let language = Language::parse(language).ok_or("unknown language")?;
            let speech = SpeechRequest {
                text: text.into(),
                language,
                conditioning: Arc::clone(&conditioning),
                seed: [1; 32],
                sampling: SamplingHints::default(),
                deadline: Deadline::none(),
            };
            engine.join(Ticket(ticket as u64), speech);
        }
        let speeches = finish(&mut engine)?;
        let spoken_ms: u64 = speeches.iter().map(|speech| speech.pcm.duration_ms()).sum();
        Ok(json!({ "speech_s": spoken_ms as f64 / 1000.0 }))
    }))
}

/// `{"sentences": […], "tokens": n, "beams": n}`: one batch.
fn marian(directory: &Path, threads: usize, is_exact: bool) -> Result<Run> {
    let precision = match is_exact {
        true => translate::Precision::Fp32,
        false => translate::Precision::Int8,
    };
    let mut model = Marian::load(&onnx()?, directory, precision, threads)?;
    Ok(Box::new(move |request| {
        let sentences: Vec<(usize, Vec<i64>)> = strings(request, "sentences")?
            .into_iter()
            .enumerate()
            .map(|(key, sentence)| Ok((key, model.encode(sentence, None)?)))
            .collect::<Result<_>>()?;
        let source_ids: usize = sentences.iter().map(|(_, ids)| ids.len()).sum();
        let (beams, tokens) = (number(request, "beams")?, number(request, "tokens")?);
        let mut cohort = model.start(&sentences, beams as usize, tokens as usize)?;
        let mut generated = 0;
        while !cohort.is_done() {
            for (_, hypothesis) in model.step(&mut cohort)? {
                generated += hypothesis.ids.len();
            }
        }
        Ok(json!({ "source_ids": source_ids, "generated_ids": generated }))
    }))
}

/// `{"seconds": n}`: the embedding of so much audio.
fn openvoice(model: &Path, threads: usize) -> Result<Run> {
    let mut engine = OpenVoiceEngine::load(&onnx()?, model, threads)?;
    Ok(Box::new(move |request| {
        let pcm = sound(number(request, "seconds")?, embed::SAMPLE_RATE_HZ);
        let request = EmbedRequest {
            pcm,
            deadline: Deadline::none(),
        };
        engine.join(Ticket(0), request);
        finish(&mut engine)?;
        Ok(Value::Null)
    }))
}

/// `{"seconds": n, "recordings": m}`: the transcripts of one or more recordings of that length, of which the language is
/// known.
fn whisper(model: &Path, threads: usize) -> Result<Run> {
    let options = WhisperOptions {
        threads,
        at_once: threads,
        ..WhisperOptions::default()
    };
    let mut engine = WhisperEngine::load(model, options, || Ok(None))?;
    Ok(Box::new(move |request| {
        let pcm = sound(number(request, "seconds")?, transcribe::SAMPLE_RATE_HZ);
        let recordings = request["recordings"].as_u64().unwrap_or(1);
        let mut waiting = (0..recordings).map(Ticket);
        let mut transcripts = Vec::new();
        while transcripts.len() < recordings as usize {
            for ticket in waiting.by_ref().take(engine.vacancies()) {
                let request = TranscribeRequest {
                    declared_duration_ms: Some(0),
                    pcm: pcm.clone(),
                    language_hint: Some(Language::ENGLISH),
                    default_language: Language::ENGLISH,
                    deadline: Deadline::none(),
                };
                engine.join(ticket, request);
            }
            for (_, transcript) in engine.step() {
                transcripts.push(transcript?);
            }
        }
        let segments: usize = transcripts.iter().map(|t| t.segments.len()).sum();
        Ok(json!({ "segments": segments }))
    }))
}

/// A tone that swells, which is loud all along.
fn sound(seconds: f64, sample_rate_hz: u32) -> Pcm {
    let samples = (seconds * f64::from(sample_rate_hz)) as usize;
    let samples: Vec<f32> = (0..samples)
        .map(|index| {
            let time = index as f32 / sample_rate_hz as f32;
            (time * 900.0).sin() * (0.3 + 0.1 * (time * 9.0).sin())
        })
        .collect();
    Pcm::new(samples, sample_rate_hz)
}
