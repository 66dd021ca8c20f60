//! A hub of models as Hugging Face serves it: `/api/models/…` tells what a repository holds,
//! `/{repository}/resolve/{commit}/{path}` gives the files, by way of other hosts where they are large.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::config::Config;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::content::Digest;
use super::error::HubError;
use super::retry::retry_after;
use crate::registry::catalogue::{is_commit, is_hex};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// For the head of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence in the middle of an answer after which a connection is given up.
const MAX_SILENCE: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 6;
/// Bytes of an answer about a repository, or of a manifest in it.
const MAX_ANSWER_BYTES: u64 = 8 << 20;
/// Pages of an answer about the files of a repository.
const MAX_PAGES: usize = 16;

/// What stays as it is in a part of a path.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A client of one hub. Keeps connections; may be used from several threads.
pub struct Hub {
    endpoint: String,
    origin: Uri,
    token: Option<String>,
    agent: Agent,
}

/// What a revision of a repository is.
pub(super) struct Revision {
    pub commit: String,
    /// Licence on the repository's card.
    pub licence: Option<String>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubFile {
    pub size_bytes: u64,
    pub digest: Digest,
}

/// A file on its way.
pub(super) struct Download {
    pub reader: Box<dyn Read + Send>,
    /// Where in the file it begins: 0, or what was asked for.
    pub from: u64,
    /// Bytes that are announced, if any.
    pub length: Option<u64>,
    /// What the server calls this content, if it does so reliably.
    pub etag: Option<String>,
}

impl Hub {
    /// A client of the hub at `endpoint`; proxies are those of the environment (`HTTPS_PROXY`,
    /// `NO_PROXY`). The token goes to that host only.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(endpoint: &str, token: Option<&str>) -> Result<Self, HubError> {
        let endpoint = endpoint.trim_end_matches('/');
        let origin: Uri = endpoint
            .parse()
            .ok()
            .filter(is_web)
            .ok_or_else(|| HubError::Endpoint(endpoint.to_owned()))?;
        let agent = Config::builder()
            .user_agent(concat!("meeshy-translator/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(MAX_SILENCE))
            // They are followed here, so that the token stays with the hub.
            .max_redirects(0)
            .http_status_as_error(false)
            .build()
            .new_agent();
        Ok(Self {
            endpoint: endpoint.to_owned(),
            origin,
            token: token.map(str::to_owned),
            agent,
        })
    }

    /// The hub's address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The commit that a branch or tag is at.
    pub(super) fn revision(&self, repository: &str, name: &str) -> Result<Revision, HubError> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            #[serde(default, rename = "cardData")]
            card: Option<Card>,
        }
        #[derive(Deserialize)]
        struct Card {
            license: Option<Licence>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Licence {
            One(String),
            Several(Vec<String>),
        }
        let url = format!(
            "{}/api/models/{repository}/revision/{}",
            self.endpoint,
            utf8_percent_encode(name, PATH_PART)
        );
        let (answer, _): (Answer, _) = self.json(&url, repository)?;
        if !is_commit(&answer.sha) {
            return Err(self.unusable("the revision is no commit"));
        }
        let licence = answer.card.and_then(|card| card.license);
        Ok(Revision {
            commit: answer.sha,
            licence: licence.map(|licence| match licence {
                Licence::One(licence) => licence,
                Licence::Several(licences) => licences.join(", "),
            }),
        })
    }

