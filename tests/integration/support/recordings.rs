//! Recordings to send: the bundled voice message, real speech where it is there, and conversions.

use std::path::{Path, PathBuf};

use super::ffmpeg::Ffmpeg;
use super::skip;

/// The bundled voice message, a made-up voice.
pub fn bundled() -> Vec<u8> {
    let path = super::daemon::fixture_models().join("audio/voice_message.ogg");
    std::fs::read(path).unwrap()
}

/// The bundled recording of another made-up voice.
pub fn second_speaker() -> Vec<u8> {
    let path = super::daemon::fixture_models().join("audio/second_speaker.ogg");
    std::fs::read(path).unwrap()
}

/// The optional folder of test data (`TRANSLATOR_SHARED_DIR`, else `../shared`), if it has recordings.
pub fn shared_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("TRANSLATOR_SHARED_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    if folder.join("audio").is_dir() {
        return Some(folder);
    }
    skip(
        "REQUIRE_SHARED",
        &format!("no recordings in {}", folder.display()),
    );
    None
}

/// A real recording of that folder.
pub fn real(name: &str) -> Option<PathBuf> {
    Some(shared_folder()?.join("audio").join(name))
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
    let options = format!("-ac 1 {}", arguments.join(" "));
    let ffmpeg = Ffmpeg::find()?;
    Some(std::fs::read(ffmpeg.encode(input, &options)).unwrap())
}
