//! The `translator` binary: argv to command to exit code.

use std::process::ExitCode;

use clap::Parser as _;
use meeshy_translator::commands::{self, Cli};

fn main() -> ExitCode {
    keep_onnxruntime_silent();
    commands::run(Cli::parse())
}

/// ONNX Runtime from 1.31 on tells its makers about machine, models and runs, unless its environment forbids it before the
/// library is loaded.
#[allow(
    unsafe_code,
    reason = "nothing else runs yet that could read the environment meanwhile"
)]
fn keep_onnxruntime_silent() {
    // SAFETY: this is the only thread.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
