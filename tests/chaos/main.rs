//! The prover: kills, starves, floods and attacks a daemon, and counts what was lost. `make chaos` takes the
//! figures that are promised in `docs/reliability.md`, `make chaos-short` proves the same with fewer jobs.
//!
//! ```text
//! scenarios   kills, …                         one file for each concern
//! bench       daemon, sender, subscriber, database, and the account at the end
//! load        the messages; sender and subscriber are the gateway's sockets, with their logs
//! checker     compares sender's log, ledger, subscribers' logs and MongoDB
//! canary      looks for user text in logs and metrics
//! report      table, JSON and verdict
//! ```

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program for tests: it panics where it cannot go on, prints its report, and reads its switches"
)]

mod absence;
mod bench;
mod broken;
mod canary;
mod checker;
mod daemon;
mod database;
mod dice;
mod disk;
mod flood;
mod kills;
mod load;
mod outage;
mod poison;
mod report;
mod scale;
mod sender;
mod subscriber;
mod support;
mod wire;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use report::{Report, Row};
use scale::Scale;

/// Kills, starves, floods and attacks a daemon, and counts what was lost.
#[derive(Parser)]
struct Arguments {
    /// Fewer jobs, and times that are not judged.
    #[arg(long)]
    short: bool,
    /// Only these scenarios.
    #[arg(long, value_parser = NAMES)]
    scenario: Vec<String>,
    /// Decides everything random; the kill loop of the full form runs with three of them otherwise.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the JSON goes.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/chaos/report.json"))]
    report: PathBuf,
}

type Scenario = fn(u64, Scale) -> Row;

const SCENARIOS: [(&str, Scenario); 10] = [
    ("kill-loop", kills::kill_loop),
    ("mongo-cut", outage::mongo_cut),
    ("intake-exposure", flood::intake_exposure),
    ("subscribers", absence::subscribers),
    ("wire-attacks", wire::attacks),
    ("broken-audio", broken::broken_audio),
    ("poison", poison::poison),
    ("disk-full", disk::disk_full),
    ("overload", flood::overload),
    ("text-under-audio", flood::text_under_audio),
];

const NAMES: [&str; SCENARIOS.len()] = {
    let mut names = [""; SCENARIOS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = SCENARIOS[at].0;
        at += 1;
    }
    names
};

/// Seeds of the kill loop in its full form.
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scale = if arguments.short {
        Scale::Short
    } else {
        Scale::Full
    };
    let mut rows = Vec::new();
    for (name, scenario) in SCENARIOS {
        let is_chosen =
            arguments.scenario.is_empty() || arguments.scenario.iter().any(|chosen| chosen == name);
        if !is_chosen {
            continue;
        }
        let seeds = match arguments.seed {
            Some(seed) => vec![seed],
            None if scale == Scale::Full && name == "kill-loop" => SEEDS.to_vec(),
            None => vec![SEEDS[0]],
        };
        rows.extend(seeds.into_iter().map(|seed| scenario(seed, scale)));
    }
    let report = Report {
        form: scale.choose("full", "short"),
        passed: rows.iter().all(Row::is_passed),
        rows,
    };
    report.print();
    if let Err(error) = report.write(&arguments.report) {
        eprintln!("{} cannot be written: {error}", arguments.report.display());
        return ExitCode::FAILURE;
    }
    println!("\nreport: {}", arguments.report.display());
    if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
