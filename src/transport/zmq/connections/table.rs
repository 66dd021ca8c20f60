//! The connections of one socket: what each has sent, and the end of those that are too much.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::Limits;
use super::kernel::{self, Identity, Spare, Traffic};
use crate::observe::metrics::CONNECTIONS_CLOSED;

/// What all connections together may have sent, in limits of one.
const LIMITS_OF_ALL: u64 = 2;

/// What a connection may have sent without counting among those that wait for long: libzmq's read buffer.
const NEGLIGIBLE_BYTES: u64 = 8192;

/// What a peer may have sent beside a message: heartbeats, and longer frame headers than needed.
const OVERHEAD_BYTES: u64 = 4096;

/// Least time between two lines of the log that a peer could cause as often as it likes.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes are counted from the first of the connection on.
pub(super) struct Connection {
    /// Grows with each connection.
    number: u64,
    identity: Identity,
    peer: SocketAddr,
    /// What libzmq had read at the last look, if not more.
    read: u64,
    /// `read` when the doubt arose.
    doubted: u64,
    /// What the messages took that have come out of libzmq, if not less.
    pub(super) delivered: u64,
    /// Since when it has sent, and no message has come out.
    pub(super) waiting_since: Option<Instant>,
    /// A whole message of it has come out.
    has_spoken: bool,
    is_closed: bool,
}

impl Connection {
    pub(super) fn new(number: u64, identity: Identity, peer: SocketAddr) -> Self {
        Self {
            number,
            identity,
            peer,
            read: 0,
            doubted: 0,
            delivered: 0,
            waiting_since: None,
            has_spoken: false,
            is_closed: false,
        }
    }

    /// What it has sent that has not come out of libzmq.
    pub(super) fn pending(&self) -> u64 {
        self.read.saturating_sub(self.delivered)
    }

    /// What of it had been read when the doubt arose.
    pub(super) fn doubtful(&self) -> u64 {
        self.doubted.saturating_sub(self.delivered)
    }

