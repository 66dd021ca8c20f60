//! Settings: built-in defaults, then a file, then environment variables.
//!
//! `config/default.toml` documents every key and is part of the binary. A file may name only keys
//! that exist. Variables may hold nonsense, because the daemon shares its environment with others:
//! what can't be used is reported as a [`Warning`] and ignored.

mod audio;
mod cache;
mod console;
mod environment;
mod http;
mod hub;
mod jobs;
mod keys;
mod ledger;
mod log;
mod models;
mod mongo;
mod outbox;
mod output;
mod secret;
mod synthesize;
#[cfg(test)]
mod tests;
mod transcribe;
mod translate;
mod voice_api;
mod voices;
mod zmq;

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::{Deserialize, Serialize};

pub use audio::AudioSettings;
pub use cache::CacheSettings;
pub use console::ConsoleSettings;
pub use environment::Warning;
pub use http::HttpSettings;
pub use hub::HubSettings;
pub use jobs::JobSettings;
pub use keys::UnknownKey;
pub use ledger::LedgerSettings;
pub use log::{LogFormat, LogLevel, LogSettings};
pub use models::{DeviceChoice, EngineName, ModelSettings};
pub use mongo::{MongoSettings, MongoWrite};
pub use outbox::OutboxSettings;
pub use output::OutputSettings;
pub use secret::Secret;
pub use synthesize::{BaseVoiceChoice, SpeechFormat, SynthesizeSettings, Unsupported};
pub use transcribe::TranscribeSettings;
pub use translate::TranslateSettings;
pub use voice_api::VoiceApiSettings;
pub use voices::VoiceSettings;
pub use zmq::ZmqSettings;

/// The defaults, with an explanation of every key.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");

/// The variable that names a file when none is given.
const FILE_VARIABLE: &str = "TRANSLATOR_CONFIG";

/// All settings, checked.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Ledger, stored audio and voices.
    pub data_dir: PathBuf,
    /// The gateway's sockets.
    pub zmq: ZmqSettings,
    /// How events are published.
    pub outbox: OutboxSettings,
    /// Probes, metrics and API.
    pub http: HttpSettings,
    /// The page for people.
    pub console: ConsoleSettings,
    /// What is kept, and for how long.
    pub ledger: LedgerSettings,
    /// Results that are given out again.
    pub cache: CacheSettings,
    /// How much is done at once.
    pub jobs: JobSettings,
    /// What recordings are taken, and from where.
    pub audio: AudioSettings,
    /// Where results are written.
    pub output: OutputSettings,
    /// Where models are, and what runs them.
    pub models: ModelSettings,
    /// Where `models pull` fetches them.
    pub hub: HubSettings,
    /// Speech to text.
    pub transcribe: TranscribeSettings,
    /// Text to text.
    pub translate: TranslateSettings,
    /// Text to speech.
    pub synthesize: SynthesizeSettings,
    /// What is learnt about speakers.
    pub voices: VoiceSettings,
    /// The voice API.
    pub voice_api: VoiceApiSettings,
    /// The database.
    pub mongo: MongoSettings,
    /// What is written to standard error.
    pub log: LogSettings,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or can't be read.
    #[error("{} could not be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not valid TOML", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The file has keys that mean nothing, most likely misspelt.
    #[error("{}: {}", .path.display(), join(.keys))]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// The keys, at least one.
        keys: Vec<UnknownKey>,
    },
    /// A value is of another type than its key asks for.
    #[error("a setting has the wrong type")]
    Type(#[source] Box<config::ConfigError>),
    /// Values that can't be meant.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
}

/// A value that can't be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `zmq.pull_port`.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.problem)
    }
}

fn join<T: fmt::Display>(items: &[T]) -> String {
    let texts: Vec<_> = items.iter().map(T::to_string).collect();
    texts.join("; ")
}

