//! `languages`: what a running daemon hears, translates and speaks.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::answer::printable;
use super::daemon::{Daemon, Output};
use super::models::say_json;
use super::{CommandError, say};
use crate::config::Settings;

const EXAMPLES: &str = "\
Examples:
  translator languages
  translator languages --json --url http://translator:8000

It asks a running daemon, by default the one with these settings on this machine.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LanguagesArgs {
    #[command(flatten)]
    output: Output,
}

#[derive(Deserialize)]
struct Languages {
    transcription: Vec<String>,
    translation: Vec<Translation>,
    speech: Vec<Speech>,
}

#[derive(Deserialize)]
struct Translation {
    source: String,
    target: String,
    via: Option<String>,
}

#[derive(Deserialize)]
struct Speech {
    language: String,
    voice: String,
}

pub(super) fn run(settings: &Settings, args: &LanguagesArgs) -> Result<ExitCode, CommandError> {
    let daemon = Daemon::at(settings, args.output.url.as_deref());
    let answer: Value = daemon.get("/languages")?;
    if args.output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let languages: Languages = daemon.read(answer)?;
    let none = |codes: String| {
        if codes.is_empty() {
            "none".to_owned()
        } else {
            codes
        }
    };
    say(format_args!(
        "heard       {}",
        none(languages.transcription.join(" "))
    ));
    for voice in ["cloned", "base"] {
        let spoken = languages
            .speech
            .iter()
            .filter(|speech| speech.voice == voice);
        let codes: Vec<&str> = spoken.map(|speech| speech.language.as_str()).collect();
        let whose = if voice == "cloned" {
            "the sender's voice"
        } else {
            "a voice of its own"
        };
        say(format_args!(
            "spoken      {} (in {whose})",
            none(codes.join(" "))
        ));
    }
    let mut sources: Vec<&str> = Vec::new();
    for translation in &languages.translation {
        if sources.last() != Some(&translation.source.as_str()) {
            sources.push(&translation.source);
        }
    }
    if sources.is_empty() {
        say("translated  none");
    }
    for source in sources {
        let from = languages.translation.iter().filter(|t| t.source == source);
        let code = |translation: &Translation| match &translation.via {
            Some(via) => printable(&format!("{} (via {via})", translation.target)),
            None => printable(&translation.target),
        };
        let targets: Vec<String> = from.map(code).collect();
        let source = printable(source);
        say(format_args!(
            "translated  {source} \u{2192} {}",
            targets.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}
