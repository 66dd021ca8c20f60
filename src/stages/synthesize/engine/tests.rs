use super::*;
use crate::domain::Language;
use crate::onnx::testing::{fixture, onnx};
use crate::stages::StageError;
use crate::stages::synthesize::text::testing::{write_pinyin, write_unidic};
use crate::stages::synthesize::{Precision, SamplingHints};

const TEXT: &str = "Hello my friend. How are you today? I am going to the market, and then home.";

fn engine(slots: usize) -> XttsEngine {
    let options = SynthesizeOptions {
        slots,
        precision: Some(Precision::Int8r),
        ..Default::default()
    };
    XttsEngine::load(&onnx(), &fixture("xtts"), options).unwrap()
}

fn voice(engine: &XttsEngine, phase: f32) -> Arc<Conditioning> {
    let values = |length: usize| {
        (0..length)
            .map(|i| (i as f32 * 0.61 + phase).sin())
            .collect()
    };
    Arc::new(Conditioning {
        latents: values(engine.metadata.cond_len * engine.metadata.width),
        speaker_embedding: values(engine.metadata.speaker_dim),
    })
}

fn request(engine: &XttsEngine, text: &str, language: &str, seed: u8) -> SpeechRequest {
    SpeechRequest {
        text: text.into(),
        language: Language::parse(language).unwrap(),
        conditioning: voice(engine, 0.0),
        seed: [seed; 32],
        sampling: SamplingHints::default(),
        deadline: Deadline::none(),
    }
}

/// Steps until nothing is left.
fn finish(engine: &mut XttsEngine) -> BTreeMap<Ticket, Result<Speech, SynthesizeError>> {
    let mut results = BTreeMap::new();
    while !engine.is_idle() {
        results.extend(engine.step());
    }
    assert!(engine.rows.is_empty() && engine.complete.is_empty() && engine.turns.is_empty());
    assert_eq!(engine.gpt.rows(), 0);
    results
}

fn speak(engine: &mut XttsEngine, request: SpeechRequest) -> Result<Speech, SynthesizeError> {
    engine.join(Ticket(0), request);
    finish(engine).remove(&Ticket(0)).unwrap()
}

