//! Hubs that refuse, break, lie or attack, and disks that are full.

use meeshy_translator::registry::Engine;
use serde_json::json;

use crate::support::hub::{Fault, Repository, sha256};
use crate::support::pulling::{Pulling, entry, noise, whisper};

#[test]
fn another_content_than_announced_is_thrown_away() {
    let pulling = Pulling::one_file(&noise(5000));
    // Once may be an accident on the way.
    pulling.hub.fail("/blob/", 1, Fault::Corrupt);
    pulling.pull(&["w"]);
    assert_eq!(pulling.hub.fetched().len(), 2);

    let pulling = Pulling::one_file(&noise(5000));
    pulling.hub.fail("/blob/", 2, Fault::Corrupt);
    let error = pulling.fail(&["w"]);
    assert!(
        error.contains("w.bin: what came is not what the hub announced"),
        "{error}"
    );
    assert_eq!(pulling.partial_bytes(), 0);
    assert!(!pulling.models().join("whisper").exists());
    // The next time it is asked for from the start.
    pulling.pull(&["w"]);
    assert!(pulling.is_usable(Engine::Whisper));
}

#[test]
fn a_partial_file_that_was_tampered_with_is_fetched_anew() {
    let pulling = Pulling::one_file(&noise(300_000));
    pulling.hub.fail("/blob/", 5, Fault::Cut(0));
    let error = pulling.fail(&["w"]);
    assert!(
        error.contains("0 of 300000 bytes") || error.contains("broke"),
        "{error}"
    );
    let folder = pulling.models().join(".pull");
    let partial = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "partial")
        })
        .unwrap();
    std::fs::write(partial, [7; 1000]).unwrap();
    pulling.pull(&["w"]);
    assert!(pulling.is_usable(Engine::Whisper));
}

#[test]
fn an_answer_of_another_length_is_refused() {
    let pulling = Pulling::one_file(&noise(5000));
    pulling.hub.fail("/blob/", 1, Fault::Short(4000));
    let error = pulling.fail(&["w"]);
    assert!(
        error.contains("sends 4000 bytes instead of 5000"),
        "{error}"
    );

    let mut repository = Repository::new([("w.bin", noise(5000))]);
    repository.tree = Some(json!([
        {"type": "file", "path": "w.bin", "size": 10, "oid": "0".repeat(40)},
    ]));
    pulling.hub.publish("acme/w", repository);
    let error = pulling.fail(&["w"]);
    assert!(error.contains("sends 5000 bytes instead of 10"), "{error}");
    assert!(!pulling.models().join("whisper").exists());
}

