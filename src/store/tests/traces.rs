//! What tells that the gateway has taken an event.

use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};

use super::mongodb_server::TestMongo;
use crate::store::{IdPolicy, MongoOptions, MongoStore, Sought, StoreError, Trace, TraceOwner};

const MESSAGE: &str = "5f0000000000000000000a01";
const ATTACHMENT: &str = "5f0000000000000000000b01";
const MEDIA: &str = "5f0000000000000000000d01";
const USER: &str = "5f0000000000000000000c01";

/// When the job was accepted.
const SINCE_MS: i64 = 1_700_000_000_000;

fn id(id: &str) -> ObjectId {
    ObjectId::parse_str(id).unwrap()
}

fn text(message_id: &str, language: &str) -> Trace {
    Trace::Text {
        message_id: message_id.into(),
        language: language.into(),
    }
}

fn transcription(duration_ms: Option<i64>) -> Trace {
    Trace::Transcription {
        owner: TraceOwner::Attachment(ATTACHMENT.into()),
        language: "en".into(),
        duration_ms,
    }
}

fn speech(owner: TraceOwner, language: &str) -> Trace {
    Trace::Speech {
        owner,
        language: language.into(),
    }
}

fn voice(user_id: &str) -> Trace {
    Trace::Voice {
        user_id: user_id.into(),
    }
}

async fn insert(server: &TestMongo, collection: &str, document: Document) {
    let client = mongodb::Client::with_uri_str(server.url()).await.unwrap();
    let database = client.database(server.database());
    let collection = database.collection::<Document>(collection);
    collection.insert_one(document).await.unwrap();
}

#[tokio::test]
async fn what_the_gateway_has_kept_since_is_found_in_its_own_collections_only() {
    let Some(server) = TestMongo::start() else {
        return;
    };
    let store = MongoStore::new(&server.url(), MongoOptions::default());
    let at = |offset_ms| DateTime::from_millis(SINCE_MS + offset_ms);
    let attachment = || TraceOwner::Attachment(ATTACHMENT.into());
    let media = || TraceOwner::PostMedia(MEDIA.into());
    let sought: Vec<(Trace, bool)> = vec![
        (text(MESSAGE, "fr"), true),
        // Its times are texts, and it is an older one that was written anew.
        (text(MESSAGE, "es"), true),
        (text(MESSAGE, "de"), false),
        (text(MESSAGE, "it"), false),
        (text(ATTACHMENT, "fr"), false),
        (transcription(Some(2_480)), true),
        (transcription(None), true),
        (transcription(Some(1_000)), false),
        (speech(attachment(), "fr"), true),
        (speech(attachment(), "es"), false),
        (speech(media(), "fr"), true),
        (voice(USER), true),
        (voice(MESSAGE), false),
    ];
    let questions: Vec<Sought> = sought
        .iter()
        .map(|(trace, _)| Sought {
            trace: trace.clone(),
            since_ms: SINCE_MS,
        })
        .collect();

    // What the daemon itself has written says nothing about the gateway.
    insert(
        &server,
        "message_audio_transcriptions",
        doc! { "_id": id(ATTACHMENT), "attachmentId": id(ATTACHMENT), "language": "en", "createdAt": at(1) },
    )
    .await;
    insert(
        &server,
        "user_voice_models",
        doc! { "userId": id(USER), "createdAt": at(1), "updatedAt": at(1) },
    )
    .await;
    let found = store.find_traces(&questions).await.unwrap();
    assert!(found.iter().all(|found| !found), "{found:?}");

    let old = at(-60_000);
    insert(
        &server,
        "Message",
        doc! { "_id": id(MESSAGE), "content": "words", "translations": {
            "fr": { "text": "mots", "createdAt": at(500) },
            "es": { "text": "palabras", "createdAt": "2023-11-14T00:00:00.000Z", "updatedAt": "2023-11-14T22:13:21.000Z" },
            "de": { "text": "Worte", "createdAt": old, "updatedAt": old },
        } },
    )
    .await;
    insert(
        &server,
        "MessageAttachment",
        doc! {
            "_id": id(ATTACHMENT),
            "transcription": { "text": "words", "language": "en", "durationMs": 2_480_i32 },
            "translations": { "fr": { "transcription": "mots", "createdAt": at(-1_000) } },
        },
    )
    .await;
    insert(
        &server,
        "PostMedia",
        doc! { "_id": id(MEDIA), "translations": { "fr": { "updatedAt": at(0) } } },
    )
    .await;
    insert(
        &server,
        "UserVoiceModel",
        doc! { "userId": id(USER), "createdAt": old, "updatedAt": at(10) },
    )
    .await;
    let found = store.find_traces(&questions).await.unwrap();
    for ((trace, expected), found) in sought.iter().zip(found) {
        assert_eq!(found, *expected, "{trace:?}");
    }
}

#[test]
fn only_object_ids_and_plain_languages_are_looked_for() {
    assert!(MongoStore::can_find(&text(MESSAGE, "fr")));
    assert!(MongoStore::can_find(&text(MESSAGE, "pt-br")));
    for language in ["", "f.r", "$fr", "a very long language"] {
        assert!(
            !MongoStore::can_find(&text(MESSAGE, language)),
            "{language}"
        );
    }
    for id in ["post:5f0000000000000000000a01", "rest_1_x", ""] {
        assert!(!MongoStore::can_find(&text(id, "fr")), "{id}");
        assert!(!MongoStore::can_find(&voice(id)), "{id}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_tells_nothing_and_is_left_alone() {
    let options = MongoOptions {
        selection_timeout: std::time::Duration::from_millis(100),
        ids: IdPolicy::Strings,
    };
    // Port 1 of this machine serves nothing.
    let store = MongoStore::new("mongodb://127.0.0.1:1/none", options);
    let sought = [Sought {
        trace: text(MESSAGE, "fr"),
        since_ms: 0,
    }];
    assert!(store.find_traces(&sought).await.unwrap_err().is_absence());
    let again = store.find_traces(&sought).await.unwrap_err();
    assert!(matches!(again, StoreError::BreakerOpen), "{again:?}");
}
