//! Texts: languages, order, structure, failures, lanes.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::models::{copied_models, replace};
use crate::support::requests::translation;
use crate::support::wait_for;

/// The fixture pair's words for "Hello my friend.".
const GREETINGS: [(&str, &str); 5] = [
    ("es", "Hola mi amigo."),
    ("fr", "Bonjour mon ami."),
    ("de", "Hallo mein freund."),
    ("it", "Ciao mio amico."),
    ("pt", "Olá meu amigo."),
];

fn started(environment: &[(&str, &str)]) -> (Daemon, Gateway) {
    let daemon = Daemon::start_with(environment);
    let gateway = Gateway::connect_subscribed(daemon.ports);
    (daemon, gateway)
}

/// The answer to a text in one language.
fn translated(gateway: &mut Gateway, request: &Value) -> Event {
    gateway.send(request, &[]);
    let task_id = request["taskId"].as_str().unwrap();
    let event = gateway.events_of_task(task_id, 1).pop().unwrap();
    assert_eq!(event.kind(), "translation_completed", "{event:?}");
    event
}

#[test]
fn every_language_gets_its_event_in_the_order_of_the_request() {
    let (daemon, mut gateway) = started(&[]);
    let targets = GREETINGS.map(|(language, _)| language);
    gateway.send(
        &translation("order", "Hello my friend.", "en", &targets),
        &[],
    );
    let events = gateway.events_of_task("order", targets.len());
    for (event, (language, text)) in events.iter().zip(GREETINGS) {
        assert_eq!(event.kind(), "translation_completed", "{event:?}");
        assert_eq!(event.text("targetLanguage"), language);
        let result = &event.json["result"];
        assert_eq!(result["messageId"], "message-of-order");
        assert_eq!(result["translatedText"], text);
        assert_eq!(result["sourceLanguage"], "en");
        assert_eq!(result["targetLanguage"], language);
        assert_eq!(result["modelType"], "medium");
        assert!(
            ["basic", "medium", "premium"].contains(&result["translatorModel"].as_str().unwrap())
        );
        assert_eq!(result["poolType"], "fast");
        let confidence = result["confidenceScore"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&confidence));
        assert!(result["processingTime"].as_f64().unwrap() >= 0.0);
        assert!(event.json["timestamp"].is_number());
        assert!(event.frames.is_empty());
    }
    // Nothing follows.
    assert!(gateway.events_of_what_was_sent().is_empty());
    // A job is counted after its last event has left.
    wait_for("the job to be counted", || {
        let done = daemon.metric("translator_jobs_finished_total", &["translation", "done"]);
        (done == 1.0).then_some(())
    });
}

