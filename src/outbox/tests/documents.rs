//! Documents that wait for a database.

use std::net::TcpListener;

use mongodb::bson::{Document, doc};
use tokio::sync::watch;

use super::*;
use crate::ledger::DocumentWrite;
use crate::observe::Health;
use crate::observe::health::DatabaseStatus;
use crate::store::fake_mongodb::FakeMongo;
use crate::store::{MongoOptions, MongoStore};

const USERS: i32 = 10;
const VERSIONS: i32 = 5;

/// Stores five versions of the documents of ten users, each by a job of its own.
async fn store_documents(ledger: &Ledger) {
    for version in 0..VERSIONS {
        let key = format!("version-{version}");
        let Accepted::New(job_id) = ledger.accept(job(&key)).await.unwrap() else {
            panic!("a new job");
        };
        let documents = (0..USERS).map(|user| DocumentWrite {
            order_key: format!("user_voice_models/{user}"),
            collection: "user_voice_models".into(),
            filter: format!(r#"{{"userId":{user}}}"#),
            document: format!(r#"{{"version":{version}}}"#).into(),
        });
        let emission = Emission {
            documents: documents.collect(),
            finish: Some(Finish::Done),
            ..Emission::default()
        };
        ledger.emit(job_id, emission).await.unwrap();
    }
}

struct Writing {
    ledger: Ledger,
    health: Arc<Health>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    folder: TempDir,
}

async fn start_writing(url: &str) -> Writing {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    store_documents(&ledger).await;
    let options = MongoOptions {
        selection_timeout: Duration::from_millis(500),
        ..MongoOptions::default()
    };
    let store = Arc::new(MongoStore::new(url, options));
    let health = Health::new(
        Vec::new(),
        DatabaseStatus::Unknown,
        Some(store.watch_breaker()),
    );
    let health = Arc::new(health);
    let (stop, stopping) = watch::channel(false);
    let writing =
        super::super::documents::run(store, ledger.clone(), Arc::clone(&health), stopping);
    Writing {
        ledger,
        health,
        stop,
        task: tokio::spawn(writing),
        folder,
    }
}

fn versions_of(updates: &[Document], user: i32) -> Vec<i32> {
    let of_user = updates.iter().filter(|update| {
        update
            .get_document("q")
            .unwrap()
            .get_i32("userId")
            .is_ok_and(|found| found == user)
    });
    let version = |update: &Document| {
        let set = update.get_document("u").unwrap().get_document("$set");
        set.unwrap().get_i32("version").unwrap()
    };
    of_user.map(version).collect()
}

#[tokio::test]
async fn what_has_waited_is_written_in_order_and_once() {
    let server = FakeMongo::start().unwrap();
    let stepped_down =
        doc! { "ok": 0, "code": 189, "codeName": "PrimarySteppedDown", "errmsg": "" };
    server.answer("update", stepped_down);
    let writing = start_writing(&server.url("")).await;
    until(async || writing.health.database() == DatabaseStatus::Unreachable).await;
    let waiting = writing.ledger.counts().await.unwrap().pending_documents;
    assert_eq!(waiting, u64::from((USERS * VERSIONS) as u32));
    server.recover();
    until(async || writing.ledger.counts().await.unwrap().pending_documents == 0).await;
    let updates = server.updates();
    for user in 0..USERS {
        assert_eq!(versions_of(&updates, user), [0, 1, 2, 3, 4], "user {user}");
    }
    until(async || writing.health.database() == DatabaseStatus::Connected).await;
    writing.stop.send_replace(true);
    writing.task.await.unwrap();
}

#[tokio::test]
async fn a_document_that_is_refused_for_good_holds_up_only_itself() {
    let server = FakeMongo::start().unwrap();
    let invalid =
        doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": 121, "errmsg": "" }] };
    server.answer("update", invalid);
    let writing = start_writing(&server.url("")).await;
    // The first version of each user is refused, and the later ones wait behind it.
    until(async || server.count("update") >= USERS as usize).await;
    let waiting = writing.ledger.counts().await.unwrap().pending_documents;
    assert_eq!(
        waiting,
        u64::from((USERS * VERSIONS) as u32),
        "not given up at once"
    );
    assert_eq!(writing.health.database(), DatabaseStatus::Connected);
    writing.stop.send_replace(true);
    writing.task.await.unwrap();
}

#[tokio::test]
async fn a_document_that_is_refused_for_a_day_makes_way() {
    let server = FakeMongo::start().unwrap();
    // A code that tells nothing of another try.
    let refused =
        doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": 96, "errmsg": "" }] };
    server.answer("update", refused);
    let writing = start_writing(&server.url("")).await;
    let database = rusqlite::Connection::open(writing.folder.path().join("ledger.sqlite3"));
    let database = database.unwrap();
    let tried = async |attempts: u32| -> i32 {
        let query = "SELECT count(*) FROM documents WHERE attempts >= ?1";
        let count = database.query_row(query, [attempts], |row| row.get(0));
        count.unwrap()
    };
    let set_attempts = |attempts: u32| {
        let statement =
            "UPDATE documents SET attempts = ?1, next_attempt_at_ms = 0 WHERE attempts > 0";
        database.execute(statement, [attempts]).unwrap();
    };
    let pending = async || writing.ledger.counts().await.unwrap().pending_documents;
    let all = u64::from((USERS * VERSIONS) as u32);
    until(async || tried(1).await == USERS).await;
    // As after nearly a day: the last try but one makes it wait once more.
    set_attempts(24 * 60 - 2);
    until(async || tried(24 * 60 - 1).await == USERS).await;
    assert_eq!(pending().await, all);
    set_attempts(24 * 60 - 1);
    until(async || pending().await == all - USERS as u64).await;
    // The versions behind it are tried.
    until(async || tried(1).await == 2 * USERS).await;
    writing.stop.send_replace(true);
    writing.task.await.unwrap();
}

#[tokio::test]
async fn a_black_hole_does_not_hold_up_the_stop() {
    // Accepts in the system's queue, and nobody ever answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mongodb://{}/none", listener.local_addr().unwrap());
    let writing = start_writing(&url).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    writing.stop.send_replace(true);
    let stopped = tokio::time::timeout(Duration::from_secs(20), writing.task).await;
    stopped.unwrap().unwrap();
}
