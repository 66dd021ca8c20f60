//! A MongoDB-protocol server for tests.
//!
//! `TEST_MONGODB_URL` names one that runs (a server address without a database). Else `FERRETDB`
//! names the binary of FerretDB 1.x, and each [`TestMongo`] starts its own, which can be stopped and
//! started again. Without either a test prints a skip, and fails if `REQUIRE_MONGODB=1`.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A server, and a database in it that no other test uses.
pub struct TestMongo {
    server: String,
    database: String,
    own: Option<OwnServer>,
}

struct OwnServer {
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl TestMongo {
    /// Finds or starts a server; `None` after telling that the test is skipped.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests find servers by the environment"
    )]
    #[allow(clippy::print_stderr, reason = "a skipped test says so")]
    pub fn start() -> Option<Self> {
        let database = format!("test_{}", uuid::Uuid::new_v4().simple());
        if let Ok(server) = std::env::var("TEST_MONGODB_URL") {
            let server = server.trim_end_matches('/').to_owned();
            return Some(Self {
                server,
                database,
                own: None,
            });
        }
        let binary = std::env::var_os("FERRETDB")
            .map(PathBuf::from)
            .filter(|path| path.is_file());
        let Some(binary) = binary else {
            let required = std::env::var("REQUIRE_MONGODB").is_ok_and(|value| value == "1");
            assert!(
                !required,
                "REQUIRE_MONGODB=1, but neither TEST_MONGODB_URL nor FERRETDB is set"
            );
            eprintln!("skipped: neither TEST_MONGODB_URL nor FERRETDB names a server");
            return None;
        };
        let own = OwnServer::start(binary)
            .unwrap_or_else(|error| panic!("FerretDB did not start: {error}"));
        Some(Self {
            server: format!("mongodb://127.0.0.1:{}", own.port),
            database,
            own: Some(own),
        })
    }

    /// The address with the database's name.
    pub fn url(&self) -> String {
        format!("{}/{}", self.server, self.database)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Kills the server; its documents stay. False if it is not ours to stop.
    pub fn stop(&mut self) -> bool {
        self.own.as_mut().is_some_and(|own| {
            own.kill();
            true
        })
    }

    /// Starts a stopped server again, at the same address with the same documents.
    pub fn restart(&mut self) -> io::Result<()> {
        self.own.as_mut().map_or(Ok(()), OwnServer::launch)
    }
}

impl OwnServer {
    fn start(binary: PathBuf) -> io::Result<Self> {
        // The port is free again when the listener is dropped at the end of the line.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut server = Self {
            binary,
            folder: TempDir::new()?,
            port,
            process: None,
        };
        server.launch()?;
        Ok(server)
    }

    fn launch(&mut self) -> io::Result<()> {
        let folder = self.folder.path().display();
        let process = Command::new(&self.binary)
            .args([
                "--handler=sqlite",
                "--telemetry=disable",
                "--debug-addr=-",
                "--log-level=error",
            ])
            .arg(format!("--listen-addr=127.0.0.1:{}", self.port))
            .arg(format!("--sqlite-url=file:{folder}/"))
            .arg(format!("--state-dir={folder}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = process.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself: then there is nothing to kill.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
