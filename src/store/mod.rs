//! The document database that results are copied to: the collections that the gateway's first plan
//! reads. It is where results go, not what the daemon depends on: writes wait in the ledger as
//! [`DocumentWrite`]s and are repeated until [`MongoStore::upsert`] takes them.

pub mod documents;
mod error;
mod mongo;
#[cfg(test)]
mod tests;

pub use documents::{Collection, DocumentDelete, DocumentWrite, IdPolicy};
pub use error::StoreError;
pub use mongo::{MongoOptions, MongoStore, Outcome};
