//! The thread that owns an engine, and the bounded queue before it.
//!
//! Callers are async and wait for their own request; the engine is synchronous and sees a batch.
//! A panic inside the engine fails the requests of the batch with [`EngineError::Crashed`], and the
//! engine is built again before the next one. A step that hangs in a library cannot be ended: its
//! callers give up at their deadlines, and the engine is told to be [stuck](EngineStatus::Stuck) until
//! the step returns.

mod background;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Reason, error_chain};
pub use crate::observe::health::EngineStatus;
use crate::observe::metrics::ENGINE_DECODED_ROWS;
use crate::stages::{Engine, StageError, Ticket};
pub use background::{in_background, lower_priority};

/// Why an engine could not be loaded.
pub type LoadError = Box<dyn std::error::Error + Send + Sync>;

/// When an engine's model is loaded.
pub enum Loading {
    /// When the thread starts.
    AtOnce,
    /// With the first request, which waits for it. Until then the function has to succeed once: it checks
    /// that the model can be loaded, as far as that takes no memory.
    AtFirstRequest(Box<dyn Fn() -> Result<(), LoadError> + Send>),
}

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
    /// Set when the request is in the batch.
    has_joined: Arc<AtomicBool>,
}

/// The way to an engine; clones share it. The engine's thread ends when the last clone is dropped,
/// and that drop waits for it, within reason: a process that ends while a thread is inside a native
/// library crashes when the library tears down its globals.
pub struct EngineHandle<E: Engine> {
    name: &'static str,
    // Before the thread: it ends when the queue is closed.
    queue: mpsc::Sender<Command<E>>,
    progress: Arc<Progress>,
    thread: Arc<JoinOnDrop>,
}

/// What the thread says about itself.
struct Progress {
    status: watch::Sender<EngineStatus>,
    /// Steps that have ended and done something.
    steps: AtomicU64,
}

impl Progress {
    /// Notes that a step has ended and done something: if it was stuck, it is not any more.
    fn end_step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.replace(&EngineStatus::Stuck, EngineStatus::Ready);
    }

    /// Changes the status if it is `from`; tells whether it was.
    fn replace(&self, from: &EngineStatus, to: EngineStatus) -> bool {
        self.status.send_if_modified(|status| {
            let is_from = status == from;
            if is_from {
                *status = to;
            }
            is_from
        })
    }
}

/// Time that the thread is waited for.
const JOIN_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });
/// How often it is looked at.
const JOIN_CHECK_INTERVAL: Duration = Duration::from_millis(5);

struct JoinOnDrop(Option<JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        let Some(thread) = self.0.take() else { return };
        let until = Instant::now() + JOIN_PATIENCE;
        while !thread.is_finished() {
            if Instant::now() >= until {
                tracing::error!("an engine hangs and is left behind");
                return;
            }
            std::thread::sleep(JOIN_CHECK_INTERVAL);
        }
        if thread.join().is_err() {
            tracing::error!("an engine's thread panicked");
        }
    }
}

/// A caller that waits; dropped without an answer, it looks whether the engine goes on.
struct Caller {
    engine: &'static str,
    progress: Arc<Progress>,
    has_joined: Arc<AtomicBool>,
    is_answered: bool,
}

/// Time that a step may go on after a request in it was given up. The loops inside look at deadlines
/// far more often.
const STUCK_AFTER: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(60)
};

impl Drop for Caller {
    fn drop(&mut self) {
        if self.is_answered || !self.has_joined.load(Ordering::Relaxed) {
            return;
        }
        let (engine, progress) = (self.engine, Arc::clone(&self.progress));
        let steps = progress.steps.load(Ordering::Relaxed);
        // Outside a runtime nobody asks how the engine is.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(STUCK_AFTER).await;
                if progress.steps.load(Ordering::Relaxed) == steps
                    && progress.replace(&EngineStatus::Ready, EngineStatus::Stuck)
                {
                    tracing::error!(engine, "engine is stuck: it does not come back from a step");
                }
            });
        }
    }
}

