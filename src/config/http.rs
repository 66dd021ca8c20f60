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
    /// Connections at once.
    pub max_connections: u32,
    /// Time in which a request is answered.
    pub request_timeout_secs: u64,
    /// What clients show for everything but probes and documents; `None`: nobody has to.
    pub token: Option<Secret>,
    /// What operators show for `/admin`; `None`: nobody may use it.
    pub admin_token: Option<Secret>,
}

/// Least length of a token: 16 random characters cannot be guessed.
const MIN_TOKEN_CHARACTERS: usize = 16;

impl HttpSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_address = self.bind_address.parse::<IpAddr>().is_ok();
        problems.require(is_address, "http.bind_address", "is not an IP address");
        problems.within("http.max_connections", self.max_connections, 8..=100_000);
        problems.within(
            "http.request_timeout_secs",
            self.request_timeout_secs,
            1..=86_400,
        );
        problems.token("http.token", self.token.as_ref());
        problems.token("http.admin_token", self.admin_token.as_ref());
    }
}

impl Problems {
    fn token(&mut self, key: &'static str, token: Option<&Secret>) {
        let is_token = token.is_none_or(|token| {
            let token = token.expose();
            token.len() >= MIN_TOKEN_CHARACTERS && token.bytes().all(|b| b.is_ascii_graphic())
        });
        self.require(
            is_token,
            key,
            format!("must have at least {MIN_TOKEN_CHARACTERS} visible ASCII characters"),
        );
    }
}
