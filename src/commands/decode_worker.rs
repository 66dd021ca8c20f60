//! `decode-worker`: decodes recordings for a daemon, with as few rights as that needs.

use std::process::ExitCode;

use clap::Args;

use super::CommandError;
use crate::decoder::worker;
use crate::engine::lower_priority;

#[derive(Debug, Args)]
pub(super) struct DecodeWorkerArgs {
    /// Address space that it may use beside what the program takes
    #[arg(long, value_name = "BYTES")]
    memory_bytes: u64,
    /// Computing time for each recording
    #[arg(long, value_name = "SECONDS")]
    cpu_secs: u64,
}

pub(super) fn run(args: &DecodeWorkerArgs) -> Result<ExitCode, CommandError> {
    lower_priority();
    worker::run(args.memory_bytes, args.cpu_secs)?;
    Ok(ExitCode::SUCCESS)
}
