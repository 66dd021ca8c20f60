//! The command line: one file for each command.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `serve` | the daemon |
//! | `submit` | a client that talks to a daemon as the gateway does |
//! | `process` | one recording without a daemon |
//! | `languages` | what a running daemon hears, translates and speaks |
//! | `openapi` | the description of the HTTP interface |
//! | `voices` | the voices that a running daemon keeps |
//! | `jobs` | what a daemon has to do, has done and could not do |
//! | `models` | what is installed, whether it is intact, what can be pulled, a manifest for a folder of models |
//! | `doctor` | what would keep the daemon from working |
//! | `check_config` | the settings in force |
//! | `healthcheck` | the probe of a container |
//! | `demo` | daemon and client together |
//! | `bench` | how long messages take, and what they cost |
//! | `decode_worker` | what the daemon starts to decode recordings |
//! | `request` | requests as the gateway writes them |
//! | `answer` | events as people read them, and the files they bring |
//! | `client` | the sockets of a client |
//! | `daemon` | the HTTP side of a daemon |

mod answer;
mod bench;
mod check_config;
mod client;
mod daemon;
mod decode_worker;
mod demo;
mod doctor;
mod error;
mod healthcheck;
mod jobs;
mod languages;
mod models;
mod openapi;
mod process;
mod request;
mod serve;
mod submit;
mod voices;

use std::fmt::Display;
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{Settings, Warning, process_environment};
use crate::domain::Language;
use crate::error::error_chain;

pub use error::CommandError;

const EXAMPLES: &str = "\
Examples:
  translator                                        run the daemon with its defaults
  translator --config translator.toml serve         run it with a file of settings
  translator submit message.ogg --to fr,es          send a voice message to the daemon
  translator process message.ogg --to fr,es         the same without a daemon
  translator doctor                                 find out why it does not work

Exit codes: 0 success, 1 failure, 2 wrong arguments, 64 wrong settings.";

/// Turns voice messages into transcripts, translations and speech in the sender's own voice.
///
/// Without a command the daemon runs, as with `serve`.
#[derive(Debug, Parser)]
#[command(name = "translator", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// File with settings; without it the one that TRANSLATOR_CONFIG names, else none
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or Ctrl-C
    Serve,
    /// Send a voice message or a text to a daemon and show what comes back
    Submit(submit::SubmitArgs),
    /// Transcribe, translate and speak one recording without a daemon
    Process(process::ProcessArgs),
    /// List, show, remake or delete the voices that a daemon keeps
    #[command(subcommand)]
    Voices(voices::VoicesCommand),
    /// List, show, retry, cancel or purge the jobs of a daemon
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Show the languages that a daemon hears, translates and speaks
    Languages(languages::LanguagesArgs),
    /// Print the description of the HTTP interface, as OpenAPI 3.1
    Openapi,
    /// Pull, list, check or register models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Check everything that the daemon needs
    Doctor(doctor::DoctorArgs),
    /// Show the settings in force, or what is wrong with them
    CheckConfig(check_config::CheckConfigArgs),
    /// Ask a running daemon whether it is alive
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Start a daemon, send it a sample voice message and a text, keep the speech
    Demo(demo::DemoArgs),
    /// Measure how long messages take on this machine, and what they cost
    Bench(bench::BenchArgs),
    /// Decode recordings for a daemon; it starts this itself
    DecodeWorker(decode_worker::DecodeWorkerArgs),
}

