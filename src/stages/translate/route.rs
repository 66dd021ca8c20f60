//! Which installed models lead from one language to another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use super::error::{ModelError, TranslateError};
use super::marian::metadata::read_json;
use super::tokenizer::{is_target_token, read_vocabulary};
use crate::domain::Language;
use crate::domain::digest::short_digest;

/// An installed checkpoint and the languages it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Name of its directory, such as `fr-en` or `en-mul`.
    pub name: Arc<str>,
    /// Its directory.
    pub directory: PathBuf,
    /// Languages it translates from.
    pub source_languages: Vec<Language>,
    /// Languages it translates to, each with the target token that asks for it, if it needs one.
    pub targets: BTreeMap<Language, Option<Arc<str>>>,
    /// Another one when another checkpoint has taken the directory's place.
    pub fingerprint: Arc<str>,
}

impl Pair {
    fn covers(&self, source: Language, target: Language) -> bool {
        self.source_languages.contains(&source) && self.targets.contains_key(&target)
    }

    fn leg(self: &Arc<Self>, target: Language) -> Leg {
        Leg {
            pair: Arc::clone(self),
            target_language: target,
            target_token: self.targets.get(&target).cloned().flatten(),
        }
    }
}

/// One pass through one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// The model.
    pub pair: Arc<Pair>,
    /// The language that comes out.
    pub target_language: Language,
    /// What asks a multilingual model for that language.
    pub target_token: Option<Arc<str>>,
}

/// How a text gets from one language to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The languages are the same: the text stays as it is.
    Same,
    /// One model.
    Direct(Leg),
    /// Two models, through English.
    Pivot([Leg; 2]),
}

impl Route {
    /// The passes in order.
    pub fn legs(&self) -> &[Leg] {
        match self {
            Self::Same => &[],
            Self::Direct(leg) => std::slice::from_ref(leg),
            Self::Pivot(legs) => legs,
        }
    }

    /// Names of the models in order, joined by `+`; empty when there is nothing to do.
    pub fn model_name(&self) -> String {
        let names: Vec<&str> = self.legs().iter().map(|leg| &*leg.pair.name).collect();
        names.join("+")
    }

    /// Tells this route from every other that may give other translations: the models with their
    /// fingerprints and target tokens.
    pub fn identity(&self) -> String {
        let leg = |leg: &Leg| {
            let token = leg.target_token.as_deref().unwrap_or_default();
            format!("{} {} {token}", leg.pair.name, leg.pair.fingerprint)
        };
        let legs: Vec<String> = self.legs().iter().map(leg).collect();
        legs.join("+")
    }
}

/// The installed pairs. Cheap to clone; knows nothing of sessions.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Those of the fewest target languages first: a model for one language knows it best.
    pairs: Arc<[Arc<Pair>]>,
}

impl Routes {
    /// Finds the pairs under `directory`: its sub-directories named `<source>-<target>`. A part that
    /// is no language code names a group: its members are what `metadata.json` lists, or else, for
    /// targets, the target tokens of the vocabulary. Loads no model.
    ///
    /// A sub-directory with an unknown name, or that lacks what it needs, is left out with a warning.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn scan(directory: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io {
            path: directory.to_owned(),
            source,
        };
        let mut pairs = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if !path.is_dir() {
                continue;
            }
            match read_pair(&path) {
                Ok(pair) => pairs.push(Arc::new(pair)),
                Err(error) => tracing::warn!(
                    directory = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "translation model left out"
                ),
            }
        }
        pairs.sort_by_key(|pair| {
            (
                pair.targets.len(),
                pair.source_languages.len(),
                pair.name.clone(),
            )
        });
        Ok(Self {
            pairs: pairs.into(),
        })
    }

    /// The installed pairs, those with the fewest target languages first.
    pub fn pairs(&self) -> &[Arc<Pair>] {
        &self.pairs
    }

    /// True when a pair translates from or to the language.
    pub fn covers(&self, language: Language) -> bool {
        self.pairs.iter().any(|pair| {
            pair.source_languages.contains(&language) || pair.targets.contains_key(&language)
        })
    }

    /// How to get from `source` to `target`: directly, else through English.
    ///
    /// # Errors
    /// [`TranslateError::UnsupportedLanguage`].
    pub fn route(&self, source: Language, target: Language) -> Result<Route, TranslateError> {
        if source == target {
            return Ok(Route::Same);
        }
        if let Some(leg) = self.leg(source, target) {
            return Ok(Route::Direct(leg));
        }
        self.leg(source, Language::ENGLISH)
            .zip(self.leg(Language::ENGLISH, target))
            .map(|(to_english, from_english)| Route::Pivot([to_english, from_english]))
            .ok_or(TranslateError::UnsupportedLanguage {
                source_language: source,
                target_language: target,
            })
    }

    /// Every pair of two languages between which there is a way, with that way, in order.
    pub fn all(&self) -> impl Iterator<Item = (Language, Language, Route)> {
        let sources = self.pairs.iter().flat_map(|pair| &pair.source_languages);
        let sources: BTreeSet<Language> = sources.copied().collect();
        let targets = self.pairs.iter().flat_map(|pair| pair.targets.keys());
        let targets: BTreeSet<Language> = targets.copied().collect();
        sources.into_iter().flat_map(move |source| {
            let others = targets
                .clone()
                .into_iter()
                .filter(move |target| *target != source);
            others
                .filter_map(move |target| Some((source, target, self.route(source, target).ok()?)))
        })
    }

    fn leg(&self, source: Language, target: Language) -> Option<Leg> {
        let pair = self.pairs.iter().find(|pair| pair.covers(source, target))?;
        Some(pair.leg(target))
    }
}

