//! A worker, seen from inside: one recording after the other, from standard input to standard output.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use super::confine::{self, ConfineError, CpuTime};
use super::wire::{self, Decoded, END, End, MAX_PART_BYTES, READY, Refusal, SAMPLES};
use crate::domain::digest::sha256_hex;
use crate::domain::{Deadline, Stop};
use crate::error::{Reason, error_chain};
use crate::fault;
use crate::stages::StageError as _;
use crate::stages::decode::{DecodeLimits, decode_into};

/// Why a worker ends other than by the end of its input.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not give up its rights, and has read nothing.
    #[error("the process could not be confined")]
    Confine(#[from] ConfineError),
    /// The daemon is gone, or does not say what a daemon says.
    #[error("the daemon cannot be understood")]
    Pipe(#[from] io::Error),
}

/// Where the last panic was. The hook can tell nobody: a worker logs nothing.
static PANICKED_AT: Mutex<Option<String>> = Mutex::new(None);

/// Confines the process to `memory_bytes` more of address space, then decodes until standard input ends, each
/// recording in `cpu_secs` of computing time.
///
/// # Errors
/// The process cannot be confined, or the daemon cannot be understood.
pub fn run(memory_bytes: u64, cpu_secs: u64) -> Result<(), WorkerError> {
    std::panic::set_hook(Box::new(|panic| {
        *panicked_at() = panic.location().map(ToString::to_string);
    }));
    let is_filtered = confine::confine(memory_bytes)?;
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    wire::write_part(&mut stdout, READY, &[u8::from(is_filtered)])?;
    stdout.flush()?;
    serve(&mut stdin, &mut stdout, cpu_secs)
}

fn serve(mut stdin: impl Read, mut stdout: impl Write, cpu_secs: u64) -> Result<(), WorkerError> {
    loop {
        let cpu_time = CpuTime::begin(cpu_secs)?;
        let Some((task, recording)) = wire::read_task(&mut stdin)? else {
            return Ok(());
        };
        let end = decode(&recording, &task.limits, &cpu_time, &mut stdout);
        let end = serde_json::to_vec(&end).map_err(io::Error::from)?;
        wire::write_part(&mut stdout, END, &end)?;
        stdout.flush()?;
    }
}

fn decode(
    recording: &[u8],
    limits: &DecodeLimits,
    cpu_time: &CpuTime,
    stdout: &mut dyn Write,
) -> End {
    if cfg!(debug_assertions) {
        fault::decode_point(&sha256_hex(recording)).map_err(|fault| Refusal {
            reason: Reason::BadOutput,
            message: fault.to_string(),
            panicked_at: None,
        })?;
    }
    *panicked_at() = None;
    let mut part = Vec::with_capacity(MAX_PART_BYTES);
    let mut send = |part: &mut Vec<u8>| {
        // The daemon is gone: so is who wants the recording.
        let sent = wire::write_part(&mut *stdout, SAMPLES, part);
        part.clear();
        sent.map_err(|_| Stop::Cancelled)?;
        cpu_time.go_on().map_err(|_| Stop::DeadlineExceeded)
    };
    // The daemon watches the clock.
    let deadline = Deadline::none();
    let decoded = decode_into(recording, limits, &deadline, &mut |samples| {
        for sample in samples {
            part.extend_from_slice(&sample.to_le_bytes());
            if part.len() == MAX_PART_BYTES {
                send(&mut part)?;
            }
        }
        Ok(())
    });
    let decoded = decoded.and_then(|facts| {
        send(&mut part)?;
        Ok(facts)
    });
    match decoded {
        Ok(facts) => Ok(Decoded {
            sample_rate_hz: facts.sample_rate_hz,
            samples: facts.samples,
        }),
        Err(error) => Err(Refusal {
            reason: error.reason(),
            message: error_chain(&error),
            panicked_at: panicked_at().take(),
        }),
    }
}

fn panicked_at() -> std::sync::MutexGuard<'static, Option<String>> {
    PANICKED_AT.lock().unwrap_or_else(PoisonError::into_inner)
}
