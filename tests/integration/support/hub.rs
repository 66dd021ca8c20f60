//! A hub of models on the loopback interface, with its storage on a host of its own.
//!
//! It answers as Hugging Face does: `/api/models/…` tells commits and files, `/…/resolve/…` leads to the
//! storage host where files are large, and to another path of the hub where they are small.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// From this size on a file is stored elsewhere.
const LARGE_BYTES: usize = 1000;

pub struct FakeHub {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    storage_port: u16,
    repositories: Mutex<BTreeMap<String, Repository>>,
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Asked>>,
}

/// What a repository holds; one commit, which `main` is at.
#[derive(Clone)]
pub struct Repository {
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
    pub licence: &'static str,
    /// What is said about its files, if that is not the truth.
    pub tree: Option<Value>,
}

/// A request, once it was read.
#[derive(Debug, Clone)]
pub struct Asked {
    /// True at the storage host.
    pub is_storage: bool,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

/// What becomes of requests whose path contains a text.
struct Rule {
    path: String,
    times: usize,
    fault: Fault,
}

#[derive(Clone)]
pub enum Fault {
    /// This status, with these headers.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing comes after so many bytes of the body.
    Stall(usize),
    /// The first byte is another.
    Corrupt,
    /// A complete answer with so many bytes only.
    Short(usize),
    /// The whole file, whatever part was asked for.
    NoRanges,
}

impl FakeHub {
    /// Starts serving; ends with the test's process.
    pub fn start() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = hub.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            storage_port: storage.local_addr().unwrap().port(),
            repositories: Mutex::default(),
            rules: Mutex::default(),
            asked: Mutex::default(),
        });
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for connection in listener.incoming().map_while(Result::ok) {
                    let shared = Arc::clone(&shared);
                    // A client that hangs up is its own business.
                    std::thread::spawn(move || drop(shared.answer(connection, is_storage)));
                }
            });
        }
        Self { port, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Puts a repository there, in place of the one with its name.
    pub fn publish(&self, name: &str, repository: Repository) {
        let mut repositories = self.shared.repositories.lock().unwrap();
        repositories.insert(name.to_owned(), repository);
    }

    /// Lets the next so many requests whose path contains a text go wrong.
    pub fn fail(&self, path: &str, times: usize, fault: Fault) {
        let path = path.to_owned();
        self.shared
            .rules
            .lock()
            .unwrap()
            .push(Rule { path, times, fault });
    }

    /// Requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Requests for contents so far, at either host.
    pub fn fetched(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.path.starts_with("/blob/"));
        asked
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.asked.lock().unwrap().clear();
    }
}

impl Repository {
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        let files: BTreeMap<String, Vec<u8>> = files
            .into_iter()
            .map(|(path, content)| (path.to_owned(), content))
            .collect();
        // Another content is another commit.
        let mut commit = Sha1::new();
        for (path, content) in &files {
            commit.update(path);
            commit.update(content);
        }
        Self {
            commit: hex(&commit.finalize()),
            files,
            licence: "apache-2.0",
            tree: None,
        }
    }

    fn tree(&self) -> Value {
        if let Some(tree) = &self.tree {
            return tree.clone();
        }
        let entry = |(path, content): (&String, &Vec<u8>)| {
            let mut entry = json!({
                "type": "file", "path": path, "size": content.len(), "oid": git_sha1(content),
            });
            if content.len() >= LARGE_BYTES {
                entry["lfs"] =
                    json!({"oid": sha256(content), "size": content.len(), "pointerSize": 134});
            }
            entry
        };
        let folder = json!({"type": "directory", "path": "onnx", "size": 0, "oid": "0".repeat(40)});
        std::iter::once(folder)
            .chain(self.files.iter().map(entry))
            .collect()
    }
}

