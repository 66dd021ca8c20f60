use std::path::PathBuf;

use ipnet::IpNet;
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
    /// Memory for decoding one recording, beside the program and the recording.
    pub decode_memory_bytes: u64,
    /// Folders that an `audioPath` may lie in.
    pub upload_roots: Vec<PathBuf>,
    /// Host names that an `audioUrl` may name.
    pub allowed_url_hosts: Vec<String>,
    /// Networks that are not public, in which hosts of URLs may be all the same.
    pub allowed_url_networks: Vec<IpNet>,
    /// For the whole download.
    pub url_timeout_secs: u64,
    /// Largest download.
    pub url_max_bytes: u64,
}

/// Sample rate above which a recording may not be of the whole allowed length.
const USUAL_SAMPLE_RATE_HZ: u64 = 48_000;

impl AudioSettings {
    /// Bytes of the samples of one recording: those of the longest at 48 kHz.
    pub fn max_decoded_bytes(&self) -> u64 {
        let samples = self.max_duration_secs.saturating_mul(USUAL_SAMPLE_RATE_HZ);
        samples.saturating_mul(size_of::<f32>() as u64)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("audio.max_bytes", self.max_bytes, 1 << 10..=1 << 30);
        problems.within(
            "audio.max_duration_secs",
            self.max_duration_secs,
            1..=21_600,
        );
        problems.within(
            "audio.decode_memory_bytes",
            self.decode_memory_bytes,
            64 << 20..=16 << 30,
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
