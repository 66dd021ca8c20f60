//! Texts over HTTP: `/translate`, `/translate/batch`, `/detect-language`.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{ask, connect, post};
use crate::support::{settings_file, wait_for};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A daemon whose texts into Spanish never end, so that they hold their places.
fn occupied(settings: &str) -> (Daemon, tempfile::NamedTempFile) {
    let file = settings_file(settings);
    let environment = [
        ("TRANSLATOR_CONFIG", file.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "translate.es:pause"),
    ];
    let daemon = Daemon::start_with(&environment);
    (daemon, file)
}

fn lane(daemon: &Daemon, name: &str) -> Value {
    let queues = daemon.get_json("/queues");
    let lanes = queues["lanes"].as_array().unwrap();
    lanes
        .iter()
        .find(|lane| lane["lane"] == name)
        .unwrap()
        .clone()
}

#[test]
fn a_text_is_translated_and_given_out_again() {
    let daemon = Daemon::start();
    let request = json!({
        "text": "Hello my friend.", "source_language": "en", "target_language": "FR",
        "model_type": "medium",
    });
    let answer = post(&daemon, "/translate", &request);
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "original_text": "Hello my friend.",
        "translated_text": "Bonjour mon ami.",
        "source_language": "en",
        "target_language": "FR",
        "model_used": "medium",
        "model": "en-mul",
        "confidence_score": 0.95,
        "processing_time_ms": answer.body["processing_time_ms"],
        "from_cache": false,
    });
    assert_eq!(answer.body, expected);
    assert!(answer.body["processing_time_ms"].as_f64().unwrap() > 0.0);

    let again = post(&daemon, "/translate", &request);
    assert_eq!(again.body["translated_text"], "Bonjour mon ami.");
    assert_eq!(again.body["from_cache"], true);
    assert_eq!(again.body["confidence_score"], 0.99);
}

#[test]
fn the_language_is_detected_where_it_is_not_told() {
    let daemon = Daemon::start();
    let long = "I have just left the office and the traffic is terrible, so I will be late.";
    for source in [json!(null), json!("auto"), json!("unknown"), json!("")] {
        let mut request = json!({ "text": long, "target_language": "en" });
        if !source.is_null() {
            request["source_language"] = source;
        }
        let answer = post(&daemon, "/translate", &request);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["source_language"], "en");
        assert_eq!(answer.body["translated_text"], long);
        assert_eq!(answer.body["model_used"], "none");
        assert_eq!(answer.body["model"], Value::Null);
    }
    let detected = post(&daemon, "/detect-language", &json!({ "text": long }));
    assert_eq!(detected.status, 200);
    assert_eq!(detected.body["language"], "en");
    assert!(detected.body["confidence"].as_f64().unwrap() >= 0.8);
    let open = post(&daemon, "/detect-language", &json!({ "text": "ok" }));
    assert_eq!(
        open.body,
        json!({ "language": "unknown", "confidence": 0.0 })
    );
}

#[test]
fn what_is_too_long_comes_back_as_it_is() {
    let daemon = Daemon::start_with(&[("MAX_TRANSLATION_LENGTH", "20")]);
    let text = "Hello my friend. Hello my friend.";
    let request = json!({ "text": text, "source_language": "en", "target_language": "fr" });
    let answer = post(&daemon, "/translate", &request);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["translated_text"], text);
    assert_eq!(answer.body["model_used"], "none");
    assert_eq!(answer.body["confidence_score"], 0.0);
}

#[test]
fn a_batch_is_answered_in_order_and_what_fails_says_why() {
    let daemon = Daemon::start();
    let text = |text: &str, target: &str| json!({ "text": text, "source_language": "en", "target_language": target });
    let batch = json!([
        text("Hello my friend.", "fr"),
        text("Hello my friend.", "xx"),
        text("", "fr"),
        text("Hello my friend.", "es"),
        text("Hello my friend.", "en"),
    ]);
    let answer = post(&daemon, "/translate/batch", &batch);
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.body.as_array().unwrap();
    let texts: Vec<&str> = items
        .iter()
        .map(|item| item["translated_text"].as_str().unwrap())
        .collect();
    let same = "Hello my friend.";
    assert_eq!(
        texts,
        ["Bonjour mon ami.", same, "", "Hola mi amigo.", same]
    );
    let errors: Vec<bool> = items.iter().map(|item| item["error"].is_string()).collect();
    assert_eq!(errors, [false, true, true, false, false]);
    assert_eq!(items[1]["model_used"], "none");
    assert!(items[1]["error"].as_str().unwrap().contains("xx"));

    for (batch, problem) in [
        (json!([]), "body: too_short"),
        (json!(vec![text("a", "fr"); 11]), "body: too_long"),
        (json!({}), "body: list_type"),
        (
            json!([text("a", "fr"), {"text": "b"}]),
            "body.1.target_language: missing",
        ),
        (json!(["a"]), "body.0: model_attributes_type"),
    ] {
        let answer = post(&daemon, "/translate/batch", &batch);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.problems(), [problem]);
    }
}

