//! The one thread that writes, and how it shares a sync among those who wait.
//!
//! While one transaction is being synced, further changes queue up; the next transaction takes all
//! of them. So a lone change waits for nobody, and under load one sync serves many: group commit
//! without a timer.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::LedgerError;
use super::error::sqlite_error;
use crate::fault;

/// Changes that may wait; further callers wait for a place.
const QUEUE_LENGTH: usize = 256;

/// Changes in one transaction. Bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 128;

type Committed = Result<(), Arc<rusqlite::Error>>;
/// Tells the caller, once it is known whether the transaction is durable.
type Answer = Box<dyn FnOnce(Committed) + Send>;
type Change = Box<dyn FnOnce(&mut Transaction<'_>) -> Answer + Send>;

/// The queue before the writer thread.
pub(super) struct Writer {
    changes: Option<SyncSender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn spawn(connection: Connection) -> std::io::Result<Self> {
        let (changes, queue) = sync_channel(QUEUE_LENGTH);
        let thread = std::thread::Builder::new()
            .name("ledger-0".into())
            .spawn(move || run(connection, &queue))?;
        Ok(Self {
            changes: Some(changes),
            thread: Some(thread),
        })
    }

    /// False when the thread has ended by itself, which only a panic makes it do.
    pub(super) fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Applies a change and returns once it is synced. The change is kept whole or not at all,
    /// whatever becomes of its neighbours in the transaction.
    pub(super) fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (reply, result) = sync_channel(1);
        let change: Change = Box::new(move |transaction| {
            let outcome = within_savepoint(transaction, change);
            Box::new(move |committed| {
                // The caller waits in `recv` below until this is sent.
                let outcome = committed.map_err(LedgerError::Commit).and(outcome);
                drop(reply.send(outcome));
            })
        });
        let changes = self.changes.as_ref().ok_or(LedgerError::Stopped)?;
        changes.send(change).map_err(|_| LedgerError::Stopped)?;
        result.recv().unwrap_or(Err(LedgerError::Stopped))
    }
}

impl Drop for Writer {
    /// Waits until what is queued is durable, so that the data directory is free afterwards.
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writer panicked");
        }
    }
}

fn run(mut connection: Connection, queue: &Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let started = Instant::now();
        let group = std::iter::once(first).chain(queue.try_iter().take(MAX_GROUP - 1));
        let (answers, committed) = commit(&mut connection, group);
        // Of a disk that takes nothing the storage tells, once.
        if let Err(error) = &committed
            && LedgerError::Commit(Arc::clone(error))
                .storage_fault()
                .is_none()
        {
            tracing::error!(%error, changes = answers.len(), "the ledger could not commit");
        }
        metrics::histogram!(crate::observe::metrics::LEDGER_COMMIT)
            .record(started.elapsed().as_secs_f64());
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// Runs a group of changes in one transaction.
fn commit(
    connection: &mut Connection,
    group: impl Iterator<Item = Change>,
) -> (Vec<Answer>, Committed) {
    let mut answers = Vec::new();
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let committed = begun.and_then(|mut transaction| {
        answers.extend(group.map(|change| change(&mut transaction)));
        fault::disk("commit").map_err(|error| sqlite_error(&error))?;
        transaction.commit()
    });
    (answers, committed.map_err(Arc::new))
}

fn within_savepoint<T>(
    transaction: &mut Transaction<'_>,
    change: impl FnOnce(&Connection) -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    // Dropped without a commit, a savepoint rolls back.
    let savepoint = transaction.savepoint()?;
    let value = change(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_that_panics_ends_the_writer_and_that_can_be_seen() {
        let writer = Writer::spawn(Connection::open_in_memory().unwrap()).unwrap();
        writer.write(|_| Ok(())).unwrap();
        assert!(writer.is_running());
        let panicked = writer.write(|_| -> Result<(), _> { panic!("in a change") });
        assert!(matches!(panicked, Err(LedgerError::Stopped)));
        while writer.is_running() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(
            writer.write(|_| Ok(())),
            Err(LedgerError::Stopped)
        ));
    }
}
