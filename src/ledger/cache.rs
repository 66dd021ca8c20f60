//! Statements on results that may be given out again.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::blobs::optional_blob_ref;
use super::records::CacheLimits;
use super::{BlobRef, Ledger, LedgerError, digest};
use crate::domain::timestamp::now_unix_ms;
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

/// What the cache holds of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheCount {
    /// `text`, `transcript` or `speech`.
    pub kind: &'static str,
    /// Results that are kept.
    pub entries: u64,
    /// Their bytes, audio included.
    pub bytes: u64,
}

impl Ledger {
    /// What the cache holds, of each kind.
    ///
    /// # Errors
    /// The database fails.
    pub async fn cache_counts(&self) -> Result<Vec<CacheCount>, LedgerError> {
        self.read(counts).await
    }

    /// Forgets every result that was kept; returns what that was. Payloads that nothing refers to any more go with the
    /// next purge.
    ///
    /// # Errors
    /// The database fails; then nothing is forgotten.
    pub async fn clear_cache(&self) -> Result<Vec<CacheCount>, LedgerError> {
        self.write(|connection| {
            let cleared = counts(connection)?;
            connection
                .prepare_cached("DELETE FROM cache")?
                .execute([])?;
            Ok(cleared)
        })
        .await
    }

    /// The cache entry of that key, if it is younger than `max_age`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn cached(
        &self,
        kind: CacheKind,
        key: &str,
        max_age: Duration,
    ) -> Result<Option<CacheEntry>, LedgerError> {
        let key = key.to_owned();
        let max_age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let since_ms = now_unix_ms().saturating_sub(max_age_ms);
        self.read(move |connection| load(connection, kind, &key, since_ms))
            .await
    }

    /// Keeps a result that may be given out again; replaces an earlier one of the same key.
    ///
    /// # Errors
    /// The disk or the database fails.
    pub async fn cache(&self, mut entry: NewCacheEntry) -> Result<(), LedgerError> {
        self.off_thread(move |store| {
            let mut deposit = store.blobs.deposit();
            let blob = deposit.put(entry.blob.take().map(PrivateBytes::into_exposed))?;
            store.write(move |connection| {
                self::store(connection, &entry, blob.as_ref(), now_unix_ms())
            })
        })
        .await
    }
}

fn counts(connection: &Connection) -> Result<Vec<CacheCount>, LedgerError> {
    let mut count = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(length(payload) + coalesce(size_bytes, 0)), 0)
         FROM cache WHERE kind = ?1",
    )?;
    let of_kind = |kind: CacheKind| {
        count.query_row([kind.as_str()], |row| {
            Ok(CacheCount {
                kind: kind.as_str(),
                entries: row.get::<_, i64>(0)?.unsigned_abs(),
                bytes: row.get::<_, i64>(1)?.unsigned_abs(),
            })
        })
    };
    let counts: Result<_, _> = CacheKind::ALL.into_iter().map(of_kind).collect();
    Ok(counts?)
}

fn store(
    connection: &Connection,
    entry: &NewCacheEntry,
    blob: Option<&BlobRef>,
    now_ms: i64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO cache
                 (kind, key, user_id, payload, sha256, size_bytes, created_at_ms, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            entry.kind.as_str(),
            entry.key,
            entry.user_id,
            entry.payload,
            blob.map(|blob| &blob.sha256),
            blob.map(|blob| blob.size_bytes as i64),
            now_ms,
            entry_digest(
                entry.kind.as_str(),
                &entry.key,
                entry.payload.expose(),
                blob
            )
        ])?;
    Ok(())
}

fn entry_digest(kind: &str, key: &str, payload: &[u8], blob: Option<&BlobRef>) -> String {
    digest::of_columns(&[
        kind.as_bytes(),
        key.as_bytes(),
        payload,
        blob.map_or("", |blob| &blob.sha256).as_bytes(),
    ])
}

/// Gives entries without a digest theirs.
pub(super) fn fill_digests(connection: &Connection) -> Result<(), LedgerError> {
    let mut select = connection
        .prepare("SELECT kind, key, payload, sha256, size_bytes FROM cache WHERE digest IS NULL")?;
    let found: Vec<(String, String, String)> = select
        .query_map([], |row| {
            let (kind, key): (String, String) = (row.get(0)?, row.get(1)?);
            let (payload, blob): (Vec<u8>, _) = (row.get(2)?, optional_blob_ref(row, 3)?);
            let digest = entry_digest(&kind, &key, &payload, blob.as_ref());
            Ok((kind, key, digest))
        })?
        .collect::<Result<_, _>>()?;
    let mut update =
        connection.prepare("UPDATE cache SET digest = ?3 WHERE kind = ?1 AND key = ?2")?;
    for (kind, key, digest) in found {
        update.execute(params![kind, key, digest])?;
    }
    Ok(())
}

/// An entry that is what was stored.
fn load(
    connection: &Connection,
    kind: CacheKind,
    key: &str,
    since_ms: i64,
) -> Result<Option<CacheEntry>, LedgerError> {
    let entry = connection
        .prepare_cached(
            "SELECT payload, sha256, size_bytes, digest FROM cache
             WHERE kind = ?1 AND key = ?2 AND created_at_ms >= ?3",
        )?
        .query_row(params![kind.as_str(), key, since_ms], |row| {
            let entry = CacheEntry {
                payload: row.get(0)?,
                blob: optional_blob_ref(row, 1)?,
            };
            let digest: Option<String> = row.get(3)?;
            let is_intact = digest::is_intact(digest.as_deref(), || {
                let payload = entry.payload.expose();
                entry_digest(kind.as_str(), key, payload, entry.blob.as_ref())
            });
            Ok(is_intact.then_some(entry))
        })
        .optional()?;
    Ok(entry.flatten())
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
