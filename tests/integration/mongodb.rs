//! What voice messages leave in MongoDB, and how little its absence matters. FerretDB plays MongoDB.

use std::time::SystemTime;

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::database::{Database, TestMongo, shared_server};
use crate::support::gateway::{Event, Gateway};
use crate::support::voice_message::VoiceMessage;
use crate::support::{skip, wait_for};

const COMPLETED: &str = "audio_process_completed";
const TRANSCRIPTIONS: &str = "message_audio_transcriptions";
const AUDIOS: &str = "message_translated_audios";
const VOICES: &str = "user_voice_models";

/// Sends a voice message and waits for its end.
fn process(gateway: &mut Gateway, message: &VoiceMessage, languages: &[&str]) -> Event {
    message.send(gateway, languages);
    completed(gateway, message)
}

fn completed(gateway: &Gateway, message: &VoiceMessage) -> Event {
    gateway
        .events_of(&message.message_id, &[COMPLETED])
        .pop()
        .unwrap()
}

/// Waits until the daemon has dealt with so many documents since its start.
fn wait_written(daemon: &Daemon, count: u64) {
    let labels = ["outcome=\"written\""];
    wait_for(&format!("{count} written documents"), || {
        let written = daemon.metric("translator_documents_written_total", &labels);
        (written as u64 >= count).then_some(())
    });
}

fn object_id(id: &str) -> ObjectId {
    ObjectId::parse_str(id).unwrap()
}

fn int32(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

fn dates(document: &Document, key: &str) -> DateTime {
    *document.get_datetime(key).unwrap()
}

/// Takes out what the server and the clock decide, after a look at its type.
fn without_id_and_times(mut document: Document, times: &[&str]) -> Document {
    assert!(matches!(document.remove("_id"), Some(Bson::ObjectId(_))));
    for time in times {
        assert!(
            matches!(document.remove(time), Some(Bson::DateTime(_))),
            "{time} in {document}"
        );
    }
    document
}

fn expected_segments(segments: &Value) -> Bson {
    let segment = |segment: &Value| {
        let mut document = doc! {
            "text": segment["text"].as_str().unwrap(),
            "startMs": int32(&segment["startMs"]),
            "endMs": int32(&segment["endMs"]),
        };
        if let Some(confidence) = segment["confidence"].as_f64() {
            document.insert("confidence", confidence);
        }
        if let Some(language) = segment["language"].as_str() {
            document.insert("language", language);
        }
        Bson::Document(document)
    };
    Bson::Array(segments.as_array().unwrap().iter().map(segment).collect())
}

#[test]
fn documents_are_those_of_the_schema_and_one_for_each_key() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::numbered(1);
    let sent_at = DateTime::from_system_time(SystemTime::now());
    let event = process(&mut gateway, &message, &["fr", "es"]);
    wait_written(&daemon, 4);

    let [transcription] = database.documents(TRANSCRIPTIONS).try_into().unwrap();
    let created_at = dates(&transcription, "createdAt");
    assert!(sent_at <= created_at && created_at <= DateTime::now());
    let spoken = &event.json["transcription"];
    assert_eq!(
        without_id_and_times(transcription, &["createdAt"]),
        doc! {
            "attachmentId": object_id(&message.attachment_id),
            "messageId": object_id(&message.message_id),
            "transcribedText": spoken["text"].as_str().unwrap(),
            "language": "en",
            "confidence": spoken["confidence"].as_f64().unwrap(),
            "source": "whisper",
            "segments": expected_segments(&spoken["segments"]),
            "audioDurationMs": int32(&spoken["durationMs"]),
            "model": spoken["model"].as_str().unwrap(),
        }
    );

    let audios = database.documents(AUDIOS);
    assert_eq!(audios.len(), 2);
    for (audio, language) in event.json["translatedAudios"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["fr", "es"])
    {
        let stored = audios
            .iter()
            .find(|stored| stored.get_str("targetLanguage").unwrap() == language)
            .unwrap();
        assert_eq!(
            without_id_and_times(stored.clone(), &["createdAt"]),
            doc! {
                "attachmentId": object_id(&message.attachment_id),
                "messageId": object_id(&message.message_id),
                "targetLanguage": language,
                "translatedText": audio["translatedText"].as_str().unwrap(),
                "audioPath": audio["audioPath"].as_str().unwrap(),
                "audioUrl": audio["audioUrl"].as_str().unwrap(),
                "durationMs": int32(&audio["durationMs"]),
                "format": "mp3",
                "voiceCloned": true,
                "voiceQuality": audio["voiceQuality"].as_f64().unwrap(),
                "voiceModelId": Bson::Null,
                "ttsModel": "xtts",
            }
        );
    }

    let [voice] = database.documents(VOICES).try_into().unwrap();
    assert!(dates(&voice, "nextRecalibrationAt") > dates(&voice, "updatedAt"));
    let profile = &event.json["newVoiceProfile"];
    let embedding_path = voice.get_str("embeddingPath").unwrap().to_owned();
    assert!(daemon.folder().join(&embedding_path).is_dir());
    assert_eq!(
        without_id_and_times(voice, &["createdAt", "updatedAt", "nextRecalibrationAt"]),
        doc! {
            "userId": object_id(&message.sender_id),
            "embeddingPath": embedding_path,
            "audioCount": 1_i32,
            "totalDurationMs": int32(&profile["totalDurationMs"]),
            "qualityScore": profile["qualityScore"].as_f64().unwrap(),
            "version": 1_i32,
        }
    );

    // The same recording once more: a job of its own, the same documents.
    process(&mut gateway, &message, &["fr", "es"]);
    let second = VoiceMessage::numbered(2);
    process(&mut gateway, &second, &[]);
    wait_for("the transcription that was written last", || {
        (database.documents(TRANSCRIPTIONS).len() == 2).then_some(())
    });
    let transcriptions = database.documents(TRANSCRIPTIONS);
    let first = transcriptions
        .iter()
        .find(|stored| stored.get_object_id("messageId").unwrap() == object_id(&message.message_id))
        .unwrap();
    assert_eq!(dates(first, "createdAt"), created_at);
    assert_eq!(database.documents(AUDIOS).len(), 2);
    assert_eq!(database.documents(VOICES).len(), 1);
}

