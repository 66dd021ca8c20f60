//! Copies of the fixture models that a test may change.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::daemon::fixture_models;

/// A copy of the fixture models.
pub fn copied() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in [
        "manifest.toml",
        "whisper",
        "marian",
        "openvoice",
        "xtts",
        "marian-merged",
    ] {
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

/// Installs another file under the same name, as a new version of a model does.
pub fn replace(models: &Path, file: &str, content: &[u8]) {
    std::fs::write(models.join(file), content).unwrap();
    let manifest = models.join("manifest.toml");
    let mut lines: Vec<String> = std::fs::read_to_string(&manifest)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let entry = format!("path = \"{file}\"");
    let at = lines.iter().position(|line| *line == entry).unwrap();
    let sha256 = Sha256::digest(content);
    let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(lines[at + 1].starts_with("sha256") && lines[at + 2].starts_with("size_bytes"));
    lines[at + 1] = format!("sha256 = \"{sha256}\"");
    lines[at + 2] = format!("size_bytes = {}", content.len());
    std::fs::write(&manifest, lines.join("\n")).unwrap();
}
