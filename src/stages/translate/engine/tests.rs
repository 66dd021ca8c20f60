//! The engine on the bundled pairs: fr-en, and en-mul to fr, es, de, it, pt.

use std::time::Duration;

use super::*;
use crate::domain::{Deadline, Language};
use crate::error::Reason;
use crate::onnx::testing;
use crate::stages::StageError;
use crate::stages::translate::{OutputLimits, Priority, Quality};

fn engine(options: TranslateOptions) -> TranslateEngine {
    let routes = Routes::scan(&testing::fixture("marian")).expect("the bundled pairs");
    TranslateEngine::new(testing::onnx(), routes, options)
}

fn request(text: &str, source: &str, target: &str) -> Request {
    Request {
        text: text.into(),
        source_language: Language::parse(source).expect("a code"),
        target_language: Language::parse(target).expect("a code"),
        quality: Quality::Basic,
        priority: Priority::Text,
        deadline: Deadline::none(),
    }
}

type Outcome = Result<Translation, TranslateError>;

/// Runs requests together until all are answered; the answers in the order of the requests.
fn run(engine: &mut TranslateEngine, requests: Vec<Request>) -> Vec<Outcome> {
    for (ticket, request) in (0..).zip(requests) {
        assert!(engine.vacancies() > 0);
        engine.join(Ticket(ticket), request);
    }
    let mut answers = BTreeMap::new();
    while !engine.is_idle() {
        answers.extend(engine.step());
    }
    answers.into_values().collect()
}

fn run_one(engine: &mut TranslateEngine, request: Request) -> Outcome {
    run(engine, vec![request]).pop().expect("an answer")
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    outcome.as_ref().err().map(StageError::reason)
}

#[test]
fn a_message_keeps_its_structure() {
    let text = "  - Hello my friend 👩🏽‍🚀 how are you?\n\n\n```\nlet a = 1;\n```\nSee https://a.b/c, @zoe.\r\n";
    let mut engine = engine(TranslateOptions::default());
    let translation = run_one(&mut engine, request(text, "en", "fr")).expect("a translation");
    let mut rest = translation.text.expose().as_str();
    for kept in [
        "  - ",
        " 👩🏽‍🚀 ",
        "\n\n\n```\nlet a = 1;\n```\n",
        " https://a.b/c, @zoe.\r\n",
    ] {
        let at = rest
            .find(kept)
            .unwrap_or_else(|| panic!("{kept:?} is lost"));
        rest = &rest[at + kept.len()..];
    }
    assert_ne!(translation.text, text);
    assert_eq!(translation.emojis_count, 1);
    assert_eq!(translation.segments_count, 3);
    assert_eq!(translation.model, "en-mul");
    assert!(translation.confidence > 0.0 && translation.confidence <= 1.0);
}

#[test]
fn requests_that_share_batches_get_what_they_get_alone() {
    let texts = [
        ("fr", "en", "Bonjour mon ami. Merci!"),
        ("en", "de", "Hello my friend, how are you today?"),
        ("en", "es", "Good morning."),
        (
            "fr",
            "en",
            "Maison, eau, pain, café: la musique est très très grand.",
        ),
        ("fr", "it", "Demain à la gare."),
        ("en", "fr", "The weather is new."),
    ];
    for quality in [Quality::Basic, Quality::Premium] {
        let requests: Vec<_> = texts
            .iter()
            .map(|(source, target, text)| Request {
                quality,
                ..request(text, source, target)
            })
            .collect();
        let mut engine = engine(TranslateOptions::default());
        let together = run(&mut engine, requests.clone());
        let alone: Vec<_> = requests
            .into_iter()
            .map(|r| run_one(&mut engine, r))
            .collect();
        for (together, alone) in together.iter().zip(&alone) {
            let together = together.as_ref().expect("a translation");
            let alone = alone.as_ref().expect("a translation");
            assert_eq!(together.text, alone.text);
            // Rows of one matrix product may be summed in another order than a single row.
            assert!((together.confidence - alone.confidence).abs() < 1e-4);
        }
    }
}

