//! The command line as a person types it.

use std::path::Path;

use serde_json::Value;

use crate::support::command_line::{CommandLine, text};
use crate::support::daemon::{Daemon, Ports, fixture_models};
use crate::support::models::copied_models;

#[test]
fn every_command_explains_itself() {
    let commands = CommandLine::new();
    let help = commands.succeed(&["--help"]);
    let listed: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "serve",
        "submit",
        "process",
        "voices",
        "jobs",
        "languages",
        "openapi",
        "models",
        "doctor",
        "check-config",
        "healthcheck",
        "demo",
        "bench",
        "decode-worker",
    ];
    assert_eq!(listed, expected, "{help}");
    for command in expected {
        let help = commands.succeed(&[command, "--help"]);
        assert!(
            help.contains(&format!("Usage: translator {command}")),
            "{help}"
        );
        assert!(help.contains("--config"), "{help}");
    }
    for command in ["pull", "list", "verify", "lock", "prune"] {
        commands.succeed(&["models", command, "--help"]);
    }
    for command in ["list", "show", "recalibrate", "delete"] {
        commands.succeed(&["voices", command, "--help"]);
    }
    for command in ["list", "show", "retry", "cancel", "purge"] {
        commands.succeed(&["jobs", command, "--help"]);
    }
    let version = commands.succeed(&["--version"]);
    assert_eq!(
        version.trim(),
        format!("translator {}", env!("CARGO_PKG_VERSION"))
    );

    let error = commands.fail(2, &["sumbit"]);
    assert!(error.contains("submit"), "no proposal: {error}");
    commands.fail(2, &["process", "message.ogg", "--to", "klingon"]);
    commands.fail(2, &["submit", "message.ogg"]);
}