impl<E: Engine> Clone for EngineHandle<E> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            queue: self.queue.clone(),
            progress: Arc::clone(&self.progress),
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
    pub fn spawn<L>(
        name: &'static str,
        queue_length: usize,
        loading: Loading,
        load: L,
    ) -> std::io::Result<Self>
    where
        L: Fn() -> Result<E, LoadError> + Send + 'static,
    {
        let (queue, commands) = mpsc::channel(queue_length.max(1));
        let progress = Arc::new(Progress {
            status: watch::Sender::new(EngineStatus::Loading),
            steps: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&progress);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-0"))
            .spawn(move || {
                EngineThread {
                    name,
                    commands,
                    first: None,
                    progress: of_thread,
                    waiting: HashMap::new(),
                    next_ticket: 0,
                }
                .run(&loading, &load);
            })?;
        Ok(Self {
            name,
            queue,
            progress,
            thread: Arc::new(JoinOnDrop(Some(thread))),
        })
    }

    /// Runs one request as part of whatever batch is running.
    ///
    /// # Errors
    /// What the stage says, or that the engine is not there.
    pub async fn run(&self, request: E::Request) -> Result<E::Output, EngineError<E::Error>> {
        let (reply, result) = oneshot::channel();
        let has_joined = Arc::new(AtomicBool::new(false));
        let command = Command {
            request,
            reply,
            span: tracing::Span::current(),
            queued_at: Instant::now(),
            has_joined: Arc::clone(&has_joined),
        };
        if self.queue.send(command).await.is_err() {
            return Err(EngineError::Unavailable(self.name));
        }
        let mut caller = Caller {
            engine: self.name,
            progress: Arc::clone(&self.progress),
            has_joined,
            is_answered: false,
        };
        let answer = result.await;
        caller.is_answered = true;
        answer.unwrap_or(Err(EngineError::Unavailable(self.name)))
    }

    /// Name of the engine, as in metrics and logs.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The engine's status now.
    pub fn status(&self) -> EngineStatus {
        self.progress.status.borrow().clone()
    }

    /// The engine's status as it changes.
    pub fn watch(&self) -> watch::Receiver<EngineStatus> {
        self.progress.status.subscribe()
    }

    /// True when the engine takes requests.
    pub fn is_ready(&self) -> bool {
        self.progress.status.borrow().takes_requests()
    }

    /// Waits until the engine takes requests, at most `patience`; tells whether it does.
    pub async fn ready_within(&self, patience: Duration) -> bool {
        let mut status = self.watch();
        let ready = status.wait_for(EngineStatus::takes_requests);
        matches!(tokio::time::timeout(patience, ready).await, Ok(Ok(_)))
    }
}

struct Waiting<E: Engine> {
    reply: oneshot::Sender<Result<E::Output, EngineError<E::Error>>>,
    span: tracing::Span,
    joined_at: Instant,
}

struct EngineThread<E: Engine> {
    name: &'static str,
    commands: mpsc::Receiver<Command<E>>,
    /// The request that the model is loaded for.
    first: Option<Command<E>>,
    progress: Arc<Progress>,
    waiting: HashMap<Ticket, Waiting<E>>,
    next_ticket: u64,
}

impl<E: Engine> EngineThread<E> {
    fn run(mut self, loading: &Loading, load: impl Fn() -> Result<E, LoadError>) {
        if let Loading::AtFirstRequest(check) = loading
            && !self.wait_for_first(check)
        {
            return;
        }
        while let Some(engine) = self.load_until_ready(&load) {
            if self.serve(engine) == Served::QueueClosed {
                return;
            }
        }
    }

    /// Waits until somebody wants the engine; false when nobody ever will.
    fn wait_for_first(&mut self, check: impl Fn() -> Result<(), LoadError>) -> bool {
        if self.until_it_works(check).is_none() {
            return false;
        }
        self.progress.status.send_replace(EngineStatus::Unloaded);
        while let Some(command) = self.commands.blocking_recv() {
            if !command.reply.is_closed() {
                self.first = Some(command);
                return true;
            }
        }
        false
    }

    /// Loads the engine; `None` when nobody wants it any more.
    fn load_until_ready(&mut self, load: impl Fn() -> Result<E, LoadError>) -> Option<E> {
        let (engine, duration) = self.until_it_works(|| {
            let started = Instant::now();
            Ok((load()?, started.elapsed()))
        })?;
        tracing::info!(
            engine = self.name,
            duration_ms = duration.as_millis() as u64,
            "engine loaded"
        );
        self.progress.status.send_replace(EngineStatus::Ready);
        Some(engine)
    }

    /// Does what loading needs, again and again until it works; `None` when nobody wants the engine any more.
    fn until_it_works<T>(&mut self, work: impl Fn() -> Result<T, LoadError>) -> Option<T> {
        loop {
            let worked = catch_unwind(AssertUnwindSafe(&work))
                .unwrap_or_else(|_| Err("loading panicked".into()));
            match worked {
                Ok(result) => return Some(result),
                Err(error) => {
                    let text = error_chain(error.as_ref());
                    tracing::error!(engine = self.name, error = %text, "engine could not be loaded");
                    self.progress
                        .status
                        .send_replace(EngineStatus::Failed(text.into()));
                }
            }
            if let Some(first) = self.first.take() {
                answer(first.reply, Err(EngineError::Unavailable(self.name)));
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
                let next = self.first.take().or_else(|| self.commands.blocking_recv());
                let Some(command) = next else {
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
            let batch_size = self.waiting.len() as f64;
            let stepped = catch_unwind(AssertUnwindSafe(|| engine.step()));
            if let Some(rows) = engine.decoded_rows().filter(|rows| *rows > 0) {
                metrics::histogram!(ENGINE_DECODED_ROWS, "engine" => self.name).record(rows as f64);
            }
            if stepped.is_err() || engine.has_advanced() {
                metrics::histogram!(crate::observe::metrics::ENGINE_BATCH_SIZE, "engine" => self.name)
                    .record(batch_size);
                self.progress.end_step();
            }
            let Ok(done) = stepped else {
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
        command.has_joined.store(true, Ordering::Relaxed);
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
        self.progress.status.send_replace(EngineStatus::Loading);
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

#[cfg(test)]
mod tests;
