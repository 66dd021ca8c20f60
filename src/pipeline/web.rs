//! Requests to the web on behalf of a peer, who must not lead them where only this daemon gets.
//!
//! Every connection, those after a redirect included, passes [`Gate`]: its URL must be one of the allowed
//! hosts, all addresses that the host's name stands for must be public, and it is those very addresses that
//! are connected to, so a name server that answers otherwise the next time changes nothing.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::addresses::may_be_asked;
use super::recording::read_at_most;

/// Redirects that are followed to a recording.
const MAX_REDIRECTS: u32 = 3;
/// Silence after which a server is given up.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Bytes per second that a server has to manage on average, once [`MAX_SILENCE`] has passed: half of what
/// the thriftiest voice codecs need, so slower than speech.
const MIN_BYTES_PER_SEC: u64 = 512;

/// Where in the web requests may go.
#[derive(Debug, Clone, Default)]
pub struct WebOptions {
    /// Hosts that a URL may name; empty means that nothing is requested.
    pub allowed_hosts: Vec<String>,
    /// Networks that are not public, in which allowed hosts may be all the same.
    pub allowed_networks: Vec<IpNet>,
    /// For one request, redirects and body included.
    pub timeout: Duration,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    #[error("its host is not allow-listed")]
    HostNotAllowed,
    #[error("its host has an address that is not public")]
    AddressNotAllowed,
    #[error("it is elsewhere, and redirects are not followed")]
    Redirected,
    /// The client's own words would quote the address, which may hold a secret.
    #[error("it leads to what is no address")]
    NoAddress,
    #[error("the request failed")]
    Request(#[source] Box<ureq::Error>),
    #[error("the answer broke off")]
    Body(#[source] io::Error),
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
}

impl From<ureq::Error> for WebError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Other(refusal) if refusal.is::<Refusal>() => {
                match refusal.downcast_ref() {
                    Some(Refusal::Host) => Self::HostNotAllowed,
                    _ => Self::AddressNotAllowed,
                }
            }
            ureq::Error::BadUri(_) => Self::NoAddress,
            error => Self::Request(Box::new(error)),
        }
    }
}

impl WebOptions {
    /// Fetches what is at an address of the web, at most `max_bytes`.
    pub(super) fn get(&self, url: &str, max_bytes: u64) -> Result<Bytes, WebError> {
        self.get_with(DefaultResolver::default(), url, max_bytes)
    }

    fn get_with(&self, names: impl Resolver, url: &str, max_bytes: u64) -> Result<Bytes, WebError> {
        let uri = self.allowed(url)?;
        let mut response = self.agent(names, MAX_REDIRECTS).get(uri).call()?;
        let paced = Paced {
            source: response.body_mut().as_reader(),
            started: Instant::now(),
            bytes: 0,
        };
        let body = read_at_most(paced, max_bytes).map_err(WebError::Body)?;
        body.ok_or(WebError::TooLarge(max_bytes))
    }

    /// Posts JSON to an address of the web, and follows no redirect.
    pub(super) fn post(&self, uri: Uri, json: &[u8]) -> Result<(), WebError> {
        let response = self
            .agent(DefaultResolver::default(), 0)
            .post(uri)
            .content_type("application/json")
            .send(json)?;
        if response.status().is_redirection() {
            return Err(WebError::Redirected);
        }
        Ok(())
    }

    /// The address, if it is one of the web and names an allowed host.
    pub(super) fn allowed(&self, url: &str) -> Result<Uri, WebError> {
        // What is no URL names no host.
        let uri: Uri = url.parse().map_err(|_| WebError::HostNotAllowed)?;
        if names_allowed_host(&uri, &self.allowed_hosts) {
            Ok(uri)
        } else {
            Err(WebError::HostNotAllowed)
        }
    }

    /// A client for one request: it keeps no connection for the next.
    fn agent(&self, names: impl Resolver, max_redirects: u32) -> ureq::Agent {
        let config = Config::builder()
            .timeout_global(Some(self.timeout))
            .timeout_per_read(Some(MAX_SILENCE))
            .max_redirects(max_redirects)
            // A proxy of the environment would resolve names itself.
            .proxy(None)
            .build();
        let gate = Gate {
            names,
            allowed_hosts: self.allowed_hosts.clone(),
            allowed_networks: self.allowed_networks.clone(),
        };
        ureq::Agent::with_parts(config, DefaultConnector::default(), gate)
    }
}

fn names_allowed_host(uri: &Uri, allowed_hosts: &[String]) -> bool {
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return false;
    };
    let is_allowed = allowed_hosts
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(host));
    is_web && is_allowed && !authority.as_str().contains('@')
}

/// Why a connection is not made.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the host is not allow-listed")]
    Host,
    #[error("an address is not public")]
    Address,
}

/// Looks at every connection before it is made.
#[derive(Debug)]
struct Gate<R> {
    names: R,
    allowed_hosts: Vec<String>,
    allowed_networks: Vec<IpNet>,
}

impl<R: Resolver> Resolver for Gate<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let refused = |refusal: Refusal| ureq::Error::Other(Box::new(refusal));
        if !names_allowed_host(uri, &self.allowed_hosts) {
            return Err(refused(Refusal::Host));
        }
        let found = self.names.resolve(uri, config, timeout)?;
        let mut addresses = found.iter().map(|address| address.ip());
        if addresses.all(|address| may_be_asked(address, &self.allowed_networks)) {
            Ok(found)
        } else {
            Err(refused(Refusal::Address))
        }
    }
}

/// Fails when its source is too slow.
struct Paced<R> {
    source: R,
    started: Instant,
    bytes: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.bytes += length as u64;
        let elapsed = self.started.elapsed();
        let expected = elapsed.as_secs().saturating_mul(MIN_BYTES_PER_SEC);
        if elapsed > MAX_SILENCE && self.bytes < expected {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it is too slow"));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
