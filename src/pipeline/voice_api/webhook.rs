//! The post of a job's event to the address that its request named: once, and best effort.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::error_chain;
use crate::pipeline::web::{WebError, WebOptions};
use crate::protocol::Event;

/// Posts that are under way at once. Each takes a thread of the pool that files and codecs need too,
/// and a server may let it wait.
const MAX_UNDER_WAY: usize = 8;
/// Bytes of the events that wait for their turn, or are under way; beyond it they are dropped: some
/// hold speech.
const MAX_PENDING_BYTES: u32 = 64 << 20;
/// Bytes that one counts at least, which bounds their number.
const MIN_PENDING_BYTES: u32 = 128 << 10;

/// What posts events.
pub struct Webhooks {
    web: WebOptions,
    under_way: Arc<Semaphore>,
    /// Bytes that are left.
    pending: Arc<Semaphore>,
}

impl Webhooks {
    /// Posts nothing yet; `web` says where it may.
    pub fn new(web: WebOptions) -> Self {
        Self {
            web,
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            pending: Arc::new(Semaphore::new(MAX_PENDING_BYTES as usize)),
        }
    }

    /// Posts an event in the background, once: nobody waits for it, and it is not repeated.
    pub(super) fn post(&self, url: String, event: &Event) {
        if let Err(error) = self.try_post(url, event) {
            // The address may hold a secret: it is not told.
            tracing::warn!(error = %error_chain(&error), "webhook not called");
        }
    }

    fn try_post(&self, url: String, event: &Event) -> Result<(), WebhookError> {
        let uri = self.web.allowed(&url)?;
        let body = serde_json::to_vec(event).map_err(WebhookError::Body)?;
        let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let bytes = bytes.clamp(MIN_PENDING_BYTES, MAX_PENDING_BYTES);
        let pending = Arc::clone(&self.pending).try_acquire_many_owned(bytes);
        let pending = pending.map_err(|_| WebhookError::TooMany)?;
        let (under_way, web) = (Arc::clone(&self.under_way), self.web.clone());
        tokio::spawn(async move {
            let _pending = pending;
            // Never closed.
            let Ok(_turn) = under_way.acquire().await else {
                return;
            };
            match tokio::task::spawn_blocking(move || web.post(uri, &body)).await {
                Ok(Ok(())) => tracing::info!("webhook called"),
                Ok(Err(error)) => {
                    tracing::warn!(error = %error_chain(&error), "webhook not called");
                }
                Err(_) => tracing::error!("the call of a webhook panicked"),
            }
        });
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("too many are to be called")]
    TooMany,
    #[error("the event could not be written as json")]
    Body(#[source] serde_json::Error),
}
