//! What lies in a model directory and belongs to no model: partial downloads, and files in the engines'
//! folders that the manifest does not list.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::pull::WORK_FOLDER;
use super::{Engine, Manifest};

/// Something that can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Path below the model directory, of a file, a link or a folder.
    pub path: PathBuf,
    /// Bytes that it takes.
    pub size_bytes: u64,
    /// Why nobody needs it.
    pub kind: LeftoverKind,
}

/// Why nobody needs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A download that has not ended.
    Partial,
    /// The manifest does not list it.
    Unlisted,
}

/// Everything that can go, by path. Without a manifest that is partial downloads only: then nothing
/// tells a model from anything else.
///
/// # Errors
/// A folder cannot be read.
pub fn leftovers(directory: &Path, manifest: Option<&Manifest>) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    let work = PathBuf::from(WORK_FOLDER);
    if directory.join(&work).is_dir() {
        found.push(Leftover {
            size_bytes: size_of(&directory.join(&work))?,
            path: work,
            kind: LeftoverKind::Partial,
        });
    }
    if let Some(manifest) = manifest {
        let files = manifest.models.iter().flat_map(|model| &model.files);
        let listed: HashSet<&Path> = files.map(|file| file.path.as_path()).collect();
        for engine in Engine::ALL {
            let folder = PathBuf::from(engine.as_str());
            if is_folder(&directory.join(&folder))? {
                unlisted(directory, &folder, &listed, &mut found)?;
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Adds what nobody lists in a folder: whole folders where nothing in them is listed.
fn unlisted(
    directory: &Path,
    folder: &Path,
    listed: &HashSet<&Path>,
    found: &mut Vec<Leftover>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory.join(folder))? {
        let name = entry?.file_name();
        // Hidden files are nobody's model, and nobody's leftover.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = folder.join(name);
        let is_folder = is_folder(&directory.join(&path))?;
        if is_folder && listed.iter().any(|listed| listed.starts_with(&path)) {
            unlisted(directory, &path, listed, found)?;
        } else if !listed.contains(path.as_path()) {
            found.push(Leftover {
                size_bytes: size_of(&directory.join(&path))?,
                path,
                kind: LeftoverKind::Unlisted,
            });
        }
    }
    Ok(())
}

/// Removes one. Links are removed, what they lead to is not.
///
/// # Errors
/// It cannot be removed.
pub fn remove(directory: &Path, leftover: &Leftover) -> io::Result<()> {
    let path = directory.join(&leftover.path);
    if is_folder(&path)? {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// True for a folder; a link to one is a file.
fn is_folder(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(facts) => Ok(facts.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn size_of(path: &Path) -> io::Result<u64> {
    if !is_folder(path)? {
        return Ok(fs::symlink_metadata(path)?.len());
    }
    let mut size = 0_u64;
    for entry in fs::read_dir(path)? {
        size = size.saturating_add(size_of(&entry?.path())?);
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "abc").unwrap();
        }
        directory
    }

    fn manifest(paths: &[&str]) -> Manifest {
        let files: Vec<String> = paths
            .iter()
            .map(|path| {
                format!("[[model.file]]\npath = \"{path}\"\nsha256 = \"\"\nsize_bytes = 3\n")
            })
            .collect();
        let model = "[[model]]\nid = \"a\"\nengine = \"whisper\"\nlicence = \"MIT\"\n";
        toml::from_str(&format!("{model}{}", files.concat())).unwrap()
    }

    fn paths(found: &[Leftover]) -> Vec<&str> {
        found
            .iter()
            .map(|leftover| leftover.path.to_str().unwrap())
            .collect()
    }

    #[test]
    fn what_is_not_listed_can_go_and_nothing_else() {
        let folder = directory(&[
            "whisper/a.bin",
            "whisper/b.bin",
            "whisper/.hidden",
            "marian/fr-en/onnx/decoder.onnx",
            "marian/fr-en/onnx/old.onnx",
            "marian/en-fr/onnx/decoder.onnx",
            "readme.txt",
            "elsewhere/c.bin",
            ".pull/x.partial",
        ]);
        let link = folder.path().join("whisper/link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        let manifest = manifest(&["whisper/a.bin", "marian/fr-en/onnx/decoder.onnx"]);
        let found = leftovers(folder.path(), Some(&manifest)).unwrap();
        assert_eq!(
            paths(&found),
            [
                ".pull",
                "marian/en-fr",
                "marian/fr-en/onnx/old.onnx",
                "whisper/b.bin",
                "whisper/link"
            ]
        );
        assert_eq!(found[1].size_bytes, 3);
        for leftover in &found {
            remove(folder.path(), leftover).unwrap();
        }
        assert_eq!(leftovers(folder.path(), Some(&manifest)).unwrap(), []);
        for kept in [
            "whisper/a.bin",
            "whisper/.hidden",
            "readme.txt",
            "elsewhere/c.bin",
        ] {
            assert!(folder.path().join(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn without_a_manifest_only_partial_downloads_can_go() {
        let folder = directory(&["whisper/a.bin", ".pull/x.partial"]);
        let found = leftovers(folder.path(), None).unwrap();
        assert_eq!(paths(&found), [".pull"]);
        assert_eq!(found[0].kind, LeftoverKind::Partial);
    }
}
