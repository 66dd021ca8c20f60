//! Files to their places, and models into the manifest, which is written last.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::content::Digest;
use super::download::Partials;
use super::error::PullError;
use super::plan::{Plan, PlannedFile, PlannedModel};
use super::{Event, Puller};
use crate::domain::digest::sha256_hex;
use crate::error::error_chain;
use crate::fault;
use crate::registry::{MANIFEST_FILE, Manifest, Model, ModelFile};

/// Folder below the model directory for what is not complete.
pub(in crate::registry) const WORK_FOLDER: &str = ".pull";
const LOCK_FILE: &str = ".lock";
/// Written from the catalogue where a model's languages are not to be seen otherwise.
const METADATA_FILE: &str = "metadata.json";

/// The right to change a model directory. Ends with the value, or with the process.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes it; creates the directory where there is none.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be written.
    pub fn take(directory: &Path) -> Result<Self, PullError> {
        fs::create_dir_all(directory).map_err(PullError::io(directory))?;
        let path = directory.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(PullError::io(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(PullError::Locked(directory.to_owned())),
            Err(error) => Err(PullError::io(&path)(error.into())),
        }
    }
}

/// Installs the models of a plan as they become complete.
pub(super) struct Installer<'a> {
    puller: &'a Puller<'a>,
    partials: &'a Partials<'a>,
    waiting: Vec<&'a PlannedModel>,
    installed: Vec<&'a PlannedModel>,
    /// SHA-256 of what was fetched.
    fetched: HashMap<Digest, String>,
    failed: Vec<(String, String)>,
}

impl<'a> Installer<'a> {
    pub fn new(puller: &'a Puller<'a>, plan: &'a Plan, partials: &'a Partials<'a>) -> Self {
        Self {
            puller,
            partials,
            waiting: plan.models.iter().collect(),
            installed: Vec::new(),
            fetched: HashMap::new(),
            failed: Vec::new(),
        }
    }

    /// A content is here.
    pub fn have(&mut self, digest: &Digest, sha256: String) {
        self.fetched.insert(digest.clone(), sha256);
    }

    /// A content cannot be had, nor any model that needs it.
    pub fn lack(&mut self, digest: &Digest, error: &PullError) {
        let needs = |model: &&PlannedModel| {
            let mut missing = model.files.iter().filter(|file| file.here.is_none());
            missing.any(|file| file.digest == *digest)
        };
        let reason = error_chain(error);
        let lost = self.waiting.extract_if(.., |model| needs(&*model));
        let lost = lost.map(|model| (model.entry.id.clone(), reason.clone()));
        self.failed.extend(lost);
    }

    /// Installs every model that has all its files.
    pub fn install_complete(&mut self) -> Result<(), PullError> {
        let is_complete = |model: &PlannedModel| {
            let mut files = model.files.iter();
            files.all(|file| file.here.is_some() || self.fetched.contains_key(&file.digest))
        };
        let complete: Vec<&PlannedModel> = self
            .waiting
            .extract_if(.., |model| is_complete(model))
            .collect();
        for model in complete {
            self.install(model)?;
            self.installed.push(model);
        }
        Ok(())
    }

    /// Ends: what was installed is no longer needed as a partial file. Returns the models that could
    /// not be had, and why.
    pub fn finish(self) -> Result<Vec<(String, String)>, PullError> {
        for file in self.installed.iter().flat_map(|model| &model.files) {
            let forgotten = self.partials.forget(&file.digest);
            forgotten.map_err(PullError::io(self.partials.folder))?;
        }
        Ok(self.failed)
    }

    fn install(&self, model: &PlannedModel) -> Result<(), PullError> {
        let directory = self.puller.directory;
        let mut manifest = match Manifest::read(directory) {
            Ok(manifest) => manifest,
            Err(_) if !directory.join(MANIFEST_FILE).exists() => Manifest {
                fixture: false,
                note: None,
                models: Vec::new(),
            },
            Err(error) => return Err(error.into()),
        };
        let metadata = metadata(model);
        let folder = directory.join(&model.entry.folder);
        if folder.exists() {
            self.place_files(model, &folder, metadata.as_deref())?;
        } else {
            // A folder that appears with everything in it is complete at every moment.
            let staging = self
                .partials
                .folder
                .join(format!("{}.staging", model.entry.id));
            if staging.exists() {
                fs::remove_dir_all(&staging).map_err(PullError::io(&staging))?;
            }
            self.place_files(model, &staging, metadata.as_deref())?;
            let parent = folder.parent().unwrap_or(directory);
            make_folder(parent)?;
            fault::disk("model_install").map_err(PullError::io(&folder))?;
            fs::rename(&staging, &folder).map_err(PullError::io(&folder))?;
            sync(parent)?;
        }
        let entry = self.entry(model, metadata.as_deref());
        if manifest.models.contains(&entry) {
            // Written again, it would look changed to whoever watches it.
            (self.puller.report)(Event::Installed { model: &entry });
            return Ok(());
        }
        fault::disk("model_manifest").map_err(PullError::io(directory))?;
        let outdated = outdated(&manifest, &entry);
        manifest.put(entry.clone());
        manifest.write(directory)?;
        for path in outdated {
            let path = directory.join(path);
            remove(&path).map_err(PullError::io(&path))?;
        }
        (self.puller.report)(Event::Installed { model: &entry });
        Ok(())
    }

