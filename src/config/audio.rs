use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Problems;

/// What recordings are taken, and from where.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AudioSettings {
    /// Whether voice messages are served at all.
    pub enabled: bool,
    /// Largest recording that came inline or from a path.
    pub max_bytes: u64,
    /// Longest recording, as decoded.
    pub max_duration_secs: u64,
    /// Folders that an `audioPath` may lie in.
    pub upload_roots: Vec<PathBuf>,
    /// Host names that an `audioUrl` may name.
    pub allowed_url_hosts: Vec<String>,
    /// For the whole download.
    pub url_timeout_secs: u64,
    /// Largest download.
    pub url_max_bytes: u64,
}

impl AudioSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("audio.max_bytes", self.max_bytes, 1 << 10..=1 << 30);
        problems.within(
            "audio.max_duration_secs",
            self.max_duration_secs,
            1..=21_600,
        );
        problems.within("audio.url_timeout_secs", self.url_timeout_secs, 1..=3_600);
        problems.within("audio.url_max_bytes", self.url_max_bytes, 1 << 10..=1 << 30);
        let roots_are_folders = self
            .upload_roots
            .iter()
            .all(|root| !root.as_os_str().is_empty());
        problems.require(
            roots_are_folders,
            "audio.upload_roots",
            "has an empty entry",
        );
        problems.hosts("audio.allowed_url_hosts", &self.allowed_url_hosts);
    }
}
