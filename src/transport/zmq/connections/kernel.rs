//! What the kernel tells of a TCP connection whose descriptor belongs to libzmq.
//!
//! libzmq may close the descriptor at any time, and the next file that is opened gets its number. So
//! each look duplicates it and makes sure of what it got: a duplicate stays what it is.

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use rustix::net::sockopt;

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

/// What connection the descriptor is now.
pub(super) fn identify(descriptor: RawFd) -> io::Result<(Identity, SocketAddr)> {
    let stream = duplicate(descriptor)?;
    Ok((identity(&stream)?, stream.peer_addr()?))
}

/// The connection, which stays open at least as long as the result.
///
/// # Errors
/// The descriptor is another connection now, or closed.
pub(super) fn open(descriptor: RawFd, expected: Identity) -> io::Result<TcpStream> {
    let stream = duplicate(descriptor)?;
    if identity(&stream)? == expected {
        Ok(stream)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// How much has arrived, and was read.
///
/// # Errors
/// The kernel does not tell; Linux does since 4.2.
pub(super) fn traffic(stream: &TcpStream) -> io::Result<Traffic> {
    Ok(Traffic {
        received: bytes_received(stream)?,
        unread: rustix::io::ioctl_fionread(stream)?,
    })
}

/// Ends the connection for both sides: libzmq sees its end and closes it, and what the peer still sends
/// is answered with a reset. Without the reset a peer that found the window closed would wait for a minute.
pub(super) fn reset(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    stream.shutdown(Shutdown::Both)
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

fn identity(stream: &TcpStream) -> io::Result<Identity> {
    Ok(Identity(rustix::fs::fstat(stream)?.st_ino))
}

#[expect(
    unsafe_code,
    reason = "libzmq tells a number, not a descriptor that can be borrowed"
)]
fn duplicate(descriptor: RawFd) -> io::Result<TcpStream> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and the only use is one call that duplicates it: if it is closed the call
    // fails, and what it is otherwise is seen from the duplicate.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(TcpStream::from(borrowed.try_clone_to_owned()?))
}

#[expect(unsafe_code, reason = "rustix 1.1 does not wrap TCP_INFO")]
fn bytes_received(stream: &TcpStream) -> io::Result<u64> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `info`.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
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
