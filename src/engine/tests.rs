use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;
use crate::domain::Stop;
use crate::stages::Finished;

/// Answers each request as soon as a step is allowed.
struct Gated {
    gate: Receiver<()>,
    begun: SyncSender<()>,
    waiting: Vec<Ticket>,
}

#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Failure(#[from] Stop);

impl StageError for Failure {
    fn reason(&self) -> Reason {
        self.0.into()
    }
}

impl Engine for Gated {
    type Request = ();
    type Output = ();
    type Error = Failure;

    fn vacancies(&self) -> usize {
        1 - self.waiting.len()
    }

    fn join(&mut self, ticket: Ticket, (): ()) {
        self.waiting.push(ticket);
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn step(&mut self) -> Finished<Self> {
        self.begun.send(()).unwrap();
        // The test is over.
        let _is_open = self.gate.recv();
        self.waiting
            .drain(..)
            .map(|ticket| (ticket, Ok(())))
            .collect()
    }
}

/// An engine, what lets it make a step, and what tells that it begins one.
fn gated(loading: Loading) -> (EngineHandle<Gated>, SyncSender<()>, Receiver<()>) {
    let (open, gate) = sync_channel(8);
    let (begun, begins) = sync_channel(8);
    let parts = std::sync::Mutex::new(Some((gate, begun)));
    let load = move || {
        let parts = parts.lock().unwrap().take();
        let (gate, begun) = parts.ok_or("loaded once")?;
        Ok(Gated {
            gate,
            begun,
            waiting: Vec::new(),
        })
    };
    let engine = EngineHandle::spawn("gated", 4, loading, load).unwrap();
    (engine, open, begins)
}

/// Waits for the begin of the first step.
async fn first_of(begins: Receiver<()>) -> Receiver<()> {
    let begun = tokio::task::spawn_blocking(move || {
        begins.recv().unwrap();
        begins
    });
    begun.await.unwrap()
}

async fn status_becomes(engine: &EngineHandle<Gated>, wanted: EngineStatus) {
    let mut status = engine.watch();
    status.wait_for(|status| *status == wanted).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_come_back_is_stuck_until_it_does() {
    let (engine, open, begins) = gated(Loading::AtOnce);
    status_becomes(&engine, EngineStatus::Ready).await;
    let given_up = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run(()).await }
    });
    let _begins = first_of(begins).await;
    given_up.abort();
    status_becomes(&engine, EngineStatus::Stuck).await;
    assert!(!engine.is_ready());
    open.send(()).unwrap();
    status_becomes(&engine, EngineStatus::Ready).await;
    // Nobody waits for it, so it takes no step for the first one.
    open.send(()).unwrap();
    engine.run(()).await.unwrap();
}

#[tokio::test]
async fn a_process_can_end_while_an_engine_hangs() {
    let (engine, open, begins) = gated(Loading::AtOnce);
    let given_up = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run(()).await }
    });
    let _begins = first_of(begins).await;
    given_up.abort();
    drop(given_up.await);
    drop(engine);
    drop(open);
}

#[tokio::test]
async fn the_first_request_loads_an_engine_that_is_to_wait_for_it() {
    let is_intact = Arc::new(AtomicBool::new(true));
    let check = {
        let is_intact = Arc::clone(&is_intact);
        move || match is_intact.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("damaged".into()),
        }
    };
    let (engine, open, begins) = gated(Loading::AtFirstRequest(Box::new(check.clone())));
    status_becomes(&engine, EngineStatus::Unloaded).await;
    assert!(engine.is_ready() && engine.ready_within(Duration::ZERO).await);
    open.send(()).unwrap();
    engine.run(()).await.unwrap();
    assert_eq!(engine.status(), EngineStatus::Ready);
    begins.recv().unwrap();

    is_intact.store(false, Ordering::Relaxed);
    let (engine, ..) = gated(Loading::AtFirstRequest(Box::new(check)));
    status_becomes(&engine, EngineStatus::Failed("damaged".into())).await;
    assert!(!engine.is_ready());
    let refused = engine.run(()).await;
    assert!(matches!(refused, Err(EngineError::Unavailable("gated"))));
}

#[tokio::test]
async fn a_request_does_not_wait_for_an_engine_that_cannot_be_loaded() {
    let check = Loading::AtFirstRequest(Box::new(|| Ok(())));
    let load = || Err::<Gated, LoadError>("no memory".into());
    let engine = EngineHandle::spawn("gated", 4, check, load).unwrap();
    let refused = engine.run(()).await;
    assert!(matches!(refused, Err(EngineError::Unavailable("gated"))));
    assert_eq!(engine.status(), EngineStatus::Failed("no memory".into()));
}
