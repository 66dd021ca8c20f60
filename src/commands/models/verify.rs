//! `models verify`: every file against the manifest.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Output, say_json};
use crate::commands::{CommandError, human_bytes, say};
use crate::registry::{self, Registry};

#[derive(Serialize)]
struct Verified {
    model: String,
    path: String,
    size_bytes: u64,
    /// What is wrong; absent for an intact file.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn run(registry: &Registry, output: &Output) -> Result<ExitCode, CommandError> {
    let models = &registry.manifest().models;
    let total = models.iter().map(|model| model.size_bytes()).sum();
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style);
    let mut files = Vec::new();
    for (model, file) in models
        .iter()
        .flat_map(|model| model.files.iter().map(move |file| (model, file)))
    {
        bar.set_message(file.path.display().to_string());
        let path = registry.directory().join(&file.path);
        let problem = registry::verify(&path, file, |bytes| bar.inc(bytes)).err();
        files.push(Verified {
            model: model.id.clone(),
            path: file.path.display().to_string(),
            size_bytes: file.size_bytes,
            problem: problem.map(|problem| problem.to_string()),
        });
    }
    bar.finish_and_clear();
    let damaged = files.iter().filter(|file| file.problem.is_some()).count();
    if output.json {
        say_json(&files)?;
    } else {
        for file in &files {
            let state = file.problem.as_deref().unwrap_or("ok");
            say(format_args!("{}: {state}", file.path));
        }
        let size = human_bytes(total);
        say(format_args!(
            "{} files, {size}, {damaged} damaged",
            files.len()
        ));
    }
    Ok(if damaged == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
