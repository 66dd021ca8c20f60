//! `docs/examples.md`: what it shows is run as it stands there, and shows every route.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::{local, skip, wait_for};

const ADDRESS: &str = "localhost:8000";
const RECORDING: &str = "message.wav";
const ADMIN_TOKEN: &str = "0123456789abcdef-of-examples";

/// A route whose answer ends when the client leaves.
const ENDLESS: &str = "GET /jobs/events";

/// What the document says of one route.
#[derive(Default)]
struct Section {
    /// Method and path.
    route: String,
    blocks: Vec<Block>,
}

/// What stands between two fences.
struct Block {
    /// `sh`, `python`, `json` or `text`.
    kind: String,
    text: String,
}

impl Section {
    fn block(&self, kind: &str) -> Option<&str> {
        let block = self.blocks.iter().find(|block| block.kind == kind);
        Some(block?.text.as_str())
    }

    fn program(&self, kind: &str) -> &str {
        let program = self.block(kind);
        program.unwrap_or_else(|| panic!("{}: no example in {kind}", self.route))
    }

    /// True when what curl says is what is shown, or nothing is shown because the answer is a file.
    fn is_answered_by(&self, output: &str) -> bool {
        if let Some(shown) = self.block("json") {
            let shown = serde_json::from_str(shown).unwrap_or_else(|error| {
                panic!("{}: the answer is no json: {error}", self.route);
            });
            serde_json::from_str(output).is_ok_and(|told| is_shown(&shown, &told))
        } else {
            self.block("text").is_none_or(|shown| fits(shown, output))
        }
    }

    fn shows_answer(&self) -> bool {
        self.block("json").or(self.block("text")).is_some()
    }
}

/// The introduction, then one section for each route.
fn sections() -> Vec<Section> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples.md");
    let document = std::fs::read_to_string(document).unwrap();
    let mut sections = vec![Section::default()];
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(route) = line.strip_prefix("### ") {
            sections.push(Section {
                route: route.to_owned(),
                blocks: Vec::new(),
            });
        } else if let Some(kind) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            sections.last_mut().unwrap().blocks.push(Block {
                kind: kind.to_owned(),
                text: text.join("\n"),
            });
        }
    }
    sections
}

/// The routes of the description, and how the status begins that they answer with at best.
fn described() -> BTreeMap<String, char> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document: Value = serde_json::from_slice(&std::fs::read(document).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, operations)| {
            let operations = operations.as_object().unwrap().iter();
            operations.map(move |(method, operation)| {
                let statuses = operation["responses"].as_object().unwrap().keys();
                let best = statuses.filter_map(|status| status.chars().next()).min();
                (format!("{} {path}", method.to_uppercase()), best.unwrap())
            })
        })
        .collect()
}

/// True when a text is as shown, where … stands for anything.
fn fits(shown: &str, told: &str) -> bool {
    let (shown, mut told) = (shown.trim(), told.trim());
    let Some((begin, rest)) = shown.split_once('…') else {
        return shown == told;
    };
    let (parts, end) = rest.rsplit_once('…').unwrap_or(("", rest));
    match told.strip_prefix(begin) {
        Some(behind) => told = behind,
        None => return false,
    }
    for part in parts.split('…') {
        match told.split_once(part) {
            Some((_, behind)) => told = behind,
            None => return false,
        }
    }
    told.ends_with(end)
}

/// True when everything that is shown is told: texts and truths as they are, numbers by their kind, of lists the first
/// entries, of objects the fields that are shown.
fn is_shown(shown: &Value, told: &Value) -> bool {
    match (shown, told) {
        (Value::Object(shown), Value::Object(told)) => shown
            .iter()
            .all(|(name, value)| told.get(name).is_some_and(|told| is_shown(value, told))),
        (Value::Array(shown), Value::Array(told)) => {
            shown.len() <= told.len()
                && shown
                    .iter()
                    .zip(told)
                    .all(|(shown, told)| is_shown(shown, told))
        }
        (Value::String(shown), Value::String(told)) => fits(shown, told),
        (Value::Number(_), Value::Number(_)) => true,
        _ => shown == told,
    }
}

