//! The thread that owns an engine, and the bounded queue before it.
//!
//! Callers are async and wait for their own request; the engine is synchronous and sees a batch.
//! A panic inside the engine fails the requests of the batch with [`EngineError::Crashed`], and the
//! engine is built again before the next one.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Reason;
pub use crate::error::error_chain;
pub use crate::observe::health::EngineStatus;
use crate::stages::{Engine, StageError, Ticket};

/// Why an engine gave no result.
#[derive(Debug, thiserror::Error)]
pub enum EngineError<E: StageError> {
    /// The stage itself failed.
    #[error(transparent)]
    Stage(E),
    /// The engine's model is not loaded.
    #[error("the {0} model is not loaded")]
    Unavailable(&'static str),
    /// The engine panicked with this request in its batch.
    #[error("the {0} engine crashed")]
    Crashed(&'static str),
}

impl<E: StageError> EngineError<E> {
    /// The reason that travels on the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Stage(error) => error.reason(),
            Self::Unavailable(_) => Reason::ModelUnavailable,
            Self::Crashed(_) => Reason::Internal,
        }
    }
}

struct Command<E: Engine> {
    request: E::Request,
    reply: oneshot::Sender<Result<E::Output, EngineError<E::Error>>>,
    span: tracing::Span,
    queued_at: Instant,
}

/// The way to an engine; clones share it. The engine's thread ends when the last clone is dropped,
/// and that drop waits for it: a process that ends while a thread is inside a native library crashes
/// when the library tears down its globals.
pub struct EngineHandle<E: Engine> {
    name: &'static str,
    // Before the thread: it ends when the queue is closed.
    queue: mpsc::Sender<Command<E>>,
    status: watch::Receiver<EngineStatus>,
    thread: Arc<JoinOnDrop>,
}

struct JoinOnDrop(Option<JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("an engine's thread panicked");
        }
    }
}

impl<E: Engine> Clone for EngineHandle<E> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            queue: self.queue.clone(),
            status: self.status.clone(),
            thread: Arc::clone(&self.thread),
        }
    }
}

/// Time before a model that could not be loaded is tried again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(15);

impl<E: Engine + 'static> EngineHandle<E> {
    /// Starts the thread `name` and returns at once; `load` runs on the thread.
    ///
    /// `queue_length` requests wait at most; further callers wait for a place.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn spawn<L>(name: &'static str, queue_length: usize, load: L) -> std::io::Result<Self>
    where
        L: Fn() -> Result<E, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let (queue, commands) = mpsc::channel(queue_length.max(1));
        let (status_sender, status) = watch::channel(EngineStatus::Loading);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-0"))
            .spawn(move || {
                EngineThread {
                    name,
                    load,
                    commands,
                    status: status_sender,
                    waiting: HashMap::new(),
                    next_ticket: 0,
                }
                .run();
            })?;
        Ok(Self {
            name,
            queue,
            status,
            thread: Arc::new(JoinOnDrop(Some(thread))),
        })
    }

    /// Runs one request as part of whatever batch is running.
    ///
    /// # Errors
    /// What the stage says, or that the engine is not there.
    pub async fn run(&self, request: E::Request) -> Result<E::Output, EngineError<E::Error>> {
        let (reply, result) = oneshot::channel();
        let command = Command {
            request,
            reply,
            span: tracing::Span::current(),
            queued_at: Instant::now(),
        };
        if self.queue.send(command).await.is_err() {
            return Err(EngineError::Unavailable(self.name));
        }
        result
            .await
            .unwrap_or(Err(EngineError::Unavailable(self.name)))
    }

    /// Name of the engine, as in metrics and logs.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The engine's status now.
    pub fn status(&self) -> EngineStatus {
        self.status.borrow().clone()
    }

    /// The engine's status as it changes.
    pub fn watch(&self) -> watch::Receiver<EngineStatus> {
        self.status.clone()
    }

    /// True when the engine takes requests.
    pub fn is_ready(&self) -> bool {
        *self.status.borrow() == EngineStatus::Ready
    }

    /// Waits until the engine is ready, at most `patience`; tells whether it is.
    pub async fn ready_within(&self, patience: Duration) -> bool {
        let mut status = self.status.clone();
        let ready = status.wait_for(|status| *status == EngineStatus::Ready);
        matches!(tokio::time::timeout(patience, ready).await, Ok(Ok(_)))
    }
}

struct Waiting<E: Engine> {
    reply: oneshot::Sender<Result<E::Output, EngineError<E::Error>>>,
    span: tracing::Span,
    joined_at: Instant,
}