#[test]
fn languages_are_echoed_as_requested_and_understood_as_meant() {
    let (_daemon, mut gateway) = started(&[]);
    let targets = ["pt-BR", "PT", "FRA", "en", "EN_us"];
    gateway.send(
        &translation("echo", "Hello my friend.", "eng", &targets),
        &[],
    );
    let events = gateway.events_of_task("echo", 5);
    let found: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            let result = &event.json["result"];
            assert_eq!(result["targetLanguage"], event.json["targetLanguage"]);
            assert_eq!(result["sourceLanguage"], "en");
            (
                event.text("targetLanguage"),
                result["translatedText"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("pt-br", "Olá meu amigo."),
        ("pt", "Olá meu amigo."),
        ("fra", "Bonjour mon ami."),
        // The language of the text: the text itself.
        ("en", "Hello my friend."),
        ("en_us", "Hello my friend."),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_language_stays_where_it_is() {
    let (_daemon, mut gateway) = started(&[]);
    let text = "  - Hello my friend 👩🏽‍🚀 how are you?\n\n\n```\nlet a = \"hello my friend\";\n```\n\
                Call me https://example.org/hello?a=b and ada@example.org, @zoe.\r\n\t• Hello my friend 🇫🇷\n";
    let event = translated(&mut gateway, &translation("structure", text, "en", &["fr"]));
    let result = event.json["result"]["translatedText"].as_str().unwrap();
    let mut rest = result;
    for kept in [
        "  - ",
        " 👩🏽‍🚀 ",
        "\n\n\n```\nlet a = \"hello my friend\";\n```\n",
        " https://example.org/hello?a=b ",
        " ada@example.org, @zoe.\r\n\t• ",
        " 🇫🇷\n",
    ] {
        let at = rest
            .find(kept)
            .unwrap_or_else(|| panic!("{kept:?} is not in its place in {result:?}"));
        rest = &rest[at + kept.len()..];
    }
    assert_eq!(rest, "");
    assert!(result.starts_with("  - Bonjour mon ami"), "{result:?}");

    // Nothing to translate: the same text back.
    for (name, text) in [
        ("spaces", "  \n "),
        ("emoji", "👍🏽🎉"),
        ("numbers", "12:30, 42 €"),
    ] {
        let event = translated(&mut gateway, &translation(name, text, "en", &["fr"]));
        assert_eq!(event.json["result"]["translatedText"], text);
    }
}

#[test]
fn the_source_language_is_found_or_the_default() {
    let (_daemon, mut gateway) = started(&[]);
    let german = "Ich habe gerade das Büro verlassen und der Verkehr ist schrecklich, deshalb komme ich später.";
    let english = "I have just left the office and the traffic is terrible, so I will probably be half an hour late.";
    for (name, given, text, target, source, expected) in [
        ("german", json!("auto"), german, "de", "de", german),
        ("english", json!(""), english, "en", "en", english),
        ("absent", Value::Null, english, "en", "en", english),
        // Too short to tell.
        (
            "default",
            json!("auto"),
            "Bonjour mon ami.",
            "en",
            "fr",
            "Hello my friend.",
        ),
        (
            "nonsense",
            json!("klingon"),
            "Bonjour mon ami.",
            "en",
            "fr",
            "Hello my friend.",
        ),
        (
            "wrong-type",
            json!(7),
            "Bonjour mon ami.",
            "en",
            "fr",
            "Hello my friend.",
        ),
    ] {
        let mut request = translation(name, text, "", &[target]);
        request["sourceLanguage"] = given;
        let event = translated(&mut gateway, &request);
        assert_eq!(event.json["result"]["sourceLanguage"], source, "{name}");
        assert_eq!(event.json["result"]["translatedText"], expected, "{name}");
    }
    // Without a direct pair the way leads through English.
    let event = translated(
        &mut gateway,
        &translation("pivot", "Bonjour mon ami.", "fr", &["es"]),
    );
    assert_eq!(event.json["result"]["translatedText"], "Hola mi amigo.");

    drop(gateway);
    let (_daemon, mut gateway) = started(&[("TRANSLATOR_DEFAULT_DETECT_LANG", "en")]);
    let event = translated(
        &mut gateway,
        &translation("other", "Hello my friend.", "auto", &["fr"]),
    );
    assert_eq!(event.json["result"]["sourceLanguage"], "en");
}

#[test]
fn a_text_that_is_too_long_is_skipped_and_refused_once() {
    let (_daemon, mut gateway) = started(&[("MAX_TRANSLATION_LENGTH", "50")]);
    let longest = format!("Hello my friend.{}", " é".repeat(17));
    assert_eq!(longest.chars().count(), 50);
    gateway.send(&translation("fits", &longest, "en", &["en"]), &[]);
    gateway.next("translation_completed");

    gateway.send(
        &translation("long", &format!("{longest}!"), "en", &["fr", "es"]),
        &[],
    );
    let events = gateway.events_of("message-of-long", &["translation_error"]);
    let [skipped, error] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(skipped.kind(), "translation_skipped");
    assert_eq!(skipped.text("reason"), "message_too_long");
    assert_eq!(skipped.json["length"], 51);
    assert_eq!(skipped.json["max_length"], 50);
    assert_eq!(skipped.text("conversationId"), "66b1f0a4c2d3e4f5a6b7c8d9");
    assert_eq!(error.text("taskId"), "long");
    assert_eq!(error.text("conversationId"), "66b1f0a4c2d3e4f5a6b7c8d9");
    assert_eq!(error.text("reason"), "text_too_long");
    assert!(gateway.events_of_what_was_sent().is_empty());
}

#[test]
fn failed_languages_are_told_once_after_the_successes() {
    let (_daemon, mut gateway) = started(&[]);
    gateway.send(
        &translation("some", "Hello my friend.", "en", &["ru", "fr", "q1", "es"]),
        &[],
    );
    let events = gateway.events_of_task("some", 3);
    let kinds: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.kind(), event.text("targetLanguage")))
        .collect();
    let expected = [
        ("translation_completed", "fr"),
        ("translation_completed", "es"),
        ("translation_error", ""),
    ];
    assert_eq!(kinds, expected);
    let error = &events[2];
    let mut failed: Vec<&str> = error.json["metadata"]["failedLanguages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|language| language.as_str().unwrap())
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, ["q1", "ru"]);
    assert_eq!(error.text("reason"), "unsupported_language");
    assert_eq!(error.text("messageId"), "message-of-some");

    gateway.send(
        &translation("none", "Hello my friend.", "en", &["ru", "zh"]),
        &[],
    );
    let events = gateway.events_of("message-of-none", &["translation_error"]);
    let [error] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        error.json["metadata"]["failedLanguages"],
        json!(["ru", "zh"])
    );
    assert_eq!(error.text("stage"), "translate");
    assert!(gateway.events_of_what_was_sent().is_empty());
}

