//! `models lock`: the manifest of a folder of models.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::commands::{CommandError, complain, human_bytes, say};
use crate::domain::Language;
use crate::registry::pull::DirectoryLock;
use crate::registry::{Engine, MANIFEST_FILE, Manifest, Model, ModelFile, sha256_of};
use crate::stages::translate::Routes;

const LAYOUT: &str = "\
Layout of the folder:
  whisper/<name>.bin              ggml
  marian/<source>-<target>/       ONNX graphs and tokenizer of one checkpoint
  openvoice/                      tone_embedding.onnx, metadata.json, converter.onnx (optional)
  xtts/                           graphs, vocab.json, metadata.json
  piper/<voice>/                  <voice>.onnx, <voice>.onnx.json; optional
  vad/silero_vad.onnx             optional

Licences are those under which the usual weights are published, unless --licence or the manifest
that is replaced says otherwise: check them. Weights whose licence limits use (XTTS v2: cpml) are
used only when accept_licenses under [models] names it. Piper voices have licences of their own,
which their MODEL_CARD tells: --licence piper=MIT says it, else it is \"unknown\" and has to be
accepted.";

#[derive(Debug, Args)]
#[command(after_help = LAYOUT)]
pub(in crate::commands) struct LockArgs {
    /// Folder with models, if not that of the settings
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Licence of one engine's models, such as marian=CC-BY-4.0; may be repeated
    #[arg(long, value_name = "ENGINE=LICENCE", value_parser = parse_licence)]
    licence: Vec<(Engine, String)>,
    /// Replace a manifest that is there
    #[arg(long)]
    force: bool,
}

fn parse_licence(text: &str) -> Result<(Engine, String), String> {
    let expected =
        || "expected ENGINE=LICENCE with whisper, marian, openvoice, xtts, piper or vad".to_owned();
    let (engine, licence) = text.split_once('=').ok_or_else(expected)?;
    let engine = Engine::ALL
        .into_iter()
        .find(|candidate| candidate.as_str() == engine)
        .ok_or_else(expected)?;
    if licence.is_empty() {
        return Err(expected());
    }
    Ok((engine, licence.to_owned()))
}

/// Licence of the weights that are published for an engine, and whether it limits their use.
fn published_licence(engine: Engine) -> (&'static str, bool) {
    match engine {
        Engine::Whisper | Engine::Openvoice | Engine::Vad => ("MIT", false),
        Engine::Marian => ("CC-BY-4.0", false),
        Engine::Xtts => ("cpml", true),
        Engine::Piper => ("unknown", true),
    }
}

