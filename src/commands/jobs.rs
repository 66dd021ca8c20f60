//! `jobs`: what a daemon has to do, has done and could not do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::answer::printable;
use super::daemon::{Daemon, Output};
use super::models::say_json;
use super::{CommandError, human_bytes, say};
use crate::config::Settings;
use crate::domain::timestamp::from_unix_ms;
use crate::ledger::{
    EVENT_STATES, JobDetails, JobFilter, JobId, JobPage, JobState, JobSummary, read_details,
    read_page,
};

const EXAMPLES: &str = "\
Examples:
  translator jobs list --state quarantined
  translator jobs list --event unconfirmed
  translator jobs show 4711 --json
  translator jobs retry 0f5d5c5e-8a4e-4b52-9d3c-6f0a1a3c2b1d
  translator jobs cancel 4711
  translator jobs purge 4711 --force
  translator jobs purge --state quarantined --older-than-hours 24
  translator jobs list --data-dir data                          (no daemon runs)

They talk to a running daemon, by default the one with these settings on this machine, and show it \
the token of http.admin_token (TRANSLATOR_ADMIN_TOKEN). A job is named by its id or by its task id.";

/// What to do with jobs.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum JobsCommand {
    /// Show jobs, newest first
    List(ListArgs),
    /// Show where one job stands: stages, events, documents; never what it is about
    Show(ShowArgs),
    /// Do a job again that failed or was quarantined; what its stages made is kept
    Retry(OneJob),
    /// End a job that has not ended; whoever waits for it gets its error event
    Cancel(OneJob),
    /// Delete ended jobs with everything that is stored of them
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those in this state: accepted, running, done, failed or quarantined
    #[arg(long, value_parser = parse_state)]
    state: Option<JobState>,
    /// Only those of this kind, such as audio_process
    #[arg(long)]
    kind: Option<String>,
    /// Only those of this lane, such as text_fast
    #[arg(long)]
    lane: Option<String>,
    /// Only those of this user
    #[arg(long)]
    user: Option<String>,
    /// Only those with an event in this state; of unconfirmed ones nobody knows whether they have arrived
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(EVENT_STATES))]
    event: Option<String>,
    /// Most jobs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only jobs with smaller ids: the next page
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// Read the ledger of this folder instead of asking a daemon
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Which job: its id, or its task id
    #[arg(value_name = "JOB")]
    job: String,
    /// Read the ledger of this folder instead of asking a daemon
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct OneJob {
    /// Which job: its id, or its task id
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub(super) struct PurgeArgs {
    /// Which job: its id, or its task id
    #[arg(value_name = "JOB", group = "which")]
    job: Option<String>,
    /// All jobs in this state: done, failed or quarantined
    #[arg(long, group = "which", requires = "older_than_hours", value_parser = parse_state)]
    state: Option<JobState>,
    /// Only those that ended as long ago
    #[arg(long, value_name = "HOURS", requires = "state")]
    older_than_hours: Option<u32>,
    /// Also jobs with events that are not published or documents that are not written yet
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Deserialize)]
struct PurgedJobs {
    purged: PurgedCounts,
    kept: u64,
}

#[derive(Deserialize)]
struct PurgedCounts {
    jobs: u64,
    payloads: u64,
}

