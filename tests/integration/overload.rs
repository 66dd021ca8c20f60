//! What one sender and one recording may take, and what the others have then.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::requests::translation;
use crate::support::voice_api::{recording, request, result_of, submit};
use crate::support::voice_job::voice_message;
use crate::support::{settings_file, wait_for};

/// A daemon that never gets done with its one recording, with these settings of jobs.
fn occupied(settings: &str) -> (Daemon, Gateway) {
    let settings = settings_file(&format!("[jobs]\nmax_concurrent_audio = 1\n{settings}"));
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "decode@message-endless:pause"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    gateway.send(&voice_message("endless", &["fr"]), &[b"audio"]);
    daemon.wait_logged("fault: paused");
    (daemon, gateway)
}

/// Sends a message of `bytes`; tells whether it was taken.
fn is_taken(gateway: &mut Gateway, sender: &str, name: &str, bytes: usize) -> bool {
    let mut message = voice_message(name, &["fr"]);
    message["senderId"] = sender.into();
    gateway.send(&message, &[&vec![0; bytes]]);
    let events = gateway.events_of_what_was_sent();
    assert_pool_full(&events, "audio_process_error");
    events.is_empty()
}

/// Checks that all that is said is one refusal, if anything.
fn assert_pool_full(events: &[Event], kind: &str) {
    for event in events {
        assert_eq!(event.kind(), kind);
        assert_eq!(event.text("error"), "translation pool full");
        assert_eq!(event.text("reason"), "overloaded");
    }
    assert!(events.len() <= 1, "{events:?}");
}

fn assert_text_is_translated(gateway: &mut Gateway) {
    let task_id = uuid::Uuid::new_v4().to_string();
    gateway.send(&translation(&task_id, "Hello.", "en", &["fr"]), &[]);
    let answer = gateway.next("translation_completed");
    assert_eq!(answer.text("taskId"), task_id);
}

#[test]
fn one_sender_leaves_places_to_the_others() {
    let (daemon, mut gateway) = occupied("max_queued_audio = 4\n");
    let mut taken = |sender: &str, name: &str| is_taken(&mut gateway, sender, name, 10);
    assert!(taken("awa", "1") && taken("awa", "2"));
    assert!(!taken("awa", "3"), "half of the places are hers");
    assert!(taken("ben", "4"));
    assert!(taken("eve", "5"));
    assert!(!taken("zoe", "6"), "all places are taken");
    assert_eq!(
        daemon.metric("translator_queue_depth", &["lane=\"audio\""]),
        4.0
    );
    let (status, answer) = daemon.call("POST", "/audio/voice-models/awa/recalibrate");
    assert_eq!(status, 429, "{answer}");
    assert_text_is_translated(&mut gateway);
}

#[test]
fn waiting_recordings_are_bounded_by_their_bytes_and_texts_go_on() {
    let (daemon, mut gateway) =
        occupied("max_queued_bytes = 1_048_576\nmax_sender_percent = 100\n");
    let mut taken = |sender: &str, name: &str, bytes| is_taken(&mut gateway, sender, name, bytes);
    assert!(taken("awa", "1", 600_000));
    assert!(!taken("awa", "2", 600_000));
    assert!(!taken("ben", "3", 600_000));
    assert!(taken("ben", "4", 300_000));
    let bytes = daemon.metric("translator_queue_bytes", &["lane=\"audio\""]);
    assert!((900_000.0..1_048_576.0).contains(&bytes), "{bytes}");
    assert_text_is_translated(&mut gateway);
}

#[test]
fn a_cancelled_job_leaves_its_place_at_once() {
    let (daemon, mut gateway) = occupied("max_queued_audio = 1\n");
    let job = |language: &str| {
        let wanted = json!({"audioBase64": recording(), "targetLanguages": [language]});
        request("voice_translate_async", "awa", wanted)
    };
    let waiting = submit(&mut gateway, &job("fr"));
    let cancel = |job_id: &str| request("voice_job_cancel", "awa", json!({"jobId": job_id}));
    let reply: Value = result_of(&mut gateway, &cancel(&waiting));
    assert_eq!(reply["success"], true);
    wait_for("an empty lane", || {
        let depth = daemon.metric("translator_queue_depth", &["lane=\"audio\""]);
        (depth == 0.0).then_some(())
    });
    submit(&mut gateway, &job("es"));
}

#[test]
fn recordings_that_need_much_memory_run_one_after_the_other() {
    let settings = settings_file("[jobs]\nmax_running_bytes = 1_048_576\n");
    let daemon = Daemon::start_with(&[
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
        ("TRANSLATOR_FAULT", "decode:pause"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    for name in ["1", "2", "3"] {
        assert!(is_taken(&mut gateway, name, name, 30_000));
    }
    daemon.wait_logged("fault: paused");
    let jobs = |metric| daemon.metric(metric, &["lane=\"audio\""]);
    wait_for("figures", || {
        (jobs("translator_queue_depth") == 2.0).then_some(())
    });
    assert_eq!(jobs("translator_jobs_running"), 1.0);
    let expected = daemon.metric("translator_jobs_running_bytes", &[]);
    assert!(expected > 1_048_576.0, "{expected}");
    assert_text_is_translated(&mut gateway);
}
