//! The table: what each route is asked in each situation, and the status of the answer, or why there is no such
//! situation.

use serde_json::{Value, json};

use super::voice_api;
use crate::support::forms::Form;
use crate::support::recordings;

/// Users whose voice is there, made from messages: the first stays, the others are deleted.
pub const USERS: [&str; 3] = ["ann", "bob", "eve"];

/// What the requests are about.
pub struct Names {
    /// Jobs that are at work for ever, each for one row.
    pub endless: [Job; 2],
    pub failed: Job,
    pub done: Job,
    /// Translations of the voice API that are jobs: one that is at work for ever, and one that is done.
    pub endless_translation: String,
    pub translated_job: String,
    /// A translation in somebody's history.
    pub translation: String,
    /// A speech file below `/outputs/audio`.
    pub speech_path: String,
    pub speech_name: String,
}

/// A job as clients and as operators know it.
pub struct Job {
    pub id: String,
    pub number: i64,
}

impl Names {
    /// Names of what is not there.
    pub fn of_nothing() -> Self {
        let job = || Job {
            id: "nothing".to_owned(),
            number: 7,
        };
        Self {
            endless: [job(), job()],
            failed: job(),
            done: job(),
            endless_translation: "nothing".to_owned(),
            translated_job: "nothing".to_owned(),
            translation: "nothing".to_owned(),
            speech_path: "translated/2026/01/nothing.mp3".to_owned(),
            speech_name: "nothing.mp3".to_owned(),
        }
    }
}

pub struct Row {
    pub method: &'static str,
    pub route: &'static str,
    pub token: Token,
    pub success: Cell,
    pub bad_input: Cell,
    pub limits: Cell,
    /// There are no models.
    pub not_ready: Cell,
}

/// Which token a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Nobodys,
    Clients,
    Operator,
}

