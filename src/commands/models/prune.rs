//! `models prune`: what belongs to no model goes.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::pull::ask;
use crate::commands::{CommandError, human_bytes, say};
use crate::registry::prune::{Leftover, LeftoverKind, leftovers, remove};
use crate::registry::pull::DirectoryLock;
use crate::registry::{MANIFEST_FILE, Manifest};

#[derive(Debug, Args)]
pub(in crate::commands) struct PruneArgs {
    /// Delete it, without asking
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(directory: &Path, args: &PruneArgs) -> Result<ExitCode, CommandError> {
    let unreadable = |source| CommandError::path(directory, source);
    let facts = directory.metadata().map_err(unreadable)?;
    if !facts.is_dir() {
        return Err(unreadable(std::io::ErrorKind::NotADirectory.into()));
    }
    let _lock = DirectoryLock::take(directory)?;
    // One that cannot be read must not make everything look unlisted.
    let manifest = if directory.join(MANIFEST_FILE).exists() {
        Some(Manifest::read(directory)?)
    } else {
        None
    };
    let found = leftovers(directory, manifest.as_ref()).map_err(unreadable)?;
    if found.is_empty() {
        say("nothing to prune");
        return Ok(ExitCode::SUCCESS);
    }
    for leftover in &found {
        say(line(leftover));
    }
    let total: u64 = found.iter().map(|leftover| leftover.size_bytes).sum();
    let total = human_bytes(total);
    let is_asked = !args.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if is_asked && !ask(&format!("Delete this, {total}? [y/N] "))?.eq_ignore_ascii_case("y")
        || !args.yes && !is_asked
    {
        say(format_args!(
            "{total} could go; nothing was deleted, --yes deletes it"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    for leftover in &found {
        let path = directory.join(&leftover.path);
        remove(directory, leftover).map_err(|source| CommandError::path(&path, source))?;
    }
    say(format_args!("{total} deleted"));
    Ok(ExitCode::SUCCESS)
}

fn line(leftover: &Leftover) -> String {
    let why = match leftover.kind {
        LeftoverKind::Partial => "a pull that has not ended",
        LeftoverKind::Unlisted => "not in the manifest",
    };
    let size = human_bytes(leftover.size_bytes).to_string();
    format!("{size:>11}  {}: {why}", leftover.path.display())
}