impl Shared {
    fn answer(&self, mut connection: TcpStream, is_storage: bool) -> std::io::Result<()> {
        let asked = read_request(&connection, is_storage)?;
        self.asked.lock().unwrap().push(asked.clone());
        let fault = self.fault(&asked.path);
        if let Some(Fault::Status(status, headers)) = fault {
            return send(&mut connection, status, headers, b"no");
        }
        let path = asked.path.split('?').next().unwrap_or_default();
        if path.starts_with("/blob/") {
            return self.send_blob(&mut connection, path, &asked, fault);
        }
        let repositories = self.repositories.lock().unwrap().clone();
        let not_found = |code: &str| format!("X-Error-Code: {code}\r\n");
        let (name, rest) = split(path);
        let Some(repository) = repositories.get(&name) else {
            return send(&mut connection, 404, &not_found("RepoNotFound"), b"");
        };
        let rest: Vec<&str> = rest.split('/').collect();
        let is_known = |revision: &str| revision == "main" || revision == repository.commit;
        match rest.as_slice() {
            ["revision", revision] if is_known(revision) => {
                let answer = json!({
                    "id": name, "sha": repository.commit, "cardData": {"license": repository.licence},
                });
                send(&mut connection, 200, "", answer.to_string().as_bytes())
            }
            // Two pages, the second behind a cursor.
            ["tree", commit] if *commit == repository.commit => {
                let tree = repository.tree();
                let entries = tree.as_array().unwrap();
                let (first, second) = entries.split_at(entries.len() / 2);
                let is_second = asked.path.contains("cursor=page%3D2");
                let page = if is_second { second } else { first };
                let link = "Link: <https://elsewhere/api?recursive=true&cursor=page%3D2>; rel=\"next\"\r\n";
                let headers = if is_second { "" } else { link };
                send(
                    &mut connection,
                    200,
                    headers,
                    json!(page).to_string().as_bytes(),
                )
            }
            ["resolve", commit, path @ ..] if *commit == repository.commit => {
                let path = path.join("/");
                let Some(content) = repository.files.get(&path) else {
                    return send(&mut connection, 404, &not_found("EntryNotFound"), b"");
                };
                let place = format!("/blob/{name}/{path}");
                let (status, location) = if content.len() >= LARGE_BYTES {
                    (
                        302,
                        format!("http://localhost:{}{place}?key=secret", self.storage_port),
                    )
                } else {
                    (307, place)
                };
                send(
                    &mut connection,
                    status,
                    &format!("Location: {location}\r\n"),
                    b"elsewhere",
                )
            }
            _ => send(&mut connection, 404, &not_found("RevisionNotFound"), b""),
        }
    }

    /// The next rule that the path falls under.
    fn fault(&self, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && path.contains(&rule.path))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    fn send_blob(
        &self,
        connection: &mut TcpStream,
        path: &str,
        asked: &Asked,
        fault: Option<Fault>,
    ) -> std::io::Result<()> {
        let mut parts = path.trim_start_matches("/blob/").splitn(3, '/');
        let name = format!("{}/{}", parts.next().unwrap(), parts.next().unwrap());
        let repositories = self.repositories.lock().unwrap().clone();
        let mut content = repositories[&name].files[parts.next().unwrap()].clone();
        let etag = format!("\"{}\"", sha256(&content));
        if matches!(fault, Some(Fault::Corrupt)) {
            content[0] ^= 1;
        }
        if let Some(Fault::Short(length)) = fault {
            content.truncate(length);
        }
        let from = asked.headers.get("range").and_then(|range| {
            let range = range.strip_prefix("bytes=")?.strip_suffix('-')?;
            range.parse::<usize>().ok()
        });
        let is_same = asked
            .headers
            .get("if-range")
            .is_none_or(|known| *known == etag);
        let from = from.filter(|_| is_same && !matches!(fault, Some(Fault::NoRanges)));
        let total = content.len();
        let (status, range) = match from {
            Some(from) if from >= total => return send(connection, 416, "", b""),
            Some(from) => {
                content.drain(..from);
                (
                    206,
                    format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1),
                )
            }
            None => (200, String::new()),
        };
        let length = content.len();
        let head = format!(
            "HTTP/1.1 {status} OK\r\nContent-Length: {length}\r\n{range}ETag: {etag}\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(head.as_bytes())?;
        match fault {
            Some(Fault::Cut(length)) => connection.write_all(&content[..length.min(total)]),
            Some(Fault::Stall(length)) => {
                connection.write_all(&content[..length.min(total)])?;
                std::thread::sleep(Duration::from_secs(600));
                Ok(())
            }
            _ => connection.write_all(&content),
        }
    }
}

fn read_request(connection: &TcpStream, is_storage: bool) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Asked {
        is_storage,
        path,
        headers,
    })
}

/// `/api/models/a/b/tree/…` and `/a/b/resolve/…` as `a/b` and the rest.
fn split(path: &str) -> (String, String) {
    let path = path.strip_prefix("/api/models").unwrap_or(path);
    let parts: Vec<&str> = path.trim_start_matches('/').splitn(3, '/').collect();
    match parts.as_slice() {
        [owner, name, rest] => (format!("{owner}/{name}"), (*rest).to_owned()),
        _ => Default::default(),
    }
}

fn send(
    connection: &mut TcpStream,
    status: u16,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn git_sha1(content: &[u8]) -> String {
    let mut sha1 = Sha1::new();
    sha1.update(format!("blob {}\0", content.len()));
    sha1.update(content);
    hex(&sha1.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
