//! The same text again: what the gateway's retries get (contract/zmq.md, section 5.3). The gateway sends a
//! request up to five times, and again only the languages that it has no answer for.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::requests::translation;
use crate::support::{settings_file, wait_for};

const STORY: &str = "story_text_object_translation_completed";

fn started(environment: &[(&str, &str)]) -> (Daemon, Gateway) {
    let daemon = Daemon::start_with(environment);
    let gateway = Gateway::connect_subscribed(daemon.ports);
    (daemon, gateway)
}

fn request(targets: &[&str]) -> Value {
    translation("task", "Hello my friend.", "en", targets)
}

fn accepted(daemon: &Daemon) -> f64 {
    daemon.metric("translator_jobs_accepted_total", &[])
}

/// Waits until repeats are told again what was told.
fn wait_finished(daemon: &Daemon, count: f64) {
    wait_for("end of the jobs", || {
        (daemon.metric("translator_jobs_finished_total", &[]) == count).then_some(())
    });
    daemon.wait_published();
}

fn languages(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .map(|event| match event.kind() {
            "translation_completed" => event.text("targetLanguage"),
            kind => kind,
        })
        .collect()
}

fn bodies(events: &[Event]) -> Vec<&[u8]> {
    events.iter().map(|event| event.body.as_slice()).collect()
}