    /// The files of a commit, by path. Their paths are the hub's: they name what can be asked for, and
    /// nothing on this machine.
    pub(super) fn files(
        &self,
        repository: &str,
        commit: &str,
    ) -> Result<HashMap<String, HubFile>, HubError> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "type")]
            kind: String,
            path: String,
            #[serde(default)]
            oid: String,
            #[serde(default)]
            size: u64,
            lfs: Option<Lfs>,
        }
        #[derive(Deserialize)]
        struct Lfs {
            oid: String,
            size: u64,
        }
        let first = format!(
            "{}/api/models/{repository}/tree/{commit}?recursive=true",
            self.endpoint
        );
        let mut url = first.clone();
        let mut files = HashMap::new();
        for _ in 0..MAX_PAGES {
            let (entries, next): (Vec<Entry>, _) = self.json(&url, repository)?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                let (size_bytes, digest) = match entry.lfs {
                    Some(lfs) if is_hex(&lfs.oid, 64) => (lfs.size, Digest::Sha256(lfs.oid)),
                    None if is_hex(&entry.oid, 40) => (entry.size, Digest::GitSha1(entry.oid)),
                    // It can still be asked for by nobody: what cannot be checked is not there.
                    _ => continue,
                };
                files.insert(entry.path, HubFile { size_bytes, digest });
            }
            let Some(cursor) = next else {
                return Ok(files);
            };
            url = format!("{first}&cursor={cursor}");
        }
        Err(self.unusable("the list of files does not end"))
    }

    /// A small file of a commit.
    pub(super) fn text(
        &self,
        repository: &str,
        commit: &str,
        path: &str,
    ) -> Result<String, HubError> {
        let url = self.file_url(repository, commit, path);
        let response = self.get(&url, &[], repository, path)?;
        String::from_utf8(self.body(response)?).map_err(|_| self.unusable("it is no text"))
    }

    /// Begins to read a file of a commit: from byte `from` on, as long as the content is still what
    /// `etag` calls it.
    pub(super) fn open(
        &self,
        repository: &str,
        commit: &str,
        path: &str,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Download, HubError> {
        let mut headers = Vec::new();
        if from > 0 {
            headers.push((header::RANGE, format!("bytes={from}-")));
            headers.extend(etag.map(|etag| (header::IF_RANGE, etag.to_owned())));
        }
        let url = self.file_url(repository, commit, path);
        let response = self.get(&url, &headers, repository, path)?;
        let text = |name| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let begin = match (is_part, text(header::CONTENT_RANGE).and_then(range_start)) {
            (false, _) => 0,
            (true, Some(begin)) if begin == from => from,
            (true, _) => return Err(self.unusable("another part of the file came than was asked")),
        };
        // Weak ones do not promise the same bytes.
        let etag = text(header::ETAG).filter(|etag| etag.starts_with('"'));
        Ok(Download {
            from: begin,
            length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            etag: etag.map(str::to_owned),
            reader: Box::new(response.into_body().into_reader()),
        })
    }

    fn file_url(&self, repository: &str, commit: &str, path: &str) -> String {
        let parts: Vec<String> = path
            .split('/')
            .map(|part| utf8_percent_encode(part, PATH_PART).to_string())
            .collect();
        format!(
            "{}/{repository}/resolve/{commit}/{}",
            self.endpoint,
            parts.join("/")
        )
    }

    /// An answer about a repository, and where its next page begins.
    fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        repository: &str,
    ) -> Result<(T, Option<String>), HubError> {
        let response = self.get(url, &[], repository, "this revision")?;
        let link = response.headers().get(header::LINK);
        let next = link.and_then(|link| next_cursor(link.to_str().ok()?));
        let body = self.body(response)?;
        match serde_json::from_slice(&body) {
            Ok(answer) => Ok((answer, next)),
            Err(_) => Err(self.unusable("an answer is not what the API of a hub gives")),
        }
    }

    fn body(&self, response: Response<Body>) -> Result<Vec<u8>, HubError> {
        let mut body = Vec::new();
        let mut reader = response
            .into_body()
            .into_reader()
            .take(MAX_ANSWER_BYTES + 1);
        reader
            .read_to_end(&mut body)
            .map_err(|source| HubError::Broken(Box::new(source)))?;
        if body.len() as u64 > MAX_ANSWER_BYTES {
            return Err(self.unusable("an answer is too long"));
        }
        Ok(body)
    }

    /// Follows redirects; answers other than success are errors about `what` of the repository.
    fn get(
        &self,
        url: &str,
        headers: &[(header::HeaderName, String)],
        repository: &str,
        what: &str,
    ) -> Result<Response<Body>, HubError> {
        let mut uri: Uri = url
            .parse()
            .map_err(|_| self.unusable("it leads to what is no address"))?;
        for _ in 0..MAX_REDIRECTS {
            let is_own = is_same_origin(&uri, &self.origin);
            let mut request = self.agent.get(uri.clone());
            // Compressed, lengths and ranges would mean something else.
            request = request.header(header::ACCEPT_ENCODING, "identity");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let (true, Some(token)) = (is_own, &self.token) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|source| HubError::Unreachable {
                host: host(&uri),
                source: Box::new(source),
            })?;
            if response.status().is_redirection() {
                let location = response.headers().get(header::LOCATION);
                let location = location.and_then(|location| location.to_str().ok());
                uri = location
                    .and_then(|location| redirected(&uri, location))
                    .ok_or_else(|| self.unusable("it leads to what is no address"))?;
            } else if response.status().is_success() {
                return Ok(response);
            } else {
                return Err(self.refusal(&response, is_own, host(&uri), repository, what));
            }
        }
        Err(self.unusable("it leads from one address to the next"))
    }

    fn refusal(
        &self,
        response: &Response<Body>,
        is_own: bool,
        host: String,
        repository: &str,
        what: &str,
    ) -> HubError {
        let status = response.status();
        let repository = repository.to_owned();
        let code = response.headers().get("x-error-code");
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        match (status.as_u16(), code) {
            (416, _) => HubError::NoSuchRange,
            (429, _) => HubError::TooManyRequests(retry_after(response.headers())),
            (408 | 500.., _) => HubError::Server {
                host,
                status: status.as_u16(),
                wait: retry_after(response.headers()),
            },
            // Storage hosts: the address was made for a short time, the hub makes another.
            (401 | 403, _) if !is_own => HubError::Server {
                host,
                status: status.as_u16(),
                wait: None,
            },
            (401 | 403, "GatedRepo") => HubError::Gated {
                page: format!("{}/{repository}", self.endpoint),
                repository,
            },
            (401 | 404, "RepoNotFound") | (401, _) if self.token.is_none() => {
                HubError::NoRepository(repository)
            }
            (401 | 403, _) => HubError::Refused {
                repository,
                status: status.as_u16(),
            },
            (404, "RepoNotFound") => HubError::NoRepository(repository),
            (404, _) => HubError::NotThere {
                repository,
                what: what.to_owned(),
            },
            (status, _) => HubError::Status { host, status },
        }
    }

    fn unusable(&self, problem: &'static str) -> HubError {
        HubError::Unusable {
            host: host(&self.origin),
            problem,
        }
    }
}

