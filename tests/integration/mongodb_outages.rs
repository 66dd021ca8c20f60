//! MongoDB that is cut off, silent, slow or unwilling: events go on, documents wait and come once.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};

use crate::support::daemon::Daemon;
use crate::support::database::{Database, TestMongo, shared_server};
use crate::support::fake_mongodb::FakeMongo;
use crate::support::gateway::Gateway;
use crate::support::proxy::{Link, Proxy};
use crate::support::voice_message::VoiceMessage;
use crate::support::{skip, wait_for};

const COMPLETED: &str = "audio_process_completed";

/// A voice message in two languages leaves a transcription, two audios and a voice.
const DOCUMENTS: u64 = 4;

fn process(gateway: &mut Gateway, number: u32) {
    let message = VoiceMessage::numbered(number);
    message.send(gateway, &["fr", "es"]);
    gateway.events_of(&message.message_id, &[COMPLETED]);
}

/// A database, a proxy before it, and its address behind the proxy.
fn proxied() -> Option<(Arc<TestMongo>, Database, Proxy, String)> {
    let server = shared_server()?;
    let database = Database::new(&server);
    let Some((proxy, url)) = database.proxied() else {
        skip(
            "REQUIRE_MONGODB",
            "no proxy is put before a server elsewhere",
        );
        return None;
    };
    Some((server, database, proxy, url))
}

fn wait_written(daemon: &Daemon, count: u64) {
    let labels = ["outcome=\"written\""];
    wait_for(&format!("{count} written documents"), || {
        let written = daemon.metric("translator_documents_written_total", &labels);
        (written as u64 >= count).then_some(())
    });
}

fn wait_database(daemon: &Daemon, state: &str, breaker: &[&str]) {
    wait_for(&format!("{state} database"), || {
        let components = &daemon.get_json("/health")["components"];
        let breaker_state = components["database_breaker"].as_str().unwrap();
        (components["database"] == state && breaker.contains(&breaker_state)).then_some(())
    });
}

/// One document for each key, however often it was tried.
fn assert_documents(database: &Database, messages: usize) {
    for (collection, keys, count) in [
        ("message_audio_transcriptions", &["attachmentId"][..], 1),
        (
            "message_translated_audios",
            &["attachmentId", "targetLanguage"],
            2,
        ),
        ("user_voice_models", &["userId"], 1),
    ] {
        let documents = database.documents(collection);
        assert_eq!(documents.len(), count * messages, "{collection}");
        let mut found: Vec<String> = documents
            .iter()
            .map(|document| {
                keys.iter()
                    .map(|key| document.get(key).unwrap().to_string())
                    .collect()
            })
            .collect();
        found.sort();
        found.dedup();
        assert_eq!(
            found.len(),
            documents.len(),
            "{collection} has a document twice"
        );
    }
}

#[test]
fn a_database_that_is_cut_off_delays_no_event_and_gets_every_document_once() {
    let Some((_server, database, proxy, url)) = proxied() else {
        return;
    };
    let daemon = Daemon::start_with(&[("DATABASE_URL", &url)]);
    let mut gateway = Gateway::connect(daemon.ports);
    process(&mut gateway, 101);
    wait_written(&daemon, DOCUMENTS);

    proxy.set(Link::Cut);
    process(&mut gateway, 102);
    process(&mut gateway, 103);
    wait_database(&daemon, "unreachable", &["open", "half_open"]);
    assert_eq!(daemon.get_json("/health")["status"], "degraded");
    assert_eq!(daemon.get("/ready").unwrap().0, 200, "jobs do not need it");
    wait_for("documents that wait", || {
        (daemon.metric("translator_documents_pending", &[]) == 2.0 * DOCUMENTS as f64).then_some(())
    });
    assert!(daemon.metric("translator_mongodb_breaker_state", &[]) > 0.0);

    proxy.set(Link::Open);
    wait_written(&daemon, 3 * DOCUMENTS);
    wait_database(&daemon, "connected", &["closed"]);
    assert_documents(&database, 3);
    for line in ["mongodb is away", "mongodb is back"] {
        assert_eq!(
            daemon.log().matches(line).count(),
            1,
            "{line:?} is logged once"
        );
    }
}

