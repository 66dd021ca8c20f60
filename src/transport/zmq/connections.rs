//! What each connection to a bound socket has sent that has not come out of libzmq, and an end to those
//! that send too much.
//!
//! libzmq keeps the frames of a message until its last one has come, and bounds neither their number nor
//! their sum. It tells nobody what it keeps, but the kernel tells how much it has read from each
//! connection; see `docs/adr/0019-unfinished-messages.md`.

mod kernel;
mod monitor;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use self::kernel::limit_segments;
pub(super) use self::monitor::Monitor;
use self::table::{Connection, Table};
use super::{TransportError, WakeReceiver, Waker, uninterrupted};

/// Time between two looks at the connections while bytes arrive: 150 MB at the speed of loopback.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The same while none seem to: what libzmq reads at once wakes nobody else.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of a frame's header: flags and a length of one byte or, from 256 bytes on, of eight.
pub(super) const MAX_HEADER_BYTES: u64 = 9;

/// What connections may have sent that has not come out of libzmq, in bytes as on the wire, and how many there
/// may be. All connections together may have sent twice as much as one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// When the socket's owner has taken all messages that were complete.
    pub unfinished_bytes: u64,
    /// When complete messages may wait for the owner too.
    pub waiting_bytes: u64,
    /// Connections at once.
    pub max_connections: usize,
}

/// The connections of one socket. A thread of their own looks at them: whatever keeps the socket's owner
/// busy, nobody can send without end meanwhile.
pub(super) struct Connections {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: &'static str,
    limits: Limits,
    table: Mutex<Table>,
    /// Some connection is over the limit unless the owner has yet to take complete messages of it.
    is_doubtful: AtomicBool,
    stopping: AtomicBool,
}

impl Connections {
    /// Watches a socket. `settle` is woken when the owner is to take what is complete and to call
    /// [`Connections::settle`]; without it nothing that is sent is ever taken off.
    ///
    /// # Errors
    /// The system refuses the thread or a descriptor.
    pub(super) fn watch(
        monitor: Monitor,
        name: &'static str,
        limits: Limits,
        settle: Option<Arc<Waker>>,
    ) -> Result<Self, TransportError> {
        let start_failed = |source: io::Error| TransportError::Start {
            socket: name,
            source,
        };
        let (waker, calls) = Waker::pair().map_err(start_failed)?;
        let shared = Arc::new(Shared {
            socket: name,
            limits,
            table: Mutex::new(Table::new(name, limits).map_err(start_failed)?),
            is_doubtful: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let watcher = Watcher {
            shared: Arc::clone(&shared),
            monitor,
            calls,
            settle,
            next_look: Instant::now(),
            is_busy: false,
        };
        let thread = std::thread::Builder::new()
            .name(format!("{name}-watch"))
            .spawn(move || watcher.run())
            .map_err(start_failed)?;
        Ok(Self {
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// Notes that a whole message has come out of libzmq; `bytes` as on the wire.
    pub(super) fn deliver(&self, descriptor: RawFd, bytes: u64) {
        self.shared.table().deliver(descriptor, bytes);
    }

    /// Notes that a peer has sent a whole message on a socket where nothing is taken off.
    pub(super) fn note_spoken(&self, descriptor: RawFd) {
        self.shared.table().note_spoken(descriptor);
    }

    /// True when the owner is to take all messages that are complete from now on, and to call
    /// [`Connections::settle`] then.
    pub(super) fn is_doubtful(&self) -> bool {
        self.shared.is_doubtful.load(Ordering::Acquire)
    }

    /// Ends a doubt: what had been read when it arose, and has not come out, belongs to messages that
    /// are not finished.
    pub(super) fn settle(&self) {
        let limit = self.shared.limits.unfinished_bytes;
        let mut table = self.shared.table();
        table.close_excess(Connection::doubtful, limit, "message_too_large");
        self.shared.is_doubtful.store(false, Ordering::Release);
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that watches connections panicked");
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watcher {
    shared: Arc<Shared>,
    monitor: Monitor,
    calls: WakeReceiver,
    settle: Option<Arc<Waker>>,
    next_look: Instant,
    /// Bytes arrive: the connections are looked at again by the clock, and else when one has bytes.
    is_busy: bool,
}

impl Watcher {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while !shared.stopping.load(Ordering::Acquire) {
            if let Err(error) = self.wait() {
                tracing::error!(socket = shared.socket, %error, "connections cannot be watched");
                std::thread::sleep(LOOK_INTERVAL);
            }
            let mut table = shared.table();
            self.take_events(&mut table);
            if Instant::now() >= self.next_look {
                self.look(&mut table);
            }
        }
    }

    /// Waits until connections come, go or have bytes, or until the next look.
    fn wait(&mut self) -> Result<(), zmq::Error> {
        let mut items = vec![self.monitor.as_poll_item(), self.calls.as_poll_item()];
        let fixed = items.len();
        let mut timeout_ms = -1;
        {
            let table = self.shared.table();
            for (descriptor, _) in table.open() {
                let timeout = self.next_look.saturating_duration_since(Instant::now());
                timeout_ms = i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(0);
                if self.is_busy {
                    break;
                }
                items.push(zmq::PollItem::from_fd(descriptor, zmq::POLLIN));
            }
        }
        uninterrupted(|| zmq::poll(&mut items, timeout_ms))?;
        let has_bytes = |item: &zmq::PollItem<'_>| !item.get_revents().is_empty();
        if items.iter().skip(fixed).any(has_bytes) {
            self.next_look = self.next_look.min(Instant::now() + LOOK_INTERVAL);
            self.is_busy = true;
        }
        self.calls.clear();
        Ok(())
    }

    /// Learns of connections that came and went. libzmq tells the end of one before it closes the
    /// descriptor, so that a descriptor belongs to the connection that was told last.
    fn take_events(&self, table: &mut Table) {
        while let Some((kind, descriptor)) = self.monitor.next() {
            if kind == zmq_sys::ZMQ_EVENT_ACCEPTED {
                table.add(descriptor);
            } else {
                table.remove(descriptor);
            }
        }
        table.close_surplus();
    }

    fn look(&mut self, table: &mut Table) {
        let now = Instant::now();
        self.is_busy = table.look(now);
        self.next_look = now
            + if self.is_busy {
                LOOK_INTERVAL
            } else {
                IDLE_LOOK_INTERVAL
            };
        let limit = self.shared.limits.waiting_bytes;
        table.close_excess(Connection::pending, limit, "too_much_waits");
        if let Some(settle) = &self.settle
            && !self.shared.is_doubtful.load(Ordering::Acquire)
            && table.has_doubt()
        {
            table.begin_doubt();
            self.shared.is_doubtful.store(true, Ordering::Release);
            settle.wake();
        }
    }
}