/// What `metadata.json` says about languages; all of it may be absent.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Languages {
    source_languages: Vec<String>,
    target_languages: Vec<String>,
    target_tokens: Option<BTreeMap<String, String>>,
}

fn read_pair(directory: &Path) -> Result<Pair, ModelError> {
    let name = directory
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let (source, target) = name.split_once('-').ok_or_else(|| {
        ModelError::inconsistent(directory, "the name is not of the form `<source>-<target>`")
    })?;
    let metadata = directory.join("metadata.json");
    let languages: Languages = if metadata.is_file() {
        read_json(&metadata)?
    } else {
        Languages::default()
    };
    let source_languages = match Language::parse(source) {
        Some(language) => vec![language],
        None => parsed(&languages.source_languages),
    };
    let targets = match (&languages.target_tokens, Language::parse(target)) {
        (Some(tokens), _) => tokens
            .iter()
            .filter_map(|(code, token)| Some((Language::parse(code)?, Some(token.as_str().into()))))
            .collect(),
        (None, Some(language)) => BTreeMap::from([(language, None)]),
        (None, None) if !languages.target_languages.is_empty() => {
            parsed(&languages.target_languages)
                .into_iter()
                .map(|l| (l, None))
                .collect()
        }
        (None, None) => targets_of_vocabulary(&directory.join("vocab.json"))?,
    };
    if source_languages.is_empty() || targets.is_empty() {
        return Err(ModelError::inconsistent(
            directory,
            "neither its name nor metadata.json says which languages it covers",
        ));
    }
    let has_graphs = [
        "decoder.onnx",
        "decoder.int8r.onnx",
        "decoder.fp16.onnx",
        "onnx",
    ]
    .iter()
    .any(|name| directory.join(name).exists());
    if !has_graphs {
        return Err(ModelError::inconsistent(directory, "it holds no graph"));
    }
    Ok(Pair {
        name: name.into(),
        directory: directory.to_owned(),
        source_languages,
        targets,
        fingerprint: fingerprint(directory)?.into(),
    })
}

/// A digest of the names, sizes and times of a directory's files: reading the weights takes too long.
fn fingerprint(directory: &Path) -> Result<String, ModelError> {
    let mut files = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let io = |source| ModelError::Io {
            path: folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = entry.path();
            // Links to files are followed, links to directories not: they may lead back here.
            if entry.file_type().map_err(io)?.is_dir() {
                folders.push(path);
                continue;
            }
            let facts = std::fs::metadata(&path).map_err(io)?;
            let modified = facts.modified().map_err(io)?;
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            let name = path.strip_prefix(directory).unwrap_or(&path).to_owned();
            files.push((name, facts.len(), since.as_nanos()));
        }
    }
    files.sort_unstable();
    let facts: String = files
        .iter()
        .map(|(name, bytes, modified)| format!("{}\0{bytes} {modified}\0", name.display()))
        .collect();
    Ok(short_digest(facts.as_bytes()))
}

fn parsed(codes: &[String]) -> Vec<Language> {
    codes
        .iter()
        .filter_map(|code| Language::parse(code))
        .collect()
}

