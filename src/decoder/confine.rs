//! What a worker gives up before it reads the first byte of a recording.
//!
//! Two walls, each enough by itself: resource limits, under which no descriptor can be opened, no process
//! started and no file grown; and a filter of system calls, which lets pass what decoding needs.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use rustix::process::{
    Resource, Rlimit, Signal, getpid, set_parent_process_death_signal, setrlimit,
};
use rustix::time::{ClockId, clock_gettime};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Why a worker is not confined.
#[derive(Debug, thiserror::Error)]
#[error("{what} could not be given up")]
pub struct ConfineError {
    what: &'static str,
    #[source]
    source: io::Error,
}

/// Lets the process use `memory_bytes` more of address space, read and write what is open, and nothing
/// else; it dies with the thread that started it. False when the system cannot filter system calls: then
/// the limits stand alone.
///
/// # Errors
/// The system refuses a limit.
pub(super) fn confine(memory_bytes: u64) -> Result<bool, ConfineError> {
    let given_up = |what| {
        move |error: Errno| ConfineError {
            what,
            source: error.into(),
        }
    };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(given_up("life of its own"))?;
    // As a rule the kernel shows it by this name, else by the path that it was started with.
    rustix::thread::set_name(c"decode-worker").map_err(given_up("the name"))?;
    rustix::thread::set_no_new_privs(true).map_err(given_up("privileges"))?;
    close_inherited();
    let program_bytes = address_space().map_err(|source| ConfineError {
        what: "memory",
        source,
    })?;
    let memory_bytes = program_bytes.saturating_add(memory_bytes);
    for (resource, limit, what) in [
        (Resource::As, memory_bytes, "memory"),
        (Resource::Core, 0, "core dumps"),
        (Resource::Fsize, 0, "writing of files"),
        (Resource::Nproc, 0, "starting of processes"),
        // What is open stays open.
        (Resource::Nofile, 0, "opening of files"),
    ] {
        set_limit(resource, limit).map_err(given_up(what))?;
    }
    Ok(filter().is_some_and(|filter| seccompiler::apply_filter(&filter).is_ok()))
}

/// Computing time in which something has to come of it: a decoder gives seconds of audio in milliseconds, so
/// one that gives nothing for so long is in a loop, and must not hold its place for the time that the
/// longest recording may take.
const FRUITLESS_CPU_SECS: u64 = 3;

/// The computing time of one recording. The kernel ends the process when it is spent.
pub(super) struct CpuTime {
    /// The process's computing time at which it ends, in seconds.
    ends_at: u64,
}

impl CpuTime {
    /// Begins the time of one recording: `cpu_secs` in all.
    ///
    /// # Errors
    /// The system refuses the limit.
    pub(super) fn begin(cpu_secs: u64) -> Result<Self, ConfineError> {
        let time = Self {
            ends_at: used_cpu_secs().saturating_add(cpu_secs),
        };
        time.go_on()?;
        Ok(time)
    }

    /// Lets the process go on, as something has come of its work.
    ///
    /// # Errors
    /// The system refuses the limit.
    pub(super) fn go_on(&self) -> Result<(), ConfineError> {
        let limit = used_cpu_secs().saturating_add(FRUITLESS_CPU_SECS);
        let limit = Rlimit {
            current: Some(limit.min(self.ends_at)),
            maximum: None,
        };
        setrlimit(Resource::Cpu, limit).map_err(|error| ConfineError {
            what: "computing time",
            source: error.into(),
        })
    }
}

/// What the process has computed so far; the running second counts as used.
fn used_cpu_secs() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    u64::try_from(used).unwrap_or_default().saturating_add(1)
}

/// Closes what the process was given beside its three pipes: whatever the daemon, or a library of it, has
/// opened and not marked. Where the kernel is too old (before 5.9), the filter keeps it out of reach.
#[expect(unsafe_code, reason = "nobody owns these descriptors")]
fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: runs before anything in this process has opened a descriptor.
    unsafe { libc::close_range(FIRST, libc::c_uint::MAX, 0) };
}

/// Bytes of address space in use: the program with its libraries, which may be large, and the stack.
fn address_space() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::other("statm cannot be read"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn set_limit(resource: Resource, limit: u64) -> Result<(), Errno> {
    let limit = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(resource, limit)
}

/// The filter; `None` on a processor that it cannot be made for.
fn filter() -> Option<BpfProgram> {
    // Memory, clocks, locks, what the allocator and a panic need, the end.
    let allowed = [
        libc::SYS_brk,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_getrandom,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        allowed.into_iter().map(|call| (call, Vec::new())).collect();
    // The three pipes, and memory that belongs to no file.
    rules.insert(libc::SYS_read, vec![rule(&[(0, 0)])?]);
    rules.insert(libc::SYS_write, vec![rule(&[(0, 1)])?, rule(&[(0, 2)])?]);
    rules.insert(libc::SYS_mmap, vec![rule(&[(4, u64::from(u32::MAX))])?]);
    // It may kill itself, as `abort` does, and nobody else.
    let own_pid = u64::try_from(getpid().as_raw_pid()).ok()?;
    rules.insert(libc::SYS_tgkill, vec![rule(&[(0, own_pid)])?]);
    // Its computing time is limited anew for each recording. Beyond that the daemon's patience ends.
    let cpu_time = [(0, 0), (1, u64::from(libc::RLIMIT_CPU))];
    rules.insert(libc::SYS_prlimit64, vec![rule(&cpu_time)?]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    // Refused rather than fatal: libraries ask for what they can do without.
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture).ok()?;
    filter.try_into().ok()
}

/// A rule for calls whose arguments, by their number, have these values.
fn rule(arguments: &[(u8, u64)]) -> Option<SeccompRule> {
    let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
    let conditions: Result<Vec<_>, _> = arguments
        .iter()
        .map(|(number, value)| {
            SeccompCondition::new(*number, length.clone(), equal.clone(), *value)
        })
        .collect();
    SeccompRule::new(conditions.ok()?).ok()
}
