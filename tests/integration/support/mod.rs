//! Daemons, gateways, recordings and waiting.

#[path = "../../support/broken_audio.rs"]
pub mod broken_audio;
pub mod command_line;
#[path = "../../support/contract.rs"]
pub mod contract;
pub mod daemon;
pub mod database;
pub mod disk_faults;
pub mod examples;
#[path = "../../support/fake_mongodb.rs"]
pub mod fake_mongodb;
pub mod ffmpeg;
pub mod forms;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod models;
pub mod processes;
#[path = "../../support/proxy.rs"]
pub mod proxy;
pub mod pulling;
pub mod recordings;
pub mod requests;
pub mod small_disk;
pub mod voice_api;
pub mod voice_job;
pub mod voice_message;
pub mod voices;
pub mod wav;
pub mod web_server;
#[path = "../../support/zmtp.rs"]
pub mod zmtp;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest wait for anything: generous, since two slow cores may run all tests at once.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// ONNX Runtime: the one that `ORT_DYLIB_PATH` names, else the one that `make setup` installs.
pub fn onnxruntime_library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH")
        .map_or_else(|| local("onnxruntime/libonnxruntime.so"), PathBuf::from)
}

/// What `make setup` and `make setup-tests` install.
pub fn local(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(".local")
        .join(path)
}

/// A settings file for `TRANSLATOR_CONFIG`; it goes with the value.
pub fn settings_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Waits until `probe` gives something.
///
/// # Panics
/// Nothing came in [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "no {what} in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says why a test does nothing, or fails where `variable` says that it must not be skipped.
pub fn skip(variable: &str, why: &str) {
    assert!(
        std::env::var_os(variable).is_none(),
        "{variable} is set, but: {why}"
    );
    eprintln!("skipped: {why}");
}
