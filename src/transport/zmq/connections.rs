//! What each connection to a bound socket has sent that has not come out of libzmq, and an end to those
//! that send too much.
//!
//! libzmq keeps the frames of a message until its last one has come, and bounds neither their number nor
//! their sum. It tells nobody what it keeps, but the kernel tells how much it has read from each
//! connection; see `docs/adr/0019-unfinished-messages.md`.

mod kernel;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use self::kernel::limit_segments;
use self::kernel::{Identity, Traffic};
use super::context::Context;
use super::{TransportError, WakeReceiver, Waker, uninterrupted};
use crate::observe::metrics::CONNECTIONS_CLOSED;

/// Time between two looks at the connections while bytes arrive: 150 MB at the speed of loopback.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The same while none seem to: what libzmq reads at once wakes nobody else.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What all connections together may have sent, in limits of one.
const LIMITS_OF_ALL: u64 = 2;

/// What a connection may have sent without counting among those that wait for long: libzmq's read buffer.
const NEGLIGIBLE_BYTES: u64 = 8192;

/// What a peer may have sent beside a message: heartbeats, and longer frame headers than needed.
const OVERHEAD_BYTES: u64 = 4096;

/// Bytes of a frame's header: flags and a length of one byte or, from 256 bytes on, of eight.
pub(super) const MAX_HEADER_BYTES: u64 = 9;

/// What a connection may have sent that has not come out of libzmq, in bytes as on the wire. All
/// connections together may have sent twice as much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// When the socket's owner has taken all messages that were complete.
    pub unfinished_bytes: u64,
    /// When complete messages may wait for the owner too.
    pub waiting_bytes: u64,
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
    open: Mutex<HashMap<RawFd, Connection>>,
    /// Some connection is over the limit unless the owner has yet to take complete messages of it.
    is_doubtful: AtomicBool,
    /// Connections that were closed so far.
    closed: AtomicU64,
    stopping: AtomicBool,
}

/// Bytes are counted from the first of the connection on.
struct Connection {
    identity: Identity,
    peer: SocketAddr,
    /// What libzmq had read at the last look, if not more.
    read: u64,
    /// `read` when the doubt arose.
    doubted: u64,
    /// What the messages took that have come out of libzmq, if not less.
    delivered: u64,
    /// Since when it has sent, and no message has come out.
    waiting_since: Option<Instant>,
    is_closed: bool,
}

impl Connection {
    fn new(identity: Identity, peer: SocketAddr) -> Self {
        Self {
            identity,
            peer,
            read: 0,
            doubted: 0,
            delivered: 0,
            waiting_since: None,
            is_closed: false,
        }
    }

    /// What it has sent that has not come out of libzmq.
    fn pending(&self) -> u64 {
        self.read.saturating_sub(self.delivered)
    }

    /// What of it had been read when the doubt arose.
    fn doubtful(&self) -> u64 {
        self.doubted.saturating_sub(self.delivered)
    }

    /// True when bytes have come since the last look.
    fn update(&mut self, traffic: Traffic, now: Instant) -> bool {
        let read = traffic.received.saturating_sub(traffic.unread);
        let has_moved = read > self.read || traffic.unread > 0;
        self.read = self.read.max(read);
        // Overhead that was granted and not used is no credit for what comes later.
        self.delivered = self.delivered.min(traffic.received);
        if self.pending() <= NEGLIGIBLE_BYTES {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        has_moved
    }
}

impl Connections {
    /// Watches a socket. `settle` is woken when the owner is to take what is complete and to call
    /// [`Connections::settle`]; without it nothing that is sent is ever taken off.
    ///
    /// # Errors
    /// The system refuses the thread.
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
            open: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
            closed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let watcher = Watcher {
            shared: Arc::clone(&shared),
            monitor,
            calls,
            settle,
            next_look: Instant::now(),
            is_busy: false,
            has_warned: false,
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
        // A connection that is gone owes nothing, and one that took over its descriptor gains no more
        // than it has sent.
        if let Some(connection) = self.shared.open().get_mut(&descriptor) {
            connection.delivered += bytes + OVERHEAD_BYTES;
            connection.waiting_since = None;
        }
    }

