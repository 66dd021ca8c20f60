//! The models on disk: which there are, whether they are intact, and where each engine finds its own.
//!
//! A model directory holds `manifest.toml` beside the files. A file that is not in the manifest, or
//! differs from it, is not used.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`catalogue`] | which models can be pulled |
//! | [`pull`] | fetch them, check them, install them |
//! | [`prune`] | what no longer belongs to a model |

pub mod catalogue;
mod manifest;
pub mod prune;
pub mod pull;

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::digest::{hex, sha256_hex};

/// Name of the manifest in a model directory.
pub const MANIFEST_FILE: &str = "manifest.toml";

/// Why models cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no model directory, or no manifest in it.
    #[error(
        "no models at {path}; `translator models pull small` fetches some, `translator models lock` registers a folder of your own, MODELS_PATH names another one"
    )]
    Missing {
        /// Where the manifest was looked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is not readable.
    #[error("{path} is not a valid manifest")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: toml::de::Error,
    },
    /// The manifest cannot be written.
    #[error("{path} could not be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A path in the manifest leaves the model directory.
    #[error("manifest: {path} lies outside the model directory")]
    Outside {
        /// The offending path.
        path: PathBuf,
    },
    /// No model of this kind is installed.
    #[error(
        "no {0} model is installed; `translator models list --available` shows which can be pulled"
    )]
    NotInstalled(Engine),
    /// The model's licence has to be accepted first.
    #[error(
        "{id} is licensed under {licence}; add \"{licence}\" to accept_licenses under [models] after reading it"
    )]
    Licence {
        /// The model.
        id: String,
        /// Its licence.
        licence: String,
    },
    /// A file is missing, cut or altered.
    #[error("{path}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a model file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot be read ({0})")]
    Unreadable(std::io::ErrorKind),
    /// It is longer or shorter than the manifest says.
    #[error("has {actual} bytes, the manifest says {expected}")]
    Size {
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes found.
        actual: u64,
    },
    /// Its content is not the manifest's.
    #[error("has another SHA-256 than the manifest says")]
    Hash,
    /// An engine may take it for a part of a model, and nothing says what it should hold.
    #[error(
        "is not in the manifest; an interrupted `translator models pull` goes on when it is run again, `models prune` removes what is not listed, `models lock` lists it"
    )]
    Unlisted,
}

/// The kinds of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Speech to text.
    Whisper,
    /// Text to text.
    Marian,
    /// Recording to speaker embedding.
    Openvoice,
    /// Text to speech.
    Xtts,
    /// Text to speech without cloning, one language each.
    Piper,
    /// Speech or silence.
    Vad,
}

impl Engine {
    /// All kinds, in the order of a job.
    pub const ALL: [Self; 6] = [
        Self::Vad,
        Self::Whisper,
        Self::Marian,
        Self::Openvoice,
        Self::Xtts,
        Self::Piper,
    ];

    /// The kind's name in manifests, and of its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whisper => "whisper",
            Self::Marian => "marian",
            Self::Openvoice => "openvoice",
            Self::Xtts => "xtts",
            Self::Piper => "piper",
            Self::Vad => "vad",
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Path below the model directory.
    pub path: PathBuf,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Length.
    pub size_bytes: u64,
    /// What it was compared with when it was pulled; absent for files that came another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Evidence>,
}

/// What told, before a file was pulled, what it would hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The SHA-256 in the catalogue.
    Catalogue,
    /// The SHA-256 in the manifest that its publisher made of the exported model.
    PublishedManifest,
    /// The SHA-256 that the hub told at the first use.
    HubSha256,
    /// The SHA-1 of the file as a git object that the hub told at the first use.
    HubGitSha1,
}

/// One model: the files of one graph set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name, unique in the manifest.
    pub id: String,
    /// The engine that runs it.
    pub engine: Engine,
    /// Licence of the weights, as an SPDX name where there is one.
    pub licence: String,
    /// True when the licence limits use, so that it must be accepted by name.
    #[serde(default)]
    pub requires_acceptance: bool,
    /// Language translated from, for translation models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Languages translated to, for translation models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Where it was pulled from, `<hub>/<owner>/<name>@<commit>`; absent for models that came another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Its files.
    #[serde(default, rename = "file")]
    pub files: Vec<ModelFile>,
}

impl Model {
    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Tells the model from any other: SHA-256 over the hashes of its files.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.files)
    }
}

