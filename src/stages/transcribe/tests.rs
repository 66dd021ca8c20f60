//! The engine with models whose answer is known.

use std::io::Write;
use std::path::PathBuf;

use tempfile::NamedTempFile;

use super::made_models::scripted_model;
use super::*;
use crate::error::Reason;
use crate::stages::StageError;

fn load(model: &Path, options: WhisperOptions) -> Result<WhisperEngine, TranscribeError> {
    WhisperEngine::load(model, options, || Ok(None))
}

fn engine(words: &[&str], end_ms: usize) -> WhisperEngine {
    let model = scripted_model(words, end_ms, None);
    load(model.path(), WhisperOptions::default()).unwrap()
}

fn hello() -> WhisperEngine {
    engine(&[" hello", " world", "."], 1000)
}

fn noise(duration_ms: u64) -> Pcm {
    let mut x = 1_u32;
    let samples: Vec<f32> = (0..duration_ms * 16)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / 16_777_216.0 * 0.2 - 0.1
        })
        .collect();
    Pcm::new(samples, SAMPLE_RATE_HZ)
}

fn request(pcm: Pcm) -> TranscribeRequest {
    TranscribeRequest {
        pcm,
        language_hint: None,
        declared_duration_ms: None,
        default_language: Language::FRENCH,
        deadline: Deadline::none(),
    }
}

fn run(
    engine: &mut WhisperEngine,
    request: TranscribeRequest,
) -> Result<Transcript, TranscribeError> {
    assert_eq!(engine.vacancies(), 1);
    engine.join(Ticket(7), request);
    assert_eq!(engine.vacancies(), 0);
    let mut done = engine.step();
    while done.is_empty() {
        done = engine.step();
    }
    assert!(engine.is_idle());
    let (ticket, result) = done.pop().unwrap();
    assert_eq!(ticket, Ticket(7));
    result
}

#[test]
fn speech_becomes_text_with_times_and_confidence() {
    let mut engine = hello();
    let request = TranscribeRequest {
        language_hint: Some(Language::FRENCH),
        ..request(noise(2500))
    };
    let transcript = run(&mut engine, request).unwrap();
    assert_eq!(transcript.text, "hello world.");
    assert_eq!(transcript.language, Language::FRENCH);
    assert_eq!(transcript.duration_ms, 2500);
    assert_eq!(transcript.segments.len(), 1);
    let segment = &transcript.segments[0];
    assert_eq!((segment.start_ms, segment.end_ms), (0, 1000));
    assert!(segment.confidence.unwrap() > 0.99);
    assert!(transcript.confidence > 0.99 && transcript.confidence <= 1.0);
}

#[test]
fn without_a_hint_the_language_is_detected() {
    // Every language is as probable as any other to this model: the first is taken, unsurely.
    let transcript = run(&mut hello(), request(noise(2000))).unwrap();
    assert_eq!(transcript.text, "hello world.");
    assert_eq!(transcript.language, Language::ENGLISH);
    assert!((transcript.confidence - 1.0 / 99.0).abs() < 1e-3);
}

#[test]
fn the_same_recording_gives_the_same_transcript() {
    let mut engine = hello();
    let first = run(&mut engine, request(noise(1500))).unwrap();
    assert_eq!(run(&mut engine, request(noise(1500))).unwrap(), first);
}

#[test]
fn recordings_of_any_length_are_transcribed() {
    let mut engine = hello();
    for (duration_ms, text) in [
        (30, "hello world."),
        (400, "hello world."),
        (65_000, "hello world. hello world. hello world."),
    ] {
        let transcript = run(&mut engine, request(noise(duration_ms))).unwrap();
        assert_eq!(transcript.text, text, "{duration_ms} ms");
        let mut earliest_ms = 0;
        for segment in &transcript.segments {
            assert!(earliest_ms <= segment.start_ms && segment.start_ms <= segment.end_ms);
            assert!(segment.end_ms <= duration_ms);
            earliest_ms = segment.end_ms;
        }
    }
}

