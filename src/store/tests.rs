#[path = "../../tests/support/mongodb.rs"]
mod mongodb_server;
mod outages;
mod reads;
mod traces;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use super::documents::{self, Recording, TranslatedAudioRecord, VoiceModelRecord};
use super::*;
use crate::domain::{Language, Segment, Transcript, TranscriptSource};
use mongodb_server::TestMongo;

const RECORDING: Recording<'_> = Recording {
    message_id: "5f0000000000000000000a01",
    attachment_id: "5f0000000000000000000b01",
};

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn transcript() -> Transcript {
    Transcript {
        text: "Bonne route.".into(),
        language: Language::FRENCH,
        confidence: 1.0,
        source: TranscriptSource::Whisper,
        duration_ms: 2_480,
        model: Some("base".to_owned()),
        segments: vec![Segment {
            text: "Bonne route.".into(),
            start_ms: 80,
            end_ms: 1_100,
            confidence: Some(0.93),
            speaker_id: None,
            voice_similarity_score: None,
            language: None,
        }],
    }
}

fn audio(text: &str) -> TranslatedAudioRecord<'_> {
    TranslatedAudioRecord {
        target_language: Language::ENGLISH,
        translated_text: text,
        audio_path: "outputs/audio/translated/a.mp3",
        audio_url: "/outputs/audio/translated/a.mp3",
        duration_ms: 2_100,
        format: "mp3",
        voice_cloned: true,
        voice_quality: 0.7,
        tts_model: "xtts",
    }
}

fn voice(version: u32) -> VoiceModelRecord<'static> {
    VoiceModelRecord {
        user_id: "5f0000000000000000000c01",
        embedding_path: "voices/5f0000000000000000000c01",
        audio_count: version,
        total_duration_ms: 12_000,
        quality_score: 0.5,
        version,
        next_recalibration_at: Some(time(1_700_000_000 + 30 * 86_400)),
    }
}

