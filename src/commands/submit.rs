//! `submit`: a client that talks to a daemon as the gateway does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::timeout;

use super::answer::{Answer, Note, State};
use super::client::{Address, Client};
use super::request::{self, MobileText, Outgoing, Recording};
use super::{CommandError, block_on, parse_language, say};
use crate::config::Settings;
use crate::domain::Language;

/// An error event follows the completion of a job that could speak nothing at once.
const LAST_WORDS: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  translator submit message.ogg --to fr,es
  translator submit message.m4a --to en --mobile-text \"Salut, ça va ?\" --mobile-language fr
  translator submit --text \"See you at 6 pm\" --from en --to fr,es
  translator submit message.wav --to de --host worker-1 --output speech

The daemon's ports are those of the settings (5555 and 5558 by default).";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SubmitArgs {
    /// Recording: wav, mp3, ogg, opus, webm, m4a, aac, flac
    #[arg(
        value_name = "FILE",
        required_unless_present = "text",
        conflicts_with = "text"
    )]
    file: Option<PathBuf>,
    /// Languages to translate into, with commas
    #[arg(long, value_name = "LANGUAGES", required = true, value_delimiter = ',', value_parser = parse_language)]
    pub(super) to: Vec<Language>,
    /// Translate this text instead of a recording
    #[arg(long, conflicts_with_all = ["mobile_text", "mobile_language"])]
    text: Option<String>,
    /// Language of the text; detected otherwise, where the text is long enough
    // Clap requires nothing of an argument that conflicts with what is there, so both have to be said.
    #[arg(long, value_name = "LANGUAGE", requires = "text", conflicts_with = "file", value_parser = parse_language)]
    from: Option<Language>,
    #[command(flatten)]
    message: MessageArgs,
    /// Where the daemon is
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port that takes requests, if not that of the settings
    #[arg(long, value_name = "PORT")]
    pull_port: Option<u16>,
    /// Port that gives events, if not that of the settings
    #[arg(long, value_name = "PORT")]
    pub_port: Option<u16>,
    /// Time for the whole answer
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout_secs: u64,
}

/// What can be said about a voice message, and where its speech goes.
#[derive(Debug, Args)]
pub(super) struct MessageArgs {
    /// Transcript of the sender's device: the recording is not transcribed again
    #[arg(long, value_name = "TEXT")]
    pub(super) mobile_text: Option<String>,
    /// Language of that transcript
    #[arg(long, value_name = "LANGUAGE", requires = "mobile_text", value_parser = parse_language)]
    pub(super) mobile_language: Option<Language>,
    /// Whose voice it is: recordings of one user improve one voice
    #[arg(long, value_name = "ID", default_value = "cli")]
    pub(super) user: String,
    /// Speak with the default voice and learn nothing about the sender's
    #[arg(long)]
    pub(super) no_voice_clone: bool,
    /// Folder for the speech
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    pub(super) output: PathBuf,
}

impl MessageArgs {
    pub(super) fn request(&self, recording: &Recording, targets: &[Language]) -> Outgoing {
        let mobile = self.mobile_text.as_deref().map(|text| MobileText {
            text,
            language: self.mobile_language,
        });
        request::audio_process(recording, targets, mobile, &self.user, !self.no_voice_clone)
    }
}

pub(super) fn run(settings: &Settings, args: &SubmitArgs) -> Result<ExitCode, CommandError> {
    let (outgoing, stem) = match (&args.file, &args.text) {
        (Some(file), _) => {
            let recording = Recording::read(file, settings.zmq.max_message_bytes)?;
            (args.message.request(&recording, &args.to), stem(file))
        }
        (None, text) => {
            let text = text.as_deref().unwrap_or_default();
            (
                request::translation(text, args.from, &args.to),
                "text".to_owned(),
            )
        }
    };
    let address = Address {
        host: args.host.clone(),
        pull_port: args.pull_port.unwrap_or(settings.zmq.pull_port),
        pub_port: args.pub_port.unwrap_or(settings.zmq.pub_port),
    };
    let answer = Answer::to(&outgoing.message_id, &args.to, &args.message.output, &stem);
    let patience = Duration::from_secs(args.timeout_secs);
    block_on(submit(&address, outgoing, answer, patience))?;
    Ok(ExitCode::SUCCESS)
}

/// The file's name without its extension, for the names of what is made of it.
pub(super) fn stem(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Sends a request and prints every event of its answer as it arrives.
///
/// # Errors
/// There is no daemon, the answer is not complete in time, or the daemon says that the job failed.
pub(super) async fn submit(
    address: &Address,
    outgoing: Outgoing,
    mut answer: Answer,
    patience: Duration,
) -> Result<Answer, CommandError> {
    let started = Instant::now();
    let mut client = Client::connect(address).await?;
    let bytes: usize = outgoing.frames.iter().map(|frame| frame.len()).sum();
    say_at(
        started,
        format_args!("sent {} frames, {bytes} bytes", outgoing.frames.len()),
    );
    client.send(outgoing.frames).await?;
    let follow = async {
        loop {
            let last_words = match answer.state() {
                State::Complete => return Ok(answer),
                State::Failed(reason) => return Err(CommandError::JobFailed(reason.clone())),
                State::Ending(reason) => Some(reason.clone()),
                State::Open => None,
            };
            let next = next_note(&mut client, &mut answer);
            let note = match last_words {
                None => next.await?,
                Some(reason) => match timeout(LAST_WORDS, next).await {
                    Ok(note) => note?,
                    Err(_) => return Err(CommandError::JobFailed(reason)),
                },
            };
            say_at(started, format_args!("{note}"));
        }
    };
    match timeout(patience, follow).await {
        Ok(result) => result,
        Err(_) => Err(CommandError::Timeout(patience)),
    }
}

/// The next event of this answer; what belongs to others is passed over.
async fn next_note(client: &mut Client, answer: &mut Answer) -> Result<Note, CommandError> {
    loop {
        if let Some(note) = answer.take(&client.receive().await)? {
            return Ok(note);
        }
    }
}

fn say_at(started: Instant, line: std::fmt::Arguments<'_>) {
    say(format_args!(
        "{:8.2} s {line}",
        started.elapsed().as_secs_f64()
    ));
}
