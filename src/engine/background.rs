//! Work on recordings gives way to all other work: whoever sent a text waits for it, and while a core
//! is free nothing is slower.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, spawn_blocking};

/// Nice value of threads that work on recordings. The kernel gives them a tenth of the time of a
/// thread of value 0 that wants the same core.
const NICE: i32 = 10;

/// Time that such a thread asks for at a stretch, the most that Linux grants. Since Linux 6.12 a thread that wakes
/// up and asks for less, as all others do, gets the core at once; else it waits until the one that runs has had its
/// stretch, at each of the ten or so times that a text goes from thread to thread.
const SLICE: Duration = Duration::from_millis(100);

/// Threads of codecs at most. Some wait for a server or a child process, so there are more than cores;
/// the number of jobs in work bounds them further.
const MAX_THREADS: usize = 64;

/// Lowers the priority of the calling thread, and of the threads that it starts from now on.
pub fn lower_priority() {
    // Linux takes "this process" for the calling thread here.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "priority stays as it is");
    }
    let nice = getpriority_process(None).unwrap_or(NICE);
    if let Err(error) = set_slice(nice, SLICE) {
        tracing::debug!(%error, "time slices stay as they are");
    }
}

/// Has the calling thread ask for a time slice, and for its nice value, which the call sets with it.
#[expect(
    unsafe_code,
    reason = "neither the standard library nor rustix has sched_setattr(2)"
)]
fn set_slice(nice: i32, slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: slice.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this_thread, flags) = (0, 0);
    // SAFETY: the kernel reads `size` bytes of the attributes, which live until the call returns.
    let status = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            this_thread,
            &raw const attributes,
            flags,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Runs a codec, a filter, or the file access before it, on a thread of low priority.
///
/// # Errors
/// The work panicked.
pub async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    /// Has the threads only: nothing else runs on it.
    static THREADS: LazyLock<Option<Runtime>> = LazyLock::new(|| {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(MAX_THREADS)
            .thread_name("codec")
            .on_thread_start(lower_priority)
            .build();
        runtime
            .inspect_err(|error| tracing::warn!(%error, "codecs have no threads of their own"))
            .ok()
    });
    match &*THREADS {
        Some(runtime) => runtime.spawn_blocking(work).await,
        None => spawn_blocking(work).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn codecs_have_a_low_priority_and_the_others_keep_theirs() {
        let priority = || getpriority_process(None).unwrap();
        let before = priority();
        assert_eq!(in_background(priority).await.unwrap(), NICE.max(before));
        assert_eq!(priority(), before);
        assert!(in_background(|| panic!("in a codec")).await.is_err());
    }

    #[test]
    fn a_slice_may_be_asked_for() {
        std::thread::spawn(|| {
            let nice = getpriority_process(None).unwrap();
            set_slice(nice, SLICE).unwrap();
            assert_eq!(getpriority_process(None).unwrap(), nice);
        })
        .join()
        .unwrap();
    }
}