/// Many sentences, so that the limit of the language makes units of them.
fn long_text() -> String {
    std::iter::repeat_n(TEXT, 8).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_text_becomes_parts_with_pauses_between() {
    let mut engine = engine(4);
    let request = request(&engine, &long_text(), "en", 1);
    let speech = speak(&mut engine, request).unwrap();
    assert_eq!(speech.pcm.sample_rate_hz(), 24_000);
    assert!(speech.parts.len() >= 3, "{:?}", speech.parts);
    let spoken: Vec<_> = speech
        .parts
        .iter()
        .map(|part| part.text.expose().as_str())
        .collect();
    assert_eq!(spoken.join(" "), long_text());
    assert_eq!(speech.parts[0].start_ms, 0);
    assert_eq!(
        speech.parts.last().unwrap().end_ms,
        speech.pcm.duration_ms()
    );
    for pair in speech.parts.windows(2) {
        assert!(pair[0].start_ms < pair[0].end_ms);
        let pause = pair[1].start_ms - pair[0].end_ms;
        // Both ends are rounded down to whole milliseconds.
        assert!((149..=151).contains(&pause), "{pause} ms");
        let middle = (pair[0].end_ms + 75) as usize * 24;
        assert!(
            speech.pcm.samples()[middle..middle + 100]
                .iter()
                .all(|sample| *sample == 0.0)
        );
    }
    assert!(
        speech
            .pcm
            .samples()
            .iter()
            .any(|sample| sample.abs() > 1e-3)
    );
}

#[test]
fn speech_does_not_depend_on_the_neighbours() {
    let texts = [
        ("en", TEXT),
        ("fr", "Bonjour."),
        ("de", "Ja!"),
        ("es", "¿Qué tal, amigo mío?"),
    ];
    let long = long_text();
    let mut crowded = engine(3);
    for (i, (language, text)) in texts.into_iter().enumerate() {
        let request = request(&crowded, text, language, i as u8);
        crowded.join(Ticket(i as u64), request);
    }
    // A request with more units than there are slots, and one that comes later.
    let more = request(&crowded, &long, "en", 9);
    crowded.join(Ticket(9), more);
    for _ in 0..5 {
        assert!(crowded.step().is_empty());
    }
    let late = request(&crowded, TEXT, "nl", 10);
    crowded.join(Ticket(10), late);
    let together = finish(&mut crowded);
    assert_eq!(together.len(), 6);

    let mut alone = engine(1);
    let all = texts.into_iter().zip(0..).map(|((l, t), i)| (l, t, i));
    for (language, text, seed) in all.chain([("en", long.as_str(), 9), ("nl", TEXT, 10)]) {
        let request = request(&alone, text, language, seed);
        let expected = speak(&mut alone, request).unwrap();
        let speech = together[&Ticket(u64::from(seed))].as_ref().unwrap();
        assert_eq!(speech.pcm.samples(), expected.pcm.samples(), "{language}");
        assert_eq!(speech.parts, expected.parts, "{language}");
    }
}

#[test]
fn seed_and_voice_change_the_speech() {
    let mut engine = engine(2);
    let mut samples = |seed, phase| {
        let request = SpeechRequest {
            conditioning: voice(&engine, phase),
            ..request(&engine, TEXT, "en", seed)
        };
        speak(&mut engine, request).unwrap().pcm.samples().to_vec()
    };
    let first = samples(1, 0.0);
    assert_eq!(first, samples(1, 0.0));
    assert_ne!(first, samples(2, 0.0));
    assert_ne!(first, samples(1, 0.5));
}

#[test]
fn requests_take_turns() {
    let mut engine = engine(2);
    let long = request(&engine, &long_text(), "en", 1);
    engine.join(Ticket(0), long);
    let short = request(&engine, "Yes.", "en", 2);
    engine.join(Ticket(1), short);
    engine.step();
    let mut admitted = engine
        .rows
        .iter()
        .map(|row| &row.sounding)
        .chain(&engine.complete);
    assert!(admitted.any(|sounding| sounding.ticket == Ticket(1)));
    assert!(finish(&mut engine).values().all(Result::is_ok));
}

#[test]
fn very_short_texts_work() {
    let mut engine = engine(2);
    for text in ["a", "No", "5", "Ok!"] {
        let request = request(&engine, text, "en", 3);
        let speech = speak(&mut engine, request).unwrap();
        assert!(speech.pcm.duration_ms() > 0, "{text}");
        assert_eq!(speech.parts.len(), 1);
    }
}

#[test]
fn one_request_ends_without_the_others() {
    let mut engine = engine(3);
    let cancelled = request(&engine, &long_text(), "en", 1);
    let deadline = cancelled.deadline.clone();
    engine.join(Ticket(0), cancelled);
    let kept = request(&engine, TEXT, "en", 2);
    engine.join(Ticket(1), kept);
    engine.step();
    deadline.cancel();
    let results = finish(&mut engine);
    let reason = results[&Ticket(0)].as_ref().unwrap_err().reason();
    assert_eq!(reason.as_str(), "cancelled");
    let expected = request(&engine, TEXT, "en", 2);
    let expected = speak(&mut engine, expected).unwrap();
    assert_eq!(
        results[&Ticket(1)].as_ref().unwrap().pcm.samples(),
        expected.pcm.samples()
    );
}

#[test]
fn what_cannot_be_spoken_is_refused() {
    let mut engine = engine(1);
    for (text, language, reason) in [
        (TEXT, "ln", "unsupported_language"),
        ("你好", "zh", "unsupported_language"),
        ("", "en", "invalid_request"),
        ("😀 https://example.org", "en", "invalid_request"),
        ("?!", "fr", "invalid_request"),
    ] {
        let request = request(&engine, text, language, 0);
        let error = speak(&mut engine, request).unwrap_err();
        assert_eq!(error.reason().as_str(), reason, "{text}");
    }
    let foreign = SpeechRequest {
        conditioning: Arc::new(Conditioning {
            latents: vec![0.0; 7].into(),
            speaker_embedding: vec![0.0; 7].into(),
        }),
        ..request(&engine, TEXT, "en", 0)
    };
    let error = speak(&mut engine, foreign).unwrap_err();
    assert!(matches!(
        error,
        SynthesizeError::ForeignConditioning {
            latents: 7,
            speaker: 7
        }
    ));
}

#[test]
fn a_silent_unit_is_tried_once_more() {
    let mut engine = engine(1);
    let request = request(&engine, "Yes.", "en", 1);
    engine.join(Ticket(0), request);
    let (ticket, unit) = engine.next_unit().unwrap();
    assert!(engine.retry(ticket, unit).is_ok());
    assert_eq!(engine.next_unit(), Some((ticket, unit)));
    let error = engine.retry(ticket, unit).unwrap_err();
    assert_eq!(error.reason().as_str(), "bad_output");
}

#[test]
fn long_text_of_one_word_is_cut_to_what_the_model_takes() {
    let mut engine = engine(4);
    let word = "abcdefghij".repeat(60);
    let request = request(&engine, &word, "en", 1);
    let speech = speak(&mut engine, request).unwrap();
    let spoken: String = speech
        .parts
        .iter()
        .map(|part| part.text.expose().as_str())
        .collect();
    assert_eq!(spoken, word);
}

#[test]
fn the_engine_takes_a_bounded_number_of_requests() {
    let mut engine = engine(2);
    for ticket in 0..4 {
        assert_eq!(engine.vacancies(), 4 - ticket as usize);
        let request = request(&engine, "Yes.", "en", 1);
        engine.join(Ticket(ticket), request);
    }
    assert_eq!(engine.vacancies(), 0);
    assert!(finish(&mut engine).values().all(Result::is_ok));
    assert_eq!(engine.vacancies(), 4);
}

#[test]
fn a_directory_without_a_model_is_refused() {
    let error = XttsEngine::load(&onnx(), &fixture("openvoice"), SynthesizeOptions::default());
    assert_eq!(error.err().unwrap().reason().as_str(), "model_unavailable");
}

#[test]
fn chinese_and_japanese_are_spoken_with_their_dictionaries() {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("xtts")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let load = || XttsEngine::load(&onnx(), directory.path(), SynthesizeOptions::default());
    let texts = [("银行，2点。", "zh"), ("東京へ、バター。", "ja")];
    let mut without = load().unwrap();
    for (text, language) in texts {
        let request = request(&without, text, language, 0);
        let error = speak(&mut without, request).unwrap_err();
        assert_eq!(error.reason().as_str(), "unsupported_language");
    }
    write_pinyin(&directory.path().join("pinyin"));
    write_unidic(&directory.path().join("unidic"));
    let mut engine = load().unwrap();
    for (text, language) in texts {
        let request = request(&engine, text, language, 0);
        let speech = speak(&mut engine, request).unwrap();
        assert!(speech.pcm.duration_ms() > 0);
    }
    std::fs::remove_file(directory.path().join("unidic/matrix.bin")).unwrap();
    let error = load().err().unwrap();
    assert_eq!(error.reason().as_str(), "model_unavailable", "{error}");
}
