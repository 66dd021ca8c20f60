//! What can be pulled: models by id, sets of them, and where their files are published.
//!
//! `models/catalogue.toml` is part of the binary; `translator models pull --catalogue` reads another
//! file of the same form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Engine, is_below};

/// The catalogue of this version.
const EMBEDDED: &str = include_str!("../../models/catalogue.toml");

/// Why a catalogue cannot be used, or has not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file cannot be read.
    #[error("{} could not be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML of that form.
    #[error("{name} is not a valid catalogue")]
    Syntax {
        /// The file.
        name: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// An entry contradicts itself or another one.
    #[error("{name}: {problem}")]
    Invalid {
        /// The file.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Neither a model nor a set has that name.
    #[error(
        "the catalogue has no model or set {name:?}; its sets are {sets}, and `translator models list --available` shows its models"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The sets, with commas.
        sets: String,
    },
}

/// Models under one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSet {
    /// Its name.
    pub id: String,
    /// What it is for.
    pub about: String,
    /// Ids of models, or of sets.
    pub members: Vec<String>,
}

/// A model that can be pulled.
#[derive(Debug, Clone)]
pub struct CatalogueModel {
    /// Name, unique in the catalogue, and in the manifest once it is installed.
    pub id: String,
    /// The engine that runs it.
    pub engine: Engine,
    /// Who publishes its files.
    pub publisher: Publisher,
    /// Folder that they belong into, below the model directory.
    pub folder: PathBuf,
    /// Its files.
    pub files: Vec<CatalogueFile>,
    /// Licence of the weights, as an SPDX name where there is one.
    pub licence: String,
    /// Where the licence can be read.
    pub licence_url: String,
    /// True when the licence limits use, so that it must be accepted by name.
    pub requires_acceptance: bool,
    /// Language translated from, for translation models.
    pub source: Option<String>,
    /// Languages translated to, for translation models.
    pub targets: Vec<String>,
    /// Languages of another model, where it does not know them all.
    pub languages: Vec<String>,
    /// What its `metadata.json` has to say because nothing that is published does.
    pub metadata: Option<GroupMetadata>,
    /// About how much is downloaded, in units of 10^6 bytes.
    pub download_mb: u64,
    /// About how much memory it takes while it works, in units of 10^6 bytes.
    pub memory_mb: u64,
}

/// Where a model's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publisher {
    /// A repository of the hub holds them as they are.
    Repository {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Nobody is known to publish them in this form: they are exported from a checkpoint, and may then
    /// be kept in a repository of one's own.
    Export {
        /// Repository of the checkpoint.
        checkpoint: String,
        /// Command line that exports it.
        command: String,
    },
}

/// A file of a model in the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueFile {
    /// Path in the repository; of an exported model, below its folder.
    pub path: String,
    /// Path below the model's folder, where it is another one.
    name: Option<String>,
    /// True when a model without it is complete.
    #[serde(default)]
    pub optional: bool,
    /// In lower-case hexadecimal; there with the length, or not at all.
    sha256: Option<String>,
    size_bytes: Option<u64>,
}

impl CatalogueFile {
    /// Path below the model's folder.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.path)
    }

    /// The file beside an exported graph that holds its weights, where they are many.
    fn weights(&self) -> Option<Self> {
        let is_graph = |path: &&str| path.ends_with(".onnx");
        let path = Some(self.path.as_str()).filter(is_graph)?;
        Some(Self {
            path: format!("{path}.data"),
            name: self.name.as_ref().map(|name| format!("{name}.data")),
            optional: true,
            sha256: None,
            size_bytes: None,
        })
    }

    /// SHA-256 and length, where they are known beforehand.
    pub fn pinned(&self) -> Option<(&str, u64)> {
        self.sha256.as_deref().zip(self.size_bytes)
    }
}

/// Languages of a model that its name does not tell.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMetadata {
    /// Languages that a model for several translates from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_languages: Vec<String>,
    /// Tokens that ask a model for several languages for one of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target_tokens: BTreeMap<String, String>,
}

/// Models and sets of them.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The sets, in the order of the file.
    pub sets: Vec<ModelSet>,
    /// The models, in the order of the file.
    pub models: Vec<CatalogueModel>,
}

