//! Frames that libzmq sends out of the daemon's own memory, and how many bytes of them it still holds.

use std::os::raw::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::context::last_error;

/// Bytes of frames that were handed to libzmq and that some subscriber has not yet been sent.
///
/// All subscribers share the bytes of a frame, so a frame counts once.
#[derive(Clone, Default)]
pub(super) struct HeldBytes(Arc<AtomicUsize>);

/// A frame in the hands of libzmq, which drops it once nobody needs it any more.
struct HeldFrame {
    bytes: Bytes,
    held: HeldBytes,
}

impl HeldBytes {
    /// How many there are now.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Hands a frame to a socket without copying it.
    pub(super) fn send(
        &self,
        socket: &mut zmq::Socket,
        frame: &Bytes,
        flags: c_int,
    ) -> Result<(), zmq::Error> {
        let frame = Box::new(HeldFrame::new(frame.clone(), self.clone()));
        send(socket, frame, flags)
    }
}

impl HeldFrame {
    fn new(bytes: Bytes, held: HeldBytes) -> Self {
        held.0.fetch_add(bytes.len(), Ordering::AcqRel);
        Self { bytes, held }
    }
}

impl Drop for HeldFrame {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes.len(), Ordering::AcqRel);
    }
}

#[expect(
    unsafe_code,
    reason = "zmq 0.10 makes messages of a Vec, but tells nobody when libzmq lets go of one"
)]
fn send(socket: &mut zmq::Socket, frame: Box<HeldFrame>, flags: c_int) -> Result<(), zmq::Error> {
    let mut message = zmq_sys::zmq_msg_t::default();
    let (data, length) = (frame.bytes.as_ptr(), frame.bytes.len());
    let hint = Box::into_raw(frame);
    // SAFETY: `data` points to `length` bytes that live as long as `hint` and that nobody changes;
    // libzmq only reads messages that it sends. `let_go` takes a hint of this very type.
    let initialised = unsafe {
        zmq_sys::zmq_msg_init_data(
            &raw mut message,
            data.cast_mut().cast::<c_void>(),
            length,
            Some(let_go),
            hint.cast::<c_void>(),
        )
    };
    if initialised != 0 {
        let error = last_error();
        // SAFETY: libzmq has not taken the hint, see zmq_msg_init_data(3): this is its only owner.
        drop(unsafe { Box::from_raw(hint) });
        return Err(error);
    }
    // SAFETY: the message is initialised, the socket is open and borrowed for the call.
    let sent = unsafe { zmq_sys::zmq_msg_send(&raw mut message, socket.as_mut_ptr(), flags) };
    if sent >= 0 {
        // The message is libzmq's now.
        return Ok(());
    }
    let error = last_error();
    // SAFETY: the message is initialised and still ours; closing it calls `let_go`.
    let closed = unsafe { zmq_sys::zmq_msg_close(&raw mut message) };
    debug_assert_eq!(closed, 0, "only an invalid message cannot be closed");
    Err(error)
}

/// Called by libzmq, from any of its threads, when the last subscriber has been sent the frame or is gone.
#[expect(unsafe_code, reason = "libzmq calls it, see `send`")]
unsafe extern "C" fn let_go(_data: *mut c_void, hint: *mut c_void) {
    // SAFETY: `hint` came from `Box::into_raw` in `send`, and libzmq calls this once for each message.
    drop(unsafe { Box::from_raw(hint.cast::<HeldFrame>()) });
}
