//! The rows of the voice API, of the models that speak, and of the caches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::table::{NEEDS_NO_MODEL, Names, Row, TAKES_NOTHING, Token, ask, of_form, of_json};
use crate::support::forms::Form;
use crate::support::recordings;

/// Whose voice is made, told of and deleted here.
const USER: &str = "vera";

pub fn rows(names: &Names) -> Vec<Row> {
    let mut rows = translations(names);
    rows.extend(profiles());
    rows.extend(measures());
    rows.extend(past(names));
    rows.extend(operators());
    rows.extend(models());
    rows
}

/// A JSON body with a recording of that many bytes, or with the bundled one.
fn body(large: Option<usize>, more: &Value) -> Value {
    let recording = large.map_or_else(recordings::bundled, |bytes| vec![7; bytes]);
    let mut body = json!({"audio_base64": STANDARD.encode(recording)});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A route that takes JSON with a recording, with the status of success and that without models.
fn heard(route: &'static str, more: &Value, [done, not_ready]: [u16; 2]) -> Row {
    Row {
        method: "POST",
        route,
        token: Token::Clients,
        success: of_json(route, &body(None, more), done),
        // There is no recording.
        bad_input: of_json(route, &json!({}), 400),
        limits: of_json(route, &body(Some((1 << 20) + 1), more), 413),
        not_ready: of_json(route, &body(None, more), not_ready),
    }
}

fn translations(names: &Names) -> Vec<Row> {
    let french = json!({"target_languages": ["fr"]});
    let form = "/api/v1/voice/translate/audio";
    let right = || Form::default().file("audio", &recordings::bundled());
    let large = Form::default().file("audio", &vec![7; (1 << 20) + 1]);
    let of_job = |method, name: &str| Row {
        method,
        route: "/api/v1/voice/job/{id}",
        token: Token::Clients,
        success: ask(format!("/api/v1/voice/job/{name}"), 200),
        bad_input: ask("/api/v1/voice/job/%ff", 400),
        limits: ask(format!("/api/v1/voice/job/{}", "a".repeat(5_000)), 404),
        not_ready: NEEDS_NO_MODEL,
    };
    vec![
        heard("/api/v1/voice/translate", &french, [200, 503]),
        heard("/api/v1/voice/translate/async", &french, [202, 503]),
        Row {
            method: "POST",
            route: form,
            token: Token::Clients,
            success: of_form(form, &right().field("target_languages", "fr"), 200),
            bad_input: of_form(form, &right().field("target_languages", "??"), 422),
            limits: of_form(form, &large, 413),
            not_ready: of_form(form, &right().field("target_languages", "fr"), 503),
        },
        of_job("GET", &names.translated_job),
        of_job("DELETE", &names.endless_translation),
    ]
}

fn profiles() -> Vec<Row> {
    let route = "/api/v1/voice/profile";
    let sample = "/api/v1/voice/profile/sample";
    let recording = || Form::default().file("audio", &recordings::bundled());
    let large = Form::of(&[("user_id", USER)]).file("audio", &vec![7; (1 << 20) + 1]);
    let long = "u".repeat(513);
    let of_user = |method, not_ready| Row {
        method,
        route,
        token: Token::Clients,
        success: ask(format!("{route}?user_id={USER}"), 200),
        bad_input: ask(route, 400),
        limits: ask(format!("{route}?user_id={long}"), 400),
        not_ready,
    };
    vec![
        heard(route, &json!({"user_id": USER}), [200, 503]),
        Row {
            method: "POST",
            route: sample,
            token: Token::Clients,
            success: of_form(sample, &recording().field("user_id", USER), 200),
            bad_input: of_form(sample, &recording(), 422),
            limits: of_form(sample, &large, 413),
            not_ready: of_form(sample, &recording().field("user_id", USER), 503),
        },
        of_user("GET", NEEDS_NO_MODEL),
        of_user("DELETE", NEEDS_NO_MODEL),
    ]
}

fn measures() -> Vec<Row> {
    let compare = "/api/v1/voice/compare";
    let two = |bytes: Option<usize>| {
        let recording = body(bytes, &json!({}))["audio_base64"].clone();
        json!({"audio_base64_1": recording, "audio_base64_2": recording})
    };
    vec![
        // Voices are measured without a model, and compared by what was measured.
        heard("/api/v1/voice/analyze", &json!({}), [200, 200]),
        Row {
            method: "POST",
            route: compare,
            token: Token::Clients,
            success: of_json(compare, &two(None), 200),
            bad_input: of_json(compare, &json!([]), 422),
            limits: of_json(compare, &two(Some((1 << 20) + 1)), 413),
            not_ready: of_json(compare, &two(None), 200),
        },
    ]
}

fn past(names: &Names) -> Vec<Row> {
    let feedback = "/api/v1/voice/feedback";
    let rated = |rating: f64| json!({"user_id": "vic", "translation_id": names.translation, "rating": rating});
    let read = |route: &'static str, wrong: &str| Row {
        method: "GET",
        route,
        token: Token::Clients,
        success: ask(format!("{route}?user_id=vic"), 200),
        bad_input: ask(format!("{route}?user_id=vic&{wrong}"), 400),
        limits: ask(format!("{route}?user_id={}", "u".repeat(513)), 400),
        not_ready: NEEDS_NO_MODEL,
    };
    vec![
        Row {
            method: "POST",
            route: feedback,
            token: Token::Clients,
            success: of_json(feedback, &rated(4.5), 200),
            bad_input: of_json(feedback, &json!({"user_id": "vic"}), 422),
            limits: of_json(feedback, &rated(5.5), 422),
            not_ready: NEEDS_NO_MODEL,
        },
        read("/api/v1/voice/history", "limit=few"),
        read("/api/v1/voice/stats", "period=century"),
        plain("GET", "/api/v1/health", Token::Clients),
    ]
}

