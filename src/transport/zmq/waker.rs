//! Wakes a thread that waits for its socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Calls a [`WakeReceiver`]; any thread may.
pub struct Waker(UnixStream);

/// The end that the waiting thread polls beside its socket.
pub struct WakeReceiver(UnixStream);

impl Waker {
    /// Makes a connected pair.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn pair() -> io::Result<(Self, WakeReceiver)> {
        let (caller, receiver) = UnixStream::pair()?;
        caller.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok((Self(caller), WakeReceiver(receiver)))
    }

    /// Makes the other end readable. Calls that were not taken yet count as one.
    pub fn wake(&self) {
        // A full buffer means that a call is waiting already; a closed one, that nobody waits.
        (&self.0).write(&[1]).unwrap_or_default();
    }
}

impl WakeReceiver {
    pub(super) fn as_poll_item(&self) -> zmq::PollItem<'_> {
        zmq::PollItem::from_fd(self.0.as_raw_fd(), zmq::POLLIN)
    }

    /// Takes all calls that have come.
    pub(super) fn clear(&self) {
        let mut calls = [0; 64];
        while (&self.0).read(&mut calls).is_ok_and(|count| count > 0) {}
    }
}
