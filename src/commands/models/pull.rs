//! `models pull`: models from a hub.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::progress::Display;
use crate::commands::{CommandError, block_on, complain, human_bytes, say};
use crate::config::Settings;
use crate::error::error_chain;
use crate::registry::catalogue::{Catalogue, CatalogueModel, Publisher};
use crate::registry::pull::{DirectoryLock, Hub, Plan, PlannedModel, PullError, Puller};
use crate::registry::{Evidence, MANIFEST_FILE, Manifest, Model, verify};

const EXAMPLES: &str = "\
Examples:
  translator models list --available                 what there is
  translator models pull text                        transcripts and translations
  translator models pull small --accept-license cpml
  translator models pull whisper-large-v3-turbo-q5_0 marian-en-ru --dry-run
  HF_ENDPOINT=https://mirror.example translator models pull text

Files come from the hub of hub.endpoint (HF_ENDPOINT) into the folder of models.path (MODELS_PATH), \
by way of HTTPS_PROXY where that is set. Each is compared with the SHA-256 in the catalogue; where the \
catalogue has none, with what the hub announces, which manifest.toml then keeps. An interrupted pull \
goes on where it was. Models that nobody publishes in this form are exported (models/export) and may be \
kept in a repository of your own: hub.exported_repository (TRANSLATOR_EXPORTED_REPOSITORY).";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::commands) struct PullArgs {
    /// Sets of models, or single models
    #[arg(value_name = "SET|MODEL", required = true)]
    names: Vec<String>,
    /// A catalogue of your own, in the form of models/catalogue.toml
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Accept a licence that limits use, such as cpml, after reading it; may be repeated
    #[arg(long, value_name = "LICENCE", alias = "accept-licence")]
    accept_license: Vec<String>,
    /// Files that are fetched at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    parallel: u8,
    /// Ask the hub what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nobody: succeed only if everything is here already
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(settings: Settings, args: PullArgs) -> Result<ExitCode, CommandError> {
    let catalogue = Catalogue::load(args.catalogue.as_deref())?;
    let chosen = catalogue.select(&args.names)?;
    let models: Vec<CatalogueModel> = chosen.into_iter().cloned().collect();
    if args.offline || settings.hub.offline {
        return Ok(all_here(&settings.models.path, &models)?);
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    let is_cancelled = Arc::clone(&cancelled);
    block_on(async move {
        let pulled =
            tokio::task::spawn_blocking(move || pull(&settings, &args, &models, &is_cancelled));
        tokio::select! {
            pulled = pulled => pulled.map_err(|error| CommandError::io("a thread", error.into()))?,
            _ = tokio::signal::ctrl_c() => {
                cancelled.store(true, Ordering::Relaxed);
                complain("\nwhat has come so far is kept: the same command goes on from here");
                Err(CommandError::Interrupted)
            }
        }
    })
}

/// Without asking anybody: whether the models are here and intact.
fn all_here(directory: &Path, models: &[CatalogueModel]) -> Result<ExitCode, PullError> {
    let manifest = Manifest::read(directory).ok();
    let installed = manifest
        .as_ref()
        .map_or(&[][..], |manifest| &manifest.models);
    let is_here = |model: &CatalogueModel| {
        let listed = installed.iter().find(|installed| installed.id == model.id);
        listed.is_some_and(|listed| {
            let mut files = listed.files.iter();
            files.all(|file| verify(&directory.join(&file.path), file, |_| {}).is_ok())
        })
    };
    let missing: Vec<&str> = models
        .iter()
        .filter(|model| !is_here(model))
        .map(|model| model.id.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(PullError::Offline {
            missing: missing.join(", "),
        });
    }
    say(format_args!("{} models, all of them here", models.len()));
    Ok(ExitCode::SUCCESS)
}

fn pull(
    settings: &Settings,
    args: &PullArgs,
    models: &[CatalogueModel],
    cancelled: &AtomicBool,
) -> Result<ExitCode, CommandError> {
    let directory = settings.models.path.as_path();
    let (hub_settings, accepted) = (&settings.hub, &settings.models.accept_licenses);
    let exported_repository = hub_settings.exported_repository.as_deref();
    let is_published = |model: &&CatalogueModel| {
        exported_repository.is_some() || matches!(model.publisher, Publisher::Repository { .. })
    };
    let published: Vec<&CatalogueModel> = models.iter().filter(is_published).collect();
    refuse_fixtures(directory)?;
    accept_licences(&published, &[accepted, &args.accept_license])?;

    let token = hub_settings.token.as_ref().map(|token| token.expose());
    let hub = Hub::new(&hub_settings.endpoint, token).map_err(PullError::from)?;
    let _lock = DirectoryLock::take(directory)?;
    let display = Display::new();
    let puller = Puller {
        hub: &hub,
        directory,
        exported_repository,
        cancelled,
        report: &|event| display.show(event),
    };
    let all: Vec<&CatalogueModel> = models.iter().collect();
    let mut plan = puller.plan(&all)?;
    print_plan(&plan, &hub, directory);
    let mut failed: Vec<(String, String)> = std::mem::take(&mut plan.failed)
        .into_iter()
        .map(|(id, error)| (id, error_chain(&error)))
        .collect();
    if !args.dry_run {
        display.begin(plan.missing_bytes());
        let carried_out = puller.carry_out(&plan, usize::from(args.parallel));
        display.finish();
        failed.extend(carried_out?);
        tell_licences(&plan.models, accepted);
    }
    for (id, reason) in &failed {
        complain(format_args!("{id}: {reason}"));
    }
    for model in &plan.unpublished {
        complain(how_to_export(model, directory));
    }
    let missing = failed.len() + plan.unpublished.len();
    if missing > 0 {
        return Err(CommandError::PullIncomplete {
            missing,
            of: models.len(),
        });
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_fixtures(directory: &Path) -> Result<(), PullError> {
    if !directory.join(MANIFEST_FILE).exists() {
        return Ok(());
    }
    if Manifest::read(directory)?.fixture {
        return Err(PullError::Fixture(directory.to_owned()));
    }
    Ok(())
}

/// Licences that limit use have to be accepted before anything is fetched: in the settings, on the
/// command line, or here.
fn accept_licences(
    models: &[&CatalogueModel],
    accepted: &[&Vec<String>],
) -> Result<(), CommandError> {
    let mut open: BTreeMap<&str, Vec<&CatalogueModel>> = BTreeMap::new();
    for model in models.iter().filter(|model| model.requires_acceptance) {
        let is_accepted = accepted.iter().any(|list| list.contains(&model.licence));
        if !is_accepted {
            open.entry(&model.licence).or_default().push(model);
        }
    }
    for (licence, models) in open {
        let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
        let url = models.first().map_or("", |model| &model.licence_url);
        let refused = || CommandError::LicenceNotAccepted {
            models: ids.join(", "),
            licence: licence.to_owned(),
            url: url.to_owned(),
        };
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(refused());
        }
        let question = format!(
            "{} may be used only as the licence {licence} allows: read {url}\nType {licence} to accept it: ",
            ids.join(", ")
        );
        if ask(&question)? != licence {
            return Err(refused());
        }
    }
    Ok(())
}

/// What somebody at the terminal types.
pub(super) fn ask(question: &str) -> Result<String, CommandError> {
    let terminal = |source| CommandError::io("the terminal", source);
    let mut stderr = std::io::stderr();
    write!(stderr, "{question}")
        .and_then(|()| stderr.flush())
        .map_err(terminal)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(terminal)?;
    Ok(answer.trim().to_owned())
}

fn print_plan(plan: &Plan, hub: &Hub, directory: &Path) {
    say(format_args!(
        "from {} into {}",
        hub.endpoint(),
        directory.display()
    ));
    let width = |text: fn(&PlannedModel) -> usize| plan.models.iter().map(text).max().unwrap_or(0);
    let (id_width, licence_width) = (
        width(|model| model.entry.id.len()),
        width(|model| model.entry.licence.len()),
    );
    for model in &plan.models {
        let size = match model.missing_bytes() {
            0 => "is here".to_owned(),
            missing => human_bytes(missing).to_string(),
        };
        let origin = &model.origin;
        let commit = origin.commit.get(..10).unwrap_or(&origin.commit);
        let page = match &model.licence_on_page {
            Some(licence) if !licence.eq_ignore_ascii_case(&model.entry.licence) => {
                format!(", its page says {licence}")
            }
            _ => String::new(),
        };
        say(format_args!(
            "  {:<id_width$}  {size:>10}  {:<licence_width$}  {}@{commit}{page}",
            model.entry.id, model.entry.licence, origin.repository,
        ));
    }
}

/// A model that has been installed, as one line.
pub(super) fn installed(model: &Model) -> String {
    let size = human_bytes(model.size_bytes());
    let mut line = format!(
        "installed {}: {} files, {size}",
        model.id,
        model.files.len()
    );
    let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
    for evidence in model.files.iter().filter_map(|file| file.verified) {
        let way = match evidence {
            Evidence::Catalogue => "as the catalogue says",
            Evidence::PublishedManifest => "as the published manifest says",
            Evidence::HubSha256 | Evidence::HubGitSha1 => "as the hub announced",
        };
        *ways.entry(way).or_default() += 1;
    }
    for (way, files) in ways {
        // Writing to a String cannot fail.
        write!(line, ", {files} {way}").unwrap_or_default();
    }
    line
}

/// The daemon wants to be told of an accepted licence as well.
fn tell_licences(models: &[PlannedModel], accepted: &[String]) {
    let limited = models.iter().map(|model| &model.entry);
    let mut limited: Vec<&str> = limited
        .filter(|entry| entry.requires_acceptance && !accepted.contains(&entry.licence))
        .map(|entry| entry.licence.as_str())
        .collect();
    limited.dedup();
    for licence in limited {
        say(format_args!(
            "the daemon uses models under {licence} when accept_licenses under [models] (TRANSLATOR_ACCEPT_LICENSES) names it"
        ));
    }
}

fn how_to_export(model: &CatalogueModel, directory: &Path) -> String {
    let Publisher::Export {
        checkpoint,
        command,
    } = &model.publisher
    else {
        return String::new();
    };
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    format!(
        "{}: nobody is known to publish it in this form. Export it from {checkpoint}, in the folder models/export:\n  \
         {command} --out {}\nor set hub.exported_repository (TRANSLATOR_EXPORTED_REPOSITORY) to a repository with an exported model folder",
        model.id,
        directory.display()
    )
}
