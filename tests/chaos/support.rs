//! What the integration tests have that is needed here.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[path = "../integration/support/daemon.rs"]
#[allow(
    dead_code,
    reason = "of the tests' daemon only its ports and its command line are needed"
)]
pub mod tests_daemon;

#[path = "../support/mongodb.rs"]
#[allow(dead_code, reason = "the proxy stands for outages here")]
pub mod mongodb;

#[path = "../support/broken_audio.rs"]
#[allow(dead_code, reason = "the bombs are among the broken files")]
pub mod broken_audio;

#[path = "../integration/support/wav.rs"]
pub mod wav;

#[path = "../support/proxy.rs"]
pub mod proxy;

#[path = "../support/zmtp.rs"]
pub mod zmtp;

/// Longest wait for anything that is not measured.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// ONNX Runtime: the one that `ORT_DYLIB_PATH` names, else the one that `make setup` installs.
pub fn onnxruntime_library() -> PathBuf {
    let installed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/.local/onnxruntime/libonnxruntime.so"
    );
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| installed.into(), PathBuf::from)
}

/// Waits until `probe` gives something.
///
/// # Panics
/// Nothing came in [`PATIENCE`].
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_until(PATIENCE, probe).unwrap_or_else(|| panic!("no {what} in {PATIENCE:?}"))
}

/// Waits until `probe` gives something, but not longer than that.
pub fn wait_until<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Milliseconds since 1970, as the ledger counts.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
