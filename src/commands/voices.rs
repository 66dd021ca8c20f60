//! `voices`: the voices that a running daemon keeps.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::answer::{printable, seconds};
use super::daemon::{Daemon, Output};
use super::models::say_json;
use super::{CommandError, say};
use crate::config::Settings;
use crate::pipeline::Deleted;

/// Voices that are asked for at once.
const PAGE: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  translator voices list
  translator voices show 66a0f3b2c4d5e6f7a8b9c0d1 --json
  translator voices recalibrate 66a0f3b2c4d5e6f7a8b9c0d1
  translator voices delete 66a0f3b2c4d5e6f7a8b9c0d1 --url http://translator:8000

They talk to a running daemon, by default the one with these settings on this machine.";

/// What to do with voices.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum VoicesCommand {
    /// Show every voice that is kept
    List(Output),
    /// Show what is known about one voice
    Show(OfUser),
    /// Make a voice anew from the user's last recordings
    Recalibrate(OfUser),
    /// Delete everything that is kept of a user: voice, ended jobs, cached results, history, speech
    Delete(OfUser),
}

#[derive(Debug, Args)]
pub(super) struct OfUser {
    /// Whose voice
    #[arg(value_name = "USER_ID")]
    user_id: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Deserialize)]
struct Listing {
    voice_models: Vec<Value>,
    total: usize,
}

#[derive(Deserialize)]
struct Voice {
    user_id: String,
    quality_score: f64,
    audio_count: u64,
    total_duration_ms: u64,
    created_at: String,
    updated_at: String,
    age_days: u64,
    version: u64,
    next_recalibration_at: String,
}

#[derive(Deserialize)]
struct DeletedUser {
    deleted: Deleted,
}

pub(super) fn run(settings: &Settings, command: VoicesCommand) -> Result<ExitCode, CommandError> {
    match command {
        VoicesCommand::List(output) => {
            list(&Daemon::at(settings, output.url.as_deref()), output.json)?
        }
        VoicesCommand::Show(of) => {
            let daemon = Daemon::at(settings, of.output.url.as_deref());
            let voice = daemon.get(&path_of(&of.user_id))?;
            show(&daemon, voice, of.output.json)?;
        }
        VoicesCommand::Recalibrate(of) => {
            let daemon = Daemon::at(settings, of.output.url.as_deref());
            let voice = daemon.post(&format!("{}/recalibrate", path_of(&of.user_id)))?;
            show(&daemon, voice, of.output.json)?;
        }
        VoicesCommand::Delete(of) => {
            let daemon = Daemon::at(settings, of.output.url.as_deref());
            let deleted = daemon.delete(&path_of(&of.user_id))?;
            tell_deleted(&daemon, deleted, of.output.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A user id is opaque: it may hold anything.
fn path_of(user_id: &str) -> String {
    let user_id = utf8_percent_encode(user_id, NON_ALPHANUMERIC);
    format!("/audio/voice-models/{user_id}")
}

fn list(daemon: &Daemon, json: bool) -> Result<(), CommandError> {
    let mut voices = Vec::new();
    loop {
        let path = format!("/audio/voice-models?limit={PAGE}&offset={}", voices.len());
        let page: Listing = daemon.read(daemon.get(&path)?)?;
        let is_last = page.voice_models.is_empty();
        voices.extend(page.voice_models);
        if is_last || voices.len() >= page.total {
            break;
        }
    }
    if json {
        return say_json(&voices);
    }
    let voices: Vec<Voice> = voices
        .into_iter()
        .map(|voice| daemon.read(voice))
        .collect::<Result<_, _>>()?;
    let ids: Vec<String> = voices
        .iter()
        .map(|voice| printable(&voice.user_id))
        .collect();
    let width = ids.iter().map(|id| id.chars().count()).max();
    let width = width.unwrap_or_default().max("USER".len());
    say(format_args!(
        "{:<width$}  {:>7}  {:>10}  {:>10}  {:>7}  {:>8}",
        "USER", "QUALITY", "RECORDINGS", "SPEECH", "VERSION", "AGE"
    ));
    for (voice, id) in voices.iter().zip(&ids) {
        say(format_args!(
            "{id:<width$}  {:>7.2}  {:>10}  {:>10}  {:>7}  {:>6} d",
            voice.quality_score,
            voice.audio_count,
            seconds(voice.total_duration_ms),
            voice.version,
            voice.age_days,
        ));
    }
    Ok(())
}

fn show(daemon: &Daemon, voice: Value, json: bool) -> Result<(), CommandError> {
    if json {
        return say_json(&voice);
    }
    let voice: Voice = daemon.read(voice)?;
    for (name, value) in [
        ("user", printable(&voice.user_id)),
        ("quality", format!("{:.2}", voice.quality_score)),
        ("recordings", voice.audio_count.to_string()),
        ("speech", seconds(voice.total_duration_ms)),
        ("version", voice.version.to_string()),
        ("created", printable(&voice.created_at)),
        ("changed", printable(&voice.updated_at)),
        ("to be made anew", printable(&voice.next_recalibration_at)),
    ] {
        say(format_args!("{name:<16} {value}"));
    }
    Ok(())
}

fn tell_deleted(daemon: &Daemon, answer: Value, json: bool) -> Result<(), CommandError> {
    if json {
        return say_json(&answer);
    }
    let DeletedUser { deleted } = daemon.read(answer)?;
    say(format_args!(
        "deleted: {}, {} finished jobs, {} cached results, {} entries of history and feedback, {} speech files",
        if deleted.voice {
            "the voice"
        } else {
            "no voice"
        },
        deleted.jobs,
        deleted.cached,
        deleted.history,
        deleted.speech_files,
    ));
    if deleted.jobs_in_progress > 0 {
        say(format_args!(
            "{} jobs go on without a voice of the user; delete again when they have ended",
            deleted.jobs_in_progress
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_segment_of_a_path() {
        let path = path_of("post:1/..?x=é");
        assert_eq!(path, "/audio/voice-models/post%3A1%2F%2E%2E%3Fx%3D%C3%A9");
    }
}
