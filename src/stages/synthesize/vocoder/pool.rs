//! The vocoder on threads of its own, beside the decoder's.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Vocoder, Window};
use crate::domain::voice::Conditioning;
use crate::onnx::OnnxError;
use crate::stages::Ticket;
use crate::stages::synthesize::SynthesizeError;

/// Windows beyond those that run, so that no thread has to wait for a step of the decoder. More would be
/// lost work when their request is given up.
const SPARE_WINDOWS: usize = 1;

/// A window of a unit, and in whose voice it sounds.
pub(in crate::stages::synthesize) struct VocoderWork {
    pub(in crate::stages::synthesize) ticket: Ticket,
    pub(in crate::stages::synthesize) unit: usize,
    pub(in crate::stages::synthesize) window: Window,
    pub(in crate::stages::synthesize) conditioning: Arc<Conditioning>,
}

/// What became of a window.
pub(in crate::stages::synthesize) struct VocoderResult {
    pub(in crate::stages::synthesize) ticket: Ticket,
    pub(in crate::stages::synthesize) unit: usize,
    /// Its first frame.
    pub(in crate::stages::synthesize) frame: usize,
    pub(in crate::stages::synthesize) samples: Result<Vec<f32>, SynthesizeError>,
}

/// The threads, each with a graph of its own. They end with this value, after the windows that they have.
pub(in crate::stages::synthesize) struct VocoderPool {
    /// `None` once the threads shall end.
    work: Option<SyncSender<VocoderWork>>,
    results: Receiver<thread::Result<VocoderResult>>,
    /// Windows that were given and not returned.
    windows: usize,
    threads: Vec<JoinHandle<()>>,
}

impl VocoderPool {
    /// Starts `count` threads, which first call `load`, and waits until they have.
    ///
    /// # Errors
    /// What `load` says, or there is no thread to be had.
    ///
    /// # Panics
    /// `load` panics.
    pub(in crate::stages::synthesize) fn spawn(
        count: usize,
        load: impl Fn() -> Result<Vocoder, OnnxError> + Send + Sync + 'static,
    ) -> Result<Self, SynthesizeError> {
        let load = Arc::new(load);
        let (work, queue) = sync_channel(count + SPARE_WINDOWS);
        let queue = Arc::new(Mutex::new(queue));
        let (results_in, results) = sync_channel(count + SPARE_WINDOWS);
        let (loaded_in, loaded) = sync_channel(count);
        let mut pool = Self {
            work: Some(work),
            results,
            windows: 0,
            threads: Vec::with_capacity(count),
        };
        for number in 0..count {
            let (load, queue) = (Arc::clone(&load), Arc::clone(&queue));
            let (results_in, loaded_in) = (results_in.clone(), loaded_in.clone());
            let thread = thread::Builder::new()
                .name(format!("vocoder-{number}"))
                .spawn(move || {
                    match catch_unwind(AssertUnwindSafe(|| load())) {
                        Ok(Ok(vocoder)) => {
                            drop(loaded_in.send(Ok(Ok(()))));
                            // Whoever waits learns that all have loaded when nobody holds it any more.
                            drop(loaded_in);
                            serve(vocoder, &queue, &results_in);
                        }
                        Ok(Err(error)) => drop(loaded_in.send(Ok(Err(error)))),
                        Err(panic) => drop(loaded_in.send(Err(panic))),
                    };
                })
                .map_err(SynthesizeError::Thread)?;
            pool.threads.push(thread);
        }
        drop(loaded_in);
        for loaded in loaded {
            loaded
                .unwrap_or_else(|panic| resume_unwind(panic))
                .map_err(SynthesizeError::Load)?;
        }
        Ok(pool)
    }

    /// True when there is a thread, or soon will be, for another window.
    pub(in crate::stages::synthesize) fn has_room(&self) -> bool {
        self.windows < self.threads.len() + SPARE_WINDOWS
    }

    /// True when no window is under way.
    pub(in crate::stages::synthesize) fn is_idle(&self) -> bool {
        self.windows == 0
    }

    /// Gives a window to the next thread that is free.
    ///
    /// # Panics
    /// There is no [room](Self::has_room).
    pub(in crate::stages::synthesize) fn start(&mut self, work: VocoderWork) {
        assert!(self.has_room(), "too many windows");
        // The threads live as long as this value, and the queue has room.
        if let Some(queue) = &self.work
            && queue.send(work).is_ok()
        {
            self.windows += 1;
        }
    }

    /// A window that is done; waits for one at most `patience`.
    ///
    /// # Panics
    /// The graph has panicked.
    pub(in crate::stages::synthesize) fn finished(
        &mut self,
        patience: Duration,
    ) -> Option<VocoderResult> {
        if self.is_idle() {
            return None;
        }
        let result = self.results.recv_timeout(patience).ok()?;
        self.windows -= 1;
        Some(result.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

/// Runs windows until there will be no more. A panic is passed on instead of samples: the engine is then
/// loaded again.
fn serve(
    mut vocoder: Vocoder,
    queue: &Mutex<Receiver<VocoderWork>>,
    results: &SyncSender<thread::Result<VocoderResult>>,
) {
    let next = || {
        let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.recv()
    };
    while let Ok(work) = next() {
        let speaker = &work.conditioning.speaker_embedding;
        let result = catch_unwind(AssertUnwindSafe(|| VocoderResult {
            ticket: work.ticket,
            unit: work.unit,
            frame: work.window.first_frame(),
            samples: vocoder.run(&work.window, speaker),
        }));
        if results.send(result).is_err() {
            return;
        }
    }
}

impl Drop for VocoderPool {
    fn drop(&mut self) {
        self.work = None;
        // A process that ends while a thread is inside a native library may crash.
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}
