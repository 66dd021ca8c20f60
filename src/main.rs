//! The `translator` binary: argv to command to exit code.

use std::process::ExitCode;

use clap::Parser as _;
use meeshy_translator::commands::{self, Cli};

fn main() -> ExitCode {
    commands::run(Cli::parse())
}
