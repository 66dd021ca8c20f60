use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where results are written.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSettings {
    /// Folder of spoken translations.
    pub path: PathBuf,
    /// After which they are deleted; `None` keeps them.
    pub retention_days: Option<NonZeroU32>,
}
