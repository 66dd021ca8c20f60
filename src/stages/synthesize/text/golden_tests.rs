//! What coqui-tts made of about a thousand texts, where its outputs are at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;
use crate::domain::Language;

/// Share of texts, per language, that must come out exactly as in the reference. What is missing
/// to 1 is what `docs/fidelity.md` lists.
#[rustfmt::skip]
const PREPARED_FLOORS: [(&str, f64); 17] = [
    ("en", 1.0), ("de", 1.0), ("fr", 1.0), ("es", 1.0), ("it", 1.0), ("pt", 1.0), ("nl", 1.0),
    ("pl", 1.0), ("cs", 1.0), ("ru", 1.0), ("tr", 1.0), ("hu", 1.0), ("ar", 0.94), ("hi", 1.0),
    ("ko", 1.0), ("zh", 0.96), ("ja", 1.0),
];

#[derive(Deserialize)]
struct Prepared {
    id: String,
    lang: String,
    input: String,
    cleaned: Option<String>,
    ids: Option<Vec<i64>>,
}

#[derive(Deserialize)]
struct Split {
    lang: String,
    kind: String,
    input: String,
    limit: usize,
    pieces: Vec<String>,
}

/// A file of the shared data; `None`, with the reason printed, where there is none.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find optional data by the environment"
)]
fn shared(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("TRANSLATOR_SHARED_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = directory.join(name);
    if path.exists() {
        return Some(path);
    }
    let is_required = std::env::var_os("REQUIRE_SHARED").is_some_and(|value| value == "1");
    assert!(!is_required, "{} is required", path.display());
    println!("skipped: {} is not there", path.display());
    None
}

fn lines<T: for<'de> Deserialize<'de>>(name: &str) -> Option<Vec<T>> {
    let text = std::fs::read_to_string(shared(name)?).unwrap();
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn language(code: &str) -> Language {
    Language::parse(code).unwrap()
}

/// The dictionaries that `make setup-tests` installs; none, with the reason printed, where it did not.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the tests is an environment variable"
)]
fn readings() -> Readings {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/readings");
    if !directory.is_dir() {
        let is_required = std::env::var_os("REQUIRE_READINGS").is_some_and(|value| value == "1");
        assert!(!is_required, "{} is required", directory.display());
        println!(
            "skipped: zh and ja, as {} is not there",
            directory.display()
        );
    }
    Readings::load(&directory).unwrap()
}

#[test]
fn texts_are_prepared_as_in_the_reference() {
    let Some(texts) = lines::<Prepared>("goldens/xtts-text.jsonl") else {
        return;
    };
    let readings = readings();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for text in &texts {
        let ours = match normalize(&text.input, language(&text.lang), &readings) {
            Err(TextError::NoReadings(_)) => continue,
            ours => ours.unwrap(),
        };
        // Where the reference gives up there is nothing to compare, but there is a text to speak.
        let Some(theirs) = &text.cleaned else {
            assert!(!ours.is_empty(), "{}", text.id);
            continue;
        };
        let (same, all) = counts.entry(&text.lang).or_default();
        *all += 1;
        *same += usize::from(ours == *theirs);
        if ours != *theirs {
            println!("{}\n  ours   {ours}\n  theirs {theirs}", text.id);
        }
    }
    for (language, floor) in PREPARED_FLOORS {
        let Some((same, all)) = counts.get(language).copied() else {
            continue;
        };
        let share = same as f64 / all as f64;
        println!("{language}: {same} of {all} ({:.1} %)", 100.0 * share);
        assert!(share >= floor, "{language}: {share}");
    }
}

#[test]
fn ids_are_those_of_the_reference() {
    let vocabulary = "models/tokenizers/xtts/vocab.json";
    let (Some(texts), Some(vocabulary)) = (
        lines::<Prepared>("goldens/xtts-text.jsonl"),
        shared(vocabulary),
    ) else {
        return;
    };
    let encoder = TextEncoder::load(&vocabulary).unwrap();
    let mut compared = 0;
    for text in &texts {
        let language = language(&text.lang);
        let (Some(cleaned), Some(ids)) = (&text.cleaned, &text.ids) else {
            continue;
        };
        // That edition of the vocabulary has no tag for these three.
        if matches!(text.lang.as_str(), "hu" | "hi" | "ko") {
            assert!(encoder.encode("a", language).is_err(), "{}", text.lang);
            assert!(matches!(
                encoder.encode(cleaned, language),
                Err(TextError::UnsupportedLanguage(_))
            ));
            continue;
        }
        // Tags in a text are text here, and tokens in the reference.
        if cleaned.contains('[') {
            continue;
        }
        compared += 1;
        assert_eq!(
            encoder.encode(cleaned, language).unwrap(),
            *ids,
            "{}",
            text.id
        );
    }
    println!("{compared} texts have the reference's ids");
    assert!(compared > 700, "{compared}");
}

/// The rules differ on purpose, so this only reports how often the pieces are the same, and holds
/// what both promise.
#[test]
fn pieces_keep_the_limit_and_the_text() {
    let Some(texts) = lines::<Split>("goldens/xtts-split.jsonl") else {
        return;
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut same = 0;
    for text in &texts {
        let pieces = split_sentences(&text.input, language(&text.lang), text.limit);
        let theirs: Vec<String> = text.pieces.iter().map(|piece| words(piece)).collect();
        let ours: Vec<String> = pieces.iter().map(|piece| words(piece)).collect();
        if ours == theirs {
            same += 1;
        } else {
            println!(
                "{} {} {}\n  ours   {ours:?}\n  theirs {theirs:?}",
                text.lang, text.kind, text.limit
            );
        }
        assert!(
            pieces
                .iter()
                .all(|piece| piece.chars().count() <= text.limit)
        );
        let visible = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(visible(&pieces.concat()), visible(&text.input));
    }
    println!(
        "{same} of {} texts are split as in the reference",
        texts.len()
    );
}