    /// True when the owner is to take all messages that are complete from now on, and to call
    /// [`Connections::settle`] then.
    pub(super) fn is_doubtful(&self) -> bool {
        self.shared.is_doubtful.load(Ordering::Acquire)
    }

    /// Ends a doubt: what had been read when it arose, and has not come out, belongs to messages that
    /// are not finished.
    pub(super) fn settle(&self) {
        let mut open = self.shared.open();
        let limit = self.shared.limits.unfinished_bytes;
        self.shared
            .close_excess(&mut open, Connection::doubtful, limit, "message_too_large");
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
    fn open(&self) -> MutexGuard<'_, HashMap<RawFd, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes whoever has sent more than the limit, then, while all together have, whoever has waited
    /// longest.
    fn close_excess(
        &self,
        open: &mut HashMap<RawFd, Connection>,
        sent: fn(&Connection) -> u64,
        limit: u64,
        reason: &'static str,
    ) {
        for (&descriptor, connection) in open.iter_mut() {
            if !connection.is_closed && sent(connection) > limit {
                self.close(descriptor, connection, reason);
            }
        }
        while total(open, sent) > limit.saturating_mul(LIMITS_OF_ALL) {
            let longest = open
                .iter_mut()
                .filter(|(_, connection)| !connection.is_closed)
                .max_by_key(|(_, connection)| {
                    let waiting = connection.waiting_since.map(|since| since.elapsed());
                    (waiting, sent(connection))
                });
            let Some((&descriptor, connection)) = longest else {
                return;
            };
            self.close(descriptor, connection, "too_much_in_all");
        }
    }

    /// Ends a connection, so that libzmq drops what is not finished; messages that are complete stay.
    fn close(&self, descriptor: RawFd, connection: &mut Connection, reason: &'static str) {
        connection.is_closed = true;
        let Ok(stream) = kernel::open(descriptor, connection.identity) else {
            // It ended by itself, and its event is on the way.
            return;
        };
        // Counted and told first: who sees the connection closed finds both.
        self.closed.fetch_add(1, Ordering::AcqRel);
        metrics::counter!(CONNECTIONS_CLOSED, "socket" => self.socket, "reason" => reason)
            .increment(1);
        tracing::warn!(
            socket = self.socket,
            peer = %connection.peer,
            pending_bytes = connection.pending(),
            reason,
            "a connection was closed: it sends more than a message may have"
        );
        if let Err(error) = kernel::reset(&stream) {
            tracing::debug!(socket = self.socket, %error, "the connection had ended by itself");
        }
    }
}

fn total(open: &HashMap<RawFd, Connection>, sent: fn(&Connection) -> u64) -> u64 {
    let open = open.values().filter(|connection| !connection.is_closed);
    open.map(sent).sum()
}

struct Watcher {
    shared: Arc<Shared>,
    monitor: Monitor,
    calls: WakeReceiver,
    settle: Option<Arc<Waker>>,
    next_look: Instant,
    /// Bytes arrive: the connections are looked at again by the clock, and else when one has bytes.
    is_busy: bool,
    has_warned: bool,
}

impl Watcher {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while !shared.stopping.load(Ordering::Acquire) {
            if let Err(error) = self.wait() {
                tracing::error!(socket = shared.socket, %error, "connections cannot be watched");
                std::thread::sleep(LOOK_INTERVAL);
            }
            let mut open = shared.open();
            self.take_events(&mut open);
            if Instant::now() >= self.next_look {
                self.look(&mut open);
            }
        }
    }

