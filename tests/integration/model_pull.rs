//! Models from a hub: found, fetched, checked, installed, used.

use meeshy_translator::registry::{Engine, Evidence};
use serde_json::Value;

use crate::support::command_line::{CommandLine, text};
use crate::support::daemon::fixture_models;
use crate::support::hub::{Fault, Repository, sha256};
use crate::support::pulling::{
    Pulling, entry, files_below, listed, noise, published_fixtures, repository, whisper,
};
use crate::support::wait_for;

/// Nothing of a model came since the hub forgot.
fn assert_only_manifests_were_fetched(pulling: &Pulling) {
    let fetched = pulling.hub.fetched();
    assert!(
        fetched
            .iter()
            .all(|asked| asked.path.contains("/manifest.toml"))
    );
}

#[test]
fn a_set_is_pulled_checked_and_used() {
    let pulling = published_fixtures()
        .with("TRANSLATOR_EXPORTED_REPOSITORY", "me/voices")
        .with("TRANSLATOR_ACCEPT_LICENSES", "cpml")
        .with("HF_TOKEN", "hf_secret");
    let plan = pulling.pull(&["all", "--dry-run"]);
    assert!(plan.contains("acme/opus-mt-fr-en@"), "{plan}");
    assert!(plan.contains("its page says apache-2.0"), "{plan}");
    assert_only_manifests_were_fetched(&pulling);
    assert!(!pulling.models().join("manifest.toml").exists());

    let shown = pulling.pull(&["all"]);
    assert!(shown.contains("installed xtts"), "{shown}");
    assert!(shown.contains("as the hub announced"), "{shown}");

    // What it was compared with, and where it came from, is in the manifest.
    let manifest = pulling.manifest();
    let model = |id: &str| manifest.models.iter().find(|model| model.id == id).unwrap();
    let whisper = model("w");
    assert_eq!(whisper.files[0].verified, Some(Evidence::Catalogue));
    let origin = whisper.origin.as_deref().unwrap();
    assert!(
        origin.starts_with(&format!("{}/acme/w@", pulling.hub.endpoint())),
        "{origin}"
    );
    let kinds: Vec<_> = model("fr-en")
        .files
        .iter()
        .map(|file| file.verified.unwrap())
        .collect();
    assert!(kinds.contains(&Evidence::HubSha256) && kinds.contains(&Evidence::HubGitSha1));
    let speech = &model("xtts").files;
    assert_eq!(speech[0].verified, Some(Evidence::PublishedManifest));
    let weights = "gpt_batched.int8r.onnx.data";
    assert!(speech.iter().any(|file| file.path.ends_with(weights)));
    assert!(
        !pulling.models().join(".pull").exists(),
        "something was left behind"
    );
    assert!(
        pulling
            .commands
            .succeed(&["models", "verify"])
            .contains(" 0 damaged")
    );

    // The hub's token is for the hub.
    let asked = pulling.hub.asked();
    assert!(asked.iter().any(|asked| asked.is_storage));
    for asked in asked {
        let token = asked.headers.get("authorization").map(String::as_str);
        let expected = (!asked.is_storage).then_some("Bearer hf_secret");
        assert_eq!(token, expected, "{asked:?}");
    }

    let spoken = pulling
        .commands
        .succeed(&["process", "message.ogg", "--to", "fr"]);
    assert!(spoken.contains("hello my friend"), "{spoken}");

    // Again, nothing comes; without a network it is found to be complete.
    pulling.hub.forget();
    let shown = pulling.pull(&["all"]);
    assert!(shown.contains("is here"), "{shown}");
    assert_only_manifests_were_fetched(&pulling);
    pulling.hub.forget();
    let shown = pulling.pull(&["all", "--offline"]);
    assert!(shown.contains("6 models"), "{shown}");
    assert!(pulling.hub.asked().is_empty());
}

