//! Broken recordings end in what they hold or in an error, never in a panic, within the limits.

use std::collections::HashSet;

use meeshy_translator::domain::Deadline;
use meeshy_translator::stages::decode::{DecodeError, DecodeLimits, decode};

use crate::support::broken_audio::{bombs, broken_files, intact_files};
use crate::support::{daemon::fixture_models, skip};

const SEED: u64 = 4;
/// Every so manieth is decoded here; `make chaos` sends all of them to a daemon.
const STEP: usize = 9;

#[test]
fn broken_recordings_end_in_samples_or_an_error() {
    let recording = fixture_models().join("audio/voice_message.ogg");
    let folder = tempfile::tempdir().unwrap();
    let Some(intact) = intact_files(&recording, folder.path()) else {
        return skip("REQUIRE_FFMPEG", "ffmpeg does not run");
    };
    let limits = DecodeLimits {
        max_duration_ms: 60_000,
        ..DecodeLimits::default()
    };
    for (name, bytes) in &intact {
        let decoded = decode(bytes, &limits, &Deadline::none());
        let milliseconds = decoded.map(|decoded| decoded.pcm.duration_ms());
        assert!(
            matches!(milliseconds, Ok(1_900..2_200)),
            "{name}: {milliseconds:?}"
        );
    }

    let broken: Vec<_> = broken_files(&intact, SEED).collect();
    assert!(broken.len() >= 2_000, "{}", broken.len());
    let names: HashSet<&String> = broken.iter().map(|(name, _)| name).collect();
    assert!(names.len() > broken.len() * 9 / 10, "{} names", names.len());
    let again: Vec<_> = broken_files(&intact, SEED).collect();
    assert!(broken == again, "another run gives other files");

    let sample = broken
        .iter()
        .step_by(STEP)
        .chain(broken.iter().rev().take(bombs().len()));
    let (mut decoded, mut refused) = (0, 0);
    for (name, bytes) in sample {
        match decode(bytes, &limits, &Deadline::none()) {
            // A panic of a demuxer or codec, which is caught, is among these.
            Err(_) => refused += 1,
            Ok(result) => {
                assert!(result.pcm.duration_ms() <= limits.max_duration_ms, "{name}");
                decoded += 1;
            }
        }
    }
    assert!(
        decoded > 100 && refused > 100,
        "{decoded} decoded, {refused} refused"
    );
}

#[test]
fn silence_in_a_few_bytes_stops_at_the_limit() {
    let limits = DecodeLimits {
        max_duration_ms: 60_000,
        ..DecodeLimits::default()
    };
    for (name, bytes) in bombs().iter().filter(|(name, _)| name.contains("hour")) {
        let result = decode(bytes, &limits, &Deadline::none());
        let is_stopped = matches!(
            result,
            Err(DecodeError::TooLong { .. } | DecodeError::UnsupportedSampleRate { .. })
        );
        assert!(is_stopped, "{name}, {} bytes: {result:?}", bytes.len());
    }
}
