//! A daemon's HTTP side, as commands use it.

use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CommandError;
use super::answer::printable;
use super::healthcheck::local_url;
use crate::config::{Secret, Settings};

/// For an answer: a voice that is made anew waits for its turn behind recordings.
const TIMEOUT: Duration = Duration::from_secs(150);

/// Which daemon is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Where the daemon is, such as http://translator:8000; on this machine if not said
    #[arg(long)]
    pub(super) url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A running daemon.
pub(super) struct Daemon {
    url: String,
    agent: ureq::Agent,
    authorization: Option<String>,
}

impl Daemon {
    /// The daemon at `url`, or the one with these settings on this machine; it is shown the token of the
    /// settings.
    pub(super) fn at(settings: &Settings, url: Option<&str>) -> Self {
        let url = url.map_or_else(|| local_url(&settings.http, ""), str::to_owned);
        Self {
            url: url.trim_end_matches('/').to_owned(),
            agent: ureq::Agent::config_builder()
                .timeout_global(Some(TIMEOUT))
                .http_status_as_error(false)
                // The daemon is on this machine or network: a proxy of the environment has no
                // business here.
                .proxy(None)
                .build()
                .new_agent(),
            authorization: settings.http.token.as_ref().map(bearer),
        }
    }

    /// The same, shown that an operator asks.
    pub(super) fn with_token(self, token: &Secret) -> Self {
        Self {
            authorization: Some(bearer(token)),
            ..self
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CommandError> {
        let request = self.agent.get(self.address(path));
        self.answer(self.authorized(request).call())
    }

    pub(super) fn post(&self, path: &str) -> Result<Value, CommandError> {
        let request = self.agent.post(self.address(path));
        self.answer(self.authorized(request).send_empty())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, CommandError> {
        let request = self.agent.delete(self.address(path));
        self.answer(self.authorized(request).call())
    }

    /// An answer as what it is expected to be.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, CommandError> {
        serde_json::from_value(value).map_err(|_| CommandError::Refused {
            url: self.url.clone(),
            status: 200,
            detail: "the answer cannot be read; are daemon and client of one version?".to_owned(),
        })
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    fn answer(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, CommandError> {
        let mut response = response.map_err(|source| CommandError::NoHttp {
            url: self.url.clone(),
            source: Box::new(source),
        })?;
        let status = response.status();
        let body = response.body_mut().read_to_string();
        let body: Option<Value> = body.ok().and_then(|body| serde_json::from_str(&body).ok());
        match body {
            Some(body) if status.is_success() => Ok(body),
            body => Err(CommandError::Refused {
                url: self.url.clone(),
                status: status.as_u16(),
                detail: body
                    .and_then(|body| Some(printable(body.get("detail")?.as_str()?)))
                    .unwrap_or_else(|| "no explanation".to_owned()),
            }),
        }
    }
}

fn bearer(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}
