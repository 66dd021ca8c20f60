//! Which languages a voice message is spoken in when its request does not say: those of the
//! conversation's members, as the gateway's database knows them.

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::database::{Database, shared_server};
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected};
use crate::support::voice_message::VoiceMessage;

const CONVERSATION: &str = "66b1f0a4c2d3e4f5a6b7c8d9";

fn conversation() -> ObjectId {
    ObjectId::parse_str(CONVERSATION).unwrap()
}

fn user(number: u32) -> ObjectId {
    ObjectId::parse_str(format!("66b1f0a4c2d3e4f5a8c{number:05x}")).unwrap()
}

fn sender(message: &VoiceMessage) -> ObjectId {
    ObjectId::parse_str(&message.sender_id).unwrap()
}

fn participant(user: ObjectId) -> Document {
    doc! { "conversationId": conversation(), "type": "user", "userId": user, "isActive": true }
}

/// A request that leaves the languages open.
fn open_request(message: &VoiceMessage) -> Value {
    let mut request = message.request(&[]);
    request["conversationId"] = CONVERSATION.into();
    request.as_object_mut().unwrap().remove("targetLanguages");
    request
}

fn ask(gateway: &mut Gateway, daemon: &Daemon, request: &Value, spoken: &[&str]) {
    let recording = recordings::bundled();
    let expected = Expected::spoken(spoken);
    Answer::to(gateway, daemon, request, &[&recording], expected);
}

#[test]
fn the_members_of_a_conversation_say_which_languages_are_spoken() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let message = VoiceMessage::numbered(1);
    let users = vec![
        doc! { "_id": sender(&message), "systemLanguage": "de" },
        doc! { "_id": user(1), "systemLanguage": "en", "customDestinationLanguage": "fr-CA" },
        // The recogniser hears English: that member understands it as it is.
        doc! { "_id": user(2), "systemLanguage": "en", "regionalLanguage": "it" },
        doc! { "_id": user(3), "systemLanguage": "it" },
        doc! { "_id": user(4), "systemLanguage": "fr" },
    ];
    database.insert("User", users);
    let mut people = vec![
        participant(sender(&message)),
        participant(user(1)),
        participant(user(2)),
        participant(user(3)),
        participant(user(4)),
        doc! {
            "conversationId": conversation(), "type": "anonymous", "userId": Bson::Null,
            "language": "es", "isActive": true,
        },
    ];
    people[3].insert("isActive", false);
    database.insert("Participant", people);

    // What is only read is read from a database that nothing is written to, too.
    let daemon = database.daemon(&[("MONGO_WRITE", "none")]);
    let mut gateway = Gateway::connect(daemon.ports);
    ask(
        &mut gateway,
        &daemon,
        &open_request(&message),
        &["fr", "es"],
    );

    let mut null = open_request(&VoiceMessage::numbered(2));
    null["targetLanguages"] = Value::Null;
    null["senderId"] = message.sender_id.as_str().into();
    ask(&mut gateway, &daemon, &null, &["fr", "es"]);

    // An empty list is an answer, not a question.
    let mut none = open_request(&VoiceMessage::numbered(3));
    none["targetLanguages"] = Value::Array(Vec::new());
    ask(&mut gateway, &daemon, &none, &[]);

    // Members are remembered for a while, without the one who happened to send the first message.
    database.insert("Participant", vec![participant(user(5))]);
    let late = doc! { "_id": user(5), "systemLanguage": "pt" };
    database.insert("User", vec![late]);
    let mut of_another = open_request(&VoiceMessage::numbered(4));
    of_another["senderId"] = user(1).to_hex().into();
    ask(&mut gateway, &daemon, &of_another, &["de", "fr", "es"]);
}

#[test]
fn members_of_the_first_schema_are_asked_for_their_switches() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let message = VoiceMessage::numbered(5);
    let member = |user: ObjectId| {
        doc! { "conversationId": conversation(), "userId": user, "isActive": true }
    };
    let with_switches = |user: ObjectId, custom, system, regional| {
        doc! {
            "_id": user, "customDestinationLanguage": "fr", "systemLanguage": "es",
            "regionalLanguage": "de", "useCustomDestination": custom,
            "translateToSystemLanguage": system, "translateToRegionalLanguage": regional,
        }
    };
    database.insert(
        "ConversationMember",
        vec![
            member(sender(&message)),
            member(user(1)),
            member(user(2)),
            member(user(3)),
        ],
    );
    database.insert(
        "User",
        vec![
            with_switches(sender(&message), true, false, false),
            with_switches(user(1), false, true, true),
            with_switches(user(2), false, false, true),
            with_switches(user(3), false, false, false),
        ],
    );
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    ask(
        &mut gateway,
        &daemon,
        &open_request(&message),
        &["es", "de"],
    );
}

#[test]
fn a_job_goes_on_with_the_languages_that_it_has_begun_with() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    database.insert("Participant", vec![participant(user(1))]);
    database.insert(
        "User",
        vec![doc! { "_id": user(1), "systemLanguage": "es" }],
    );
    let mut daemon = database.daemon(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::numbered(30);
    gateway.send(&open_request(&message), &[&recordings::bundled()]);
    daemon.wait_logged("fault: paused");
    daemon.kill();
    // The database is away now; port 1 of this machine serves nothing.
    daemon.restart_with(&[("DATABASE_URL", "mongodb://127.0.0.1:1/none")]);
    let ends = ["audio_process_completed", "audio_process_error"];
    let events = gateway.events_of(&message.message_id, &ends);
    let answer = Answer::among(&events, &message.message_id);
    assert_eq!(answer.languages(), ["es"]);
    assert!(!answer.speech("es").is_empty());
}

#[test]
fn where_no_languages_can_be_found_out_a_message_is_transcribed() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let untranslated = ObjectId::new();
    database.insert(
        "Conversation",
        vec![doc! { "_id": untranslated, "autoTranslateEnabled": false }],
    );
    let people = [conversation(), untranslated]
        .into_iter()
        .map(|conversation| {
            let mut person = participant(user(1));
            person.insert("conversationId", conversation);
            person
        })
        .collect();
    database.insert("Participant", people);
    database.insert(
        "User",
        vec![doc! { "_id": user(1), "systemLanguage": "fr" }],
    );
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let untranslated = untranslated.to_hex();
    let conversations = [
        Some(untranslated.as_str()),
        Some("post_66b1f0a4c2d3e4f5a6b7c8d9"),
        Some("any"),
        None,
    ];
    for (number, conversation) in (10..).zip(conversations) {
        let mut request = open_request(&VoiceMessage::numbered(number));
        request["conversationId"] = conversation.map_or(Value::Null, Value::from);
        ask(&mut gateway, &daemon, &request, &[]);
    }
    // The same members in a conversation that is translated.
    let request = open_request(&VoiceMessage::numbered(20));
    ask(&mut gateway, &daemon, &request, &["fr"]);

    // Port 1 of this machine serves nothing.
    let daemon = Daemon::start_with(&[("DATABASE_URL", "mongodb://127.0.0.1:1/none")]);
    let mut gateway = Gateway::connect(daemon.ports);
    ask(&mut gateway, &daemon, &request, &[]);
    assert!(daemon.log().contains("members are not known"));
}
