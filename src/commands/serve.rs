//! `serve`: the daemon.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, Loaded, block_on};
use crate::observe::{log, metrics};
use crate::{app, config};

/// Exit code of a daemon that was stopped the hard way, as shells report SIGINT.
const EXIT_SECOND_SIGNAL: i32 = 130;

pub(super) fn run(loaded: Loaded) -> Result<ExitCode, CommandError> {
    let Loaded { settings, warnings } = loaded;
    log::init(settings.log.level.as_str(), log_format(settings.log.format));
    log::report_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let metrics = metrics::install()?;
    block_on(async {
        let stop = stop_signal()?;
        app::serve(&settings, metrics, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn log_format(format: config::LogFormat) -> log::LogFormat {
    match format {
        config::LogFormat::Text => log::LogFormat::Text,
        config::LogFormat::Json => log::LogFormat::Json,
    }
}

/// Completes at the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>, CommandError> {
    let refused = |source| CommandError::io("signals", source);
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal: unfinished jobs go on at the next start");
            std::process::exit(EXIT_SECOND_SIGNAL);
        });
    })
}
