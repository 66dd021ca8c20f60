//! Databases for daemons. FerretDB plays MongoDB.

#[path = "../../support/mongodb.rs"]
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::daemon::Daemon;
use super::proxy::Proxy;
pub use server::TestMongo;

/// One server for all tests that run at the same time; the last of them ends it.
pub fn shared_server() -> Option<Arc<TestMongo>> {
    static SERVER: Mutex<Weak<TestMongo>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = server.upgrade() {
        return Some(running);
    }
    let started = Arc::new(TestMongo::start()?);
    *server = Arc::downgrade(&started);
    Some(started)
}

/// A database of one test.
pub struct Database {
    url: String,
    name: String,
    runtime: tokio::runtime::Runtime,
}

impl Database {
    /// An empty one.
    pub fn new(server: &TestMongo) -> Self {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        Self {
            url: server.url().replace(server.database(), &name),
            name,
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    /// All documents of a collection.
    pub fn documents(&self, collection: &str) -> Vec<Document> {
        self.runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(&self.url).await.unwrap();
            let collection = client
                .database(&self.name)
                .collection::<Document>(collection);
            let mut cursor = collection.find(doc! {}).await.unwrap();
            let mut found = Vec::new();
            while cursor.advance().await.unwrap() {
                found.push(cursor.deserialize_current().unwrap());
            }
            found
        })
    }

    /// Adds documents to a collection.
    pub fn insert(&self, collection: &str, documents: Vec<Document>) {
        self.runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(&self.url).await.unwrap();
            let collection = client
                .database(&self.name)
                .collection::<Document>(collection);
            collection.insert_many(documents).await.unwrap();
        });
    }

    /// Makes a unique index.
    pub fn unique_index(&self, collection: &str, keys: Document) {
        self.runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(&self.url).await.unwrap();
            let collection = client
                .database(&self.name)
                .collection::<Document>(collection);
            let unique = IndexOptions::builder().unique(true).build();
            let index = IndexModel::builder().keys(keys).options(unique).build();
            collection.create_index(index).await.unwrap();
        });
    }

    /// The indexes of a collection: keys, and whether they are unique.
    pub fn indexes(&self, collection: &str) -> Vec<(Document, bool)> {
        self.runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(&self.url).await.unwrap();
            let collection = client
                .database(&self.name)
                .collection::<Document>(collection);
            let mut cursor = collection.list_indexes().await.unwrap();
            let mut found = Vec::new();
            while cursor.advance().await.unwrap() {
                let index = cursor.deserialize_current().unwrap();
                let is_unique = index.options.and_then(|options| options.unique);
                found.push((index.keys, is_unique == Some(true)));
            }
            found
        })
    }

    /// Names of the collections that are there.
    pub fn collections(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(&self.url).await.unwrap();
            let database = client.database(&self.name);
            database.list_collection_names().await.unwrap()
        })
    }

    /// A proxy in front of the server, and the address of the database behind it; `None` for a server on
    /// another machine.
    pub fn proxied(&self) -> Option<(Proxy, String)> {
        let (server, _) = self.url.strip_prefix("mongodb://")?.split_once('/')?;
        let address: SocketAddr = server.parse().ok()?;
        if !address.ip().is_loopback() {
            return None;
        }
        let proxy = Proxy::start(address).unwrap();
        let url = self.url.replace(server, &proxy.address().to_string());
        Some((proxy, url))
    }

    /// A daemon that writes here.
    pub fn daemon(&self, environment: &[(&str, &str)]) -> Daemon {
        let mut all = vec![("DATABASE_URL", self.url.as_str())];
        all.extend(environment);
        Daemon::start_with(&all)
    }
}