#[test]
fn what_nobody_publishes_is_told_with_the_way_to_get_it() {
    let pulling = published_fixtures();
    let error = pulling.fail(&["all"]);
    for expected in [
        "python -m export everything --out /",
        "TRANSLATOR_EXPORTED_REPOSITORY",
        "4 of 6 models were not pulled",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    // The rest is there, and can be used.
    assert!(pulling.is_usable(Engine::Whisper) && pulling.is_usable(Engine::Marian));
    let listing = pulling.commands.succeed(&["models", "list", "--json"]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    assert_eq!(listing["translations"][0]["source"], "fr");
    let origin = listing["models"][0]["origin"].as_str().unwrap();
    assert!(origin.contains("acme/w@"), "{origin}");
}

#[test]
fn a_pull_goes_on_where_the_connection_broke() {
    let content = noise(300_000);
    let pulling = Pulling::one_file(&content);
    pulling.hub.fail("/blob/", 1, Fault::Cut(100_000));
    pulling.pull(&["w"]);
    let fetched = pulling.hub.fetched();
    assert_eq!(fetched.len(), 2, "{fetched:?}");
    assert_eq!(fetched[1].headers["range"], "bytes=100000-");
    assert_eq!(
        fetched[1].headers["if-range"],
        format!("\"{}\"", sha256(&content))
    );
    assert!(pulling.is_usable(Engine::Whisper));
}

#[test]
fn a_server_without_ranges_starts_over() {
    let pulling = Pulling::one_file(&noise(300_000));
    pulling.hub.fail("/blob/", 1, Fault::Cut(100_000));
    pulling.hub.fail("/blob/", 1, Fault::NoRanges);
    pulling.pull(&["w"]);
    assert!(pulling.is_usable(Engine::Whisper));
}

#[test]
fn a_pull_that_was_killed_or_interrupted_goes_on() {
    let content = noise(400_000);
    for signal in [9, 2] {
        let pulling = Pulling::one_file(&content);
        pulling.hub.fail("/blob/", 1, Fault::Stall(200_000));
        let child = pulling.start(&["w"]);
        wait_for("the first half", || {
            (pulling.partial_bytes() == 200_000).then_some(())
        });
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        if signal == rustix::process::Signal::INT {
            let error = text(&output.stderr);
            assert!(error.contains("goes on from here"), "{error}");
        }
        assert!(!pulling.models().join("manifest.toml").exists());

        pulling.pull(&["w"]);
        let fetched = pulling.hub.fetched();
        assert_eq!(fetched.last().unwrap().headers["range"], "bytes=200000-");
        assert!(pulling.is_usable(Engine::Whisper));
    }
}

#[test]
fn a_crash_before_the_manifest_is_written_costs_no_second_download() {
    let fault = tempfile::NamedTempFile::new().unwrap();
    let pulling = Pulling::one_file(&noise(5000))
        .with("TRANSLATOR_FAULT_FILE", fault.path().to_str().unwrap());
    for site in ["model_install", "model_manifest"] {
        std::fs::write(fault.path(), format!("disk.{site}:eio")).unwrap();
        pulling.fail(&["w"]);
        assert!(!pulling.models().join("manifest.toml").exists(), "{site}");
    }
    std::fs::write(fault.path(), "").unwrap();
    pulling.pull(&["w"]);
    assert_eq!(pulling.hub.fetched().len(), 1);
    assert!(pulling.is_usable(Engine::Whisper));
    assert!(
        !pulling.models().join(".pull").exists(),
        "something was left behind"
    );
}

#[test]
fn only_one_command_changes_a_folder_at_a_time() {
    let pulling = Pulling::one_file(&noise(5000));
    pulling.hub.fail("/blob/", 1, Fault::Stall(2000));
    let mut child = pulling.start(&["w"]);
    wait_for("a partial file", || {
        (pulling.partial_bytes() == 2000).then_some(())
    });
    for arguments in [
        &["models", "prune", "--yes"][..],
        &["models", "pull", "vad-silero"],
    ] {
        let error = pulling.commands.fail(1, arguments);
        assert!(error.contains("another"), "{error}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    pulling.pull(&["w"]);
}

#[test]
fn a_new_commit_takes_the_place_of_the_old_one() {
    let catalogue = whisper("w", "acme/w", "w.bin").replace(
        "{ path = \"w.bin\" }",
        "{ path = \"w.bin\" }, { path = \"x.bin\", optional = true }",
    );
    let pulling = Pulling::with_catalogue(&catalogue);
    let (same, before, after) = (noise(3000), vec![1; 2000], vec![2; 2000]);
    pulling.hub.publish(
        "acme/w",
        Repository::new([("w.bin", before), ("x.bin", same.clone())]),
    );
    pulling.pull(&["w"]);
    assert_eq!(pulling.manifest().models[0].files.len(), 2);

    pulling
        .hub
        .publish("acme/w", Repository::new([("w.bin", after.clone())]));
    pulling.pull(&["w"]);
    let manifest = pulling.manifest();
    assert_eq!(
        (manifest.models.len(), manifest.models[0].files.len()),
        (1, 1)
    );
    assert_eq!(
        std::fs::read(pulling.models().join("whisper/w.bin")).unwrap(),
        after
    );
    assert!(
        pulling.is_usable(Engine::Whisper),
        "what the new commit lacks is still there"
    );
}

#[test]
fn a_damaged_model_is_pulled_again_and_what_belongs_to_none_is_pruned() {
    let pulling = Pulling::one_file(&noise(5000));
    pulling.pull(&["w"]);
    let path = pulling.models().join("whisper/w.bin");
    std::fs::write(&path, noise(4999)).unwrap();
    assert!(!pulling.is_usable(Engine::Whisper));
    pulling.pull(&["w"]);
    assert!(pulling.is_usable(Engine::Whisper));

    let unlisted = pulling.models().join("whisper/other.bin");
    std::fs::write(&unlisted, "abc").unwrap();
    std::fs::create_dir(pulling.models().join(".pull")).unwrap();
    std::fs::write(pulling.models().join(".pull/00.partial"), "abc").unwrap();
    assert!(!pulling.is_usable(Engine::Whisper));
    let shown = pulling.commands.succeed(&["models", "prune"]);
    assert!(
        shown.contains("whisper/other.bin") && shown.contains("--yes"),
        "{shown}"
    );
    assert!(unlisted.exists());
    pulling.commands.succeed(&["models", "prune", "--yes"]);
    assert!(!unlisted.exists() && !pulling.models().join(".pull").exists());
    assert!(pulling.is_usable(Engine::Whisper));
    assert!(
        pulling
            .commands
            .succeed(&["models", "prune"])
            .contains("nothing to prune")
    );
}

#[test]
fn what_can_be_pulled_is_listed_with_what_it_costs() {
    let commands = CommandLine::new().with("MODELS_PATH", "nowhere");
    let shown = commands.succeed(&["models", "list", "--available"]);
    for expected in [
        "small",
        "whisper-base-q5_1",
        "CC-BY-4.0",
        "en \u{2192} fr",
        "models/export",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let json = commands.succeed(&["models", "list", "--available", "--json"]);
    let listing: Value = serde_json::from_str(&json).unwrap();
    let sets = listing["sets"].as_array().unwrap();
    let text = sets.iter().find(|set| set["id"] == "text").unwrap();
    assert_eq!(
        (&text["direct_pairs"], &text["pairs_through_english"]),
        (&6.into(), &6.into())
    );
    let models = listing["models"].as_array().unwrap();
    let base = models
        .iter()
        .find(|model| model["id"] == "whisper-base-q5_1")
        .unwrap();
    assert_eq!(
        (&base["pinned"], &base["installed"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn a_model_for_several_languages_says_which() {
    let files = files_below(&fixture_models().join("marian-merged/fr-en"));
    let catalogue = entry(
        "id = \"mul-en\"\nengine = \"marian\"\nfolder = \"marian/mul-en\"\nlicence = \"CC-BY-4.0\"\n\
         source = \"mul\"\ntargets = [\"en\"]\nmetadata = { source_languages = [\"fr\", \"it\"] }",
        "repository = \"acme/mul-en\"\nrevision = \"main\"",
        &listed(&files),
    );
    let pulling = Pulling::with_catalogue(&catalogue);
    pulling.hub.publish("acme/mul-en", repository(&files));
    pulling.pull(&["mul-en"]);
    assert!(pulling.is_usable(Engine::Marian));
    let listing = pulling.commands.succeed(&["models", "list", "--json"]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let translations = listing["translations"].as_array().unwrap();
    let sources: Vec<&str> = translations
        .iter()
        .map(|from| from["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, ["fr", "it"]);

    // Pulled again it stays as it is, so that cached translations stay valid.
    let metadata = pulling.models().join("marian/mul-en/metadata.json");
    let changed = || metadata.metadata().unwrap().modified().unwrap();
    let before = changed();
    pulling.pull(&["mul-en"]);
    assert_eq!(changed(), before);
}