/// What a model directory says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// True for the bundled tiny models, whose output is noise.
    #[serde(default)]
    pub fixture: bool,
    /// A remark for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The models.
    #[serde(default, rename = "model")]
    pub models: Vec<Model>,
}

/// A model directory with its manifest.
#[derive(Debug, Clone)]
pub struct Registry {
    directory: PathBuf,
    manifest: Manifest,
    accepted_licences: Vec<String>,
}

impl Registry {
    /// Reads the manifest; looks at no other file.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(directory: &Path, accepted_licences: &[String]) -> Result<Self, RegistryError> {
        let manifest = Manifest::read(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            accepted_licences: accepted_licences.to_vec(),
        })
    }

    /// The model directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the directory says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Models of one engine.
    pub fn models(&self, engine: Engine) -> impl Iterator<Item = &Model> {
        self.manifest
            .models
            .iter()
            .filter(move |model| model.engine == engine)
    }

    /// True unless the model's licence has to be accepted first.
    pub fn may_use(&self, model: &Model) -> bool {
        !model.requires_acceptance || self.accepted_licences.contains(&model.licence)
    }

    /// The folder of an engine, after checking that its models are intact and may be used, and that
    /// nothing else is in it: engines look for what they need by its name.
    ///
    /// Reads every byte of files that `checked` does not know yet.
    ///
    /// # Errors
    /// Nothing is installed, a file differs from the manifest or is not in it, or a licence is not
    /// accepted.
    pub fn verified_folder(
        &self,
        engine: Engine,
        checked: &CheckedFiles,
    ) -> Result<PathBuf, RegistryError> {
        let mut models = self.models(engine).peekable();
        if models.peek().is_none() {
            return Err(RegistryError::NotInstalled(engine));
        }
        for model in models {
            if !self.may_use(model) {
                return Err(RegistryError::Licence {
                    id: model.id.clone(),
                    licence: model.licence.clone(),
                });
            }
            for file in &model.files {
                let path = self.directory.join(&file.path);
                checked
                    .check(&path, file)
                    .map_err(|problem| RegistryError::Damaged { path, problem })?;
            }
        }
        let folder = self.directory.join(engine.to_string());
        self.check_unlisted(engine, &folder)?;
        Ok(folder)
    }

    fn check_unlisted(&self, engine: Engine, folder: &Path) -> Result<(), RegistryError> {
        let listed: HashSet<PathBuf> = self
            .models(engine)
            .flat_map(|model| &model.files)
            .map(|file| self.directory.join(&file.path))
            .collect();
        let damaged = |path: &Path, problem| RegistryError::Damaged {
            path: path.to_owned(),
            problem,
        };
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let unreadable =
                |error: std::io::Error| damaged(&folder, Problem::Unreadable(error.kind()));
            for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let path = entry.path();
                // Hidden files are nobody's model.
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                // A link to a folder counts as a file: it might lead anywhere, and round in circles.
                if entry.file_type().map_err(unreadable)?.is_dir() {
                    folders.push(path);
                } else if !listed.contains(&path) {
                    return Err(damaged(&path, Problem::Unlisted));
                }
            }
        }
        Ok(())
    }

    /// Tells the models of an engine from any others: SHA-256 over the manifest's hashes of their files.
    pub fn fingerprint(&self, engine: Engine) -> String {
        fingerprint(self.models(engine).flat_map(|model| &model.files))
    }

    /// The graphs of Piper voices, in the order of the manifest; checks none of them.
    pub fn piper_graphs(&self) -> Vec<PathBuf> {
        self.models(Engine::Piper)
            .flat_map(|model| &model.files)
            .filter(|file| file.path.extension().is_some_and(|e| e == "onnx"))
            .map(|file| self.directory.join(&file.path))
            .collect()
    }

    /// True when the manifest lists a file of this name among an engine's.
    pub fn lists(&self, engine: Engine, name: &str) -> bool {
        self.models(engine)
            .flat_map(|model| &model.files)
            .any(|file| file.path.file_name().is_some_and(|found| found == name))
    }

    /// The voice activity detector's graph; `None` where none is installed, which is no error.
    ///
    /// # Errors
    /// As [`verified_folder`](Self::verified_folder), but for a model that is not there.
    pub fn vad_file(&self, checked: &CheckedFiles) -> Result<Option<PathBuf>, RegistryError> {
        let is_graph = |file: &&ModelFile| file.path.extension().is_some_and(|e| e == "onnx");
        let mut files = self.models(Engine::Vad).flat_map(|model| &model.files);
        let Some(file) = files.find(is_graph) else {
            return Ok(None);
        };
        self.verified_folder(Engine::Vad, checked)?;
        Ok(Some(self.directory.join(&file.path)))
    }

    /// The Whisper file that fits `hint` (`base`, `large-v3`, …) best: the one whose name contains
    /// it, else the largest.
    ///
    /// # Errors
    /// As [`verified_folder`](Self::verified_folder).
    pub fn whisper_file(
        &self,
        hint: &str,
        checked: &CheckedFiles,
    ) -> Result<PathBuf, RegistryError> {
        self.verified_folder(Engine::Whisper, checked)?;
        let fits = |file: &&ModelFile| {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            !hint.is_empty() && name.contains(hint)
        };
        let files: Vec<&ModelFile> = self
            .models(Engine::Whisper)
            .flat_map(|model| &model.files)
            .collect();
        files
            .iter()
            .copied()
            .filter(fits)
            // `small` means `ggml-small.bin` rather than `ggml-small.en.bin`.
            .min_by_key(|file| file.path.as_os_str().len())
            .or_else(|| files.iter().copied().max_by_key(|file| file.size_bytes))
            .map(|file| self.directory.join(&file.path))
            .ok_or(RegistryError::NotInstalled(Engine::Whisper))
    }
}

