use serde::{Deserialize, Serialize};

use super::{Problems, Secret};

/// Where `translator models pull` fetches models. The daemon fetches none.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HubSettings {
    /// Address of the hub.
    pub endpoint: String,
    /// What it is shown for repositories that are not for everybody.
    pub token: Option<Secret>,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// Repository with exported models: `owner/name`, or `owner/name@revision`.
    pub exported_repository: Option<String>,
}

pub(super) fn is_endpoint(text: &str) -> bool {
    let mut schemes = ["https://", "http://"].iter();
    schemes.any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn is_exported_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain)
    };
    let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
    repository
        .split_once('/')
        .is_some_and(|(owner, name)| [owner, name, revision].into_iter().all(is_part))
}

impl HubSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.require(
            is_endpoint(&self.endpoint),
            "hub.endpoint",
            "must start with https:// or http://",
        );
        let token = self.token.as_ref();
        problems.require(
            token.is_none_or(|token| is_token(token.expose())),
            "hub.token",
            "must be visible ASCII characters",
        );
        let repository = self.exported_repository.as_deref();
        problems.require(
            repository.is_none_or(is_exported_repository),
            "hub.exported_repository",
            "must be owner/name, or owner/name@revision",
        );
    }
}
