use serde::{Deserialize, Serialize};

use super::{Problems, Secret};

/// The database.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MongoSettings {
    /// Where it is; `None` for no database.
    pub url: Option<Secret>,
    /// Which documents are written.
    pub write: MongoWrite,
    /// Whether ids that are no ObjectIds are stored as strings.
    pub string_ids: bool,
    /// For finding a server.
    pub selection_timeout_ms: u64,
}

/// Which documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MongoWrite {
    /// Transcriptions, translated audios and voice models.
    Seed,
    /// None: the gateway stores what it is told.
    None,
}

/// Tells whether `url` is a MongoDB address; old set-ups name other databases in the same variable.
pub(super) fn is_mongodb(url: &str) -> bool {
    url.starts_with("mongodb://") || url.starts_with("mongodb+srv://")
}

impl MongoSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_mongodb = self.url.as_ref().is_none_or(|url| is_mongodb(url.expose()));
        problems.require(
            is_mongodb,
            "mongo.url",
            "must start with mongodb:// or mongodb+srv://",
        );
        problems.within(
            "mongo.selection_timeout_ms",
            self.selection_timeout_ms,
            100..=60_000,
        );
    }
}
