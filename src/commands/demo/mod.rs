//! `demo`: a daemon as it comes, and a voice message and a text through its sockets.

mod models;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::answer::{Answer, printable};
use super::client::Address;
use super::healthcheck::get;
use super::request::{self, Recording};
use super::submit::{stem, submit};
use super::{CommandError, block_on, say};
use crate::app;
use crate::config::{Settings, process_environment};
use crate::domain::Language;
use crate::error::error_chain;
use models::{Kind, Models};

/// The voice message that is sent.
const SAMPLE: &str = "models/fixtures/audio/voice_message.ogg";

/// Languages that it is translated into. The tiny models know its few words in these by heart; French
/// is for the text, since the model for it knows sentences and no greetings.
const TARGETS: [&str; 2] = ["es", "de"];

/// The English text that is translated into French, if no other is given. Nobody has taught the model
/// one of its sentences.
const TEXT: &str = "I am at the station and I am waiting for you. I forgot my phone at home. \
    Do you want to eat with us tonight?";

/// Time for loading models; real ones are read and checked byte by byte the first time.
const START_PATIENCE: Duration = Duration::from_secs(300);

/// Time for the whole answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(900);

/// Time for the daemon to stop after SIGTERM.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// How often a starting daemon is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// Variables of this environment that the daemon gets. All others would change its settings.
const KEPT_VARIABLES: [&str; 7] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "ORT_DYLIB_PATH",
];

const RULE: &str =
    "────────────────────────────────────────────────────────────────────────────────";

const EXAMPLES: &str = "\
Examples:
  translator demo
  translator demo --text \"My brother lives in Paris.\"
  MODELS_PATH=/models translator demo --output speech

Run it in the project's folder. Where the settings name no models, it takes the tiny ones in
models/fixtures and models/demo.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// Folder for the speech and the daemon's log
    #[arg(long, value_name = "DIR", default_value = "outputs/demo")]
    output: PathBuf,
    /// English text to translate into French, in simple sentences
    #[arg(long, default_value = TEXT, value_parser = parse_text)]
    text: String,
}

fn parse_text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("there is nothing to translate".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn run(settings: &Settings, args: &DemoArgs) -> Result<ExitCode, CommandError> {
    let sample = Path::new(SAMPLE);
    if !sample.is_file() {
        return Err(CommandError::NoSample(sample.to_owned()));
    }
    std::fs::create_dir_all(&args.output)
        .map_err(|source| CommandError::path(&args.output, source))?;
    block_on(async {
        // Neither daemon nor temporary folder may be left behind.
        let interrupted = interrupted()?;
        let scratch = tempfile::tempdir()
            .map_err(|source| CommandError::io("the temporary folder", source))?;
        let models = Models::choose(settings, &scratch.path().join("models"))?;
        let voice = SpeechOfDemo::of(settings, &models);
        if !models.are_real() {
            say(banner(models.kind, &voice));
        }
        say(format_args!("models: {}", models.origin));
        let mut daemon = Daemon::start(settings, &models, &voice, &args.output, scratch.path())?;
        let result = tokio::select! {
            result = accompanied(&mut daemon, settings, &models, args) => result,
            () = interrupted => Err(CommandError::Interrupted),
        };
        let stopped = daemon.stop().await;
        result?;
        stopped?;
        say(format_args!(
            "\nThe daemon has stopped; its log is {}.",
            daemon.log.display()
        ));
        Ok(ExitCode::SUCCESS)
    })
}

/// Who speaks in the demo.
#[derive(Debug, PartialEq, Eq)]
enum SpeechOfDemo {
    /// Whoever speaks with these models by the settings.
    Settings,
    /// espeak-ng of this version, since the tiny models speak noise.
    Espeak(String),
    /// The tiny models, and why.
    Noise(String),
}

impl SpeechOfDemo {
    fn of(settings: &Settings, models: &Models) -> Self {
        if models.are_real() {
            return Self::Settings;
        }
        match app::espeak(settings) {
            Ok(espeak) => Self::Espeak(espeak.version().to_owned()),
            Err(error) => Self::Noise(error_chain(&error)),
        }
    }

    /// Settings of the daemon. The tiny converter would make noise of words.
    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Settings => &[],
            Self::Espeak(_) => &[
                ("TRANSLATOR_BASE_VOICE", "always"),
                ("TRANSLATOR_CONVERT_BASE_VOICE", "false"),
            ],
            Self::Noise(_) => &[("TRANSLATOR_BASE_VOICE", "off")],
        }
    }
}

