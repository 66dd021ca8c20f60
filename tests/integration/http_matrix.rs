//! Every route in every situation: it succeeds, is sent what is wrong, is sent too much, has no models, is shown a wrong
//! token. The routes are those of `/openapi.json`: one that is missing in the table fails the test.

mod table;
mod voice_api;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::forms::{Form, get, job_when, post, post_async, send};
use crate::support::{recordings, wait_for};
use table::{Cell, Job, Names, Request, Row, Token};

const TOKEN: &str = "0123456789abcdef-of-clients";
const ADMIN_TOKEN: &str = "0123456789abcdef-of-operators";

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A daemon with everything that the requests of the table are about.
fn inhabited() -> (Daemon, Names) {
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_ADMIN_TOKEN", ADMIN_TOKEN),
        ("AUDIO_MAX_SIZE_MB", "1"),
        ("VOICE_MIN_DURATION_MS", "3000"),
        (
            "TRANSLATOR_FAULT",
            "decode@endless:pause;decode@failing:fail;synthesize.it:pause",
        ),
    ]);
    for user in table::USERS {
        let form = Form::of(&[("user_id", user), ("target_language", "fr")])
            .file("audio", &recordings::bundled());
        let spoken = post(&daemon, "/v1/voice-message", &form);
        assert_eq!(spoken.status, 200, "{}", spoken.text());
    }
    let spoken = post(&daemon, "/audio/tts", &Form::of(&[("text", "Hello.")]));
    assert_eq!(spoken.status, 200, "{}", spoken.text());
    let done = job(&daemon, spoken.header("x-job-id").to_owned());
    let result = get(&daemon, &format!("/jobs/{}", done.id)).json();
    let url = result["result"]["audio_url"].as_str().unwrap();
    let names = Names {
        endless: ["endless-1", "endless-2"].map(|name| message(&daemon, name, "running")),
        failed: message(&daemon, "failing", "failed"),
        done,
        endless_translation: translation_job(&daemon, "it", "processing"),
        translated_job: translation_job(&daemon, "fr", "completed"),
        translation: translation(&daemon),
        speech_path: url.strip_prefix("/outputs/audio/").unwrap().to_owned(),
        speech_name: url.rsplit('/').next().unwrap().to_owned(),
    };
    (daemon, names)
}

/// The job of a message with that name, once it stands so.
fn message(daemon: &Daemon, name: &str, status: &str) -> Job {
    let form = Form::of(&[
        ("sender_id", "sender"),
        ("conversation_id", "conversation"),
        ("message_id", name),
    ]);
    let form = form.file("audio", &recordings::bundled());
    let accepted = post_async(daemon, "/audio/process-message", &form).json();
    let id = accepted["id"].as_str().unwrap().to_owned();
    job_when(daemon, &id, status, |job| job["status"] == status);
    job(daemon, id)
}

/// A translation of the voice API as a job, once it stands so.
fn translation_job(daemon: &Daemon, language: &str, status: &str) -> String {
    let path = "/api/v1/voice/translate/async";
    let body = translated(language).to_string();
    let accepted = send(daemon, "POST", path, &JSON, body.as_bytes()).json();
    let id = accepted["job_id"].as_str().unwrap().to_owned();
    wait_for(status, || {
        let job = get(daemon, &format!("/api/v1/voice/job/{id}")).json();
        (job["status"] == status).then_some(())
    });
    id
}

/// A translation in the history of the user `vic`.
fn translation(daemon: &Daemon) -> String {
    let body = translated("fr").to_string();
    let path = "/api/v1/voice/translate";
    let answer = send(daemon, "POST", path, &JSON, body.as_bytes()).json();
    answer["translation_id"].as_str().unwrap().to_owned()
}

fn translated(language: &str) -> Value {
    let recording = STANDARD.encode(recordings::bundled());
    json!({"audio_base64": recording, "target_languages": [language], "user_id": "vic"})
}

/// The job of that name.
fn job(daemon: &Daemon, id: String) -> Job {
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let path = format!("/admin/jobs?task={id}");
    let headers = [("authorization", &*authorization)];
    let page = send(daemon, "GET", &path, &headers, &[]).json();
    let number = page["jobs"][0]["id"].as_i64().unwrap();
    Job { id, number }
}

