use serde::{Deserialize, Serialize};

use super::Problems;

/// The voice API.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VoiceApiSettings {
    /// Whether it is served at all.
    pub enabled: bool,
    /// Host names that a `webhookUrl` may name.
    pub allowed_webhook_hosts: Vec<String>,
    /// For one post.
    pub webhook_timeout_secs: u64,
}

impl VoiceApiSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.hosts(
            "voice_api.allowed_webhook_hosts",
            &self.allowed_webhook_hosts,
        );
        problems.within(
            "voice_api.webhook_timeout_secs",
            self.webhook_timeout_secs,
            1..=120,
        );
    }
}
