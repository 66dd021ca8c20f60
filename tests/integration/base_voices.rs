//! Speech of base voices: in languages that XTTS does not speak, and where no XTTS is installed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Ports, serve_command};
use crate::support::gateway::Gateway;
use crate::support::models::{copied_models, remove, replace};
use crate::support::recordings;
use crate::support::skip;
use crate::support::voice_job::{Answer, Expected, repeated_recording, voice_message};

/// Quality that is stated for voices that are nobody's.
const PLAIN_QUALITY: f64 = 0.5;

const ALWAYS: (&str, &str) = ("TRANSLATOR_BASE_VOICE", "always");
const AUTO: (&str, &str) = ("TRANSLATOR_BASE_VOICE", "auto");
const UNCONVERTED: (&str, &str) = ("TRANSLATOR_CONVERT_BASE_VOICE", "false");

/// True when espeak-ng runs; says so when it does not, unless `REQUIRE_ESPEAK` is set.
fn has_espeak() -> bool {
    let version = std::process::Command::new("espeak-ng")
        .arg("--version")
        .output();
    let runs = version.is_ok_and(|version| version.status.success());
    if !runs {
        skip("REQUIRE_ESPEAK", "espeak-ng does not run");
    }
    runs
}

/// An espeak-ng that breaks the rules: what each language does is in the script.
fn rogue() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rogue_espeak.sh");
    script.to_str().unwrap().to_owned()
}

/// The fixture models with an XTTS that speaks French and Spanish only.
fn models_of_two_languages() -> tempfile::TempDir {
    let models = copied_models();
    let file = "xtts/metadata.json";
    let text = std::fs::read(models.path().join(file)).unwrap();
    let mut metadata: Value = serde_json::from_slice(&text).unwrap();
    metadata["languages"] = json!(["fr", "es"]);
    replace(models.path(), file, metadata.to_string().as_bytes());
    models
}

fn daemon_with(models: &Path, environment: &[(&str, &str)]) -> Daemon {
    let mut all = vec![("MODELS_PATH", models.to_str().unwrap())];
    all.extend(environment);
    Daemon::start_with(&all)
}

fn ask(daemon: &Daemon, name: &str, targets: &[&str], expected: Expected<'_>) -> Answer {
    let mut gateway = Gateway::connect(daemon.ports);
    let request = voice_message(name, targets);
    let recording = repeated_recording(2);
    Answer::to(&mut gateway, daemon, &request, &[&recording], expected)
}

#[test]
fn what_xtts_does_not_speak_is_spoken_by_base_voices_in_the_senders_voice() {
    if !has_espeak() {
        return;
    }
    let models = models_of_two_languages();
    let daemon = daemon_with(models.path(), &[AUTO]);
    let spoken = ["fr", "de", "it"];
    let answer = ask(&daemon, "all", &spoken, Expected::spoken(&spoken));
    let model = |language| answer.translated(language)["ttsModel"].clone();
    assert_eq!(model("fr"), "xtts");
    assert_eq!(model("de"), "espeak-ng:de");
    assert_eq!(model("it"), "piper:it_IT-fixture-x_low");
    for language in ["de", "it"] {
        let audio = answer.translated(language);
        assert_eq!(audio["voiceCloned"], true, "{language}");
        let quality = audio["voiceQuality"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&quality), "{quality}");
    }
    // Who wants no clone gets the base voices as they are.
    let mut gateway = Gateway::connect(daemon.ports);
    let mut plain = voice_message("plain", &["de"]);
    plain["generateVoiceClone"] = json!(false);
    let recording = recordings::bundled();
    let expected = Expected::spoken(&["de"]);
    let plain = Answer::to(&mut gateway, &daemon, &plain, &[&recording], expected);
    assert_eq!(plain.translated("de")["voiceCloned"], false);
    assert_eq!(plain.translated("de")["voiceQuality"], PLAIN_QUALITY);
}

#[test]
fn base_voices_speak_alone_where_no_xtts_is_installed() {
    if !has_espeak() {
        return;
    }
    let models = copied_models();
    remove(models.path(), "xtts");
    let daemon = daemon_with(models.path(), &[AUTO]);
    let health = daemon.get_json("/health");
    let engines = &health["components"]["translation_models"];
    assert_eq!(engines["base_voice"], "ready", "{health}");
    assert_eq!(engines.get("synthesize"), None, "{health}");

    let spoken = ["fr", "es"];
    let first = ask(&daemon, "first", &spoken, Expected::spoken(&spoken));
    assert_eq!(first.translated("fr")["ttsModel"], "espeak-ng:fr-fr");
    assert_eq!(first.translated("fr")["voiceCloned"], true);
    // The voice is an identity, which the gateway keeps and sends back.
    assert_eq!(first.completed().json["newVoiceProfile"]["version"], 1);
    let voice = first.embedding().unwrap();
    let mut again = voice_message("again", &["fr"]);
    again["binaryFrames"] = json!({"audio": 1, "voiceProfile": 2});
    again["existingVoiceProfile"] = json!({"profileId": "vp", "qualityScore": 0.8});
    again["useOriginalVoice"] = json!(true);
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let expected = Expected::spoken(&["fr"]);
    let frames = [&recording[..], voice];
    let again = Answer::to(&mut gateway, &daemon, &again, &frames, expected);
    assert_eq!(again.translated("fr")["voiceCloned"], true);
    assert!(
        again.speech("fr") == first.speech("fr"),
        "the same voice says the same"
    );
}

