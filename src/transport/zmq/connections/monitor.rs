//! What libzmq tells of a socket's listener and connections.

use std::os::fd::RawFd;

use super::super::context::Context;
use super::super::uninterrupted;

/// The socket on which libzmq tells of another's listener and connections.
pub(in super::super) struct Monitor(zmq::Socket);

impl Monitor {
    /// The monitor of a socket that is not bound yet.
    ///
    /// # Errors
    /// libzmq refuses it.
    pub(in super::super) fn new(
        context: &Context,
        socket: &zmq::Socket,
    ) -> Result<Self, zmq::Error> {
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
    pub(in super::super) fn listener(&self) -> Option<RawFd> {
        let (kind, descriptor) = self.next()?;
        (kind == zmq_sys::ZMQ_EVENT_LISTENING).then_some(descriptor)
    }

    /// What to poll for events.
    pub(super) fn as_poll_item(&self) -> zmq::PollItem<'_> {
        self.0.as_poll_item(zmq::POLLIN)
    }

    /// The next event that is there, and the descriptor it is about: the kind in two bytes, the
    /// descriptor in four; see zmq_socket_monitor(3).
    pub(super) fn next(&self) -> Option<(u32, RawFd)> {
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
