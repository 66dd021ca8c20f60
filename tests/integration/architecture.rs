//! The module map of `lib.rs` and the direction of dependencies, read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// What each module may use, from the edges inwards: a module uses only what stands below it, so
/// there are no cycles. An edge that is not here needs a reason, and a line.
#[rustfmt::skip]
const ALLOWED: &[(&str, &[&str])] = &[
    ("commands", &["app", "http", "intake", "scheduler", "pipeline", "ledger", "engine", "decoder", "stages", "onnx", "registry", "protocol", "config", "observe", "error", "domain"]),
    ("app", &["http", "intake", "scheduler", "pipeline", "voices", "outbox", "ledger", "engine", "decoder", "stages", "onnx", "registry", "store", "transport", "config", "storage", "observe", "error"]),
    ("http", &["scheduler", "pipeline", "voices", "ledger", "engine", "protocol", "storage", "observe", "error", "domain"]),
    ("intake", &["scheduler", "pipeline", "outbox", "ledger", "transport", "protocol", "observe", "error"]),
    ("scheduler", &["pipeline", "ledger", "protocol", "observe", "error", "domain"]),
    ("pipeline", &["voices", "outbox", "ledger", "engine", "decoder", "stages", "store", "protocol", "storage", "observe", "fault", "error", "domain"]),
    ("voices", &["engine", "stages", "storage", "fault", "error", "domain"]),
    ("outbox", &["ledger", "store", "transport", "observe", "error", "domain"]),
    ("ledger", &["storage", "observe", "fault", "domain"]),
    ("engine", &["stages", "observe", "error"]),
    ("decoder", &["stages", "observe", "fault", "error", "domain"]),
    ("stages", &["onnx", "error", "domain"]),
    ("onnx", &[]),
    ("registry", &["fault", "error", "domain"]),
    ("store", &["observe", "domain"]),
    ("transport", &["observe"]),
    ("protocol", &["error", "domain"]),
    ("config", &["domain"]),
    ("storage", &["observe", "fault"]),
    ("observe", &[]),
    ("fault", &["error"]),
    ("error", &["domain"]),
    ("domain", &[]),
];

/// Modules that are plain, blocking code.
const WITHOUT_TOKIO: &[&str] = &["decoder", "stages", "onnx", "protocol", "domain"];

const MAX_LINES: usize = 600;

struct Source {
    /// Relative to `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        let name = first.as_os_str().to_str().unwrap();
        name.trim_end_matches(".rs").to_owned()
    }

    /// The lines that are compiled into the library: neither comments nor unit tests.
    fn code(&self) -> impl Iterator<Item = &str> {
        let is_test_file = self.path.iter().any(|part| {
            let part = part.to_str().unwrap();
            part == "tests" || part.ends_with("tests.rs") || part == "testing.rs"
        });
        let end = self
            .text
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(self.text.len());
        let code = if is_test_file { "" } else { &self.text[..end] };
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source {
                    text: std::fs::read_to_string(&path).unwrap(),
                    path: path.strip_prefix(&root).unwrap().to_owned(),
                });
            }
        }
    }
    assert!(sources.len() > 100, "the sources were not found");
    sources
}