fn every_write(policy: IdPolicy) -> Vec<DocumentWrite> {
    let at = time(1_700_000_000);
    [
        documents::transcription(RECORDING, &transcript(), at, policy),
        documents::translated_audio(RECORDING, &audio("Have a safe trip."), at, policy),
        documents::voice_model(&voice(1), at, policy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn a_transcription_has_the_types_of_the_schema() {
    let write =
        documents::transcription(RECORDING, &transcript(), time(1), IdPolicy::ObjectIdsOnly)
            .unwrap();
    assert_eq!(write.collection.as_str(), "message_audio_transcriptions");
    assert_eq!(
        write.key,
        doc! { "attachmentId": ObjectId::parse_str(RECORDING.attachment_id).unwrap() }
    );
    assert_eq!(
        write.fields,
        doc! {
            "messageId": ObjectId::parse_str(RECORDING.message_id).unwrap(),
            "transcribedText": "Bonne route.",
            "language": "fr",
            "confidence": 1.0_f64,
            "source": "whisper",
            "segments": [{ "text": "Bonne route.", "startMs": 80_i32, "endMs": 1_100_i32, "confidence": 0.93_f64 }],
            "audioDurationMs": 2_480_i32,
            "model": "base",
            "createdAt": mongodb::bson::DateTime::from_millis(1_000),
        }
    );
}

#[test]
fn a_mobile_transcription_names_no_model() {
    let mut transcript = transcript();
    transcript.source = TranscriptSource::Mobile;
    transcript.model = Some("ios_speech".to_owned());
    transcript.segments.clear();
    let write =
        documents::transcription(RECORDING, &transcript, time(1), IdPolicy::ObjectIdsOnly).unwrap();
    assert_eq!(write.fields.get("model"), Some(&Bson::Null));
    assert_eq!(write.fields.get("segments"), Some(&Bson::Null));
    assert_eq!(write.fields.get_str("source").unwrap(), "mobile");
}

#[test]
fn writes_survive_the_ledger_with_every_type() {
    for policy in [IdPolicy::ObjectIdsOnly, IdPolicy::Strings] {
        for write in every_write(policy) {
            let (key, fields) = write.to_json().unwrap();
            let read = DocumentWrite::from_json(write.collection, &key, &fields).unwrap();
            assert!(read == write, "{key} {fields}");
        }
    }
    assert!(DocumentWrite::from_json(Collection::VoiceModels, "{}", "[").is_err());
}

#[test]
fn ids_that_are_no_object_ids_are_written_only_when_wanted() {
    for id in [
        "post:5f0000000000000000000a01",
        "rest_1_x",
        "system",
        "",
        "5f0000000000000000000a0g",
    ] {
        let recording = Recording {
            attachment_id: id,
            ..RECORDING
        };
        let write = |policy| documents::transcription(recording, &transcript(), time(1), policy);
        assert!(write(IdPolicy::ObjectIdsOnly).is_none(), "{id}");
        assert_eq!(
            write(IdPolicy::Strings).unwrap().key,
            doc! { "attachmentId": id }
        );
    }
}

#[test]
fn writes_of_one_document_have_one_order_key() {
    let [transcription, audio, voice] = every_write(IdPolicy::ObjectIdsOnly).try_into().unwrap();
    assert_eq!(
        transcription.order_key(),
        "message_audio_transcriptions/5f0000000000000000000b01"
    );
    assert_eq!(
        audio.order_key(),
        "message_translated_audios/5f0000000000000000000b01/en"
    );
    assert_eq!(
        voice.order_key(),
        "user_voice_models/5f0000000000000000000c01"
    );
    assert_eq!(
        Collection::from_name("user_voice_models"),
        Some(Collection::VoiceModels)
    );
    assert_eq!(Collection::from_name("Message"), None);
}

#[test]
fn debug_output_holds_no_words() {
    for write in every_write(IdPolicy::Strings) {
        let shown = format!("{write:?}");
        assert!(
            !shown.contains("route") && !shown.contains("trip"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_a_final_error() {
    let store = MongoStore::new("mongodb://", MongoOptions::default());
    let error = store.ping().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Address(_)) && !error.is_transient(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_a_transient_error() {
    let options = MongoOptions {
        selection_timeout: Duration::from_millis(100),
        ..MongoOptions::default()
    };
    // Port 1 of this machine serves nothing.
    let store = MongoStore::new("mongodb://127.0.0.1:1/none", options);
    for write in every_write(IdPolicy::ObjectIdsOnly) {
        let error = store.upsert(&write).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    }
}

/// What the server holds in a collection.
async fn stored(server: &TestMongo, collection: Collection) -> Vec<Document> {
    let client = mongodb::Client::with_uri_str(server.url()).await.unwrap();
    let documents = client
        .database(server.database())
        .collection::<Document>(collection.as_str());
    let mut cursor = documents.find(doc! {}).await.unwrap();
    let mut found = Vec::new();
    while cursor.advance().await.unwrap() {
        found.push(cursor.deserialize_current().unwrap());
    }
    found
}

#[tokio::test]
async fn upserts_are_idempotent_and_keep_the_day_of_creation() {
    let Some(server) = TestMongo::start() else {
        return;
    };
    let store = MongoStore::new(&server.url(), MongoOptions::default());
    store.ensure_indexes().await.unwrap();
    store.ensure_indexes().await.unwrap();
    for write in every_write(IdPolicy::ObjectIdsOnly) {
        for _ in 0..2 {
            assert_eq!(store.upsert(&write).await.unwrap(), Outcome::Written);
        }
        let [document] = stored(&server, write.collection).await.try_into().unwrap();
        let mut expected = write.key.clone();
        expected.extend(write.fields.clone());
        expected.insert("_id", document.get_object_id("_id").unwrap());
        for (key, value) in &expected {
            assert_eq!(document.get(key), Some(value), "{key}");
        }
        assert_eq!(document.len(), expected.len());
    }

    let later = time(1_800_000_000);
    let improved = documents::voice_model(&voice(2), later, IdPolicy::ObjectIdsOnly).unwrap();
    store.upsert(&improved).await.unwrap();
    let [document] = stored(&server, Collection::VoiceModels)
        .await
        .try_into()
        .unwrap();
    assert_eq!(document.get_i32("version").unwrap(), 2);
    assert_eq!(
        document
            .get_datetime("updatedAt")
            .unwrap()
            .timestamp_millis(),
        1_800_000_000_000
    );
    assert_eq!(
        document
            .get_datetime("createdAt")
            .unwrap()
            .timestamp_millis(),
        1_700_000_000_000
    );
}

#[tokio::test]
async fn a_deletion_keeps_its_place_and_may_be_repeated() {
    let policy = IdPolicy::ObjectIdsOnly;
    let write = documents::voice_model(&voice(1), time(1_700_000_000), policy).unwrap();
    let delete = documents::no_voice_model(voice(1).user_id, policy).unwrap();
    assert_eq!(delete.order_key(), write.order_key());
    assert!(documents::no_voice_model("post:1", policy).is_none());
    let (key, fields) = delete.to_json().unwrap();
    let read = DocumentDelete::from_json(delete.collection, &key, &fields).unwrap();
    assert_eq!(read.as_ref(), Some(&delete));
    let (key, fields) = write.to_json().unwrap();
    let read = DocumentDelete::from_json(write.collection, &key, &fields).unwrap();
    assert_eq!(read, None);

    let Some(server) = TestMongo::start() else {
        return;
    };
    let store = MongoStore::new(&server.url(), MongoOptions::default());
    store.upsert(&write).await.unwrap();
    for _ in 0..2 {
        store.delete(&delete).await.unwrap();
        assert_eq!(stored(&server, Collection::VoiceModels).await, []);
    }
}

#[tokio::test]
async fn a_document_in_the_way_is_a_conflict_and_not_an_error() {
    let Some(server) = TestMongo::start() else {
        return;
    };
    // The later variant of the schema: one transcription for each message.
    let client = mongodb::Client::with_uri_str(server.url()).await.unwrap();
    let collection = client
        .database(server.database())
        .collection::<Document>(Collection::Transcriptions.as_str());
    let unique = mongodb::options::IndexOptions::builder()
        .unique(true)
        .build();
    let index = mongodb::IndexModel::builder()
        .keys(doc! { "messageId": 1 })
        .options(unique)
        .build();
    collection.create_index(index).await.unwrap();

    let store = MongoStore::new(&server.url(), MongoOptions::default());
    store.ensure_indexes().await.unwrap();
    let second = Recording {
        attachment_id: "5f0000000000000000000b02",
        ..RECORDING
    };
    let write = |recording| {
        documents::transcription(recording, &transcript(), time(1), IdPolicy::ObjectIdsOnly)
            .unwrap()
    };
    assert_eq!(
        store.upsert(&write(RECORDING)).await.unwrap(),
        Outcome::Written
    );
    assert_eq!(
        store.upsert(&write(second)).await.unwrap(),
        Outcome::Conflict
    );
}

#[tokio::test]
async fn a_store_finds_its_server_again() {
    let Some(mut server) = TestMongo::start() else {
        return;
    };
    let options = MongoOptions {
        selection_timeout: Duration::from_millis(500),
        ..MongoOptions::default()
    };
    let store = MongoStore::new(&server.url(), options);
    let write = every_write(IdPolicy::ObjectIdsOnly).remove(0);
    store.upsert(&write).await.unwrap();
    if !server.stop() {
        return;
    }
    assert!(store.upsert(&write).await.unwrap_err().is_transient());
    server.restart().unwrap();
    // The driver may notice the new server only at its next heartbeat.
    let mut outcome = store.upsert(&write).await;
    for _ in 0..100 {
        if outcome.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        outcome = store.upsert(&write).await;
    }
    assert_eq!(outcome.unwrap(), Outcome::Written);
    assert_eq!(stored(&server, Collection::Transcriptions).await.len(), 1);
}
