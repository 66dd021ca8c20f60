//! Voices as a daemon keeps them on disk, and what it logs about them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::voice_job::{Expected, voice_message};

/// A message in French, and nothing else.
pub const FRENCH: Expected<'static> = Expected {
    spoken: &["fr"],
    failing: 0,
    error: None,
};

/// A message of that sender in French.
pub fn message_of(sender: &str, name: &str) -> Value {
    let mut message = voice_message(name, &["fr"]);
    message["senderId"] = json!(sender);
    message
}

/// Where the voice of a user with a plain id is kept.
pub fn voice_folder(daemon: &Daemon, user_id: &str) -> PathBuf {
    daemon.folder().join("data/voices").join(user_id)
}

/// What is kept about a voice.
pub fn stored_metadata(daemon: &Daemon, user_id: &str) -> Value {
    let file = voice_folder(daemon, user_id).join("metadata.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Changes what is kept about a voice.
pub fn change_metadata(daemon: &Daemon, user_id: &str, key: &str, value: Value) {
    let mut metadata = stored_metadata(daemon, user_id);
    metadata[key] = value;
    let file = voice_folder(daemon, user_id).join("metadata.json");
    std::fs::write(file, metadata.to_string()).unwrap();
}

/// The lines of the clone log.
pub fn clone_log(daemon: &Daemon) -> Vec<Value> {
    let text = std::fs::read_to_string(daemon.folder().join("data/clone_log.jsonl"));
    let lines = text.unwrap_or_default();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the clone log says was done with a user's voice, in order.
pub fn clone_actions(daemon: &Daemon, user_id: &str) -> Vec<String> {
    clone_log(daemon)
        .iter()
        .filter(|line| line["user_id"] == user_id)
        .map(|line| line["action"].as_str().unwrap().to_owned())
        .collect()
}
