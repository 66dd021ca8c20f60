//! A client of the daemon's HTTP side.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;
use super::daemon::Daemon;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// What is said of an error.
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// The fields that are wrong, each as `loc: type`.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.body["detail"].as_array().unwrap().iter();
        let problem = |problem: &Value| {
            let steps = problem["loc"].as_array().unwrap().iter();
            let steps = steps.map(|step| step.to_string().trim_matches('"').to_owned());
            let loc: Vec<String> = steps.collect();
            assert!(!problem["msg"].as_str().unwrap().is_empty());
            format!("{}: {}", loc.join("."), problem["type"].as_str().unwrap())
        };
        problems.map(problem).collect()
    }
}

/// Asks with headers; a body is sent as it is.
pub fn ask(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let url = format!("http://127.0.0.1:{}{path}", daemon.ports.http);
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = if body.is_empty() {
        agent.run(request.body(()).unwrap()).unwrap()
    } else {
        agent.run(request.body(body).unwrap()).unwrap()
    };
    let text = response.body_mut().read_to_string().unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// Posts JSON.
pub fn post(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    let json = body.to_string();
    let headers = [("content-type", "application/json")];
    ask(daemon, "POST", path, &headers, json.as_bytes())
}

/// Gets a path.
pub fn get(daemon: &Daemon, path: &str) -> Answer {
    ask(daemon, "GET", path, &[], &[])
}

/// A bare connection.
pub fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", daemon.ports.http)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and reads all that comes back until the daemon closes the connection.
pub fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}