#[test]
fn base_voices_may_be_preferred_and_left_as_they_are() {
    if !has_espeak() {
        return;
    }
    let daemon = Daemon::start_with(&[ALWAYS, UNCONVERTED]);
    let spoken = ["fr", "es"];
    let answer = ask(&daemon, "first", &spoken, Expected::spoken(&spoken));
    for (language, model) in [("fr", "espeak-ng:fr-fr"), ("es", "espeak-ng:es")] {
        let audio = answer.translated(language);
        assert_eq!(audio["ttsModel"], model);
        assert_eq!(audio["voiceCloned"], false);
        assert_eq!(audio["voiceQuality"], PLAIN_QUALITY);
    }
    // The same again, from whomever, comes from the cache.
    let hit = ["cache=\"speech\"", "outcome=\"hit\""];
    let metric = "translator_cache_requests_total";
    assert_eq!(daemon.metric(metric, &hit), 0.0);
    let again = ask(&daemon, "second", &spoken, Expected::spoken(&spoken));
    assert_eq!(daemon.metric(metric, &hit), 2.0);
    assert!(again.speech("es") == answer.speech("es"), "another speech");
    assert_eq!(again.translated("es")["ttsModel"], "espeak-ng:es");
}

#[test]
fn a_base_voice_that_fails_fails_its_language_only() {
    let models = models_of_two_languages();
    let rogue = rogue();
    let daemon = daemon_with(
        models.path(),
        &[
            AUTO,
            ("TRANSLATOR_ESPEAK_PROGRAM", &rogue),
            ("TTS_SYNTH_TIMEOUT_S", "2"),
        ],
    );
    // German hangs, Portuguese floods.
    let expected = Expected::spoken(&["fr"]).beside_failing(2);
    ask(&daemon, "some", &["de", "fr", "pt"], expected);
    let alone = Expected::error("tts_failed").beside_failing(1);
    let answer = ask(&daemon, "alone", &["de"], alone);
    let error = answer.events.last().unwrap();
    assert_eq!(error.text("reason"), "deadline_exceeded");
    assert_eq!(error.text("stage"), "synthesize");
    assert!(no_process_of(&daemon, "rogue_espeak"), "a program was left");
    assert!(no_process_of(&daemon, "sleep"), "a program was left");
}

/// True when the daemon has no child of that name.
fn no_process_of(daemon: &Daemon, name: &str) -> bool {
    let children = format!("/proc/{0}/task", daemon.pid());
    let tasks = std::fs::read_dir(children).unwrap().flatten();
    let children: Vec<String> = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    children.iter().all(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        !line.is_ok_and(|line| line.contains(name))
    })
}

#[test]
fn a_program_that_is_asked_for_and_missing_is_an_error_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = |program: &str| {
        let output = serve_command(folder.path(), Ports::free())
            .envs([ALWAYS, ("TRANSLATOR_ESPEAK_PROGRAM", program)])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refuses("no-such-program");
    assert!(error.contains("no-such-program was not found"), "{error}");
    assert!(error.contains("install espeak-ng"), "{error}");
    let error = refuses("/bin/true");
    assert!(error.contains("/bin/true does not list voices"), "{error}");
    let error = refuses("/bin/false");
    assert!(error.contains("/bin/false failed"), "{error}");
}

#[test]
fn without_the_program_xtts_speaks_alone() {
    let daemon = Daemon::start_with(&[AUTO, ("TRANSLATOR_ESPEAK_PROGRAM", "no-such-program")]);
    assert!(daemon.log().contains("there are no base voices"));
    let expected = Expected::spoken(&["fr"]);
    let answer = ask(&daemon, "message", &["sw", "fr"], expected);
    assert_eq!(answer.translated("fr")["ttsModel"], "xtts");
}

#[test]
fn a_damaged_piper_voice_is_not_used() {
    let models = models_of_two_languages();
    let voice = "piper/it_IT-fixture-x_low/it_IT-fixture-x_low.onnx";
    let path: PathBuf = models.path().join(voice);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let rogue = rogue();
    let daemon = Daemon::launch(&[
        ("MODELS_PATH", models.path().to_str().unwrap()),
        AUTO,
        ("TRANSLATOR_ESPEAK_PROGRAM", &rogue),
    ]);
    daemon.wait_loaded();
    let health = daemon.get_json("/health");
    let status = &health["components"]["translation_models"]["base_voice"];
    let status = status.as_str().unwrap();
    assert!(status.contains("another SHA-256"), "{status}");
}
