//! The contract's requests and events: the examples beside the repository, else the committed ones.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::contract;

/// A request with its name, for messages.
pub struct Example {
    pub name: String,
    pub request: Value,
}

/// Every example request of one of these types.
pub fn requests(kinds: &[&str]) -> Vec<Example> {
    let folder = contract::examples_folder().unwrap_or_else(|| committed("requests"));
    let mut names: Vec<String> = std::fs::read_dir(folder.as_path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let examples: Vec<Example> = names
        .into_iter()
        .map(|name| Example {
            request: read(&folder.join(&name)),
            name,
        })
        // The oldest requests have no type.
        .filter(|example| {
            kinds.contains(&example.request["type"].as_str().unwrap_or("translation"))
        })
        .collect();
    assert!(!examples.is_empty(), "no example of {kinds:?}");
    examples
}

/// The example of an event's shape; posts have examples of their own.
pub fn event(event: &Value) -> Value {
    let kind = event["type"].as_str().unwrap_or_default();
    let names = match event.get("postId") {
        Some(_) => vec![format!("{kind}.post.json"), format!("{kind}.json")],
        None => vec![format!("{kind}.json")],
    };
    let folders = [contract::examples_folder(), Some(committed("events"))];
    folders
        .iter()
        .flatten()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|path| path.exists())
        .map(|path| read(&path))
        .unwrap_or_else(|| panic!("no example of the event {kind:?}"))
}

/// The example of an event of the voice API; its results have an example each.
pub fn voice_event(event: &Value) -> Value {
    let kind = event["type"].as_str().unwrap_or_default();
    let name = match (kind, event["requestType"].as_str()) {
        // The first of the results is the example without a name.
        ("voice_api_success", Some("voice_translate")) => kind.to_owned(),
        ("voice_api_success", Some(request)) => format!("{kind}.{request}"),
        _ => kind.to_owned(),
    };
    let name = format!("{name}.json");
    let folders = [contract::examples_folder(), Some(committed("events"))];
    folders
        .iter()
        .flatten()
        .map(|folder| folder.join(&name))
        .find(|path| path.exists())
        .map(|path| read(&path))
        .unwrap_or_else(|| panic!("no example of the event {name:?}"))
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
