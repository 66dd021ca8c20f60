//! `healthcheck`: the probe of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{CommandError, say};
use crate::config::{HttpSettings, Settings};

/// A daemon that lives answers in a millisecond; a container runtime gives a probe some seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  translator healthcheck
  translator healthcheck --url http://translator:8000/ready

Exit codes: 0 the daemon answered, 1 it did not.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthcheckArgs {
    /// What to ask instead of /live of the daemon with these settings
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(settings: &Settings, args: &HealthcheckArgs) -> Result<ExitCode, CommandError> {
    let url = args
        .url
        .clone()
        .unwrap_or_else(|| local_url(&settings.http, "/live"));
    let body = get(&url).map_err(|source| CommandError::Unhealthy {
        url,
        source: Box::new(source),
    })?;
    say(body);
    Ok(ExitCode::SUCCESS)
}

/// Address of a daemon on this machine that runs with `settings`.
pub(super) fn local_url(settings: &HttpSettings, path: &str) -> String {
    let host = match settings.bind_address.parse() {
        Ok(IpAddr::V6(address)) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Ok(address) if !IpAddr::is_unspecified(&address) => address,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let address = std::net::SocketAddr::new(host, settings.port);
    format!("http://{address}{path}")
}

/// The body of what a daemon answers; an error for every status from 400.
pub(super) fn get(url: &str) -> Result<String, ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        // The daemon is on this machine: a proxy of the environment has no business here.
        .proxy(None)
        .build()
        .new_agent();
    agent.get(url).call()?.body_mut().read_to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_asked_where_it_listens() {
        for (bind_address, expected) in [
            ("0.0.0.0", "http://127.0.0.1:8000/live"),
            ("127.0.0.2", "http://127.0.0.2:8000/live"),
            ("::", "http://[::1]:8000/live"),
        ] {
            let settings = HttpSettings {
                bind_address: bind_address.to_owned(),
                port: 8000,
                request_timeout_secs: 1,
                admin_token: None,
            };
            assert_eq!(local_url(&settings, "/live"), expected);
        }
    }
}
