//! The beginning of ZMTP 3.0 by hand, for peers that go on as libzmq never would.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// Flag of a frame that is a command.
pub const COMMAND: u8 = 4;

/// Version 3.0 with the mechanism NULL.
pub fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// Greets and is ready as a `socket_type` (`PUSH`, `SUB`); so is the other end when this returns.
///
/// # Errors
/// The connection fails or is closed.
pub fn shake_hands(stream: &mut TcpStream, socket_type: &str) -> io::Result<()> {
    stream.write_all(&greeting())?;
    stream.read_exact(&mut [0; 64])?;
    let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
    ready.extend((socket_type.len() as u32).to_be_bytes());
    ready.extend(socket_type.as_bytes());
    stream.write_all(&[COMMAND, ready.len() as u8])?;
    stream.write_all(&ready)?;
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    stream.read_exact(&mut vec![0; header[1].into()])
}