fn is_web(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.query().is_none()
}

fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_owned()
}

fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| {
        let of_scheme = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        uri.port_u16().unwrap_or(of_scheme)
    };
    a.scheme_str() == b.scheme_str() && host(a).eq_ignore_ascii_case(&host(b)) && port(a) == port(b)
}

/// Where a redirect leads; never from TLS to plain text.
fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let target: Uri = if location.starts_with("//") {
        format!("{scheme}:{location}").parse().ok()?
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", from.authority()?)
            .parse()
            .ok()?
    } else {
        location.parse().ok()?
    };
    let is_downgrade = scheme == "https" && target.scheme_str() != Some("https");
    let is_address =
        matches!(target.scheme_str(), Some("http" | "https")) && target.host().is_some();
    (is_address && !is_downgrade).then_some(target)
}

/// The first byte of `bytes 5-9/10`.
fn range_start(content_range: &str) -> Option<u64> {
    let range = content_range.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// The cursor in `<https://…?cursor=abc&…>; rel="next"`. Only that is taken, so that a mirror's list goes
/// on at the mirror.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|link| link.contains("rel=\"next\""))?;
    let address = next.trim().strip_prefix('<')?.split_once('>')?.0;
    let query = address.split_once('?')?.1;
    let cursor = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("cursor="))?;
    Some(cursor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_lead_anywhere_but_out_of_tls() {
        let from = uri("https://hub.example:8443/a/b");
        let to = |location: &str| redirected(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/c?d").as_deref(), Some("https://hub.example:8443/c?d"));
        assert_eq!(to("//cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(to("https://cdn/x").as_deref(), Some("https://cdn/x"));
        for location in ["http://hub.example/c", "ftp://cdn/x", "c", "", "https://"] {
            assert_eq!(to(location), None, "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = uri("https://hub.example");
        assert!(is_same_origin(&uri("https://HUB.example:443/x"), &hub));
        for other in [
            "http://hub.example",
            "https://hub.example:444",
            "https://cdn.hub.example",
            "https://hub.example.org",
        ] {
            assert!(!is_same_origin(&uri(other), &hub), "{other}");
        }
    }

    #[test]
    fn headers_are_read() {
        assert_eq!(range_start("bytes 5-9/10"), Some(5));
        assert_eq!(range_start("bytes */10"), None);
        let link = "<https://other/api?limit=1&cursor=ab%3D&x=1>; rel=\"next\"";
        assert_eq!(next_cursor(link).as_deref(), Some("ab%3D"));
        assert_eq!(next_cursor("<https://other?cursor=a>; rel=\"prev\""), None);
    }

    #[test]
    fn an_endpoint_is_an_address_of_the_web() {
        for endpoint in ["hub", "ftp://hub", "https://", "https://hub?x=1", "/hub"] {
            assert!(Hub::new(endpoint, None).is_err(), "{endpoint}");
        }
        let hub = Hub::new("https://hub/mirror/", None).unwrap();
        assert_eq!(hub.endpoint(), "https://hub/mirror");
        assert_eq!(
            hub.file_url("a/b", "c", "d e/f#g.onnx"),
            "https://hub/mirror/a/b/resolve/c/d%20e/f%23g.onnx"
        );
    }
}
