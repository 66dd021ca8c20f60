//! Texts that were translated before: the same events, without the work.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::models::{copied_models, replace};
use crate::support::requests::{audio_process, translation};
use crate::support::{recordings, wait_for};

const TEXT: &str = "  - Hello my friend 👩🏽‍🚀 how are you?\n\n\nCall me @zoe.";

/// A daemon and the gateway, and how many texts were asked for.
struct Running {
    daemon: Daemon,
    gateway: Gateway,
    sent: usize,
}

impl Running {
    fn start(environment: &[(&str, &str)]) -> Self {
        let daemon = Daemon::start_with(environment);
        let gateway = Gateway::connect_subscribed(daemon.ports);
        Self {
            daemon,
            gateway,
            sent: 0,
        }
    }

    /// The answer to a text under a new task id.
    fn answer(&mut self, text: &str, model_type: &str, targets: &[&str]) -> Vec<Event> {
        self.sent += 1;
        let task_id = format!("{}-{}", self.sent, uuid::Uuid::new_v4());
        let mut request = translation(&task_id, text, "en", targets);
        request["modelType"] = json!(model_type);
        self.gateway.send(&request, &[]);
        self.gateway.events_of_task(&task_id, targets.len())
    }

    /// Hits and misses so far.
    fn counts(&self) -> (f64, f64) {
        let count = |outcome: &str| {
            let labels = ["cache=\"text\"", outcome];
            self.daemon
                .metric("translator_cache_requests_total", &labels)
        };
        (count("outcome=\"hit\""), count("outcome=\"miss\""))
    }
}

/// An event without what differs from task to task.
fn substance(event: &Event) -> Value {
    let mut json = event.json.clone();
    for path in [
        "/taskId",
        "/timestamp",
        "/metadata/requestId",
        "/result/messageId",
        "/result/processingTime",
        "/result/translationTime",
        "/result/queueTime",
        "/result/confidenceScore",
    ] {
        let value = json.pointer_mut(path);
        *value.unwrap_or_else(|| panic!("no {path} in {event:?}")) = Value::Null;
    }
    json
}

fn is_cached(event: &Event) -> bool {
    let confidence = event.json["result"]["confidenceScore"].as_f64().unwrap();
    match (confidence * 100.0).round() as u32 {
        99 => true,
        95 => false,
        _ => panic!("{event:?}"),
    }
}

#[test]
fn a_hit_gives_the_same_events_in_the_same_order() {
    let mut running = Running::start(&[]);
    let targets = ["es", "fr", "pt-br", "en"];
    let first = running.answer(TEXT, "medium", &targets);
    assert_eq!(running.counts(), (0.0, 3.0));
    let again = running.answer(TEXT, "medium", &targets);
    assert_eq!(running.counts(), (3.0, 3.0));
    assert_eq!(first.len(), again.len());
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(substance(first), substance(again));
        assert!(!is_cached(first));
        // The text's own language needs no translation and no cache.
        assert_eq!(is_cached(again), again.text("targetLanguage") != "en");
    }

    // Some languages from the cache, some not, still in the order of the request.
    let mixed = running.answer(TEXT, "medium", &["de", "fr", "it", "es"]);
    let languages: Vec<&str> = mixed.iter().map(|e| e.text("targetLanguage")).collect();
    assert_eq!(languages, ["de", "fr", "it", "es"]);
    let cached: Vec<bool> = mixed.iter().map(is_cached).collect();
    assert_eq!(cached, [false, true, false, true]);

    // Another text, and the same text in another language, are other entries.
    let other = running.answer("Hello my friend", "medium", &["fr"]);
    assert!(!is_cached(&other[0]));
}

#[test]
fn a_premium_translation_serves_the_lower_levels_and_not_the_other_way_round() {
    let mut running = Running::start(&[]);
    let models = |event: &Event| {
        let result = &event.json["result"];
        (
            result["modelType"].clone(),
            result["translatorModel"].clone(),
        )
    };
    // The two lower levels are one and the same work.
    assert!(!is_cached(
        &running.answer("Good morning.", "basic", &["fr"])[0]
    ));
    let medium = &running.answer("Good morning.", "medium", &["fr"])[0];
    assert!(is_cached(medium));
    assert_eq!(models(medium), (json!("medium"), json!("medium")));
    let premium = &running.answer("Good morning.", "premium", &["fr"])[0];
    assert!(!is_cached(premium));
    assert_eq!(models(premium), (json!("premium"), json!("premium")));

    let premium = &running.answer("Thank you.", "premium", &["fr"])[0];
    assert!(!is_cached(premium));
    for level in ["basic", "medium"] {
        let lower = &running.answer("Thank you.", level, &["fr"])[0];
        assert!(is_cached(lower), "{level}");
        assert_eq!(models(lower), (json!(level), json!("premium")));
        assert_eq!(
            lower.json["result"]["translatedText"],
            premium.json["result"]["translatedText"]
        );
    }
}