#[test]
fn a_retry_of_a_task_in_progress_begins_only_what_nobody_works_on() {
    let (mut daemon, mut gateway) = started(&[("TRANSLATOR_FAULT", "translate.es:pause")]);
    gateway.send(&request(&["fr", "es"]), &[]);
    let french = gateway.events_of_task("task", 1);
    assert_eq!(languages(&french), ["fr"]);

    for targets in [&["es"][..], &["es", "fr"], &["es"]] {
        gateway.send(&request(targets), &[]);
    }
    assert!(gateway.events_of_what_was_sent().is_empty());
    assert_eq!(accepted(&daemon), 1.0);

    gateway.send(&request(&["de", "es", "it"]), &[]);
    let further = gateway.events_of_task("task", 2);
    assert_eq!(languages(&further), ["de", "it"]);
    wait_finished(&daemon, 1.0);
    assert_eq!(accepted(&daemon), 2.0);
    // Of the two jobs one has ended: it is answered again, the other still works on Spanish.
    gateway.send(&request(&["es", "it", "fr"]), &[]);
    let again = gateway.events_of_task("task", 1);
    assert_eq!(bodies(&again), [&further[1].body[..]]);
    assert!(gateway.events_of_what_was_sent().is_empty());
    assert_eq!(accepted(&daemon), 2.0);

    // After a crash the daemon still knows whose language is whose.
    drop(gateway);
    daemon.kill();
    daemon.restart_with(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let events = gateway.events_until("Spanish", |event| event.text("targetLanguage") == "es");
    let spanish = events.last().unwrap();
    assert_eq!(spanish.json["result"]["translatedText"], "Hola mi amigo.");
    wait_finished(&daemon, 1.0);
    gateway.send(&request(&["es", "de"]), &[]);
    gateway.events_of_what_was_sent();
    assert_eq!(accepted(&daemon), 0.0);
}

#[test]
fn a_request_that_comes_several_times_at_once_is_one_job() {
    let (daemon, mut gateway) = started(&[("TRANSLATOR_FAULT", "translate:pause")]);
    for _ in 0..5 {
        gateway.send(&request(&["fr", "es"]), &[]);
    }
    assert!(gateway.events_of_what_was_sent().is_empty());
    assert_eq!(accepted(&daemon), 1.0);
}

#[test]
fn a_retry_of_a_finished_task_gets_the_events_of_its_languages_again() {
    let (mut daemon, mut gateway) = started(&[]);
    gateway.send(&request(&["fr", "es", "de"]), &[]);
    let first = gateway.events_of_task("task", 3);
    assert_eq!(languages(&first), ["fr", "es", "de"]);
    wait_finished(&daemon, 1.0);

    for (targets, expected) in [
        (&["es"][..], &first[1..2]),
        (&["es", "de"], &first[1..]),
        (&["fr", "es", "de"], &first[..]),
    ] {
        gateway.send(&request(targets), &[]);
        let again = gateway.events_of_task("task", expected.len());
        assert_eq!(bodies(&again), bodies(expected));
        assert!(gateway.events_of_what_was_sent().is_empty());
        daemon.wait_published();
    }
    assert_eq!(accepted(&daemon), 1.0);

    // A further language is further work; those that are done are not done again.
    gateway.send(&request(&["fr", "pt"]), &[]);
    let mut further = gateway.events_of_task("task", 2);
    further.sort_by_key(|event| event.text("targetLanguage") == "pt");
    assert_eq!(languages(&further), ["fr", "pt"]);
    assert_eq!(further[0].body, first[0].body);
    wait_finished(&daemon, 2.0);

    // The answer survives the daemon; what a new subscriber may have missed is counted apart.
    drop(gateway);
    daemon.terminate();
    daemon.restart();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let published = || daemon.metric("translator_events_published_total", &["occasion=\"new\""]);
    assert_eq!(published(), 0.0);
    gateway.send(&request(&["es"]), &[]);
    gateway.events_until("Spanish", |event| event.body == first[1].body);
    wait_for("one event", || (published() == 1.0).then_some(()));
    assert_eq!(accepted(&daemon), 0.0);
}

#[test]
fn a_retry_is_told_again_of_the_failure_that_concerns_it() {
    let (daemon, mut gateway) = started(&[("MAX_TRANSLATION_LENGTH", "50")]);
    gateway.send(&request(&["fr", "ru", "q1", "es"]), &[]);
    let first = gateway.events_of_task("task", 3);
    assert_eq!(languages(&first), ["fr", "es", "translation_error"]);
    wait_finished(&daemon, 1.0);
    for (targets, expected) in [
        (&["ru"][..], &first[2..]),
        (&["es"], &first[1..2]),
        (&["fr", "es"], &first[..2]),
        (&["es", "q1"], &first[1..]),
        (&["fr", "ru", "q1", "es"], &first[..]),
    ] {
        gateway.send(&request(targets), &[]);
        let again = gateway.events_of_task("task", expected.len());
        assert_eq!(bodies(&again), bodies(expected), "{targets:?}");
        assert!(gateway.events_of_what_was_sent().is_empty(), "{targets:?}");
        daemon.wait_published();
    }

    let long = translation("long", &"Hello my friend. ".repeat(4), "en", &["fr", "es"]);
    gateway.send(&long, &[]);
    let first = gateway.events_of("message-of-long", &["translation_error"]);
    assert_eq!(
        languages(&first),
        ["translation_skipped", "translation_error"]
    );
    wait_finished(&daemon, 2.0);
    gateway.send(&long, &[]);
    let again = gateway.events_of("message-of-long", &["translation_error"]);
    assert_eq!(bodies(&again), bodies(&first));
    assert_eq!(accepted(&daemon), 2.0);
}

#[test]
fn the_same_id_with_another_text_is_another_task() {
    let (daemon, mut gateway) = started(&[]);
    gateway.send(&request(&["es"]), &[]);
    gateway.events_of_task("task", 1);
    let mut other = request(&["es"]);
    other["text"] = json!("Good morning.");
    gateway.send(&other, &[]);
    let event = gateway.events_of_task("task", 1).pop().unwrap();
    assert_eq!(event.json["result"]["translatedText"], "Bueno día.");
    assert_eq!(accepted(&daemon), 2.0);
}

#[test]
fn a_full_queue_refuses_no_repeats() {
    let settings = settings_file("[jobs]\nmax_concurrent_texts = 1\nmax_queued_texts = 1\n");
    let (daemon, mut gateway) = started(&[
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "translate.es:pause"),
    ]);
    let ended = translation("ended", "Hello my friend.", "en", &["fr"]);
    gateway.send(&ended, &[]);
    let answer = gateway.events_of_task("ended", 1);
    wait_finished(&daemon, 1.0);
    let running = translation("running", "Hello.", "en", &["es"]);
    gateway.send(&running, &[]);
    wait_for("start", || {
        (daemon.metric("translator_jobs_running", &["text_fast"]) == 1.0).then_some(())
    });
    let waiting = translation("waiting", "Hello.", "en", &["es", "fr"]);
    gateway.send(&waiting, &[]);
    gateway.send(&translation("surplus", "Hello.", "en", &["fr"]), &[]);
    let events = gateway.events_of_what_was_sent();
    assert_eq!(languages(&events), ["translation_error"]);
    assert_eq!(events[0].text("taskId"), "surplus");

    gateway.send(&running, &[]);
    gateway.send(&waiting, &[]);
    assert!(gateway.events_of_what_was_sent().is_empty());
    gateway.send(&ended, &[]);
    assert_eq!(bodies(&gateway.events_of_task("ended", 1)), bodies(&answer));

    // A language that nobody works on is new work, and for that there is no place.
    let more = translation("waiting", "Hello.", "en", &["de"]);
    gateway.send(&more, &[]);
    let events = gateway.events_of_what_was_sent();
    assert_eq!(languages(&events), ["translation_error"]);
    assert_eq!(events[0].text("error"), "translation pool full");
    assert_eq!(accepted(&daemon), 3.0);
}

#[test]
fn a_story_text_that_is_sent_again_gets_the_same_answer() {
    let (daemon, mut gateway) = started(&[]);
    let mut story = json!({
        "type": "story_text_object_translation", "postId": "post-1", "textObjectIndex": 0,
        "text": "Hello my friend.", "sourceLanguage": "en", "targetLanguages": ["fr", "es"],
        "timestamp": 1,
    });
    gateway.send(&story, &[]);
    let first = gateway.next(STORY);
    wait_finished(&daemon, 1.0);
    gateway.send(&story, &[]);
    assert_eq!(gateway.next(STORY).body, first.body);
    assert_eq!(accepted(&daemon), 1.0);

    for (field, value) in [
        ("sourceLanguage", json!("fr")),
        ("targetLanguages", json!(["es"])),
        ("text", json!("Good morning.")),
        ("textObjectIndex", json!(1)),
    ] {
        story[field] = value;
        gateway.send(&story, &[]);
        gateway.next(STORY);
    }
    assert_eq!(accepted(&daemon), 5.0);
}
