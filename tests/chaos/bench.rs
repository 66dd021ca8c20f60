//! What every scenario needs: a daemon, a sender, a subscriber, a database, and the account of it all at the end.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::canary;
use crate::checker::evidence::{Receipt, Sent};
use crate::checker::ledger::LedgerView;
use crate::checker::{self, Evidence, Verification};
use crate::daemon::Daemon;
use crate::database::Database;
use crate::load::Message;
use crate::report::{Percentiles, Progress, Row};
use crate::sender::Sender;
use crate::subscriber::{Receipts, Subscriber, lock};
use crate::support::proxy::Link;
use crate::support::{PATIENCE, wait_until};

/// Longest wait for everything to be settled.
const SETTLE: Duration = Duration::from_secs(900);

/// Longest time that a message is taken to be on its way into the ledger.
const LAST_CALL: Duration = Duration::from_secs(3);

/// Problems of one kind that are told one by one.
const MAX_TOLD: usize = 20;

/// A daemon with its peers.
pub struct Bench {
    pub daemon: Daemon,
    pub sender: Sender,
    pub subscriber: Subscriber,
    pub database: Option<Database>,
    pub receipts: Receipts,
    pub progress: Progress,
    pub row: Row,
    accepted_before: HashSet<String>,
    /// Times that the daemon died by itself.
    deaths: usize,
}

/// What a scenario wants of its bench.
#[derive(Default)]
pub struct Setting<'a> {
    /// More environment variables for the daemon.
    pub environment: Vec<(String, String)>,
    /// True: with a database.
    pub has_database: bool,
    /// Data directory instead of a folder of its own.
    pub data_dir: Option<&'a Path>,
}

impl Bench {
    /// Starts everything and waits until the daemon has loaded its models.
    pub fn start(scenario: &'static str, seed: u64, setting: Setting<'_>) -> Self {
        let mut environment = setting.environment;
        let database = setting.has_database.then(Database::start).flatten();
        if let Some(database) = &database {
            environment.push(("DATABASE_URL".to_owned(), database.url()));
        }
        let mut progress = Progress::new(scenario, seed);
        progress.tell("starting");
        let daemon = Daemon::start(&environment, setting.data_dir);
        daemon.wait_loaded();
        let mut row = Row::new(scenario, seed);
        row.rss_idle_mib = daemon.rss_bytes() >> 20;
        if setting.has_database && database.is_none() {
            row.notes.push("without a database".to_owned());
        }
        let receipts = Receipts::default();
        Self {
            sender: Sender::connect(daemon.ports),
            subscriber: Subscriber::connect(daemon.ports, receipts.clone()),
            daemon,
            database,
            receipts,
            progress,
            row,
            accepted_before: HashSet::new(),
            deaths: 0,
        }
    }

    /// Notes what is in the ledger, so that a row that vanishes later is missed.
    pub fn note_accepted(&mut self) {
        if let Ok(task_ids) = self.daemon.ledger().task_ids() {
            self.accepted_before.extend(task_ids);
        }
    }

    /// Kills the daemon, having noted what it has accepted.
    pub fn kill(&mut self) {
        self.daemon.kill();
        self.row.kills += 1;
        self.note_accepted();
    }