/// Every module that a line of code names, as `crate::module` or inside `use crate::{…}`.
fn used_modules(line: &str) -> Vec<String> {
    static PATH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\bcrate::(?:\{([^}]*)\}?|(\w+))").unwrap());
    let mut modules = Vec::new();
    for found in PATH.captures_iter(line) {
        if let Some(list) = found.get(1) {
            modules.extend(list.as_str().split(',').map(|item| {
                let first = item.trim().split("::").next().unwrap_or_default();
                first.to_owned()
            }));
        } else if let Some(module) = found.get(2) {
            modules.push(module.as_str().to_owned());
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

#[test]
fn dependencies_point_one_way_along_the_declared_edges() {
    let position: BTreeMap<&str, usize> = ALLOWED
        .iter()
        .enumerate()
        .map(|(position, (module, _))| (*module, position))
        .collect();
    for (module, uses) in ALLOWED {
        for used in *uses {
            assert!(
                position[used] > position[module],
                "the table lets {module} use {used}, which stands above it"
            );
        }
    }

    let declared: BTreeSet<(String, String)> = ALLOWED
        .iter()
        .flat_map(|(module, uses)| {
            uses.iter()
                .map(|used| ((*module).to_owned(), (*used).to_owned()))
        })
        .collect();
    let mut found = BTreeMap::new();
    for source in sources() {
        let module = source.module();
        // The crate's root and the binary are above everything.
        if module == "lib" || module == "main" {
            continue;
        }
        assert!(
            position.contains_key(module.as_str()),
            "{module} has no place"
        );
        for used in source.code().flat_map(used_modules) {
            if used != module {
                found
                    .entry((module.clone(), used))
                    .or_insert_with(|| source.path.clone());
            }
        }
    }
    let new: Vec<_> = found
        .iter()
        .filter(|(edge, _)| !declared.contains(edge))
        .collect();
    assert!(new.is_empty(), "edges that are not declared: {new:#?}");
    let gone: Vec<_> = declared
        .iter()
        .filter(|edge| !found.contains_key(edge))
        .collect();
    assert!(
        gone.is_empty(),
        "declared edges that nothing uses: {gone:?}"
    );
}

#[test]
fn edges_are_read_from_every_way_to_write_them() {
    assert_eq!(used_modules("use crate::domain::Pcm;"), ["domain"]);
    assert_eq!(
        used_modules("use crate::{app, config::Settings};"),
        ["app", "config"]
    );
    assert_eq!(
        used_modules("let a = crate::engine::error_chain(&crate::error::X);"),
        ["engine", "error"]
    );
    assert_eq!(used_modules("use super::crates::x;"), Vec::<String>::new());
}

#[test]
fn plain_modules_know_no_tokio() {
    for source in sources() {
        if !WITHOUT_TOKIO.contains(&source.module().as_str()) {
            continue;
        }
        let line = source.code().find(|line| line.contains("tokio"));
        assert_eq!(line, None, "{}", source.path.display());
    }
}

#[test]
fn files_stay_readable() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines, split it by concern",
            source.path.display()
        );
    }
}

#[test]
fn the_map_lists_every_module_with_its_own_row() {
    let root = sources()
        .into_iter()
        .find(|source| source.path == Path::new("lib.rs"))
        .unwrap();
    let names = |pattern: &str| -> BTreeSet<String> {
        Regex::new(pattern)
            .unwrap()
            .captures_iter(&root.text)
            .map(|found| found[1].to_owned())
            .collect()
    };
    let modules = names(r"(?m)^pub mod (\w+);$");
    assert_eq!(names(r"(?m)^//! \| \[`(\w+)`\] \|"), modules);
    let layers: BTreeSet<String> = ALLOWED
        .iter()
        .map(|(module, _)| (*module).to_owned())
        .collect();
    assert_eq!(layers, modules);
}

/// Files of `http` that serve what is no part of the interface: the console, and the description itself and its viewer.
const UNDESCRIBED: &[&str] = &["http/console.rs", "http/openapi.rs"];

#[test]
fn routes_come_from_their_description() {
    let by_hand = Regex::new(r"\.(route|route_service|nest_service|fallback_service)\(").unwrap();
    let names = |source: &str, pattern: &str| -> BTreeSet<String> {
        let sources = sources();
        let is_it = |known: &&Source| known.path == Path::new(source);
        let source = sources.iter().find(is_it).unwrap();
        let text: String = source.code().collect();
        let found = Regex::new(pattern).unwrap();
        let found = found.captures_iter(&text).map(|found| found[1].to_owned());
        found.collect()
    };
    for source in sources() {
        let path = source.path.to_str().unwrap();
        if source.module() == "http" && !UNDESCRIBED.contains(&path) {
            let line = source.code().find(|line| by_hand.is_match(line));
            assert_eq!(line, None, "{path} serves what is not described");
        }
    }
    let mut served = names("http/mod.rs", r"(\w+)::routes\(");
    assert!(served.remove("console") && served.remove("openapi"));
    assert_eq!(names("http/openapi.rs", r"(\w+)::operations\("), served);
}
