//! Results of earlier jobs. A cache that fails costs time, never a job.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::engine::error_chain;
use crate::ledger::{CacheKind, Ledger, NewCacheEntry};
use crate::observe::metrics::CACHE_REQUESTS;

/// Names a result by everything that it depends on: SHA-256 over the parts, each preceded by its
/// length, and the version of the daemon, which may make something else of them.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in [env!("CARGO_PKG_VERSION")].iter().chain(parts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record under that key, if it is younger than `max_age`.
pub(super) async fn load<T: DeserializeOwned>(
    ledger: &Ledger,
    kind: CacheKind,
    key: &str,
    max_age: Duration,
) -> Option<T> {
    match ledger.cached(kind, key, max_age).await {
        // A record that cannot be read is replaced by the next result.
        Ok(entry) => serde_json::from_slice(&entry?.payload).ok(),
        Err(error) => {
            tracing::warn!(cache = kind.as_str(), error = %error_chain(&error), "cache could not be read");
            None
        }
    }
}

/// Keeps a record for later jobs; it is deleted with the user whose it is.
pub(super) async fn store<T: Serialize>(
    ledger: &Ledger,
    kind: CacheKind,
    key: String,
    user_id: Option<&str>,
    record: &T,
) {
    let Ok(payload) = serde_json::to_vec(record) else {
        tracing::error!(cache = kind.as_str(), "record could not be written as json");
        return;
    };
    let entry = NewCacheEntry {
        kind,
        key,
        user_id: user_id.map(str::to_owned),
        payload,
        blob: None,
    };
    if let Err(error) = ledger.cache(entry).await {
        tracing::warn!(cache = kind.as_str(), error = %error_chain(&error), "cache could not be written");
    }
}

/// Counts a request to a cache.
pub(super) fn count(kind: CacheKind, is_hit: bool) {
    let outcome = if is_hit { "hit" } else { "miss" };
    metrics::counter!(CACHE_REQUESTS, "cache" => kind.as_str(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["ab", ""]), key(&["a", "b"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
    }
}
