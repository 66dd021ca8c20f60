//! Log lines on standard error. Rule: no text, audio or voice print of a user, at any level.

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the whole process; later calls change nothing.
///
/// `level` is a level (`info`) or a filter (`info,meeshy_translator::outbox=debug`); what cannot be
/// read as one counts as `info`.
pub fn init(level: &str, format: LogFormat) {
    // The engines say at `info` what only their authors need.
    let filter = EnvFilter::try_new(format!("{level},ort=warn,whisper_rs=warn,symphonia=error"))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people: files and log collectors would keep the escape codes.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A line that cannot be written is lost. Said on the same standard error, that would be a panic, whose line cannot
        // be written either: the end of the process.
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Makes panics log lines that keep to the rule: what they say is told only where it is a literal,
/// because a formatted message may quote a text, as that of a string cut inside a character does.
pub fn report_panics() {
    std::panic::set_hook(Box::new(report_panic));
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(
        place,
        thread = thread.name(),
        message = panic.payload().downcast_ref::<&'static str>(),
        "panic"
    );
}
