//! The contract's requests and events: the examples beside the repository, else the committed ones.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::contract;

/// A file of the examples.
pub struct Example {
    pub name: String,
    pub json: Value,
}

impl Example {
    /// The type of the request or event; the oldest requests have none.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap_or("translation")
    }
}

/// Every example, requests and events alike, in the order of their names.
pub fn all() -> Vec<Example> {
    let folders = match contract_folder() {
        Some(folder) => vec![folder.clone()],
        None => vec![committed("requests"), committed("events")],
    };
    let mut examples: Vec<Example> = folders.iter().flat_map(|folder| files(folder)).collect();
    examples.sort_by(|one, other| one.name.cmp(&other.name));
    examples
}

/// The committed examples of events.
pub fn committed_events() -> Vec<Example> {
    files(&committed("events"))
}

/// The example of an event's shape: results of the voice API have one each, and posts their own.
pub fn event(event: &Value) -> Value {
    let names = event_files(event);
    let committed = committed("events");
    let folders = contract_folder().into_iter().chain([&committed]);
    folders
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|path| path.exists())
        .map(|path| read(&path))
        .unwrap_or_else(|| panic!("no example of the event: {names:?}"))
}

/// The example of that event beside the repository, if there is any.
pub fn of_contract(event: &Value) -> Option<Value> {
    let folder = contract_folder()?;
    let paths = event_files(event).into_iter().map(|name| folder.join(name));
    let path = paths.into_iter().find(|path| path.exists())?;
    Some(read(&path))
}

/// The folder beside the repository; looked for, and missed, once.
fn contract_folder() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(contract::examples_folder).as_ref()
}

/// Files in which an event's example may be, the best first.
fn event_files(event: &Value) -> Vec<String> {
    let kind = event["type"].as_str().unwrap_or_default();
    match (kind, event["requestType"].as_str()) {
        // The first of the results is the example without a name.
        ("voice_api_success", Some(request)) if request != "voice_translate" => {
            vec![format!("{kind}.{request}.json")]
        }
        _ if event.get("postId").is_some() => {
            vec![format!("{kind}.post.json"), format!("{kind}.json")]
        }
        _ => vec![format!("{kind}.json")],
    }
}

fn files(folder: &Path) -> Vec<Example> {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"));
    names
        .map(|name| Example {
            json: read(&folder.join(&name)),
            name,
        })
        .collect()
}

fn committed(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/protocol")
        .join(folder)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap();
    serde_json::from_slice(&text).unwrap()
}
