//! Work on recordings gives way to all other work: whoever sent a text waits for it, and while a core
//! is free nothing is slower.

use std::sync::LazyLock;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, spawn_blocking};

/// Nice value of threads that work on recordings. The kernel gives them a tenth of the time of a
/// thread of value 0 that wants the same core.
const NICE: i32 = 10;

/// Threads of codecs at most. Some wait for a server or a child process, so there are more than cores;
/// the number of jobs in work bounds them further.
const MAX_THREADS: usize = 64;

/// Lowers the priority of the calling thread, and of the threads that it starts from now on.
pub fn lower_priority() {
    // Linux takes "this process" for the calling thread here.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "priority stays as it is");
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
    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn codecs_have_a_low_priority_and_the_others_keep_theirs() {
        let priority = || getpriority_process(None).unwrap();
        let before = priority();
        assert_eq!(in_background(priority).await.unwrap(), NICE.max(before));
        assert_eq!(priority(), before);
        assert!(in_background(|| panic!("in a codec")).await.is_err());
    }
}