pub enum Cell {
    /// A request, and the status that it is answered with.
    Case(Request, u16),
    /// Why there is no such situation.
    Never(&'static str),
}

use Cell::{Case, Never};

pub struct Request {
    pub path: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

pub const TAKES_NOTHING: Cell = Never("it takes nothing that could be wrong or too much");
pub const NEEDS_NO_MODEL: Cell = Never("it is about what is kept, which no model is needed for");

/// All rows. Those of new routes go into a function of their own.
pub fn rows(names: &Names) -> Vec<Row> {
    let mut rows = probes();
    rows.extend(texts());
    for prefix in ["", "/v1"] {
        rows.extend(recordings_of(prefix));
        rows.extend(voices(prefix));
        rows.extend(files(prefix, names));
    }
    rows.extend(later_api());
    rows.extend(catalogue());
    rows.extend(jobs(names));
    rows.extend(voice_api::rows(names));
    rows.extend(admin(names));
    rows
}

fn probes() -> Vec<Row> {
    let probe = |route, not_ready| Row {
        method: "GET",
        route,
        token: Token::Nobodys,
        success: ask(route, 200),
        bad_input: TAKES_NOTHING,
        limits: TAKES_NOTHING,
        not_ready: ask(route, not_ready),
    };
    vec![
        probe("/live", 200),
        probe("/health", 200),
        probe("/ready", 503),
        probe("/metrics", 200),
    ]
}

fn catalogue() -> Vec<Row> {
    let of = |route| Row {
        method: "GET",
        route,
        token: Token::Clients,
        success: ask(route, 200),
        bad_input: TAKES_NOTHING,
        limits: TAKES_NOTHING,
        not_ready: ask(route, 200),
    };
    vec![
        of("/languages"),
        of("/api/v1/voice/languages"),
        of("/models"),
        of("/queues"),
        of("/v1/audio/stats"),
    ]
}

fn texts() -> Vec<Row> {
    let text =
        || json!({"text": "Hello my friend.", "source_language": "en", "target_language": "fr"});
    let large = |route| {
        Case(
            sent(route, "application/json", vec![b' '; (2 << 20) + 1]),
            413,
        )
    };
    let batch = "/translate/batch";
    let detect = "/detect-language";
    vec![
        Row {
            method: "POST",
            route: "/translate",
            token: Token::Clients,
            success: of_json("/translate", &text(), 200),
            bad_input: of_json("/translate", &json!({"text": 7}), 422),
            limits: large("/translate"),
            not_ready: of_json("/translate", &text(), 503),
        },
        Row {
            method: "POST",
            route: batch,
            token: Token::Clients,
            success: of_json(batch, &json!([text()]), 200),
            bad_input: of_json(batch, &json!([{"text": "Hello."}]), 422),
            limits: of_json(batch, &json!(vec![text(); 11]), 422),
            // Each text says that it stayed as it was.
            not_ready: of_json(batch, &json!([text()]), 200),
        },
        Row {
            method: "POST",
            route: detect,
            token: Token::Clients,
            success: of_json(detect, &json!({"text": "Hello."}), 200),
            bad_input: of_json(detect, &json!({}), 422),
            limits: of_json(detect, &json!({"text": "a".repeat(10_001)}), 422),
            // It needs no model.
            not_ready: of_json(detect, &json!({"text": "Hello."}), 200),
        },
    ]
}

/// What is served under `/audio`, and under `/v1/audio` too.
fn recordings_of(prefix: &'static str) -> Vec<Row> {
    let message = || {
        Form::of(&[
            ("sender_id", "sender"),
            ("conversation_id", "conversation"),
            ("target_languages", "fr"),
        ])
    };
    let recording = || Form::default().file("audio", &recordings::bundled());
    let process = route(
        prefix,
        ["/audio/process-message", "/v1/audio/process-message"],
    );
    let transcribe = route(prefix, ["/audio/transcribe", "/v1/audio/transcribe"]);
    let tts = route(prefix, ["/audio/tts", "/v1/audio/tts"]);
    vec![
        upload(
            process,
            &message().file("audio", &recordings::bundled()),
            &recording(),
            "audio",
        ),
        upload(
            transcribe,
            &recording(),
            &recording().field("language", "??"),
            "audio",
        ),
        spoken(tts),
    ]
}

/// What only the later API has.
fn later_api() -> Vec<Row> {
    let recording = || Form::default().file("audio", &recordings::bundled());
    let transcriptions = || Form::default().file("file", &recordings::bundled());
    let message = || recording().field("user_id", "user");
    let speech = "/v1/audio/speech";
    let text = |characters: usize| json!({"input": "a ".repeat(characters / 2), "language": "en"});
    vec![
        upload(
            "/v1/audio/transcriptions",
            &transcriptions(),
            &transcriptions().field("response_format", "html"),
            "file",
        ),
        upload("/v1/register-voice", &message(), &recording(), "audio"),
        upload(
            "/v1/voice-message",
            &message().field("target_language", "fr"),
            &message(),
            "audio",
        ),
        spoken("/v1/tts"),
        Row {
            method: "POST",
            route: speech,
            token: Token::Clients,
            success: of_json(speech, &text(10), 200),
            bad_input: of_json(speech, &json!({"voice": "alloy"}), 422),
            limits: of_json(speech, &text(10_002), 413),
            not_ready: of_json(speech, &text(10), 503),
        },
    ]
}

fn upload(route: &'static str, right: &Form, wrong: &Form, file: &str) -> Row {
    let large = Form::default().file(file, &vec![7; (1 << 20) + 1]);
    Row {
        method: "POST",
        route,
        token: Token::Clients,
        success: of_form(route, right, 200),
        bad_input: of_form(route, wrong, 422),
        limits: of_form(route, &large, 413),
        not_ready: of_form(route, right, 503),
    }
}

fn spoken(route: &'static str) -> Row {
    let text = |text: &str| Form::of(&[("text", text)]);
    Row {
        method: "POST",
        route,
        token: Token::Clients,
        success: of_form(route, &text("Hello."), 200),
        bad_input: of_form(route, &text("Hello.").field("language", "??"), 422),
        limits: of_form(route, &text(&"a ".repeat(5_001)), 413),
        not_ready: of_form(route, &text("Hello."), 503),
    }
}

fn voices(prefix: &'static str) -> Vec<Row> {
    const ROUTES: [[&str; 3]; 2] = [
        [
            "/audio/voice-models",
            "/audio/voice-models/{user_id}",
            "/audio/voice-models/{user_id}/recalibrate",
        ],
        [
            "/v1/audio/voice-models",
            "/v1/audio/voice-models/{user_id}",
            "/v1/audio/voice-models/{user_id}/recalibrate",
        ],
    ];
    let is_later = usize::from(!prefix.is_empty());
    let [list, of_user, recalibrate] = ROUTES[is_later];
    let [kept, deleted] = [USERS[0], USERS[1 + is_later]];
    let long = "u".repeat(513);
    let unreadable = "%ff";
    let ask = |user: &str, rest: &str, status| ask(format!("{list}/{user}{rest}"), status);
    vec![
        Row {
            method: "GET",
            route: list,
            token: Token::Clients,
            success: self::ask(list, 200),
            bad_input: self::ask(format!("{list}?limit=few"), 400),
            // More than a page has is a page.
            limits: self::ask(format!("{list}?limit=100000000"), 200),
            not_ready: self::ask(list, 200),
        },
        Row {
            method: "GET",
            route: of_user,
            token: Token::Clients,
            success: ask(kept, "", 200),
            bad_input: ask(unreadable, "", 400),
            limits: ask(&long, "", 400),
            not_ready: NEEDS_NO_MODEL,
        },
        Row {
            method: "POST",
            route: recalibrate,
            token: Token::Clients,
            success: ask(kept, "/recalibrate", 200),
            bad_input: ask("nobody", "/recalibrate", 400),
            limits: ask(&long, "/recalibrate", 400),
            // There are no recordings to make it from, which is told first.
            not_ready: ask(kept, "/recalibrate", 400),
        },
        Row {
            method: "DELETE",
            route: of_user,
            token: Token::Clients,
            success: ask(deleted, "", 200),
            bad_input: ask(unreadable, "", 400),
            limits: ask(&long, "", 400),
            not_ready: NEEDS_NO_MODEL,
        },
    ]
}

fn files(prefix: &'static str, names: &Names) -> Vec<Row> {
    let long = "a".repeat(5_000);
    let of = |route, begin: &str, file: &str| Row {
        method: "GET",
        route,
        token: Token::Clients,
        success: ask(format!("{begin}/{file}"), 200),
        bad_input: ask(format!("{begin}/%ff"), 400),
        limits: ask(format!("{begin}/{long}"), 404),
        not_ready: NEEDS_NO_MODEL,
    };
    let mut files = vec![of(
        route(prefix, ["/audio/{file}", "/v1/audio/{file}"]),
        &format!("{prefix}/audio"),
        &names.speech_name,
    )];
    if prefix.is_empty() {
        files.push(of(
            "/outputs/audio/{path}",
            "/outputs/audio",
            &names.speech_path,
        ));
    }
    files
}

fn jobs(names: &Names) -> Vec<Row> {
    let long = "a".repeat(5_000);
    let of_job = |method, route, rest: &str, success: &Job, status| Row {
        method,
        route,
        token: Token::Clients,
        success: ask(format!("/jobs/{}{rest}", success.id), status),
        bad_input: ask(format!("/jobs/%ff{rest}"), 400),
        limits: ask(format!("/jobs/{long}{rest}"), 404),
        not_ready: NEEDS_NO_MODEL,
    };
    vec![
        Row {
            method: "GET",
            route: "/jobs",
            token: Token::Clients,
            success: ask("/jobs", 200),
            bad_input: ask("/jobs?limit=few", 400),
            // More than a page has is a page.
            limits: ask("/jobs?limit=1000000", 200),
            not_ready: ask("/jobs", 200),
        },
        Row {
            method: "GET",
            route: "/jobs/events",
            token: Token::Clients,
            success: ask("/jobs/events", 200),
            bad_input: TAKES_NOTHING,
            limits: TAKES_NOTHING,
            not_ready: ask("/jobs/events", 200),
        },
        of_job("GET", "/jobs/{id}", "", &names.done, 200),
        of_job("GET", "/jobs/{id}/events", "/events", &names.done, 200),
        of_job("DELETE", "/jobs/{id}", "", &names.endless[0], 200),
    ]
}

fn admin(names: &Names) -> Vec<Row> {
    let of_job = |method, route, rest: &str, job: &Job| Row {
        method,
        route,
        token: Token::Operator,
        success: ask(format!("/admin/jobs/{}{rest}", job.number), 200),
        bad_input: ask(format!("/admin/jobs/seven{rest}"), 400),
        limits: ask(format!("/admin/jobs/99999999999999999999{rest}"), 400),
        not_ready: NEEDS_NO_MODEL,
    };
    let purge = "/admin/jobs?state=done&older_than_hours";
    vec![
        Row {
            method: "GET",
            route: "/admin/jobs",
            token: Token::Operator,
            success: ask("/admin/jobs", 200),
            bad_input: ask("/admin/jobs?state=odd", 400),
            // More than a page has is a page.
            limits: ask("/admin/jobs?limit=1000000", 200),
            not_ready: ask("/admin/jobs", 200),
        },
        Row {
            method: "DELETE",
            route: "/admin/jobs",
            token: Token::Operator,
            success: ask(format!("{purge}=24"), 200),
            bad_input: ask("/admin/jobs", 400),
            limits: ask(format!("{purge}=99999999999"), 400),
            not_ready: ask(format!("{purge}=24"), 200),
        },
        of_job("GET", "/admin/jobs/{id}", "", &names.done),
        of_job("POST", "/admin/jobs/{id}/retry", "/retry", &names.failed),
        of_job(
            "POST",
            "/admin/jobs/{id}/cancel",
            "/cancel",
            &names.endless[1],
        ),
        of_job("DELETE", "/admin/jobs/{id}", "", &names.done),
    ]
}

/// The route without or with `/v1`.
fn route(prefix: &str, [plain, later]: [&'static str; 2]) -> &'static str {
    if prefix.is_empty() { plain } else { later }
}

pub fn ask(path: impl Into<String>, status: u16) -> Cell {
    let request = Request {
        path: path.into(),
        content_type: None,
        body: Vec::new(),
    };
    Case(request, status)
}

pub fn of_json(path: &str, body: &Value, status: u16) -> Cell {
    let body = body.to_string().into_bytes();
    Case(sent(path, "application/json", body), status)
}

pub fn of_form(path: &str, form: &Form, status: u16) -> Cell {
    Case(sent(path, &Form::content_type(), form.body()), status)
}

fn sent(path: &str, content_type: &str, body: Vec<u8>) -> Request {
    Request {
        path: path.to_owned(),
        content_type: Some(content_type.to_owned()),
        body,
    }
}
