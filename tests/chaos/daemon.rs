//! The daemon under test: a process that is started, killed and started again on the same data.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::checker::ledger::LedgerView;
use crate::support::tests_daemon::{Ports, serve_command};
use crate::support::{PATIENCE, now_ms, wait_until};

/// How often memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// A daemon with the fixture models, its log at the most verbose level in a file.
pub struct Daemon {
    pub ports: Ports,
    folder: tempfile::TempDir,
    data_dir: PathBuf,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// When the present life began, milliseconds since 1970.
    pub started_at_ms: i64,
    /// CPU time of lives that have ended, milliseconds.
    spent_cpu_ms: u64,
    /// Every text that `/metrics` has answered.
    scrapes: Mutex<Vec<String>>,
    watch: Watch,
}

impl Daemon {
    /// Starts one; `data_dir` instead of a folder of its own.
    pub fn start(environment: &[(String, String)], data_dir: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the daemon");
        let data_dir = data_dir.map_or_else(|| folder.path().join("data"), Path::to_owned);
        let mut daemon = Self {
            ports: Ports::free(),
            folder,
            data_dir,
            environment: environment.to_vec(),
            child: None,
            started_at_ms: 0,
            spent_cpu_ms: 0,
            scrapes: Mutex::default(),
            watch: Watch::start(),
        };
        daemon.launch();
        daemon
    }

    /// Starts it, or starts it again once it is dead; waits for nothing.
    pub fn launch(&mut self) {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log_file())
            .expect("a log file");
        self.started_at_ms = now_ms();
        let child = serve_command(self.folder.path(), self.ports)
            .env("LOG_LEVEL", "trace")
            .env("TRANSLATOR_DATA_DIR", &self.data_dir)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        self.watch.look_at(child.id());
        self.child = Some(child);
    }

    /// Waits until it takes requests and has loaded its models.
    pub fn wait_loaded(&self) {
        let is_loaded = || {
            let body = self.get("/health")?;
            let health: serde_json::Value = serde_json::from_str(&body).ok()?;
            (health["models_loading"] == false && self.get("/ready").is_some()).then_some(())
        };
        if wait_until(PATIENCE, is_loaded).is_none() {
            panic!("the daemon is not ready; its log ends:\n{}", self.log_end());
        }
    }

    /// SIGKILL, without warning.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.spent_cpu_ms += cpu_ms(child.id());
        self.watch.look_away();
        // It may have died by itself, which the caller sees by `is_alive`.
        drop(child.kill());
        drop(child.wait());
    }

    /// True while the process runs.
    pub fn is_alive(&mut self) -> bool {
        let status = self.child.as_mut().map(Child::try_wait);
        matches!(status, Some(Ok(None)))
    }

    /// The process id, 0 when there is none.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// CPU time of all lives, milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        self.spent_cpu_ms + self.child.as_ref().map_or(0, |child| cpu_ms(child.id()))
    }

    /// Resident memory now, bytes.
    pub fn rss_bytes(&self) -> u64 {
        status_bytes(self.pid(), "VmRSS:").unwrap_or(0)
    }

    /// The most resident memory that any life had, bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.watch.peak_bytes.load(Ordering::Relaxed)
    }

    /// GET a path; `None` unless the answer is 200.
    pub fn get(&self, path: &str) -> Option<String> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .build()
            .into();
        let url = format!("http://127.0.0.1:{}{path}", self.ports.http);
        let mut response = agent.get(&url).call().ok()?;
        response.body_mut().read_to_string().ok()
    }

    /// What `/metrics` says; kept for the search for canaries.
    pub fn scrape(&self) -> String {
        let text = self.get("/metrics").unwrap_or_default();
        let mut scrapes = self.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        scrapes.push(text.clone());
        text
    }

    /// Everything that `/metrics` has answered.
    pub fn scrapes(&self) -> Vec<String> {
        let scrapes = self.scrapes.lock();
        scrapes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ledger, once there is one.
    pub fn ledger(&self) -> LedgerView {
        wait_until(PATIENCE, || LedgerView::open(&self.data_dir).ok()).expect("a ledger")
    }

    /// Where the log is.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The log, from its beginning.
    pub fn open_log(&self) -> std::io::Result<File> {
        File::open(self.log_file())
    }

    /// Lines of the log with any of these words.
    pub fn log_lines(&self, words: &[&str]) -> usize {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        log.lines()
            .filter(|line| words.iter().any(|word| line.contains(word)))
            .count()
    }

    /// The last lines of the log.
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let mut lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks at the memory of a process from a thread of its own.
struct Watch {
    pid: Arc<AtomicU32>,
    peak_bytes: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start() -> Self {
        let pid = Arc::new(AtomicU32::new(0));
        let peak_bytes = Arc::new(AtomicU64::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let shared = (
            Arc::clone(&pid),
            Arc::clone(&peak_bytes),
            Arc::clone(&stopping),
        );
        let thread = std::thread::spawn(move || {
            let (pid, peak_bytes, stopping) = shared;
            while !stopping.load(Ordering::Relaxed) {
                let rss = status_bytes(pid.load(Ordering::Relaxed), "VmRSS:");
                peak_bytes.fetch_max(rss.unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(SAMPLE_INTERVAL);
            }
        });
        Self {
            pid,
            peak_bytes,
            stopping,
            thread: Some(thread),
        }
    }

    fn look_at(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    fn look_away(&self) {
        self.pid.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It reads files and adds numbers: nothing in it panics.
            drop(thread.join());
        }
    }
}

/// A line of `/proc/<pid>/status` that is given in KiB.
fn status_bytes(pid: u32, name: &str) -> Option<u64> {
    if pid == 0 {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

/// User and system time of a process and of children that it has waited for, milliseconds.
fn cpu_ms(pid: u32) -> u64 {
    // Linux counts ticks of 10 ms for user space on every architecture that matters.
    const TICK_MS: u64 = 10;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may contain spaces; utime, stime, cutime and cstime are fields 14 to 17.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = after_name
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks * TICK_MS
}
