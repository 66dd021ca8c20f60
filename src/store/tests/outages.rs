//! What a server that is there may say instead of taking a document.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::every_write;
use crate::store::fake_mongodb::FakeMongo;
use crate::store::{IdPolicy, MongoOptions, MongoStore, Outcome, StoreError};

fn store(url: &str) -> MongoStore {
    let options = MongoOptions {
        selection_timeout: Duration::from_millis(500),
        ..MongoOptions::default()
    };
    MongoStore::new(url, options)
}

/// What an upsert ends with that is answered so.
async fn refusal(server: &FakeMongo, answer: Document) -> StoreError {
    server.answer("update", answer);
    // A store of its own: the breaker of another may be open.
    let store = store(&server.url(""));
    let write = every_write(IdPolicy::ObjectIdsOnly).remove(0);
    store.upsert(&write).await.unwrap_err()
}

fn command_error(code: i32) -> Document {
    doc! { "ok": 0, "code": code, "codeName": "Any", "errmsg": "not shown" }
}

fn write_error(code: i32) -> Document {
    doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": code, "errmsg": "not shown" }] }
}

fn write_concern_error(code: i32) -> Document {
    doc! { "ok": 1, "n": 1, "writeConcernError": { "code": code, "codeName": "Any", "errmsg": "not shown" } }
}

#[tokio::test]
async fn a_server_that_takes_nothing_now_is_waited_for() {
    let server = FakeMongo::start().unwrap();
    // Stepping down, interrupted by it, shutting down, no primary, disk full, no majority.
    for answer in [
        command_error(189),
        command_error(11_602),
        command_error(11_600),
        command_error(10_107),
        command_error(91),
        command_error(14_031),
        write_concern_error(64),
        write_concern_error(189),
        write_error(10_107),
    ] {
        let error = refusal(&server, answer.clone()).await;
        assert!(
            matches!(
                error,
                StoreError::NotNow { .. } | StoreError::Unreachable(_)
            ),
            "{answer}: {error:?}"
        );
        assert!(error.is_absence() && error.is_transient() && error.is_outage());
        assert!(!crate::error::error_chain(&error).contains("not shown"));
    }
}

#[tokio::test]
async fn missing_rights_are_waited_for_and_stop_nothing_else() {
    let server = FakeMongo::start().unwrap();
    for answer in [command_error(13), write_error(13), command_error(8000)] {
        let error = refusal(&server, answer.clone()).await;
        assert!(
            matches!(error, StoreError::Forbidden { .. }),
            "{answer}: {error:?}"
        );
        assert!(error.is_absence() && error.is_transient() && !error.is_outage());
    }
    let store = store(&server.url(""));
    let write = every_write(IdPolicy::ObjectIdsOnly).remove(0);
    store.upsert(&write).await.unwrap_err();
    // A user that may only read does read.
    assert_eq!(
        store
            .voice_embedding("5f0000000000000000000a01")
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_wrong_password_is_waited_for() {
    let server = FakeMongo::start().unwrap();
    server.answer("saslStart", command_error(18));
    let store = store(&server.url("user:password@"));
    let write = every_write(IdPolicy::ObjectIdsOnly).remove(0);
    let error = store.upsert(&write).await.unwrap_err();
    assert!(error.is_absence() && error.is_outage(), "{error:?}");
    let text = crate::error::error_chain(&error);
    assert!(!text.contains("password@"), "{text}");
    assert!(matches!(
        store.upsert(&write).await.unwrap_err(),
        StoreError::BreakerOpen
    ));
}

#[tokio::test]
async fn a_document_that_will_never_be_taken_is_no_absence() {
    let server = FakeMongo::start().unwrap();
    for code in [121, 2, 10_334] {
        let error = refusal(&server, write_error(code)).await;
        assert!(
            matches!(error, StoreError::Refused { .. }),
            "{code}: {error:?}"
        );
        assert!(!error.is_absence() && !error.is_transient());
    }
}

#[tokio::test]
async fn a_new_primary_is_found_a_few_seconds_later() {
    let server = FakeMongo::start().unwrap();
    let store = store(&server.url(""));
    let write = every_write(IdPolicy::ObjectIdsOnly).remove(0);
    server.answer("update", command_error(10_107));
    assert!(store.upsert(&write).await.unwrap_err().is_absence());
    let asked = server.count("update");
    for _ in 0..20 {
        assert!(store.upsert(&write).await.is_err());
    }
    assert_eq!(server.count("update"), asked, "it is left alone");
    server.recover();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let outcome = loop {
        let outcome = store.upsert(&write).await;
        if outcome.is_ok() || std::time::Instant::now() > until {
            break outcome;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(outcome.unwrap(), Outcome::Written);
    assert_eq!(server.updates().len(), 1);
}