#[test]
fn ids_that_are_no_object_ids_are_published_and_not_stored() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let event = process(&mut gateway, &VoiceMessage::named("plain"), &["fr"]);
    assert_eq!(event.json["translatedAudios"].as_array().unwrap().len(), 1);

    // Post media belong to no message, whatever their ids look like; their voice is somebody's.
    let of_post = VoiceMessage::numbered(3);
    let mut request = of_post.request(&["fr"]);
    request["postId"] = "66b1f0a4c2d3e4f5a6b70001".into();
    request["postMediaId"] = "66b1f0a4c2d3e4f5a6b70002".into();
    gateway.send(&request, &[&crate::support::recordings::bundled()]);
    completed(&gateway, &of_post);

    let stored = VoiceMessage::numbered(4);
    process(&mut gateway, &stored, &["fr"]);
    wait_written(&daemon, 4);
    for collection in [TRANSCRIPTIONS, AUDIOS] {
        let [document] = database.documents(collection).try_into().unwrap();
        assert_eq!(
            document.get_object_id("attachmentId").unwrap(),
            object_id(&stored.attachment_id),
            "{collection}"
        );
    }
    let mut users: Vec<ObjectId> = database
        .documents(VOICES)
        .iter()
        .map(|voice| voice.get_object_id("userId").unwrap())
        .collect();
    users.sort();
    assert_eq!(
        users,
        [&of_post, &stored].map(|message| object_id(&message.sender_id))
    );
}

#[test]
fn a_message_whose_task_has_its_name_is_stored_too() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::numbered(5);
    let mut request = message.request(&["fr"]);
    request["taskId"] = message.message_id.as_str().into();
    gateway.send(&request, &[&crate::support::recordings::bundled()]);
    completed(&gateway, &message);
    wait_written(&daemon, 3);
    for collection in [TRANSCRIPTIONS, AUDIOS, VOICES] {
        assert_eq!(database.documents(collection).len(), 1, "{collection}");
    }
}

#[test]
fn plain_ids_are_stored_as_strings_when_that_is_wanted() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[("MONGO_STRING_IDS", "true")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("plain");
    process(&mut gateway, &message, &["fr"]);
    wait_written(&daemon, 3);
    let key = |collection, key| {
        let [document] = database.documents(collection).try_into().unwrap();
        let value: &str = Document::get_str(&document, key).unwrap();
        value.to_owned()
    };
    assert_eq!(key(TRANSCRIPTIONS, "attachmentId"), message.attachment_id);
    assert_eq!(key(AUDIOS, "messageId"), message.message_id);
    assert_eq!(key(VOICES, "userId"), message.sender_id);
}