/// What is to be expected of the tiny models.
fn banner(models: Kind, voice: &SpeechOfDemo) -> String {
    let translations = match models {
        Kind::Bundled => {
            "Simple English\n  sentences become French; the other languages are for tests, word by word."
        }
        Kind::Fixtures | Kind::Real => "They\n  translate word by word, and know fifty words.",
    };
    let speech = match voice {
        SpeechOfDemo::Espeak(version) => {
            format!("  espeak-ng {version} reads the translations aloud, in a voice of its own.")
        }
        SpeechOfDemo::Noise(why) => format!(
            "  They speak noise: {why}.\n  With espeak-ng the translations would be read aloud."
        ),
        SpeechOfDemo::Settings => String::new(),
    };
    format!(
        "\
{RULE}
  Tiny models: whatever is said, they hear the same words. {translations}
{speech}
  To hear the sender's voice, put real models into models/ or set MODELS_PATH:
  README, \"Models and licences\".
{RULE}"
    )
}

/// Completes when the process is told to end.
fn interrupted() -> Result<impl Future<Output = ()>, CommandError> {
    let listen = |kind| signal(kind).map_err(|source| CommandError::io("signals", source));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Waits for the daemon and carries all through it, as long as it lives.
async fn accompanied(
    daemon: &mut Daemon,
    settings: &Settings,
    models: &Models,
    args: &DemoArgs,
) -> Result<(), CommandError> {
    daemon.wait_until_ready().await?;
    tokio::select! {
        result = carry(&daemon.address, settings, models, args) => result,
        status = daemon.process.wait() => Err(CommandError::Ended {
            reason: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            log: daemon.log.clone(),
        }),
    }
}

/// Carries the sample and then the text through a daemon.
async fn carry(
    daemon: &Address,
    settings: &Settings,
    models: &Models,
    args: &DemoArgs,
) -> Result<(), CommandError> {
    carry_sample(daemon, settings, args).await?;
    if !models.translate(Language::ENGLISH, Language::FRENCH) {
        say("\nno text is sent: none of these models translates English into French");
        return Ok(());
    }
    carry_text(daemon, args).await
}

async fn carry_sample(
    daemon: &Address,
    settings: &Settings,
    args: &DemoArgs,
) -> Result<(), CommandError> {
    let sample = Path::new(SAMPLE);
    let recording = Recording::read(sample, settings.zmq.max_message_bytes)?;
    let targets: Vec<Language> = TARGETS.into_iter().filter_map(Language::parse).collect();
    say(format_args!(
        "sending {SAMPLE} to be heard in {}",
        TARGETS.join(" and ")
    ));
    let outgoing = request::audio_process(&recording, &targets, None, "demo", true);
    let answer = Answer::to(&outgoing.message_id, &targets, &args.output, &stem(sample));
    let answer = submit(daemon, outgoing, answer, ANSWER_PATIENCE).await?;
    say("\nYou can listen to:");
    for translated in answer.translated().values() {
        if let Some(speech) = &translated.speech {
            say(format_args!("  {}", speech.file.display()));
        }
    }
    Ok(())
}

async fn carry_text(daemon: &Address, args: &DemoArgs) -> Result<(), CommandError> {
    let targets = [Language::FRENCH];
    say(format_args!(
        "\nsending “{}” to be read in {}",
        printable(&args.text),
        Language::FRENCH
    ));
    let outgoing = request::translation(&args.text, Some(Language::ENGLISH), &targets);
    let answer = Answer::to(&outgoing.message_id, &targets, &args.output, "text");
    submit(daemon, outgoing, answer, ANSWER_PATIENCE).await?;
    Ok(())
}

/// A daemon in a process of its own, on free ports and with nothing of an earlier run.
struct Daemon {
    process: Child,
    address: Address,
    http_port: u16,
    log: PathBuf,
}

impl Daemon {
    fn start(
        settings: &Settings,
        models: &Models,
        voice: &SpeechOfDemo,
        output: &Path,
        scratch: &Path,
    ) -> Result<Self, CommandError> {
        let [pull_port, pub_port, http_port] =
            free_ports().map_err(|source| CommandError::io("a free port", source))?;
        let log = output.join("daemon.log");
        let stderr = File::create(&log).map_err(|source| CommandError::path(&log, source))?;
        let program = std::env::current_exe()
            .map_err(|source| CommandError::io("this program's own file", source))?;
        let kept =
            process_environment().filter(|(name, _)| KEPT_VARIABLES.contains(&name.as_str()));
        let process = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs(kept)
            .env("TRANSLATOR_ZMQ_BIND_ADDRESS", "127.0.0.1")
            .env("TRANSLATOR_HTTP_BIND_ADDRESS", "127.0.0.1")
            .env("TRANSLATOR_ZMQ_PULL_PORT", pull_port.to_string())
            .env("TRANSLATOR_ZMQ_PUB_PORT", pub_port.to_string())
            .env("HTTP_PORT", http_port.to_string())
            .env("TRANSLATOR_DATA_DIR", scratch.join("data"))
            .env("OUTPUT_DIR", scratch.join("speech"))
            .env("MODELS_PATH", &models.directory)
            .env(
                "TRANSLATOR_ACCEPT_LICENSES",
                settings.models.accept_licenses.join(","),
            )
            .envs(voice.environment().iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CommandError::io("the daemon's process", source))?;
        Ok(Self {
            process,
            address: Address {
                host: "127.0.0.1".to_owned(),
                pull_port,
                pub_port,
            },
            http_port,
            log,
        })
    }

    async fn wait_until_ready(&mut self) -> Result<(), CommandError> {
        let started = Instant::now();
        let mut failure = "it does not answer".to_owned();
        while started.elapsed() < START_PATIENCE {
            if let Ok(Some(status)) = self.process.try_wait() {
                failure = status.to_string();
                break;
            }
            if self.ask("/ready").await.is_some() {
                let elapsed = started.elapsed().as_secs_f64();
                let Address {
                    pull_port,
                    pub_port,
                    ..
                } = &self.address;
                say(format_args!(
                    "daemon ready after {elapsed:.1} s: requests on {pull_port}, events on {pub_port}, http on {}",
                    self.http_port
                ));
                return Ok(());
            }
            if let Some(reason) = self.ask("/health").await.as_deref().and_then(failed_engine) {
                failure = reason;
                break;
            }
            sleep(READY_INTERVAL).await;
        }
        Err(CommandError::NotReady {
            reason: failure,
            log: self.log.clone(),
        })
    }

    async fn ask(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http_port);
        tokio::task::spawn_blocking(move || get(&url).ok())
            .await
            .ok()?
    }

    /// Asks the daemon to stop, as an operator would, and waits for it.
    async fn stop(&mut self) -> Result<(), CommandError> {
        let refused = |source| CommandError::io("the daemon's process", source);
        if let Some(pid) = self.process.id() {
            // std can only kill; every POSIX shell can send SIGTERM.
            let pid = pid.to_string();
            let kill = Command::new("sh")
                .args(["-c", "kill -TERM \"$1\"", "sh", &pid])
                .status();
            kill.await.map_err(refused)?;
        }
        match timeout(STOP_PATIENCE, self.process.wait()).await {
            Ok(waited) => waited.map(drop).map_err(refused),
            Err(_) => self.process.kill().await.map_err(refused),
        }
    }
}

