//! What all of HTTP has in common: tokens, ids of requests, other origins, paths that are none, connections, the
//! description of it all.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{ask, connect, exchange, get, post};
use crate::support::{settings_file, wait_for};

const TOKEN: &str = "0123456789abcdef-of-clients";
const ADMIN_TOKEN: &str = "0123456789abcdef-of-operators";

/// A route of the description.
struct Described {
    method: String,
    /// With something in the place of what varies.
    path: String,
    /// Which token it asks for, if any.
    token: Option<String>,
}

/// What the daemon says that it serves.
fn described(daemon: &Daemon) -> Vec<Described> {
    let document = daemon.get_json("/openapi.json");
    let mut described = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled = path.split('/').map(|step| match step.starts_with('{') {
            true => "7",
            false => step,
        });
        let filled: Vec<&str> = filled.collect();
        for (method, operation) in operations.as_object().unwrap() {
            let schemes = operation["security"].as_array().into_iter().flatten();
            let names = schemes.flat_map(|scheme| scheme.as_object().unwrap().keys());
            described.push(Described {
                method: method.to_uppercase(),
                path: filled.join("/"),
                token: names.last().cloned(),
            });
        }
    }
    assert!(described.len() > 40, "{}", described.len());
    described
}

#[test]
fn everything_but_probes_and_documents_needs_the_token() {
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_HTTP_TOKEN", TOKEN),
        ("TRANSLATOR_ADMIN_TOKEN", ADMIN_TOKEN),
    ]);
    for path in [
        "/live",
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
    ] {
        assert_eq!(get(&daemon, path).status, 200, "{path}");
    }
    let right = format!("Bearer {TOKEN}");
    for operation in described(&daemon) {
        let (method, path) = (&*operation.method, &*operation.path);
        if operation.token.is_none() {
            continue;
        }
        for authorization in [
            None,
            Some("Bearer 0123456789abcdef-of-nobody"),
            Some("Basic x"),
        ] {
            let headers: Vec<(&str, &str)> = authorization
                .map(|value| ("authorization", value))
                .into_iter()
                .collect();
            let answer = ask(&daemon, method, path, &headers, &[]);
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(answer.detail().ends_with("token is missing or wrong"));
        }
        // The token of operators is another one. A stream of all jobs would not end.
        let is_refused = operation.token.as_deref() == Some("admin_token");
        if path != "/jobs/events" {
            let answer = ask(&daemon, method, path, &[("authorization", &right)], &[]);
            assert_eq!(answer.status == 401, is_refused, "{method} {path}");
        }
    }
    assert_eq!(get(&daemon, "/nowhere").status, 404);
    assert!(!daemon.log().contains(TOKEN));
}

#[test]
fn operators_have_a_token_of_their_own_or_nobody_asks() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_HTTP_TOKEN", TOKEN)]);
    let right = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*right)];
    assert_eq!(
        ask(&daemon, "GET", "/admin/jobs", &headers, &[]).status,
        403
    );
}

#[test]
fn only_methods_that_are_described_are_served() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let admin = format!("Bearer {ADMIN_TOKEN}");
    let routes = described(&daemon);
    for route in &routes {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            let is_described = routes
                .iter()
                .any(|other| other.path == route.path && other.method == method);
            if !is_described {
                let path = &route.path;
                let answer = ask(&daemon, method, path, &[("authorization", &admin)], &[]);
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(answer.header("allow").contains(&route.method), "{path}");
            }
        }
    }
}

