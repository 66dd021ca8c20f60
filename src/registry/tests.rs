use super::*;

fn directory_with(manifest: &str, files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    std::fs::write(directory.path().join(MANIFEST_FILE), manifest).unwrap();
    directory
}

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn manifest(sha256: &str, size: u64, path: &str, extra: &str) -> String {
    format!(
        "[[model]]\nid = \"w\"\nengine = \"whisper\"\nlicence = \"MIT\"\n{extra}\n\
         [[model.file]]\npath = \"{path}\"\nsha256 = \"{sha256}\"\nsize_bytes = {size}\n"
    )
}

#[test]
fn intact_files_are_used_and_altered_ones_are_not() {
    let directory = directory_with(
        &manifest(ABC, 3, "whisper/a.bin", ""),
        &[("whisper/a.bin", b"abc")],
    );
    let registry = Registry::open(directory.path(), &[]).unwrap();
    let cache = directory.path().join("checked.json");
    let file = registry.whisper_file("", &CheckedFiles::with_cache(cache.clone()));
    assert_eq!(file.unwrap(), directory.path().join("whisper/a.bin"));

    std::fs::write(directory.path().join("whisper/a.bin"), b"abd").unwrap();
    let error = registry
        .whisper_file("", &CheckedFiles::default())
        .unwrap_err();
    assert!(
        matches!(
            error,
            RegistryError::Damaged {
                problem: Problem::Hash,
                ..
            }
        ),
        "{error}"
    );
    std::fs::write(directory.path().join("whisper/a.bin"), b"ab").unwrap();
    let error = registry.whisper_file("", &CheckedFiles::with_cache(cache));
    assert!(matches!(
        error,
        Err(RegistryError::Damaged {
            problem: Problem::Size {
                expected: 3,
                actual: 2
            },
            ..
        })
    ));
}

#[test]
fn a_manifest_cannot_point_outside() {
    for path in ["../secret", "/etc/passwd", "whisper/../../x"] {
        let directory = directory_with(&manifest(ABC, 3, path, ""), &[]);
        let error = Registry::open(directory.path(), &[]).unwrap_err();
        assert!(matches!(error, RegistryError::Outside { .. }), "{path}");
    }
}

#[test]
fn a_limiting_licence_must_be_accepted_by_name() {
    let directory = directory_with(
        &manifest(ABC, 3, "whisper/a.bin", "requires_acceptance = true"),
        &[("whisper/a.bin", b"abc")],
    );
    let checked = CheckedFiles::default();
    let refused = Registry::open(directory.path(), &[]).unwrap();
    let error = refused.whisper_file("", &checked).unwrap_err();
    assert!(error.to_string().contains("accept_licenses"), "{error}");
    let accepted = Registry::open(directory.path(), &["MIT".to_owned()]).unwrap();
    assert!(accepted.whisper_file("", &checked).is_ok());
}

#[test]
fn the_hint_chooses_among_whisper_files() {
    let text = manifest(ABC, 3, "whisper/ggml-base.bin", "")
        + &manifest(ABC, 3, "whisper/ggml-large-v3.bin", "");
    let directory = directory_with(
        &text,
        &[
            ("whisper/ggml-base.bin", b"abc"),
            ("whisper/ggml-large-v3.bin", b"abc"),
        ],
    );
    let registry = Registry::open(directory.path(), &[]).unwrap();
    let chosen = registry.whisper_file("large-v3", &CheckedFiles::default());
    assert!(chosen.unwrap().ends_with("ggml-large-v3.bin"));
}

#[test]
fn a_voice_activity_detector_may_be_missing_but_not_damaged() {
    let file = |registry: &Registry| registry.vad_file(&CheckedFiles::default());
    let text = manifest(ABC, 3, "whisper/a.bin", "");
    let directory = directory_with(&text, &[]);
    let without = Registry::open(directory.path(), &[]).unwrap();
    assert_eq!(file(&without).unwrap(), None);

    let text = manifest(ABC, 3, "vad/a.onnx", "").replace("\"whisper\"", "\"vad\"");
    let directory = directory_with(&text, &[("vad/a.onnx", b"abc")]);
    let with = Registry::open(directory.path(), &[]).unwrap();
    let found = directory.path().join("vad/a.onnx");
    assert_eq!(file(&with).unwrap(), Some(found.clone()));
    std::fs::write(found, b"abd").unwrap();
    assert!(matches!(file(&with), Err(RegistryError::Damaged { .. })));
}

#[test]
fn a_missing_directory_says_what_to_do() {
    let error = Registry::open(Path::new("no-such-folder"), &[]).unwrap_err();
    assert!(error.to_string().contains("MODELS_PATH"), "{error}");
}

#[test]
fn what_the_manifest_does_not_know_is_not_used() {
    let directory = directory_with(
        &manifest(ABC, 3, "whisper/a.bin", ""),
        &[
            ("whisper/a.bin", b"abc"),
            ("whisper/.cache/b.bin", b"hidden"),
            ("readme.txt", b"of no engine"),
        ],
    );
    let registry = Registry::open(directory.path(), &[]).unwrap();
    let check = || registry.verified_folder(Engine::Whisper, &CheckedFiles::default());
    check().unwrap();
    let unlisted = directory.path().join("whisper/more/b.bin");
    std::fs::create_dir(directory.path().join("whisper/more")).unwrap();
    check().unwrap();
    std::fs::write(&unlisted, b"abc").unwrap();
    let error = check().unwrap_err();
    let is_told = matches!(
        &error,
        RegistryError::Damaged { path, problem: Problem::Unlisted } if *path == unlisted
    );
    assert!(is_told, "{error}");
}

#[test]
fn a_link_to_a_folder_is_no_part_of_a_model() {
    let directory = directory_with(
        &manifest(ABC, 3, "whisper/a.bin", ""),
        &[("whisper/a.bin", b"abc"), ("elsewhere/b.bin", b"abc")],
    );
    let link = directory.path().join("whisper/link");
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
    let registry = Registry::open(directory.path(), &[]).unwrap();
    let error = registry.verified_folder(Engine::Whisper, &CheckedFiles::default());
    assert!(error.is_err());
}