/// Collects what is wrong with values, so that all of it can be told at once.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn require(&mut self, holds: bool, key: &'static str, problem: impl Into<String>) {
        if !holds {
            self.0.push(Problem {
                key,
                problem: problem.into(),
            });
        }
    }

    /// Requires plain host names, without port or path.
    fn hosts(&mut self, key: &'static str, hosts: &[String]) {
        for host in hosts {
            let is_host = !host.is_empty() && !host.contains(['/', ':', '*', '@', ' ']);
            self.require(
                is_host,
                key,
                format!(
                    "has {host:?}, which is not a plain host name without scheme, port and path"
                ),
            );
        }
    }

    fn within<T: PartialOrd + fmt::Display>(
        &mut self,
        key: &'static str,
        value: T,
        range: std::ops::RangeInclusive<T>,
    ) {
        let problem = format!(
            "must be from {} to {}, not {value}",
            range.start(),
            range.end()
        );
        self.require(range.contains(&value), key, problem);
    }
}

/// The environment of this process, as [`Settings::load`] takes it.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Where a program is: the path that `name` is, else the first of that name in a folder of `PATH` that
/// may be run.
pub fn program_path(name: &Path) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        let facts = std::fs::metadata(path);
        facts.is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    // As a shell does: what has a slash is no name.
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok().filter(is_program);
    }
    let (_, folders) = process_environment().find(|(variable, _)| variable == "PATH")?;
    std::env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(is_program)
}

impl Settings {
    /// Reads the defaults, the file at `path` (else the one named by `TRANSLATOR_CONFIG`, else
    /// none) and `environment`; also returns what of the environment could not be used.
    ///
    /// # Errors
    /// What is wrong with the file, or with the values that come of it all.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let named_by_variable = environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value));

        let mut builder =
            Config::builder().add_source(File::from_str(DEFAULT_TOML, FileFormat::Toml));
        if let Some(path) = path.map(Path::to_path_buf).or(named_by_variable) {
            check_file(&path)?;
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        let (overrides, warnings) = environment::read(&environment);
        for (key, value) in overrides {
            builder = builder.set_override(key, value).map_err(type_error)?;
        }
        let settings: Self = builder
            .build()
            .and_then(Config::try_deserialize)
            .map_err(type_error)?;
        settings.validate()?;
        Ok((settings, warnings))
    }

    /// Where voices are stored.
    pub fn voices_dir(&self) -> PathBuf {
        self.voices
            .path
            .clone()
            .unwrap_or_else(|| self.data_dir.join("voices"))
    }

    /// Where it is written who had whose voice made.
    pub fn clone_log(&self) -> PathBuf {
        self.voices
            .clone_log
            .clone()
            .unwrap_or_else(|| self.data_dir.join("clone_log.jsonl"))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.zmq.validate(&mut problems);
        self.http.validate(&mut problems);
        self.outbox.validate(&mut problems);
        self.ledger.validate(&mut problems);
        self.cache.validate(&mut problems);
        self.jobs.validate(&mut problems);
        self.audio.validate(&mut problems);
        self.hub.validate(&mut problems);
        self.transcribe.validate(&mut problems);
        self.translate.validate(&mut problems);
        self.synthesize.validate(&mut problems);
        self.voices.validate(&mut problems);
        self.voice_api.validate(&mut problems);
        self.mongo.validate(&mut problems);
        let http_is_free = self.http.port == 0
            || ![self.zmq.pull_port, self.zmq.pub_port].contains(&self.http.port);
        problems.require(http_is_free, "http.port", "is one of the ports of zmq");
        if problems.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid(problems.0))
        }
    }
}

fn type_error(source: config::ConfigError) -> ConfigError {
    ConfigError::Type(Box::new(source))
}

/// Checks what [`Config`] does not: it merges any file, and names neither the file nor a near miss.
fn check_file(path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|source| ConfigError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let keys = keys::unknown(&table);
    if keys.is_empty() {
        return Ok(());
    }
    Err(ConfigError::UnknownKeys {
        path: path.to_owned(),
        keys,
    })
}
