//! The post of a job's event to the address that its request named: once, and best effort.

use std::time::Duration;

use crate::engine::error_chain;
use crate::pipeline::Pipeline;
use crate::protocol::{Event, JobOptions};

/// Where events may be posted.
#[derive(Debug, Clone, Default)]
pub struct WebhookOptions {
    /// Hosts that a `webhookUrl` may name; empty means that nothing is posted.
    pub allowed_hosts: Vec<String>,
    /// For one post.
    pub timeout: Duration,
}

/// An event on its way to a webhook.
pub(in crate::pipeline) struct Post {
    url: String,
    body: Vec<u8>,
}

impl Post {
    /// The event of a job for the address that its request names; `None` where it names none.
    pub(super) fn of(options: &JobOptions, event: &Event) -> Option<Self> {
        let url = options.webhook_url.clone()?;
        // Plain data with string keys always has a JSON form.
        let body = serde_json::to_vec(event).ok()?;
        Some(Self { url, body })
    }

    /// Posts in the background, once: nobody waits for it, and it is not repeated. To be called when
    /// the event is stored: what may still fail is not told.
    pub(in crate::pipeline) fn send(self, pipeline: &Pipeline) {
        let options = pipeline.options.webhook.clone();
        tokio::task::spawn_blocking(move || match post(&self.url, self.body, &options) {
            Ok(()) => tracing::info!("webhook called"),
            // The address may hold a secret: it is not told.
            Err(error) => tracing::warn!(error = %error_chain(&error), "webhook not called"),
        });
    }
}

#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("its host is not in voice_api.allowed_webhook_hosts")]
    HostNotAllowed,
    #[error("the request failed")]
    Request(#[source] Box<ureq::Error>),
}

fn post(url: &str, body: Vec<u8>, options: &WebhookOptions) -> Result<(), WebhookError> {
    let uri = crate::pipeline::recording::allowed_uri(url, &options.allowed_hosts)
        .ok_or(WebhookError::HostNotAllowed)?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(options.timeout))
        .max_redirects(0)
        .build()
        .into();
    agent
        .post(uri)
        .content_type("application/json")
        .send(&body)
        .map_err(|error| WebhookError::Request(Box::new(error)))?;
    Ok(())
}
