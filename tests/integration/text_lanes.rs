//! Which text goes first, and how many may wait.

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::requests::translation;
use crate::support::{settings_file, wait_for};

fn started(environment: &[(&str, &str)]) -> (Daemon, Gateway) {
    let daemon = Daemon::start_with(environment);
    let gateway = Gateway::connect_subscribed(daemon.ports);
    (daemon, gateway)
}

#[test]
fn a_full_lane_answers_in_the_gateways_words_and_the_other_lanes_go_on() {
    let settings = settings_file("[jobs]\nmax_concurrent_texts = 1\nmax_queued_texts = 1\n");
    let environment = [
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "translate:pause"),
    ];
    let (daemon, mut gateway) = started(&environment);
    let accepted = |count: f64| {
        wait_for("acceptance", || {
            (daemon.metric("translator_jobs_accepted_total", &[]) >= count).then_some(())
        });
    };
    let running = || daemon.metric("translator_jobs_running", &["text_fast"]);
    // The slot gets a text that never ends; in each lane one more waits.
    gateway.send(&translation("endless", "Hello.", "en", &["fr"]), &[]);
    wait_for("start", || (running() == 1.0).then_some(()));
    let long = "Hello. ".repeat(40);
    let lanes = [
        ("fast", "Hello.", "66b1f0a4c2d3e4f5a6b7c8d9"),
        ("normal", &long, "66b1f0a4c2d3e4f5a6b7c8d9"),
        ("any", "Hello.", "any"),
    ];
    for (lane, text, conversation) in lanes {
        let mut request = translation(lane, text, "en", &["fr"]);
        request["conversationId"] = conversation.into();
        gateway.send(&request, &[]);
    }
    assert!(gateway.events_of_what_was_sent().is_empty());
    accepted(4.0);

    for (lane, text, conversation) in lanes {
        let task_id = format!("surplus of {lane}");
        let mut request = translation(&task_id, text, "en", &["fr"]);
        request["conversationId"] = conversation.into();
        gateway.send(&request, &[]);
        let events = gateway.events_of_what_was_sent();
        let [error] = &events[..] else {
            panic!("{lane}: {events:?}");
        };
        assert_eq!(error.kind(), "translation_error");
        assert_eq!(error.text("taskId"), task_id);
        assert_eq!(error.text("error"), "translation pool full");
        assert_eq!(error.text("reason"), "overloaded");
        assert_eq!(error.text("conversationId"), conversation);
    }
    assert_eq!(daemon.metric("translator_jobs_accepted_total", &[]), 4.0);
}

#[test]
fn short_texts_go_first_and_those_that_nobody_waits_for_last() {
    let settings = settings_file("[jobs]\nmax_concurrent_texts = 1\n");
    let settings = ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap());
    let pause = ("TRANSLATOR_FAULT", "translate.es:pause");
    let (mut daemon, mut gateway) = started(&[settings, pause]);
    gateway.send(&translation("running", "Hello.", "en", &["es"]), &[]);
    wait_for("start", || {
        (daemon.metric("translator_jobs_running", &["text_fast"]) == 1.0).then_some(())
    });
    let mut idle = translation("any", "Hello.", "en", &["fr"]);
    idle["conversationId"] = "any".into();
    gateway.send(&idle, &[]);
    gateway.send(
        &translation("normal", &"Hello. ".repeat(40), "en", &["fr"]),
        &[],
    );
    gateway.send(&translation("fast", "Hello.", "en", &["fr"]), &[]);
    assert!(gateway.events_of_what_was_sent().is_empty());
    assert_eq!(daemon.metric("translator_jobs_accepted_total", &[]), 4.0);

    // Only the text that nobody can end is in the way: in its next life the daemon gets to the others.
    drop(gateway);
    daemon.kill();
    daemon.restart_with(&[settings]);
    let gateway = Gateway::connect(daemon.ports);
    let events = gateway.events_until("the last text", |event| event.text("taskId") == "any");
    let order: Vec<&str> = events.iter().map(|event| event.text("taskId")).collect();
    assert_eq!(order, ["running", "fast", "normal", "any"]);
}
