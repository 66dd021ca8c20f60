//! The steps of a job: codecs and engines. Nothing here knows tokio, sockets or storage.
//!
//! A codec ([`decode`], [`encode`]) is a function, and so is [`measure`]. An engine ([`transcribe`],
//! [`translate`], [`embed`], [`synthesize`]) holds a model and a running batch, and implements
//! [`Engine`], so that requests of different jobs share one pass over the weights.

pub mod decode;
pub mod detect;
pub mod embed;
pub mod encode;
pub mod measure;
pub mod synthesize;
pub mod transcribe;
pub mod translate;
mod workers;

use crate::error::Reason;

/// Names a request while it is in an engine's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Requests that left an engine's batch, with what became of them.
pub type Finished<E> = Vec<(Ticket, Result<<E as Engine>::Output, <E as Engine>::Error>)>;

/// A model with a running batch: requests join and leave it between any two steps.
///
/// One thread owns an engine, so nothing here locks. A request carries its own
/// [`Deadline`](crate::domain::Deadline); an engine checks it at each step and lets the request leave
/// with the reason when it has passed.
pub trait Engine {
    /// One unit of work.
    type Request: Send + 'static;
    /// What the unit becomes.
    type Output: Send + 'static;
    /// What may go wrong with one request; never concerns its neighbours.
    type Error: StageError;

    /// Requests that may [`join`](Self::join) now.
    fn vacancies(&self) -> usize;

    /// Takes a request into the batch. Called at most [`vacancies`](Self::vacancies) times in a row.
    fn join(&mut self, ticket: Ticket, request: Self::Request);

    /// True when no request is in the batch.
    fn is_idle(&self) -> bool;

    /// Advances the batch once and returns the requests that are done.
    fn step(&mut self) -> Finished<Self>
    where
        Self: Sized;

    /// False when the last step has only waited, for work that goes on elsewhere.
    fn has_advanced(&self) -> bool {
        true
    }

    /// Sequences that the last step decoded together; `None` for engines that do not decode.
    fn decoded_rows(&self) -> Option<usize> {
        None
    }
}

/// An error of one stage, as the rest of the daemon sees it.
pub trait StageError: std::error::Error + Send + Sync + 'static {
    /// The reason that travels on the wire.
    fn reason(&self) -> Reason;
}