#[test]
fn settings_are_shown_or_the_wrong_key_is_named() {
    let commands =
        CommandLine::new().with("DATABASE_URL", "mongodb://ada:geheim@db.example/meeshy");
    let shown = commands.succeed(&["check-config"]);
    let settings: toml::Table = shown.parse().unwrap();
    assert_eq!(settings["zmq"]["pull_port"].as_integer(), Some(5555));
    let models = fixture_models();
    assert_eq!(settings["models"]["path"].as_str(), models.to_str());
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(settings["mongo"]["url"].is_str(), "{shown}");

    let file = commands.path().join("translator.toml");
    std::fs::write(&file, "[zmq]\npull_port = 7001\n").unwrap();
    for arguments in [
        &["check-config", "translator.toml"][..],
        &["--config", "translator.toml", "check-config"],
    ] {
        let settings: toml::Table = commands.succeed(arguments).parse().unwrap();
        assert_eq!(settings["zmq"]["pull_port"].as_integer(), Some(7001));
        assert_eq!(settings["zmq"]["pub_port"].as_integer(), Some(5558));
    }

    for (content, named) in [
        ("[zmq]\npul_port = 7001\n", "pul_port"),
        ("[zmqq]\n", "zmqq"),
        ("[jobs]\nmax_attempts = 0\n", "jobs.max_attempts"),
        ("[zmq]\npull_port = \"many\"\n", "pull_port"),
        ("[zmq\n", "translator.toml"),
    ] {
        std::fs::write(&file, content).unwrap();
        for command in ["check-config", "serve", "doctor"] {
            let error = commands.fail(64, &["--config", "translator.toml", command]);
            assert!(error.contains(named), "{command}: {error}");
        }
    }
    let error = commands.fail(64, &["check-config", "missing.toml"]);
    assert!(error.contains("missing.toml"), "{error}");

    // A variable that cannot be read is a warning: the default stands.
    let odd = CommandLine::new().with("TRANSLATOR_ZMQ_PULL_PORT", "many");
    let output = odd.run(&["check-config"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("TRANSLATOR_ZMQ_PULL_PORT"));
    assert!(text(&output.stdout).contains("pull_port = 5555"));
}

#[test]
fn models_are_listed_and_damage_is_found() {
    let commands = CommandLine::new();
    let listing: Value =
        serde_json::from_str(&commands.succeed(&["models", "list", "--json"])).unwrap();
    assert_eq!(listing["fixture"], true);
    let models = listing["models"].as_array().unwrap();
    for engine in ["vad", "whisper", "marian", "openvoice", "xtts", "piper"] {
        assert!(
            models.iter().any(|model| model["engine"] == engine),
            "{engine}"
        );
    }
    let english = listing["translations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|from| from["source"] == "en")
        .unwrap();
    assert!(english["direct"].as_array().unwrap().contains(&"fr".into()));
    assert!(
        commands
            .succeed(&["models", "list"])
            .contains("whisper-scripted")
    );

    let verified = commands.succeed(&["models", "verify"]);
    assert!(verified.contains(" 0 damaged"), "{verified}");

    // One file altered, one gone: both are named, the rest is checked all the same.
    let copy = copied_models();
    let copy = copy.path();
    let altered = copy.join("marian/fr-en/vocab.json");
    let changed = std::fs::read_to_string(&altered)
        .unwrap()
        .replacen('a', "b", 1);
    std::fs::write(&altered, changed).unwrap();
    std::fs::remove_file(copy.join("whisper/scripted.bin")).unwrap();
    let damaged = CommandLine::new().with("MODELS_PATH", copy.to_str().unwrap());
    let output = damaged.run(&["models", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let files: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut problems: Vec<&str> = files
        .iter()
        .filter(|file| file.get("problem").is_some())
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        ["marian/fr-en/vocab.json", "whisper/scripted.bin"]
    );
    assert!(files.len() > 10, "the rest was not checked");

    let missing = CommandLine::new().with("MODELS_PATH", "nowhere");
    let error = missing.fail(1, &["models", "verify"]);
    assert!(error.contains("MODELS_PATH"), "no advice: {error}");
}

#[test]
fn the_doctor_names_every_check() {
    let commands = CommandLine::new().at(Ports::free());
    let report: Value = serde_json::from_str(&commands.succeed(&["doctor", "--json"])).unwrap();
    assert_eq!(report["healthy"], true);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    let expected = [
        "settings",
        "onnxruntime",
        "device",
        "whisper device",
        "models",
        "whisper",
        "marian",
        "openvoice",
        "xtts",
        "piper",
        "vad",
        "base voices",
        "requests port",
        "events port",
        "http port",
        "data folder",
        "disk space",
        "memory",
        "output folder",
        "mongodb",
    ];
    assert_eq!(names, expected);
    for check in checks {
        assert!(!check["detail"].as_str().unwrap().is_empty(), "{check}");
        let is_ok = check["status"] == "ok";
        // What is not as it should be comes with advice.
        assert_eq!(check["hint"].is_string(), !is_ok, "{check}");
    }
    let left: Vec<_> = std::fs::read_dir(commands.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "something was left behind: {left:?}");

    let ill = CommandLine::new()
        .at(Ports::free())
        .with("ORT_DYLIB_PATH", "nowhere.so");
    let ill = ill.with("MODELS_PATH", "nowhere");
    let output = ill.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stdout);
    assert!(report.contains("FAIL  onnxruntime"), "{report}");
    assert!(report.contains("FAIL  models"), "{report}");
    assert!(report.contains("MODELS_PATH"), "{report}");
}

#[test]
fn the_doctor_tells_which_models_cuda_leaves_on_the_processor() {
    let commands = CommandLine::new()
        .at(Ports::free())
        .with("TRANSLATOR_DEVICE", "cuda");
    let check = |commands: &CommandLine, name: &str| {
        let output = commands.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap()
            .clone()
    };
    // Of the bundled ones only fr-en and XTTS have graphs of 16-bit floats.
    let marian = check(&commands, "marian");
    assert_eq!(marian["status"], "warn");
    let detail = marian["detail"].as_str().unwrap();
    assert!(detail.ends_with("; on the processor: en-mul"), "{detail}");
    assert!(
        marian["hint"]
            .as_str()
            .unwrap()
            .contains("--precisions fp32,int8r,fp16")
    );
    assert_eq!(check(&commands, "xtts")["status"], "ok");
}

#[test]
fn the_probe_tells_a_living_daemon_from_none() {
    let ports = Ports::free();
    let commands = CommandLine::new().at(ports);
    let error = commands.fail(1, &["healthcheck"]);
    assert!(
        error.contains(&format!(
            "no healthy daemon at http://127.0.0.1:{}/live",
            ports.http
        )),
        "{error}"
    );

    let daemon = Daemon::start();
    let commands = CommandLine::new().at(daemon.ports);
    let body: Value = serde_json::from_str(&commands.succeed(&["healthcheck"])).unwrap();
    assert_eq!(body["status"], "alive");
    let ready = format!("http://127.0.0.1:{}/ready", daemon.ports.http);
    commands.succeed(&["healthcheck", "--url", &ready]);
    let nowhere = format!("http://127.0.0.1:{}/nowhere", daemon.ports.http);
    commands.fail(1, &["healthcheck", "--url", &nowhere]);
}

/// An MP3 begins with a tag or with the eleven set bits of a frame.
fn assert_mp3(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let is_frame = bytes[0] == 0xff && bytes[1] & 0xe0 == 0xe0;
    assert!(bytes.starts_with(b"ID3") || is_frame, "{}", path.display());
    assert!(bytes.len() > 1000, "{}", path.display());
}

#[test]
fn a_recording_is_processed_without_a_daemon() {
    let commands = CommandLine::new();
    let shown = commands.succeed(&[
        "process",
        "message.ogg",
        "--to",
        "fr,es",
        "--output",
        "speech",
    ]);
    assert!(shown.contains("hello my friend"), "{shown}");
    let speech = commands.path().join("speech");
    for language in ["fr", "es"] {
        assert_mp3(&speech.join(format!("message.{language}.mp3")));
    }
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(speech.join(name)).unwrap()).unwrap()
    };
    let transcript = read("message.transcript.json");
    assert_eq!(transcript["language"], "en");
    assert!(transcript["text"].as_str().unwrap().contains("how are you"));
    let translations = read("message.translations.json");
    assert!(
        translations["fr"]["text"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("bonjour mon ami")
    );
    assert!(translations["es"]["durationMs"].as_u64().unwrap() > 0);
    // Nothing else is kept.
    assert_eq!(std::fs::read_dir(&speech).unwrap().count(), 4);
    assert_eq!(std::fs::read_dir(commands.path()).unwrap().count(), 2);

    std::fs::write(commands.path().join("noise.ogg"), [7; 5000]).unwrap();
    let error = commands.fail(1, &["process", "noise.ogg", "--to", "fr"]);
    assert!(error.contains("malformed"), "{error}");
    let error = commands.fail(1, &["process", "missing.ogg", "--to", "fr"]);
    assert!(error.contains("missing.ogg"), "{error}");
    let unmodelled = CommandLine::new().with("MODELS_PATH", "nowhere");
    let error = unmodelled.fail(1, &["process", "message.ogg", "--to", "fr"]);
    assert!(error.contains("no models at"), "{error}");
}

#[test]
fn recordings_and_texts_are_submitted_to_a_daemon() {
    let nobody = CommandLine::new().at(Ports::free());
    let error = nobody.fail(1, &["submit", "--text", "Hello.", "--to", "fr"]);
    assert!(error.contains("no daemon answers"), "{error}");

    let daemon = Daemon::start();
    let commands = CommandLine::new().at(daemon.ports);
    let shown = commands.succeed(&[
        "submit",
        "--text",
        "Hello my friend.",
        "--from",
        "en",
        "--to",
        "fr,es",
    ]);
    for expected in ["Bonjour mon ami.", "Hola mi amigo."] {
        assert!(shown.contains(expected), "{shown}");
    }
    let shown = commands.succeed(&[
        "submit",
        "message.ogg",
        "--to",
        "fr,de",
        "--output",
        "speech",
    ]);
    assert!(shown.contains("hello my friend"), "{shown}");
    for language in ["fr", "de"] {
        assert_mp3(
            &commands
                .path()
                .join(format!("speech/message.{language}.mp3")),
        );
    }
    let shown = commands.succeed(&[
        "submit",
        "message.ogg",
        "--to",
        "fr",
        "--mobile-text",
        "Good morning my friend.",
        "--mobile-language",
        "en",
        "--output",
        "mobile",
    ]);
    assert!(shown.contains("Good morning my friend."), "{shown}");

    let error = commands.fail(
        1,
        &["submit", "--text", "Hello.", "--from", "en", "--to", "ru"],
    );
    assert!(error.contains("the job failed"), "{error}");
    std::fs::write(commands.path().join("noise.ogg"), [7; 5000]).unwrap();
    let error = commands.fail(1, &["submit", "noise.ogg", "--to", "fr"]);
    assert!(error.contains("malformed"), "{error}");
}

/// A voice message in two languages, two at a time, and a text message.
const WORKLOADS: &str = r#"
messages = 2
threads = 1

[[workload]]
name = "voices"
audio = "message.ogg"
to = ["fr", "es"]
messages = 4
concurrency = 2

[[workload]]
name = "texts"
text = "Hello my friend. How are you?"
from = "en"
to = ["de"]
"#;

#[test]
fn workloads_are_measured() {
    let commands = CommandLine::new();
    std::fs::write(commands.path().join("mine.toml"), WORKLOADS).unwrap();
    let table = commands.succeed(&[
        "bench",
        "mine.toml",
        "--json",
        "figures.json",
        "--svg",
        "plot.svg",
    ]);
    assert!(table.contains("voices: 4 messages, 2 at a time"), "{table}");
    let plot = std::fs::read_to_string(commands.path().join("plot.svg")).unwrap();
    assert!(
        plot.starts_with("<svg") && plot.contains("synthesize"),
        "{plot}"
    );

    let figures = std::fs::read(commands.path().join("figures.json")).unwrap();
    let figures: Value = serde_json::from_slice(&figures).unwrap();
    assert!(figures["models"].as_array().unwrap().len() >= 5);
    let [voices, texts] = figures["workloads"].as_array().unwrap().as_slice() else {
        panic!("{figures}");
    };
    // Every message was worked on: nothing came from a cache, and the warm-up does not count.
    let times = |workload: &Value, stage: &str| workload["stages"][stage]["count"].as_u64();
    assert_eq!(times(voices, "transcribe"), Some(4));
    assert_eq!(times(voices, "translate"), Some(8));
    assert_eq!(times(voices, "synthesize"), Some(8));
    assert_eq!(times(texts, "translate"), Some(2));
    assert_eq!(times(texts, "synthesize"), None);
    assert_eq!(voices["audio_secs"].as_f64().unwrap().round(), 24.0);
    assert_eq!(texts["audio_secs"], 0.0);
    for workload in [voices, texts] {
        assert_eq!(workload["errors"], serde_json::json!({}));
        for figure in ["wall_secs", "cpu_secs", "peak_memory_bytes"] {
            assert!(workload[figure].as_f64().unwrap() > 0.0, "{figure}");
        }
    }
    let threads = voices["threads"].as_array().unwrap();
    let names: Vec<&str> = threads.iter().filter_map(|t| t["name"].as_str()).collect();
    for name in ["synthesize", "vocoder", "whisper"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(voices["rows"]["synthesize"]["max"].as_f64().unwrap() >= 2.0);
    // The ledger and the speech were in a folder of their own.
    let mut left: Vec<_> = std::fs::read_dir(commands.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["figures.json", "message.ogg", "mine.toml", "plot.svg"]
    );
}

#[test]
fn workloads_that_cannot_be_measured_are_named() {
    let commands = CommandLine::new();
    let bench = |workload: &str| {
        let file = format!("messages = 1\n[[workload]]\nname = \"it\"\n{workload}\n");
        std::fs::write(commands.path().join("mine.toml"), file).unwrap();
        commands.fail(1, &["bench", "mine.toml"])
    };
    let error = bench("to = [\"fr\"]");
    assert!(
        error.contains("mine.toml is no file of workloads: it: "),
        "{error}"
    );
    let error = bench("to = [\"fr\"]\naudio = \"missing.ogg\"");
    assert!(error.contains("missing.ogg"), "{error}");
    let error = bench("to = [\"fr\"]\ntext = \"hello\"\nbatch = 3");
    assert!(error.contains("batch"), "{error}");
    let error = commands.fail(1, &["bench", "nowhere.toml"]);
    assert!(error.contains("nowhere.toml"), "{error}");
}

#[test]
fn no_library_keeps_accounts_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().to_str().unwrap();
    let commands = CommandLine::new()
        .with("HOME", folder)
        .with("TMPDIR", folder);
    commands.succeed(&["process", "message.ogg", "--to", "fr"]);
    let kept: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");
}