struct EngineThread<E: Engine, L> {
    name: &'static str,
    load: L,
    commands: mpsc::Receiver<Command<E>>,
    status: watch::Sender<EngineStatus>,
    waiting: HashMap<Ticket, Waiting<E>>,
    next_ticket: u64,
}

impl<E: Engine, L> EngineThread<E, L>
where
    L: Fn() -> Result<E, Box<dyn std::error::Error + Send + Sync>>,
{
    fn run(mut self) {
        while let Some(engine) = self.load_until_ready() {
            if self.serve(engine) == Served::QueueClosed {
                return;
            }
        }
    }

    /// Loads the engine, again and again if need be; `None` when nobody wants it any more.
    fn load_until_ready(&mut self) -> Option<E> {
        loop {
            let started = Instant::now();
            let loaded = catch_unwind(AssertUnwindSafe(&self.load))
                .unwrap_or_else(|_| Err("loading panicked".into()));
            match loaded {
                Ok(engine) => {
                    tracing::info!(
                        engine = self.name,
                        duration_ms = started.elapsed().as_millis() as u64,
                        "engine loaded"
                    );
                    self.status.send_replace(EngineStatus::Ready);
                    return Some(engine);
                }
                Err(error) => {
                    let text = error_chain(error.as_ref());
                    tracing::error!(engine = self.name, error = %text, "engine could not be loaded");
                    self.status.send_replace(EngineStatus::Failed(text.into()));
                }
            }
            let retry_at = Instant::now() + RELOAD_INTERVAL;
            while Instant::now() < retry_at {
                // Callers must not wait for a model that is not there.
                match self.commands.try_recv() {
                    Ok(command) => answer(command.reply, Err(EngineError::Unavailable(self.name))),
                    Err(mpsc::error::TryRecvError::Empty) => {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    Err(mpsc::error::TryRecvError::Disconnected) => return None,
                }
            }
        }
    }

    fn serve(&mut self, mut engine: E) -> Served {
        loop {
            if engine.is_idle() {
                let Some(command) = self.commands.blocking_recv() else {
                    return Served::QueueClosed;
                };
                if !self.admit(&mut engine, command) {
                    return Served::Crashed;
                }
            }
            while engine.vacancies() > 0 {
                match self.commands.try_recv() {
                    Ok(command) => {
                        if !self.admit(&mut engine, command) {
                            return Served::Crashed;
                        }
                    }
                    Err(_) => break,
                }
            }
            // The caller of the only request has gone.
            if engine.is_idle() {
                continue;
            }
            metrics::histogram!(crate::observe::metrics::ENGINE_BATCH_SIZE, "engine" => self.name)
                .record(self.waiting.len() as f64);
            let Ok(done) = catch_unwind(AssertUnwindSafe(|| engine.step())) else {
                self.fail_batch();
                return Served::Crashed;
            };
            for (ticket, result) in done {
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    metrics::histogram!(crate::observe::metrics::ENGINE_DURATION, "engine" => self.name)
                        .record(waiting.joined_at.elapsed().as_secs_f64());
                    answer(waiting.reply, result.map_err(EngineError::Stage));
                }
            }
        }
    }

    /// Puts a request into the batch; false when the engine panicked over it.
    fn admit(&mut self, engine: &mut E, command: Command<E>) -> bool {
        metrics::histogram!(crate::observe::metrics::ENGINE_QUEUE_WAIT, "engine" => self.name)
            .record(command.queued_at.elapsed().as_secs_f64());
        // The caller has gone: spend nothing on it.
        if command.reply.is_closed() {
            return true;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let span = command.span.clone();
        self.waiting.insert(
            ticket,
            Waiting {
                reply: command.reply,
                span: command.span,
                joined_at: Instant::now(),
            },
        );
        let joined = catch_unwind(AssertUnwindSafe(|| {
            span.in_scope(|| engine.join(ticket, command.request));
        }));
        if joined.is_err() {
            self.fail_batch();
        }
        joined.is_ok()
    }

    fn fail_batch(&mut self) {
        tracing::error!(
            engine = self.name,
            requests = self.waiting.len(),
            "engine panicked; it is loaded again"
        );
        self.status.send_replace(EngineStatus::Loading);
        for (_, waiting) in self.waiting.drain() {
            waiting.span.in_scope(|| {
                tracing::warn!(engine = self.name, "request was in the crashed batch");
            });
            answer(waiting.reply, Err(EngineError::Crashed(self.name)));
        }
    }
}

#[derive(PartialEq, Eq)]
enum Served {
    QueueClosed,
    Crashed,
}

/// Replies to a caller that may have gone meanwhile.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}
