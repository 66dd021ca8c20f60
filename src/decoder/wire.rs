//! What the daemon and a decode worker say to each other over two pipes.
//!
//! To the worker: the length of a JSON header (4 bytes, little endian), the [`Task`], the recording. From
//! the worker: parts of one byte that says what it is, a length (4 bytes), and the part: once
//! [`READY`], then for each recording any number of [`SAMPLES`] and one [`END`].

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::error::Reason;
use crate::stages::decode::DecodeLimits;

/// The worker is confined: one byte, 1 when system calls are filtered.
pub(super) const READY: u8 = b'R';
/// Mono samples, 32-bit float, little endian.
pub(super) const SAMPLES: u8 = b'S';
/// The last part about a recording: an [`End`] as JSON.
pub(super) const END: u8 = b'E';

/// Longest part, and longest header.
pub(super) const MAX_PART_BYTES: usize = 64 << 10;

/// What is to be decoded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// Length of the recording that follows.
    pub(super) recording_bytes: usize,
    pub(super) limits: DecodeLimits,
}

/// How decoding ended.
pub(super) type End = Result<Decoded, Refusal>;

/// What was decoded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Decoded {
    pub(super) sample_rate_hz: u32,
    /// Samples that belong to the recording, of those that were sent.
    pub(super) samples: usize,
}

/// Why nothing was decoded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Where the decoder panicked, if it did: a line of source code.
    pub(super) panicked_at: Option<String>,
}

/// Writes what is to be decoded.
pub(super) fn write_task(
    mut pipe: impl Write,
    recording: &[u8],
    limits: &DecodeLimits,
) -> io::Result<()> {
    let task = Task {
        recording_bytes: recording.len(),
        limits: limits.clone(),
    };
    let header = serde_json::to_vec(&task)?;
    pipe.write_all(&length(&header)?)?;
    pipe.write_all(&header)?;
    pipe.write_all(recording)?;
    pipe.flush()
}

/// Reads what is to be decoded; `None` when nothing more is.
pub(super) fn read_task(mut pipe: impl Read) -> io::Result<Option<(Task, Vec<u8>)>> {
    let mut length = [0; 4];
    match pipe.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let mut header = vec![0; part_bytes(length)?];
    pipe.read_exact(&mut header)?;
    let task: Task = serde_json::from_slice(&header)?;
    let mut recording = vec![0; task.recording_bytes];
    pipe.read_exact(&mut recording)?;
    Ok(Some((task, recording)))
}

/// Writes one part.
pub(super) fn write_part(mut pipe: impl Write, kind: u8, part: &[u8]) -> io::Result<()> {
    pipe.write_all(&[kind])?;
    pipe.write_all(&length(part)?)?;
    pipe.write_all(part)
}

/// Reads one part into `part` and says what it is.
pub(super) fn read_part(mut pipe: impl Read, part: &mut Vec<u8>) -> io::Result<u8> {
    let mut head = [0; 5];
    pipe.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    part.resize(part_bytes(length)?, 0);
    pipe.read_exact(part)?;
    Ok(kind)
}

fn length(part: &[u8]) -> io::Result<[u8; 4]> {
    match u32::try_from(part.len()) {
        Ok(length) if part.len() <= MAX_PART_BYTES => Ok(length.to_le_bytes()),
        _ => Err(too_long()),
    }
}

fn part_bytes(length: [u8; 4]) -> io::Result<usize> {
    match usize::try_from(u32::from_le_bytes(length)) {
        Ok(length) if length <= MAX_PART_BYTES => Ok(length),
        _ => Err(too_long()),
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a part is too long")
}
