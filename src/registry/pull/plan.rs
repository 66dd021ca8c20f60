//! What a pull would fetch: asked of the hub before anything is fetched.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content::{Digest, Hasher, read_through};
use super::error::{HubError, PullError};
use super::hub::HubFile;
use super::retry::{Stop, ask};
use super::{Event, Puller, in_parallel};
use crate::registry::catalogue::{CatalogueFile, CatalogueModel, Publisher, is_commit, is_hex};
use crate::registry::{Evidence, MANIFEST_FILE, Manifest, ModelFile};

/// Repositories that are asked about at a time.
const PARALLEL: usize = 4;

/// What would be done.
pub struct Plan {
    /// Models that can be had, those that are here already included.
    pub models: Vec<PlannedModel>,
    /// Models that nobody publishes in a form that can be pulled.
    pub unpublished: Vec<CatalogueModel>,
    /// Models that the hub does not give, and why.
    pub failed: Vec<(String, PullError)>,
}

/// A commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The hub's address.
    pub endpoint: String,
    /// `owner/name`.
    pub repository: String,
    /// The commit.
    pub commit: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.endpoint, self.repository, self.commit)
    }
}

/// A model that can be had.
pub struct PlannedModel {
    /// What the catalogue says about it.
    pub entry: CatalogueModel,
    /// Where it comes from.
    pub origin: Origin,
    /// The licence on its page at the hub, where that is known.
    pub licence_on_page: Option<String>,
    /// Its files.
    pub files: Vec<PlannedFile>,
}

/// A file of such a model.
pub struct PlannedFile {
    /// Path below the model directory.
    pub path: PathBuf,
    /// Length.
    pub size_bytes: u64,
    /// Who told what it holds.
    pub evidence: Evidence,
    pub(super) remote: String,
    pub(super) digest: Digest,
    /// Its SHA-256, if it is here already.
    pub(super) here: Option<String>,
}

impl Plan {
    /// Bytes of files that are not here. A hub may announce any lengths.
    pub fn missing_bytes(&self) -> u64 {
        let models = self.models.iter().map(PlannedModel::missing_bytes);
        models.fold(0, u64::saturating_add)
    }
}

impl PlannedModel {
    /// Bytes of its files that are not here.
    pub fn missing_bytes(&self) -> u64 {
        let missing = self.files.iter().filter(|file| file.here.is_none());
        missing.fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }
}

/// Models that somebody has exported and put into a repository.
struct Exported {
    origin: Origin,
    files: HashMap<PathBuf, ModelFile>,
}

/// Where a model's files are to be had.
enum Place<'a> {
    Repository {
        repository: &'a str,
        revision: &'a str,
    },
    Exported(&'a Exported),
}

/// What is to be had there. Optional files that are not have `None`.
struct Offer {
    origin: Origin,
    licence: Option<String>,
    files: Vec<Option<Expected>>,
}

/// What a file shall hold, and who says so.
struct Expected {
    size_bytes: u64,
    digest: Digest,
    evidence: Evidence,
}

