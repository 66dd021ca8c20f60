//! `translator demo`: a daemon and its client, as a newcomer starts them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::command_line::CommandLine;
use crate::support::daemon::fixture_models;
use crate::support::models::{copied_models, replace};
use crate::support::wait_for;

/// The project's folder as the demo sees it, without models of one's own and without espeak-ng.
fn project() -> CommandLine {
    let commands = CommandLine::new()
        .with("MODELS_PATH", "no-models")
        .with("TRANSLATOR_ESPEAK_PROGRAM", "no-espeak");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    symlink(models, commands.path().join("models")).unwrap();
    commands
}

#[test]
fn the_demo_translates_what_it_hears_and_what_it_is_told() {
    let commands = project();
    let shown = commands.succeed(&["demo"]);
    for expected in [
        "models: models/fixtures and models/demo, as there are none in no-models",
        "They speak noise: ",
        "“hello my friend. how are you.”",
        "“hola mi amigo. cómo eres tú.”",
        "“hallo mein freund. wie bist du.”",
        "2 spoken",
        "“I am at the station and I am waiting for you. I forgot my phone at home. \
         Do you want to eat with us tonight?” to be read in fr",
        "“Je suis à la gare et je t'attends. J'ai oublié mon téléphone à la maison. \
         Veux-tu manger avec nous ce soir ?”",
    ] {
        assert!(shown.contains(expected), "no {expected:?}: {shown}");
    }
    // What was spoken is told before the text, which may be anything.
    let listed = shown.find("You can listen to:").unwrap();
    assert!(listed < shown.find("to be read in fr").unwrap(), "{shown}");
    for language in ["es", "de"] {
        let file = format!("outputs/demo/voice_message.{language}.mp3");
        assert!(shown[listed..].contains(&file), "{shown}");
        let length = std::fs::metadata(commands.path().join(file)).unwrap().len();
        assert!(length > 1000);
    }
    assert!(commands.path().join("outputs/demo/daemon.log").is_file());
}

#[test]
fn fixtures_that_the_settings_name_are_taken_alone() {
    let fixtures = fixture_models();
    let commands = project().with("MODELS_PATH", fixtures.to_str().unwrap());
    let shown = commands.succeed(&["demo", "--text", "Hello my friend."]);
    let origin = format!("models: {}\n", fixtures.display());
    for expected in [&origin, "know fifty words", "“Bonjour mon ami.”"] {
        assert!(shown.contains(expected), "no {expected:?}: {shown}");
    }
}

#[test]
fn no_text_is_sent_where_nothing_translates_english_into_french() {
    let models = copied_models();
    let file = "marian/en-mul/metadata.json";
    let metadata = std::fs::read(models.path().join(file)).unwrap();
    let mut metadata: Value = serde_json::from_slice(&metadata).unwrap();
    let tokens = metadata["target_tokens"].as_object_mut().unwrap();
    assert!(tokens.remove("fr").is_some());
    replace(models.path(), file, metadata.to_string().as_bytes());

    let commands = project().with("MODELS_PATH", models.path().to_str().unwrap());
    let shown = commands.succeed(&["demo"]);
    for expected in [
        "2 spoken",
        "voice_message.de.mp3",
        "no text is sent: none of",
    ] {
        assert!(shown.contains(expected), "no {expected:?}: {shown}");
    }
    assert!(!shown.contains("to be read in fr"), "{shown}");
}

#[test]
fn a_demo_that_cannot_be_says_why_before_anything_starts() {
    let commands = project();
    let error = commands.fail(2, &["demo", "--text", " "]);
    assert!(error.contains("nothing to translate"), "{error}");

    let damaged = copied_models();
    std::fs::write(damaged.path().join("manifest.toml"), "[[model]]").unwrap();
    let commands = commands.with("MODELS_PATH", damaged.path().to_str().unwrap());
    let error = commands.fail(1, &["demo"]);
    assert!(error.contains("is not a valid manifest"), "{error}");
    assert!(!commands.path().join("outputs/demo/daemon.log").exists());

    let elsewhere = CommandLine::new();
    let error = elsewhere.fail(1, &["demo"]);
    assert!(error.contains("in the project's folder"), "{error}");
}

#[test]
fn a_demo_that_is_told_to_end_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let commands = project().with("TMPDIR", temporary.path().to_str().unwrap());
    let mut demo = commands
        .command(&["demo"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let log = commands.path().join("outputs/demo/daemon.log");
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("the daemon's log", || {
        logged().contains("INFO").then_some(())
    });
    assert!(
        std::fs::read_dir(temporary.path())
            .unwrap()
            .next()
            .is_some()
    );
    let demo_process = Pid::from_raw(demo.id() as i32).unwrap();
    kill_process(demo_process, Signal::TERM).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert!(logged().contains("INFO stopped"), "{}", logged());
    assert!(
        std::fs::read_dir(temporary.path())
            .unwrap()
            .next()
            .is_none()
    );
}