#[test]
fn bad_requests_are_told_what_is_wrong_and_nothing_is_quoted() {
    let daemon = Daemon::start();
    for (body, problems) in [
        (
            json!({}),
            vec!["body.text: missing", "body.target_language: missing"],
        ),
        (json!("quokka"), vec!["body: model_attributes_type"]),
        (
            json!({"text": 7, "target_language": ["quokka"], "source_language": 7}),
            vec![
                "body.text: string_type",
                "body.source_language: string_type",
                "body.target_language: string_type",
            ],
        ),
        (
            json!({"text": "a", "target_language": "quokka", "source_language": "q1", "model_type": "quokka"}),
            vec![
                "body.source_language: value_error",
                "body.target_language: value_error",
                "body.model_type: enum",
            ],
        ),
        (
            json!({"text": "a", "target_language": format!("fr-{}", "a".repeat(40))}),
            vec!["body.target_language: string_too_long"],
        ),
    ] {
        let answer = post(&daemon, "/translate", &body);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.problems(), problems);
        assert!(!answer.body.to_string().contains("quokka"));
    }
    let empty = post(
        &daemon,
        "/translate",
        &json!({"text": "", "target_language": "fr"}),
    );
    assert_eq!((empty.status, empty.detail()), (400, "The text is empty"));
    let uncovered = json!({"text": "Hello.", "source_language": "en", "target_language": "xx"});
    let uncovered = post(&daemon, "/translate", &uncovered);
    assert_eq!(uncovered.status, 400, "{uncovered:?}");
    assert!(uncovered.detail().contains("xx"), "{uncovered:?}");
    for (length, status) in [(0, 422), (1, 200), (10_000, 200), (10_001, 422)] {
        let answer = post(
            &daemon,
            "/detect-language",
            &json!({"text": "é".repeat(length)}),
        );
        assert_eq!(answer.status, status, "{length}");
    }

    let broken = ask(&daemon, "POST", "/translate", &JSON, b"{\"text\": \"quokka");
    assert_eq!(broken.status, 422);
    assert_eq!(broken.body["detail"][0]["type"], "json_invalid");
    assert!(!broken.body.to_string().contains("quokka"));
    let form = [("content-type", "text/plain")];
    let form = ask(&daemon, "POST", "/translate", &form, b"{}");
    assert_eq!(form.status, 415, "{form:?}");
    let large = ask(
        &daemon,
        "POST",
        "/translate",
        &JSON,
        &vec![b' '; (2 << 20) + 1],
    );
    assert_eq!(
        (large.status, large.detail()),
        (413, "The body is too large")
    );
    assert!(!daemon.log().contains("quokka"));
}

#[test]
fn no_text_gets_into_the_log() {
    for format in ["text", "json"] {
        let daemon = Daemon::start_with(&[("LOG_LEVEL", "trace"), ("LOG_FORMAT", format)]);
        let canary = "My quokka plays the xylophone at the station.";
        let request = |target: &str| json!({ "text": canary, "source_language": "en", "target_language": target });
        assert_eq!(post(&daemon, "/translate", &request("fr")).status, 200);
        assert_eq!(post(&daemon, "/translate", &request("xx")).status, 400);
        assert_eq!(
            post(
                &daemon,
                "/translate/batch",
                &json!([request("es"), request("xx")])
            )
            .status,
            200
        );
        assert_eq!(
            post(&daemon, "/detect-language", &json!({ "text": canary })).status,
            200
        );
        assert_eq!(
            post(&daemon, "/detect-language", &json!([canary])).status,
            422
        );
        let log = daemon.log();
        assert!(log.contains("DEBUG"), "the log tells too little");
        for word in ["quokka", "xylophone"] {
            assert!(!log.contains(word), "{format}: {word}");
        }
        assert!(!daemon.get("/metrics").unwrap().1.contains("quokka"));
    }
}

