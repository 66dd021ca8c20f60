//! The engine with models that are written here: every weight is chosen, so that Whisper answers
//! any recording with the same tokens.

use std::io::Write;
use std::path::PathBuf;

use tempfile::NamedTempFile;

use super::*;
use crate::error::Reason;
use crate::stages::StageError;

/// Most tokens of a script.
const STATE: usize = 32;
const VOCABULARY: usize = 51_865;
const END_OF_TEXT: usize = 50_257;
const FIRST_LANGUAGE: usize = 50_259;
const FIRST_TIMESTAMP: usize = 50_364;

/// Writes a model that hears `words` from 0 to `end_ms` in every window, in the language with the
/// given id, or in any language alike.
///
/// One encoder and one decoder layer, all weights zero but three: the positional embedding of the
/// k-th answer is the unit vector k, as is the embedding of the k-th wanted token, and the last
/// normalisation is large. So position alone decides the token. The first answer follows the start
/// token (asked alone, it is the language), the others the prompt of three tokens (start, language,
/// task) that is given without context and with timestamps.
fn scripted_model(words: &[&str], end_ms: usize, language: Option<usize>) -> NamedTempFile {
    let first_word = 256;
    let no_token = usize::MAX;
    let mut script = vec![
        language.map_or(no_token, |id| FIRST_LANGUAGE + id),
        FIRST_TIMESTAMP,
    ];
    script.extend(first_word..first_word + words.len());
    script.extend([FIRST_TIMESTAMP + end_ms / 20, END_OF_TEXT]);
    assert!(script.len() <= STATE, "the script is too long");

    let mut model = Model(Vec::new());
    // magic, n_vocab, audio ctx/state/head/layer, text ctx/state/head/layer, mels, f16
    let state = STATE as u32;
    for value in [
        0x6767_6d6c,
        VOCABULARY as u32,
        1500,
        state,
        1,
        1,
        448,
        state,
        1,
        1,
        80,
        1,
    ] {
        model.u32(value);
    }
    model.u32(80);
    model.u32(201);
    model.floats(80 * 201, |_| 0.01);
    model.u32(256 + words.len() as u32);
    for byte in 0..=255_u8 {
        model.bytes(&[byte]);
    }
    for word in words {
        model.bytes(word.as_bytes());
    }

    model.tensor("encoder.positional_embedding", &[STATE, 1500], |_| 0.0);
    model.matrix("encoder.conv1.weight", &[3, 80, STATE], |_| false);
    model.tensor("encoder.conv1.bias", &[1, STATE], |_| 0.0);
    model.matrix("encoder.conv2.weight", &[3, STATE, STATE], |_| false);
    model.tensor("encoder.conv2.bias", &[1, STATE], |_| 0.0);
    model.norm("encoder.ln_post", 0.0);
    model.block("encoder.blocks.0", &["attn"]);
    let last = script.len() - 1;
    model.tensor("decoder.positional_embedding", &[STATE, 448], |i| {
        let (position, dimension) = (i / STATE, i % STATE);
        let answer = match position {
            0 => language.map(|_| 0),
            1 => None,
            _ => Some((position - 1).min(last)),
        };
        if answer == Some(dimension) { 10.0 } else { 0.0 }
    });
    model.matrix(
        "decoder.token_embedding.weight",
        &[STATE, VOCABULARY],
        |i| {
            let (token, dimension) = (i / STATE, i % STATE);
            script.get(dimension) == Some(&token)
        },
    );
    model.norm("decoder.ln", 12.0);
    model.block("decoder.blocks.0", &["attn", "cross_attn"]);

    let mut file = NamedTempFile::with_suffix(".bin").unwrap();
    file.write_all(&model.0).unwrap();
    file
}

struct Model(Vec<u8>);

impl Model {
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend(bytes);
    }

    fn floats(&mut self, count: usize, value: impl Fn(usize) -> f32) {
        self.0
            .extend((0..count).flat_map(|i| value(i).to_le_bytes()));
    }

    /// `sizes` with the fastest first; `kind` 0 is f32, 1 is f16.
    fn tensor_header(&mut self, name: &str, sizes: &[usize], kind: u32) {
        self.u32(sizes.len() as u32);
        self.u32(name.len() as u32);
        self.u32(kind);
        for size in sizes {
            self.u32(*size as u32);
        }
        self.0.extend(name.as_bytes());
    }

    fn tensor(&mut self, name: &str, sizes: &[usize], value: impl Fn(usize) -> f32) {
        self.tensor_header(name, sizes, 0);
        self.floats(sizes.iter().product(), value);
    }

    /// Weights that are one or zero, in half precision.
    fn matrix(&mut self, name: &str, sizes: &[usize], is_one: impl Fn(usize) -> bool) {
        self.tensor_header(name, sizes, 1);
        let half = |i| if is_one(i) { 0x3c00_u16 } else { 0 };
        let count = sizes.iter().product();
        self.0
            .extend((0..count).flat_map(|i| half(i).to_le_bytes()));
    }

    fn norm(&mut self, name: &str, weight: f32) {
        self.tensor(&format!("{name}.weight"), &[STATE], |_| weight);
        self.tensor(&format!("{name}.bias"), &[STATE], |_| 0.0);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        self.matrix(&format!("{name}.weight"), &[inputs, outputs], |_| false);
        if bias {
            self.tensor(&format!("{name}.bias"), &[outputs], |_| 0.0);
        }
    }

    fn block(&mut self, name: &str, attentions: &[&str]) {
        for attention in attentions {
            self.norm(&format!("{name}.{attention}_ln"), 0.0);
            for (part, bias) in [
                ("query", true),
                ("key", false),
                ("value", true),
                ("out", true),
            ] {
                self.linear(&format!("{name}.{attention}.{part}"), STATE, STATE, bias);
            }
        }
        self.norm(&format!("{name}.mlp_ln"), 0.0);
        self.linear(&format!("{name}.mlp.0"), STATE, 4 * STATE, true);
        self.linear(&format!("{name}.mlp.2"), 4 * STATE, STATE, true);
    }
}

fn engine(words: &[&str], end_ms: usize) -> WhisperEngine {
    let model = scripted_model(words, end_ms, None);
    WhisperEngine::load(model.path(), WhisperOptions::default()).unwrap()
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
        let mut engine = WhisperEngine::load(model.path(), options).unwrap();
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
fn long_sentences_become_phrases() {
    let said = [
        " one", " two", " three", " four", " five", " six", " seven", " eight", " nine",
    ];
    let transcript = run(&mut engine(&said, 4000), request(noise(5000))).unwrap();
    let texts: Vec<&str> = transcript
        .segments
        .iter()
        .map(|s| s.text.as_str())
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
        match WhisperEngine::load(file.path(), WhisperOptions::default()) {
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
        WhisperEngine::load(&PathBuf::from("absent.bin"), WhisperOptions::default()),
        Err(TranscribeError::ModelFile {
            source: ModelFileError::Read(_),
            ..
        })
    ));
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
    let mut engine = WhisperEngine::load(&path, WhisperOptions::default()).unwrap();
    assert_eq!(engine.model_name(), "scripted");
    let transcript = run(&mut engine, request(noise(3000))).unwrap();
    assert!(!transcript.is_blank());
}

/// whisper.cpp's own test file has a real header and vocabulary, but no weights.
#[test]
fn a_model_without_weights_is_refused() {
    let Some(path) = shared("models/whisper/for-tests/for-tests-ggml-tiny.bin") else {
        return;
    };
    assert!(matches!(
        WhisperEngine::load(&path, WhisperOptions::default()),
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
