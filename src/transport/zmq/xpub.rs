//! The socket that publishes events.

use std::os::raw::{c_int, c_void};
use std::time::Duration;

use bytes::Bytes;

use super::connections::Limits;
use super::held::HeldBytes;
use super::{
    TransportError, WakeReceiver, WatchedSocket, connection_of, harden, uninterrupted, wait,
};

const SOCKET: &str = "publish";

/// A subscription is one byte and a prefix; nothing longer is worth reading.
const MAX_SUBSCRIPTION_BYTES: usize = 4096;

/// What a subscriber may send as long as it is connected. A subscription to all takes three bytes and a
/// heartbeat nine: one every ten seconds for three days. libzmq keeps subscriptions in up to 200 times
/// the bytes they take on the wire.
const MAX_SUBSCRIBER_BYTES: u64 = 256 << 10;

/// Settings of the publish socket.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// Where to bind, as `tcp://0.0.0.0:5558`; port 0 or `*` takes a free one.
    pub endpoint: String,
    /// Events that libzmq holds for each subscriber; beyond it publishing waits, and events stay
    /// in the outbox.
    pub send_queue_length: i32,
    /// Bytes that libzmq holds for all subscribers together; beyond it publishing waits likewise. A
    /// larger event passes alone.
    pub buffer_bytes: usize,
    /// Time after which a subscriber that takes nothing is disconnected, so that the others go on.
    ///
    /// A gateway with a full queue reads nothing until it has worked off half of it: 500 events at
    /// 10 per second.
    pub stall_limit: Duration,
    /// Connections at once; beyond it the oldest is closed that has never subscribed.
    pub max_connections: usize,
    /// Time that closing the socket allows for what libzmq still holds.
    pub linger: Duration,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            endpoint: "tcp://127.0.0.1:5558".into(),
            send_queue_length: 256,
            buffer_bytes: 64 << 20,
            stall_limit: Duration::from_secs(120),
            max_connections: 1024,
            linger: Duration::from_secs(3),
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is on its way to every subscriber.
    Sent,
    /// The queue of a subscriber is full, or libzmq holds enough bytes: nobody got it, and it may be
    /// tried again.
    QueueFull,
}

/// A change among those who subscribe to all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// One more subscribes.
    Added,
    /// None is left.
    Gone,
}

/// The XPUB socket. To subscribers it is a PUB; its owner sees them come.
pub struct PublishSocket {
    socket: WatchedSocket,
    buffer_bytes: usize,
    held: HeldBytes,
}

impl PublishSocket {
    /// Binds the socket.
    ///
    /// # Errors
    /// The endpoint cannot be bound, or the system refuses a thread or a descriptor.
    pub fn bind(options: &PublishOptions) -> Result<Self, TransportError> {
        let limits = Limits {
            unfinished_bytes: MAX_SUBSCRIBER_BYTES,
            waiting_bytes: MAX_SUBSCRIBER_BYTES,
            max_connections: options.max_connections,
        };
        let configure = |socket: &mut zmq::Socket| configure(socket, options);
        let endpoint = &options.endpoint;
        let socket =
            WatchedSocket::bind(SOCKET, zmq::XPUB, configure, endpoint, None, limits, None)?;
        Ok(Self {
            socket,
            buffer_bytes: options.buffer_bytes,
            held: HeldBytes::default(),
        })
    }

    /// Where the socket is bound, with its real port.
    pub fn endpoint(&self) -> &str {
        &self.socket.endpoint
    }

    /// Sends an event to all subscribers or to none. Without a subscriber it is dropped.
    ///
    /// # Errors
    /// libzmq fails.
    pub fn send(&mut self, frames: &[Bytes]) -> Result<SendOutcome, TransportError> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let held = self.held.count();
        if held > 0 && held.saturating_add(bytes) > self.buffer_bytes {
            return Ok(SendOutcome::QueueFull);
        }
        for (position, frame) in frames.iter().enumerate() {
            let more = if position + 1 < frames.len() {
                zmq::SNDMORE
            } else {
                0
            };
            // Full or not is decided at the first frame: libzmq counts messages, not frames.
            let wait = if position == 0 { zmq::DONTWAIT } else { 0 };
            match uninterrupted(|| self.held.send(&mut self.socket.socket, frame, more | wait)) {
                Ok(()) => {}
                Err(zmq::Error::EAGAIN) if position == 0 => return Ok(SendOutcome::QueueFull),
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(SendOutcome::Sent)
    }

    /// Bytes of events that libzmq holds now.
    pub fn held_bytes(&self) -> usize {
        self.held.count()
    }

    /// The next change among subscribers, without waiting.
    ///
    /// Only who subscribes to everything, as the gateway does, counts; a filter gets what it matches
    /// of what is published for the others.
    ///
    /// # Errors
    /// libzmq fails.
    pub fn next_subscription(&self) -> Result<Option<Subscription>, TransportError> {
        let mut message = zmq::Message::new();
        loop {
            match uninterrupted(|| self.socket.socket.recv(&mut message, zmq::DONTWAIT)) {
                Ok(()) => {}
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(source) => return Err(failed(source)),
            }
            if message.first() == Some(&1)
                && let Some(descriptor) = connection_of(&mut message)
            {
                self.socket.connections.note_spoken(descriptor);
            }
            // ZMTP: 1 or 0, then the prefix. With XPUB_VERBOSE every subscription is seen, and the
            // loss of the last subscriber of a prefix, also of one that died.
            match &*message {
                [1] => return Ok(Some(Subscription::Added)),
                [0] => return Ok(Some(Subscription::Gone)),
                _ => {}
            }
        }
    }

    /// Waits until there is news of a subscriber, the waker calls or the time has passed.
    ///
    /// # Errors
    /// libzmq fails.
    pub fn wait(&self, calls: &WakeReceiver, timeout: Duration) -> Result<(), TransportError> {
        wait(&self.socket.socket, calls, Some(timeout)).map_err(failed)
    }
}

fn failed(source: zmq::Error) -> TransportError {
    TransportError::Socket {
        socket: SOCKET,
        source,
    }
}

fn configure(socket: &mut zmq::Socket, options: &PublishOptions) -> Result<(), zmq::Error> {
    harden(socket, MAX_SUBSCRIPTION_BYTES)?;
    socket.set_sndhwm(options.send_queue_length.max(1))?;
    socket.set_linger(milliseconds(options.linger))?;
    socket.set_xpub_verbose(true)?;
    // A full subscriber pushes back instead of losing events.
    set_int_option(socket, zmq_sys::ZMQ_XPUB_NODROP, 1)?;
    // ... and TCP gives up on one that takes nothing for too long; it will subscribe again.
    set_int_option(
        socket,
        zmq_sys::ZMQ_TCP_MAXRT,
        milliseconds(options.stall_limit),
    )
}

fn milliseconds(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// Sets an option that the `zmq` crate has no function for.
#[expect(
    unsafe_code,
    reason = "zmq 0.10 does not wrap ZMQ_XPUB_NODROP and ZMQ_TCP_MAXRT"
)]
fn set_int_option(socket: &mut zmq::Socket, option: u32, value: c_int) -> Result<(), zmq::Error> {
    // SAFETY: the socket is open and borrowed for the call; libzmq reads one int, which both options
    // are documented to take, and keeps no pointer.
    let status = unsafe {
        zmq_sys::zmq_setsockopt(
            socket.as_mut_ptr(),
            option as c_int,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>(),
        )
    };
    if status == 0 {
        return Ok(());
    }
    Err(zmq::Error::from_raw(zmq_sys::errno::EINVAL))
}
