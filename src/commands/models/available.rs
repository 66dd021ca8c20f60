//! `models list --available`: what can be pulled.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;

use super::list::{ListArgs, megabytes};
use super::say_json;
use crate::commands::{CommandError, say};
use crate::config::ModelSettings;
use crate::registry::catalogue::{Catalogue, CatalogueModel, ModelSet, Publisher};
use crate::registry::{Engine, Manifest};

#[derive(Serialize)]
struct Available {
    sets: Vec<Set>,
    models: Vec<Entry>,
}

#[derive(Serialize)]
struct Set {
    id: String,
    about: String,
    models: Vec<String>,
    download_mb: u64,
    /// Pairs of languages that one model translates.
    direct_pairs: usize,
    /// Pairs of languages that two models translate.
    pairs_through_english: usize,
}

#[derive(Serialize)]
struct Entry {
    id: String,
    engine: Engine,
    languages: String,
    download_mb: u64,
    memory_mb: u64,
    licence: String,
    requires_acceptance: bool,
    /// Repository, or the checkpoint that it has to be exported from.
    from: String,
    has_to_be_exported: bool,
    /// True when the catalogue knows what the files hold; else the hub tells.
    pinned: bool,
    installed: bool,
}

pub(super) fn run(settings: &ModelSettings, args: &ListArgs) -> Result<ExitCode, CommandError> {
    let catalogue = Catalogue::load(args.catalogue.as_deref())?;
    // Nothing needs to be installed to see what could be, and models for tests have but the names of some.
    let installed: BTreeSet<String> = match Manifest::read(&settings.path) {
        Ok(manifest) if !manifest.fixture => {
            manifest.models.into_iter().map(|model| model.id).collect()
        }
        _ => BTreeSet::new(),
    };
    let sets = catalogue
        .sets
        .iter()
        .map(|set| describe_set(&catalogue, set));
    let available = Available {
        sets: sets.collect::<Result<_, _>>()?,
        models: catalogue
            .models
            .iter()
            .map(|model| describe(model, installed.contains(&model.id)))
            .collect(),
    };
    if args.output.json {
        say_json(&available)?;
    } else {
        print(&available);
    }
    Ok(ExitCode::SUCCESS)
}

fn describe_set(catalogue: &Catalogue, set: &ModelSet) -> Result<Set, CommandError> {
    let models = catalogue.select(std::slice::from_ref(&set.id))?;
    let (direct, pivoted) = pairs(&models);
    Ok(Set {
        id: set.id.clone(),
        about: set.about.clone(),
        download_mb: models.iter().map(|model| model.download_mb).sum(),
        models: models.iter().map(|model| model.id.clone()).collect(),
        direct_pairs: direct,
        pairs_through_english: pivoted,
    })
}

/// How many pairs of languages models translate directly, and how many more through English.
fn pairs(models: &[&CatalogueModel]) -> (usize, usize) {
    let mut direct = BTreeSet::new();
    for model in models {
        for source in sources(model) {
            for target in model.targets.iter().map(String::as_str) {
                if source != target {
                    direct.insert((source, target));
                }
            }
        }
    }
    let to_english = direct.iter().filter(|(_, target)| *target == "en");
    let pivoted: BTreeSet<(&str, &str)> = to_english
        .flat_map(|(source, _)| {
            let from_english = direct.iter().filter(|(source, _)| *source == "en");
            from_english.map(move |(_, target)| (*source, *target))
        })
        .filter(|pair| pair.0 != pair.1 && !direct.contains(pair))
        .collect();
    (direct.len(), pivoted.len())
}

/// The languages that a translation model translates from.
fn sources(model: &CatalogueModel) -> Vec<&str> {
    let group = model
        .metadata
        .as_ref()
        .map(|metadata| &metadata.source_languages);
    match group.filter(|group| !group.is_empty()) {
        Some(group) => group.iter().map(String::as_str).collect(),
        None => model.source.iter().map(String::as_str).collect(),
    }
}

fn describe(model: &CatalogueModel, installed: bool) -> Entry {
    let languages = match model.engine {
        Engine::Marian => format!(
            "{} \u{2192} {}",
            sources(model).join(" "),
            model.targets.join(" ")
        ),
        Engine::Whisper if model.languages.is_empty() => "multilingual".to_owned(),
        _ if model.languages.is_empty() => "any".to_owned(),
        _ => model.languages.join(" "),
    };
    let (from, has_to_be_exported) = match &model.publisher {
        Publisher::Repository { repository, .. } => (repository.clone(), false),
        Publisher::Export { checkpoint, .. } => (checkpoint.clone(), true),
    };
    Entry {
        id: model.id.clone(),
        engine: model.engine,
        languages,
        download_mb: model.download_mb,
        memory_mb: model.memory_mb,
        licence: model.licence.clone(),
        requires_acceptance: model.requires_acceptance,
        from,
        has_to_be_exported,
        pinned: model.files.iter().all(|file| file.pinned().is_some()),
        installed,
    }
}

fn print(available: &Available) {
    let width = available
        .models
        .iter()
        .map(|model| model.id.len())
        .max()
        .unwrap_or(0);
    say(format_args!("{:<width$}  {:>10}  WHAT FOR", "SET", "SIZE"));
    for set in &available.sets {
        say(format_args!(
            "{:<width$}  {:>10}  {}; {} models, {} pairs directly and {} through English",
            set.id,
            megabytes(set.download_mb),
            set.about,
            set.models.len(),
            set.direct_pairs,
            set.pairs_through_english
        ));
    }
    say(format_args!(
        "\n{:<width$}  {:>10}  {:>10}  {:<9}  LANGUAGES",
        "MODEL", "SIZE", "MEMORY", "LICENCE"
    ));
    for model in &available.models {
        let mut remarks = String::new();
        if model.installed {
            remarks.push_str("  (installed)");
        }
        if model.has_to_be_exported {
            remarks.push_str("  (to be exported: models/export)");
        }
        if model.requires_acceptance {
            remarks.push_str("  (its licence limits use)");
        }
        say(format_args!(
            "{:<width$}  {:>10}  {:>10}  {:<9}  {}{remarks}",
            model.id,
            megabytes(model.download_mb),
            megabytes(model.memory_mb),
            model.licence,
            model.languages
        ));
    }
    say("\nSizes and memory are estimates. `translator models pull SET` fetches them.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_directly_and_through_english() {
        let catalogue = Catalogue::load(None).unwrap();
        let count = |name: &str| {
            let models = catalogue.select(&[name.to_owned()]).unwrap();
            pairs(&models)
        };
        assert_eq!(count("en-fr-es-de"), (6, 6));
        assert_eq!(count("marian-en-fr"), (1, 0));
        assert_eq!(count("vad-silero"), (0, 0));
        let (direct, pivoted) = count("marian-ROMANCE-en");
        assert_eq!((direct, pivoted), (6, 0));
    }
}