fn operators() -> Vec<Row> {
    vec![
        plain("GET", "/api/v1/admin/metrics", Token::Operator),
        plain("GET", "/api/v1/admin/queue", Token::Operator),
        plain("GET", "/debug/cache", Token::Clients),
        plain("POST", "/debug/clear-cache", Token::Operator),
    ]
}

/// A route that takes nothing, and needs no model.
fn plain(method: &'static str, route: &'static str, token: Token) -> Row {
    Row {
        method,
        route,
        token,
        success: ask(route, 200),
        bad_input: TAKES_NOTHING,
        limits: TAKES_NOTHING,
        not_ready: ask(route, 200),
    }
}

fn models() -> Vec<Row> {
    let of_model = |route: &'static str, rest: &str| Row {
        method: "GET",
        route,
        token: Token::Clients,
        success: ask(format!("/v1/tts/models/xtts/{rest}"), 200),
        bad_input: ask(format!("/v1/tts/models/%ff/{rest}"), 400),
        limits: ask(format!("/v1/tts/models/{}/{rest}", "m".repeat(5_000)), 404),
        not_ready: ask(format!("/v1/tts/models/xtts/{rest}"), 404),
    };
    let switch = "/v1/tts/models/switch";
    let download = |model: &str, status| ask(format!("/v1/tts/models/{model}/download"), status);
    let mut rows = vec![
        plain("GET", "/v1/tts/models", Token::Clients),
        plain("GET", "/v1/tts/models/status", Token::Clients),
        plain("GET", "/v1/tts/models/compare", Token::Clients),
        plain("GET", "/v1/tts/stats", Token::Clients),
        of_model("/v1/tts/models/{model}/info", "info"),
        of_model("/v1/tts/models/{model}/languages", "languages"),
        of_model("/v1/tts/models/{model}/license", "license"),
        Row {
            method: "POST",
            route: switch,
            token: Token::Clients,
            // There is no other: whoever asks is told how models are chosen.
            success: of_json(switch, &json!({"model": "other"}), 400),
            bad_input: of_json(switch, &json!({}), 422),
            limits: of_json(switch, &json!({"model": "m".repeat((2 << 20) + 1)}), 413),
            not_ready: of_json(switch, &json!({"model": "other"}), 400),
        },
        Row {
            method: "POST",
            route: "/v1/tts/models/{model}/download",
            token: Token::Clients,
            // The answer is the command that downloads it.
            success: download("xtts-v2-int8", 400),
            bad_input: download("other", 404),
            limits: download(&"m".repeat(5_000), 404),
            not_ready: download("xtts-v2-int8", 400),
        },
    ];
    let current = plain("GET", "/v1/tts/models/current", Token::Clients);
    rows.push(Row {
        not_ready: ask(current.route, 404),
        ..current
    });
    rows
}
