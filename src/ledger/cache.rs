//! Statements on results that may be given out again.

use rusqlite::{Connection, OptionalExtension, params};

use super::blobs::optional_blob_ref;
use super::records::CacheLimits;
use super::{BlobRef, LedgerError};
use crate::domain::{Private, PrivateBytes};

/// What a cache entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// A text in another language.
    Text,
    /// What is said in a recording.
    Transcript,
    /// A recording in another language, spoken.
    Speech,
}

impl CacheKind {
    const ALL: [Self; 3] = [Self::Text, Self::Transcript, Self::Speech];

    /// The kind's name in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Transcript => "transcript",
            Self::Speech => "speech",
        }
    }
}

/// A result to be kept.
#[derive(Debug)]
pub struct NewCacheEntry {
    /// What it is.
    pub kind: CacheKind,
    /// Names everything that the result depends on.
    pub key: String,
    /// Whose it is: deleted with the user.
    pub user_id: Option<String>,
    /// A small record, as JSON.
    pub payload: Private<Vec<u8>>,
    /// What is too large for the database, as audio.
    pub blob: Option<PrivateBytes>,
}

/// A result that was kept; [`Ledger::blob`](super::Ledger::blob) reads the large part.
#[derive(Debug)]
pub struct CacheEntry {
    /// See [`NewCacheEntry::payload`].
    pub payload: Private<Vec<u8>>,
    /// See [`NewCacheEntry::blob`].
    pub blob: Option<BlobRef>,
}

pub(super) fn store(
    connection: &Connection,
    entry: &NewCacheEntry,
    blob: Option<&BlobRef>,
    now_ms: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO cache
                 (kind, key, user_id, payload, sha256, size_bytes, created_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            entry.kind.as_str(),
            entry.key,
            entry.user_id,
            entry.payload,
            blob.map(|blob| &blob.sha256),
            blob.map(|blob| blob.size_bytes as i64),
            now_ms
        ])?;
    Ok(())
}

pub(super) fn load(
    connection: &Connection,
    kind: CacheKind,
    key: &str,
    since_ms: i64,
) -> Result<Option<CacheEntry>, LedgerError> {
    let entry = connection
        .prepare_cached(
            "SELECT payload, sha256, size_bytes FROM cache
             WHERE kind = ?1 AND key = ?2 AND created_at_ms >= ?3",
        )?
        .query_row(params![kind.as_str(), key, since_ms], |row| {
            Ok(CacheEntry {
                payload: row.get(0)?,
                blob: optional_blob_ref(row, 1)?,
            })
        })
        .optional()?;
    Ok(entry)
}

/// Deletes entries that are too old, and the oldest of those that are too many.
pub(super) fn trim(
    connection: &Connection,
    limits: CacheLimits,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let before_ms = now_ms.saturating_sub(limits.max_age_ms);
    let mut delete_old =
        connection.prepare_cached("DELETE FROM cache WHERE kind = ?1 AND created_at_ms < ?2")?;
    let mut delete_surplus = connection.prepare_cached(
        "DELETE FROM cache WHERE kind = ?1 AND key IN (
             SELECT key FROM cache WHERE kind = ?1
             ORDER BY created_at_ms DESC LIMIT -1 OFFSET ?2)",
    )?;
    let kept = i64::try_from(limits.max_entries).unwrap_or(i64::MAX);
    for kind in CacheKind::ALL {
        delete_old.execute(params![kind.as_str(), before_ms])?;
        delete_surplus.execute(params![kind.as_str(), kept])?;
    }
    Ok(())
}
