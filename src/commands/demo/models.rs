//! Which models the demo runs with.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::commands::CommandError;
use crate::config::Settings;
use crate::domain::Language;
use crate::registry::{Engine, Manifest, RegistryError};
use crate::stages::translate::Routes;

/// The tiny models that come with the project, and the one that translates English into French.
const BUNDLED: [&str; 2] = ["models/fixtures", "models/demo"];

/// The models of a demo.
#[derive(Debug)]
pub(super) struct Models {
    pub(super) directory: PathBuf,
    pub(super) kind: Kind,
    /// Where they come from, for people.
    pub(super) origin: String,
}

/// What can be expected of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whoever installed them knows.
    Real,
    /// Tiny ones for tests: they speak noise and translate word by word.
    Fixtures,
    /// Those, and beside them the model that translates simple English sentences into French.
    Bundled,
}

impl Models {
    /// The models of the settings, or the bundled ones where there are none. `together` becomes the
    /// folder of these.
    ///
    /// # Errors
    /// There are models, and their manifest cannot be used; or the bundled ones cannot be copied.
    pub(super) fn choose(settings: &Settings, together: &Path) -> Result<Self, CommandError> {
        let directory = &settings.models.path;
        match Manifest::read(directory) {
            Ok(manifest) => Ok(Self {
                directory: directory.clone(),
                kind: if manifest.fixture {
                    Kind::Fixtures
                } else {
                    Kind::Real
                },
                origin: directory.display().to_string(),
            }),
            Err(RegistryError::Missing { source, .. }) if source.kind() == ErrorKind::NotFound => {
                put_together(&BUNDLED.map(Path::new), together)?;
                Ok(Self {
                    directory: together.to_owned(),
                    kind: Kind::Bundled,
                    origin: format!(
                        "{}, as there are none in {}",
                        BUNDLED.join(" and "),
                        directory.display()
                    ),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn are_real(&self) -> bool {
        self.kind == Kind::Real
    }

    /// True when one of them translates the one language into the other, or two of them do.
    pub(super) fn translate(&self, source: Language, target: Language) -> bool {
        Routes::scan(&self.directory.join(Engine::Marian.as_str()))
            .is_ok_and(|routes| routes.route(source, target).is_ok())
    }
}

/// Copies the models of several folders into one: a daemon has one, and takes in it what its manifest lists.
fn put_together(folders: &[&Path], together: &Path) -> Result<(), CommandError> {
    let mut all = Manifest {
        fixture: true,
        note: None,
        models: Vec::new(),
    };
    for folder in folders {
        for model in Manifest::read(folder)?.models {
            for file in &model.files {
                copy(&folder.join(&file.path), &together.join(&file.path))?;
            }
            all.put(model);
        }
    }
    Ok(all.write(together)?)
}

fn copy(from: &Path, to: &Path) -> Result<(), CommandError> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|source| CommandError::path(folder, source))?;
    }
    // Not fs::copy, whose errors do not tell which of the two files they are about.
    let mut read = File::open(from).map_err(|source| CommandError::path(from, source))?;
    let mut written = File::create(to).map_err(|source| CommandError::path(to, source))?;
    match std::io::copy(&mut read, &mut written) {
        Ok(_) => Ok(()),
        Err(source) => Err(CommandError::io(
            format!("{} as a copy of {}", to.display(), from.display()),
            source,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::sha256_hex;
    use crate::error::error_chain;
    use crate::registry::{CheckedFiles, MANIFEST_FILE, Model, ModelFile, Registry};

    fn settings(models: &Path) -> Settings {
        let path = models.display().to_string();
        Settings::load(None, [("MODELS_PATH".to_owned(), path)])
            .unwrap()
            .0
    }

    /// A folder of one model, of one file.
    fn folder(fixture: bool, id: &str, path: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, id).unwrap();
        let model = Model {
            id: id.to_owned(),
            engine: Engine::Vad,
            licence: "MIT".to_owned(),
            requires_acceptance: false,
            source: None,
            targets: Vec::new(),
            origin: None,
            files: vec![ModelFile {
                path: path.into(),
                sha256: sha256_hex(id.as_bytes()),
                size_bytes: id.len() as u64,
                verified: None,
            }],
        };
        let manifest = Manifest {
            fixture,
            note: None,
            models: vec![model],
        };
        manifest.write(folder.path()).unwrap();
        folder
    }

    #[test]
    fn folders_become_one_and_what_is_not_listed_stays_behind() {
        let one = folder(true, "one", "vad/one.onnx");
        let two = folder(false, "two", "vad/two.onnx");
        std::fs::write(two.path().join("README.md"), "about it").unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let together = scratch.path().join("models");
        put_together(&[one.path(), two.path()], &together).unwrap();

        let registry = Registry::open(&together, &[]).unwrap();
        assert!(registry.manifest().fixture);
        let ids: Vec<&str> = registry
            .models(Engine::Vad)
            .map(|model| model.id.as_str())
            .collect();
        assert_eq!(ids, ["one", "two"]);
        let checked = CheckedFiles::default();
        registry.verified_folder(Engine::Vad, &checked).unwrap();
        assert!(!together.join("README.md").exists());
    }

    #[test]
    fn a_file_that_cannot_be_copied_is_named() {
        let source = folder(true, "one", "vad/one.onnx");
        let scratch = tempfile::tempdir().unwrap();
        // A folder is where the copy should be.
        let taken = scratch.path().join("vad/one.onnx");
        std::fs::create_dir_all(&taken).unwrap();
        let error = put_together(&[source.path()], scratch.path()).unwrap_err();
        assert!(error_chain(&error).contains(&taken.display().to_string()));

        let missing = source.path().join("vad/one.onnx");
        std::fs::remove_file(&missing).unwrap();
        let other = tempfile::tempdir().unwrap();
        let error = put_together(&[source.path()], other.path()).unwrap_err();
        assert!(error_chain(&error).contains(&missing.display().to_string()));
    }

    #[test]
    fn bundled_models_stand_in_for_none_and_hide_no_damage() {
        let scratch = tempfile::tempdir().unwrap();
        let choose = |models: &Path| {
            let together = scratch.path().join("together");
            Models::choose(&settings(models), &together)
        };
        // Tests run in the project's folder.
        let models = choose(&scratch.path().join("nowhere")).unwrap();
        assert_eq!(models.kind, Kind::Bundled);
        assert!(models.origin.contains("nowhere"), "{}", models.origin);
        assert!(models.translate(Language::ENGLISH, Language::FRENCH));

        let fixtures = choose(Path::new("models/fixtures")).unwrap();
        assert_eq!(fixtures.kind, Kind::Fixtures);
        assert_eq!(fixtures.directory, Path::new("models/fixtures"));

        let real = folder(false, "real", "vad/real.onnx");
        let found = choose(real.path()).unwrap();
        assert!(found.are_real());
        assert!(!found.translate(Language::ENGLISH, Language::FRENCH));

        let manifest = real.path().join(MANIFEST_FILE);
        std::fs::write(&manifest, "fixture = 7").unwrap();
        let error = error_chain(&choose(real.path()).unwrap_err());
        assert!(error.contains("is not a valid manifest"), "{error}");
        let error = error_chain(&choose(&manifest).unwrap_err());
        assert!(error.contains("no models at"), "{error}");
    }
}
