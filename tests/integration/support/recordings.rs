//! Recordings to send: the bundled voice message, real speech where it is there, and conversions.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip;

/// The bundled voice message, a made-up voice.
pub fn bundled() -> Vec<u8> {
    let path = super::daemon::fixture_models().join("audio/voice_message.ogg");
    std::fs::read(path).unwrap()
}

/// A real recording below the optional folder of test data (`TRANSLATOR_SHARED_DIR`, else `../shared`).
pub fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TRANSLATOR_SHARED_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = folder.join("audio").join(name);
    if path.exists() {
        return Some(path);
    }
    skip(
        "REQUIRE_SHARED",
        &format!("{} is not there", path.display()),
    );
    None
}

/// The containers that gateways send, as ffmpeg arguments by file extension.
pub const CONVERSIONS: [(&str, &[&str]); 7] = [
    // As browsers record: written to a pipe, without duration or cues.
    ("webm", &["-c:a", "libopus", "-f", "webm", "-live", "1"]),
    ("ogg", &["-c:a", "libopus", "-f", "ogg"]),
    ("m4a", &["-c:a", "aac", "-f", "ipod"]),
    (
        "mp4",
        &[
            "-c:a",
            "aac",
            "-f",
            "mp4",
            "-movflags",
            "frag_keyframe+empty_moov",
        ],
    ),
    ("mp3", &["-c:a", "libmp3lame", "-f", "mp3"]),
    ("flac", &["-c:a", "flac", "-f", "flac"]),
    ("aac", &["-c:a", "aac", "-f", "adts"]),
];

/// Converts a file with ffmpeg; `None` when there is no ffmpeg.
pub fn convert(input: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("converted");
    let run = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y", "-i"])
        .arg(input)
        .args(["-ac", "1"])
        .args(arguments)
        .arg(&output)
        .status();
    match run {
        Ok(status) => {
            assert!(status.success(), "ffmpeg {arguments:?}");
            Some(std::fs::read(output).unwrap())
        }
        Err(error) => {
            skip("REQUIRE_FFMPEG", &format!("ffmpeg does not run: {error}"));
            None
        }
    }
}