#[test]
fn documents_that_a_later_schema_has_no_place_for_are_skipped() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    // The later variant of the first schema: one transcription and one audio for each message.
    database.unique_index(TRANSCRIPTIONS, doc! { "messageId": 1 });
    database.unique_index(AUDIOS, doc! { "messageId": 1, "targetLanguage": 1 });
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let first = VoiceMessage::numbered(6);
    let mut second = VoiceMessage::numbered(7);
    second.message_id = first.message_id.clone();
    process(&mut gateway, &first, &["fr"]);
    wait_written(&daemon, 3);
    process(&mut gateway, &second, &["fr", "es"]);
    // The voice and the Spanish audio have a place.
    wait_written(&daemon, 5);
    wait_for("two skipped documents", || {
        let skipped = ["outcome=\"skipped\""];
        let count = daemon.metric("translator_documents_written_total", &skipped);
        (count as u64 == 2).then_some(())
    });
    daemon.wait_logged("another document keeps the unique key");
    let attachments = |collection| -> Vec<ObjectId> {
        let documents = database.documents(collection);
        let id = |document: &Document| document.get_object_id("attachmentId").unwrap();
        documents.iter().map(id).collect()
    };
    assert_eq!(
        attachments(TRANSCRIPTIONS),
        [object_id(&first.attachment_id)]
    );
    let mut audios = attachments(AUDIOS);
    audios.sort();
    assert_eq!(
        audios,
        [&first, &second].map(|message| object_id(&message.attachment_id))
    );
    assert_eq!(database.documents(VOICES).len(), 2);
    wait_for("documents that wait", || {
        (daemon.metric("translator_documents_pending", &[]) == 0.0).then_some(())
    });
}

#[test]
fn the_indexes_of_the_schema_are_there() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    wait_for("connection", || is_database(&daemon, "connected"));
    for (collection, expected) in [
        (
            TRANSCRIPTIONS,
            &[
                (doc! { "attachmentId": 1 }, true),
                (doc! { "messageId": 1 }, false),
                (doc! { "language": 1 }, false),
            ][..],
        ),
        (
            AUDIOS,
            &[
                (doc! { "attachmentId": 1, "targetLanguage": 1 }, true),
                (doc! { "messageId": 1 }, false),
                (doc! { "targetLanguage": 1 }, false),
            ],
        ),
        (
            VOICES,
            &[
                (doc! { "userId": 1 }, true),
                (doc! { "updatedAt": 1 }, false),
            ],
        ),
    ] {
        let mut found = database.indexes(collection);
        found.retain(|(keys, _)| *keys != doc! { "_id": 1 });
        for index in expected {
            assert!(
                found.contains(index),
                "{collection} lacks {index:?}: {found:?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{collection}: {found:?}");
    }
}

#[test]
fn nothing_is_written_when_nothing_is_wanted() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let mut daemon = database.daemon(&[("MONGO_WRITE", "none")]);
    let mut gateway = Gateway::connect(daemon.ports);
    process(&mut gateway, &VoiceMessage::numbered(5), &["fr"]);
    let health = daemon.get_json("/health");
    assert_eq!(health["components"]["database"], "disabled");
    assert_eq!(health["status"], "healthy");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(database.collections(), Vec::<String>::new());
}

#[test]
fn an_absent_database_delays_no_event_and_gets_every_document_later() {
    // Its own server: it is stopped.
    let Some(mut server) = TestMongo::start() else {
        return;
    };
    let database = Database::new(&server);
    let mut daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let messages: Vec<VoiceMessage> = (10..14).map(VoiceMessage::numbered).collect();
    process(&mut gateway, &messages[0], &["fr", "es"]);
    wait_written(&daemon, 4);

    if !server.stop() {
        skip(
            "REQUIRE_MONGODB",
            "a server that is not ours is not stopped",
        );
        return;
    }
    // It is missed before there is anything to write.
    wait_for("degraded health", || is_database(&daemon, "unreachable"));
    assert_eq!(daemon.get_json("/health")["status"], "degraded");
    assert_eq!(daemon.get("/ready").unwrap().0, 200, "jobs do not need it");
    process(&mut gateway, &messages[1], &["fr", "es"]);
    process(&mut gateway, &messages[2], &["fr", "es"]);
    daemon.kill();
    daemon.restart();
    process(&mut gateway, &messages[3], &["fr", "es"]);
    wait_for("documents that wait", || {
        (daemon.metric("translator_documents_pending", &[]) == 12.0).then_some(())
    });

    server.restart().unwrap();
    wait_written(&daemon, 12);
    wait_for("healthy database", || is_database(&daemon, "connected"));
    assert_eq!(daemon.get_json("/health")["status"], "healthy");
    for (collection, key, count) in [
        (TRANSCRIPTIONS, "attachmentId", 4),
        (AUDIOS, "attachmentId", 8),
        (VOICES, "userId", 4),
    ] {
        let documents = database.documents(collection);
        assert_eq!(documents.len(), count, "{collection}");
        for message in &messages {
            let id = match key {
                "userId" => &message.sender_id,
                _ => &message.attachment_id,
            };
            let of_message = documents
                .iter()
                .filter(|document| document.get_object_id(key).unwrap() == object_id(id))
                .count();
            assert_eq!(of_message, count / messages.len(), "{collection} of {id}");
        }
    }
}

fn is_database(daemon: &Daemon, state: &str) -> Option<()> {
    (daemon.get_json("/health")["components"]["database"] == state).then_some(())
}