/// The status that a request is answered with. Its body is not read: a stream would not end.
fn status(daemon: &Daemon, method: &str, request: &Request, token: Option<&str>) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_recv_response(Some(crate::support::PATIENCE))
        .build()
        .into();
    let url = format!("http://127.0.0.1:{}{}", daemon.ports.http, request.path);
    let mut asked = ureq::http::Request::builder().method(method).uri(url);
    if let Some(kind) = &request.content_type {
        asked = asked.header("content-type", kind);
    }
    if let Some(token) = token {
        asked = asked.header("authorization", format!("Bearer {token}"));
    }
    let answer = if request.body.is_empty() {
        agent.run(asked.body(()).unwrap())
    } else {
        agent.run(asked.body(&request.body[..]).unwrap())
    };
    answer.unwrap().status().as_u16()
}

/// The methods and paths that the description has.
fn described(daemon: &Daemon) -> BTreeSet<(String, String)> {
    let document = daemon.get_json("/openapi.json");
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// What is wrong about the answer in that situation.
fn check(
    daemon: &Daemon,
    row: &Row,
    situation: &str,
    cell: &Cell,
    token: Option<&str>,
) -> Option<String> {
    let (request, expected) = match cell {
        Cell::Case(request, expected) => (request, expected),
        Cell::Never(why) => {
            assert!(!why.is_empty(), "nobody says why");
            return None;
        }
    };
    let status = status(daemon, row.method, request, token);
    let told = format!(
        "{} {}, {situation}: {status} for {expected}",
        row.method, row.route
    );
    (status != *expected).then_some(told)
}

#[test]
fn every_route_is_tried_in_every_situation() {
    let (daemon, names) = inhabited();
    let rows = table::rows(&names);
    let tabled = rows
        .iter()
        .map(|row| (row.method.to_owned(), row.route.to_owned()));
    let tabled: BTreeSet<(String, String)> = tabled.collect();
    assert_eq!(tabled.len(), rows.len(), "a route is in the table twice");
    let described = described(&daemon);
    let untried: Vec<_> = described.difference(&tabled).collect();
    assert!(
        untried.is_empty(),
        "tests/integration/http_matrix/table.rs has no row for {untried:?}"
    );
    let unknown: Vec<_> = tabled.difference(&described).collect();
    assert!(unknown.is_empty(), "nobody serves {unknown:?}");
    let mut wrong = Vec::new();
    for row in &rows {
        let token = (row.token == Token::Operator).then_some(ADMIN_TOKEN);
        wrong.extend(check(&daemon, row, "bad input", &row.bad_input, token));
        wrong.extend(check(&daemon, row, "limits", &row.limits, token));
        wrong.extend(check(&daemon, row, "success", &row.success, token));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_route_without_models_or_with_a_wrong_token() {
    let models = tempfile::tempdir().unwrap();
    let bare = Daemon::launch(&[
        ("MODELS_PATH", models.path().to_str().unwrap()),
        ("TRANSLATOR_HTTP_TOKEN", TOKEN),
        ("TRANSLATOR_ADMIN_TOKEN", ADMIN_TOKEN),
    ]);
    bare.wait_loaded();
    wait_for("sockets", || {
        let ready: Value = bare.call("GET", "/ready").1;
        (ready["detail"]["zmq_ready"] == true).then_some(())
    });
    let mut wrong = Vec::new();
    for row in &table::rows(&Names::of_nothing()) {
        let (right, others) = match row.token {
            Token::Nobodys => (None, None),
            Token::Clients => (Some(TOKEN), Some(ADMIN_TOKEN)),
            Token::Operator => (Some(ADMIN_TOKEN), Some(TOKEN)),
        };
        wrong.extend(check(&bare, row, "not ready", &row.not_ready, right));
        let Cell::Case(request, _) = &row.success else {
            panic!("{} {} never succeeds", row.method, row.route);
        };
        for token in [None, Some("0123456789abcdef-of-nobody"), others] {
            let status = status(&bare, row.method, request, token);
            let is_refused = status == 401;
            if is_refused != (row.token != Token::Nobodys) {
                wrong.push(format!("{} {}, {token:?}: {status}", row.method, row.route));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