#[test]
fn every_route_has_an_example_with_curl_and_one_with_python() {
    let sections = sections();
    let shown: Vec<&str> = sections[1..]
        .iter()
        .map(|section| section.route.as_str())
        .collect();
    let routes: BTreeSet<&str> = shown.iter().copied().collect();
    assert_eq!(routes.len(), shown.len(), "a route is shown twice");
    let described = described();
    let described: BTreeSet<&str> = described.keys().map(String::as_str).collect();
    let missing: Vec<_> = described.difference(&routes).collect();
    let unknown: Vec<_> = routes.difference(&described).collect();
    assert!(missing.is_empty(), "docs/examples.md lacks {missing:?}");
    assert!(unknown.is_empty(), "there is no route {unknown:?}");
    for section in &sections[1..] {
        let mut kinds: Vec<&str> = section.blocks.iter().map(|b| b.kind.as_str()).collect();
        kinds.retain(|kind| !["json", "text"].contains(kind));
        assert_eq!(kinds, ["sh", "python"], "{}", section.route);
        assert!(section.program("sh").contains("curl "), "{}", section.route);
    }
}

#[test]
fn what_is_shown_has_to_be_told() {
    for (shown, told, is_right) in [
        ("a", "a\n", true),
        ("a", "ab", false),
        ("…", "", true),
        ("a…", "ab", true),
        ("a…", "ba", false),
        ("…b", "ab", true),
        ("…b", "ba", false),
        ("a…c…e", "abcde", true),
        ("a…e…c", "abcde", false),
        // No part may stand for two.
        ("a…a", "a", false),
    ] {
        assert_eq!(fits(shown, told), is_right, "{shown} {told}");
    }
    let told = serde_json::json!({"a": [{"b": 1.5, "c": "one"}, 2], "d": null, "e": true});
    for (shown, is_right) in [
        (r#"{"a": [{"b": 7}]}"#, true),
        (r#"{"a": [{"c": "…ne"}, 9], "d": null, "e": true}"#, true),
        (r#"{"a": [{"b": "1.5"}]}"#, false),
        (r#"{"a": [{"c": "two"}]}"#, false),
        (r#"{"a": [{}, 2, 3]}"#, false),
        (r#"{"e": false}"#, false),
        (r#"{"f": null}"#, false),
    ] {
        let shown = serde_json::from_str(shown).unwrap();
        assert_eq!(is_shown(&shown, &told), is_right, "{shown}");
    }
}

#[test]
fn the_examples_do_what_they_show() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_ADMIN_TOKEN", ADMIN_TOKEN),
        // What the examples cancel is spoken in Spanish, and must not be done before.
        ("TRANSLATOR_FAULT", "synthesize.es:pause"),
    ]);
    let (sections, described) = (sections(), described());
    let scratch = tempfile::tempdir().unwrap();
    let is_recorder = |block: &&Block| block.text.contains(RECORDING);
    let recorder = sections[0].blocks.iter().find(is_recorder).unwrap();
    let recorded = run(&daemon, scratch.path(), "sh", &recorder.text, |_| false);
    assert!(recorded.is_done, "{}", recorded.errors);
    let recording = scratch.path().join(RECORDING);

    // In the order in which they can be pasted; the second time around what was deleted is there again.
    for kind in ["sh", "python"] {
        for section in &sections[1..] {
            let route = &section.route;
            let folder = tempfile::tempdir().unwrap();
            std::fs::copy(&recording, folder.path().join(RECORDING)).unwrap();
            let best = described[route];
            let before = answered(&daemon, route, best);
            let program = section.program(kind);
            let ran = run(&daemon, folder.path(), kind, program, |output| {
                route == ENDLESS && section.is_answered_by(output)
            });
            let told = format!(
                "{route} in {kind}:\n{program}\n{}\n{}",
                ran.output, ran.errors
            );
            assert!(ran.is_done, "{told}");
            assert!(
                answered(&daemon, route, best) > before,
                "another route or status: {told}"
            );
            if kind == "sh" {
                assert!(section.is_answered_by(&ran.output), "{told}");
            }
            let has_answer = if section.shows_answer() {
                !ran.output.trim().is_empty()
            } else {
                has_file(folder.path())
            };
            assert!(has_answer, "nothing came: {told}");
        }
    }
}

/// How a program has ended.
struct Ran {
    /// It ended with success, or had said enough.
    is_done: bool,
    output: String,
    errors: String,
}

/// Runs an example, whose address is that of the daemon, in a folder; it is ended once it has said enough.
fn run(
    daemon: &Daemon,
    folder: &Path,
    kind: &str,
    program: &str,
    is_enough: impl Fn(&str) -> bool,
) -> Ran {
    let address = format!("127.0.0.1:{}", daemon.ports.http);
    let program = program.replace(ADDRESS, &address);
    let mut command = match kind {
        "sh" => Command::new("bash"),
        "python" => Command::new("python3"),
        _ => panic!("nothing runs {kind}"),
    };
    if kind == "sh" {
        command.args(["-euo", "pipefail"]);
    }
    // Files, since a pipe that nobody empties would hold it up.
    let streams = tempfile::tempdir().unwrap();
    let [output, errors] = ["output", "errors"].map(|name| streams.path().join(name));
    let mut child = command
        .args(["-c", &program])
        .current_dir(folder)
        .env("ADMIN_TOKEN", ADMIN_TOKEN)
        .env("PYTHONPATH", libraries())
        .env("PYTHONUNBUFFERED", "1")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output).unwrap())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let said = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let is_done = wait_for("end of an example", || {
        let status = child.try_wait().unwrap();
        status
            .map(|status| status.success())
            .or_else(|| is_enough(&said(&output)).then_some(true))
    });
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
    Ran {
        is_done,
        output: said(&output),
        errors: said(&errors),
    }
}

/// How often that route has answered with a status that begins so.
fn answered(daemon: &Daemon, route: &str, status: char) -> u64 {
    let (method, path) = route.split_once(' ').unwrap();
    let labels = [
        format!("method=\"{method}\""),
        format!("route=\"{path}\""),
        format!("status=\"{status}"),
    ];
    let (_, metrics) = daemon.get("/metrics").unwrap();
    // Only axum marks what stands for several steps.
    let metrics = metrics.replace("{*", "{");
    let counts = metrics.lines().filter(|line| {
        line.starts_with("translator_http_request_duration_seconds_count{")
            && labels.iter().all(|label| line.contains(label))
    });
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// True when there is something beside the recording.
fn has_file(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        entry.file_name() != RECORDING && entry.metadata().unwrap().len() > 500
    })
}

fn libraries() -> std::ffi::OsString {
    std::env::var_os("PYTHONPATH").unwrap_or_else(|| local("python").into())
}

/// True when there is everything that the examples need; says what is missing, unless `REQUIRE_EXAMPLES` is set.
fn can_run() -> bool {
    let commands: [&[&str]; 4] = [
        &["curl", "--version"],
        &["jq", "--version"],
        &["espeak-ng", "--version"],
        &["python3", "-c", "import openai, requests"],
    ];
    let runs = |command: &&[&str]| {
        let output = Command::new(command[0])
            .args(&command[1..])
            .env("PYTHONPATH", libraries())
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let missing = commands.into_iter().find(|command| !runs(command));
    if let Some(command) = missing {
        let why = format!("`{}` fails: make setup-tests", command.join(" "));
        skip("REQUIRE_EXAMPLES", &why);
    }
    missing.is_none()
}
