//! Manifests as files.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::{MANIFEST_FILE, Manifest, Model, RegistryError, is_below};

impl Manifest {
    /// Reads the manifest of a model directory; looks at no other file.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or names files elsewhere.
    pub fn read(directory: &Path) -> Result<Self, RegistryError> {
        let path = directory.join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).map_err(|source| RegistryError::Missing {
            path: path.clone(),
            source,
        })?;
        Self::parse(&text, &path)
    }

    /// Reads a manifest that came from `path`.
    ///
    /// # Errors
    /// It cannot be read, or names files elsewhere.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, RegistryError> {
        let manifest: Self = toml::from_str(text).map_err(|source| RegistryError::Manifest {
            path: path.to_owned(),
            source,
        })?;
        let mut files = manifest.models.iter().flat_map(|model| &model.files);
        match files.find(|file| !is_below(&file.path)) {
            Some(file) => Err(RegistryError::Outside {
                path: file.path.clone(),
            }),
            None => Ok(manifest),
        }
    }

    /// Writes the manifest of a model directory in place of the one that is there. Whoever reads
    /// meanwhile sees the old one or the new one, also after a crash.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), RegistryError> {
        let path = directory.join(MANIFEST_FILE);
        let write = || {
            let text = toml::to_string(self).map_err(std::io::Error::other)?;
            let mut file = NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            // The temporary file is private; others have to read the manifest.
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| RegistryError::Write {
            path: path.clone(),
            source,
        })
    }

    /// Puts a model in place of the one with its id. Files that other models list at the same paths are
    /// its own from now on; a model that has none left is no longer there.
    pub fn put(&mut self, model: Model) {
        let taken = |path: &Path| model.files.iter().any(|file| file.path == path);
        for other in &mut self.models {
            other.files.retain(|file| !taken(&file.path));
        }
        self.models
            .retain(|other| other.id != model.id && !other.files.is_empty());
        self.models.push(model);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Engine, Evidence, ModelFile};

    fn model(id: &str, paths: &[&str]) -> Model {
        let file = |path: &&str| ModelFile {
            path: path.into(),
            sha256: "00".repeat(32),
            size_bytes: 1,
            verified: Some(Evidence::HubSha256),
        };
        Model {
            id: id.to_owned(),
            engine: Engine::Xtts,
            licence: "cpml".to_owned(),
            requires_acceptance: true,
            source: None,
            targets: Vec::new(),
            origin: Some("https://hub/a/b@0123".to_owned()),
            files: paths.iter().map(file).collect(),
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let written = Manifest {
            fixture: false,
            note: Some("a note".to_owned()),
            models: vec![model("a", &["xtts/a"]), model("b", &["xtts/b"])],
        };
        written.write(directory.path()).unwrap();
        let read = Manifest::read(directory.path()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let path = directory.path().join(MANIFEST_FILE);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert!(written.write(Path::new("no-such-folder")).is_err());
    }

    #[test]
    fn a_file_belongs_to_the_model_that_was_put_last() {
        let mut manifest = Manifest {
            fixture: false,
            note: None,
            models: vec![
                model("old", &["xtts/shared", "xtts/old"]),
                model("covered", &["xtts/shared"]),
                model("new", &["xtts/gone"]),
            ],
        };
        manifest.put(model("new", &["xtts/shared", "xtts/new"]));
        let listed: Vec<(&str, usize)> = manifest
            .models
            .iter()
            .map(|model| (model.id.as_str(), model.files.len()))
            .collect();
        assert_eq!(listed, [("old", 1), ("new", 2)]);
    }
}
