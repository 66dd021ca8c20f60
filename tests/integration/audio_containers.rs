//! Voice messages in every container that clients send.

use std::path::PathBuf;

use meeshy_translator::domain::Deadline;
use meeshy_translator::stages::decode::{DecodeLimits, decode};
use serde_json::json;

use crate::support::daemon::{Daemon, fixture_models};
use crate::support::gateway::Gateway;
use crate::support::recordings::{self, CONVERSIONS, convert};
use crate::support::voice_job::{Answer, Expected, voice_message};

/// What conversion may change in a recording's length: AAC adds up to two blocks of 1024 samples,
/// 128 ms at 16 kHz, and a live MP4 does not say so.
const LENGTH_TOLERANCE_MS: u64 = 130;

#[test]
fn recordings_in_every_container_become_speech() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let bundled = fixture_models().join("audio/voice_message.ogg");
    let speakers = [
        "jfk/jfk.wav",
        "leopard/test_fr.wav",
        "ljspeech/LJ001-0001.flac",
        "librispeech/1998-15444-0003.flac",
        "leopard/test_de.wav",
        "openvoice-base/demo1--es.wav",
        "librispeech/2609-156975-0000.flac",
    ];
    for ((extension, arguments), speaker) in CONVERSIONS.into_iter().zip(speakers) {
        let original: PathBuf = recordings::real(speaker).unwrap_or_else(|| bundled.clone());
        let Some(recording) = convert(&original, arguments) else {
            return;
        };
        let mut request = voice_message(extension, &["fr", "de"]);
        // What the gateway tells of the container is a guess from the file's name.
        request["binaryFrames"] = json!({"audio": 1, "audioMimeType": "audio/wav", "audioSize": 1});
        let expected = Expected::spoken(&["fr", "de"]);
        let answer = Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);

        let transcription = &answer.completed().json["transcription"];
        let heard_ms = transcription["durationMs"].as_u64().unwrap();
        let length_ms = length_ms(&original);
        assert!(
            heard_ms.abs_diff(length_ms) <= LENGTH_TOLERANCE_MS,
            "{extension}: {heard_ms} ms of {length_ms} ms"
        );
        assert!(
            answer.embedding().is_some(),
            "{extension}: a first job makes a voice"
        );
        assert_eq!(answer.translated("fr")["voiceCloned"], true);
    }
}

fn length_ms(recording: &std::path::Path) -> u64 {
    let bytes = std::fs::read(recording).unwrap();
    let decoded = decode(&bytes, &DecodeLimits::default(), &Deadline::none()).unwrap();
    decoded.pcm.duration_ms()
}
