//! The wire against its fixtures, and against the contract's examples where they are at hand.

#[path = "../../tests/support/contract.rs"]
mod contract;
mod events;
mod requests;
mod voice;

use std::path::Path;

use serde_json::Value;

/// A JSON file of the committed fixtures.
fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol");
    read(&folder.join(name))
}

fn read(path: &Path) -> Value {
    let json = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
