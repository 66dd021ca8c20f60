//! MongoDB, and what speaks its protocol.

use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, ClientOptions, IndexOptions, WriteConcern};
use mongodb::{Client, Database, IndexModel};
use tokio::sync::{OnceCell, watch};

use super::breaker::Breaker;
use super::{Collection, DocumentDelete, DocumentWrite, IdPolicy, StoreError};
use crate::observe::health::BreakerState;

/// Database of an address that names none.
const DEFAULT_DATABASE: &str = "meeshy";

/// Connections to one server: writes come from one place, reads from a few.
const MAX_CONNECTIONS: u32 = 8;

/// For an answer once a server is found; the driver itself waits for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Server codes for an index that is there in another shape or name, or that the documents do not allow.
const INDEX_CONFLICTS: [i32; 4] = [68, 85, 86, 11_000];

/// How a [`MongoStore`] behaves.
#[derive(Debug, Clone, Copy)]
pub struct MongoOptions {
    /// For finding a server that takes the call.
    pub selection_timeout: Duration,
    /// Which ids documents may have.
    pub ids: IdPolicy,
}

impl Default for MongoOptions {
    fn default() -> Self {
        Self {
            selection_timeout: Duration::from_secs(2),
            ids: IdPolicy::ObjectIdsOnly,
        }
    }
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The document is there as asked for.
    Written,
    /// A unique index keeps another document in its place, twice in a row: nothing more can be done.
    Conflict,
}

/// A database that may be away: nothing here waits longer than the selection timeout plus ten
/// seconds, nothing connects before it is needed, and while it is away most calls fail at once.
pub struct MongoStore {
    url: String,
    options: MongoOptions,
    database: OnceCell<Database>,
    breaker: Breaker,
}

impl MongoStore {
    /// Takes the address of a database; the network is not touched yet.
    pub fn new(url: &str, options: MongoOptions) -> Self {
        Self {
            url: url.to_owned(),
            options,
            database: OnceCell::new(),
            breaker: Breaker::new(),
        }
    }

    /// Tells whether the database is called.
    pub fn watch_breaker(&self) -> watch::Receiver<BreakerState> {
        self.breaker.watch()
    }