#[test]
fn texts_are_refused_while_too_many_wait_and_who_leaves_makes_room() {
    let (daemon, _file) = occupied("[jobs]\nmax_concurrent_texts = 1\nmax_queued_texts = 2\n");
    // One place in the lane of short texts, and the client that has it does not get an answer.
    let endless = json!({"text": "Hello.", "source_language": "en", "target_language": "es"});
    let body = endless.to_string();
    let head = format!(
        "POST /translate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = connect(&daemon);
    std::io::Write::write_all(&mut client, head.as_bytes()).unwrap();
    wait_for("the text at work", || {
        (lane(&daemon, "text_fast")["running"] == 1).then_some(())
    });
    let refused = post(&daemon, "/translate", &endless);
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"));
    assert_eq!(refused.detail(), "Too much is waiting");
    let batch = post(&daemon, "/translate/batch", &json!([endless]));
    assert_eq!(batch.status, 429, "{batch:?}");
    // Questions need no turn.
    let detected = post(&daemon, "/detect-language", &json!({"text": "Hello."}));
    assert_eq!(detected.status, 200);

    drop(client);
    wait_for("a free place", || {
        (lane(&daemon, "text_fast")["running"] == 0).then_some(())
    });
    let french =
        json!({"text": "Hello my friend.", "source_language": "en", "target_language": "fr"});
    let answer = post(&daemon, "/translate", &french);
    assert_eq!(
        answer.body["translated_text"], "Bonjour mon ami.",
        "{answer:?}"
    );
}

#[test]
fn what_takes_too_long_is_given_up() {
    let (daemon, _file) = occupied("[http]\nrequest_timeout_secs = 1\n");
    let endless = json!({"text": "Hello.", "source_language": "en", "target_language": "es"});
    let answer = post(&daemon, "/translate", &endless);
    assert_eq!((answer.status, answer.detail()), (504, "It took too long"));
    wait_for("a free place", || {
        (lane(&daemon, "text_fast")["running"] == 0).then_some(())
    });
}

#[test]
fn without_models_the_answer_is_that_they_are_missing() {
    let models = tempfile::tempdir().unwrap();
    let daemon = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    daemon.wait_loaded();
    let request = json!({"text": "Hello.", "source_language": "en", "target_language": "fr"});
    let answer = post(&daemon, "/translate", &request);
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, "5"),
        "{answer:?}"
    );
    assert!(answer.detail().contains("not loaded"), "{answer:?}");
    let batch = post(&daemon, "/translate/batch", &json!([request]));
    assert_eq!(batch.status, 200);
    assert_eq!(batch.body[0]["translated_text"], "Hello.");
    assert!(
        batch.body[0]["error"]
            .as_str()
            .unwrap()
            .contains("not loaded")
    );
    let ready = daemon.call("GET", "/ready");
    assert_eq!(ready.0, 503);
    let languages = daemon.get_json("/languages");
    assert_eq!(
        languages,
        json!({"transcription": [], "translation": [], "speech": []})
    );
    assert_eq!(daemon.get_json("/models"), json!({"models": []}));
}

#[test]
fn texts_are_answered_while_recordings_take_all_they_can() {
    use crate::support::gateway::Gateway;
    use crate::support::voice_message::VoiceMessage;
    let settings = settings_file("[jobs]\nmax_concurrent_audio = 2\n");
    let environment = [
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "transcribe:pause"),
    ];
    let daemon = Daemon::start_with(&environment);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    for name in ["a", "b", "c", "d"] {
        VoiceMessage::named(name).send(&mut gateway, &["fr"]);
    }
    wait_for("recordings at work", || {
        let audio = lane(&daemon, "audio");
        (audio["running"] == 2 && audio["waiting"] == 2).then_some(())
    });
    let request =
        json!({"text": "Hello my friend.", "source_language": "en", "target_language": "fr"});
    let answer = post(&daemon, "/translate", &request);
    assert_eq!(
        answer.body["translated_text"], "Bonjour mon ami.",
        "{answer:?}"
    );
}
