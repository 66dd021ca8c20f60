//! The models that speak, and the caches, over HTTP.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::forms::{self, Form};
use crate::support::http::{Answer, ask, get, post};

const MODELS: &str = "/v1/tts/models";

fn good(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn the_models_that_speak_are_told_of() {
    let daemon = Daemon::start();
    let of = |path: &str| good(get(&daemon, &format!("{MODELS}{path}")));
    let listed = of("");
    assert_eq!(listed["current"], "xtts");
    let models = listed["models"].as_array().unwrap();
    let ids: Vec<&Value> = models.iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["xtts", "piper-it_IT-fixture-x_low"]);
    assert_eq!(models[0]["status"], "ready");
    assert_eq!(of("/current"), models[0]);
    assert_eq!(of("/xtts/info"), models[0]);
    assert_eq!(of("/status")["models"]["xtts"], "ready");
    let licence = json!({"model": "xtts", "licence": models[0]["licence"], "accepted": true});
    assert_eq!(of("/xtts/license"), licence);
    let languages = of("/xtts/languages");
    assert_eq!(languages["languages"], models[0]["languages"]);
    let compared = of("/compare");
    assert_eq!(compared["models"][0]["clones_voices"], true);
    assert_eq!(compared["models"][1]["clones_voices"], false);
    let count = languages["languages"].as_array().unwrap().len();
    assert_eq!(compared["models"][0]["languages"], count);

    let before = good(get(&daemon, "/v1/tts/stats"));
    assert_eq!(
        before,
        json!({"current": "xtts", "jobs": {}, "speech_ms": 0})
    );
    let spoken = forms::post(&daemon, "/v1/tts", &Form::of(&[("text", "Hello.")]));
    assert_eq!(spoken.status, 200, "{}", spoken.text());
    let after = good(get(&daemon, "/v1/tts/stats"));
    assert_eq!(after["jobs"], json!({"done": 1}));
}

#[test]
fn models_are_neither_chosen_nor_downloaded_by_requests() {
    let daemon = Daemon::start();
    for route in ["info", "license", "languages"] {
        for name in ["other", "whisper-scripted"] {
            let answer = get(&daemon, &format!("{MODELS}/{name}/{route}"));
            assert_eq!(answer.status, 404, "{route} {name}");
        }
    }
    let switch = |body: &Value| post(&daemon, &format!("{MODELS}/switch"), body);
    let refused = switch(&json!({"model": "other", "acknowledge_license": true}));
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.detail().contains("TRANSLATOR_BASE_VOICE"));
    assert_eq!(
        switch(&json!({})).problems(),
        ["body.model: missing"],
        "a switch to nothing"
    );
    let download = |name: &str| {
        let path = format!("{MODELS}/{name}/download");
        ask(&daemon, "POST", &path, &[], &[])
    };
    assert_eq!(download("other").status, 404);
    for (name, told) in [
        ("xtts", "installed already"),
        ("xtts-v2-int8", "translator models pull xtts-v2-int8"),
    ] {
        let refused = download(name);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.detail().contains(told), "{refused:?}");
    }
}

#[test]
fn caches_are_counted_and_cleared_by_operators() {
    const TOKEN: &str = "0123456789abcdef-of-operators";
    let daemon = Daemon::start_with(&[("TRANSLATOR_ADMIN_TOKEN", TOKEN)]);
    let counts = || {
        let caches = good(get(&daemon, "/debug/cache"))["caches"].clone();
        let of = |cache: &Value| (cache["kind"].clone(), cache["entries"].clone());
        let caches = caches.as_array().unwrap();
        caches.iter().map(of).collect::<Vec<_>>()
    };
    let expected = |text: u64| {
        [("text", text), ("transcript", 0), ("speech", 0)]
            .map(|(kind, entries)| (json!(kind), json!(entries)))
    };
    assert_eq!(counts(), expected(0));
    let translate = || {
        let text = json!({
            "text": "Hello my friend.", "source_language": "en", "target_language": "fr",
        });
        good(post(&daemon, "/translate", &text))["from_cache"].clone()
    };
    assert_eq!((translate(), translate()), (json!(false), json!(true)));
    assert_eq!(counts(), expected(1));

    let clear = "/debug/clear-cache";
    assert_eq!(ask(&daemon, "POST", clear, &[], &[]).status, 401);
    assert_eq!(counts(), expected(1));
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*authorization)];
    let cleared = good(ask(&daemon, "POST", clear, &headers, &[]));
    assert_eq!(cleared["caches"][0]["entries"], 1);
    assert!(cleared["caches"][0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(counts(), expected(0));
    assert_eq!(translate(), false);
}
