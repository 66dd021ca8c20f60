//! Requests of the voice API and of voice profiles, and what the contract says about every answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::gateway::{Event, Gateway};
use super::recordings::bundled;
use super::{contract, examples};

/// A request of the voice API with an id of its own, and more fields.
pub fn request(kind: &str, user_id: &str, more: Value) -> Value {
    let task_id = Uuid::new_v4().to_string();
    with(
        json!({"type": kind, "taskId": task_id, "userId": user_id}),
        more,
    )
}

/// A request of voice profiles with an id of its own, and more fields.
pub fn profile_request(kind: &str, user_id: &str, more: Value) -> Value {
    let request_id = Uuid::new_v4().to_string();
    with(
        json!({"type": kind, "request_id": request_id, "user_id": user_id}),
        more,
    )
}

fn with(mut json: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        json[key] = value.clone();
    }
    json
}

/// The bundled voice message as base64.
pub fn recording() -> String {
    STANDARD.encode(bundled())
}

/// True for an event that answers the request of that id.
pub fn answers(event: &Event, id: &str) -> bool {
    event.text("taskId") == id || event.text("request_id") == id
}

fn id_of(request: &Value) -> &str {
    let id = request.get("taskId").or_else(|| request.get("request_id"));
    id.and_then(Value::as_str).unwrap()
}

/// Sends a request and gives its reply, having checked that there is exactly one and that it has the
/// shape of the contract.
pub fn ask(gateway: &mut Gateway, request: &Value) -> Event {
    let id = id_of(request).to_owned();
    gateway.send(request, &[]);
    let is_reply = |event: &Event| answers(event, &id) && event.kind() != "voice_job_progress";
    let reply = gateway
        .events_until(&format!("reply to {}", request["type"]), is_reply)
        .pop()
        .unwrap();
    let rest = gateway.rest_of("nothing");
    assert!(rest.is_empty());
    check_shape(&reply);
    reply
}

/// The result of a request that succeeds.
pub fn result_of(gateway: &mut Gateway, request: &Value) -> Value {
    let reply = ask(gateway, request);
    assert_eq!(reply.kind(), "voice_api_success", "{}", reply.text("error"));
    assert_eq!(reply.json["requestType"], request["type"]);
    reply.json["result"].clone()
}

/// The error code of a request that fails.
pub fn error_of(gateway: &mut Gateway, request: &Value) -> String {
    let reply = ask(gateway, request);
    assert_eq!(reply.kind(), "voice_api_error", "{}", request["type"]);
    assert_eq!(reply.json["requestType"], request["type"]);
    assert_eq!(reply.json["taskId"], request["taskId"]);
    reply.text("errorCode").to_owned()
}

/// Checks an event against the example of its shape.
pub fn check_shape(event: &Event) {
    let example = examples::event(&event.json);
    let problems = contract::event_problems(&example, &event.json);
    assert_eq!(problems, Vec::<String>::new(), "{}", event.kind());
    assert!(event.frames.is_empty(), "the voice API has one frame");
}