    /// True when bytes have come since the last look.
    pub(super) fn update(&mut self, traffic: Traffic, now: Instant) -> bool {
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

/// The connections by their descriptors, which belong to libzmq. None of its functions needs a descriptor
/// that the process does not have yet: peers may have taken the last one.
pub(super) struct Table {
    socket: &'static str,
    limits: Limits,
    connections: HashMap<RawFd, Connection>,
    /// Those of which a message has come out before it was told that they are there.
    early: HashSet<RawFd>,
    spare: Spare,
    /// Connections so far.
    accepted: u64,
    /// Connections that were closed here so far.
    pub(super) closed: u64,
    surplus_log: LogInterval,
    failures: Failures,
}

impl Table {
    /// An empty one.
    ///
    /// # Errors
    /// The system refuses a descriptor.
    pub(super) fn new(socket: &'static str, limits: Limits) -> io::Result<Self> {
        Ok(Self {
            socket,
            limits,
            connections: HashMap::new(),
            early: HashSet::new(),
            spare: Spare::new()?,
            accepted: 0,
            closed: 0,
            surplus_log: LogInterval::default(),
            failures: Failures {
                socket,
                log: LogInterval::default(),
            },
        })
    }

    /// Adds the connection that libzmq has accepted.
    pub(super) fn add(&mut self, descriptor: RawFd) {
        match kernel::identify(descriptor) {
            Ok((identity, peer)) => {
                self.accepted += 1;
                let mut connection = Connection::new(self.accepted, identity, peer);
                connection.has_spoken = self.early.remove(&descriptor);
                self.connections.insert(descriptor, connection);
            }
            Err(error) => self.failures.note(&error),
        }
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, descriptor: RawFd) {
        self.connections.remove(&descriptor);
        self.early.remove(&descriptor);
    }

    /// Those that are not closed.
    pub(super) fn open(&self) -> impl Iterator<Item = (RawFd, &Connection)> {
        let open = self.connections.iter().filter(|(_, one)| !one.is_closed);
        open.map(|(&descriptor, connection)| (descriptor, connection))
    }

    /// What all have sent, by one of the measures of [`Connection`].
    pub(super) fn total(&self, sent: fn(&Connection) -> u64) -> u64 {
        self.open().map(|(_, connection)| sent(connection)).sum()
    }

    /// Notes that a whole message has come out of libzmq; `bytes` as on the wire.
    pub(super) fn deliver(&mut self, descriptor: RawFd, bytes: u64) {
        // A connection that is gone owes nothing, and one that took over its descriptor gains no more
        // than it has sent.
        if let Some(connection) = self.connections.get_mut(&descriptor) {
            connection.delivered += bytes + OVERHEAD_BYTES;
            connection.waiting_since = None;
        }
        self.note_spoken(descriptor);
    }

    /// Notes that a peer is one of those that the socket is for.
    pub(super) fn note_spoken(&mut self, descriptor: RawFd) {
        match self.connections.get_mut(&descriptor) {
            Some(connection) => connection.has_spoken = true,
            None => {
                self.early.insert(descriptor);
            }
        }
    }

    /// Asks the kernel for all; true when bytes have come since the last look.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let mut is_busy = false;
        for (&descriptor, connection) in &mut self.connections {
            if connection.is_closed {
                continue;
            }
            match kernel::traffic(descriptor, connection.identity) {
                Ok(traffic) => is_busy |= connection.update(traffic, now),
                Err(error) => self.failures.note(&error),
            }
        }
        is_busy
    }

    /// True when somebody has sent more than may be unfinished.
    pub(super) fn has_doubt(&self) -> bool {
        let limit = self.limits.unfinished_bytes;
        self.open().any(|(_, one)| one.pending() > limit)
            || self.total(Connection::pending) > limit.saturating_mul(LIMITS_OF_ALL)
    }

    /// Remembers what was read when a doubt arose.
    pub(super) fn begin_doubt(&mut self) {
        for connection in self.connections.values_mut() {
            connection.doubted = connection.read;
        }
    }

    /// Closes whoever has sent more than the limit, then, while all together have, whoever has waited
    /// longest.
    pub(super) fn close_excess(
        &mut self,
        sent: fn(&Connection) -> u64,
        limit: u64,
        reason: &'static str,
    ) {
        let over = self.open().filter(|(_, one)| sent(one) > limit);
        let over: Vec<RawFd> = over.map(|(descriptor, _)| descriptor).collect();
        for descriptor in over {
            self.close(descriptor, reason);
        }
        while self.total(sent) > limit.saturating_mul(LIMITS_OF_ALL) {
            let longest = self.open().max_by_key(|(_, connection)| {
                let waiting = connection.waiting_since.map(|since| since.elapsed());
                (waiting, sent(connection))
            });
            let Some((descriptor, _)) = longest else {
                return;
            };
            if !self.close(descriptor, "too_much_in_all") {
                // The next look tries again.
                return;
            }
        }
    }

    /// Closes as many as there are too many: the oldest of those that have never completed a message. The
    /// newest is one of them, so that nobody is closed who has shown what it is for.
    pub(super) fn close_surplus(&mut self) {
        let surplus = self.open().count();
        let surplus = surplus.saturating_sub(self.limits.max_connections);
        if surplus == 0 {
            return;
        }
        let silent = self.open().filter(|(_, connection)| !connection.has_spoken);
        let mut silent: Vec<(u64, RawFd)> = silent
            .map(|(descriptor, connection)| (connection.number, descriptor))
            .collect();
        silent.sort_unstable();
        let closed_before = self.closed;
        for (_, descriptor) in silent.into_iter().take(surplus) {
            self.close(descriptor, "too_many");
        }
        if self.closed > closed_before && self.surplus_log.is_due() {
            tracing::warn!(
                socket = self.socket,
                max_connections = self.limits.max_connections,
                closed = self.closed,
                "there are too many connections: those that have never sent a message are closed, oldest first"
            );
        }
    }

    /// Ends a connection, so that libzmq drops what is not finished; messages that are complete stay.
    /// False when it could not be ended.
    fn close(&mut self, descriptor: RawFd, reason: &'static str) -> bool {
        let Some(connection) = self.connections.get_mut(&descriptor) else {
            return true;
        };
        let held = match self.spare.hold(descriptor, connection.identity) {
            Ok(held) => held,
            Err(error) => {
                self.failures.note(&error);
                connection.is_closed = kernel::is_gone(&error);
                return connection.is_closed;
            }
        };
        // Counted and told first: who sees the connection closed finds both.
        self.closed += 1;
        metrics::counter!(CONNECTIONS_CLOSED, "socket" => self.socket, "reason" => reason)
            .increment(1);
        if reason != "too_many" {
            tracing::warn!(
                socket = self.socket,
                peer = %connection.peer,
                pending_bytes = connection.pending(),
                reason,
                "a connection was closed: it sends more than a message may have"
            );
        }
        connection.is_closed = match held.reset() {
            Ok(()) => true,
            Err(error) => {
                self.failures.note(&error);
                kernel::is_gone(&error)
            }
        };
        connection.is_closed
    }
}

/// What the system refuses.
struct Failures {
    socket: &'static str,
    log: LogInterval,
}

impl Failures {
    fn note(&mut self, error: &io::Error) {
        // A connection that is gone ended by itself, and the event that says so is on the way.
        if !kernel::is_gone(error) && self.log.is_due() {
            tracing::error!(
                socket = self.socket,
                %error,
                "the system does not tell of a connection, or does not end it: unfinished messages are not bounded"
            );
        }
    }
}

/// Lets one line through in a while.
#[derive(Default)]
struct LogInterval(Option<Instant>);

impl LogInterval {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self
            .0
            .is_none_or(|last| now.duration_since(last) >= LOG_INTERVAL);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