#[test]
fn a_sure_detection_overrules_the_hint_of_a_long_recording() {
    let model = scripted_model(&[" hola", "."], 1000, Some(3));
    for beam_size in [1, 3] {
        let options = WhisperOptions {
            beam_size,
            ..WhisperOptions::default()
        };
        let mut engine = load(model.path(), options).unwrap();
        let mut spoken = |hint, declared_duration_ms, duration_ms| {
            let request = TranscribeRequest {
                language_hint: hint,
                declared_duration_ms,
                ..request(noise(duration_ms))
            };
            run(&mut engine, request).unwrap()
        };
        let unhinted = spoken(None, None, 8000);
        assert_eq!(unhinted.language.as_str(), "es");
        assert!(unhinted.confidence > 0.99);

        // One window, whose encoder output is used again, and several.
        assert_eq!(spoken(Some(Language::FRENCH), Some(8000), 8000), unhinted);
        assert_eq!(
            spoken(Some(Language::FRENCH), None, 40_000)
                .language
                .as_str(),
            "es"
        );
        let short = spoken(Some(Language::FRENCH), Some(5999), 8000);
        assert_eq!(short.language, Language::FRENCH);
        assert_eq!(short.text, "hola.");
    }
}

#[test]
fn a_stock_phrase_where_the_model_hears_nobody_speak_is_dropped_in_any_language() {
    let said = [" thanks", " for", " watching", "."];
    // "No speech" is 103 tokens behind the first language, and follows the start token like one.
    for (nobody_speaks, text) in [(Some(103), ""), (None, "thanks for watching.")] {
        let model = scripted_model(&said, 1000, nobody_speaks);
        let mut engine = load(model.path(), WhisperOptions::default()).unwrap();
        for (hint, declared_duration_ms) in [
            (None, None),
            (Some(Language::ENGLISH), Some(3000)),
            (Some(Language::ENGLISH), Some(9000)),
        ] {
            let request = TranscribeRequest {
                language_hint: hint,
                declared_duration_ms,
                ..request(noise(3000))
            };
            let transcript = run(&mut engine, request).unwrap();
            assert_eq!(transcript.text, text, "{hint:?} {declared_duration_ms:?}");
        }
    }
}

#[test]
fn long_sentences_become_phrases() {
    let said = [
        " one", " two", " three", " four", " five", " six", " seven", " eight", " nine",
    ];
    let transcript = run(&mut engine(&said, 4000), request(noise(5000))).unwrap();
    let texts: Vec<&str> = transcript
        .segments
        .iter()
        .map(|s| s.text.expose().as_str())
        .collect();
    assert_eq!(texts, ["one two three four five", "six seven eight nine"]);
    assert_eq!(transcript.segments[1].end_ms, 4000);
}

#[test]
fn silence_is_blank_in_the_declared_language() {
    let mut engine = hello();
    let silence = Pcm::new(vec![0.0; 48_000], SAMPLE_RATE_HZ);
    let transcript = run(&mut engine, request(silence.clone())).unwrap();
    assert!(transcript.is_blank());
    assert_eq!(transcript.confidence, 0.0);
    assert_eq!(transcript.language, Language::FRENCH);
    assert_eq!(transcript.duration_ms, 3000);
    assert!(transcript.segments.is_empty());

    let request = TranscribeRequest {
        language_hint: Language::parse("bas"),
        ..request(silence)
    };
    assert_eq!(run(&mut engine, request).unwrap().language.as_str(), "bas");
}

#[test]
fn invented_text_makes_the_transcript_blank() {
    let mut engine = engine(&[" Спасибо", "."], 1000);
    let request = TranscribeRequest {
        language_hint: Some(Language::FRENCH),
        ..request(noise(2000))
    };
    let transcript = run(&mut engine, request).unwrap();
    assert!(transcript.is_blank());
    assert_eq!(transcript.confidence, 0.0);
}

#[test]
fn endless_repetition_is_cut() {
    let said = [" I", " go", " home", "."].repeat(6);
    let transcript = run(&mut engine(&said, 8000), request(noise(9000))).unwrap();
    assert_eq!(transcript.text, "I go home.");
}

#[test]
fn samples_that_are_no_numbers_do_no_harm() {
    let mut samples = noise(2000).samples().to_vec();
    samples[100] = f32::NAN;
    samples[200] = f32::INFINITY;
    let pcm = Pcm::new(samples, SAMPLE_RATE_HZ);
    assert_eq!(
        run(&mut hello(), request(pcm)).unwrap().text,
        "hello world."
    );
}

