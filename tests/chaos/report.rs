//! What a run has shown: a table for people, JSON for programs, and a verdict.

use std::fmt;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::checker::Counts;

/// Percentiles of times, milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    /// Times that were taken.
    pub count: usize,
    /// Half were shorter.
    pub p50: u64,
    /// 95 of 100 were shorter.
    pub p95: u64,
    /// 99 of 100 were shorter.
    pub p99: u64,
}

impl Percentiles {
    /// Of times in milliseconds, in any order; zeros of none.
    pub fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            count: times.len(),
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }
}

/// A figure with its bound.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured, with its unit.
    pub name: String,
    /// What came out.
    pub measured: f64,
    /// What may come out at most.
    pub at_most: f64,
    /// False for what the short form takes but does not judge.
    pub is_judged: bool,
}

impl Figure {
    /// True when the bound is kept or not asked for.
    pub fn is_met(&self) -> bool {
        !self.is_judged || self.measured <= self.at_most
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_judged, self.measured <= self.at_most) {
            (true, true) => "met",
            (true, false) => "MISSED",
            (false, _) => "not judged",
        };
        write!(
            f,
            "{}: {:.3} (at most {}): {verdict}",
            self.name, self.measured, self.at_most
        )
    }
}

/// One run of one scenario.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    pub scenario: &'static str,
    pub seed: u64,
    pub kills: usize,
    #[serde(flatten)]
    pub counts: Counts,
    /// Work that was done again, in percent of the work that the jobs take without kills.
    pub repeated_work_percent: Option<f64>,
    /// From the start of a process to its first attempt at a job.
    pub restart_to_first_job_ms: Option<Percentiles>,
    /// From push to the last event that ends the job.
    pub latency_ms: Percentiles,
    pub rss_idle_mib: u64,
    pub rss_peak_mib: u64,
    /// Lines of logs and metrics with a part of the canary sentence.
    pub canaries: usize,
    pub seconds: u64,
    pub figures: Vec<Figure>,
    /// What is worth telling, and breaks nothing.
    pub notes: Vec<String>,
    /// What broke a rule.
    pub problems: Vec<String>,
    /// Why nothing was proved here.
    pub skipped: Option<String>,
}

impl Row {
    /// An empty one.
    pub fn new(scenario: &'static str, seed: u64) -> Self {
        Self {
            scenario,
            seed,
            ..Self::default()
        }
    }

    /// Adds a figure that is always judged.
    pub fn require(&mut self, name: impl Into<String>, measured: f64, at_most: f64) {
        self.figures.push(Figure {
            name: name.into(),
            measured,
            at_most,
            is_judged: true,
        });
    }

    /// Adds a figure that is taken, but judged only where that makes sense: times on a quiet machine.
    pub fn require_where(&mut self, is_judged: bool, name: &str, measured: f64, at_most: f64) {
        self.figures.push(Figure {
            name: name.to_owned(),
            measured,
            at_most,
            is_judged,
        });
    }

    /// Adds something that broke a rule.
    pub fn blame(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// True when nothing was lost and every figure is met.
    pub fn is_passed(&self) -> bool {
        self.problems.is_empty() && self.figures.iter().all(Figure::is_met)
    }

    fn verdict(&self) -> &'static str {
        match (&self.skipped, self.is_passed()) {
            (Some(_), true) => "skipped",
            (_, true) => "passed",
            (_, false) => "FAILED",
        }
    }
}

/// All rows of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `full` or `short`.
    pub form: &'static str,
    /// True when every row has passed.
    pub passed: bool,
    pub rows: Vec<Row>,
}

const HEADER: [&str; 20] = [
    "scenario", "seed", "jobs", "kills", "accepted", "terminal", "failed", "aside", "lost",
    "never", "dup.docs", "repeated", "restart", "p50 ms", "p95 ms", "p99 ms", "rss idle", "peak",
    "canaries", "verdict",
];

impl Report {
    /// Writes the JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
    }

    /// The table, and below it every figure, note and problem.
    pub fn print(&self) {
        let mut lines: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(cells));
        let widths: Vec<usize> = (0..HEADER.len())
            .map(|column| lines.iter().map(|line| line[column].len()).max())
            .map(Option::unwrap_or_default)
            .collect();
        println!();
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:>width$}"))
                .collect();
            println!("{}", padded.join("  "));
        }
        for row in &self.rows {
            println!("\n{} (seed {}, {} s)", row.scenario, row.seed, row.seconds);
            for figure in &row.figures {
                println!("  {figure}");
            }
            for note in row.notes.iter().chain(&row.skipped) {
                println!("  note: {note}");
            }
            for problem in &row.problems {
                println!("  PROBLEM: {problem}");
            }
        }
    }
}

fn cells(row: &Row) -> Vec<String> {
    let restart = row.restart_to_first_job_ms;
    vec![
        row.scenario.to_owned(),
        row.seed.to_string(),
        row.counts.pushed.to_string(),
        row.kills.to_string(),
        row.counts.accepted.to_string(),
        row.counts.terminal.to_string(),
        row.counts.failed.to_string(),
        row.counts.quarantined.to_string(),
        row.counts.lost.to_string(),
        row.counts.never_accepted.to_string(),
        row.counts.duplicate_documents.to_string(),
        row.repeated_work_percent
            .map_or("-".to_owned(), |percent| format!("{percent:.1} %")),
        restart.map_or("-".to_owned(), |times| {
            format!("{}/{} ms", times.p50, times.p99)
        }),
        row.latency_ms.p50.to_string(),
        row.latency_ms.p95.to_string(),
        row.latency_ms.p99.to_string(),
        format!("{} MiB", row.rss_idle_mib),
        format!("{} MiB", row.rss_peak_mib),
        row.canaries.to_string(),
        row.verdict().to_owned(),
    ]
}

/// Tells how far a scenario is: a line that changes on a terminal, else a line every few seconds.
pub struct Progress {
    name: String,
    began: Instant,
    told_at: Option<Instant>,
    bar: Option<ProgressBar>,
}

/// Pause between lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

impl Progress {
    /// Of a scenario.
    pub fn new(name: &str, seed: u64) -> Self {
        let bar = std::io::stderr()
            .is_terminal()
            .then(ProgressBar::new_spinner);
        Self {
            name: format!("{name} (seed {seed})"),
            began: Instant::now(),
            told_at: None,
            bar,
        }
    }

    /// Tells something, if it is time.
    pub fn tell(&mut self, what: impl fmt::Display) {
        let seconds = self.began.elapsed().as_secs();
        let line = format!("{}: {what}, {seconds} s", self.name);
        if let Some(bar) = &self.bar {
            bar.set_message(line);
            bar.tick();
            return;
        }
        let is_time = self
            .told_at
            .is_none_or(|told_at| told_at.elapsed() >= LINE_INTERVAL);
        if is_time {
            self.told_at = Some(Instant::now());
            println!("{line}");
        }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
