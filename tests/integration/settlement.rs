//! Events that the gateway is known to have taken, and those that nobody is known to have taken.

use mongodb::bson::{DateTime, doc, oid::ObjectId};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::database::{Database, shared_server};
use crate::support::gateway::Gateway;
use crate::support::voice_message::VoiceMessage;
use crate::support::wait_for;

const COMPLETED: &str = "audio_process_completed";

fn text(number: u32) -> (String, Value) {
    let message_id = VoiceMessage::numbered(number).message_id;
    let request = json!({
        "type": "translation", "taskId": format!("task-{number}"), "messageId": message_id,
        "text": "hello my friend", "sourceLanguage": "en", "targetLanguages": ["fr", "es"],
    });
    (message_id, request)
}

fn wait_settled(daemon: &Daemon, count: u64) {
    let labels = ["outcome=\"read_back\""];
    wait_for(&format!("{count} settled events"), || {
        let settled = daemon.metric("translator_events_settled_total", &labels);
        (settled as u64 >= count).then_some(())
    });
}

#[test]
fn what_the_gateway_has_kept_is_not_replayed() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let (message_id, request) = text(201);
    gateway.send(&request, &[]);
    gateway.events_of_task("task-201", 2);
    let message = VoiceMessage::numbered(202);
    message.send(&mut gateway, &["fr"]);
    let events = gateway.events_of(&message.message_id, &[COMPLETED]);
    let transcription = &events.last().unwrap().json["transcription"];

    // The gateway's part: it has kept one language of the text, and all of the voice message.
    let id = |id: &str| ObjectId::parse_str(id).unwrap();
    let now = DateTime::now();
    database.insert(
        "Message",
        vec![doc! { "_id": id(&message_id), "translations": { "fr": { "text": "x", "createdAt": now } } }],
    );
    database.insert(
        "MessageAttachment",
        vec![doc! {
            "_id": id(&message.attachment_id),
            "transcription": {
                "language": transcription["language"].as_str().unwrap(),
                "durationMs": transcription["durationMs"].as_i64().unwrap(),
            },
            "translations": { "fr": { "type": "audio", "createdAt": now } },
        }],
    );
    database.insert(
        "UserVoiceModel",
        vec![doc! { "userId": id(&message.sender_id), "createdAt": now, "updatedAt": now }],
    );
    // The French text, and all three events of the voice message.
    wait_settled(&daemon, 4);

    gateway.unsubscribe();
    gateway.subscribe();
    let again = gateway.events_until("the Spanish text", |event| {
        event.text("targetLanguage") == "es"
    });
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(
        daemon.metric("translator_outbox_events", &["state=\"unconfirmed\""]),
        0.0
    );
}

#[test]
fn an_event_that_nobody_is_known_to_have_taken_is_published_again_if_a_gateway_drops_it() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_REPUBLISH_SECS", "1, 3")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("repeated");
    message.send(&mut gateway, &["fr"]);
    let mut completed = 0;
    let events = gateway.events_until("two repeats", |event| {
        completed += usize::from(event.kind() == COMPLETED);
        completed == 3
    });
    let kinds: Vec<&str> = events.iter().map(|event| event.kind()).collect();
    let expected = [
        "transcription_ready",
        "audio_translation_ready",
        COMPLETED,
        COMPLETED,
        COMPLETED,
    ];
    assert_eq!(
        kinds, expected,
        "each repeat would be shown to people but for the last"
    );
    for repeat in &events[3..] {
        assert!(repeat.body == events[2].body && repeat.frames == events[2].frames);
    }
    // Counted after it was sent.
    wait_for("two repeats in the metrics", || {
        let labels = ["occasion=\"repeated\""];
        let repeated = daemon.metric("translator_events_published_total", &labels);
        (repeated >= 2.0).then(|| assert_eq!(repeated, 2.0))
    });
}