fn fingerprint<'a>(files: impl IntoIterator<Item = &'a ModelFile>) -> String {
    let mut hashes: Vec<&str> = files.into_iter().map(|file| file.sha256.as_str()).collect();
    hashes.sort_unstable();
    sha256_hex(hashes.join("\n").as_bytes())
}

/// Tells whether a path can only lead to something below the folder that it is joined to.
fn is_below(path: &Path) -> bool {
    let is_name = |part| matches!(part, std::path::Component::Normal(_));
    path.components().next().is_some() && path.components().all(is_name)
}

/// Remembers which files were found intact, so that a large file is read once, not at every start.
///
/// A file is known by path, length and time of its last change.
#[derive(Debug, Default)]
pub struct CheckedFiles {
    cache: Option<PathBuf>,
    known: std::sync::Mutex<HashMap<PathBuf, CheckedFile>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CheckedFile {
    size_bytes: u64,
    modified: SystemTime,
    sha256: String,
}

impl CheckedFiles {
    /// Keeps what it learns in `cache`, a file in the data directory.
    pub fn with_cache(cache: PathBuf) -> Self {
        let known = std::fs::read(&cache)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            cache: Some(cache),
            known: std::sync::Mutex::new(known),
        }
    }

    /// Checks one file against its manifest entry.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, path: &Path, expected: &ModelFile) -> Result<(), Problem> {
        let unreadable = |e: std::io::Error| Problem::Unreadable(e.kind());
        let facts = std::fs::metadata(path).map_err(unreadable)?;
        let found = CheckedFile {
            size_bytes: facts.len(),
            modified: facts.modified().map_err(unreadable)?,
            sha256: expected.sha256.clone(),
        };
        let is_known = facts.len() == expected.size_bytes && self.lock().get(path) == Some(&found);
        if is_known {
            return Ok(());
        }
        verify(path, expected, |_| {})?;
        self.lock().insert(path.to_owned(), found);
        self.keep();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, CheckedFile>> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Losing the cache costs time only, so a failure is worth no more than a line in the log.
    fn keep(&self) {
        let Some(cache) = &self.cache else { return };
        let written = serde_json::to_vec(&*self.lock())
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(cache, bytes));
        if let Err(error) = written {
            tracing::debug!(%error, "checked model files could not be remembered");
        }
    }
}

/// Checks one file against its manifest entry by reading all of it; `progress` is told of bytes read.
///
/// # Errors
/// What is wrong with it.
pub fn verify(path: &Path, expected: &ModelFile, progress: impl FnMut(u64)) -> Result<(), Problem> {
    let unreadable = |e: std::io::Error| Problem::Unreadable(e.kind());
    let actual = std::fs::metadata(path).map_err(unreadable)?.len();
    if actual != expected.size_bytes {
        return Err(Problem::Size {
            expected: expected.size_bytes,
            actual,
        });
    }
    if sha256_of(path, progress).map_err(unreadable)? != expected.sha256 {
        return Err(Problem::Hash);
    }
    Ok(())
}

/// SHA-256 of a file in lower-case hexadecimal; `progress` is told of bytes read.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_of(path: &Path, mut progress: impl FnMut(u64)) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                progress(read as u64);
            }
        }
    }
    Ok(hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests;
