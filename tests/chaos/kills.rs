//! SIGKILL at random moments, over and over, under a mixed load.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Setting};
use crate::checker::ledger::LedgerView;
use crate::dice::Dice;
use crate::load::{Load, Message, Mix};
use crate::report::{Percentiles, Row};
use crate::scale::Scale;
use crate::work::Work;

/// How long a daemon lives.
const LIFE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4);

/// How often a new life is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// Bound of the time from the start of a process to its first attempt at a job, milliseconds.
const MAX_RESTART_MS: f64 = 5_000.0;

/// Share of the jobs that may be taken for poison because kills met them too often, percent.
const MAX_SET_ASIDE_PERCENT: f64 = 1.0;

/// Share of the jobs' work that ended and may be done again, percent.
const MAX_REPEATED_PERCENT: f64 = 10.0;

/// Jobs are killed while they run, and all of them end.
pub fn kill_loop(seed: u64, scale: Scale) -> Row {
    let (jobs, kills) = scale.choose((2_000, 100), (60, 4));
    let reference = Reference::measure(seed, scale.choose(200, 15));
    let setting = Setting {
        has_database: true,
        ..Setting::default()
    };
    let mut bench = Bench::start("kill-loop", seed, setting);
    let messages = Load::new(seed).messages(jobs, Mix::USUAL);
    let mut lives = run(&mut bench, seed, &messages, kills);
    bench.settle();
    lives.work.add(&bench.daemon.scrape());
    reference.tell(&mut bench);
    let mut row = bench.finish();
    lives.account(&mut row, &messages, scale);
    row.require_where(
        scale.judges_time(),
        "sound jobs that were set aside, percent",
        100.0 * row.counts.quarantined as f64 / row.counts.accepted.max(1) as f64,
        MAX_SET_ASIDE_PERCENT,
    );
    row.require(
        "duplicate documents",
        row.counts.duplicate_documents as f64,
        0.0,
    );
    row
}

/// What was seen of the lives of a daemon.
#[derive(Default)]
pub struct Lives {
    /// From start to first attempt, milliseconds.
    first_job_ms: Vec<u64>,
    /// From start to the end of the first job, milliseconds.
    first_end_ms: Vec<u64>,
    /// Lives in which no job was begun although some waited.
    idle: usize,
    /// What was done in all lives.
    work: Work,
    /// Lives that did not answer when they were asked what they have done.
    silent: usize,
}

/// Pushes the messages while the daemon is killed `kills` times; the last life is left alone.
pub fn run(bench: &mut Bench, seed: u64, messages: &[Message], kills: usize) -> Lives {
    let mut dice = Dice::new(seed, "kills");
    let mut lives = Lives::default();
    // Evenly over the lives that are to come, so that each has something to lose.
    let average = (*LIFE.start() + *LIFE.end()) / 2;
    let pause = average.mul_f64(kills as f64) / messages.len() as u32;
    let began = Instant::now();
    let mut left = messages.iter().enumerate().peekable();
    let ledger = bench.daemon.ledger();
    for number in 0..kills {
        let life = dice.time(&LIFE);
        let mut watch = LifeWatch::new(&ledger, bench.daemon.started_at_ms, number > 0);
        let end = Instant::now() + life;
        while Instant::now() < end {
            while let Some((number, message)) = left.peek() {
                // A push may wait for a daemon that is not there: the kill must not wait for it.
                if began.elapsed() < pause * *number as u32 || !bench.sender.try_push(message) {
                    break;
                }
                left.next();
            }
            watch.look();
            std::thread::sleep(LOOK_INTERVAL);
        }
        lives.note(&watch);
        let metrics = bench.daemon.scrape();
        lives.silent += usize::from(metrics.is_empty());
        lives.work.add(&metrics);
        bench.kill();
        bench.daemon.launch();
        bench.progress.tell(format_args!(
            "{} kills, {} pushed",
            number + 1,
            bench.sender.log().len()
        ));
    }
    let mut watch = LifeWatch::new(&ledger, bench.daemon.started_at_ms, true);
    for (_, message) in left {
        bench.sender.push(message);
        watch.look();
    }
    bench.daemon.wait_loaded();
    watch.look();
    lives.note(&watch);
    lives
}

