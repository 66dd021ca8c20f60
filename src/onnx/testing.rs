//! What tests of the engines share: the library, the bundled models, optional recordings.

use std::path::{Path, PathBuf};

use super::{Device, Onnx};

/// ONNX Runtime on the processor, from ORT_DYLIB_PATH or where `make setup` puts it.
pub(crate) fn onnx() -> Onnx {
    let library = variable("ORT_DYLIB_PATH").map_or_else(
        || root().join(".local/onnxruntime/libonnxruntime.so"),
        PathBuf::from,
    );
    Onnx::load(&library, Device::Cpu).expect("tests need ONNX Runtime: run `make setup`")
}

/// The directory of a bundled model.
pub(crate) fn fixture(model: &str) -> PathBuf {
    root().join("models/fixtures").join(model)
}

/// A file outside the repository that is not always there; says so when it is not.
///
/// # Panics
/// The file is missing and REQUIRE_SHARED is 1.
pub(crate) fn shared(file: &str) -> Option<PathBuf> {
    let directory =
        variable("TRANSLATOR_SHARED_DIR").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = directory.join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(
        variable("REQUIRE_SHARED").as_deref() != Some("1"),
        "{} is missing",
        path.display()
    );
    println!("skipped: {} is missing", path.display());
    None
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests have no configuration to read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