    /// Puts the files that were fetched into a folder.
    fn place_files(
        &self,
        model: &PlannedModel,
        folder: &Path,
        metadata: Option<&[u8]>,
    ) -> Result<(), PullError> {
        make_folder(folder)?;
        for file in model.files.iter().filter(|file| file.here.is_none()) {
            let name = file.path.strip_prefix(&model.entry.folder);
            let path = folder.join(name.unwrap_or(&file.path));
            let parent = path.parent().unwrap_or(folder);
            make_folder(parent)?;
            self.place(file, &path)?;
            sync(parent)?;
        }
        let path = folder.join(METADATA_FILE);
        let is_here = |metadata: &&[u8]| fs::read(&path).is_ok_and(|here| here == *metadata);
        if let Some(metadata) = metadata.filter(|metadata| !is_here(metadata)) {
            let write = || {
                fs::write(&path, metadata)?;
                File::open(&path)?.sync_all()
            };
            write().map_err(PullError::io(&path))?;
        }
        sync(folder)
    }

    /// Puts a content in its place. It stays a partial file as well, until all is done: a crash in between
    /// must not cost what was fetched.
    fn place(&self, file: &PlannedFile, path: &Path) -> Result<(), PullError> {
        let partial = self.partials.path(&file.digest);
        let link = self.partials.folder.join("link");
        let place = || {
            remove(&link)?;
            // Not every file system can.
            if fs::hard_link(&partial, &link).is_err() {
                fs::copy(&partial, &link)?;
                File::open(&link)?.sync_all()?;
            }
            fs::rename(&link, path)?;
            // A link to what is there already stays.
            remove(&link)
        };
        place().map_err(PullError::io(path))
    }

    /// What the manifest says about a model.
    fn entry(&self, model: &PlannedModel, metadata: Option<&[u8]>) -> Model {
        let entry = &model.entry;
        let file = |file: &PlannedFile| ModelFile {
            path: file.path.clone(),
            sha256: file
                .here
                .as_ref()
                .or_else(|| self.fetched.get(&file.digest))
                .cloned()
                .unwrap_or_default(),
            size_bytes: file.size_bytes,
            verified: Some(file.evidence),
        };
        let metadata = metadata.map(|metadata| ModelFile {
            path: entry.folder.join(METADATA_FILE),
            sha256: sha256_hex(metadata),
            size_bytes: metadata.len() as u64,
            verified: None,
        });
        Model {
            id: entry.id.clone(),
            engine: entry.engine,
            licence: entry.licence.clone(),
            requires_acceptance: entry.requires_acceptance,
            source: entry.source.clone(),
            targets: entry.targets.clone(),
            origin: Some(model.origin.to_string()),
            files: model.files.iter().map(file).chain(metadata).collect(),
        }
    }
}

/// The `metadata.json` that a model needs beside its published files.
fn metadata(model: &PlannedModel) -> Option<Vec<u8>> {
    let metadata = model.entry.metadata.as_ref()?;
    serde_json::to_vec_pretty(metadata).ok()
}

/// Files of an earlier pull of the same model that it no longer has.
fn outdated(manifest: &Manifest, entry: &Model) -> Vec<PathBuf> {
    let earlier = manifest
        .models
        .iter()
        .filter(|model| model.id == entry.id && model.origin.is_some());
    let paths = earlier
        .flat_map(|model| &model.files)
        .map(|file| &file.path);
    let is_kept = |path: &&PathBuf| entry.files.iter().any(|file| file.path == **path);
    paths.filter(|path| !is_kept(path)).cloned().collect()
}

fn make_folder(folder: &Path) -> Result<(), PullError> {
    fs::create_dir_all(folder).map_err(PullError::io(folder))
}

/// Makes names in a folder durable.
fn sync(folder: &Path) -> Result<(), PullError> {
    let sync = File::open(folder).and_then(|folder| folder.sync_all());
    sync.map_err(PullError::io(folder))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