/// Runs one command.
pub fn run(cli: Cli) -> ExitCode {
    let config = cli.config;
    let result = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => load(config).and_then(serve::run),
        Command::Submit(args) => {
            load(config).and_then(|loaded| submit::run(&loaded.settings, &args))
        }
        Command::Process(args) => {
            load(config).and_then(|loaded| process::run(loaded.settings, &args))
        }
        Command::Voices(command) => {
            load(config).and_then(|loaded| voices::run(&loaded.settings, command))
        }
        Command::Jobs(command) => {
            load(config).and_then(|loaded| jobs::run(&loaded.settings, command))
        }
        Command::Languages(args) => {
            load(config).and_then(|loaded| languages::run(&loaded.settings, &args))
        }
        // It is the same whatever the settings are.
        Command::Openapi => openapi::run(),
        Command::Models(command) => {
            load(config).and_then(|loaded| models::run(loaded.settings, command))
        }
        Command::Doctor(args) => load(config).and_then(|loaded| doctor::run(&loaded, &args)),
        Command::CheckConfig(args) => {
            load(args.file.or(config)).and_then(|loaded| check_config::run(&loaded))
        }
        Command::Healthcheck(args) => {
            load(config).and_then(|loaded| healthcheck::run(&loaded.settings, &args))
        }
        Command::Demo(args) => load(config).and_then(|loaded| demo::run(&loaded.settings, &args)),
        Command::Bench(args) => load(config).and_then(|loaded| bench::run(loaded.settings, &args)),
        // It gets all that it needs from the daemon.
        Command::DecodeWorker(args) => decode_worker::run(&args),
    };
    result.unwrap_or_else(|error| {
        complain(format_args!("translator: {}", error_chain(&error)));
        error.exit_code()
    })
}

/// The settings in force, and what of the environment could not be used.
struct Loaded {
    settings: Settings,
    warnings: Vec<Warning>,
}

fn load(path: Option<PathBuf>) -> Result<Loaded, CommandError> {
    let (settings, warnings) = Settings::load(path.as_deref(), process_environment())?;
    Ok(Loaded { settings, warnings })
}

/// Time for what still runs on the blocking pool when a command has its result.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Runs a command that waits for sockets or engines.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::io("the async runtime", source))?;
    let result = runtime.block_on(work);
    // Dropped, it would wait for every file access and download that nobody wants any more.
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

/// Writes a line to standard output. A reader that has gone, as `head` does, is no failure.
fn say(line: impl Display) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Writes a line to standard error.
fn complain(line: impl Display) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Reads one language of a list such as `fr,es`.
fn parse_language(code: &str) -> Result<Language, String> {
    Language::parse(code).ok_or_else(|| "expected a language code such as fr or pt-BR".to_owned())
}

/// Bytes as people read them.
fn human_bytes(bytes: u64) -> impl Display {
    indicatif::HumanBytes(bytes)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("translator").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_serve() {
        let cli = parse(&["--config", "a.toml"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.config, Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn the_file_may_be_named_after_the_command() {
        let cli = parse(&["serve", "--config", "a.toml"]).unwrap();
        assert_eq!(cli.config, Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn languages_are_read_in_any_spelling() {
        let cli = parse(&["submit", "a.ogg", "--to", "FR,pt-BR"]).unwrap();
        let Some(Command::Submit(args)) = cli.command else {
            panic!("not submit");
        };
        let codes: Vec<&str> = args.to.iter().map(Language::as_str).collect();
        assert_eq!(codes, ["fr", "pt"]);
        assert!(parse(&["submit", "a.ogg", "--to", "klingon"]).is_err());
    }

    #[test]
    fn a_submission_is_a_recording_or_a_text() {
        assert!(parse(&["submit", "--to", "fr"]).is_err());
        assert!(parse(&["submit", "a.ogg", "--text", "hello", "--to", "fr"]).is_err());
        assert!(parse(&["submit", "--text", "hello", "--to", "fr"]).is_ok());
        assert!(parse(&["submit", "a.ogg"]).is_err(), "no language");
        assert!(parse(&["submit", "--from", "en", "--to", "fr"]).is_err());
        assert!(parse(&["submit", "a.ogg", "--from", "en", "--to", "fr"]).is_err());
        assert!(
            parse(&[
                "submit",
                "--text",
                "hello",
                "--mobile-text",
                "hello",
                "--to",
                "fr"
            ])
            .is_err()
        );
    }

    #[test]
    fn every_command_explains_itself() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name} has no description");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{name}: {id} has no help");
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