/// The target tokens of a vocabulary (`>>fra<<`, `>>zho_Hans<<`) by language; of several tokens for
/// one language the shortest, then the first in the alphabet: it names no script or region.
fn targets_of_vocabulary(
    vocabulary: &Path,
) -> Result<BTreeMap<Language, Option<Arc<str>>>, ModelError> {
    let mut tokens: Vec<String> = read_vocabulary(vocabulary)?
        .into_keys()
        .filter(|token| is_target_token(token))
        .collect();
    tokens.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    let mut targets = BTreeMap::new();
    for token in tokens {
        if let Some(language) = Language::parse(token.trim_matches(['>', '<'])) {
            targets
                .entry(language)
                .or_insert_with(|| Some(token.into()));
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(code: &str) -> Language {
        Language::parse(code).expect("a code")
    }

    fn installed(directories: &[(&str, &[(&str, &str)])]) -> (tempfile::TempDir, Routes) {
        let root = tempfile::tempdir().expect("a directory");
        for (name, files) in directories {
            for (file, content) in *files {
                let path = root.path().join(name).join(file);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                std::fs::write(path, content).expect("a file");
            }
        }
        let routes = Routes::scan(root.path()).expect("a readable directory");
        (root, routes)
    }

    fn route(routes: &Routes, source: &str, target: &str) -> Option<String> {
        let route = routes.route(language(source), language(target)).ok()?;
        let legs: Vec<String> = route
            .legs()
            .iter()
            .map(|leg| {
                format!(
                    "{}{}",
                    leg.pair.name,
                    leg.target_token.as_deref().unwrap_or("")
                )
            })
            .collect();
        Some(legs.join(" "))
    }

    #[test]
    fn the_closest_model_is_taken_and_english_is_the_pivot() {
        let (_root, routes) = installed(&[
            ("fr-en", &[("decoder.onnx", "")]),
            ("en-de", &[("decoder.onnx", "")]),
            (
                "en-mul",
                &[
                    ("decoder.onnx", ""),
                    (
                        "metadata.json",
                        r#"{"target_tokens": {"de": ">>deu<<", "es": ">>spa<<"}}"#,
                    ),
                ],
            ),
        ]);
        let route = |source, target| route(&routes, source, target);
        assert_eq!(route("fr", "fr").as_deref(), Some(""));
        assert_eq!(route("fr", "en").as_deref(), Some("fr-en"));
        assert_eq!(route("en", "de").as_deref(), Some("en-de"));
        assert_eq!(route("en", "es").as_deref(), Some("en-mul>>spa<<"));
        assert_eq!(route("fr", "es").as_deref(), Some("fr-en en-mul>>spa<<"));
        assert_eq!(route("de", "fr"), None);
        assert_eq!(route("fr", "ja"), None);
    }

    #[test]
    fn another_checkpoint_is_another_identity() {
        let (root, routes) = installed(&[("fr-en", &[("decoder.onnx", "a"), ("onnx/x", "b")])]);
        let identity = |routes: &Routes| {
            let route = routes.route(language("fr"), language("en"));
            route.expect("a route").identity()
        };
        let scanned = || Routes::scan(root.path()).expect("the directory");
        assert_eq!(identity(&scanned()), identity(&routes));
        std::fs::write(root.path().join("fr-en/onnx/x"), "bb").expect("a file");
        assert_ne!(identity(&scanned()), identity(&routes));
    }

    #[test]
    fn groups_are_read_from_metadata_or_vocabulary() {
        let (_root, routes) = installed(&[
            (
                "mul-en",
                &[
                    ("onnx/decoder_model_merged.onnx", ""),
                    (
                        "metadata.json",
                        r#"{"source_languages": ["es", "it", "no code"]}"#,
                    ),
                ],
            ),
            (
                "en-roa",
                &[
                    ("onnx/decoder_model_merged.onnx", ""),
                    (
                        "vocab.json",
                        r#"{"a": 0, ">>fra<<": 1, ">>por_BR<<": 2, ">>por<<": 3, ">>xxx<<": 4}"#,
                    ),
                ],
            ),
        ]);
        assert_eq!(
            route(&routes, "it", "fr").as_deref(),
            Some("mul-en en-roa>>fra<<")
        );
        assert_eq!(route(&routes, "en", "pt").as_deref(), Some("en-roa>>por<<"));
    }

    #[test]
    fn what_is_no_model_is_left_out() {
        let (_root, routes) = installed(&[
            (
                "fr-en",
                &[("decoder.onnx", ""), ("metadata.json", "{not json")],
            ),
            ("en-fr", &[("vocab.json", "{}")]),
            ("mul-en", &[("decoder.onnx", "")]),
            ("readme", &[("decoder.onnx", "")]),
        ]);
        assert!(routes.pairs().is_empty());
        assert!(Routes::scan(Path::new("no such directory")).is_err());
    }
}
