//! `models list`: what is installed and what it covers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Output, say_json};
use crate::commands::{CommandError, human_bytes, say};
use crate::domain::Language;
use crate::registry::catalogue::Catalogue;
use crate::registry::{Engine, Model, Registry};
use crate::stages::synthesize::XttsMetadata;
use crate::stages::synthesize::base::PiperVoice;
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
    /// About how much memory it takes, in units of 10^6 bytes, where the catalogue knows.
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
    let spoken = XttsMetadata::read(&registry.directory().join("xtts")).ok();
    let routes = Routes::scan(&registry.directory().join("marian")).unwrap_or_default();
    let entry = |model: &Model| Entry {
        engine: model.engine,
        id: model.id.clone(),
        languages: languages(model, spoken.as_ref(), registry.directory()),
        size_bytes: model.size_bytes(),
        memory_mb: catalogue.model(&model.id).map(|known| known.memory_mb),
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

fn languages(model: &Model, spoken: Option<&XttsMetadata>, directory: &Path) -> String {
    match model.engine {
        Engine::Whisper => {
            let is_english = model
                .files
                .iter()
                .all(|file| file.path.to_string_lossy().contains(".en."));
            if is_english { "en" } else { "multilingual" }.to_owned()
        }
        Engine::Marian => {
            let source = model.source.as_deref().unwrap_or("?");
            format!("{source} \u{2192} {}", model.targets.join(" "))
        }
        Engine::Xtts => spoken.map_or_else(
            || "unknown".to_owned(),
            |spoken| {
                let languages = spoken
                    .languages
                    .iter()
                    .filter(|language| spoken.speaks(**language));
                join(languages)
            },
        ),
        Engine::Piper => {
            let graph = model.files.iter().map(|file| directory.join(&file.path));
            let voice = graph.filter(|path| path.extension().is_some_and(|e| e == "onnx"));
            let languages = voice.map(|graph| match PiperVoice::read(&graph) {
                Ok(voice) => voice.language().to_string(),
                Err(_) => "unknown".to_owned(),
            });
            languages.collect::<Vec<_>>().join(" ")
        }
        Engine::Openvoice | Engine::Vad => "any".to_owned(),
    }
}

fn translations(routes: &Routes) -> Vec<Translations> {
    let sources: BTreeSet<Language> = routes
        .pairs()
        .iter()
        .flat_map(|pair| pair.source_languages.iter().copied())
        .collect();
    let targets: BTreeSet<Language> = routes
        .pairs()
        .iter()
        .flat_map(|pair| pair.targets.keys().copied())
        .collect();
    sources
        .into_iter()
        .map(|source| {
            let reached = |wanted: fn(&Route) -> bool| {
                let is_reached = |target: &Language| {
                    routes
                        .route(source, *target)
                        .is_ok_and(|route| wanted(&route))
                };
                targets.iter().copied().filter(is_reached).collect()
            };
            Translations {
                source,
                direct: reached(|route| matches!(route, Route::Direct(_))),
                through_english: reached(|route| matches!(route, Route::Pivot(_))),
            }
        })
        .collect()
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
        "\n{:<10} {:<id_width$} {:>11} {:>9}  {:<licence_width$}  LANGUAGES",
        "ENGINE", "ID", "SIZE", "MEMORY", "LICENCE"
    ));
    for model in &listing.models {
        say(format_args!(
            "{:<10} {:<id_width$} {:>11} {:>9}  {:<licence_width$}  {}{}",
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