pub(super) fn run(settings: &Settings, command: JobsCommand) -> Result<ExitCode, CommandError> {
    match command {
        JobsCommand::List(args) => list(settings, args)?,
        JobsCommand::Show(args) => {
            let source = Source::of(settings, args.data_dir, &args.output)?;
            let details = source.details(source.find(&args.job)?)?;
            show(&details, args.output.json)?;
        }
        JobsCommand::Retry(args) => {
            let source = Source::of(settings, None, &args.output)?;
            let (daemon, JobId(id)) = (source.daemon()?, source.find(&args.job)?);
            let answer = daemon.post(&format!("/admin/jobs/{id}/retry"))?;
            show(&daemon.read(answer)?, args.output.json)?;
        }
        JobsCommand::Cancel(args) => {
            let source = Source::of(settings, None, &args.output)?;
            let (daemon, JobId(id)) = (source.daemon()?, source.find(&args.job)?);
            let answer = daemon.post(&format!("/admin/jobs/{id}/cancel"))?;
            show(&daemon.read(answer)?, args.output.json)?;
        }
        JobsCommand::Purge(args) => purge(settings, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where jobs are looked for.
enum Source {
    Daemon(Daemon),
    Folder(PathBuf),
}

impl Source {
    fn of(
        settings: &Settings,
        data_dir: Option<PathBuf>,
        output: &Output,
    ) -> Result<Self, CommandError> {
        if let Some(data_dir) = data_dir {
            return Ok(Self::Folder(data_dir));
        }
        let token = settings.http.admin_token.as_ref();
        let token = token.ok_or(CommandError::NoAdminToken)?;
        let daemon = Daemon::at(settings, output.url.as_deref());
        Ok(Self::Daemon(daemon.with_token(token)))
    }

    fn daemon(&self) -> Result<&Daemon, CommandError> {
        match self {
            Self::Daemon(daemon) => Ok(daemon),
            Self::Folder(_) => Err(CommandError::NoAdminToken),
        }
    }

    fn page(&self, filter: &JobFilter) -> Result<JobPage, CommandError> {
        match self {
            Self::Daemon(daemon) => daemon.read(daemon.get(&path_of(filter))?),
            Self::Folder(folder) => Ok(read_page(folder, filter)?),
        }
    }

    fn details(&self, JobId(id): JobId) -> Result<JobDetails, CommandError> {
        match self {
            Self::Daemon(daemon) => daemon.read(daemon.get(&format!("/admin/jobs/{id}"))?),
            Self::Folder(folder) => {
                read_details(folder, JobId(id))?.ok_or_else(|| CommandError::NoJob(id.to_string()))
            }
        }
    }

    /// The job that is meant by an id, or by a task id.
    fn find(&self, name: &str) -> Result<JobId, CommandError> {
        if let Ok(id) = name.parse() {
            return Ok(JobId(id));
        }
        let of_task = JobFilter {
            task_id: Some(name.to_owned()),
            limit: 10,
            ..JobFilter::default()
        };
        let jobs = self.page(&of_task)?.jobs;
        match &jobs[..] {
            [] => Err(CommandError::NoJob(printable(name))),
            [job] => Ok(job.id),
            // Repeats of a translation that list other languages are jobs of the same task.
            several => {
                let ids: Vec<String> = several.iter().map(|job| job.id.to_string()).collect();
                Err(CommandError::SeveralJobs(ids.join(", ")))
            }
        }
    }
}

fn path_of(filter: &JobFilter) -> String {
    let mut path = format!("/admin/jobs?limit={}", filter.limit);
    let state = filter.state.map(|state| state.as_str().to_owned());
    let before = filter.before.map(|JobId(id)| id.to_string());
    for (name, value) in [
        ("state", &state),
        ("kind", &filter.kind),
        ("lane", &filter.lane),
        ("user", &filter.user_id),
        ("task", &filter.task_id),
        ("event", &filter.event_state),
        ("before", &before),
    ] {
        if let Some(value) = value {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            path.push_str(&format!("&{name}={value}"));
        }
    }
    path
}

fn list(settings: &Settings, args: ListArgs) -> Result<(), CommandError> {
    let source = Source::of(settings, args.data_dir, &args.output)?;
    let page = source.page(&JobFilter {
        state: args.state,
        kind: args.kind,
        lane: args.lane,
        user_id: args.user,
        task_id: None,
        event_state: args.event,
        before: args.before.map(JobId),
        limit: args.limit,
        ..JobFilter::default()
    })?;
    if args.output.json {
        return say_json(&page);
    }
    let (state, reason) = ("STATE", "REASON");
    say(format_args!(
        "{:>8}  {state:<11}  {:<22}  {:<11}  {:>8}  {:<20}  {reason:<17}  TASK",
        "ID", "KIND", "LANE", "ATTEMPTS", "RECEIVED"
    ));
    for job in &page.jobs {
        say(format_args!(
            "{:>8}  {:<11}  {:<22}  {:<11}  {:>8}  {:<20}  {:<17}  {}",
            job.id,
            job.state.as_str(),
            printable(&job.kind),
            printable(&job.lane),
            job.attempts,
            second(job.received_at_ms),
            printable(job.reason.as_deref().unwrap_or("-")),
            printable(&job.task_id),
        ));
    }
    if let Some(JobId(id)) = page.next_before {
        say(format_args!("more: --before {id}"));
    }
    Ok(())
}

fn show(details: &JobDetails, json: bool) -> Result<(), CommandError> {
    if json {
        return say_json(details);
    }
    let JobSummary {
        id,
        task_id,
        public_id,
        kind,
        lane,
        user_id,
        state,
        reason,
        attempts,
        crashes,
        soft_failures,
        received_at_ms,
        started_at_ms,
        finished_at_ms,
        audience: _,
        stages: _,
    } = &details.summary;
    let optional = |value: &Option<String>| printable(value.as_deref().unwrap_or("-"));
    let time = |at: &Option<i64>| at.map_or_else(|| "-".to_owned(), second);
    for (name, value) in [
        ("job", id.to_string()),
        ("task", printable(task_id)),
        ("public id", optional(public_id)),
        ("kind", printable(kind)),
        ("lane", printable(lane)),
        ("user", optional(user_id)),
        ("state", state.as_str().to_owned()),
        ("reason", optional(reason)),
        ("attempts", attempts.to_string()),
        ("crashes", crashes.to_string()),
        ("soft failures", soft_failures.to_string()),
        ("received", second(*received_at_ms)),
        ("started", time(started_at_ms)),
        ("finished", time(finished_at_ms)),
        ("payload", human_bytes(details.payload_bytes).to_string()),
        ("memory", human_bytes(details.memory_bytes).to_string()),
    ] {
        say(format_args!("{name:<13} {value}"));
    }
    for checkpoint in &details.checkpoints {
        say(format_args!(
            "{:<13} {} {} ({})",
            "stage",
            printable(&checkpoint.stage),
            printable(&checkpoint.item),
            human_bytes(checkpoint.size_bytes)
        ));
    }
    for event in &details.events {
        say(format_args!(
            "{:<13} {}: {}, published {} times, last {} ({})",
            "event",
            printable(&event.key),
            printable(&event.state),
            event.publish_count,
            time(&event.last_published_at_ms),
            human_bytes(event.size_bytes)
        ));
    }
    for document in &details.documents {
        say(format_args!(
            "{:<13} {}: {}, {} tries",
            "document",
            printable(&document.collection),
            printable(&document.state),
            document.attempts
        ));
    }
    Ok(())
}

fn purge(settings: &Settings, args: &PurgeArgs) -> Result<(), CommandError> {
    let source = Source::of(settings, None, &args.output)?;
    let daemon = source.daemon()?;
    let path = match (&args.job, args.state, args.older_than_hours) {
        (Some(job), ..) => {
            let JobId(id) = source.find(job)?;
            format!("/admin/jobs/{id}?force={}", args.force)
        }
        (None, state, hours) => format!(
            "/admin/jobs?state={}&older_than_hours={}&force={}",
            state.map_or("", JobState::as_str),
            hours.unwrap_or_default(),
            args.force
        ),
    };
    let answer: Value = daemon.delete(&path)?;
    if args.output.json {
        return say_json(&answer);
    }
    let PurgedJobs { purged, kept } = daemon.read(answer)?;
    say(format_args!(
        "purged: {} jobs, {} payloads",
        purged.jobs, purged.payloads
    ));
    if kept > 0 {
        say(format_args!(
            "kept: {kept} jobs with events that are not published or documents that are not written; --force \
             deletes them too"
        ));
    }
    Ok(())
}

/// A time in milliseconds since 1970 to the second.
fn second(at_ms: i64) -> String {
    let at = from_unix_ms(at_ms);
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

fn parse_state(name: &str) -> Result<JobState, String> {
    JobState::from_name(name).ok_or_else(|| {
        let names = JobState::ALL.map(JobState::as_str).join(", ");
        format!("expected one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_a_query() {
        let filter = JobFilter {
            state: Some(JobState::Quarantined),
            user_id: Some("a&b=é".into()),
            before: Some(JobId(7)),
            limit: 5,
            ..JobFilter::default()
        };
        assert_eq!(
            path_of(&filter),
            "/admin/jobs?limit=5&state=quarantined&user=a%26b%3D%C3%A9&before=7"
        );
        assert!(parse_state("lost").unwrap_err().contains("quarantined"));
    }
}