    /// Waits until connections come, go or have bytes, or until the next look.
    fn wait(&mut self) -> Result<(), zmq::Error> {
        let mut items = vec![
            self.monitor.0.as_poll_item(zmq::POLLIN),
            self.calls.as_poll_item(),
        ];
        let fixed = items.len();
        let mut timeout_ms = -1;
        {
            let open = self.shared.open();
            let open = open.iter().filter(|(_, connection)| !connection.is_closed);
            for (&descriptor, _) in open {
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
    fn take_events(&self, open: &mut HashMap<RawFd, Connection>) {
        while let Some((kind, descriptor)) = self.monitor.next() {
            open.remove(&descriptor);
            if kind == zmq_sys::ZMQ_EVENT_ACCEPTED
                // A failure: it is gone already, and the event that says so is on the way.
                && let Ok((identity, peer)) = kernel::identify(descriptor)
            {
                open.insert(descriptor, Connection::new(identity, peer));
            }
        }
    }

    fn look(&mut self, open: &mut HashMap<RawFd, Connection>) {
        let now = Instant::now();
        self.is_busy = false;
        for (&descriptor, connection) in open.iter_mut().filter(|(_, one)| !one.is_closed) {
            let Ok(stream) = kernel::open(descriptor, connection.identity) else {
                // It is gone, and the event that says so is on the way.
                continue;
            };
            match kernel::traffic(&stream) {
                Ok(traffic) => self.is_busy |= connection.update(traffic, now),
                Err(error) if !self.has_warned => {
                    self.has_warned = true;
                    tracing::error!(%error, "the system does not tell what a connection has received: unfinished messages are not bounded");
                }
                Err(_) => {}
            }
        }
        self.next_look = now
            + if self.is_busy {
                LOOK_INTERVAL
            } else {
                IDLE_LOOK_INTERVAL
            };
        let limits = self.shared.limits;
        self.shared.close_excess(
            open,
            Connection::pending,
            limits.waiting_bytes,
            "too_much_waits",
        );
        if let Some(settle) = &self.settle
            && !self.shared.is_doubtful.load(Ordering::Acquire)
            && is_exceeded(open, limits.unfinished_bytes)
        {
            for connection in open.values_mut() {
                connection.doubted = connection.read;
            }
            self.shared.is_doubtful.store(true, Ordering::Release);
            settle.wake();
        }
    }
}

fn is_exceeded(open: &HashMap<RawFd, Connection>, limit: u64) -> bool {
    let is_over = |connection: &Connection| !connection.is_closed && connection.pending() > limit;
    open.values().any(is_over)
        || total(open, Connection::pending) > limit.saturating_mul(LIMITS_OF_ALL)
}

/// The socket on which libzmq tells of another's listener and connections.
pub(super) struct Monitor(zmq::Socket);

impl Monitor {
    /// The monitor of a socket that is not bound yet.
    ///
    /// # Errors
    /// libzmq refuses it.
    pub(super) fn new(context: &Context, socket: &zmq::Socket) -> Result<Self, zmq::Error> {
        const ENDPOINT: &str = "inproc://connections";
        let kinds = zmq_sys::ZMQ_EVENT_LISTENING
            | zmq_sys::ZMQ_EVENT_ACCEPTED
            | zmq_sys::ZMQ_EVENT_DISCONNECTED;
        socket.monitor(ENDPOINT, kinds as i32)?;
        let events = context.socket(zmq::PAIR)?;
        // Without a bound: libzmq's I/O thread waits for room otherwise, with a lock that closing needs.
        events.set_rcvhwm(0)?;
        events.set_linger(0)?;
        events.connect(ENDPOINT)?;
        Ok(Self(events))
    }

    /// The descriptor on which the socket listens, once it is bound; `None` when that was asked before.
    pub(super) fn listener(&self) -> Option<RawFd> {
        let (kind, descriptor) = self.next()?;
        (kind == zmq_sys::ZMQ_EVENT_LISTENING).then_some(descriptor)
    }

    /// The next event that is there, and the descriptor it is about: the kind in two bytes, the
    /// descriptor in four; see zmq_socket_monitor(3).
    fn next(&self) -> Option<(u32, RawFd)> {
        let (mut event, mut address) = (zmq::Message::new(), zmq::Message::new());
        loop {
            uninterrupted(|| self.0.recv(&mut event, zmq::DONTWAIT)).ok()?;
            uninterrupted(|| self.0.recv(&mut address, 0)).ok()?;
            if let Ok([a, b, descriptor @ ..]) = <[u8; 6]>::try_from(&*event) {
                let kind = u16::from_ne_bytes([a, b]);
                return Some((kind.into(), RawFd::from_ne_bytes(descriptor)));
            }
        }
    }
}
