//! Copies of the fixture models that a test may change.

use std::path::Path;

use meeshy_translator::registry::sha256_of;

use super::daemon::fixture_models;

/// What a model folder needs; the scripts and goldens beside it stay where they are.
const PARTS: [&str; 8] = [
    "manifest.toml",
    "vad",
    "whisper",
    "marian",
    "marian-merged",
    "openvoice",
    "xtts",
    "piper",
];

/// A copy of the fixture models.
pub fn copied_models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in PARTS {
        copy(&fixture_models().join(part), &folder.path().join(part));
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}

/// Takes an engine's models out of the copy and its manifest.
pub fn remove(models: &Path, engine: &str) {
    std::fs::remove_dir_all(models.join(engine)).unwrap();
    let path = models.join("manifest.toml");
    let mut manifest: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let entries = manifest["model"].as_array_mut().unwrap();
    let before = entries.len();
    entries.retain(|model| model["engine"].as_str() != Some(engine));
    assert!(entries.len() < before, "{engine} is not in the manifest");
    std::fs::write(path, manifest.to_string()).unwrap();
}

/// Puts other bytes into a file of the copy, and their length and hash into its manifest.
pub fn replace(models: &Path, file: &str, bytes: &[u8]) {
    let (path, manifest_path) = (models.join(file), models.join("manifest.toml"));
    let entry = |path: &Path| {
        let hash = sha256_of(path, |_| {}).unwrap();
        let length = std::fs::metadata(path).unwrap().len();
        format!("path = \"{file}\"\nsha256 = \"{hash}\"\nsize_bytes = {length}\n")
    };
    let manifest = std::fs::read_to_string(&manifest_path).unwrap();
    let before = entry(&path);
    assert!(manifest.contains(&before), "{file} is not in the manifest");
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(manifest_path, manifest.replace(&before, &entry(&path))).unwrap();
}