impl Lives {
    fn note(&mut self, watch: &LifeWatch<'_>) {
        if !watch.is_restart {
            return;
        }
        match watch.first_job_ms {
            Some(time) => self.first_job_ms.push(time),
            None if watch.had_work => self.idle += 1,
            None => {}
        }
        self.first_end_ms.extend(watch.first_end_ms);
    }

    /// Puts times and work into the row.
    fn account(self, row: &mut Row, messages: &[Message], scale: Scale) {
        let ends = Percentiles::of(self.first_end_ms);
        row.notes.push(format!(
            "from restart to the end of the first job: p50 {} ms, p99 {} ms, in the {} lives that lasted so long; \
             {} lives were too short to begin one",
            ends.p50, ends.p99, ends.count, self.idle
        ));
        let times = Percentiles::of(self.first_job_ms);
        row.require_where(
            scale.judges_time(),
            "restart to first job p99, ms",
            times.p99 as f64,
            MAX_RESTART_MS,
        );
        row.restart_to_first_job_ms = Some(times);
        row.notes.push(format!(
            "stages that ended well: {}; {} lives did not tell theirs",
            self.work.counts(messages),
            self.silent
        ));
        row.repeated_work_percent = self.work.repeated_percent(messages);
        match row.repeated_work_percent {
            Some(percent) => row.require_where(
                scale.judges_time(),
                "ended stages that were done again, percent of what the jobs need",
                percent,
                MAX_REPEATED_PERCENT,
            ),
            None if scale.judges_time() => {
                row.blame("the metrics tell of too little of the work to judge it: the machine is too busy, or jobs were set aside");
            }
            None => row
                .notes
                .push("the metrics tell of too little of the work to judge it".to_owned()),
        }
    }
}

/// Looks for the first signs of work in a life.
struct LifeWatch<'a> {
    ledger: &'a LedgerView,
    began_at_ms: i64,
    /// False for the first life, which was loaded before it got work.
    is_restart: bool,
    /// Whether jobs waited when the life began.
    had_work: bool,
    first_job_ms: Option<u64>,
    first_end_ms: Option<u64>,
}

impl<'a> LifeWatch<'a> {
    fn new(ledger: &'a LedgerView, began_at_ms: i64, is_restart: bool) -> Self {
        Self {
            ledger,
            began_at_ms,
            is_restart,
            had_work: ledger.unfinished().is_ok_and(|jobs| jobs > 0),
            first_job_ms: None,
            first_end_ms: None,
        }
    }

    fn look(&mut self) {
        if !self.is_restart || self.first_end_ms.is_some() {
            return;
        }
        let Ok((started, ended)) = self.ledger.first_signs(self.began_at_ms) else {
            return;
        };
        let since = |at_ms: i64| (at_ms - self.began_at_ms).max(0) as u64;
        self.first_job_ms = self.first_job_ms.or(started.map(since));
        self.first_end_ms = ended.map(since);
    }
}

/// What the same kind of load costs a daemon that nobody kills.
struct Reference {
    cpu_ms_per_job: f64,
    cpu_ms_per_start: f64,
}

impl Reference {
    /// Runs `jobs` jobs of other content.
    fn measure(seed: u64, jobs: usize) -> Self {
        let setting = Setting {
            has_database: true,
            ..Setting::default()
        };
        let mut bench = Bench::start("kill-loop reference", seed, setting);
        let at_start = bench.daemon.cpu_ms();
        for message in Load::new(seed ^ u64::MAX).messages(jobs, Mix::USUAL) {
            bench.sender.push(&message);
        }
        bench.settle();
        let spent = bench.daemon.cpu_ms() - at_start;
        Self {
            cpu_ms_per_job: spent as f64 / jobs as f64,
            cpu_ms_per_start: at_start as f64,
        }
    }

    /// Tells what the kills have cost in all: with models as small as these, mostly the stages that were open.
    fn tell(&self, bench: &mut Bench) {
        let spent = bench.daemon.cpu_ms() as f64;
        let starts = self.cpu_ms_per_start * (bench.row.kills + 1) as f64;
        let needed = self.cpu_ms_per_job * bench.sender.log().len() as f64;
        bench.row.notes.push(format!(
            "CPU: {:.1} s in all, {:.1} s of it for {} starts; {:.1} s for the jobs without kills, so {:.0} % more",
            spent / 1e3,
            starts / 1e3,
            bench.row.kills + 1,
            needed / 1e3,
            100.0 * (spent - starts - needed) / needed
        ));
    }
}