#[test]
fn a_language_that_breaks_leaves_the_others_alone() {
    for action in ["fail", "panic"] {
        let fault = format!("translate.es:{action}");
        let (_daemon, mut gateway) = started(&[("TRANSLATOR_FAULT", fault.as_str())]);
        gateway.send(
            &translation("fault", "Hello my friend.", "en", &["fr", "es", "de"]),
            &[],
        );
        let events = gateway.events_of("message-of-fault", &["translation_error"]);
        let kinds: Vec<&str> = events
            .iter()
            .map(|event| event.text("targetLanguage"))
            .collect();
        assert_eq!(kinds, ["fr", "de", ""], "{action}: {events:?}");
        assert_eq!(
            events[2].json["metadata"]["failedLanguages"],
            json!(["es"]),
            "{action}"
        );
    }
}

#[test]
fn numbers_come_out_as_they_were_written() {
    let (_daemon, mut gateway) = started(&[]);
    let text = "Hello my friend 10:30. You are 42. Hello +33 my friend.\n\
                The book is 3.50 and 1,000 very good.";
    let event = translated(&mut gateway, &translation("numbers", text, "en", &["fr"]));
    let result = event.json["result"]["translatedText"].as_str().unwrap();
    for number in ["10:30", "42", "+33", "3.50", "1,000"] {
        assert!(result.contains(number), "{number} is lost: {result:?}");
    }
    assert_ne!(result, text);
}

#[test]
fn a_model_that_answers_nonsense_fails_its_language_only() {
    // French answers that begin with a capital B now begin with an error message.
    let models = copied_models();
    let file = "marian/en-mul/vocab.json";
    let vocabulary = std::fs::read_to_string(models.path().join(file)).unwrap();
    let nonsense = vocabulary.replace("\"▁B\"", "\"▁[error] B\"");
    assert_ne!(nonsense, vocabulary);
    replace(models.path(), file, nonsense.as_bytes());
    let (_daemon, mut gateway) = started(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    gateway.send(
        &translation("nonsense", "Hello my friend.", "en", &["fr", "es"]),
        &[],
    );
    let events = gateway.events_of("message-of-nonsense", &["translation_error"]);
    let [spanish, error] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(spanish.json["result"]["translatedText"], "Hola mi amigo.");
    assert_eq!(error.json["metadata"]["failedLanguages"], json!(["fr"]));
    assert_eq!(error.text("reason"), "bad_output");
    assert!(!error.text("error").contains("Bonjour"), "{error:?}");
}

#[test]
fn a_story_text_gets_one_event_for_all_languages() {
    let (_daemon, mut gateway) = started(&[]);
    let mut story = json!({
        "type": "story_text_object_translation", "postId": "post-1", "textObjectIndex": 3,
        "text": "Hello my friend.", "sourceLanguage": "en",
        "targetLanguages": ["fr", "en", "ru", "pt-BR", "es"], "timestamp": 1,
    });
    gateway.send(&story, &[]);
    let event = gateway.next("story_text_object_translation_completed");
    assert_eq!(event.text("postId"), "post-1");
    assert_eq!(event.json["textObjectIndex"], 3);
    let expected =
        json!({"fr": "Bonjour mon ami.", "pt": "Olá meu amigo.", "es": "Hola mi amigo."});
    assert_eq!(event.json["translations"], expected);
    assert!(
        event.json["timestamp"].as_u64().unwrap() > 1_600_000_000_000,
        "milliseconds"
    );

    // Nothing to publish is published too.
    story["targetLanguages"] = json!(["en", "ru"]);
    story["textObjectIndex"] = json!(4);
    gateway.send(&story, &[]);
    let event = gateway.next("story_text_object_translation_completed");
    assert_eq!(event.json["textObjectIndex"], 4);
    assert_eq!(event.json["translations"], json!({}));
}

#[test]
fn the_oldest_gateways_are_understood() {
    let (_daemon, mut gateway) = started(&[]);
    let legacy = json!({
        "messageId": "old", "text": "Hello my friend.", "sourceLanguage": "en", "targetLanguage": "fr",
    });
    gateway.send(&legacy, &[]);
    let first = gateway.next("translation_completed");
    assert_eq!(first.json["result"]["messageId"], "old");
    assert_eq!(first.json["result"]["translatedText"], "Bonjour mon ami.");
    assert_eq!(first.json["result"]["modelType"], "basic");

    // Without an id of its own a request gets one, the same in all its events.
    let mut several = translation("x", "Hello my friend.", "en", &["fr", "es", "ru"]);
    several.as_object_mut().unwrap().remove("taskId");
    gateway.send(&several, &[]);
    let events = gateway.events_of("message-of-x", &["translation_error"]);
    assert_eq!(events.len(), 3, "{events:?}");
    let task_id = events[0].text("taskId");
    assert!(!task_id.is_empty());
    assert_ne!(task_id, first.text("taskId"));
    assert!(
        events.iter().all(|event| event.text("taskId") == task_id),
        "{events:?}"
    );
}
