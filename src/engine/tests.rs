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
fn gated() -> (EngineHandle<Gated>, SyncSender<()>, Receiver<()>) {
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
    let engine = EngineHandle::spawn("gated", 4, load).unwrap();
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
    let (engine, open, begins) = gated();
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
    let (engine, open, begins) = gated();
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
