//! Recordings that are broken in every way: none takes the daemon down, each ends soon, in speech or in an error.

use crate::bench::{Bench, Setting};
use crate::dice::Dice;
use crate::load::{Load, Message};
use crate::report::{Percentiles, Row};
use crate::scale::Scale;
use crate::support::tests_daemon::fixture_models;

/// Bound of the time from a job's turn to its end, milliseconds.
const MAX_TURN_MS: f64 = 5_000.0;

/// What memory may be at most, beside 1.3 times that of an idle daemon.
const MORE_MIB: f64 = 256.0;

/// Recordings that wait at once: fewer than the daemon refuses.
const BATCH: usize = 100;

/// Beginnings that make a demuxer take bytes for its own.
const MAGICS: [&[u8]; 9] = [
    b"OggS\0\x02",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"fLaC",
    b"ID3\x04\0\0\0\0\x0f\x76",
    b"\xff\xfb\x90\x64",
    b"\xff\xf1\x50\x80",
    b"\x1a\x45\xdf\xa3",
    b"\0\0\0\x20ftypM4A ",
    b"FORM\xff\xff\xff\xffAIFF",
];

/// Sends the broken recordings through the sockets.
pub fn broken_audio(seed: u64, scale: Scale) -> Row {
    let count: usize = scale.choose(2_000, 60);
    // As many at once as there are cores: a turn is then not spent waiting for others.
    let setting = Setting {
        environment: vec![("MAX_CONCURRENT_JOBS".to_owned(), "2".to_owned())],
        ..Setting::default()
    };
    let mut bench = Bench::start("broken-audio", seed, setting);
    let mut load = Load::new(seed);
    let mut dice = Dice::new(seed, "broken");
    let bases = bases(&mut load);
    for batch in 0..count.div_ceil(BATCH) {
        let size = BATCH.min(count - batch * BATCH);
        let messages: Vec<Message> = (0..size)
            .map(|_| load.audio_of(broken(&bases, &mut dice), 1))
            .collect();
        for message in &messages {
            bench.sender.push(message);
        }
        bench.settle();
    }
    let turns = bench.daemon.ledger().turns_ms();
    let turns = turns.expect("the ledger can be read");
    let longest = turns.iter().copied().max().unwrap_or_default();
    let times = Percentiles::of(turns);
    let mut row = bench.finish();
    row.notes.push(format!(
        "{} ended in an error, {} in speech; from turn to end p50 {} ms, p99 {} ms",
        row.failed,
        row.terminal - row.failed - row.quarantined,
        times.p50,
        times.p99
    ));
    row.require_where(
        scale.judges_time(),
        "longest turn, ms",
        longest as f64,
        MAX_TURN_MS,
    );
    row.require("recordings set aside", row.quarantined as f64, 0.0);
    row.require(
        "most memory, MiB",
        row.rss_peak_mib as f64,
        row.rss_idle_mib as f64 * 1.3 + MORE_MIB,
    );
    row
}

/// Sound recordings in several containers.
fn bases(load: &mut Load) -> Vec<Vec<u8>> {
    let file = |name: &str| {
        let path = fixture_models().join("audio").join(name);
        std::fs::read(path).expect("a bundled recording")
    };
    vec![
        file("voice_message.ogg"),
        file("second_speaker.ogg"),
        load.recording(),
    ]
}

/// One of them, broken in one way.
fn broken(bases: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.pick(bases).clone();
    match dice.below(7) {
        0 => bytes.truncate(dice.below(bytes.len())),
        1 => {
            for _ in 0..=dice.below(50) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.below(256) as u8;
            }
        }
        // Headers decide most.
        2 => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(64);
                bytes[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff]);
            }
        }
        3 => {
            let from = dice.below(bytes.len());
            let to = (from + dice.below(4_096)).min(bytes.len());
            bytes.drain(from..to);
        }
        4 => {
            let from = dice.below(bytes.len());
            let piece = bytes[from..(from + 2_048).min(bytes.len())].to_vec();
            let at = dice.below(bytes.len());
            bytes.splice(at..at, piece);
        }
        5 => {
            let magic = *dice.pick(&MAGICS);
            let length = dice.below(20_000);
            bytes = [magic, &dice.bytes(length)].concat();
        }
        _ => {
            let length = dice.below(2_000);
            bytes = dice.bytes(length);
        }
    }
    bytes
}