#[test]
fn every_answer_names_its_request() {
    let daemon = Daemon::start_with(&[("LOG_LEVEL", "debug")]);
    let given = |id: &str| {
        let answer = ask(&daemon, "GET", "/live", &[("x-request-id", id)], &[]);
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(given("mine/7"), "mine/7");
    let long = "a".repeat(129);
    for id in ["two words", &long] {
        let made = given(id);
        assert!(uuid::Uuid::parse_str(&made).is_ok(), "{made}");
    }
    let wrong = ask(&daemon, "PUT", "/live", &[], &[]);
    for answer in [get(&daemon, "/live"), get(&daemon, "/nowhere"), wrong] {
        let id = answer.header("x-request-id");
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{answer:?}");
        daemon.wait_logged(id);
    }
    daemon.wait_logged("mine/7");
    assert!(daemon.metric("translator_http_request_duration_seconds_count", &["/live"]) >= 4.0);
}

#[test]
fn pages_of_other_origins_may_ask() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_HTTP_TOKEN", TOKEN)]);
    let headers = [
        ("origin", "http://console.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let answer = ask(&daemon, "OPTIONS", "/translate", &headers, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let allowed = answer.header("access-control-allow-headers").to_owned();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"));
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("DELETE")
    );
    // Errors too, or a page could not tell why.
    let refused = ask(&daemon, "GET", "/languages", &headers[..1], &[]);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), "*");
}

#[test]
fn what_is_not_there_is_told_as_json() {
    let daemon = Daemon::start();
    let missing = get(&daemon, "/nowhere/at/all");
    assert_eq!((missing.status, missing.detail()), (404, "Not Found"));
    for (method, path) in [
        ("DELETE", "/live"),
        ("GET", "/translate"),
        ("PUT", "/audio/voice-models"),
    ] {
        let answer = ask(&daemon, method, path, &[], &[]);
        assert_eq!(
            (answer.status, answer.detail()),
            (405, "Method Not Allowed"),
            "{path}"
        );
        assert!(!answer.header("allow").is_empty(), "{path}");
    }
    assert_eq!(ask(&daemon, "HEAD", "/live", &[], &[]).status, 200);
}

#[test]
fn who_is_refused_with_a_body_is_told_that_the_connection_ends() {
    let daemon = Daemon::start();
    let body = "x".repeat(40_000);
    let headers = [("content-type", "text/plain")];
    for (method, path, status) in [
        ("PATCH", "/translate", 405),
        ("POST", "/nowhere", 404),
        ("POST", "/translate", 415),
    ] {
        let answer = ask(&daemon, method, path, &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("connection"), "close", "{method} {path}");
    }
    assert_eq!(get(&daemon, "/nowhere").header("connection"), "");
}

#[test]
fn connections_are_counted_and_broken_ones_are_ended() {
    let file = settings_file("[http]\nmax_connections = 8\n");
    let daemon = Daemon::start_with(&[("TRANSLATOR_CONFIG", file.path().to_str().unwrap())]);
    // What is no request is answered, and the connection ends.
    for bytes in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET / HTTP/9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
    ] {
        let answer = exchange(connect(&daemon), bytes);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    }
    let many: String = (0..200).map(|i| format!("x-{i}: a\r\n")).collect();
    let answer = exchange(
        connect(&daemon),
        format!("GET /live HTTP/1.1\r\n{many}\r\n").as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");

    // Eight that say nothing leave no place for a ninth, until one of them goes.
    let with_a_place = || {
        // Answered once, it surely has its place. Earlier connections may take a moment to give theirs back.
        let mut stream = connect(&daemon);
        stream
            .write_all(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
            .ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"HTTP/1.1 200").then_some(stream)
    };
    let mut silent: Vec<_> = (0..8).map(|_| wait_for("a place", with_a_place)).collect();
    let mut refused = connect(&daemon);
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.ends_with("{\"detail\":\"Too many connections\"}"),
        "{answer}"
    );
    silent.pop();
    daemon.wait_ready();
}

#[test]
fn the_description_is_that_of_the_repository_and_of_the_command() {
    let daemon = Daemon::start();
    let served = get(&daemon, "/openapi.json");
    assert_eq!(served.header("content-type"), "application/json");
    let printed = assert_cmd::Command::new(env!("CARGO_BIN_EXE_translator"))
        .arg("openapi")
        .env_clear()
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let document: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(served.body, document);
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == printed,
        "docs/openapi.json is not what the code says: translator openapi >docs/openapi.json"
    );
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            ids.push(operation["operationId"].as_str().unwrap());
            assert!(operation["summary"].is_string(), "{path}");
        }
    }
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "an operation id is given twice");
}

