//! Model folders that are filled from a hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use meeshy_translator::registry::{CheckedFiles, Engine, Manifest, Registry};

use super::command_line::CommandLine;
use super::daemon::fixture_models;
use super::hub::{FakeHub, Repository, sha256};

/// A folder for models, a hub, and the command line that leads from one to the other.
pub struct Pulling {
    pub hub: FakeHub,
    pub commands: CommandLine,
}

impl Pulling {
    /// With the catalogue given, and a hub that has nothing yet.
    pub fn with_catalogue(catalogue: &str) -> Self {
        let hub = FakeHub::start();
        let commands = CommandLine::new()
            .with("MODELS_PATH", "models")
            .with("HF_ENDPOINT", &hub.endpoint());
        std::fs::write(commands.path().join("catalogue.toml"), catalogue).unwrap();
        Self { hub, commands }
    }

    /// One whisper model, `w`, of one file, `w.bin`.
    pub fn one_file(content: &[u8]) -> Self {
        let pulling = Self::with_catalogue(&whisper("w", "acme/w", "w.bin"));
        pulling
            .hub
            .publish("acme/w", Repository::new([("w.bin", content.to_vec())]));
        pulling
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.commands = self.commands.with(name, value);
        self
    }

    pub fn models(&self) -> PathBuf {
        self.commands.path().join("models")
    }

    pub fn manifest(&self) -> Manifest {
        Manifest::read(&self.models()).unwrap()
    }

    pub fn pull(&self, arguments: &[&str]) -> String {
        self.commands.succeed(&self.arguments(arguments))
    }

    pub fn fail(&self, arguments: &[&str]) -> String {
        self.commands.fail(1, &self.arguments(arguments))
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.commands.command(&self.arguments(arguments));
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["models", "pull", "--catalogue", "catalogue.toml"];
        all.extend(arguments);
        all
    }

    /// Bytes of the partial files.
    pub fn partial_bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(self.models().join(".pull")) else {
            return 0;
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "partial")
            })
            .map(|path| path.metadata().unwrap().len())
            .sum()
    }

    pub fn is_usable(&self, engine: Engine) -> bool {
        let registry = Registry::open(&self.models(), &["cpml".to_owned()]).unwrap();
        registry
            .verified_folder(engine, &CheckedFiles::default())
            .is_ok()
    }
}

/// A catalogue's entry of a whisper model.
pub fn whisper(id: &str, repository: &str, file: &str) -> String {
    entry(
        &format!("id = \"{id}\"\nengine = \"whisper\"\nfolder = \"whisper\"\nlicence = \"MIT\""),
        &format!("repository = \"{repository}\"\nrevision = \"main\""),
        &format!("{{ path = \"{file}\" }}"),
    )
}

/// A catalogue's entry.
pub fn entry(what: &str, publisher: &str, files: &str) -> String {
    format!(
        "[[model]]\n{what}\n{publisher}\nfiles = [{files}]\nlicence_url = \"https://example.org\"\n\
         download_mb = 1\nmemory_mb = 1\n"
    )
}

/// Bytes without a pattern that compression or luck could hide.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The files below a folder, by their paths in it.
pub fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Files as a catalogue lists them.
pub fn listed(files: &BTreeMap<String, Vec<u8>>) -> String {
    let files: Vec<String> = files
        .keys()
        .map(|name| format!("{{ path = \"{name}\" }}"))
        .collect();
    files.join(", ")
}

pub fn repository(files: &BTreeMap<String, Vec<u8>>) -> Repository {
    Repository::new(
        files
            .iter()
            .map(|(path, content)| (path.as_str(), content.clone())),
    )
}

/// The fixture models as others publish theirs: whisper's one file with a known digest at a commit,
/// translation in the widespread layout, the rest exported into a repository of one's own.
pub fn published_fixtures() -> Pulling {
    let fixtures = fixture_models();
    let scripted = std::fs::read(fixtures.join("whisper/scripted.bin")).unwrap();
    let whisper = Repository::new([("ggml-scripted.bin", scripted.clone())]);
    let marian = repository(&files_below(&fixtures.join("marian-merged/fr-en")));
    let mut exported = BTreeMap::new();
    for folder in ["openvoice", "xtts", "marian", "vad"] {
        for (name, content) in files_below(&fixtures.join(folder)) {
            exported.insert(format!("{folder}/{name}"), content);
        }
    }
    let manifest = std::fs::read(fixtures.join("manifest.toml")).unwrap();
    exported.insert("manifest.toml".to_owned(), manifest);
    // Weights beside a graph belong to it: no catalogue has to name them.
    let names = |folder: &str| {
        let mut files = files_below(&fixtures.join(folder));
        files.retain(|name, _| !name.ends_with(".onnx.data"));
        listed(&files)
    };
    let own = "checkpoint = \"original/voices\"\nexport = \"python -m export everything\"";
    let catalogue = [
        "[[set]]\nid = \"all\"\nabout = \"everything\"\n\
         members = [\"w\", \"fr-en\", \"en-mul\", \"openvoice\", \"xtts\", \"vad\"]\n"
            .to_owned(),
        entry(
            "id = \"w\"\nengine = \"whisper\"\nfolder = \"whisper\"\nlicence = \"MIT\"",
            &format!("repository = \"acme/w\"\nrevision = \"{}\"", whisper.commit),
            &format!(
                "{{ path = \"ggml-scripted.bin\", size_bytes = {}, sha256 = \"{}\" }}",
                scripted.len(),
                sha256(&scripted)
            ),
        ),
        entry(
            "id = \"fr-en\"\nengine = \"marian\"\nfolder = \"marian/fr-en\"\nlicence = \"CC-BY-4.0\"\n\
             source = \"fr\"\ntargets = [\"en\"]",
            "repository = \"acme/opus-mt-fr-en\"\nrevision = \"main\"",
            &format!(
                "{}, {{ path = \"none.json\", optional = true }}",
                names("marian-merged/fr-en")
            ),
        ),
        entry(
            "id = \"en-mul\"\nengine = \"marian\"\nfolder = \"marian/en-mul\"\nlicence = \"CC-BY-4.0\"\n\
             source = \"en\"\ntargets = [\"fr\", \"es\"]",
            own,
            &names("marian/en-mul"),
        ),
        entry(
            "id = \"openvoice\"\nengine = \"openvoice\"\nfolder = \"openvoice\"\nlicence = \"MIT\"",
            own,
            &names("openvoice"),
        ),
        entry(
            "id = \"xtts\"\nengine = \"xtts\"\nfolder = \"xtts\"\nlicence = \"cpml\"\nrequires_acceptance = true",
            own,
            &names("xtts"),
        ),
        entry(
            "id = \"vad\"\nengine = \"vad\"\nfolder = \"vad\"\nlicence = \"MIT\"",
            own,
            "{ path = \"silero_vad.onnx\" }",
        ),
    ];
    let pulling = Pulling::with_catalogue(&catalogue.concat());
    pulling.hub.publish("acme/w", whisper);
    pulling.hub.publish("acme/opus-mt-fr-en", marian);
    pulling.hub.publish("me/voices", repository(&exported));
    pulling
}