impl Puller<'_> {
    /// Finds out what there is to fetch; reads the files that are here already.
    ///
    /// # Errors
    /// The hub cannot be asked at all. What concerns one model is part of the plan.
    pub fn plan(&self, models: &[&CatalogueModel]) -> Result<Plan, PullError> {
        let stop = Stop::new(self.cancelled);
        let is_export =
            |model: &&CatalogueModel| matches!(model.publisher, Publisher::Export { .. });
        let exported = match self.exported_repository {
            Some(repository) if models.iter().any(is_export) => {
                Some(self.exported(repository, &stop)?)
            }
            _ => None,
        };
        let mut plan = Plan {
            models: Vec::new(),
            unpublished: Vec::new(),
            failed: Vec::new(),
        };
        let mut offered = Vec::new();
        for model in models {
            match (&model.publisher, &exported) {
                (
                    Publisher::Repository {
                        repository,
                        revision,
                    },
                    _,
                ) => offered.push((
                    *model,
                    Place::Repository {
                        repository,
                        revision,
                    },
                )),
                (Publisher::Export { .. }, Some(exported)) => {
                    offered.push((*model, Place::Exported(exported)));
                }
                (Publisher::Export { .. }, None) => plan.unpublished.push((*model).clone()),
            }
        }
        let planned = in_parallel(&offered, PARALLEL, |(model, place)| {
            self.planned(model, place, &stop)
        });
        for ((model, _), planned) in offered.iter().zip(planned) {
            match planned {
                Ok(planned) => plan.models.push(planned),
                Err(error) if error.ends_all() => return Err(error),
                Err(error) => plan.failed.push((model.id.clone(), error)),
            }
        }
        Ok(plan)
    }

    fn planned(
        &self,
        model: &CatalogueModel,
        place: &Place<'_>,
        stop: &Stop<'_>,
    ) -> Result<PlannedModel, PullError> {
        let offer = match place {
            Place::Repository {
                repository,
                revision,
            } => self.offer(model, repository, revision, stop)?,
            Place::Exported(exported) => exported.offer(model)?,
        };
        let mut files = Vec::new();
        for (file, expected) in model.files.iter().zip(offer.files) {
            let Some(expected) = expected else { continue };
            stop.check()?;
            let path = model.folder.join(file.name());
            files.push(PlannedFile {
                here: self.found(&path, &expected)?,
                remote: match place {
                    Place::Repository { .. } => file.path.clone(),
                    // An exported model lies in the repository as it does here.
                    Place::Exported(_) => path.to_string_lossy().into_owned(),
                },
                path,
                size_bytes: expected.size_bytes,
                digest: expected.digest,
                evidence: expected.evidence,
            });
        }
        Ok(PlannedModel {
            entry: model.clone(),
            origin: offer.origin,
            licence_on_page: offer.licence,
            files,
        })
    }

    /// What a repository of the hub has of a model.
    fn offer(
        &self,
        model: &CatalogueModel,
        repository: &str,
        revision: &str,
        stop: &Stop<'_>,
    ) -> Result<Offer, PullError> {
        let told = |error: &HubError, wait| self.told(&model.id, error, wait);
        let (commit, licence) = if is_commit(revision) {
            (revision.to_owned(), None)
        } else {
            let found = ask(stop, told, || self.hub.revision(repository, revision))?;
            (found.commit, found.licence)
        };
        // A commit cannot change: where every digest is known there is nothing to ask.
        let listed = if model.files.iter().all(|file| file.pinned().is_some()) {
            None
        } else {
            Some(ask(stop, told, || self.hub.files(repository, &commit))?)
        };
        let expected = |file: &CatalogueFile| expected(file, repository, listed.as_ref());
        Ok(Offer {
            origin: Origin {
                endpoint: self.hub.endpoint().to_owned(),
                repository: repository.to_owned(),
                commit,
            },
            licence,
            files: model.files.iter().map(expected).collect::<Result<_, _>>()?,
        })
    }

    /// The manifest of a repository of exported models, `owner/name` or `owner/name@revision`.
    fn exported(&self, name: &str, stop: &Stop<'_>) -> Result<Exported, PullError> {
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let told = |error: &HubError, wait| self.told(repository, error, wait);
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            ask(stop, told, || self.hub.revision(repository, revision))?.commit
        };
        let text = ask(stop, told, || {
            self.hub.text(repository, &commit, MANIFEST_FILE)
        })?;
        let path = PathBuf::from(repository).join(MANIFEST_FILE);
        let manifest = Manifest::parse(&text, &path)?;
        let files: Vec<ModelFile> = manifest
            .models
            .into_iter()
            .flat_map(|model| model.files)
            .collect();
        // Partial files are named by them.
        if !files.iter().all(|file| is_hex(&file.sha256, 64)) {
            return Err(HubError::Unusable {
                host: repository.to_owned(),
                problem: "its manifest has a sha256 that is none",
            }
            .into());
        }
        Ok(Exported {
            origin: Origin {
                endpoint: self.hub.endpoint().to_owned(),
                repository: repository.to_owned(),
                commit,
            },
            files: files
                .into_iter()
                .map(|file| (file.path.clone(), file))
                .collect(),
        })
    }

    fn told(&self, what: &str, error: &HubError, wait: Duration) {
        (self.report)(Event::Retrying { what, error, wait });
    }

    /// The SHA-256 of a file that is here and holds what it shall.
    fn found(&self, path: &Path, expected: &Expected) -> Result<Option<String>, PullError> {
        let path = self.directory.join(path);
        let is_candidate = fs::metadata(&path)
            .is_ok_and(|facts| facts.is_file() && facts.len() == expected.size_bytes);
        if !is_candidate {
            return Ok(None);
        }
        (self.report)(Event::Checking { path: &path });
        let mut hasher = Hasher::new(&expected.digest, expected.size_bytes);
        let file = File::open(&path).map_err(PullError::io(&path))?;
        read_through(file, |bytes| {
            hasher.update(bytes);
            Ok(())
        })
        .map_err(PullError::io(&path))?;
        Ok(hasher.finish(&expected.digest))
    }
}

/// What a file of a published model shall hold: as the catalogue says, else as the hub does.
fn expected(
    file: &CatalogueFile,
    repository: &str,
    listed: Option<&HashMap<String, HubFile>>,
) -> Result<Option<Expected>, PullError> {
    let on_hub = listed.and_then(|files| files.get(&file.path));
    if let Some((sha256, size_bytes)) = file.pinned() {
        let digest = Digest::Sha256(sha256.to_owned());
        let is_other = on_hub.is_some_and(|on_hub| {
            let has_sha256 = matches!(on_hub.digest, Digest::Sha256(_));
            on_hub.size_bytes != size_bytes || has_sha256 && on_hub.digest != digest
        });
        if is_other {
            return Err(PullError::OtherContent(file.path.clone()));
        }
        return Ok(Some(Expected {
            size_bytes,
            digest,
            evidence: Evidence::Catalogue,
        }));
    }
    match on_hub {
        Some(on_hub) => Ok(Some(Expected {
            size_bytes: on_hub.size_bytes,
            digest: on_hub.digest.clone(),
            evidence: match on_hub.digest {
                Digest::Sha256(_) => Evidence::HubSha256,
                Digest::GitSha1(_) => Evidence::HubGitSha1,
            },
        })),
        None if file.optional => Ok(None),
        None => Err(HubError::NotThere {
            repository: repository.to_owned(),
            what: file.path.clone(),
        }
        .into()),
    }
}

impl Exported {
    /// What the repository has of a model.
    fn offer(&self, model: &CatalogueModel) -> Result<Offer, PullError> {
        let expected = |file: &CatalogueFile| {
            let path = model.folder.join(file.name());
            match self.files.get(&path) {
                Some(listed) => Ok(Some(Expected {
                    size_bytes: listed.size_bytes,
                    digest: Digest::Sha256(listed.sha256.clone()),
                    evidence: Evidence::PublishedManifest,
                })),
                None if file.optional => Ok(None),
                None => Err(PullError::NotExported {
                    repository: self.origin.repository.clone(),
                    path,
                    engine: model.engine,
                }),
            }
        };
        Ok(Offer {
            origin: self.origin.clone(),
            licence: None,
            files: model.files.iter().map(expected).collect::<Result<_, _>>()?,
        })
    }
}
