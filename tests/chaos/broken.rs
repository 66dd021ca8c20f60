//! Recordings that are broken in every way: none takes the daemon down, each ends soon, in speech or in an error.

use std::collections::HashMap;

use crate::bench::{Bench, Setting};
use crate::dice::Dice;
use crate::load::{Load, Message};
use crate::report::{Percentiles, Row};
use crate::scale::Scale;
use crate::support::broken_audio::{AudioFile, broken_files, intact_files};
use crate::support::tests_daemon::fixture_models;

/// Bound of the time from a job's turn to its end, milliseconds.
const MAX_TURN_MS: f64 = 5_000.0;

/// Longest recording that is taken: its samples take 55 MiB, of which there are several copies at times.
const MAX_DURATION_SECS: &str = "300";

/// What memory may be at most with recordings of that length, beside 1.3 times that of an idle daemon.
const MORE_MIB: f64 = 256.0;

/// Recordings that wait at once: fewer than the daemon refuses.
const BATCH: usize = 100;

/// Recordings of the short form.
const FEW: usize = 60;

/// Slow recordings that are named.
const MAX_NAMED: usize = 5;

/// Sends broken recordings of every format through the sockets: all of a seed, or a few of them.
pub fn broken_audio(seed: u64, scale: Scale) -> Row {
    let Some(mut files) = files(seed) else {
        let mut row = Row::new("broken-audio", seed);
        if std::env::var_os("REQUIRE_FFMPEG").is_some() {
            row.blame("REQUIRE_FFMPEG is set, but ffmpeg does not run");
        }
        row.skipped = Some("ffmpeg makes the recordings, and does not run".to_owned());
        return row;
    };
    if scale == Scale::Short {
        files = Dice::new(seed, "broken").sample(&files, FEW);
    }
    // As many at once as there are cores: a turn is then not spent waiting for others.
    let environment = [
        ("MAX_CONCURRENT_JOBS", "2"),
        ("AUDIO_MAX_DURATION_SECS", MAX_DURATION_SECS),
    ];
    let setting = Setting {
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Setting::default()
    };
    let mut bench = Bench::start("broken-audio", seed, setting);
    let mut load = Load::new(seed);
    let mut names: HashMap<String, String> = HashMap::new();
    for batch in files.chunks(BATCH) {
        for (name, bytes) in batch {
            let message: Message = load.audio_of(bytes.clone(), 1);
            bench.sender.push(&message);
            names.insert(message.task_id, name.clone());
        }
        bench.settle();
    }
    let turns = bench.daemon.ledger().turns_ms();
    let mut turns = turns.expect("the ledger can be read");
    turns.sort_by_key(|(_, turn)| std::cmp::Reverse(*turn));
    let mut row = bench.finish();
    tell(&mut row, &turns, &names);
    let longest = turns.first().map_or(0, |(_, turn)| *turn);
    row.require_where(
        scale.judges_time(),
        "longest turn, ms",
        longest as f64,
        MAX_TURN_MS,
    );
    row.require("recordings set aside", row.counts.quarantined as f64, 0.0);
    row.require(
        "most memory, MiB",
        row.rss_peak_mib as f64,
        row.rss_idle_mib as f64 * 1.3 + MORE_MIB,
    );
    row
}

/// All broken recordings of a seed; `None` without ffmpeg.
fn files(seed: u64) -> Option<Vec<AudioFile>> {
    let folder = tempfile::tempdir().expect("a folder");
    let message = fixture_models().join("audio/voice_message.ogg");
    let intact = intact_files(&message, folder.path())?;
    Some(broken_files(&intact, seed).collect())
}

fn tell(row: &mut Row, turns: &[(String, u64)], names: &HashMap<String, String>) {
    let times = Percentiles::of(turns.iter().map(|(_, turn)| *turn).collect());
    row.notes.push(format!(
        "{} ended in an error, {} in speech; from turn to end p50 {} ms, p99 {} ms",
        row.counts.failed,
        row.counts.terminal - row.counts.failed - row.counts.quarantined,
        times.p50,
        times.p99
    ));
    let named = turns.iter().take(MAX_NAMED).map(|(task_id, turn)| {
        let name = names.get(task_id).map_or("?", String::as_str);
        format!("{name} ({turn} ms)")
    });
    row.notes
        .push(format!("slowest: {}", named.collect::<Vec<_>>().join(", ")));
}