impl Catalogue {
    /// The one in the file, or this version's own.
    ///
    /// # Errors
    /// The file cannot be read, or is no valid catalogue.
    pub fn load(file: Option<&Path>) -> Result<Self, CatalogueError> {
        let Some(path) = file else {
            return Self::parse(EMBEDDED, "models/catalogue.toml");
        };
        let text = std::fs::read_to_string(path).map_err(|source| CatalogueError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, name: &str) -> Result<Self, CatalogueError> {
        let written: Written = toml::from_str(text).map_err(|source| CatalogueError::Syntax {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        written
            .checked()
            .map_err(|problem| CatalogueError::Invalid {
                name: name.to_owned(),
                problem,
            })
    }

    /// A model by its id.
    pub fn model(&self, id: &str) -> Option<&CatalogueModel> {
        self.models.iter().find(|model| model.id == id)
    }

    /// The models that the names of models and sets stand for, each once, in the order of the
    /// catalogue.
    ///
    /// # Errors
    /// A name stands for nothing.
    pub fn select(&self, names: &[String]) -> Result<Vec<&CatalogueModel>, CatalogueError> {
        let mut ids = BTreeSet::new();
        for name in names {
            self.expand(name, &mut ids)?;
        }
        let is_chosen = |model: &&CatalogueModel| ids.contains(model.id.as_str());
        Ok(self.models.iter().filter(is_chosen).collect())
    }

    fn expand<'a>(&'a self, name: &str, ids: &mut BTreeSet<&'a str>) -> Result<(), CatalogueError> {
        if let Some(model) = self.model(name) {
            ids.insert(&model.id);
            return Ok(());
        }
        let Some(set) = self.sets.iter().find(|set| set.id == name) else {
            let sets: Vec<&str> = self.sets.iter().map(|set| set.id.as_str()).collect();
            return Err(CatalogueError::Unknown {
                name: name.to_owned(),
                sets: sets.join(", "),
            });
        };
        // A set that was met already adds nothing, and may lead back here.
        if ids.insert(&set.id) {
            for member in &set.members {
                self.expand(member, ids)?;
            }
        }
        Ok(())
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Lists of files that many models have.
    #[serde(default)]
    layouts: BTreeMap<String, Vec<CatalogueFile>>,
    #[serde(default, rename = "set")]
    sets: Vec<ModelSet>,
    #[serde(default, rename = "model")]
    models: Vec<WrittenModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenModel {
    id: String,
    engine: Engine,
    repository: Option<String>,
    revision: Option<String>,
    checkpoint: Option<String>,
    export: Option<String>,
    folder: PathBuf,
    layout: Option<String>,
    #[serde(default)]
    files: Vec<CatalogueFile>,
    licence: String,
    licence_url: String,
    #[serde(default)]
    requires_acceptance: bool,
    source: Option<String>,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    languages: Vec<String>,
    metadata: Option<GroupMetadata>,
    download_mb: u64,
    memory_mb: u64,
}

impl Written {
    /// # Errors
    /// What is wrong.
    fn checked(self) -> Result<Catalogue, String> {
        let mut ids = BTreeSet::new();
        let own_ids = self.models.iter().map(|model| &model.id);
        for id in own_ids.chain(self.sets.iter().map(|set| &set.id)) {
            if !is_name(id) {
                return Err(format!(
                    "{id:?} is no id: letters, digits, `-`, `_` and `.`"
                ));
            }
            if !ids.insert(id.as_str()) {
                return Err(format!("{id} is there twice"));
            }
        }
        for set in &self.sets {
            if let Some(unknown) = set.members.iter().find(|id| !ids.contains(id.as_str())) {
                return Err(format!(
                    "the set {} has {unknown:?}, which is not there",
                    set.id
                ));
            }
        }
        let models = self.models.into_iter().map(|model| {
            let id = model.id.clone();
            model
                .checked(&self.layouts)
                .map_err(|problem| format!("{id}: {problem}"))
        });
        Ok(Catalogue {
            models: models.collect::<Result<_, _>>()?,
            sets: self.sets,
        })
    }
}

impl WrittenModel {
    fn checked(
        self,
        layouts: &BTreeMap<String, Vec<CatalogueFile>>,
    ) -> Result<CatalogueModel, String> {
        let publisher = match (self.repository, self.revision, self.checkpoint, self.export) {
            (Some(repository), Some(revision), None, None) => {
                if !is_repository(&repository) || !is_revision(&revision) {
                    return Err("repository is owner/name, revision a branch, tag or commit".into());
                }
                Publisher::Repository {
                    repository,
                    revision,
                }
            }
            (None, None, Some(checkpoint), Some(command)) => Publisher::Export {
                checkpoint,
                command,
            },
            _ => return Err("it has repository and revision, or checkpoint and export".into()),
        };
        let mut files = match self.layout {
            None => self.files,
            Some(layout) => {
                let shared = layouts.get(&layout);
                let shared = shared.ok_or_else(|| format!("there is no layout {layout:?}"))?;
                shared.iter().cloned().chain(self.files).collect()
            }
        };
        if files.iter().all(|file| file.optional) {
            return Err("it needs no file".into());
        }
        if !self.folder.starts_with(self.engine.as_str()) || !is_below(&self.folder) {
            return Err(format!("its folder must be in {}", self.engine));
        }
        for file in &files {
            let are_plain = [file.path.as_str(), file.name()]
                .iter()
                .all(|path| is_below(Path::new(path)) && !path.contains(['\\', '\0']));
            if !are_plain {
                return Err(format!("{:?} lies outside its folder", file.path));
            }
            let is_hash = file.sha256.as_deref().is_none_or(|hash| is_hex(hash, 64));
            if !is_hash || file.sha256.is_some() != file.size_bytes.is_some() {
                return Err(format!(
                    "{}: sha256 has 64 lower-case digits, and size_bytes beside it",
                    file.path
                ));
            }
        }
        if let Publisher::Export { .. } = publisher {
            let beside = files.iter().filter_map(CatalogueFile::weights);
            let is_new = |file: &CatalogueFile| files.iter().all(|known| known.path != file.path);
            let beside: Vec<_> = beside.filter(is_new).collect();
            files.extend(beside);
        }
        Ok(CatalogueModel {
            id: self.id,
            engine: self.engine,
            publisher,
            folder: self.folder,
            files,
            licence: self.licence,
            licence_url: self.licence_url,
            requires_acceptance: self.requires_acceptance,
            source: self.source,
            targets: self.targets,
            languages: self.languages,
            metadata: self.metadata,
            download_mb: self.download_mb,
            memory_mb: self.memory_mb,
        })
    }
}

/// Tells whether a text is so many lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == digits && text.bytes().all(is_digit)
}

/// Tells whether a revision is a commit, which cannot change.
pub(super) fn is_commit(revision: &str) -> bool {
    is_hex(revision, 40)
}

/// Tells whether a text can be a repository, `owner/name`.
fn is_repository(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// Tells whether a text can be a branch, tag or commit.
pub(super) fn is_revision(text: &str) -> bool {
    text.split('/').all(is_name)
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=96).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests;
