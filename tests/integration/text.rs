//! Texts: languages, order, structure, failures, lanes.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
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

/// Everything of one task up to and with its `count`th event.
fn events_of_task(gateway: &Gateway, task_id: &str, count: usize) -> Vec<Event> {
    let mut seen = 0;
    let events = gateway.events_until(&format!("{count} events of {task_id}"), |event| {
        seen += usize::from(event.text("taskId") == task_id);
        seen == count
    });
    events
        .into_iter()
        .filter(|event| event.text("taskId") == task_id)
        .collect()
}

/// The answer to a text in one language.
fn translated(gateway: &mut Gateway, request: &Value) -> Event {
    gateway.send(request, &[]);
    let task_id = request["taskId"].as_str().unwrap();
    let event = events_of_task(gateway, task_id, 1).pop().unwrap();
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
    let events = events_of_task(&gateway, "order", targets.len());
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
    let done = daemon.metric("translator_jobs_finished_total", &["translation", "done"]);
    assert_eq!(done, 1.0);
}

#[test]
fn languages_are_echoed_as_requested_and_understood_as_meant() {
    let (_daemon, mut gateway) = started(&[]);
    let targets = ["pt-BR", "PT", "FRA", "en", "EN_us"];
    gateway.send(
        &translation("echo", "Hello my friend.", "eng", &targets),
        &[],
    );
    let events = events_of_task(&gateway, "echo", 5);
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
    let events = events_of_task(&gateway, "some", 3);
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
fn a_full_lane_answers_in_the_gateways_words_and_the_other_lanes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("translator.toml");
    std::fs::write(&file, "[jobs]\nmax_queued_texts = 1\n").unwrap();
    let environment = [
        ("TRANSLATOR_CONFIG", file.to_str().unwrap()),
        ("TRANSLATOR_FAULT", "translate:pause"),
    ];
    let (daemon, mut gateway) = started(&environment);
    let accepted = |count: f64| {
        wait_for("acceptance", || {
            (daemon.metric("translator_jobs_accepted_total", &[]) >= count).then_some(())
        });
    };
    // All slots get a text that never ends; one more waits.
    let mut sent = 0;
    let running = || daemon.metric("translator_jobs_running", &["text_fast"]);
    let waiting = || daemon.metric("translator_queue_depth", &["text_fast"]);
    while waiting() < 1.0 {
        gateway.send(
            &translation(&format!("t{sent}"), "Hello.", "en", &["fr"]),
            &[],
        );
        sent += 1;
        accepted(f64::from(sent));
        assert!(sent < 1000, "no end of slots");
        wait_for("start or wait", || {
            (running() + waiting() >= f64::from(sent)).then_some(())
        });
    }

    gateway.send(&translation("surplus", "Hello.", "en", &["fr"]), &[]);
    let events = gateway.events_of_what_was_sent();
    let [error] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(error.kind(), "translation_error");
    assert_eq!(error.text("taskId"), "surplus");
    assert_eq!(error.text("error"), "translation pool full");
    assert_eq!(error.text("reason"), "overloaded");

    // A long text has a lane of its own, as has one that nobody waits for.
    let mut idle = translation("any", "Hello.", "en", &["fr"]);
    idle["conversationId"] = "any".into();
    gateway.send(
        &translation("normal", &"Hello. ".repeat(40), "en", &["fr"]),
        &[],
    );
    gateway.send(&idle, &[]);
    let events = gateway.events_of_what_was_sent();
    assert!(events.is_empty(), "{events:?}");
    accepted(f64::from(sent) + 2.0);
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
