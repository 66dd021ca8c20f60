use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Problems, Secret};

/// Probes, metrics and API.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// An IP address.
    pub bind_address: String,
    /// 0 takes any free port.
    pub port: u16,
    /// How long a request may take, from its first byte to its answer.
    pub request_timeout_secs: u64,
    /// What operators show for `/admin`; `None`: nobody may use it.
    pub admin_token: Option<Secret>,
}

/// Least length of a token: 16 random characters cannot be guessed.
const MIN_TOKEN_CHARACTERS: usize = 16;

impl HttpSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_address = self.bind_address.parse::<IpAddr>().is_ok();
        problems.require(is_address, "http.bind_address", "is not an IP address");
        problems.require(
            self.request_timeout_secs > 0,
            "http.request_timeout_secs",
            "must be at least 1",
        );
        let is_token = self.admin_token.as_ref().is_none_or(|token| {
            let token = token.expose();
            token.len() >= MIN_TOKEN_CHARACTERS && token.bytes().all(|b| b.is_ascii_graphic())
        });
        problems.require(
            is_token,
            "http.admin_token",
            format!("must have at least {MIN_TOKEN_CHARACTERS} visible ASCII characters"),
        );
    }
}
