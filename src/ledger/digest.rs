//! Digests of rows: whether a row still holds what was stored.

use rusqlite::Connection;

use super::frames::Payloads;
use super::{LedgerError, cache, checkpoints, documents, events, jobs};
use crate::domain::digest::Parts;

/// The digest of a row that is nothing but these columns.
pub(super) fn of_columns(columns: &[&[u8]]) -> String {
    with_payloads(columns, &Payloads::default())
}

/// The digest of a row that refers to payloads, each with its position.
pub(super) fn with_payloads(columns: &[&[u8]], payloads: &Payloads) -> String {
    let mut parts = Parts::default();
    columns.iter().for_each(|column| parts.add(column));
    for (position, payload) in payloads.iter() {
        parts.add(&position.to_le_bytes());
        parts.add(payload.sha256.as_bytes());
    }
    parts.sha256_hex()
}

/// True when the row is what it was stored with.
pub(super) fn is_intact(stored: Option<&str>, computed: impl FnOnce() -> String) -> bool {
    stored.is_some_and(|stored| stored == computed())
}

/// Gives rows of versions before digests theirs: they are taken for what they are.
pub(super) fn fill(connection: &Connection) -> Result<(), LedgerError> {
    jobs::fill_digests(connection)?;
    checkpoints::fill_digests(connection)?;
    events::fill_digests(connection)?;
    documents::fill_digests(connection)?;
    cache::fill_digests(connection)
}