#[test]
fn a_database_that_swallows_everything_holds_up_neither_events_nor_the_stop() {
    let Some((_server, database, proxy, url)) = proxied() else {
        return;
    };
    let mut daemon = Daemon::start_with(&[("DATABASE_URL", &url)]);
    let mut gateway = Gateway::connect(daemon.ports);
    process(&mut gateway, 111);
    wait_written(&daemon, DOCUMENTS);

    proxy.set(Link::Stalled);
    process(&mut gateway, 112);
    wait_database(&daemon, "unreachable", &["closed", "open", "half_open"]);
    process(&mut gateway, 113);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!daemon.log().contains("did not end in time"));

    // It starts without the database, too.
    daemon.restart();
    process(&mut gateway, 114);
    proxy.set(Link::Open);
    wait_written(&daemon, 3 * DOCUMENTS);
    assert_documents(&database, 4);
}

#[test]
fn a_slow_database_gets_every_document() {
    let Some((_server, database, proxy, url)) = proxied() else {
        return;
    };
    proxy.set(Link::Slow(Duration::from_millis(300)));
    let daemon = Daemon::start_with(&[("DATABASE_URL", &url)]);
    let mut gateway = Gateway::connect(daemon.ports);
    process(&mut gateway, 121);
    process(&mut gateway, 122);
    wait_written(&daemon, 2 * DOCUMENTS);
    assert_documents(&database, 2);
}

/// A daemon whose database answers one command with an error until it is repaired.
fn assert_waits_for(command: &str, answer: Document, user: &str, line: &str) {
    let server = FakeMongo::start().unwrap();
    server.answer(command, answer);
    let url = server.url(user);
    let daemon = Daemon::start_with(&[("DATABASE_URL", &url)]);
    let mut gateway = Gateway::connect(daemon.ports);
    process(&mut gateway, 131);
    process(&mut gateway, 132);
    daemon.wait_logged(line);
    wait_database(&daemon, "unreachable", &["closed", "open", "half_open"]);
    wait_for("documents that wait", || {
        (daemon.metric("translator_documents_pending", &[]) == 2.0 * DOCUMENTS as f64).then_some(())
    });
    assert!(server.count(command) > 0);
    assert_eq!(server.updates(), Vec::<Document>::new());
    assert!(!daemon.log().contains("password@"));

    if user.is_empty() {
        server.recover();
        wait_written(&daemon, 2 * DOCUMENTS);
        assert_eq!(server.updates().len() as u64, 2 * DOCUMENTS);
    }
    let given_up = ["outcome=\"skipped\""];
    assert_eq!(
        daemon.metric("translator_documents_written_total", &given_up),
        0.0
    );
}

fn error(code: i32) -> Document {
    doc! { "ok": 0, "code": code, "codeName": "Any", "errmsg": "scripted" }
}

#[test]
fn documents_wait_for_a_new_primary() {
    assert_waits_for("update", error(10_107), "", "mongodb is away");
}

#[test]
fn documents_wait_for_a_majority() {
    let answer = doc! {
        "ok": 1, "n": 1, "writeConcernError": { "code": 64, "codeName": "Any", "errmsg": "scripted" },
    };
    assert_waits_for("update", answer, "", "mongodb is away");
}

#[test]
fn documents_wait_for_the_right_to_write() {
    assert_waits_for("update", error(13), "", "mongodb takes no writes");
}

#[test]
fn documents_wait_for_the_right_password() {
    assert_waits_for("saslStart", error(18), "user:password@", "mongodb is away");
}

#[test]
fn documents_wait_for_space_on_the_side_of_the_database() {
    assert_waits_for("update", error(14_031), "", "mongodb is away");
}
