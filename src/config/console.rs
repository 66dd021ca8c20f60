use serde::{Deserialize, Serialize};

/// The page for people.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSettings {
    /// Whether it is served at all.
    pub enabled: bool,
}
