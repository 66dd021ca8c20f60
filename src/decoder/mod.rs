//! Recordings decoded in processes of their own.
//!
//! A recording comes from a peer, and what demuxes and decodes it is partly C: whatever it does there
//! must cost one job at most. So the bytes go through a pipe to a worker, which has given up everything
//! but reading, computing and answering, and samples come back.
//!
//! ```text
//! mod.rs      the pool: which worker decodes what, and what its death means
//! process.rs  one worker, seen from the daemon
//! worker.rs   the same, seen from inside
//! confine.rs  what a worker gives up
//! wire.rs     what they say to each other
//! ```

mod confine;
mod process;
mod wire;
pub mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::{Deadline, Pcm, Stop};
use crate::error::Reason;
use crate::observe::metrics::{DECODE_WORKER_RESTARTS, DECODES};
use crate::stages::StageError;
use crate::stages::decode::DecodeLimits;
pub use confine::ConfineError;
use process::{Ending, Fault, Worker};

/// How often a caller that waits for a worker looks at its deadline.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How recordings are decoded.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// The `translator` binary, which is started with the command `decode-worker`.
    pub program: PathBuf,
    /// Most workers; a recording that finds all of them busy waits.
    pub max_workers: usize,
    /// Memory of a worker in bytes, beside the program itself; the recording is in it, its samples are not.
    pub memory_bytes: u64,
    /// Computing time for one recording, in seconds. One that gives no samples for
    /// [three](confine::CpuTime) is ended before.
    pub cpu_secs: u64,
}

