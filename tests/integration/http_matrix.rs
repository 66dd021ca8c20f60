//! Every route in every situation: it succeeds, is sent what is wrong, is sent too much, has no models, is shown a wrong
//! token. The routes are those of `/openapi.json`: one that is missing in the table fails the test.

mod table;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::forms::{Form, get, job_when, post, post_async, send};
use crate::support::{recordings, wait_for};
use table::{Cell, Job, Names, Request, Row, Token};

const TOKEN: &str = "0123456789abcdef-of-clients";
const ADMIN_TOKEN: &str = "0123456789abcdef-of-operators";

/// A daemon with everything that the requests of the table are about.
fn inhabited() -> (Daemon, Names) {
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_ADMIN_TOKEN", ADMIN_TOKEN),
        ("AUDIO_MAX_SIZE_MB", "1"),
        ("VOICE_MIN_DURATION_MS", "3000"),
        (
            "TRANSLATOR_FAULT",
            "decode@endless:pause;decode@failing:fail",
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

fn check(daemon: &Daemon, row: &Row, situation: &str, cell: &Cell, token: Option<&str>) {
    let (method, route) = (row.method, row.route);
    match cell {
        Cell::Case(request, expected) => {
            let status = status(daemon, method, request, token);
            assert_eq!(status, *expected, "{method} {route}: {situation}");
        }
        Cell::Never(why) => assert!(!why.is_empty(), "{method} {route}: {situation}"),
    }
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
    for row in &rows {
        let token = (row.token == Token::Operator).then_some(ADMIN_TOKEN);
        check(&daemon, row, "bad input", &row.bad_input, token);
        check(&daemon, row, "limits", &row.limits, token);
        check(&daemon, row, "success", &row.success, token);
    }
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
    for row in &table::rows(&Names::of_nothing()) {
        let (right, wrong) = match row.token {
            Token::Nobodys => (None, None),
            Token::Clients => (Some(TOKEN), Some(ADMIN_TOKEN)),
            Token::Operator => (Some(ADMIN_TOKEN), Some(TOKEN)),
        };
        check(&bare, row, "not ready", &row.not_ready, right);
        let Cell::Case(request, _) = &row.success else {
            panic!("{} {} never succeeds", row.method, row.route);
        };
        for token in [None, Some("0123456789abcdef-of-nobody"), wrong] {
            let status = status(&bare, row.method, request, token);
            let is_refused = status == 401;
            let expected = row.token != Token::Nobodys;
            assert_eq!(
                is_refused, expected,
                "{} {}: {status}",
                row.method, row.route
            );
        }
    }
}