#[test]
fn another_sample_rate_is_an_error() {
    let pcm = Pcm::new(vec![0.1; 8000], 8000);
    let error = run(&mut hello(), request(pcm)).unwrap_err();
    assert!(matches!(
        error,
        TranscribeError::SampleRate { found_hz: 8000 }
    ));
}

#[test]
fn work_stops_when_its_time_is_over_or_nobody_waits() {
    let mut engine = hello();
    let late = TranscribeRequest {
        deadline: Deadline::after(std::time::Duration::ZERO),
        ..request(noise(2000))
    };
    let error = run(&mut engine, late).unwrap_err();
    assert_eq!(error.reason(), Reason::DeadlineExceeded);

    // Twenty windows: far from done when the caller leaves.
    let long = request(noise(10 * 60_000));
    let deadline = long.deadline.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            deadline.cancel();
        });
        let error = run(&mut engine, long).unwrap_err();
        assert_eq!(error.reason(), Reason::Cancelled);
    });

    let after = run(&mut engine, request(noise(2000))).unwrap();
    assert_eq!(after.text, "hello world.");
}

#[test]
fn damaged_models_are_refused() {
    let model = scripted_model(&[" hello"], 1000, None);
    let bytes = std::fs::read(model.path()).unwrap();
    let refusal = |bytes: &[u8]| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        match load(file.path(), WhisperOptions::default()) {
            Err(TranscribeError::ModelFile { source, .. }) => source,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("loaded"),
        }
    };
    let header = 12 * 4 + 8 + 80 * 201 * 4;
    assert!(matches!(refusal(b""), ModelFileError::Truncated));
    assert!(matches!(
        refusal(b"not a model at all"),
        ModelFileError::NotGgml
    ));
    assert!(matches!(
        refusal(&bytes[..header]),
        ModelFileError::Truncated
    ));
    assert!(matches!(
        refusal(&bytes[..bytes.len() - 1]),
        ModelFileError::Truncated
    ));
    let mut huge = bytes.clone();
    huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        refusal(&huge),
        ModelFileError::Hyperparameter {
            name: "n_audio_state",
            value: -1
        }
    ));
    let mut single_precision = bytes.clone();
    single_precision[44..48].fill(0);
    assert!(matches!(
        refusal(&single_precision),
        ModelFileError::Hyperparameter {
            name: "ftype",
            value: 0
        }
    ));
    let mut no_space = bytes.clone();
    let space = header + 4 + 32 * 5 + 4;
    assert_eq!(no_space[space], b' ');
    no_space[space] = b'x';
    assert!(matches!(refusal(&no_space), ModelFileError::Vocabulary));
    assert!(matches!(
        load(Path::new("absent.bin"), WhisperOptions::default()),
        Err(TranscribeError::ModelFile {
            source: ModelFileError::Read(_),
            ..
        })
    ));
}

#[test]
fn recordings_are_heard_at_once_and_share_the_threads() {
    let model = scripted_model(&[" hello", " world", "."], 1000, None);
    // More recordings than threads: each has one all the same.
    let options = WhisperOptions {
        threads: 2,
        at_once: 3,
        ..WhisperOptions::default()
    };
    let mut engine = load(model.path(), options).unwrap();
    // One, two and three windows.
    let lengths_ms = [2_000, 35_000, 65_000];
    for (ticket, duration_ms) in (0..).zip(lengths_ms) {
        assert_eq!(engine.vacancies(), 3 - ticket as usize);
        engine.join(Ticket(ticket), request(noise(duration_ms)));
    }
    let mut heard = std::collections::BTreeMap::new();
    while !engine.is_idle() {
        let before = heard.len();
        heard.extend(engine.step());
        assert_eq!(engine.has_advanced(), heard.len() > before);
    }
    assert_eq!(engine.vacancies(), 3);
    for (ticket, said) in (0..).zip([1, 2, 3]) {
        let transcript = heard.remove(&Ticket(ticket)).unwrap().unwrap();
        let expected = ["hello world."; 3][..said].join(" ");
        assert_eq!(*transcript.text.expose(), expected);
    }
}

