//! `models`: what is installed and whether it is intact, what can be had, a manifest for a folder of models.

mod available;
mod list;
mod lock;
mod progress;
mod prune;
mod pull;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{CommandError, say};
use crate::config::Settings;
use crate::registry::Registry;

const EXAMPLES: &str = "\
Examples:
  translator models list
  translator models list --available
  translator models pull small
  MODELS_PATH=/models translator models verify --json
  translator models lock /models --licence marian=CC-BY-4.0

The folder is that of the settings: path under [models], or MODELS_PATH.";

/// What to do with models.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum ModelsCommand {
    /// Fetch models from a hub
    Pull(pull::PullArgs),
    /// Show the installed models and what they cover, or those that can be pulled
    List(list::ListArgs),
    /// Read every file and compare it with the manifest
    Verify(Output),
    /// Write the manifest of a folder of your own models
    Lock(lock::LockArgs),
    /// Show what belongs to no model: downloads that did not end, files that are not listed; delete it
    Prune(prune::PruneArgs),
}

#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(settings: Settings, command: ModelsCommand) -> Result<ExitCode, CommandError> {
    let models = &settings.models;
    let open = || Registry::open(&models.path, &models.accept_licenses);
    match command {
        ModelsCommand::Pull(args) => pull::run(settings, args),
        ModelsCommand::List(args) if args.available => available::run(models, &args),
        ModelsCommand::List(args) => list::run(&open()?, &args),
        ModelsCommand::Verify(output) => verify::run(&open()?, &output),
        ModelsCommand::Lock(args) => lock::run(&models.path, &args),
        ModelsCommand::Prune(args) => prune::run(&models.path, &args),
    }
}

/// Prints a value for programs.
pub(super) fn say_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|source| CommandError::Write {
        what: "the result",
        source: source.into(),
    })?;
    say(text);
    Ok(())
}
