use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Problems;

/// Probes, metrics and API.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// An IP address.
    pub bind_address: String,
    /// 0 takes any free port.
    pub port: u16,
}

impl HttpSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_address = self.bind_address.parse::<IpAddr>().is_ok();
        problems.require(is_address, "http.bind_address", "is not an IP address");
    }
}