    /// Pushes messages evenly over a time.
    pub fn push_over(&mut self, messages: &[Message], time: Duration) {
        let began = Instant::now();
        for (number, message) in messages.iter().enumerate() {
            let due = time.mul_f64(number as f64 / messages.len() as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            self.sender.push(message);
            let pushed = self.sender.log().len();
            self.progress.tell(format_args!("{pushed} pushed"));
        }
    }

    /// Starts a daemon again that has died by itself, up to a number of deaths.
    pub fn revive(&mut self, max_deaths: usize) {
        if self.daemon.is_alive() || self.deaths >= max_deaths {
            return;
        }
        self.deaths += 1;
        self.daemon.kill();
        self.note_accepted();
        self.daemon.launch();
    }

    /// [`settle`](Self::settle) with a daemon that may die meanwhile.
    pub fn settle_reviving(&mut self, max_deaths: usize) {
        for _ in 0..=max_deaths {
            self.settle();
            if self.daemon.is_alive() {
                break;
            }
            self.revive(max_deaths);
        }
        let deaths = format!("the daemon died {} times by itself", self.deaths);
        self.row.notes.push(deaths);
    }

    /// The states of some jobs, by their task ids.
    pub fn ends_of(&self, task_ids: &HashSet<String>) -> Vec<(String, String)> {
        let jobs = self.daemon.ledger().jobs().expect("the ledger can be read");
        jobs.into_iter()
            .filter(|job| task_ids.contains(&job.task_id))
            .map(|job| (job.task_id, job.state))
            .collect()
    }

    /// Changes what becomes of the bytes between daemon and database.
    pub fn link(&self, link: Link) {
        if let Some(database) = &self.database {
            database.proxy.set(link);
        }
    }

    /// Waits until something has arrived for each of these requests.
    pub fn wait_answered(&mut self, messages: &[Message]) {
        let mut missing: HashSet<&str> = messages.iter().map(|m| m.task_id.as_str()).collect();
        let mut seen = 0;
        let mut is_answered = || {
            let receipts = lock(&self.receipts);
            for receipt in &receipts[seen..] {
                if let Some(task_id) = receipt.facts.task_id.as_deref() {
                    missing.remove(task_id);
                }
            }
            seen = receipts.len();
            missing.is_empty().then_some(())
        };
        // What has no answer by then is the checker's to tell.
        wait_until(PATIENCE, &mut is_answered);
    }

    /// Waits until all that was pushed is in the ledger.
    pub fn wait_accepted(&mut self) {
        let pushed = self.sender.log().len();
        let (daemon, before) = (&self.daemon, &self.accepted_before);
        wait_until(PATIENCE, || {
            let mut accepted = daemon.ledger().task_ids().ok()?;
            accepted.extend(before.iter().cloned());
            (accepted.len() >= pushed).then_some(())
        });
    }

    /// Ends a scenario that cannot be played here.
    pub fn skip(mut self, why: &str) -> Row {
        self.row.skipped = Some(why.to_owned());
        self.row
    }

    /// Waits until every job has ended, every event was received and every document is written, or until
    /// nothing more can be hoped for: what is left then is the checker's to tell.
    pub fn settle(&mut self) {
        let ledger = self.daemon.ledger();
        let until = Instant::now() + SETTLE;
        let mut quiet_since = None;
        while Instant::now() < until && self.daemon.is_alive() {
            let left = ledger.unsettled().expect("the ledger can be read");
            self.progress.tell(format_args!(
                "{} jobs, {} events and {} documents are left",
                left.jobs, left.events, left.documents
            ));
            if !left.is_none() {
                quiet_since = None;
            } else if self.is_all_heard(&ledger) {
                // What was pushed and is not in the ledger may still be on its way.
                let quiet_since: &mut Instant = quiet_since.get_or_insert_with(Instant::now);
                if self.is_all_accepted(&ledger) || quiet_since.elapsed() > LAST_CALL {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_all_accepted(&self, ledger: &LedgerView) -> bool {
        let accepted = ledger.task_ids().unwrap_or_default();
        let mut sent = self.sender.log().iter();
        sent.all(|sent| accepted.contains(&sent.task_id))
    }

    /// Waits a while for what was published and has not arrived.
    fn is_all_heard(&self, ledger: &LedgerView) -> bool {
        let jobs = ledger.jobs().expect("the ledger can be read");
        let stored = jobs.iter().flat_map(|job| &job.events);
        let stored: Vec<&str> = stored.map(|event| event.fingerprint.as_str()).collect();
        let is_heard = || {
            let receipts = lock(&self.receipts);
            let heard: HashSet<&str> = receipts
                .iter()
                .map(|receipt| receipt.fingerprint.as_str())
                .collect();
            stored
                .iter()
                .all(|event| heard.contains(event))
                .then_some(())
        };
        wait_until(Duration::from_secs(5), is_heard).is_some()
    }

    /// Has the checker compare all accounts, and gives the row. Call [`settle`](Self::settle) before.
    pub fn finish(mut self) -> Row {
        if !self.daemon.is_alive() {
            let end = self.daemon.log_end();
            self.row.blame(format!("the daemon has died:\n{end}"));
        }
        self.daemon.scrape();
        let evidence = self.evidence();
        let verification = checker::check(&evidence);
        self.row.latency_ms = latency(&evidence.sent, &evidence.received, |_| true);
        self.account(&verification);
        match self.daemon.ledger().failures() {
            Ok(failures) if failures.is_empty() => {}
            Ok(failures) => {
                let failures = failures.join(", ");
                self.row.notes.push(format!("did not end well: {failures}"));
            }
            Err(error) => self
                .row
                .blame(format!("the ledger cannot be read: {error}")),
        }
        self.search_canaries();
        self.row.rss_peak_mib = self.daemon.peak_rss_bytes() >> 20;
        self.row.seconds = self.progress.elapsed().as_secs();
        self.row
    }

    fn evidence(&mut self) -> Evidence {
        let jobs = self.daemon.ledger().jobs().unwrap_or_else(|error| {
            self.row
                .blame(format!("the ledger cannot be read: {error}"));
            Vec::new()
        });
        let documents = self.database.as_ref().map(Database::documents).transpose();
        let documents = documents.unwrap_or_else(|error| {
            self.row.blame(format!("MongoDB cannot be read: {error}"));
            None
        });
        Evidence {
            sent: self.sender.log().to_vec(),
            jobs,
            accepted_before: std::mem::take(&mut self.accepted_before),
            received: lock(&self.receipts).clone(),
            documents,
        }
    }

    fn account(&mut self, verification: &Verification) {
        let row = &mut self.row;
        row.counts = verification.counts;
        row.require("jobs lost", row.counts.lost as f64, 0.0);
        let mut told: HashMap<checker::Rule, usize> = HashMap::new();
        for problem in &verification.problems {
            let count = told.entry(problem.rule).or_default();
            *count += 1;
            if *count <= MAX_TOLD {
                row.problems.push(format!(
                    "{:?} {}: {}",
                    problem.rule, problem.of, problem.found
                ));
            }
        }
        for (rule, count) in told {
            if count > MAX_TOLD {
                row.problems.push(format!("{rule:?}: {count} in all"));
            }
        }
    }

    fn search_canaries(&mut self) {
        let carried = self.daemon.ledger().requests_with(canary::SENTENCE);
        // A search for what was never sent would prove nothing.
        if !carried.is_ok_and(|requests| requests > 0) {
            self.row.blame("no accepted request carries the canary");
        }
        match canary::search(&self.daemon) {
            Ok(findings) => {
                self.row.canaries = findings.count;
                let lines = findings.lines;
                self.row
                    .notes
                    .push(format!("{lines} lines of logs and metrics were searched"));
                if let Some(first) = findings.first {
                    self.row.blame(format!("a canary was found: {first}"));
                }
            }
            Err(error) => self.row.blame(format!("the log cannot be read: {error}")),
        }
    }
}

/// From push to the last event of a request, over those requests that are `wanted` by their task ids.
pub fn latency(sent: &[Sent], received: &[Receipt], wanted: impl Fn(&str) -> bool) -> Percentiles {
    let mut first: HashMap<&str, i64> = HashMap::new();
    let mut ends: HashMap<&str, i64> = HashMap::new();
    for receipt in received {
        if first.contains_key(receipt.fingerprint.as_str()) {
            continue;
        }
        first.insert(&receipt.fingerprint, receipt.at_ms);
        if let Some(task_id) = receipt.facts.task_id.as_deref() {
            ends.insert(task_id, receipt.at_ms);
        }
    }
    let times = sent.iter().filter(|sent| wanted(&sent.task_id));
    let times = times.filter_map(|sent| {
        let end = ends.get(sent.task_id.as_str())?;
        Some((end - sent.at_ms).max(0) as u64)
    });
    Percentiles::of(times.collect())
}
