//! `check-config`: the settings in force.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CommandError, Loaded, complain, say};

const EXAMPLES: &str = "\
Examples:
  translator check-config                           defaults and environment
  translator check-config translator.toml           with a file

Settings come from built-in defaults, then the file, then environment variables. Passwords are not shown.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckConfigArgs {
    /// File with settings, as --config
    pub(super) file: Option<PathBuf>,
}

pub(super) fn run(loaded: &Loaded) -> Result<ExitCode, CommandError> {
    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    let text = toml::to_string(&loaded.settings).map_err(|source| CommandError::Write {
        what: "the settings",
        source: source.into(),
    })?;
    say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
