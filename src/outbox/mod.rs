//! Publishes stored events, in order, to a gateway that acknowledges nothing.
//!
//! An event is stored before it is published. While nobody subscribes, events wait. A subscriber
//! that comes, or comes again, gets what was published in the last quarter of an hour and is not
//! settled, because a SUB socket loses what it had when it is closed.
//!
//! ```text
//! publisher.rs  the thread: what is new, then what is replayed, then what is repeated
//! replay.rs     what a new subscriber gets once more
//! repeat.rs     what is published again by the clock
//! pace.rs       how fast the gateway reads
//! settle.rs     what the gateway has taken, as far as its database tells
//! receipt.rs    what an event leaves in that database
//! documents.rs  writes to MongoDB
//! ```

pub mod documents;
mod pace;
mod publisher;
mod receipt;
mod repeat;
mod replay;
pub mod settle;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ledger::{Emission, JobId, Ledger, LedgerError};
use crate::transport::zmq::{PublishSocket, TransportError, Waker};

/// Direct messages that may wait.
const DIRECT_QUEUE_LENGTH: usize = 64;

/// How long after its first publication an event may be published again: as long as the gateway waits
/// for an audio job.
const REPLAY_WINDOW: Duration = Duration::from_secs(15 * 60);

/// The queue of direct messages is full, or the outbox has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the outbox takes no direct messages")]
pub struct DirectQueueFull;

/// The way for events to leave the daemon; clones share it.
#[derive(Clone)]
pub struct Outbox {
    ledger: Ledger,
    direct: SyncSender<Vec<Bytes>>,
    shared: Arc<Shared>,
}

/// What the publishing thread and the rest of the daemon tell each other.
struct Shared {
    waker: Waker,
    started: Instant,
    /// Milliseconds after `started`.
    last_sent_ms: AtomicU64,
    has_subscriber: AtomicBool,
    stop_at: Mutex<Option<Instant>>,
}

impl Outbox {
    /// Starts the thread `publish-0`, which owns the socket from now on. `republish` are the times after
    /// its first publication at which an event is published again that has not settled; growing.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor.
    pub fn start(
        ledger: Ledger,
        socket: PublishSocket,
        republish: &[Duration],
    ) -> Result<(Self, PublisherThread), TransportError> {
        let failed = |source| TransportError::Start {
            socket: "publish",
            source,
        };
        let (waker, calls) = Waker::pair().map_err(failed)?;
        let (direct, waiting) = sync_channel(DIRECT_QUEUE_LENGTH);
        let shared = Arc::new(Shared {
            waker,
            started: Instant::now(),
            last_sent_ms: AtomicU64::new(0),
            has_subscriber: AtomicBool::new(false),
            stop_at: Mutex::new(None),
        });
        let publisher = publisher::Publisher::new(
            ledger.clone(),
            socket,
            calls,
            waiting,
            Arc::clone(&shared),
            republish,
        );
        let thread = std::thread::Builder::new()
            .name("publish-0".into())
            .spawn(move || publisher.run())
            .map_err(failed)?;
        let thread = PublisherThread {
            shared: Arc::clone(&shared),
            thread: Some(thread),
        };
        let outbox = Self {
            ledger,
            direct,
            shared,
        };
        Ok((outbox, thread))
    }

    /// Stores what a job hands over, see [`Ledger::emit`], and lets its events be published.
    ///
    /// # Errors
    /// As [`Ledger::emit`].
    pub async fn emit(&self, job_id: JobId, emission: Emission) -> Result<(), LedgerError> {
        self.ledger.emit(job_id, emission).await?;
        self.shared.waker.wake();
        Ok(())
    }

    /// Lets events be published that were stored without the outbox: what is accepted may come with some.
    pub fn wake(&self) {
        self.shared.waker.wake();
    }

    /// Publishes a message that is worth something only now, before the events that wait. It is not
    /// stored, and lost without a subscriber. Never blocks.
    ///
    /// # Errors
    /// Too many such messages wait.
    pub fn publish_now(&self, frames: Vec<Bytes>) -> Result<(), DirectQueueFull> {
        self.direct.try_send(frames).map_err(|_| DirectQueueFull)?;
        self.shared.waker.wake();
        Ok(())
    }

    /// Time since anything was published, or since the start.
    pub fn idle_for(&self) -> Duration {
        let last_sent = Duration::from_millis(self.shared.last_sent_ms.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(last_sent)
    }

    /// True while somebody subscribes to all events.
    pub fn has_subscriber(&self) -> bool {
        self.shared.has_subscriber.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn note_sent(&self) {
        let elapsed_ms = self.started.elapsed().as_millis() as u64;
        self.last_sent_ms.store(elapsed_ms, Ordering::Relaxed);
    }

    fn request_stop(&self, at: Instant) {
        *self.stop_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        self.waker.wake();
    }

    fn stop_at(&self) -> Option<Instant> {
        *self.stop_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The publishing thread; dropped, it is stopped without grace.
pub struct PublisherThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl PublisherThread {
    /// False when the thread has ended by itself, which only a panic makes it do.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Publishes what waits, for `grace` at most, and closes the socket. Blocks until then; what is
    /// left is published after the next start.
    pub fn stop(mut self, grace: Duration) {
        self.shared.request_stop(Instant::now() + grace);
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the publishing thread panicked");
        }
    }
}

impl Drop for PublisherThread {
    fn drop(&mut self) {
        self.shared.request_stop(Instant::now());
        self.join();
    }
}
