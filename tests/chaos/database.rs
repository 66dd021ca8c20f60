//! MongoDB, played by FerretDB, behind a proxy; and what is in it.

use std::net::SocketAddr;
use std::str::FromStr as _;

use mongodb::bson::{Bson, Document, doc};

use crate::checker::evidence::{StoredDocument, document_key};
use crate::support::mongodb::TestMongo;
use crate::support::proxy::Proxy;

/// A server with an empty database.
pub struct Database {
    server: TestMongo,
    /// The only way by which the daemon reaches it.
    pub proxy: Proxy,
    runtime: tokio::runtime::Runtime,
}

impl Database {
    /// Starts one; `None` after telling that there is no server, unless `REQUIRE_MONGODB=1` forbids that.
    pub fn start() -> Option<Self> {
        let server = TestMongo::start()?;
        let address = server.url();
        let address = address.trim_start_matches("mongodb://");
        let address = address.split(['/', '?']).next().unwrap_or_default();
        let address = SocketAddr::from_str(address).expect("the server's address is an IP address");
        Some(Self {
            proxy: Proxy::start(address).expect("a proxy"),
            server,
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        })
    }

    /// The address behind the proxy.
    pub fn url(&self) -> String {
        format!(
            "mongodb://{}/{}",
            self.proxy.address(),
            self.server.database()
        )
    }

    /// Everything that was written, read past the proxy.
    pub fn documents(&self) -> mongodb::error::Result<Vec<StoredDocument>> {
        self.runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(self.server.url()).await?;
            let database = client.database(self.server.database());
            let mut all = Vec::new();
            for collection in database.list_collection_names().await? {
                let documents = database.collection::<Document>(&collection);
                let mut cursor = documents.find(doc! {}).await?;
                while cursor.advance().await? {
                    all.push(stored(&collection, &cursor.deserialize_current()?));
                }
            }
            Ok(all)
        })
    }
}

fn stored(collection: &str, document: &Document) -> StoredDocument {
    let text = |key: &str| match document.get(key) {
        Some(Bson::String(text)) => Some(text.clone()),
        Some(Bson::ObjectId(id)) => Some(id.to_hex()),
        _ => None,
    };
    let key = match text("attachmentId") {
        Some(attachment) => document_key(&attachment, text("targetLanguage").as_deref()),
        None => text("userId").unwrap_or_default(),
    };
    StoredDocument {
        collection: collection.to_owned(),
        key,
        text: text("translatedText").or_else(|| text("transcribedText")),
    }
}