#[test]
fn a_pivot_is_two_translations_even_with_room_for_one_model() {
    let options = TranslateOptions {
        max_loaded_models: 1,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    let text = "Bonjour mon ami";
    let english = run_one(&mut engine, request(text, "fr", "en")).expect("a translation");
    let german =
        run_one(&mut engine, request(english.text.expose(), "en", "de")).expect("a translation");
    let both = vec![request(text, "fr", "de"), request(text, "fr", "en")];
    let answers = run(&mut engine, both);
    let pivot = answers[0].as_ref().expect("a translation");
    assert_eq!(pivot.text, german.text);
    assert_eq!(pivot.model, "fr-en+en-mul");
    assert_eq!(pivot.translated_chunks, 2);
    assert_eq!(
        answers[1].as_ref().expect("a translation").text,
        english.text
    );
}

#[test]
fn a_text_does_not_wait_for_the_recordings_before_it() {
    let recordings: Vec<_> = [
        "Hello my friend",
        "how are you",
        "good morning",
        "thank you",
    ]
    .iter()
    .map(|text| Request {
        priority: Priority::Recording,
        ..request(&format!("{text}. ").repeat(20), "en", "fr")
    })
    .collect();
    for max_cohorts in 1..=4 {
        let options = TranslateOptions {
            max_cohorts,
            max_batch_rows: 2,
            ..TranslateOptions::default()
        };
        let mut engine = engine(options);
        for (ticket, request) in (0..).zip(recordings.clone()) {
            engine.join(Ticket(ticket), request);
        }
        // They have taken all places that are theirs.
        for _ in 0..max_cohorts {
            assert!(engine.step().is_empty());
        }
        let text = Ticket(99);
        engine.join(text, request("Hello", "en", "fr"));
        let mut order = Vec::new();
        while !engine.is_idle() {
            order.extend(engine.step().into_iter().map(|(ticket, answer)| {
                answer.expect("a translation");
                ticket
            }));
        }
        assert_eq!(order.first(), Some(&text), "with {max_cohorts} places");
        assert_eq!(order.len(), recordings.len() + 1, "nothing is starved");
    }
}

#[test]
fn what_needs_no_model_comes_back_as_it_is() {
    let mut engine = engine(TranslateOptions::default());
    for (text, source, target) in [
        ("Bonjour 👋", "fr", "fr"),
        (" \n\t", "fr", "ja"),
        ("", "fr", "en"),
        ("🎉 12:30 `code`\n@zoe", "fr", "en"),
    ] {
        let translation = run_one(&mut engine, request(text, source, target)).expect("the text");
        assert_eq!(translation.text, text);
        assert_eq!(translation.translated_chunks, 0);
        assert_eq!(translation.model, "");
    }
}

#[test]
fn what_cannot_be_translated_says_why() {
    let options = TranslateOptions {
        max_text_characters: 20,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    let expired = Deadline::after(Duration::ZERO);
    let answers = run(
        &mut engine,
        vec![
            request("Bonjour", "fr", "ja"),
            request("Bonjour mon ami, bonjour", "fr", "en"),
            Request {
                deadline: expired,
                ..request("Bonjour", "fr", "en")
            },
        ],
    );
    let reasons: Vec<_> = answers.iter().map(reason).collect();
    assert_eq!(
        reasons,
        [
            Some(Reason::UnsupportedLanguage),
            Some(Reason::TextTooLong),
            Some(Reason::DeadlineExceeded),
        ]
    );
}

#[test]
fn a_cancelled_request_leaves_and_its_neighbours_go_on() {
    let mut engine = engine(TranslateOptions::default());
    let expected = run_one(&mut engine, request("Bonjour mon ami", "fr", "en"));
    let cancelled = request("Bonjour mon ami. Demain à la gare, merci!", "fr", "en");
    let deadline = cancelled.deadline.clone();
    engine.join(Ticket(0), cancelled);
    engine.join(Ticket(1), request("Bonjour mon ami", "fr", "en"));
    assert!(engine.step().is_empty());
    deadline.cancel();
    let first = engine.step();
    assert_eq!(
        first
            .first()
            .map(|(ticket, answer)| (*ticket, reason(answer))),
        Some((Ticket(0), Some(Reason::Cancelled)))
    );
    let mut rest = Vec::new();
    while !engine.is_idle() {
        rest.extend(engine.step());
    }
    let (ticket, outcome) = rest.pop().expect("an answer");
    assert_eq!((ticket, rest.len()), (Ticket(1), 0));
    assert_eq!(
        outcome.expect("a translation").text,
        expected.expect("a translation").text
    );
}

#[test]
fn a_short_text_does_not_wait_for_a_long_one() {
    let options = TranslateOptions {
        max_batch_rows: 2,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    engine.join(
        Ticket(0),
        request(&"Bonjour mon ami.\n".repeat(20), "fr", "en"),
    );
    assert!(engine.step().is_empty());
    engine.join(Ticket(1), request("Merci.", "fr", "en"));
    let mut order = Vec::new();
    while !engine.is_idle() {
        for (ticket, outcome) in engine.step() {
            assert!(outcome.is_ok());
            order.push(ticket);
        }
    }
    assert_eq!(order, [Ticket(1), Ticket(0)]);
}

/// Steps until all are answered; the tickets in the order of their answers, which are translations.
fn finish(engine: &mut TranslateEngine) -> Vec<Ticket> {
    let mut order = Vec::new();
    while !engine.is_idle() {
        order.extend(engine.step().into_iter().map(|(ticket, answer)| {
            answer.expect("a translation");
            ticket
        }));
    }
    order
}

/// Lets a request join at each step while there is room for one, until `patient` has its translation.
///
/// # Panics
/// It has none after so many steps, or another request failed.
fn serve_until(
    engine: &mut TranslateEngine,
    patient: Ticket,
    steps: u64,
    request: impl Fn(u64) -> Request,
) {
    let mut others = 0;
    for ticket in 0..steps {
        if engine.vacancies() > 0 {
            engine.join(Ticket(ticket), request(ticket));
        }
        for (ticket, answer) in engine.step() {
            answer.expect("a translation");
            if ticket == patient {
                return;
            }
            others += 1;
        }
    }
    panic!("{others} others were answered before it");
}

#[test]
fn a_newcomer_joins_those_that_run() {
    let mut engine = engine(TranslateOptions::default());
    engine.join(Ticket(0), request("Bonjour mon ami. Merci!", "fr", "en"));
    assert!(engine.step().is_empty());
    let rows = engine.decoded_rows().expect("a decoder");
    engine.join(Ticket(1), request("Demain à la gare.", "fr", "en"));
    assert!(engine.step().is_empty());
    // It has as many beams as each of the other two.
    assert_eq!(engine.decoded_rows(), Some(rows / 2 * 3));
    assert_eq!(finish(&mut engine).len(), 2);
}

#[test]
fn a_long_text_keeps_no_other_pair_waiting() {
    let options = TranslateOptions {
        max_batch_rows: 2,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    let long = Ticket(0);
    engine.join(long, request(&"Bonjour mon ami.\n".repeat(60), "fr", "en"));
    // Newcomers of its pair, for which cohorts are started beside the full one.
    for ticket in 1..8 {
        assert!(engine.step().iter().all(|(ticket, _)| *ticket != long));
        engine.join(Ticket(ticket), request("Merci.", "fr", "en"));
    }
    engine.join(Ticket(8), request("Hello", "en", "de"));
    engine.join(Ticket(9), request("Merci.", "fr", "en"));
    assert_eq!(finish(&mut engine).last(), Some(&long));
}

#[test]
fn a_long_text_stays_in_one_cohort() {
    let options = TranslateOptions {
        max_batch_rows: 8,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    engine.join(
        Ticket(0),
        request(&"Bonjour mon ami.\n".repeat(60), "fr", "en"),
    );
    assert!(engine.step().is_empty());
    let mut newcomers: Vec<_> = (1..4).map(Ticket).collect();
    for ticket in &newcomers {
        engine.join(*ticket, request("Merci.", "fr", "en"));
        assert!(engine.step().is_empty());
    }
    assert!(engine.cohorts.running.len() > 1, "the first one is full");
    while !newcomers.is_empty() {
        let answered: Vec<_> = engine
            .step()
            .into_iter()
            .map(|(ticket, _)| ticket)
            .collect();
        newcomers.retain(|ticket| !answered.contains(ticket));
    }
    engine.cohorts.drop_ended();
    assert_eq!(engine.cohorts.running.len(), 1);
    assert_eq!(finish(&mut engine), [Ticket(0)]);
}

#[test]
fn a_text_gets_the_room_of_recordings() {
    let options = TranslateOptions {
        max_loaded_models: 1,
        max_batch_rows: 2,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    let recording = Request {
        priority: Priority::Recording,
        ..request(&"Bonjour mon ami.\n".repeat(20), "fr", "en")
    };
    engine.join(Ticket(0), recording);
    assert!(engine.step().is_empty());
    engine.join(Ticket(1), request("Hello", "en", "de"));
    assert_eq!(finish(&mut engine), [Ticket(1), Ticket(0)]);
}

#[test]
fn recordings_get_room_though_texts_of_two_pairs_never_pause() {
    let options = TranslateOptions {
        max_cohorts: 2,
        max_loaded_models: 1,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    serve_until(&mut engine, Ticket(4), 2_000, |ticket| match ticket {
        4 => Request {
            priority: Priority::Recording,
            ..request("Bonjour mon ami", "fr", "en")
        },
        _ if ticket % 2 == 0 => request("Bonjour mon ami", "fr", "en"),
        _ => request("Hello my friend", "en", "de"),
    });
}

#[test]
fn a_fifth_pair_is_served_beside_four_that_never_pause() {
    // The pair fr-en under five names.
    let models = tempfile::tempdir().expect("a directory");
    let sources = ["fr", "es", "de", "it", "pt"];
    for source in sources {
        let directory = models.path().join(format!("{source}-en"));
        testing::copy_fixture("marian/fr-en", &directory);
        let metadata = directory.join("metadata.json");
        let text = std::fs::read_to_string(&metadata).expect("a description");
        let text = text.replacen("\"fr\"", &format!("\"{source}\""), 1);
        std::fs::write(&metadata, text).expect("a file");
    }
    let routes = Routes::scan(models.path()).expect("routes");
    let options = TranslateOptions {
        max_batch_rows: 8,
        ..TranslateOptions::default()
    };
    assert_eq!((options.max_cohorts, options.max_loaded_models), (4, 4));
    let mut engine = TranslateEngine::new(testing::onnx(), routes, options);
    // Texts of three pairs and recordings of a fourth keep all places, and all room.
    let busy = "Bonjour mon ami.\n".repeat(5);
    serve_until(&mut engine, Ticket(40), 2_000, |ticket| match ticket {
        40 => request("Bonjour mon ami", "pt", "en"),
        _ if ticket % 4 == 3 => Request {
            priority: Priority::Recording,
            ..request("Bonjour mon ami", "it", "en")
        },
        _ => request(&busy, sources[ticket as usize % 4], "en"),
    });
}

#[test]
fn a_sentence_that_cannot_be_encoded_fails_its_request_alone() {
    let models = copied_models(&["en-mul"]);
    let metadata = models.path().join("en-mul/metadata.json");
    let text = std::fs::read_to_string(&metadata).expect("a description");
    // A language whose token the vocabulary lacks.
    let text = text.replacen("\"fr\"", "\"ja\", \"fr\"", 1).replacen(
        "\"target_tokens\": {",
        "\"target_tokens\": {\"ja\": \">>jpn<<\",",
        1,
    );
    std::fs::write(&metadata, text).expect("a file");
    let routes = Routes::scan(models.path()).expect("routes");
    let mut engine = TranslateEngine::new(testing::onnx(), routes, TranslateOptions::default());
    engine.join(Ticket(9), request("Hello my friend", "en", "fr"));
    assert!(engine.step().is_empty());
    let answers = run(
        &mut engine,
        vec![
            request("Hello my friend", "en", "ja"),
            request("Hello my friend", "en", "de"),
        ],
    );
    let reasons: Vec<_> = answers.iter().map(reason).collect();
    assert_eq!(reasons, [Some(Reason::Internal), None, None]);
}

/// A folder with some of the bundled pairs.
fn copied_models(pairs: &[&str]) -> tempfile::TempDir {
    let models = tempfile::tempdir().expect("a directory");
    for pair in pairs {
        testing::copy_fixture(&format!("marian/{pair}"), &models.path().join(pair));
    }
    models
}

#[test]
fn a_pair_without_room_gets_its_turn_though_others_never_pause() {
    let options = TranslateOptions {
        max_loaded_models: 1,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    serve_until(&mut engine, Ticket(3), 400, |ticket| match ticket {
        3 => request("Hello my friend", "en", "de"),
        _ => request("Bonjour mon ami. Merci!", "fr", "en"),
    });
}

#[test]
fn a_model_that_cannot_be_loaded_fails_only_its_requests() {
    let models = copied_models(&["fr-en", "en-mul"]);
    std::fs::write(models.path().join("fr-en/decoder.onnx"), "damaged").expect("a file");
    let routes = Routes::scan(models.path()).expect("routes");
    let mut engine = TranslateEngine::new(testing::onnx(), routes, TranslateOptions::default());
    let requests = vec![
        request("Bonjour", "fr", "en"),
        request("Hello my friend.", "en", "fr"),
        request("Bonjour", "fr", "de"),
    ];
    let answers = run(&mut engine, requests);
    assert_eq!(reason(&answers[0]), Some(Reason::ModelUnavailable));
    assert!(answers[1].is_ok());
    assert_eq!(reason(&answers[2]), Some(Reason::ModelUnavailable));
}

#[test]
fn refused_outputs_fail_the_request() {
    let output_limits = OutputLimits {
        min_confidence: 1.0,
        ..OutputLimits::default()
    };
    let options = TranslateOptions {
        output_limits,
        ..TranslateOptions::default()
    };
    let mut engine = engine(options);
    let outcome = run_one(&mut engine, request("Bonjour mon ami", "fr", "en"));
    assert_eq!(reason(&outcome), Some(Reason::BadOutput));
}
