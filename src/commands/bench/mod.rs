//! `bench`: how long messages take on this machine, and what they cost.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `workload` | the file that says what is measured |
//! | `run` | messages through the daemon's own pipeline |
//! | `recorder` | the daemon's metrics, value by value |
//! | `machine` | what it was measured on |
//! | `report` | the figures, and how they are printed |
//! | `svg` | the plot |

mod machine;
mod recorder;
mod report;
mod run;
mod svg;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{CommandError, block_on, complain, process, say};
use crate::app;
use crate::config::Settings;
use crate::observe::log;
use crate::protocol::Timestamp;
use crate::registry::Registry;
use machine::{Machine, load_average};
use recorder::Samples;
use report::Report;
use workload::Workloads;

const EXAMPLES: &str = "\
Examples:
  MODELS_PATH=models/fixtures translator bench
  translator bench my-workloads.toml --json figures.json --svg figures.svg

Without a file the workloads of benches/workloads.toml are measured, in the project's folder; copy it \
for your own. Results are not cached, and nothing is kept. Build with `make release` for \
figures that count.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BenchArgs {
    /// File of workloads
    #[arg(value_name = "WORKLOADS.toml")]
    workloads: Option<PathBuf>,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot of the stages' times
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn run(mut settings: Settings, args: &BenchArgs) -> Result<ExitCode, CommandError> {
    let workloads = Workloads::read(args.workloads.as_deref())?;
    // The daemon's own log would tear the progress bar.
    log::init("off", log::LogFormat::Text);
    let samples = Samples::install().ok_or(CommandError::SecondRecorder)?;
    let scratch =
        tempfile::tempdir().map_err(|source| CommandError::io("the temporary folder", source))?;
    process::keep_nothing(&mut settings, scratch.path());
    // Each message is to be worked on.
    settings.cache.max_age_secs = 0;
    if let Some(threads) = workloads.threads {
        settings.transcribe.threads = Some(threads);
        settings.translate.threads = Some(threads);
        settings.synthesize.threads = Some(threads);
    }
    let registry = Registry::open(&settings.models.path, &settings.models.accept_licenses)?;
    let device = app::device(&settings, &app::onnxruntime_library(&settings));
    let machine = Machine::of_this_process();
    let load_before = load_average();
    if let Some(doubt) = machine.doubt(load_before) {
        complain(format_args!("warning: {doubt}"));
    }
    if cfg!(debug_assertions) {
        complain("warning: this is a debug build; `make release` builds the one that is fast");
    }

    let measured = block_on(run::all(&settings, &workloads, &samples))?;
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        is_optimised: !cfg!(debug_assertions),
        measured_at: Timestamp::now(),
        machine,
        load_before,
        load_after: load_average(),
        models: machine::models(&registry, device),
        workloads: measured,
    };
    say(&report);
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report).map_err(|source| CommandError::Write {
            what: "the figures",
            source: source.into(),
        })?;
        write(path, &json)?;
    }
    if let Some(path) = &args.svg {
        write(path, svg::plot(&report).as_bytes())?;
    }
    let failed = report
        .workloads
        .iter()
        .any(|measured| !measured.errors.is_empty());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn write(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, content).map_err(|source| CommandError::path(path, source))?;
    complain(path.display());
    Ok(())
}
