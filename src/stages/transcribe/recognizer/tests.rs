use std::path::Path;

use whisper_rs::WhisperContextParameters;

use super::super::made_models::{random_model, scripted_model};
use super::super::{SAMPLE_RATE_HZ, words::join};
use super::*;
use crate::domain::{Language, Pcm};

fn recognizer(model: &Path, options: WhisperOptions) -> Recognizer {
    let parameters = WhisperContextParameters::new();
    let context = WhisperContext::new_with_params(model, parameters).unwrap();
    Recognizer::new(Arc::new(context), options)
}

fn request(hint: Option<&str>) -> TranscribeRequest {
    TranscribeRequest {
        pcm: Pcm::new(Vec::new(), SAMPLE_RATE_HZ),
        language_hint: hint.and_then(Language::parse),
        declared_duration_ms: None,
        default_language: Language::FRENCH,
        deadline: Deadline::none(),
    }
}

fn sound(seconds: usize, step: f32) -> Vec<f32> {
    let samples = 0..seconds * SAMPLE_RATE_HZ as usize;
    samples
        .map(|i| (i as f32 * step).sin() * (i as f32 * 3e-4).cos())
        .collect()
}

/// Encoder passes and text of two seconds of sound, with a model that says `words` from 0 to `end_ms`.
fn heard(words: &[&str], end_ms: usize, full_window: bool) -> (u32, String) {
    let model = scripted_model(words, end_ms, None);
    let options = WhisperOptions {
        full_window,
        ..WhisperOptions::default()
    };
    let short = TranscribeRequest {
        declared_duration_ms: Some(2000),
        ..request(Some("en"))
    };
    let heard = recognizer(model.path(), options)
        .recognize(&sound(2, 0.4), &short, 1)
        .unwrap();
    let words = heard.utterances.iter().flat_map(|said| &said.words);
    (heard.encoder_passes, join(words))
}

#[test]
fn a_part_of_the_window_is_enough_where_the_result_is_sound() {
    let said = [" hello", " world", "."];
    let trimmed = heard(&said, 1000, false);
    assert_eq!(trimmed, (1, "hello world.".to_owned()));
    assert_eq!(heard(&said, 1000, true), trimmed);
}

#[test]
fn a_doubtful_result_is_replaced_by_that_of_the_full_window() {
    // Two seconds have 240 positions, and second 8 is position 400.
    let outside = heard(&[" hello"], 8000, false);
    assert_eq!(outside, (2, "hello".to_owned()));
    assert_eq!(heard(&[" hello"], 8000, true).0, 1);
    // The model has no words to say.
    let silent = heard(&[], 1000, false);
    assert_eq!(silent, (2, heard(&[], 1000, true).1));
}

#[test]
fn the_language_of_the_last_recording_spares_an_encoder_pass() {
    let model = scripted_model(&[" hola", "."], 1000, Some(3));
    let mut recognizer = recognizer(model.path(), WhisperOptions::default());
    let mut passes = |seconds, hint| {
        let sound = sound(seconds, 0.4);
        let heard = recognizer.recognize(&sound, &request(hint), 1).unwrap();
        assert_eq!(heard.spoken.whisper_code, "es");
        heard.encoder_passes
    };
    assert_eq!(passes(8, None), 2, "French, the default, then Spanish");
    assert_eq!(passes(8, None), 1);
    assert_eq!(passes(8, Some("es")), 1);
    assert_eq!(passes(8, Some("fr")), 2, "the model is sure");
    assert_eq!(passes(8, None), 1, "what a sender says is no guess");
    assert_eq!(passes(40, None), 2, "each of two windows once");
}

/// All that a recognition says: language, probability, and each word and time.
fn all_of(recognizer: &mut Recognizer, sound: &[f32], hint: Option<&str>) -> (u32, String) {
    let heard = recognizer.recognize(sound, &request(hint), 1).unwrap();
    let said: Vec<String> = heard
        .utterances
        .iter()
        .map(|said| {
            let (start, end) = (said.start_ms, said.end_ms);
            format!("{start}-{end} {:?}", join(&said.words))
        })
        .collect();
    let (code, probability) = (heard.spoken.whisper_code, heard.language_probability);
    (
        heard.encoder_passes,
        format!("{code} {probability} {said:?}"),
    )
}

#[test]
fn a_result_does_not_depend_on_the_guess() {
    let model = random_model(1);
    let sounds: Vec<Vec<f32>> = [(1, 0.05), (2, 0.4), (31, 0.2)]
        .into_iter()
        .map(|(seconds, step)| sound(seconds, step))
        .collect();
    // What a part of the window gives is doubtful here, and the language is asked of the whole one once more.
    for (beam_size, full_window) in [(1, false), (3, true)] {
        let options = WhisperOptions {
            beam_size,
            full_window,
            ..WhisperOptions::default()
        };
        let mut recognizer = recognizer(model.path(), options);
        let mut seen = Vec::new();
        for sound in &sounds {
            let mut in_language = |code| all_of(&mut recognizer, sound, Some(code)).1;
            // What is written depends on the language, else nothing is shown here.
            assert_ne!(in_language("en")[2..], in_language("ja")[2..]);
            let mut results = Vec::new();
            for guess in ["en", "ja"] {
                recognizer.last_detected =
                    SpokenLanguage::from_language(Language::parse(guess).unwrap());
                results.push(all_of(&mut recognizer, sound, None));
            }
            // What the model has heard last is a right guess now, where it is asked once.
            results.push(all_of(&mut recognizer, sound, None));
            let (passes, last) = results.pop().unwrap();
            assert!(
                results.iter().all(|(_, result)| *result == last),
                "{results:?}"
            );
            if full_window {
                assert!(results.iter().any(|(other, _)| *other > passes));
            }
            seen.push(last);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), sounds.len(), "the model hears what is said");
    }
}
