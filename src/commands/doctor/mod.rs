//! `doctor`: what would keep the daemon from working.

mod checks;
mod memory;
mod voices;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::models::say_json;
use super::{CommandError, Loaded, block_on, say};

const EXAMPLES: &str = "\
Examples:
  translator doctor
  translator --config translator.toml doctor --json

Exit codes: 0 nothing failed, 1 something did, 64 the settings cannot be used.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// As it should be.
    Ok,
    /// The daemon works, less well than it could.
    Warn,
    /// The daemon does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Warn,
            detail: detail.into(),
            hint: Some(hint.into()),
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, detail, hint)
        }
    }
}

#[derive(Serialize)]
struct Report {
    healthy: bool,
    checks: Vec<Check>,
}

pub(super) fn run(loaded: &Loaded, args: &DoctorArgs) -> Result<ExitCode, CommandError> {
    let settings = &loaded.settings;
    let mut checks = checks::settings(&loaded.warnings);
    checks.extend(checks::onnxruntime(settings));
    checks.extend(checks::models(settings));
    checks.push(voices::check(settings));
    checks.extend(checks::ports(settings));
    checks.push(checks::writable("data folder", &settings.data_dir));
    checks.push(checks::disk(settings));
    checks.push(memory::check(settings));
    checks.push(checks::writable("output folder", &settings.output.path));
    checks.push(block_on(async { Ok(checks::database(settings).await) })?);
    let report = Report {
        healthy: checks.iter().all(|check| check.status != Status::Fail),
        checks,
    };
    if args.json {
        say_json(&report)?;
    } else {
        print(&report);
    }
    Ok(if report.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(report: &Report) {
    for check in &report.checks {
        let mark = match check.status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        say(format_args!("{mark}  {:<16} {}", check.name, check.detail));
        if let Some(hint) = &check.hint {
            say(format_args!("{:<22} \u{2192} {hint}", ""));
        }
    }
    let count = |status| {
        report
            .checks
            .iter()
            .filter(|check| check.status == status)
            .count()
    };
    let (warnings, failures) = (count(Status::Warn), count(Status::Fail));
    say(format_args!(
        "\n{} checks, {warnings} warnings, {failures} failures",
        report.checks.len()
    ));
}