#[test]
fn threads_are_shared_and_none_is_left() {
    for (threads, parts, expected) in [
        (8, 1, vec![8]),
        (8, 3, vec![3, 3, 2]),
        (4, 4, vec![1; 4]),
        (1, 0, vec![]),
    ] {
        assert_eq!(shares(threads, parts).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn models_are_named_by_their_files() {
    for (file, name) in [
        ("ggml-large-v3-q5_0.bin", "large-v3"),
        ("models/ggml-distil-large-v3.bin", "distil-large-v3"),
        ("scripted.bin", "scripted"),
        ("ggml-tiny.en-q8_0.bin", "tiny.en"),
    ] {
        assert_eq!(model_name(Path::new(file)), name);
    }
}

/// The bundled fixture is what the rest of the project runs on.
#[test]
fn the_bundled_model_transcribes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures/whisper/scripted.bin");
    let mut engine = load(&path, WhisperOptions::default()).unwrap();
    let transcript = run(&mut engine, request(noise(3000))).unwrap();
    assert_eq!(transcript.model.as_deref(), Some("scripted"));
    assert!(!transcript.is_blank());
}

/// whisper.cpp's own test file has a real header and vocabulary, but no weights.
#[test]
fn a_model_without_weights_is_refused() {
    let Some(path) = shared("models/whisper/for-tests/for-tests-ggml-tiny.bin") else {
        return;
    };
    assert!(matches!(
        load(&path, WhisperOptions::default()),
        Err(TranscribeError::ModelFile {
            source: ModelFileError::NoTensors,
            ..
        })
    ));
}

/// A file of the optional real data; `None`, with a word about it, when it is not there.
#[expect(
    clippy::disallowed_methods,
    reason = "where test data lies is no setting of the program"
)]
fn shared(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TRANSLATOR_SHARED_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = folder.join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("REQUIRE_SHARED").is_none_or(|value| value != "1"),
        "{} is missing",
        path.display()
    );
    println!("skipped: {} is missing", path.display());
    None
}

fn hello_with_vad() -> WhisperEngine {
    let model = scripted_model(&[" hello", " world", "."], 1000, None);
    let load_vad = || {
        let vad = crate::onnx::testing::fixture("vad/silero_vad.onnx");
        SileroVad::load(&crate::onnx::testing::onnx(), &vad).map(Some)
    };
    WhisperEngine::load(model.path(), WhisperOptions::default(), load_vad).unwrap()
}

/// Noise at some share of its usual level.
fn faint(duration_ms: u64, share: f32) -> Vec<f32> {
    let noise = noise(duration_ms);
    noise.samples().iter().map(|x| x * share).collect()
}

#[test]
fn the_detector_decides_what_is_speech() {
    // Above the level below which nothing is speech, but not speech to the detector.
    let hum = || request(Pcm::new(faint(2500, 0.05), SAMPLE_RATE_HZ));
    assert_eq!(run(&mut hello(), hum()).unwrap().text, "hello world.");
    let mut engine = hello_with_vad();
    let transcript = run(&mut engine, hum()).unwrap();
    assert_eq!(
        (transcript.text.expose().as_str(), transcript.confidence),
        ("", 0.0)
    );
    assert_eq!(transcript.language, Language::FRENCH);
    assert_eq!(transcript.duration_ms, 2500);
    let transcript = run(&mut engine, request(noise(2500))).unwrap();
    assert_eq!(transcript.text, "hello world.");
}

#[test]
fn what_is_heard_after_a_long_pause_keeps_its_time() {
    let samples = [faint(8_000, 0.0), faint(2_500, 1.0), faint(5_000, 0.0)].concat();
    let pcm = Pcm::new(samples, SAMPLE_RATE_HZ);
    let transcript = run(&mut hello_with_vad(), request(pcm)).unwrap();
    assert_eq!(transcript.duration_ms, 15_500);
    let [segment] = &transcript.segments[..] else {
        panic!("{:?}", transcript.segments.len())
    };
    // Whisper heard it in the first second of what was left: 200 ms of silence, then the noise.
    assert!(
        (8_000..8_100).contains(&segment.start_ms),
        "{}",
        segment.start_ms
    );
    assert!(
        (8_700..8_900).contains(&segment.end_ms),
        "{}",
        segment.end_ms
    );
}
