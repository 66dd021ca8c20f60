//! `models list`: what is installed and what it covers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Output, say_json};
use crate::app::inventory;
use crate::commands::{CommandError, human_bytes, say};
use crate::domain::Language;
use crate::registry::catalogue::Catalogue;
use crate::registry::{Engine, Model, Registry};
use crate::stages::translate::{Route, Routes};

#[derive(Debug, Args)]
pub(in crate::commands) struct ListArgs {
    /// Show what can be pulled instead
    #[arg(long)]
    pub(super) available: bool,
    /// A catalogue of your own, in the form of models/catalogue.toml
    #[arg(long, value_name = "FILE")]
    pub(super) catalogue: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Serialize)]
struct Listing {
    directory: String,
    fixture: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    models: Vec<Entry>,
    translations: Vec<Translations>,
}

#[derive(Serialize)]
struct Entry {
    engine: Engine,
    id: String,
    languages: String,
    size_bytes: u64,
    /// About how much memory it takes, in units of 10^6 bytes, where the catalogue knows: it does not know the
    /// models for tests, some of which have the names of real ones.
    memory_mb: Option<u64>,
    licence: String,
    /// Where it was pulled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// False: the licence has to be accepted in the settings first.
    usable: bool,
}

/// Where texts of one language can go.
#[derive(Serialize)]
struct Translations {
    source: Language,
    direct: Vec<Language>,
    through_english: Vec<Language>,
}

pub(super) fn run(registry: &Registry, args: &ListArgs) -> Result<ExitCode, CommandError> {
    let catalogue = Catalogue::load(args.catalogue.as_deref())?;
    let manifest = registry.manifest();
    let routes = Routes::scan(&registry.directory().join("marian")).unwrap_or_default();
    let entry = |model: &Model| Entry {
        engine: model.engine,
        id: model.id.clone(),
        languages: languages(model, registry.directory()),
        size_bytes: model.size_bytes(),
        memory_mb: catalogue
            .model(&model.id)
            .filter(|_| !manifest.fixture)
            .map(|known| known.memory_mb),
        licence: model.licence.clone(),
        origin: model.origin.clone(),
        usable: registry.may_use(model),
    };
    let listing = Listing {
        directory: registry.directory().display().to_string(),
        fixture: manifest.fixture,
        note: manifest.note.clone(),
        models: Engine::ALL
            .into_iter()
            .flat_map(|engine| registry.models(engine).map(entry))
            .collect(),
        translations: translations(&routes),
    };
    if args.output.json {
        say_json(&listing)?;
    } else {
        print(&listing);
    }
    Ok(ExitCode::SUCCESS)
}

fn languages(model: &Model, directory: &Path) -> String {
    let languages = inventory::languages(model, directory);
    match (model.engine, languages.split_first()) {
        (Engine::Marian, Some((source, targets))) => {
            format!("{source} \u{2192} {}", targets.join(" "))
        }
        _ => languages.join(" "),
    }
}

fn translations(routes: &Routes) -> Vec<Translations> {
    let mut translations: Vec<Translations> = Vec::new();
    for (source, target, route) in routes.all() {
        if translations.last().is_none_or(|last| last.source != source) {
            translations.push(Translations {
                source,
                direct: Vec::new(),
                through_english: Vec::new(),
            });
        }
        let Some(last) = translations.last_mut() else {
            continue;
        };
        match route {
            Route::Pivot(_) => last.through_english.push(target),
            _ => last.direct.push(target),
        }
    }
    translations
}

fn print(listing: &Listing) {
    say(format_args!("models in {}", listing.directory));
    if listing.fixture {
        say("These are tiny models for tests: what they say means nothing.");
    }
    if let Some(note) = &listing.note {
        say(format_args!("note: {note}"));
    }
    let width =
        |text: fn(&Entry) -> usize| listing.models.iter().map(text).max().unwrap_or_default();
    let (id_width, licence_width) = (
        width(|model| model.id.len()),
        width(|model| model.licence.len()),
    );
    say(format_args!(
        "\n{:<10} {:<id_width$} {:>11} {:>11}  {:<licence_width$}  LANGUAGES",
        "ENGINE", "ID", "SIZE", "MEMORY", "LICENCE"
    ));
    for model in &listing.models {
        say(format_args!(
            "{:<10} {:<id_width$} {:>11} {:>11}  {:<licence_width$}  {}{}",
            model.engine,
            model.id,
            human_bytes(model.size_bytes).to_string(),
            model.memory_mb.map_or_else(|| "?".to_owned(), megabytes),
            model.licence,
            model.languages,
            if model.usable {
                ""
            } else {
                "  (accept its licence first: accept_licenses under [models])"
            },
        ));
    }
    if !listing.translations.is_empty() {
        say("\nTranslations");
    }
    for from in &listing.translations {
        let mut ways = Vec::new();
        if !from.direct.is_empty() {
            ways.push(join(&from.direct));
        }
        if !from.through_english.is_empty() {
            ways.push(format!("through English {}", join(&from.through_english)));
        }
        say(format_args!(
            "  {} \u{2192} {}",
            from.source,
            ways.join("; ")
        ));
    }
}

/// Units of 10^6 bytes as people read them.
pub(super) fn megabytes(megabytes: u64) -> String {
    human_bytes(megabytes.saturating_mul(1_000_000)).to_string()
}

fn join<'a>(languages: impl IntoIterator<Item = &'a Language>) -> String {
    let codes: Vec<&str> = languages.into_iter().map(Language::as_str).collect();
    codes.join(" ")
}