#[test]
fn what_is_not_there_or_not_for_everybody_is_told_apart() {
    let catalogue = whisper("w", "acme/w", "w.bin")
        + &whisper("none", "acme/none", "w.bin")
        + &whisper("lacking", "acme/w", "other.bin");
    let pulling = Pulling::with_catalogue(&catalogue);
    let content = noise(5000);
    pulling
        .hub
        .publish("acme/w", Repository::new([("w.bin", content)]));
    let error = pulling.fail(&["w", "none", "lacking"]);
    for expected in [
        "none: the hub has no repository acme/none",
        "HF_TOKEN",
        "lacking: acme/w has no other.bin",
        "2 of 3 models were not pulled",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(
        pulling.is_usable(Engine::Whisper),
        "one failure took others with it"
    );

    let refused = |pulling: &Pulling, status, code, expected: &str| {
        pulling
            .hub
            .fail("/revision/", 1, Fault::Status(status, code));
        let error = pulling.fail(&["none"]);
        assert!(error.contains(expected), "{status} {code}: {error}");
    };
    refused(
        &pulling,
        401,
        "X-Error-Code: RepoNotFound\r\n",
        "set HF_TOKEN",
    );
    let gated = format!(
        "accept its conditions at {}/acme/none",
        pulling.hub.endpoint()
    );
    refused(&pulling, 403, "X-Error-Code: GatedRepo\r\n", &gated);
    refused(&pulling, 401, "X-Error-Code: GatedRepo\r\n", &gated);
    let pulling = pulling.with("HF_TOKEN", "hf_secret");
    refused(&pulling, 401, "", "the token in HF_TOKEN is wrong");
    refused(&pulling, 403, "", "the token in HF_TOKEN is wrong");
    refused(&pulling, 418, "", "answers 418");
}

#[test]
fn a_busy_hub_is_asked_again_as_it_wishes() {
    let pulling = Pulling::one_file(&noise(5000));
    pulling
        .hub
        .fail("/revision/", 1, Fault::Status(429, "Retry-After: 1\r\n"));
    pulling
        .hub
        .fail("/tree/", 1, Fault::Status(503, "Retry-After: 0\r\n"));
    pulling.hub.fail("/resolve/", 1, Fault::Status(502, ""));
    // An address of the storage host that has expired.
    pulling.hub.fail("/blob/", 1, Fault::Status(403, ""));
    pulling.pull(&["w"]);
    assert!(pulling.is_usable(Engine::Whisper));

    let pulling = Pulling::one_file(&noise(5000));
    pulling
        .hub
        .fail("/revision/", 1, Fault::Status(429, "Retry-After: 3600\r\n"));
    let error = pulling.fail(&["w"]);
    assert!(error.contains("left alone for 3600 s"), "{error}");
    pulling.hub.fail("/revision/", 100, Fault::Status(500, ""));
    let error = pulling.fail(&["w"]);
    assert!(error.contains("answers 500"), "{error}");
    let tries = pulling.hub.asked().len();
    assert_eq!(tries, 1 + 5, "it was asked {tries} times");
}

#[test]
fn without_a_network_nothing_is_asked() {
    for (variable, arguments) in [("HF_HUB_OFFLINE", &["w"][..]), ("X", &["w", "--offline"])] {
        let pulling = Pulling::one_file(&noise(5000)).with(variable, "1");
        let error = pulling.fail(arguments);
        assert!(error.contains("w would have to be fetched"), "{error}");
        assert!(pulling.hub.asked().is_empty());
    }
    let pulling = Pulling::one_file(&noise(5000)).with("HF_ENDPOINT", "http://127.0.0.1:1");
    let error = pulling.fail(&["w"]);
    assert!(error.contains("127.0.0.1 cannot be reached"), "{error}");
}

#[test]
fn a_licence_that_limits_use_is_accepted_by_name_before_anything_is_asked() {
    let catalogue = entry(
        "id = \"w\"\nengine = \"whisper\"\nfolder = \"whisper\"\nlicence = \"cpml\"\nrequires_acceptance = true",
        "repository = \"acme/w\"\nrevision = \"main\"",
        "{ path = \"w.bin\" }",
    );
    let pulling = Pulling::with_catalogue(&catalogue);
    pulling
        .hub
        .publish("acme/w", Repository::new([("w.bin", noise(5000))]));
    for arguments in [&["w"][..], &["w", "--accept-license", "MIT"]] {
        let error = pulling.fail(arguments);
        assert!(
            error.contains("read https://example.org, then add --accept-license cpml"),
            "{error}"
        );
    }
    assert!(pulling.hub.asked().is_empty());
    let shown = pulling.pull(&["w", "--accept-license", "cpml"]);
    assert!(
        shown.contains("accept_licenses"),
        "the daemon's part is not told: {shown}"
    );
    assert!(pulling.manifest().models[0].requires_acceptance);
}

#[test]
fn a_full_disk_is_told_before_and_survived_after() {
    let mut repository = Repository::new([("w.bin", noise(5000))]);
    repository.tree = Some(json!([
        {"type": "file", "path": "w.bin", "size": 134, "oid": "0".repeat(40),
         "lfs": {"oid": "0".repeat(64), "size": u64::MAX}},
    ]));
    let fault = tempfile::NamedTempFile::new().unwrap();
    let pulling = Pulling::one_file(&noise(300_000))
        .with("TRANSLATOR_FAULT_FILE", fault.path().to_str().unwrap());
    pulling.hub.publish("acme/w", repository);
    let error = pulling.fail(&["w"]);
    assert!(error.contains("MB are needed"), "{error}");
    assert!(pulling.hub.fetched().is_empty());

    pulling
        .hub
        .publish("acme/w", Repository::new([("w.bin", noise(300_000))]));
    std::fs::write(fault.path(), "disk.model:enospc").unwrap();
    let error = pulling.fail(&["w"]);
    assert!(error.contains("No space left"), "{error}");
    assert!(!pulling.models().join("manifest.toml").exists());
    std::fs::write(fault.path(), "").unwrap();
    pulling.pull(&["w"]);
    assert!(pulling.is_usable(Engine::Whisper));
}

#[test]
fn paths_of_a_hub_lead_nowhere_else() {
    let catalogue = whisper("w", "acme/w", "w.bin")
        + &entry(
            "id = \"o\"\nengine = \"openvoice\"\nfolder = \"openvoice\"\nlicence = \"MIT\"",
            "checkpoint = \"a/b\"\nexport = \"export\"",
            "{ path = \"tone_embedding.onnx\" }",
        );
    let pulling =
        Pulling::with_catalogue(&catalogue).with("TRANSLATOR_EXPORTED_REPOSITORY", "me/x");
    let content = noise(5000);
    let mut repository = Repository::new([("w.bin", content)]);
    let mut tree: Vec<_> = vec![
        json!({"type": "file", "path": "../../evil", "size": 3, "oid": "0".repeat(40)}),
        json!({"type": "file", "path": "/etc/evil", "size": 3, "oid": "../../../evil"}),
    ];
    tree.push(
        json!({"type": "file", "path": "w.bin", "size": 134, "oid": "0".repeat(40),
        "lfs": {"oid": sha256(&repository.files["w.bin"]), "size": 5000}}),
    );
    repository.tree = Some(tree.into());
    pulling.hub.publish("acme/w", repository);
    pulling.pull(&["w"]);
    let model = |path: &str, sha256: &str| {
        format!(
            "[[model]]\nid = \"o\"\nengine = \"openvoice\"\nlicence = \"MIT\"\n[[model.file]]\n\
             path = \"{path}\"\nsha256 = \"{sha256}\"\nsize_bytes = 3\n"
        )
    };
    for (manifest, expected) in [
        (model("../../evil", &"0".repeat(64)), "outside"),
        (
            model("openvoice/tone_embedding.onnx", "../../evil"),
            "sha256",
        ),
        ("no manifest".to_owned(), "not a valid manifest"),
    ] {
        let repository = Repository::new([("manifest.toml", manifest.into_bytes())]);
        pulling.hub.publish("me/x", repository);
        let error = pulling.fail(&["o"]);
        assert!(error.contains(expected), "{error}");
    }
    let names: Vec<_> = std::fs::read_dir(pulling.commands.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn what_the_catalogue_knows_beats_what_the_hub_says() {
    let pinned = |sha256: &str, revision: &str| {
        entry(
            "id = \"w\"\nengine = \"whisper\"\nfolder = \"whisper\"\nlicence = \"MIT\"",
            &format!("repository = \"acme/w\"\nrevision = \"{revision}\""),
            &format!(
                "{{ path = \"w.bin\", size_bytes = 5000, sha256 = \"{sha256}\" }}, {{ path = \"x.bin\" }}"
            ),
        )
    };
    let pulling = Pulling::with_catalogue(&pinned(&"0".repeat(64), "main"));
    let repository = Repository::new([("w.bin", noise(5000)), ("x.bin", noise(10))]);
    pulling.hub.publish("acme/w", repository);
    let error = pulling.fail(&["w"]);
    assert!(
        error.contains("another content than the catalogue"),
        "{error}"
    );
    assert!(pulling.hub.fetched().is_empty());
}

#[test]
fn nothing_is_pulled_into_the_tiny_models_or_under_an_unknown_name() {
    let pulling = Pulling::one_file(&noise(5000));
    let error = pulling.fail(&["smal"]);
    assert!(error.contains("no model or set \"smal\""), "{error}");
    std::fs::create_dir(pulling.models()).unwrap();
    std::fs::write(pulling.models().join("manifest.toml"), "fixture = true").unwrap();
    let error = pulling.fail(&["w"]);
    assert!(error.contains("MODELS_PATH"), "{error}");
    std::fs::write(pulling.models().join("manifest.toml"), "what?").unwrap();
    let error = pulling.fail(&["w"]);
    assert!(error.contains("not a valid manifest"), "{error}");
    assert!(pulling.hub.asked().is_empty());
}
