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

/// The same on a CUDA device; says so when there is none.
///
/// # Panics
/// There is none and REQUIRE_CUDA is 1.
pub(crate) fn cuda() -> Option<Onnx> {
    let onnx = onnx().on(Device::Cuda);
    let Err(error) = onnx.require_device() else {
        return Some(onnx);
    };
    assert!(variable("REQUIRE_CUDA").as_deref() != Some("1"), "{error}");
    println!("skipped: {error}");
    None
}

/// The directory of a bundled model.
pub(crate) fn fixture(model: &str) -> PathBuf {
    root().join("models/fixtures").join(model)
}

/// Copies the directory of a bundled model, so that a test can change it.
pub(crate) fn copy_fixture(model: &str, target: &Path) {
    std::fs::create_dir_all(target).expect("a directory");
    for file in std::fs::read_dir(fixture(model)).expect("files") {
        let file = file.expect("a file").path();
        std::fs::copy(&file, target.join(file.file_name().expect("a name"))).expect("a copy");
    }
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

/// Models of real dimensions with the goldens of the Python references, made by `make parity`.
pub(crate) struct Parity {
    folder: PathBuf,
}

impl Parity {
    /// The set in TRANSLATOR_PARITY_DIR; says so when there is none.
    ///
    /// # Panics
    /// There is none and REQUIRE_PARITY is 1.
    pub(crate) fn find() -> Option<Self> {
        let folder = variable("TRANSLATOR_PARITY_DIR").map(PathBuf::from);
        if folder.is_none() {
            assert!(
                variable("REQUIRE_PARITY").as_deref() != Some("1"),
                "TRANSLATOR_PARITY_DIR is not set"
            );
            println!("skipped: TRANSLATOR_PARITY_DIR is not set; run `make parity`");
        }
        Some(Self { folder: folder? })
    }

    /// The directory of a model.
    pub(crate) fn model(&self, model: &str) -> PathBuf {
        self.folder.join("models").join(model)
    }

    /// A file of golden vectors.
    pub(crate) fn goldens(&self, file: &str) -> PathBuf {
        self.folder.join("goldens").join(file)
    }

    /// Adds a line to the report that `make parity` makes of the figures.
    pub(crate) fn report(what: &str, figures: &str) {
        println!("parity | {what} | {figures} |");
    }
}

/// A file of golden vectors beside the bundled models.
pub(crate) fn goldens(file: &str) -> serde_json::Value {
    read_goldens(&fixture("goldens").join(file))
}

/// A file of golden vectors.
pub(crate) fn read_goldens(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A list of numbers in golden vectors.
pub(crate) fn numbers(value: &serde_json::Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The test signal of the golden vectors: 0.4 sin(2π·a·n/rate·(1 + 0.5·n/count))
/// + 0.2 sin(2π·2.7·a·n/rate), a = 110 + 30·seed Hz.
pub(crate) fn golden_signal(count: usize, rate_hz: u32, seed: u32) -> Vec<f32> {
    let base = 110.0 + 30.0 * f64::from(seed);
    (0..count)
        .map(|n| {
            let turns = base * n as f64 / f64::from(rate_hz);
            let glide = 1.0 + 0.5 * n as f64 / count as f64;
            let tau = std::f64::consts::TAU;
            (0.4 * (tau * turns * glide).sin() + 0.2 * (tau * 2.7 * turns).sin()) as f32
        })
        .collect()
}

/// Compares with golden vectors, whose floats may differ on other processors and library versions;
/// returns the largest difference.
pub(crate) fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) -> f32 {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let difference = actual
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(difference <= tolerance, "{what}: off by {difference}");
    difference
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
