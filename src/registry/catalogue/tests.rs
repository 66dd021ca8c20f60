use super::*;
use crate::domain::Language;

const MODEL: &str = "[[model]]\nid = \"w\"\nengine = \"whisper\"\nrepository = \"a/b\"\n\
    revision = \"main\"\nfolder = \"whisper\"\nfiles = [{ path = \"w.bin\" }]\nlicence = \"MIT\"\n\
    licence_url = \"https://example.org\"\ndownload_mb = 1\nmemory_mb = 1\n";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ids(models: &[&CatalogueModel]) -> Vec<String> {
    models.iter().map(|model| model.id.clone()).collect()
}

#[test]
fn the_catalogue_of_this_version_is_valid() {
    let catalogue = Catalogue::load(None).unwrap();
    for set in ["text", "small", "standard", "full"] {
        assert!(catalogue.select(&names(&[set])).unwrap().len() > 4, "{set}");
    }
    let small = ids(&catalogue.select(&names(&["small"])).unwrap());
    for id in [
        "whisper-base-q5_1",
        "marian-en-fr",
        "openvoice-v2",
        "xtts-v2-int8",
    ] {
        assert!(small.contains(&id.to_owned()), "{id}");
    }
    for model in &catalogue.models {
        let languages = model.source.iter().chain(&model.targets);
        let is_marian = model.engine == Engine::Marian;
        assert_eq!(languages.clone().count() > 0, is_marian, "{}", model.id);
        let groups = ["mul", "ROMANCE"];
        let are_codes = languages
            .filter(|code| !groups.contains(&code.as_str()))
            .all(|code| Language::parse(code).is_some_and(|parsed| parsed.as_str() == code));
        assert!(are_codes, "{}", model.id);
        assert!(model.download_mb > 0 && model.memory_mb > 0, "{}", model.id);
    }
}

#[test]
fn sets_may_hold_sets_and_every_model_comes_once() {
    let text = "[[set]]\nid = \"a\"\nabout = \"\"\nmembers = [\"b\", \"w\"]\n\
         [[set]]\nid = \"b\"\nabout = \"\"\nmembers = [\"a\", \"v\"]\n"
        .to_owned()
        + MODEL
        + &MODEL.replace("\"w\"", "\"v\"");
    let catalogue = Catalogue::parse(&text, "x").unwrap();
    let all = catalogue.select(&names(&["a", "w", "b"])).unwrap();
    assert_eq!(ids(&all), ["w", "v"]);
    let error = catalogue.select(&names(&["smal"])).unwrap_err().to_string();
    assert!(
        error.contains("a, b") && error.contains("--available"),
        "{error}"
    );
}

#[test]
fn entries_that_cannot_be_meant_are_told() {
    let problem = |from: &str, to: &str| {
        let text = MODEL.replace(from, to);
        assert_ne!(text, MODEL);
        Catalogue::parse(&text, "x").unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("path = \"w.bin\"", "path = \"../w.bin\"", "outside"),
        ("path = \"w.bin\"", "path = \"/w.bin\"", "outside"),
        (
            "path = \"w.bin\"",
            "path = \"w.bin\", name = \"a/../../b\"",
            "outside",
        ),
        ("\"whisper\"\nfiles", "\"marian\"\nfiles", "folder"),
        ("\"whisper\"\nfiles", "\"whisper/../xtts\"\nfiles", "folder"),
        (
            "path = \"w.bin\"",
            "path = \"w.bin\", optional = true",
            "no file",
        ),
        (
            "path = \"w.bin\"",
            "path = \"w.bin\", sha256 = \"00\"",
            "64",
        ),
        ("a/b", "a/../b", "owner/name"),
        ("revision = \"main\"\n", "", "repository and revision"),
        (
            "files = [{ path = \"w.bin\" }]",
            "layout = \"none\"",
            "no layout",
        ),
        ("id = \"w\"", "id = \"../w\"", "no id"),
        ("licence = ", "license = ", "valid catalogue"),
    ] {
        let error = problem(from, to);
        assert!(error.contains(expected), "{to}: {error}");
    }
    let twice = MODEL.to_owned() + MODEL;
    assert!(Catalogue::parse(&twice, "x").is_err());
    let set = "[[set]]\nid = \"a\"\nabout = \"\"\nmembers = [\"nothing\"]\n";
    assert!(Catalogue::parse(set, "x").is_err());
}
