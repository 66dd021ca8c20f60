//! A daemon in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::wait_for;

/// Ports of one daemon.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub pull: u16,
    pub publish: u16,
    pub http: u16,
}

impl Ports {
    /// Ports that are free and that no other daemon of these tests gets. The system gives none of them to
    /// outgoing connections (its own begin at 32768), so they are still free when the daemon binds them.
    pub fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        const FIRST: u16 = 10_000;
        const COUNT: u16 = 22_000;
        // Test binaries that run at once begin at different places.
        let offset = (std::process::id() % 220) as u16 * 100;
        let mut ports = std::iter::repeat_with(|| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            FIRST + offset.wrapping_add(step) % COUNT
        })
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let mut port = || ports.next().unwrap();
        Self {
            pull: port(),
            publish: port(),
            http: port(),
        }
    }
}

/// A running daemon with a data directory that outlives it.
pub struct Daemon {
    pub ports: Ports,
    folder: Arc<tempfile::TempDir>,
    environment: Vec<(String, String)>,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts a daemon with the fixture models and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more environment variables.
    pub fn start_with(environment: &[(&str, &str)]) -> Self {
        let daemon = Self::launch(environment);
        daemon.wait_ready();
        daemon
    }

    /// Starts a daemon and does not wait for anything.
    pub fn launch(environment: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::spawn(folder, Ports::free(), owned(environment), Arc::default())
    }

    fn spawn(
        folder: Arc<tempfile::TempDir>,
        ports: Ports,
        environment: Vec<(String, String)>,
        log: Arc<Mutex<String>>,
    ) -> Self {
        let mut child = serve_command(folder.path(), ports)
            // Tests count events, and may take longer than the first repeat.
            .env("TRANSLATOR_REPUBLISH_SECS", "none")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            ports,
            folder,
            environment,
            child,
            log,
        }
    }

    /// Working directory of the daemon.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Number of the daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was logged so far, by earlier lives too.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line in the log.
    pub fn wait_logged(&self, text: &str) {
        wait_for(&format!("log line with {text:?}"), || {
            self.log().contains(text).then_some(())
        });
    }

    /// Waits for `/ready`.
    pub fn wait_ready(&self) {
        let until = std::time::Instant::now() + super::PATIENCE;
        while self.get("/ready").is_none_or(|(status, _)| status != 200) {
            assert!(
                std::time::Instant::now() < until,
                "the daemon is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits until no engine is loading for the first time.
    pub fn wait_loaded(&self) {
        wait_for("the end of loading", || {
            let (_, body) = self.get("/health")?;
            let health: Value = serde_json::from_str(&body).unwrap();
            (health["models_loading"] == false).then_some(())
        });
    }

    /// GET a path; `None` when nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let agent = agent(std::time::Duration::from_secs(5));
        let mut response = agent.get(self.url(path)).call().ok()?;
        let body = response.body_mut().read_to_string().ok()?;
        Some((response.status().as_u16(), body))
    }

    /// The status and the JSON that a request without a body is answered with.
    pub fn call(&self, method: &str, path: &str) -> (u16, Value) {
        let agent = agent(super::PATIENCE);
        let response = match method {
            "GET" => agent.get(self.url(path)).call(),
            "DELETE" => agent.delete(self.url(path)).call(),
            _ => agent.post(self.url(path)).send_empty(),
        };
        let mut response = response.unwrap();
        let body = response.body_mut().read_to_string().unwrap();
        let json = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no json: {body:?}"));
        (response.status().as_u16(), json)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.http)
    }

    /// GET a path that answers JSON.
    pub fn get_json(&self, path: &str) -> Value {
        let (_, body) = self.get(path).unwrap();
        serde_json::from_str(&body).unwrap()
    }

    /// Sum of all samples of a metric whose line contains every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, body) = self.get("/metrics").unwrap();
        body.lines()
            .filter(|line| {
                let rest = line.strip_prefix(name).unwrap_or_default();
                rest.starts_with(['{', ' ']) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until the ledger knows that all events were published. A repeat that comes in the moment
    /// between an event and that knowledge is taken for one of a request whose answer is on its way.
    pub fn wait_published(&self) {
        let ledger = self.folder().join("data/ledger.sqlite3");
        let ledger = rusqlite::Connection::open(ledger).unwrap();
        let pending = "SELECT count(*) FROM events WHERE state = 'pending'";
        wait_for("publication of all events", || {
            let pending: i64 = ledger.query_row(pending, [], |row| row.get(0)).unwrap();
            (pending == 0).then_some(())
        });
    }

    /// Kills the daemon without warning (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the daemon to stop (SIGTERM) and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_ended()
    }

    /// Waits for the end of a daemon that ends by itself.
    pub fn wait_ended(&mut self) -> ExitStatus {
        wait_for("end of the daemon", || self.child.try_wait().unwrap())
    }

    /// Memory of the process that is in use.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Most memory that the process has had in use.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
        kibibytes.parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// True when the daemon has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Starts the dead daemon again, on the same ports and data, with another environment.
    pub fn restart_with(&mut self, environment: &[(&str, &str)]) {
        self.relaunch_with(environment);
        self.wait_ready();
    }

    /// The same, and does not wait for anything.
    pub fn relaunch_with(&mut self, environment: &[(&str, &str)]) {
        let (folder, log) = (Arc::clone(&self.folder), Arc::clone(&self.log));
        *self = Self::spawn(folder, self.ports, owned(environment), log);
    }

    /// Starts the dead daemon again as it was.
    pub fn restart(&mut self) {
        let environment = self.environment.clone();
        let borrowed: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.restart_with(&borrowed);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the daemon\n{}", self.log());
        }
    }
}

/// `translator serve` in a folder, with the fixture models and nothing of our own environment that would
/// change it.
pub fn serve_command(folder: &Path, ports: Ports) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_translator"));
    command
        .arg("serve")
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| {
            ["PATH", "RUST_BACKTRACE", "HOME"]
                .iter()
                .any(|kept| name == kept)
        }))
        .env("ORT_DYLIB_PATH", super::onnxruntime_library())
        .env("MODELS_PATH", fixture_models())
        .env("TRANSLATOR_DATA_DIR", folder.join("data"))
        .env("TRANSLATOR_ZMQ_BIND_ADDRESS", "127.0.0.1")
        .env("TRANSLATOR_HTTP_BIND_ADDRESS", "127.0.0.1")
        .env("TRANSLATOR_ZMQ_PULL_PORT", ports.pull.to_string())
        .env("TRANSLATOR_ZMQ_PUB_PORT", ports.publish.to_string())
        .env("HTTP_PORT", ports.http.to_string())
        // Tests must not depend on what the machine has beside the models.
        .env("TRANSLATOR_BASE_VOICE", "off")
        .stdout(Stdio::null());
    command
}

fn agent(timeout: std::time::Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .build()
        .into()
}

fn owned(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The bundled tiny models.
pub fn fixture_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures")
}