#[test]
fn the_viewer_needs_nothing_from_elsewhere() {
    let daemon = Daemon::start();
    let page = get(&daemon, "/docs");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let html = page.body.as_str().unwrap();
    assert!(html.contains("fetch(\"openapi.json\")"));
    for elsewhere in ["http://", "https://", "src=", "@import"] {
        assert!(!html.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn what_is_installed_and_what_waits_can_be_asked_for() {
    let daemon = Daemon::start();
    let languages = daemon.get_json("/languages");
    let heard = languages["transcription"].as_array().unwrap();
    assert!(heard.contains(&json!("fr")) && heard.contains(&json!("en")));
    let ways = languages["translation"].as_array().unwrap();
    assert!(ways.contains(&json!({"source": "en", "target": "fr", "via": null})));
    assert!(ways.iter().any(|way| way["via"] == "en"), "{ways:?}");
    let speech = languages["speech"].as_array().unwrap();
    assert!(speech.contains(&json!({"language": "fr", "voice": "cloned"})));
    let by_use = daemon.get_json("/api/v1/voice/languages");
    assert_eq!(by_use["transcription"], languages["transcription"]);
    for key in ["translation", "tts", "voice_cloning"] {
        assert!(
            by_use[key].as_array().unwrap().contains(&json!("fr")),
            "{key}"
        );
    }

    let models = daemon.get_json("/models");
    let models = models["models"].as_array().unwrap();
    let whisper = models
        .iter()
        .find(|model| model["kind"] == "whisper")
        .unwrap();
    assert_eq!(
        (&whisper["status"], &whisper["device"]),
        (&json!("ready"), &json!("cpu"))
    );
    assert!(whisper["size_bytes"].as_u64().unwrap() > 0);
    let marian = models
        .iter()
        .find(|model| model["kind"] == "marian")
        .unwrap();
    assert!(marian["languages"].as_array().unwrap().len() >= 2);

    let queues = daemon.get_json("/queues");
    let lanes = queues["lanes"].as_array().unwrap();
    let names: Vec<&str> = lanes
        .iter()
        .map(|lane| lane["lane"].as_str().unwrap())
        .collect();
    for name in [
        "text_fast",
        "text_normal",
        "audio",
        "audio_low",
        "analysis",
        "query",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let idle = |lane: &Value| lane["waiting"] == 0 && lane["running"] == 0 && lane["bytes"] == 0;
    assert!(lanes.iter().all(idle), "{queues}");
    let engines = queues["engines"].as_array().unwrap();
    assert!(
        engines.iter().all(|engine| engine["status"] == "ready"),
        "{queues}"
    );
}

#[test]
fn languages_are_shown_on_the_command_line() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_HTTP_TOKEN", TOKEN)]);
    let run = |arguments: &[&str], token: &str| {
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_translator"))
            .args(arguments)
            .env_clear()
            .env("HTTP_PORT", daemon.ports.http.to_string())
            .env("TRANSLATOR_HTTP_TOKEN", token)
            .output()
            .unwrap()
    };
    let shown = run(&["languages"], TOKEN);
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("translated  en \u{2192} "), "{shown}");
    assert!(shown.contains("(via en)"), "{shown}");
    let json = run(&["languages", "--json"], TOKEN);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let headers = [("authorization", &*format!("Bearer {TOKEN}"))];
    let asked = ask(&daemon, "GET", "/languages", &headers, &[]);
    assert_eq!(json, asked.body);
    let wrong = run(&["languages"], "0123456789abcdef-of-nobody");
    assert_eq!(wrong.status.code(), Some(1));
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(told.contains("401"), "{told}");
    let voices = run(&["voices", "list", "--json"], TOKEN);
    assert!(voices.status.success(), "{voices:?}");
}

#[test]
fn panics_are_told_without_what_they_say() {
    // Nothing in a handler panics on demand: the engine does, and the answer is still an answer.
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "translate.fr:panic")]);
    let request = json!({"text": "quokka", "source_language": "en", "target_language": "fr"});
    let answer = post(&daemon, "/translate", &request);
    assert_eq!(
        (answer.status, answer.detail()),
        (500, "Internal server error")
    );
    assert!(!answer.header("x-request-id").is_empty());
    assert!(!daemon.log().contains("quokka"));
    assert_eq!(get(&daemon, "/live").status, 200);
}
