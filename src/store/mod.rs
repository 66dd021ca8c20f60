//! The gateway's document database. Results are copied to the collections that its first plan reads:
//! that is where they go, not what the daemon depends on. Writes wait in the ledger as
//! [`DocumentWrite`]s and are repeated until [`MongoStore::upsert`] takes them. What a request leaves
//! open is [read](MongoStore::members) from the gateway's own collections, which are never written.

mod breaker;
pub mod documents;
mod error;
#[cfg(test)]
#[path = "../../tests/support/fake_mongodb.rs"]
pub(crate) mod fake_mongodb;
mod mongo;
mod reads;
#[cfg(test)]
mod tests;
mod traces;

pub use documents::{Collection, DocumentDelete, DocumentWrite, IdPolicy};
pub use error::StoreError;
pub use mongo::{MongoOptions, MongoStore, Outcome};
pub use reads::Member;
pub use traces::{Sought, Trace, TraceOwner};
