//! Requests over HTTP: forms, streams of events, and connections that are cut.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;
use super::daemon::Daemon;

const BOUNDARY: &str = "a-boundary-that-no-recording-has";

/// A form with files.
#[derive(Clone, Default)]
pub struct Form {
    body: Vec<u8>,
}

impl Form {
    /// A form with these fields.
    pub fn of(fields: &[(&str, &str)]) -> Self {
        let form = Self::default();
        fields
            .iter()
            .fold(form, |form, (name, value)| form.field(name, value))
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.body.extend(head.as_bytes());
        self.body.extend(value.as_bytes());
        self.body.extend(b"\r\n");
        self
    }

    pub fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.ogg\"\r\n\
             Content-Type: audio/ogg\r\n\r\n"
        );
        self.body.extend(head.as_bytes());
        self.body.extend(bytes);
        self.body.extend(b"\r\n");
        self
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        [&self.body[..], format!("--{BOUNDARY}--\r\n").as_bytes()].concat()
    }

    pub fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }
}

/// What came back.
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header, empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no json: {} {:?}", self.status, self.text()))
    }
}

/// Sends a request with headers and a body.
pub fn send(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{}{path}", daemon.ports.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut response = agent.run(request.body(body).unwrap()).unwrap();
    let headers = response.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    Reply {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: response.body_mut().read_to_vec().unwrap(),
    }
}

/// Posts a form.
pub fn post(daemon: &Daemon, path: &str, form: &Form) -> Reply {
    let content_type = Form::content_type();
    send(
        daemon,
        "POST",
        path,
        &[("content-type", &content_type)],
        &form.body(),
    )
}

/// Posts a form and wants the job, not its result.
pub fn post_async(daemon: &Daemon, path: &str, form: &Form) -> Reply {
    let content_type = Form::content_type();
    let headers = [
        ("content-type", &content_type[..]),
        ("prefer", "respond-async"),
    ];
    send(daemon, "POST", path, &headers, &form.body())
}

pub fn get(daemon: &Daemon, path: &str) -> Reply {
    send(daemon, "GET", path, &[], &[])
}

/// The job of that name, once it is as it should be.
pub fn job_when(daemon: &Daemon, id: &str, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    super::wait_for(what, || {
        let reply = get(daemon, &format!("/jobs/{id}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        Some(reply.json()).filter(|job| is_right(job))
    })
}

/// The job of that name, once it has ended.
pub fn ended_job(daemon: &Daemon, id: &str) -> Value {
    job_when(daemon, id, "end of a job", |job| {
        !["queued", "running"].contains(&job["status"].as_str().unwrap())
    })
}

/// A connection over which a request is sent that may never be whole.
pub struct Connection(TcpStream);

impl Connection {
    /// Sends the head of a POST that announces so many bytes.
    pub fn post(daemon: &Daemon, path: &str, body_bytes: usize) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.ports.http)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: daemon\r\nContent-Type: {}\r\nContent-Length: {body_bytes}\r\n\r\n",
            Form::content_type()
        );
        stream.write_all(head.as_bytes()).unwrap();
        Self(stream)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// What is answered, up to the end of a body of one JSON object.
    pub fn answer(self) -> String {
        let mut answer = Vec::new();
        BufReader::new(self.0)
            .read_until(b'}', &mut answer)
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// An event of a stream.
#[derive(Debug, Clone)]
pub struct ServerEvent {
    pub name: String,
    pub data: Value,
}

/// A stream of events.
pub struct Events(BufReader<Box<dyn std::io::Read + Send>>);

impl Events {
    pub fn open(daemon: &Daemon, path: &str) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_recv_body(Some(PATIENCE + Duration::from_secs(60)))
            .build()
            .into();
        let url = format!("http://127.0.0.1:{}{path}", daemon.ports.http);
        let response = agent.get(url).call().unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "text/event-stream");
        Self(BufReader::new(Box::new(response.into_body().into_reader())))
    }

    /// All events up to the stream's end.
    pub fn all(mut self) -> Vec<ServerEvent> {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text.split("\n\n").filter_map(parse).collect()
    }

    /// The events up to and with the first for which `is_last` holds.
    pub fn until(&mut self, is_last: impl Fn(&ServerEvent) -> bool) -> Vec<ServerEvent> {
        let (mut events, mut block) = (Vec::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(
                self.0.read_line(&mut line).unwrap() > 0,
                "it ends: {events:?}"
            );
            if line != "\n" {
                block.push_str(&line);
                continue;
            }
            if let Some(event) = parse(&std::mem::take(&mut block)) {
                let is_over = is_last(&event);
                events.push(event);
                if is_over {
                    return events;
                }
            }
        }
    }
}

/// `None` for a comment.
fn parse(block: &str) -> Option<ServerEvent> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    Some(ServerEvent {
        name: field("event: ")?.to_owned(),
        data: serde_json::from_str(field("data: ")?).unwrap(),
    })
}

/// Recordings that are being received, or were and belong to nobody.
pub fn uploads(daemon: &Daemon) -> usize {
    let folder = daemon.folder().join("data/uploads");
    std::fs::read_dir(folder).unwrap().count()
}