    /// Runs a call unless the database is known to be away.
    pub(super) async fn guarded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let pass = self.breaker.pass(Instant::now());
        let pass = pass.ok_or(StoreError::BreakerOpen)?;
        let result = call.await;
        pass.end(result.as_ref().err(), Instant::now());
        result
    }

    /// Inserts or updates one document. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; try again later if it [is transient](StoreError::is_transient).
    pub async fn upsert(&self, write: &DocumentWrite) -> Result<Outcome, StoreError> {
        self.guarded(self.upsert_now(write)).await
    }

    async fn upsert_now(&self, write: &DocumentWrite) -> Result<Outcome, StoreError> {
        let collection = self
            .database()
            .await?
            .collection::<Document>(write.collection.as_str());
        // Two upserts of a new key at once may both try to insert; the loser's second try updates.
        for _ in 0..2 {
            let update = collection
                .update_one(write.key.clone(), write.update())
                .upsert(true);
            match in_time(update.into_future()).await {
                Ok(_) => return Ok(Outcome::Written),
                Err(error) if error.is_duplicate_key() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Conflict)
    }

    /// Deletes one document, if it is there.
    ///
    /// # Errors
    /// [`StoreError`]; try again later if it [is transient](StoreError::is_transient).
    pub async fn delete(&self, delete: &DocumentDelete) -> Result<(), StoreError> {
        self.guarded(async {
            let collection = self
                .database()
                .await?
                .collection::<Document>(delete.collection.as_str());
            in_time(collection.delete_one(delete.key.clone()).into_future()).await?;
            Ok(())
        })
        .await
    }

    /// Creates the indexes that are missing. One that is there in another shape, or that the
    /// documents already there do not allow, is left alone with a log line.
    ///
    /// # Errors
    /// [`StoreError`] when the database can't be asked; the indexes made so far stay.
    pub async fn ensure_indexes(&self) -> Result<(), StoreError> {
        self.guarded(self.ensure_indexes_now()).await
    }

    async fn ensure_indexes_now(&self) -> Result<(), StoreError> {
        let database = self.database().await?;
        for (collection, keys, uniqueness) in indexes() {
            let name = keys
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(",");
            let index = IndexModel::builder()
                .keys(keys)
                .options(uniqueness.options())
                .build();
            let documents = database.collection::<Document>(collection.as_str());
            match in_time(documents.create_index(index).into_future()).await {
                Ok(_) => {}
                Err(error)
                    if error
                        .code()
                        .is_some_and(|code| INDEX_CONFLICTS.contains(&code)) =>
                {
                    tracing::info!(
                        collection = collection.as_str(),
                        index = name,
                        code = error.code(),
                        "an index is left as it is"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.guarded(async {
            let database = self.database().await?;
            in_time(database.run_command(doc! { "ping": 1 }).into_future()).await?;
            Ok(())
        })
        .await
    }

    /// An id of a request as documents hold it; `None` for one that no document can have.
    pub(super) fn id(&self, id: &str) -> Option<Bson> {
        self.options.ids.id(id)
    }

    pub(super) async fn database(&self) -> Result<&Database, StoreError> {
        self.database.get_or_try_init(|| self.open()).await
    }

    /// Reads the address; `mongodb+srv` asks the name server.
    async fn open(&self) -> Result<Database, StoreError> {
        let mut options =
            match tokio::time::timeout(ANSWER_TIMEOUT, ClientOptions::parse(&self.url)).await {
                Err(_) => return Err(StoreError::Timeout),
                Ok(Err(error)) if matches!(*error.kind, ErrorKind::DnsResolve { .. }) => {
                    return Err(StoreError::Unreachable(error));
                }
                Ok(parsed) => parsed.map_err(StoreError::Address)?,
            };
        options.app_name = Some("meeshy-translator".to_owned());
        options.server_selection_timeout = Some(self.options.selection_timeout);
        options.connect_timeout = Some(self.options.selection_timeout);
        options.max_pool_size = options.max_pool_size.or(Some(MAX_CONNECTIONS));
        // The ledger forgets a write once it is taken, so it must have been taken for good.
        options.write_concern = options.write_concern.or_else(|| {
            Some(
                WriteConcern::builder()
                    .w(Acknowledgment::Majority)
                    .journal(true)
                    .build(),
            )
        });
        let client = Client::with_options(options).map_err(StoreError::Address)?;
        Ok(client
            .default_database()
            .unwrap_or_else(|| client.database(DEFAULT_DATABASE)))
    }
}

/// Bounds a call whose server was found but does not answer.
pub(super) async fn in_time<T>(
    call: impl Future<Output = Result<T, mongodb::error::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(result) => result.map_err(StoreError::from),
        Err(_) => Err(StoreError::Timeout),
    }
}

#[derive(Clone, Copy)]
enum Uniqueness {
    /// Any number of documents.
    Any,
    /// One document for each key.
    Unique,
    /// One document for each key, and any number without one: the later variant of the schema.
    UniqueWherePresent,
}

impl Uniqueness {
    fn options(self) -> Option<IndexOptions> {
        match self {
            Self::Any => None,
            Self::Unique => Some(IndexOptions::builder().unique(true).build()),
            Self::UniqueWherePresent => {
                Some(IndexOptions::builder().unique(true).sparse(true).build())
            }
        }
    }
}

fn indexes() -> [(Collection, Document, Uniqueness); 8] {
    use Collection::{Transcriptions, TranslatedAudios, VoiceModels};
    use Uniqueness::{Any, Unique, UniqueWherePresent};
    [
        (
            Transcriptions,
            doc! { "attachmentId": 1 },
            UniqueWherePresent,
        ),
        (Transcriptions, doc! { "messageId": 1 }, Any),
        (Transcriptions, doc! { "language": 1 }, Any),
        (
            TranslatedAudios,
            doc! { "attachmentId": 1, "targetLanguage": 1 },
            UniqueWherePresent,
        ),
        (TranslatedAudios, doc! { "messageId": 1 }, Any),
        (TranslatedAudios, doc! { "targetLanguage": 1 }, Any),
        (VoiceModels, doc! { "userId": 1 }, Unique),
        (VoiceModels, doc! { "updatedAt": 1 }, Any),
    ]
}
