//! Requests of the voice API and of voice profiles, and what the contract says about every answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::gateway::{Event, Gateway};
use super::recordings::bundled;
use super::voice_job::assert_shapes;

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

/// Sends a request and gives everything that is published until it is answered, having checked that
/// it is answered once, and that every event has the shape of the contract.
pub fn exchange(gateway: &mut Gateway, request: &Value) -> Vec<Event> {
    gateway.send(request, &[]);
    let what = format!("reply to {}", request["type"]);
    let mut events = gateway.events_until(&what, |event| is_reply(event, request));
    events.extend(gateway.rest());
    assert_shapes(&events);
    let replies = events.iter().filter(|event| is_reply(event, request));
    assert_eq!(replies.count(), 1, "{events:?}");
    events
}

/// Sends a request and gives its one reply.
pub fn ask(gateway: &mut Gateway, request: &Value) -> Event {
    let mut events = exchange(gateway, request).into_iter();
    let reply = events.find(|event| is_reply(event, request)).unwrap();
    assert!(reply.frames.is_empty(), "a reply has one frame");
    reply
}

/// Sends a request that becomes a job, and gives the job's name once it is accepted.
pub fn submit(gateway: &mut Gateway, request: &Value) -> String {
    gateway.send(request, &[]);
    let mut events = gateway.events_until("acceptance", |event| is_reply(event, request));
    assert_shapes(&events);
    let accepted = events.pop().unwrap();
    assert_eq!(accepted.kind(), "voice_api_success", "{accepted:?}");
    assert_eq!(accepted.json["result"]["status"], "pending");
    accepted.json["result"]["jobId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The event that tells a job's end.
pub fn end_of_job(gateway: &Gateway, job_id: &str) -> Event {
    let mut events = gateway.events_until("end of the job", |event| is_end(event, job_id));
    assert_shapes(&events);
    events.pop().unwrap()
}

/// True for the event that tells a job's end.
pub fn is_end(event: &Event, job_id: &str) -> bool {
    event.kind().starts_with("voice_translation_") && event.text("jobId") == job_id
}

/// True for an event that answers the request; a job's progress does not.
pub fn is_reply(event: &Event, request: &Value) -> bool {
    let shares = |key: &str| request.get(key).is_some() && event.json.get(key) == request.get(key);
    event.kind() != "voice_job_progress" && (shares("taskId") || shares("request_id"))
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
