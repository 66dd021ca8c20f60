//! Results that are given out again instead of being computed: a text in another language, what is
//! said in a recording, and how it sounds in another language.
//!
//! A key names everything that decides the result, the models and the sampling seed included, so what
//! comes from here is what would be computed. A cache that fails costs time, never a job.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::job::Job;
use super::message::VoiceMessage;
use super::recording::Hints;
use super::speaker::Speaker;
use crate::domain::digest::Parts;
use crate::domain::{Language, Recording};
use crate::error::error_chain;
use crate::ledger::{CacheKind, LedgerError, NewCacheEntry};
use crate::observe::metrics::CACHE_REQUESTS;

/// What is kept, how long, and which engines it is from.
#[derive(Debug, Clone, Default)]
pub struct CacheOptions {
    /// Life of a result; zero keeps nothing.
    pub max_age: Duration,
    /// Of the engine that hears.
    pub transcriber: EngineFingerprint,
    /// Of XTTS.
    pub synthesizer: EngineFingerprint,
    /// Of the base voices.
    pub base_voice: EngineFingerprint,
}

/// Tells an engine, by its models and settings, from any other that gives other results; known once
/// the models are loaded. Until then nothing is kept. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct EngineFingerprint(Arc<Mutex<Option<String>>>);

impl EngineFingerprint {
    /// Tells what was loaded.
    pub fn set(&self, fingerprint: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
    }

    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The place of one result.
pub(super) struct Slot<'a> {
    job: &'a Job,
    kind: CacheKind,
    /// `None`: nothing is kept.
    key: Option<String>,
    owner_id: Option<&'a str>,
}

impl<'a> Slot<'a> {
    /// The transcript of a recording.
    pub(super) fn transcript(job: &'a Job, recording: &Recording, hints: &Hints<'a>) -> Self {
        let options = &job.pipeline.options;
        // The length decides only how much the sender's language counts.
        let hint = hints.user_language.map(|language| {
            let length_ms = hints.claimed_duration_ms.unwrap_or_default();
            format!("{language} {length_ms}")
        });
        let parts = |engine: String| {
            key(&[
                engine.as_bytes(),
                recording.sha256.as_bytes(),
                hint.unwrap_or_default().as_bytes(),
                options.default_language.as_str().as_bytes(),
            ])
        };
        Self {
            job,
            kind: CacheKind::Transcript,
            key: options.cache.transcriber.get().map(parts),
            owner_id: hints.owner_id,
        }
        .unless_switched_off()
    }

    /// A text spoken by somebody.
    pub(super) fn speech(
        job: &'a Job,
        message: &'a VoiceMessage,
        recording_sha256: &str,
        (language, text): (Language, &str),
        speaker: &Speaker,
    ) -> Self {
        let options = &job.pipeline.options;
        let parts = |engine: String| {
            key(&[
                engine.as_bytes(),
                // The seed derives from it.
                recording_sha256.as_bytes(),
                language.as_str().as_bytes(),
                format!("{:?}", options.unspoken_language).as_bytes(),
                text.as_bytes(),
                speaker.voice_key().as_bytes(),
                format!("{:?}", message.voice_clone_hints).as_bytes(),
                format!("{:?}", options.mp3).as_bytes(),
            ])
        };
        Self {
            job,
            kind: CacheKind::Speech,
            key: speaker.engine(job).get().map(parts),
            owner_id: message.voice_owner_id.as_deref(),
        }
        .unless_switched_off()
    }

    /// A text in another language, by everything but the text's owner that decides it.
    pub(super) fn text(job: &'a Job, parts: &[&str]) -> Self {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        Self {
            job,
            kind: CacheKind::Text,
            key: Some(key(&parts)),
            owner_id: job.record.user_id.as_deref(),
        }
        .unless_switched_off()
    }

    fn unless_switched_off(mut self) -> Self {
        if self.job.pipeline.options.cache.max_age.is_zero() {
            self.key = None;
        }
        self
    }

    /// What was kept here, with its large part.
    pub(super) async fn find<T: DeserializeOwned>(&self) -> Option<(T, Option<Bytes>)> {
        let found = self.peek().await;
        self.count(found.is_some());
        found
    }

    /// The same for one of several places that are looked at together; the caller counts.
    pub(super) async fn peek<T: DeserializeOwned>(&self) -> Option<(T, Option<Bytes>)> {
        let key = self.key.as_deref()?;
        self.load(key).await.unwrap_or_else(|error| {
            let error = error_chain(&error);
            tracing::warn!(cache = self.kind.as_str(), error, "cache cannot be read");
            None
        })
    }

    /// Counts a question to the cache.
    pub(super) fn count(&self, is_hit: bool) {
        if self.key.is_some() {
            let outcome = if is_hit { "hit" } else { "miss" };
            metrics::counter!(CACHE_REQUESTS, "cache" => self.kind.as_str(), "outcome" => outcome)
                .increment(1);
        }
    }

    async fn load<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<(T, Option<Bytes>)>, LedgerError> {
        let ledger = &self.job.pipeline.ledger;
        let max_age = self.job.pipeline.options.cache.max_age;
        let Some(entry) = ledger.cached(self.kind, key, max_age).await? else {
            return Ok(None);
        };
        // What another version has written is as good as nothing.
        let Ok(record) = serde_json::from_slice(entry.payload.expose()) else {
            return Ok(None);
        };
        let blob = match entry.blob {
            Some(blob) => Some(ledger.blob(blob).await?),
            None => None,
        };
        Ok(Some((record, blob)))
    }

    /// Keeps a result here, unless everything of its owner was deleted since the job came.
    pub(super) async fn keep<T: Serialize>(&self, record: &T, blob: Option<Bytes>) {
        let Some(key) = self.key.clone() else { return };
        // A deletion waits until the result is where it will find it.
        let _held = match self.owner_id {
            Some(owner_id) => match self.job.hold(owner_id).await {
                Some(held) => Some(held),
                None => return,
            },
            None => None,
        };
        // Plain data with string keys always has a JSON form.
        let Ok(payload) = serde_json::to_vec(record) else {
            return;
        };
        let entry = NewCacheEntry {
            kind: self.kind,
            key,
            user_id: self.owner_id.map(str::to_owned),
            payload: payload.into(),
            blob: blob.map(Into::into),
        };
        if let Err(error) = self.job.pipeline.ledger.cache(entry).await {
            let error = error_chain(&error);
            tracing::warn!(cache = self.kind.as_str(), error, "result is not kept");
        }
    }
}

/// A digest of the parts. The version of the daemon is one of them: another may make something else of
/// the rest.
fn key(parts: &[&[u8]]) -> String {
    let mut all = Parts::default();
    all.add(env!("CARGO_PKG_VERSION").as_bytes());
    parts.iter().for_each(|part| all.add(part));
    all.sha256_hex()
}
