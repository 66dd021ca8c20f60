//! A libzmq context, with its own I/O thread, that copies what it receives.

use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;

/// `ZMQ_ZERO_COPY_RECV` of zmq_ctx_set(3), which zmq-sys 0.12 does not name.
const ZERO_COPY_RECV: c_int = 10;

/// The context. Its sockets must be dropped before it: dropping it waits for them.
///
/// `zmq::Context` does not let the option be set that is needed here. By default libzmq keeps small frames
/// in the buffer of 8 KiB that it has read them into: a peer that sends frames of 37 bytes one by one makes
/// it keep 7 to 18 KiB for each. Copied, a frame takes its own size.
pub(super) struct Context(NonNull<c_void>);

#[expect(
    unsafe_code,
    reason = "a raw pointer stops the compiler from seeing it"
)]
// SAFETY: libzmq's contexts are thread-safe, see zmq(7).
unsafe impl Send for Context {}

#[expect(
    unsafe_code,
    reason = "zmq 0.10 neither sets ZMQ_ZERO_COPY_RECV nor shows its context"
)]
impl Context {
    pub(super) fn new() -> Result<Self, zmq::Error> {
        // SAFETY: it takes nothing, and the result is checked.
        let context = Self(NonNull::new(unsafe { zmq_sys::zmq_ctx_new() }).ok_or_else(last_error)?);
        // SAFETY: the context is open, and libzmq checks option and value.
        match unsafe { zmq_sys::zmq_ctx_set(context.0.as_ptr(), ZERO_COPY_RECV, 0) } {
            0 => Ok(context),
            _ => Err(last_error()),
        }
    }

    pub(super) fn socket(&self, kind: zmq::SocketType) -> Result<zmq::Socket, zmq::Error> {
        // SAFETY: the context is open.
        let socket = unsafe { zmq_sys::zmq_socket(self.0.as_ptr(), kind as c_int) };
        if socket.is_null() {
            return Err(last_error());
        }
        // SAFETY: it is a libzmq socket that nobody else has.
        Ok(unsafe { zmq::Socket::from_raw(socket) })
    }
}

#[expect(unsafe_code, reason = "see `Context::new`")]
impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is open, and not used after this.
        while unsafe { zmq_sys::zmq_ctx_term(self.0.as_ptr()) } != 0
            && last_error() == zmq::Error::EINTR
        {}
    }
}

#[expect(
    unsafe_code,
    reason = "zmq 0.10 has no safe access to the error number"
)]
pub(super) fn last_error() -> zmq::Error {
    // SAFETY: reads the calling thread's error number.
    zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}
