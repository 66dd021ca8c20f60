//! `process`: one recording without a daemon and without sockets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::answer::{Answer, State, printable, seconds};
use super::request::{Outgoing, Recording};
use super::submit::{MessageArgs, stem};
use super::{CommandError, block_on, parse_language, say};
use crate::app::{self, Core};
use crate::config::Settings;
use crate::domain::{Deadline, Language};
use crate::engine::EngineStatus;
use crate::error::Stage;
use crate::intake::new_job;
use crate::ledger::{Accepted, JobRecord, Ledger, LedgerError};
use crate::observe::{Health, log};
use crate::pipeline::Progress;
use crate::pipeline::progress::Step;
use crate::protocol::{POOL_FULL, parse};
use crate::scheduler::Lane;

/// How often engines are looked at while they load.
const LOAD_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// More events than one job can have.
const MAX_EVENTS: u32 = 1000;

const EXAMPLES: &str = "\
Examples:
  translator process message.ogg --to fr,es
  translator process message.wav --to de --output speech --no-voice-clone

Nothing is kept but the files in the output folder: <FILE>.<language>.mp3, <FILE>.transcript.json \
and <FILE>.translations.json.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProcessArgs {
    /// Recording: wav, mp3, ogg, opus, webm, m4a, aac, flac
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Languages to translate into, with commas
    #[arg(long, value_name = "LANGUAGES", required = true, value_delimiter = ',', value_parser = parse_language)]
    to: Vec<Language>,
    #[command(flatten)]
    message: MessageArgs,
}

pub(super) fn run(mut settings: Settings, args: &ProcessArgs) -> Result<ExitCode, CommandError> {
    // The daemon's own log would tear the progress bars; what fails is told at the end.
    log::init("off", log::LogFormat::Text);
    let scratch =
        tempfile::tempdir().map_err(|source| CommandError::io("the temporary folder", source))?;
    keep_nothing(&mut settings, scratch.path());

    let recording = Recording::read(&args.file, settings.audio.max_bytes)?;
    let outgoing = args.message.request(&recording, &args.to);
    let stem = stem(&args.file);
    let mut answer = Answer::to(&outgoing.message_id, &args.to, &args.message.output, &stem);
    block_on(process(&settings, outgoing, args, &mut answer))?;

    print_table(&answer);
    for file in answer.write_texts()? {
        say(file.display());
    }
    match answer.state() {
        State::Complete => Ok(ExitCode::SUCCESS),
        State::Failed(reason) | State::Ending(reason) => {
            Err(CommandError::JobFailed(reason.clone()))
        }
        State::Open => Err(CommandError::JobFailed(
            "it ended without a last event".to_owned(),
        )),
    }
}

/// Lets all that is kept be kept in a folder that is deleted.
pub(super) fn keep_nothing(settings: &mut Settings, scratch: &Path) {
    settings.data_dir = scratch.join("data");
    settings.voices.path = None;
    settings.voices.clone_log = None;
    settings.output.path = scratch.join("speech");
    settings.mongo.url = None;
}

async fn process(
    settings: &Settings,
    outgoing: Outgoing,
    args: &ProcessArgs,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let ledger = Ledger::open(&settings.data_dir)?;
    let core = app::build(settings, ledger.clone(), None)?;
    wait_for_models(&core.health).await?;

    let record = accept(&ledger, outgoing, Lane::Audio).await?;
    let stages = 3 - usize::from(args.message.mobile_text.is_some()) + 3 * args.to.len();
    let bars = tokio::spawn(show_progress(core.pipeline.progress.subscribe(), stages));
    let deadline = Deadline::after(Duration::from_secs(settings.jobs.deadline_secs));
    let Core { pipeline, .. } = core;
    let attempt = pipeline.run(record, false, deadline).await;
    // The bars end with the last sender of progress.
    drop(pipeline);
    drop(bars.await);
    attempt?;

    tokio::task::block_in_place(|| {
        for event in ledger.pending_events_blocking(MAX_EVENTS)? {
            answer.take(&ledger.event_frames_blocking(event.id)?)?;
        }
        Ok(())
    })
}

/// Fails with an engine's own words when one cannot load: in a daemon it would be tried again.
pub(super) async fn wait_for_models(health: &Health) -> Result<(), CommandError> {
    let spinner = ProgressBar::new_spinner().with_message("loading models");
    spinner.enable_steady_tick(Duration::from_millis(100));
    while !health.are_models_ready() {
        for (engine, status) in health.engines() {
            if let EngineStatus::Failed(reason) = status {
                return Err(CommandError::Engine {
                    engine,
                    reason: reason.to_string(),
                });
            }
        }
        tokio::time::sleep(LOAD_CHECK_INTERVAL).await;
    }
    spinner.finish_and_clear();
    Ok(())
}

/// Keeps a request as a job that is being done.
pub(super) async fn accept(
    ledger: &Ledger,
    outgoing: Outgoing,
    lane: Lane,
) -> Result<JobRecord, CommandError> {
    let mut request =
        parse(&outgoing.frames).map_err(|error| CommandError::JobFailed(error.to_string()))?;
    let task_id = Uuid::new_v4().to_string();
    request.set_task_id(task_id.clone());
    let job = new_job(&request, lane, task_id, &outgoing.frames);
    let job_id = match ledger.accept(job).await? {
        Accepted::New(job_id) | Accepted::Duplicate { job_id, .. } => job_id,
        Accepted::Refused => return Err(CommandError::JobFailed(POOL_FULL.to_owned())),
    };
    ledger.start_attempt(job_id).await?;
    let record = ledger.load(job_id).await?;
    Ok(record.ok_or(LedgerError::UnknownJob(job_id))?)
}

/// A bar for the whole and a line for each stage that runs.
async fn show_progress(mut progress: broadcast::Receiver<Progress>, stages: usize) {
    let bars = MultiProgress::new();
    let whole = bars.add(
        ProgressBar::new(stages as u64).with_style(style("{bar:40} {pos}/{len} stages, {elapsed}")),
    );
    whole.enable_steady_tick(Duration::from_millis(200));
    let mut running: HashMap<(Stage, Option<Language>), ProgressBar> = HashMap::new();
    loop {
        let event = match progress.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => break,
        };
        let key = (event.stage, event.language);
        let name = match event.language {
            Some(language) => format!("{} {language}", event.stage.as_str()),
            None => event.stage.as_str().to_owned(),
        };
        match event.step {
            Step::Started => {
                let line = ProgressBar::new_spinner()
                    .with_style(style("{spinner} {msg} {elapsed}"))
                    .with_message(name);
                let line = bars.insert_before(&whole, line);
                line.enable_steady_tick(Duration::from_millis(100));
                running.insert(key, line);
            }
            Step::Done | Step::Failed => {
                whole.inc(1);
                if let Some(line) = running.remove(&key) {
                    let mark = if event.step == Step::Done {
                        "done"
                    } else {
                        "failed"
                    };
                    line.finish_with_message(format!("{name} {mark}"));
                }
            }
        }
    }
    whole.finish_and_clear();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print_table(answer: &Answer) {
    if let Some(transcript) = answer.transcript() {
        say(format_args!("transcript  {transcript}"));
    }
    for (language, translated) in answer.translated() {
        let Some(speech) = &translated.speech else {
            continue;
        };
        let voice = if speech.is_cloned {
            "cloned voice"
        } else {
            "default voice"
        };
        say(format_args!(
            "{:<11} {:>8}  {voice:<13}  {}\n{:<11} {}",
            language.as_str(),
            seconds(speech.duration_ms),
            speech.file.display(),
            "",
            printable(&translated.text),
        ));
    }
}