pub(super) fn run(default: &Path, args: &LockArgs) -> Result<ExitCode, CommandError> {
    let directory = args.directory.as_deref().unwrap_or(default);
    let path = directory.join(MANIFEST_FILE);
    if path.exists() && !args.force {
        return Err(CommandError::ManifestExists(path));
    }
    let mut manifest = Manifest {
        fixture: false,
        note: None,
        models: models(directory, &args.licence)?,
    };
    keep_known(&mut manifest, directory, &args.licence);
    if manifest.models.is_empty() {
        return Err(CommandError::NoModels(directory.to_owned()));
    }
    let _lock = DirectoryLock::take(directory)?;
    manifest.write(directory)?;
    for model in &manifest.models {
        let size = human_bytes(model.size_bytes());
        say(format_args!(
            "{:<10} {}: {} files, {size}, {}",
            model.engine,
            model.id,
            model.files.len(),
            model.licence
        ));
    }
    say(format_args!("written: {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// What the manifest that is replaced knows about models stays, as long as their files do: all of those that were pulled, the
/// licence of others.
fn keep_known(manifest: &mut Manifest, directory: &Path, licences: &[(Engine, String)]) {
    let Ok(replaced) = Manifest::read(directory) else {
        return;
    };
    let found: HashMap<PathBuf, String> = manifest
        .models
        .iter()
        .flat_map(|model| &model.files)
        .map(|file| (file.path.clone(), file.sha256.clone()))
        .collect();
    for model in replaced.models {
        let is_told_otherwise = licences.iter().any(|(engine, _)| *engine == model.engine);
        let mut files = model.files.iter();
        let is_there = files.all(|file| found.get(&file.path) == Some(&file.sha256));
        if !is_there || is_told_otherwise {
            continue;
        }
        if model.origin.is_some() {
            manifest.put(model);
        } else if let Some(found) = manifest.models.iter_mut().find(|m| m.id == model.id) {
            found.licence = model.licence;
            found.requires_acceptance = model.requires_acceptance;
        }
    }
}

fn models(directory: &Path, licences: &[(Engine, String)]) -> Result<Vec<Model>, CommandError> {
    let mut models = Vec::new();
    for entry in entries(directory)? {
        let name = file_name(&entry);
        let engine = Engine::ALL
            .into_iter()
            .find(|engine| engine.as_str() == name);
        match engine {
            Some(engine) if entry.is_dir() => {
                let found = engine_models(directory, &entry, engine)?;
                models.extend(
                    found
                        .into_iter()
                        .map(|found| found.into_model(engine, licences)),
                );
            }
            _ if name == MANIFEST_FILE => {}
            _ => complain(format_args!("left out: {}", entry.display())),
        }
    }
    Ok(models)
}

/// A model without its licence.
struct Found {
    id: String,
    source: Option<String>,
    targets: Vec<String>,
    files: Vec<ModelFile>,
}

impl Found {
    fn into_model(self, engine: Engine, licences: &[(Engine, String)]) -> Model {
        let (published, limits_use) = published_licence(engine);
        let own = licences.iter().rev().find(|(of, _)| *of == engine);
        let licence = own.map_or(published, |(_, licence)| licence);
        Model {
            id: self.id,
            engine,
            licence: licence.to_owned(),
            requires_acceptance: limits_use && licence == published,
            source: self.source,
            targets: self.targets,
            origin: None,
            files: self.files,
        }
    }
}

fn engine_models(root: &Path, folder: &Path, engine: Engine) -> Result<Vec<Found>, CommandError> {
    let plain = |id: String, files| Found {
        id,
        source: None,
        targets: Vec::new(),
        files,
    };
    match engine {
        // One model in each file, or in each folder.
        Engine::Whisper | Engine::Vad | Engine::Piper => entries(folder)?
            .into_iter()
            .map(|path| {
                let stem = path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                Ok(plain(format!("{engine}-{stem}"), files(root, &path)?))
            })
            .collect(),
        Engine::Openvoice | Engine::Xtts => {
            let files = files(root, folder)?;
            Ok(if files.is_empty() {
                Vec::new()
            } else {
                vec![plain(engine.to_string(), files)]
            })
        }
        // One in each sub-folder, which the engine's own eyes find.
        Engine::Marian => {
            let routes = Routes::scan(folder)
                .map_err(|source| CommandError::path(folder, std::io::Error::other(source)))?;
            let mut pairs: Vec<_> = routes.pairs().iter().collect();
            pairs.sort_by_key(|pair| &pair.name);
            pairs
                .into_iter()
                .map(|pair| {
                    let source = pair.name.split('-').next().unwrap_or_default();
                    Ok(Found {
                        id: format!("{engine}-{}", pair.name),
                        source: Some(source.to_owned()),
                        targets: pair.targets.keys().map(Language::to_string).collect(),
                        files: files(root, &pair.directory)?,
                    })
                })
                .collect()
        }
    }
}

/// The files at `path`, which is one or a folder of them, as the manifest names them.
fn files(root: &Path, path: &Path) -> Result<Vec<ModelFile>, CommandError> {
    if path.is_dir() {
        let mut found = Vec::new();
        for entry in entries(path)? {
            found.extend(files(root, &entry)?);
        }
        return Ok(found);
    }
    let unreadable = |source| CommandError::path(path, source);
    Ok(vec![ModelFile {
        path: path.strip_prefix(root).unwrap_or(path).to_owned(),
        sha256: sha256_of(path, |_| {}).map_err(unreadable)?,
        size_bytes: fs::metadata(path).map_err(unreadable)?.len(),
        verified: None,
    }])
}

/// What is in a folder, by name; hidden entries are none of ours.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let unreadable = |source| CommandError::path(folder, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{CheckedFiles, Registry};

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let marian = "marian/fr-en";
        for file in [
            "whisper/ggml-base.bin",
            "vad/silero_vad.onnx",
            "xtts/metadata.json",
            "xtts/.hidden",
            "readme.txt",
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "abc").unwrap();
        }
        fs::create_dir_all(folder.path().join(marian)).unwrap();
        for file in ["encoder.onnx", "decoder.onnx", "source.spm", "target.spm"] {
            fs::write(folder.path().join(marian).join(file), "abc").unwrap();
        }
        fs::write(folder.path().join(marian).join("vocab.json"), "{}").unwrap();
        folder
    }

    fn lock(folder: &Path, force: bool) -> Result<ExitCode, CommandError> {
        let args = LockArgs {
            directory: None,
            licence: vec![parse_licence("whisper=Apache-2.0").unwrap()],
            force,
        };
        run(folder, &args)
    }

    #[test]
    fn a_locked_folder_can_be_used() {
        let folder = folder();
        lock(folder.path(), false).unwrap();
        let registry = Registry::open(folder.path(), &[]).unwrap();
        let ids: Vec<&str> = registry
            .manifest()
            .models
            .iter()
            .map(|model| model.id.as_str())
            .collect();
        assert_eq!(
            ids,
            [
                "marian-fr-en",
                "vad-silero_vad",
                "whisper-ggml-base",
                "xtts"
            ]
        );
        let whisper = registry.models(Engine::Whisper).next().unwrap();
        assert_eq!(whisper.licence, "Apache-2.0");
        let marian = registry.models(Engine::Marian).next().unwrap();
        assert_eq!(
            (marian.source.as_deref(), marian.targets.as_slice()),
            (Some("fr"), ["en".to_owned()].as_slice())
        );
        let checked = CheckedFiles::default();
        assert!(registry.vad_file(&checked).unwrap().is_some());
        assert!(registry.verified_folder(Engine::Marian, &checked).is_ok());
        assert!(
            registry.verified_folder(Engine::Xtts, &checked).is_err(),
            "its licence limits use"
        );
        let xtts = registry.models(Engine::Xtts).next().unwrap();
        assert_eq!(xtts.files.len(), 1, "hidden files are left out");
    }

    #[test]
    fn a_manifest_is_replaced_only_when_told_so() {
        let folder = folder();
        lock(folder.path(), false).unwrap();
        assert!(matches!(
            lock(folder.path(), false),
            Err(CommandError::ManifestExists(_))
        ));
        lock(folder.path(), true).unwrap();
    }

    #[test]
    fn what_is_known_about_pulled_models_is_kept_while_their_files_are() {
        let folder = folder();
        let lock_plainly = || {
            let args = LockArgs {
                directory: None,
                licence: Vec::new(),
                force: true,
            };
            run(folder.path(), &args).unwrap();
            Manifest::read(folder.path()).unwrap()
        };
        let mut manifest = lock_plainly();
        let mut whisper = manifest.models.pop().unwrap();
        while whisper.engine != Engine::Whisper {
            whisper = manifest.models.pop().unwrap();
        }
        whisper.id = "pulled".to_owned();
        whisper.origin = Some("https://hub/a/b@0123".to_owned());
        manifest.put(whisper);
        manifest.write(folder.path()).unwrap();

        let whisper = |manifest: Manifest| {
            let mut models = manifest.models.into_iter();
            models
                .find(|model| model.engine == Engine::Whisper)
                .unwrap()
        };
        let kept = whisper(lock_plainly());
        assert_eq!((kept.id.as_str(), kept.origin.is_some()), ("pulled", true));
        fs::write(folder.path().join("whisper/ggml-base.bin"), "abd").unwrap();
        let own = whisper(lock_plainly());
        assert_eq!((own.id.as_str(), own.origin), ("whisper-ggml-base", None));
    }

    #[test]
    fn a_licence_stays_while_the_weights_do() {
        let folder = folder();
        let lock = |licence: &[&str]| {
            let licence = licence.iter().map(|text| parse_licence(text).unwrap());
            let args = LockArgs {
                directory: None,
                licence: licence.collect(),
                force: true,
            };
            run(folder.path(), &args).unwrap();
            let manifest = Manifest::read(folder.path()).unwrap();
            [Engine::Marian, Engine::Xtts].map(|engine| {
                let mut models = manifest.models.iter();
                let model = models.find(|model| model.engine == engine).unwrap();
                (model.licence.clone(), model.requires_acceptance)
            })
        };
        let own = ("mine".to_owned(), false);
        let first = lock(&["xtts=mine"]);
        assert_eq!(first, [("CC-BY-4.0".to_owned(), false), own.clone()]);
        // Files that join change no licence.
        fs::write(folder.path().join("xtts/new.json"), "{}").unwrap();
        assert_eq!(lock(&["marian=MIT"]), [("MIT".to_owned(), false), own]);
        // Other content may be of others.
        fs::write(folder.path().join("xtts/new.json"), "other").unwrap();
        assert_eq!(lock(&[])[1], ("cpml".to_owned(), true));
    }

    #[test]
    fn a_folder_without_models_gets_no_manifest() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            lock(folder.path(), false),
            Err(CommandError::NoModels(_))
        ));
        assert!(!folder.path().join(MANIFEST_FILE).exists());
    }

    #[test]
    fn licences_are_given_by_engine() {
        assert_eq!(
            parse_licence("xtts=mine"),
            Ok((Engine::Xtts, "mine".to_owned()))
        );
        for text in ["xtts", "xtts=", "tts=MIT"] {
            assert!(parse_licence(text).is_err(), "{text}");
        }
    }
}
