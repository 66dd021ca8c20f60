//! Threads beside an engine's own, for work that goes on while the engine takes its steps.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError<E> {
    /// The operating system refuses a thread.
    #[error("there is no thread to work on")]
    Thread(#[source] std::io::Error),
    /// What a thread works with could not be loaded.
    #[error(transparent)]
    Load(E),
}

/// Threads that turn `W` into `R`, each with tools of its own. They end with this value, after the work that they have.
pub struct Workers<W, R> {
    /// `None` once the threads shall end.
    work: Option<SyncSender<W>>,
    results: Receiver<thread::Result<R>>,
    /// Work that was given and whose result was not taken.
    under_way: usize,
    /// Most of it.
    places: usize,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Send + 'static, R: Send + 'static> Workers<W, R> {
    /// Starts `count` threads called `name`, which first call `load`, and waits until they have. What it gives
    /// does the work. `spare` more pieces than there are threads may be [started](Self::start), so that no
    /// thread has to wait for the next.
    ///
    /// # Errors
    /// What `load` says, or there is no thread to be had.
    ///
    /// # Panics
    /// `load` panics.
    pub fn spawn<F, E>(
        name: &str,
        count: usize,
        spare: usize,
        load: impl Fn() -> Result<F, E> + Send + Sync + 'static,
    ) -> Result<Self, WorkersError<E>>
    where
        F: FnMut(W) -> R,
        E: Send + 'static,
    {
        let load = Arc::new(load);
        let places = count + spare;
        let (work, queue) = sync_channel(places);
        let queue = Arc::new(Mutex::new(queue));
        let (results_in, results) = sync_channel(places);
        let (loaded_in, loaded) = sync_channel(count);
        let mut workers = Self {
            work: Some(work),
            results,
            under_way: 0,
            places,
            threads: Vec::with_capacity(count),
        };
        for number in 0..count {
            let (load, queue) = (Arc::clone(&load), Arc::clone(&queue));
            let (results_in, loaded_in) = (results_in.clone(), loaded_in.clone());
            let thread = thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    match catch_unwind(AssertUnwindSafe(|| load())) {
                        Ok(Ok(worker)) => {
                            drop(loaded_in.send(Ok(Ok(()))));
                            // Whoever waits learns that all have loaded when nobody holds it any more.
                            drop(loaded_in);
                            serve(worker, &queue, &results_in);
                        }
                        Ok(Err(error)) => drop(loaded_in.send(Ok(Err(error)))),
                        Err(panic) => drop(loaded_in.send(Err(panic))),
                    };
                })
                .map_err(WorkersError::Thread)?;
            workers.threads.push(thread);
        }
        drop(loaded_in);
        for loaded in loaded {
            loaded
                .unwrap_or_else(|panic| resume_unwind(panic))
                .map_err(WorkersError::Load)?;
        }
        Ok(workers)
    }

    /// Pieces of work that may be started now.
    pub fn vacancies(&self) -> usize {
        self.places - self.under_way
    }

    /// True when no work is under way.
    pub fn are_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Gives work to the next thread that is free.
    ///
    /// # Panics
    /// There is no [vacancy](Self::vacancies).
    pub fn start(&mut self, work: W) {
        assert!(self.vacancies() > 0, "too much work");
        // The threads live as long as this value, and the queue has room.
        if let Some(queue) = &self.work
            && queue.send(work).is_ok()
        {
            self.under_way += 1;
        }
    }

    /// Work that is done; waits for it at most `patience`.
    ///
    /// # Panics
    /// The work has panicked.
    pub fn finished(&mut self, patience: Duration) -> Option<R> {
        if self.are_idle() {
            return None;
        }
        let result = self.results.recv_timeout(patience).ok()?;
        self.under_way -= 1;
        Some(result.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

/// Works until there will be no more to do. A panic is passed on in place of a result: the engine is then loaded
/// again.
fn serve<W, R>(
    mut worker: impl FnMut(W) -> R,
    queue: &Mutex<Receiver<W>>,
    results: &SyncSender<thread::Result<R>>,
) {
    let next = || {
        let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.recv()
    };
    while let Ok(work) = next() {
        let result = catch_unwind(AssertUnwindSafe(|| worker(work)));
        if results.send(result).is_err() {
            return;
        }
    }
}

impl<W, R> Drop for Workers<W, R> {
    fn drop(&mut self) {
        self.work = None;
        // A process that ends while a thread is inside a native library may crash.
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn doubling(count: usize, spare: usize) -> Workers<u32, u32> {
        let load = || Ok::<_, ()>(|number| number * 2);
        Workers::spawn("doubling", count, spare, load).expect("threads")
    }

    #[test]
    fn all_work_is_done_however_many_there_are() {
        let mut workers = doubling(3, 1);
        let mut results = Vec::new();
        for number in 0..50 {
            while workers.vacancies() == 0 {
                results.extend(workers.finished(PATIENCE));
            }
            workers.start(number);
        }
        while !workers.are_idle() {
            results.extend(workers.finished(PATIENCE));
        }
        results.sort_unstable();
        assert_eq!(
            results,
            (0..50).map(|number| number * 2).collect::<Vec<_>>()
        );
        assert_eq!((workers.vacancies(), workers.finished(PATIENCE)), (4, None));
    }

    #[test]
    fn work_that_is_short_does_not_wait_for_long_work() {
        let load = || Ok::<_, ()>(|wait: Receiver<u32>| wait.recv().expect("a number"));
        let mut workers = Workers::spawn("waiting", 2, 0, load).expect("threads");
        let (later, long) = sync_channel(1);
        let (now, short) = sync_channel(1);
        workers.start(long);
        workers.start(short);
        assert_eq!(workers.finished(Duration::ZERO), None);
        now.send(2).expect("a worker");
        assert_eq!(workers.finished(PATIENCE), Some(2));
        assert_eq!(workers.vacancies(), 1);
        later.send(1).expect("a worker");
        assert_eq!(workers.finished(PATIENCE), Some(1));
    }

    #[test]
    fn panics_are_passed_on() {
        let load = || -> Result<fn(()), ()> { panic!("in loading") };
        let caught = catch_unwind(|| Workers::spawn("loading", 2, 0, load));
        let panic = caught.err().expect("a panic");
        assert_eq!(panic.downcast_ref(), Some(&"in loading"));

        let load = || Ok::<fn(()), ()>(|()| panic!("at work"));
        let mut workers = Workers::spawn("working", 1, 0, load).expect("a thread");
        workers.start(());
        let caught = catch_unwind(AssertUnwindSafe(|| workers.finished(PATIENCE)));
        let panic = caught.expect_err("a panic");
        assert_eq!(panic.downcast_ref(), Some(&"at work"));
    }

    #[test]
    fn what_cannot_be_loaded_is_told() {
        let load = || Err::<fn(()), _>("no model");
        let failed = Workers::spawn("failing", 2, 0, load)
            .err()
            .expect("an error");
        assert!(matches!(failed, WorkersError::Load("no model")));
    }
}
