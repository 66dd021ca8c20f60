//! The post of a job's event to the address that its request named: once, and best effort.

use std::time::Duration;

use crate::engine::error_chain;
use crate::pipeline::Pipeline;
use crate::protocol::Event;

/// Where events may be posted.
#[derive(Debug, Clone, Default)]
pub struct WebhookOptions {
    /// Hosts that a `webhookUrl` may name; empty means that nothing is posted.
    pub allowed_hosts: Vec<String>,
    /// For one post.
    pub timeout: Duration,
}

/// An event on its way to a webhook.
pub(super) struct Post {
    url: String,
    body: Vec<u8>,
}

/// The event as the webhook gets it; `None` when none is wanted.
pub(super) fn body(url: Option<String>, event: &Event) -> Option<Post> {
    let body = serde_json::to_vec(event).ok()?;
    Some(Post { url: url?, body })
}

/// Posts in the background, once: nobody waits for it, and it is not repeated.
pub(super) fn post(pipeline: &Pipeline, post: Option<Post>) {
    let Some(Post { url, body }) = post else {
        return;
    };
    let options = pipeline.options.webhook.clone();
    tokio::task::spawn_blocking(move || match send(&url, body, &options) {
        Ok(()) => tracing::info!("webhook called"),
        // The address may hold a secret: it is not told.
        Err(error) => tracing::warn!(error = %error_chain(&error), "webhook not called"),
    });
}

#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("its host is not in voice_api.allowed_webhook_hosts")]
    HostNotAllowed,
    #[error("the request failed")]
    Request(#[source] Box<ureq::Error>),
}

fn send(url: &str, body: Vec<u8>, options: &WebhookOptions) -> Result<(), WebhookError> {
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