/// What an engine says that could not load, from the body of `/health`.
fn failed_engine(health: &str) -> Option<String> {
    let health: serde_json::Value = serde_json::from_str(health).ok()?;
    let engines = health
        .pointer("/components/translation_models")?
        .as_object()?;
    engines.iter().find_map(|(engine, status)| {
        let reason = status.as_str()?.strip_prefix("failed: ")?;
        Some(format!("{engine}: {reason}"))
    })
}

/// Ports that nobody uses at this moment.
fn free_ports() -> std::io::Result<[u16; 3]> {
    // All are held until the last is found, so that they differ.
    let [a, b, c] = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)));
    let (a, b, c) = (a?, b?, c?);
    Ok([
        a.local_addr()?.port(),
        b.local_addr()?.port(),
        c.local_addr()?.port(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c);
    }

    #[test]
    fn tiny_models_leave_the_words_to_espeak_where_it_is() {
        let settings = |program: &str| {
            let variable = "TRANSLATOR_ESPEAK_PROGRAM".to_owned();
            Settings::load(None, [(variable, program.to_owned())])
                .unwrap()
                .0
        };
        let models = |kind| Models {
            directory: PathBuf::new(),
            kind,
            origin: String::new(),
        };
        let settings = settings("no-such-program");
        let voice = SpeechOfDemo::of(&settings, &models(Kind::Bundled));
        assert!(matches!(&voice, SpeechOfDemo::Noise(why) if why.contains("no-such-program")));
        assert!(banner(Kind::Bundled, &voice).contains("noise"));
        let real = SpeechOfDemo::of(&settings, &models(Kind::Real));
        assert_eq!(real, SpeechOfDemo::Settings);
        assert!(real.environment().is_empty());
        let espeak = SpeechOfDemo::Espeak("1.51".to_owned());
        let shown = banner(Kind::Bundled, &espeak);
        assert!(shown.contains("espeak-ng 1.51 reads the translations"));
        assert!(shown.contains("become French"));
        let shown = banner(Kind::Fixtures, &espeak);
        assert!(shown.contains("word by word") && !shown.contains("become French"));
    }

    #[test]
    fn an_engine_that_cannot_load_is_named() {
        let health = |status: &str| {
            serde_json::json!({"components": {"translation_models": {"embed": "ready", "xtts": status}}}).to_string()
        };
        assert_eq!(
            failed_engine(&health("failed: no file")).as_deref(),
            Some("xtts: no file")
        );
        assert_eq!(failed_engine(&health("loading")), None);
        assert_eq!(failed_engine("no json"), None);
    }
}
