//! Keys of a file that mean nothing.

use std::fmt;

use config::{Config, File, FileFormat};
use serde_json::Value;

use super::{DEFAULT_TOML, Settings};

/// Most edits by which a key may be misspelt for another to be proposed.
const MAX_EDITS: usize = 3;

/// A key that no setting has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// The whole key, such as `zmq.pull_prot`.
    pub key: String,
    /// The key that may have been meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown key `{}`", self.key)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, ", did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// All keys of `table` that [`Settings`] lacks, in the order of the table.
pub(super) fn unknown(table: &toml::Table) -> Vec<UnknownKey> {
    let mut unknown = Vec::new();
    compare(table, &known_keys(), "", &mut unknown);
    unknown
}

/// The default settings as JSON: it has every key, those without a default too.
fn known_keys() -> Value {
    Config::builder()
        .add_source(File::from_str(DEFAULT_TOML, FileFormat::Toml))
        .build()
        .and_then(Config::try_deserialize::<Settings>)
        .ok()
        .and_then(|settings| serde_json::to_value(settings).ok())
        .unwrap_or_default()
}

fn compare(table: &toml::Table, known: &Value, prefix: &str, unknown: &mut Vec<UnknownKey>) {
    let Value::Object(known) = known else {
        return;
    };
    for (key, value) in table {
        match (known.get(key), value) {
            (None, _) => unknown.push(UnknownKey {
                key: format!("{prefix}{key}"),
                suggestion: nearest(key, known.keys()).map(|near| format!("{prefix}{near}")),
            }),
            (Some(known), toml::Value::Table(section)) => {
                compare(section, known, &format!("{prefix}{key}."), unknown);
            }
            // A wrong type is found when the settings are read.
            (Some(_), _) => {}
        }
    }
}

fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(key, candidate), candidate.as_str()))
        .filter(|(edits, candidate)| *edits <= MAX_EDITS && *edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// The least number of characters to insert, delete or replace (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from_char) in from.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to_char) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from_char != *to_char);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, expected) in [
            ("port", "port", 0),
            ("prot", "port", 2),
            ("", "abc", 3),
            ("slot", "slots", 1),
        ] {
            assert_eq!(edits(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn a_far_key_is_not_proposed() {
        let candidates = ["level".to_owned(), "format".to_owned()];
        assert_eq!(nearest("verbosity", candidates.iter()), None);
        assert_eq!(nearest("levle", candidates.iter()), Some("level"));
    }
}
