//! The two sockets that the gateway connects to: PULL for requests, XPUB for events.
//!
//! A libzmq socket belongs to one thread at a time. Each socket here has its own libzmq context, and
//! with it its own I/O thread: whatever a peer does to one port does not slow the other.

mod connections;
mod context;
mod held;
mod pull;
#[cfg(test)]
mod tests;
mod waker;
mod xpub;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use self::connections::{Connections, Limits, Monitor, limit_segments};
use self::context::Context;
pub use pull::{Incoming, Intake, IntakeOptions, IntakeSocket};
pub use waker::{WakeReceiver, Waker};
pub use xpub::{PublishOptions, PublishSocket, SendOutcome, Subscription};

/// Why a socket could not be set up, or failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The endpoint cannot be bound.
    #[error(
        "cannot bind {endpoint}; give this daemon ports of its own (TRANSLATOR_ZMQ_PULL_PORT, TRANSLATOR_ZMQ_PUB_PORT)"
    )]
    Bind {
        /// What was asked for.
        endpoint: String,
        /// What libzmq said.
        source: zmq::Error,
    },
    /// libzmq refuses an option or an operation.
    #[error("the {socket} socket failed")]
    Socket {
        /// Which socket.
        socket: &'static str,
        /// What libzmq said.
        source: zmq::Error,
    },
    /// The operating system refuses a thread or a descriptor.
    #[error("cannot start the {socket} thread")]
    Start {
        /// Which socket.
        socket: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Time for a peer to finish its handshake; a silent connection is closed after it.
const HANDSHAKE_TIMEOUT_MS: i32 = 10_000;

/// Seconds without traffic after which TCP asks whether the peer is alive. There are no ZMTP
/// heartbeats: peers that are not libzmq take the ping for an error.
const KEEPALIVE_IDLE_SECS: i32 = 60;
const KEEPALIVE_INTERVAL_SECS: i32 = 15;
const KEEPALIVE_PROBES: i32 = 4;

/// Sets what both sockets need.
fn harden(socket: &zmq::Socket, max_message_bytes: usize) -> Result<(), zmq::Error> {
    socket.set_maxmsgsize(i64::try_from(max_message_bytes).unwrap_or(i64::MAX))?;
    socket.set_handshake_ivl(HANDSHAKE_TIMEOUT_MS)?;
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(KEEPALIVE_IDLE_SECS)?;
    socket.set_tcp_keepalive_intvl(KEEPALIVE_INTERVAL_SECS)?;
    socket.set_tcp_keepalive_cnt(KEEPALIVE_PROBES)?;
    socket.set_ipv6(false)
}

/// A bound socket whose connections are watched.
///
/// The order of the fields is the order of their end.
struct WatchedSocket {
    socket: zmq::Socket,
    /// With the port that was really taken.
    endpoint: String,
    connections: Connections,
    _context: Context,
}

impl WatchedSocket {
    /// Makes a socket, sets it up by `configure` and binds it. Peers send in segments of at most
    /// `max_segment_bytes`, if that is given; for the rest see [`Connections::watch`].
    fn bind(
        name: &'static str,
        kind: zmq::SocketType,
        configure: impl FnOnce(&mut zmq::Socket) -> Result<(), zmq::Error>,
        endpoint: &str,
        max_segment_bytes: Option<i32>,
        limits: Limits,
        settle: Option<Arc<Waker>>,
    ) -> Result<Self, TransportError> {
        let failed = |source| TransportError::Socket {
            socket: name,
            source,
        };
        let context = Context::new().map_err(failed)?;
        let mut socket = context.socket(kind).map_err(failed)?;
        configure(&mut socket).map_err(failed)?;
        let monitor = Monitor::new(&context, &socket).map_err(failed)?;
        let endpoint = bind(&socket, endpoint)?;
        if let Some(bytes) = max_segment_bytes {
            let listener = monitor.listener().ok_or(io::ErrorKind::NotFound.into());
            if let Err(error) = listener.and_then(|listener| limit_segments(listener, bytes)) {
                tracing::warn!(socket = name, %error, "segments have no limit: a kill can lose more of what is on its way");
            }
        }
        let connections = Connections::watch(monitor, name, limits, settle)?;
        Ok(Self {
            socket,
            endpoint,
            connections,
            _context: context,
        })
    }
}

impl Drop for WatchedSocket {
    fn drop(&mut self) {
        // First: libzmq would wait for ever to tell of connections when nobody listens.
        stop_monitor(&mut self.socket);
    }
}

#[expect(
    unsafe_code,
    reason = "zmq 0.10 starts monitors, but does not stop them"
)]
fn stop_monitor(socket: &mut zmq::Socket) {
    // SAFETY: the socket is open and borrowed for the call; see zmq_socket_monitor(3) for the null.
    let status = unsafe { zmq_sys::zmq_socket_monitor(socket.as_mut_ptr(), std::ptr::null(), 0) };
    debug_assert_eq!(status, 0, "only a context that was ended refuses");
}

/// Binds and returns the endpoint with the port that was really taken.
fn bind(socket: &zmq::Socket, endpoint: &str) -> Result<String, TransportError> {
    let failed = |source| TransportError::Bind {
        endpoint: endpoint.to_owned(),
        source,
    };
    // The `zmq` crate panics over a NUL in the text.
    if endpoint.contains('\0') {
        return Err(failed(zmq::Error::EINVAL));
    }
    socket.bind(endpoint).map_err(failed)?;
    let bound = socket.get_last_endpoint().map_err(failed)?;
    bound.map_err(|_| failed(zmq::Error::EINVAL))
}

/// The descriptor of the connection that a message came on, as ZMQ_SRCFD tells it too; peers from before
/// ZMTP 3 have none.
fn connection_of(message: &mut zmq::Message) -> Option<RawFd> {
    message.gets("__fd")?.parse().ok()
}

/// Repeats what a signal has interrupted.
fn uninterrupted<T>(mut operation: impl FnMut() -> zmq::Result<T>) -> zmq::Result<T> {
    loop {
        match operation() {
            Err(zmq::Error::EINTR) => {}
            result => return result,
        }
    }
}

/// Waits until the socket can be read, the waker calls or the time has passed.
fn wait(
    socket: &zmq::Socket,
    calls: &WakeReceiver,
    timeout: Option<Duration>,
) -> Result<(), zmq::Error> {
    let timeout_ms = timeout.map_or(-1, |timeout| {
        // Rounded up: a wait of 0.4 ms must not become a busy loop.
        i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i64::MAX)
    });
    let mut items = [socket.as_poll_item(zmq::POLLIN), calls.as_poll_item()];
    match zmq::poll(&mut items, timeout_ms) {
        Ok(_) | Err(zmq::Error::EINTR) => {
            calls.clear();
            Ok(())
        }
        Err(error) => Err(error),
    }
}
