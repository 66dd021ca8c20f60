//! The whole contract: every example is sent, or is the shape of an event that was published.
//!
//! One gateway asks for one thing after the other, so every event must belong to what was asked last:
//! a second reply, or one that nobody asked for, is a failure.

mod messages;
mod voice;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::examples::{self, Example};
use crate::support::gateway::{Event, Gateway};
use crate::support::voice_job::assert_shapes;
use crate::support::{contract, recordings};

/// What sends an example of a request and checks its answer.
type Exchange = fn(&mut Session, &Example);

/// Every request in the order in which they are sent: what one leaves behind, another asks for.
const REQUESTS: [(&str, Exchange); 25] = [
    ("ping", messages::ping),
    ("translation", messages::text),
    ("story_text_object_translation", messages::story),
    ("transcription_only", messages::transcription),
    ("audio_process", messages::audio),
    ("voice_health", voice::ask),
    ("voice_languages", voice::ask),
    ("voice_analyze", voice::ask),
    ("voice_compare", voice::ask),
    ("voice_translate", voice::ask),
    ("voice_translate_async", voice::ask_for_job),
    ("voice_job_status", voice::ask),
    ("voice_job_cancel", voice::ask),
    ("voice_feedback", voice::ask),
    ("voice_history", voice::ask),
    ("voice_stats", voice::ask),
    ("voice_admin_metrics", voice::ask),
    ("voice_profile_create", voice::ask),
    ("voice_profile_get", voice::ask),
    ("voice_profile_update", voice::ask),
    ("voice_profile_list", voice::ask),
    ("voice_profile_delete", voice::ask),
    ("voice_profile_analyze", voice::ask),
    ("voice_profile_verify", voice::ask_with_fingerprints),
    ("voice_profile_compare", voice::ask_with_fingerprints),
];

/// The older name of an event, which must not be used any more.
const NEVER_PUBLISHED: &str = "translation_ready";

#[test]
fn every_example_is_sent_or_published() {
    let examples = examples::all();
    let mut session = Session::start();
    for (kind, exchange) in REQUESTS {
        let mut sent = 0;
        for example in examples.iter().filter(|example| example.kind() == kind) {
            eprintln!("{}", example.name);
            exchange(&mut session, example);
            sent += 1;
        }
        assert!(sent > 0, "no example of {kind}");
    }
    messages::other_events(&mut session);
    voice::failures(&mut session);

    let is_request = |example: &&Example| REQUESTS.iter().any(|(kind, _)| *kind == example.kind());
    let unused: Vec<String> = examples
        .iter()
        .filter(|example| !is_request(example))
        .filter_map(|example| Some((example, session.why_unused(example)?)))
        .map(|(example, why)| format!("{}: {why}", example.name))
        .collect();
    assert_eq!(unused, Vec::<String>::new());
}

#[test]
fn the_committed_examples_have_the_shapes_of_the_contract() {
    for Example { name, json } in examples::committed_events() {
        if let Some(example) = examples::of_contract(&json) {
            let mut problems = contract::event_problems(&example, &json);
            // A field without an example of its value.
            problems.retain(|problem| !problem.ends_with("null instead of absent"));
            assert_eq!(problems, Vec::<String>::new(), "{name}");
        }
    }
}

/// A gateway and its daemon, and what was published so far.
struct Session {
    daemon: Daemon,
    gateway: Gateway,
    recording: Vec<u8>,
    published: Vec<Event>,
    /// Names that the daemon has given to jobs, translations, voices; and fingerprints.
    known: BTreeMap<&'static str, Value>,
}

impl Session {
    fn start() -> Self {
        let daemon = Daemon::start_with(&[
            ("VOICE_MIN_DURATION_MS", "5000"),
            ("MAX_TRANSLATION_LENGTH", "2000"),
        ]);
        let recording = match recordings::real("jfk/jfk.mp3") {
            Some(path) => std::fs::read(path).unwrap(),
            None => recordings::bundled(),
        };
        Self {
            gateway: Gateway::connect_subscribed(daemon.ports),
            daemon,
            recording,
            published: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// Sends a request and gives all events up to the last; checks that they have the shapes of the
    /// contract, and that each answers the request.
    fn exchange(
        &mut self,
        request: &Value,
        frames: &[&[u8]],
        is_last: impl FnMut(&Event) -> bool,
    ) -> Vec<Event> {
        self.gateway.send(request, frames);
        let what = format!("last event of {}", request["type"]);
        let mut events = self.gateway.events_until(&what, is_last);
        events.extend(self.gateway.events_of_what_was_sent());
        assert_shapes(&events);
        for event in &events {
            assert!(
                answers(event, request, &events),
                "{event:?} was not asked for"
            );
        }
        self.published.extend(events.clone());
        events
    }

    /// Puts the recording where a path of the request says that it is.
    fn upload(&self, path: &str, recording: &[u8]) {
        let path = path.strip_prefix("uploads/").unwrap_or(path);
        let file = self.daemon.folder().join("uploads").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, recording).unwrap();
    }

    /// Why no published event has the shape of the example; `None` when one has.
    fn why_unused(&self, example: &Example) -> Option<String> {
        // Every request has a result of its own; the errors are alike.
        let answers_same = |event: &Event| {
            example.kind() != "voice_api_success"
                || event.json["requestType"] == example.json["requestType"]
        };
        let is_same_kind = |event: &&Event| event.kind() == example.kind() && answers_same(event);
        let mut of_kind = self.published.iter().filter(is_same_kind).peekable();
        if example.kind() == NEVER_PUBLISHED {
            let published = of_kind.next();
            return published.map(|_| "is published".to_owned());
        }
        if of_kind.peek().is_none() {
            return Some("no such event was published".to_owned());
        }
        let mut why = String::new();
        for event in of_kind {
            let problems = differences(example, &event.json);
            if problems.is_empty() {
                return None;
            }
            why = problems.join(", ");
        }
        Some(why)
    }
}

fn differences(example: &Example, event: &Value) -> Vec<String> {
    let mut problems = contract::event_problems(&example.json, event);
    if example.name.ends_with(".seed.json") {
        // The oldest gateways ignore what was added since.
        problems.retain(|problem| !problem.ends_with("not in the contract"));
    }
    // Where nothing was to be spoken, nothing is.
    let is_spoken = |json: &Value| json["translatedAudios"].as_array().map(|a| !a.is_empty());
    if is_spoken(&example.json) != is_spoken(event) {
        problems.push("other translatedAudios".to_owned());
    }
    problems
}

/// True when an event carries an id of the request, or of the job that the request became.
fn answers(event: &Event, request: &Value, events: &[Event]) -> bool {
    let ids = ["taskId", "request_id", "messageId", "postId"];
    let shares_id = ids.iter().any(|key| {
        let id = request.get(key);
        id.is_some() && (event.json.get(key) == id || event.json["result"].get(key) == id)
    });
    let job_id = event.json.get("jobId");
    let is_of_job = || {
        let mut accepted = events.iter().map(|event| event.json["result"].get("jobId"));
        job_id.is_some() && accepted.any(|id| id == job_id)
    };
    shares_id || is_of_job()
}
