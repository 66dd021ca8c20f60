//! What the kernel tells of a TCP connection whose descriptor belongs to libzmq.
//!
//! libzmq may close the descriptor at any time, and the next file that is opened gets its number. What was
//! asked is believed only if the number still belongs to the connection afterwards; to act on it, it is
//! duplicated first: a duplicate stays what it is.

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, Errno, dup3};
use rustix::net::{Shutdown, getpeername, shutdown, sockopt};

/// Tells a connection from all others that the machine has: the inode of its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64);

/// Bytes of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// What has arrived from the peer.
    pub received: u64,
    /// What of it nobody has read; asked for after `received`, so that the difference is never too large.
    pub unread: u64,
}

/// True when the error says that the connection has ended.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::BADF | Errno::NOTCONN)
        )
}

/// What connection the descriptor is now.
///
/// # Errors
/// It is none, or one that has ended.
pub(super) fn identify(descriptor: RawFd) -> io::Result<(Identity, SocketAddr)> {
    let socket = borrow(descriptor)?;
    let peer = getpeername(socket)?.ok_or(Errno::NOTCONN)?;
    Ok((identity(socket)?, SocketAddr::try_from(peer)?))
}

/// How much has arrived, and was read.
///
/// # Errors
/// The descriptor is another connection now, or closed; or the kernel does not tell, as Linux before 4.2.
pub(super) fn traffic(descriptor: RawFd, expected: Identity) -> io::Result<Traffic> {
    let socket = borrow(descriptor)?;
    let traffic = bytes_received(socket).and_then(|received| {
        Ok(Traffic {
            received,
            unread: rustix::io::ioctl_fionread(socket)?,
        })
    });
    // A number that was given away does not come back to the same connection.
    check(socket, expected)?;
    traffic
}

/// A descriptor for the duplicates, so that there is one when the process has as many as it may have.
pub(super) struct Spare {
    slot: OwnedFd,
    /// What is in the slot while it is not used.
    filler: OwnedFd,
}

impl Spare {
    /// # Errors
    /// The system refuses a descriptor.
    pub(super) fn new() -> io::Result<Self> {
        let filler = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self {
            slot: filler.try_clone()?,
            filler,
        })
    }

    /// The connection, which stays open at least as long as the result.
    ///
    /// # Errors
    /// The descriptor is another connection now, or closed.
    pub(super) fn hold(
        &mut self,
        descriptor: RawFd,
        expected: Identity,
    ) -> io::Result<HeldConnection<'_>> {
        let socket = borrow(descriptor)?;
        if let Err(error) = dup3(socket, &mut self.slot, DupFlags::CLOEXEC) {
            check(socket, expected)?;
            // It is there: what is refused is the duplicate, as when the limit was lowered below the slot.
            return Err(io::Error::other(error));
        }
        let held = HeldConnection(self);
        check(held.0.slot.as_fd(), expected)?;
        Ok(held)
    }
}

/// A connection that nobody else can close.
pub(super) struct HeldConnection<'a>(&'a mut Spare);

impl HeldConnection<'_> {
    /// Ends the connection for both sides: libzmq sees its end and closes it, and what the peer still sends
    /// is answered with a reset. Without the reset a peer that found the window closed would wait for a minute.
    pub(super) fn reset(self) -> io::Result<()> {
        sockopt::set_socket_linger(&self.0.slot, Some(Duration::ZERO))?;
        Ok(shutdown(&self.0.slot, Shutdown::Both)?)
    }
}

impl Drop for HeldConnection<'_> {
    fn drop(&mut self) {
        if let Err(error) = dup3(&self.0.filler, &mut self.0.slot, DupFlags::CLOEXEC) {
            tracing::error!(%error, "a duplicate of a connection cannot be closed");
        }
    }
}

/// Lets those who connect from now on send in segments of at most so many bytes.
///
/// # Errors
/// It is no TCP socket, or the size none that TCP knows.
#[expect(unsafe_code, reason = "rustix 1.1 does not wrap TCP_MAXSEG")]
pub(in super::super) fn limit_segments(listener: RawFd, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as an int has; a descriptor that is none is refused.
    let status = unsafe {
        libc::setsockopt(
            listener,
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// # Errors
/// The descriptor is not this connection.
fn check(socket: BorrowedFd<'_>, expected: Identity) -> io::Result<()> {
    if identity(socket)? == expected {
        Ok(())
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn identity(socket: BorrowedFd<'_>) -> io::Result<Identity> {
    Ok(Identity(rustix::fs::fstat(socket)?.st_ino))
}

#[expect(
    unsafe_code,
    reason = "libzmq tells a number, not a descriptor that can be borrowed"
)]
fn borrow<'a>(descriptor: RawFd) -> io::Result<BorrowedFd<'a>> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and serves only calls that fail if it is closed, and that change nothing: they
    // ask, or duplicate. What it was is seen from the inode.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

#[expect(unsafe_code, reason = "rustix 1.1 does not wrap TCP_INFO")]
fn bytes_received(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: a descriptor that is closed or no socket is refused, and the kernel writes at most `length` bytes to `info`.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `tcp_info` consists of integers, for which zeros and whatever the kernel writes are valid.
    let info = unsafe { info.assume_init() };
    let needed = offset_of!(libc::tcp_info, tcpi_bytes_received) + size_of::<u64>();
    if (length as usize) < needed {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(info.tcpi_bytes_received)
}