#[test]
fn a_cached_text_outlives_the_daemon_but_not_its_model() {
    let models = copied_models();
    let environment = [("MODELS_PATH", models.path().to_str().unwrap())];
    let mut running = Running::start(&environment);
    let first = running.answer(TEXT, "medium", &["fr"]);
    let restart = |mut running: Running| {
        drop(running.gateway);
        running.daemon.terminate();
        running.daemon.restart_with(&environment);
        let gateway = Gateway::connect_subscribed(running.daemon.ports);
        Running { gateway, ..running }
    };
    let mut running = restart(running);
    let again = running.answer(TEXT, "medium", &["fr"]);
    assert!(is_cached(&again[0]));
    assert_eq!(substance(&first[0]), substance(&again[0]));

    // A new version of the model under the old name.
    let file = "marian/en-mul/vocab.json";
    let vocabulary = std::fs::read_to_string(models.path().join(file)).unwrap();
    let newer = format!("{vocabulary}\n");
    replace(models.path(), file, newer.as_bytes());
    let mut running = restart(running);
    assert!(!is_cached(&running.answer(TEXT, "medium", &["fr"])[0]));
    assert!(is_cached(&running.answer(TEXT, "medium", &["fr"])[0]));
}

#[test]
fn stories_and_voice_messages_share_the_cache() {
    let mut running = Running::start(&[]);
    running.answer("Hello my friend.", "medium", &["fr", "es"]);
    assert_eq!(running.counts(), (0.0, 2.0));
    let story = json!({
        "type": "story_text_object_translation", "postId": "post-1", "textObjectIndex": 0,
        "text": "Hello my friend.", "sourceLanguage": "en", "targetLanguages": ["es", "de"],
        "timestamp": 1,
    });
    running.gateway.send(&story, &[]);
    let event = running
        .gateway
        .next("story_text_object_translation_completed");
    assert_eq!(
        event.json["translations"],
        json!({"es": "Hola mi amigo.", "de": "Hallo mein freund."})
    );
    assert_eq!(running.counts(), (1.0, 3.0));

    let mut message = audio_process("spoken", &["fr", "de"]);
    message["mobileTranscription"] = json!({"text": "Hello my friend.", "language": "en"});
    message["generateVoiceClone"] = json!(false);
    running.gateway.send(&message, &[&recordings::bundled()]);
    let events = running
        .gateway
        .events_of("spoken", &["audio_process_completed"]);
    let completed = events.last().unwrap();
    let texts: Vec<&Value> = completed.json["translatedAudios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|audio| &audio["translatedText"])
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(texts.contains(&&json!("Bonjour mon ami.")), "{texts:?}");
    assert_eq!(running.counts(), (3.0, 3.0));
}

#[test]
fn entries_end_with_their_time_and_the_cache_can_be_switched_off() {
    let mut running = Running::start(&[("TRANSLATION_CACHE_TTL", "1")]);
    running.answer("Good morning.", "medium", &["fr"]);
    wait_for("a translation that is made anew", || {
        let again = running.answer("Good morning.", "medium", &["fr"]);
        (!is_cached(&again[0])).then_some(())
    });

    let settings = crate::support::settings_file("[cache]\nmax_age_secs = 0\n");
    let settings = ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap());
    let mut running = Running::start(&[settings]);
    for _ in 0..3 {
        assert!(!is_cached(
            &running.answer("Good morning.", "medium", &["fr"])[0]
        ));
    }
    assert_eq!(running.counts(), (0.0, 0.0));
}

#[test]
fn a_damaged_cache_fails_no_request() {
    let mut running = Running::start(&[]);
    running.answer("Good morning.", "medium", &["fr"]);
    assert!(is_cached(
        &running.answer("Good morning.", "medium", &["fr"])[0]
    ));
    let ledger = running.daemon.folder().join("data/ledger.sqlite3");
    let connection = Connection::open(&ledger).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(30))
        .unwrap();
    let entries = connection
        .execute("UPDATE cache SET payload = x'7b00'", [])
        .unwrap();
    assert_eq!(entries, 1);
    assert!(!is_cached(
        &running.answer("Good morning.", "medium", &["fr"])[0]
    ));
    // What could not be read was replaced.
    assert!(is_cached(
        &running.answer("Good morning.", "medium", &["fr"])[0]
    ));

    connection
        .execute("ALTER TABLE cache RENAME TO elsewhere", [])
        .unwrap();
    for _ in 0..2 {
        assert!(!is_cached(
            &running.answer("Good morning.", "medium", &["fr"])[0]
        ));
    }
    assert!(running.daemon.log().contains("cache cannot be read"));
    assert!(running.daemon.log().contains("result is not kept"));
}
