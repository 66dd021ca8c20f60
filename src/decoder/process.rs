//! One worker, seen from the daemon.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::wire::{self, END, End, READY, Refusal, SAMPLES};
use super::{DecoderOptions, LOOK_INTERVAL};
use crate::domain::{Deadline, Pcm, Stop};
use crate::fault;
use crate::stages::decode::DecodeLimits;

/// Longest message of a worker, in characters.
const MAX_MESSAGE_CHARACTERS: usize = 200;

/// Why a worker has not answered; it cannot be used again.
#[derive(Debug)]
pub(super) enum Fault {
    /// The deadline has passed, or nobody waits any more.
    Stopped(Stop),
    /// It is gone.
    Died,
    /// It says what no worker says.
    Broken(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(stop) => Self::Stopped(*stop),
            None if error.kind() == io::ErrorKind::InvalidData => {
                Self::Broken("a part is too long")
            }
            None => Self::Died,
        }
    }
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It computed for too long.
    OutOfTime,
    /// A signal from outside.
    Killed,
    /// Anything else.
    Crashed(ExitStatus),
}

impl Ending {
    fn of(status: ExitStatus) -> Self {
        let outside = [Signal::TERM, Signal::INT, Signal::HUP, Signal::KILL];
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => Self::OutOfTime,
            Some(signal) if outside.iter().any(|other| other.as_raw() == signal) => Self::Killed,
            _ => Self::Crashed(status),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfTime => f.write_str("out of computing time"),
            Self::Killed => f.write_str("killed"),
            Self::Crashed(status) => status.fmt(f),
        }
    }
}

/// A process that decodes one recording after the other. Dropped, it is killed.
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    part: Vec<u8>,
}

impl Worker {
    /// Starts the process. It dies with the thread that calls this.
    pub(super) fn spawn(options: &DecoderOptions) -> io::Result<Self> {
        let mut child = Command::new(&options.program)
            .arg0("translator")
            .arg("decode-worker")
            .args(["--memory-bytes", &options.memory_bytes.to_string()])
            .args(["--cpu-secs", &options.cpu_secs.to_string()])
            // What the daemon knows from its environment is no business of a worker.
            .env_clear()
            .envs(library_path())
            .envs(fault::environment())
            .current_dir("/")
            // What a terminal sends to the daemon is not meant for its workers.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a worker has no pipes"));
        };
        // Made before anything can fail, so that the process is reaped.
        let worker = Self {
            child,
            stdin,
            stdout,
            part: Vec::new(),
        };
        rustix::io::ioctl_fionbio(&worker.stdin, true)?;
        rustix::io::ioctl_fionbio(&worker.stdout, true)?;
        Ok(worker)
    }

    /// Waits until the process has confined itself; true when its system calls are filtered.
    pub(super) fn ready(&mut self, deadline: &Deadline) -> Result<bool, Fault> {
        let stdout = Watched::new(&mut self.stdout, PollFlags::IN, deadline);
        match (wire::read_part(stdout, &mut self.part)?, &self.part[..]) {
            (READY, [is_filtered]) => Ok(*is_filtered == 1),
            _ => Err(Fault::Broken("it does not say that it is ready")),
        }
    }

    /// Decodes a recording. Nothing that comes back is believed: not how much, and not what.
    pub(super) fn decode(
        &mut self,
        recording: &[u8],
        limits: &DecodeLimits,
        deadline: &Deadline,
    ) -> Result<Result<Pcm, Refusal>, Fault> {
        let stdin = Watched::new(&mut self.stdin, PollFlags::OUT, deadline);
        wire::write_task(stdin, recording, limits)?;
        let mut stdout = Watched::new(&mut self.stdout, PollFlags::IN, deadline);
        let max_samples = limits.max_decoded_bytes / size_of::<f32>();
        let mut samples: Vec<f32> = Vec::new();
        loop {
            match wire::read_part(&mut stdout, &mut self.part)? {
                SAMPLES => {
                    let fresh = self.part.as_chunks().0.iter().copied();
                    samples.extend(fresh.map(f32::from_le_bytes));
                    if samples.len() > max_samples {
                        return Err(Fault::Broken("it gives more samples than it may"));
                    }
                }
                END => break,
                _ => return Err(Fault::Broken("it says what no worker says")),
            }
        }
        let end: End = serde_json::from_slice(&self.part)
            .map_err(|_| Fault::Broken("it does not say how decoding ended"))?;
        let decoded = match end {
            Ok(decoded) => decoded,
            Err(refusal) => return Ok(Err(told(refusal))),
        };
        let rates = limits.min_sample_rate_hz..=limits.max_sample_rate_hz;
        samples.truncate(decoded.samples);
        // NaN is in no range.
        let are_samples = samples.iter().all(|sample| (-1.0..=1.0).contains(sample));
        if !rates.contains(&decoded.sample_rate_hz) || !are_samples {
            return Err(Fault::Broken("what it decoded is no audio"));
        }
        Ok(Ok(Pcm::new(samples, decoded.sample_rate_hz)))
    }

    /// Says how a worker ended that is gone. What it dies of is settled before its pipes are closed, so
    /// that it need not be waited for.
    pub(super) fn ending(mut self) -> Ending {
        let status = self.child.kill().and_then(|()| self.child.wait());
        status.map_or(Ending::Killed, Ending::of)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the program's own libraries are, if they are in no usual place.
#[expect(
    clippy::disallowed_methods,
    reason = "not a setting: the system's loader reads it"
)]
fn library_path() -> Option<(&'static str, OsString)> {
    const NAME: &str = "LD_LIBRARY_PATH";
    Some((NAME, std::env::var_os(NAME)?))
}

/// Logs where the decoder panicked, and makes the message one that can be told.
fn told(refusal: Refusal) -> Refusal {
    let printable = |text: &str| -> String {
        let characters = text.chars().filter(|character| !character.is_control());
        characters.take(MAX_MESSAGE_CHARACTERS).collect()
    };
    if let Some(place) = &refusal.panicked_at {
        tracing::warn!(place = printable(place), "a decoder panicked");
    }
    Refusal {
        message: printable(&refusal.message),
        ..refusal
    }
}

/// A pipe whose reads and writes end with a deadline.
struct Watched<'a, P> {
    pipe: &'a mut P,
    event: PollFlags,
    deadline: &'a Deadline,
}

impl<'a, P: AsFd> Watched<'a, P> {
    fn new(pipe: &'a mut P, event: PollFlags, deadline: &'a Deadline) -> Self {
        Self {
            pipe,
            event,
            deadline,
        }
    }

    /// Does `work` as soon as the pipe lets it.
    fn when_possible<T>(&mut self, mut work: impl FnMut(&mut P) -> io::Result<T>) -> io::Result<T> {
        let interval = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(LOOK_INTERVAL.subsec_nanos()),
        };
        loop {
            self.deadline.check().map_err(io::Error::other)?;
            match work(self.pipe) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let mut events = [PollFd::new(self.pipe, self.event)];
            match poll(&mut events, Some(&interval)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<P: AsFd + Read> Read for Watched<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_possible(|pipe| pipe.read(buffer))
    }
}

impl<P: AsFd + Write> Write for Watched<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.when_possible(|pipe| pipe.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
