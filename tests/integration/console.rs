//! The page at `/`: its files, their headers, and that it can be switched off. `tests/console` uses it in a browser.

use std::path::{Path, PathBuf};

use crate::support::daemon::Daemon;

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

fn get(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(format!("http://127.0.0.1:{}{path}", daemon.ports.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.call().unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.body_mut().read_to_vec().unwrap(),
    }
}

/// The files of the console, by their path in its folder.
fn files() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                files.push((name.to_owned(), path));
            }
        }
    }
    assert!(files.len() > 10, "the console was not found");
    files
}

#[test]
fn every_file_of_the_console_is_served_with_its_type_and_headers_and_once_per_version() {
    let daemon = Daemon::start();
    for (name, path) in files() {
        let url = match name.as_str() {
            "index.html" => "/".to_owned(),
            name => format!("/console/{name}"),
        };
        let answer = get(&daemon, &url, &[]);
        assert_eq!(answer.status, 200, "{url}");
        assert_eq!(answer.body, std::fs::read(path).unwrap(), "{url}");
        let expected = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!(answer.header("content-type"), expected, "{url}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-cache");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));

        let tag = answer.header("etag");
        for known in [tag, &format!("\"other\", W/{tag}"), "*"] {
            let again = get(&daemon, &url, &[("If-None-Match", known)]);
            assert_eq!((again.status, again.body.len()), (304, 0), "{url} {known}");
            assert_eq!(again.header("etag"), tag);
        }
        let changed = get(&daemon, &url, &[("If-None-Match", "\"other\"")]);
        assert_eq!(changed.status, 200, "{url}");
    }
    for absent in [
        "/console",
        "/console/",
        "/console/js/none.js",
        "/console/../Cargo.toml",
    ] {
        assert_eq!(get(&daemon, absent, &[]).status, 404, "{absent}");
    }
}

#[test]
fn nothing_of_the_console_is_inline_or_from_elsewhere() {
    for (name, path) in files() {
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines() {
            let is_foreign = line.contains("://") && !line.contains("http://www.w3.org/");
            assert!(!is_foreign, "{name}: {line}");
            let is_inline = name.ends_with(".html")
                && (line.contains(" style=")
                    || line.contains(" onclick=")
                    || line.contains("<style"));
            assert!(!is_inline, "{name}: {line}");
        }
    }
}

#[test]
fn the_console_can_be_switched_off() {
    let daemon = Daemon::start_with(&[("CONSOLE", "false")]);
    for path in ["/", "/console/js/main.js"] {
        assert_eq!(get(&daemon, path, &[]).status, 404, "{path}");
    }
    assert_eq!(get(&daemon, "/live", &[]).status, 200);
}
