//! A program in a process of its own: text in, bytes out, bounded in time, memory and bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};

use crate::domain::{Deadline, Stop};

/// How often the deadline is looked at while nothing happens.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Address space of the program: dictionaries are mapped, so it is far more than is used.
const MEMORY_BYTES: u64 = 1 << 30;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// Why a program gave nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The operating system did not start it.
    #[error("it could not be started")]
    Start(#[source] io::Error),
    /// It was killed.
    #[error("it did not end within {0:?}")]
    TooSlow(Duration),
    /// It was killed.
    #[error("it gave more than {0} bytes")]
    TooMuch(usize),
    /// It says itself that it failed, or a signal ended it.
    #[error("it ended with {0}")]
    Ended(ExitStatus),
    /// It could not be talked to.
    #[error("its pipes failed")]
    Pipe(#[source] io::Error),
    /// Nobody waits any more; it was killed.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

/// What a program may take and give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of output.
    pub(super) output_bytes: usize,
    /// Time from start to end. Of computing time it gets as much, even if nobody is left to kill it.
    pub(super) patience: Duration,
}

/// Runs `program`, a path, with `input` as its standard input, and returns its standard output.
///
/// No shell, no environment, the root as its folder, a process group of its own that is killed whole.
/// What it writes to standard error is dropped: it might quote the text.
///
/// # Errors
/// It cannot be run, fails, or exceeds its bounds or the deadline.
pub(super) fn run(
    program: &Path,
    arguments: &[&str],
    input: &[u8],
    bounds: Bounds,
    deadline: &Deadline,
) -> Result<Vec<u8>, ProgramError> {
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ProgramError::Start)?;
    let mut running = Running::new(child, bounds, deadline.clone());
    let output = running.exchange(input)?;
    let status = running.wait()?;
    if status.success() {
        Ok(output)
    } else {
        Err(ProgramError::Ended(status))
    }
}

/// A process that is killed with its whole group when this is dropped.
struct Running {
    child: Child,
    bounds: Bounds,
    deadline: Deadline,
    started: Instant,
    is_reaped: bool,
}

impl Running {
    fn new(child: Child, bounds: Bounds, deadline: Deadline) -> Self {
        let running = Self {
            child,
            bounds,
            deadline,
            started: Instant::now(),
            is_reaped: false,
        };
        for (resource, limit) in [
            (Resource::Cpu, bounds.patience.as_secs().max(1)),
            (Resource::As, MEMORY_BYTES),
            (Resource::Core, 0),
        ] {
            let limit = Rlimit {
                current: Some(limit),
                maximum: Some(limit),
            };
            // It may have ended already.
            if let Err(error) = prlimit(Some(Pid::from_child(&running.child)), resource, limit) {
                tracing::debug!(%error, "a program's resources are not limited");
            }
        }
        running
    }

    /// Writes all of `input` and reads until the program closes its output.
    fn exchange(&mut self, input: &[u8]) -> Result<Vec<u8>, ProgramError> {
        let (Some(stdin), Some(mut stdout)) = (self.child.stdin.take(), self.child.stdout.take())
        else {
            return Err(ProgramError::Pipe(io::Error::other("there are no pipes")));
        };
        for pipe in [
            rustix::io::ioctl_fionbio(&stdin, true),
            rustix::io::ioctl_fionbio(&stdout, true),
        ] {
            pipe.map_err(|error| ProgramError::Pipe(error.into()))?;
        }
        let (mut stdin, mut rest) = (Some(stdin), input);
        let mut output = Vec::new();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            self.check_time()?;
            wait_for_pipes(stdin.as_ref(), &stdout)?;
            if let Some(pipe) = &mut stdin
                && write_some(pipe, &mut rest)?
            {
                stdin = None;
            }
            match stdout.read(&mut block) {
                Ok(0) => return Ok(output),
                Ok(read) => output.extend_from_slice(&block[..read]),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(ProgramError::Pipe(error)),
            }
            if output.len() > self.bounds.output_bytes {
                return Err(ProgramError::TooMuch(self.bounds.output_bytes));
            }
        }
    }

    fn check_time(&self) -> Result<(), ProgramError> {
        self.deadline.check()?;
        if self.started.elapsed() > self.bounds.patience {
            return Err(ProgramError::TooSlow(self.bounds.patience));
        }
        Ok(())
    }

    /// Waits for the end of a program that has closed its output.
    fn wait(&mut self) -> Result<ExitStatus, ProgramError> {
        // It stays a zombie, so that its number remains its group's until that is killed.
        let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&self.child);
        loop {
            match waitid(WaitId::Pid(pid), seen) {
                Ok(Some(_)) => break,
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(ProgramError::Pipe(error.into())),
            }
            self.check_time()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.kill_group();
        self.is_reaped = true;
        self.child.wait().map_err(ProgramError::Pipe)
    }

    fn kill_group(&self) {
        let group = Pid::from_child(&self.child);
        if let Err(error) = kill_process_group(group, Signal::KILL) {
            tracing::debug!(%error, "a program's group is not killed");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A process that was waited for has no number any more, and its group was killed.
        if !self.is_reaped {
            self.kill_group();
            drop(self.child.wait());
        }
    }
}

/// Waits a moment until one of the pipes can be used.
fn wait_for_pipes(stdin: Option<&ChildStdin>, stdout: &ChildStdout) -> Result<(), ProgramError> {
    let mut events = vec![PollFd::new(stdout, PollFlags::IN)];
    events.extend(stdin.map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
    match poll(&mut events, Some(&LOOK_INTERVAL)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(ProgramError::Pipe(error.into())),
    }
}

/// Writes what the pipe takes; true when there is no more to write, or nobody who reads it.
fn write_some(pipe: &mut ChildStdin, rest: &mut &[u8]) -> Result<bool, ProgramError> {
    match pipe.write(rest) {
        Ok(written) => *rest = &rest[written..],
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(true),
        Err(error) if is_passing(&error) => {}
        Err(error) => return Err(ProgramError::Pipe(error)),
    }
    Ok(rest.is_empty())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