/// Why there is no PCM.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// The worker lives and says what is wrong with the recording.
    #[error("{message}")]
    Refused {
        /// The reason that travels on the wire.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// The worker died of the recording.
    #[error("the recording is malformed: it broke the decoder")]
    Crashed,
    /// The worker was stopped because it computed for too long.
    #[error("the recording takes too much computing time to decode")]
    TooSlow,
    /// The system, or somebody, killed two workers in a row.
    #[error("the decoder was killed")]
    Killed,
    /// There is no worker.
    #[error("the decoder could not be started")]
    Start(#[source] io::Error),
    /// The work was stopped from outside.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for DecoderError {
    fn reason(&self) -> Reason {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::Crashed => Reason::MalformedAudio,
            Self::TooSlow => Reason::DeadlineExceeded,
            Self::Killed | Self::Start(_) => Reason::Internal,
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}

/// Workers that are started when they are needed, used again, and replaced when they die.
pub struct DecoderPool {
    options: DecoderOptions,
    state: Mutex<State>,
    vacancy: Condvar,
    starter: Starter,
    /// Set once it has been told that the system cannot filter system calls.
    told_of_no_filter: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The one that was used last is used next, so that few recordings need few workers.
    idle: Vec<Worker>,
    busy: usize,
}

impl DecoderPool {
    /// A pool without workers.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn new(options: DecoderOptions) -> io::Result<Self> {
        Ok(Self {
            starter: Starter::spawn(options.clone())?,
            options,
            state: Mutex::default(),
            vacancy: Condvar::new(),
            told_of_no_filter: AtomicBool::new(false),
        })
    }

    /// Decodes the default audio track of `recording` to mono PCM. Blocks the thread; a deadline that
    /// passes, or is cancelled, ends the worker.
    ///
    /// # Errors
    /// What [`decode_into`](crate::stages::decode::decode_into) says, that the worker died of it, the
    /// deadline, or that there is no worker.
    pub fn decode(
        &self,
        recording: &[u8],
        limits: &DecodeLimits,
        deadline: &Deadline,
    ) -> Result<Pcm, DecoderError> {
        let result = self.tries(recording, limits, deadline);
        let outcome = match &result {
            Ok(_) => "ok",
            Err(DecoderError::Refused { .. }) => "refused",
            Err(DecoderError::Crashed) => "crashed",
            Err(DecoderError::TooSlow | DecoderError::Stopped(Stop::DeadlineExceeded)) => {
                "deadline_exceeded"
            }
            Err(DecoderError::Stopped(Stop::Cancelled)) => "cancelled",
            Err(DecoderError::Killed | DecoderError::Start(_)) => "unavailable",
        };
        metrics::counter!(DECODES, "outcome" => outcome).increment(1);
        result
    }

    fn tries(
        &self,
        recording: &[u8],
        limits: &DecodeLimits,
        deadline: &Deadline,
    ) -> Result<Pcm, DecoderError> {
        // What a worker has no memory for is not given to one.
        let size = limits.check_size(recording);
        size.map_err(|error| DecoderError::Refused {
            reason: error.reason(),
            message: error.to_string(),
        })?;
        let _place = self.place(deadline)?;
        match self.attempt(recording, limits, deadline) {
            // No recording does that: it is whoever stops all processes of a service, or the system
            // for want of memory.
            Err(DecoderError::Killed) => self.attempt(recording, limits, deadline),
            result => result,
        }
    }

    fn attempt(
        &self,
        recording: &[u8],
        limits: &DecodeLimits,
        deadline: &Deadline,
    ) -> Result<Pcm, DecoderError> {
        let idle = self.state().idle.pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => self.start(deadline)?,
        };
        match worker.decode(recording, limits, deadline) {
            Ok(answer) => {
                self.state().idle.push(worker);
                answer.map_err(|refusal| DecoderError::Refused {
                    reason: refusal.reason,
                    message: refusal.message,
                })
            }
            Err(fault) => Err(self.bury(worker, fault)),
        }
    }

    fn start(&self, deadline: &Deadline) -> Result<Worker, DecoderError> {
        let mut worker = self.starter.start().map_err(DecoderError::Start)?;
        match worker.ready(deadline) {
            Ok(is_filtered) => {
                if !is_filtered && !self.told_of_no_filter.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "the system cannot filter system calls: decode workers are confined by limits only"
                    );
                }
                Ok(worker)
            }
            Err(Fault::Stopped(stop)) => Err(stop.into()),
            Err(Fault::Died) => {
                let error = format!("it ended: {}", worker.ending());
                Err(DecoderError::Start(io::Error::other(error)))
            }
            Err(Fault::Broken(what)) => Err(DecoderError::Start(io::Error::other(what))),
        }
    }

    /// Ends a worker that cannot be used again, and says what that means for its recording.
    fn bury(&self, worker: Worker, fault: Fault) -> DecoderError {
        metrics::counter!(DECODE_WORKER_RESTARTS).increment(1);
        match fault {
            Fault::Stopped(stop) => {
                tracing::info!(reason = %stop, "a decode worker was stopped");
                stop.into()
            }
            Fault::Broken(what) => {
                tracing::error!(what, "a decode worker was stopped");
                DecoderError::Crashed
            }
            Fault::Died => {
                let ending = worker.ending();
                tracing::warn!(%ending, "a decode worker has died");
                match ending {
                    Ending::OutOfTime => DecoderError::TooSlow,
                    Ending::Killed => DecoderError::Killed,
                    Ending::Crashed(_) => DecoderError::Crashed,
                }
            }
        }
    }

    /// Waits for a place among those that decode.
    fn place(&self, deadline: &Deadline) -> Result<BusyPlace<'_>, Stop> {
        let mut state = self.state();
        loop {
            deadline.check()?;
            if state.busy < self.options.max_workers.max(1) {
                state.busy += 1;
                return Ok(BusyPlace(self));
            }
            let waited = self.vacancy.wait_timeout(state, LOOK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct BusyPlace<'a>(&'a DecoderPool);

impl Drop for BusyPlace<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
        self.0.vacancy.notify_one();
    }
}

/// The thread that starts workers. The system kills a worker when the thread that started it ends, and
/// those that decode come and go.
struct Starter(SyncSender<SyncSender<io::Result<Worker>>>);

impl Starter {
    fn spawn(options: DecoderOptions) -> io::Result<Self> {
        let (orders, received): (_, Receiver<SyncSender<io::Result<Worker>>>) = sync_channel(1);
        std::thread::Builder::new()
            .name("decoder-0".to_owned())
            .spawn(move || {
                for order in received {
                    // Who asked may have gone; the worker ends then.
                    drop(order.send(Worker::spawn(&options)));
                }
            })?;
        Ok(Self(orders))
    }

    fn start(&self) -> io::Result<Worker> {
        let (reply, worker) = sync_channel(1);
        let gone = |_| io::Error::other("the thread that starts decode workers has ended");
        self.0.send(reply).map_err(|_| gone(()))?;
        worker.recv().map_err(|_| gone(()))?
    }
}
