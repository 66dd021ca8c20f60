//! The same voice message again.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, voice_message};

const ACCEPTED: &str = "translator_jobs_accepted_total";
const AUDIO: &str = "kind=\"audio_process\"";

#[test]
fn a_request_that_is_repeated_gets_the_same_events_without_new_work() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let mut request = voice_message("repeated", &["fr", "es"]);
    request["taskId"] = json!("task-of-the-gateway");
    let expected = Expected::spoken(&["fr", "es"]);
    let first = Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    let again = Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    for (first, again) in first.events.iter().zip(&again.events) {
        assert_eq!(first.json, again.json);
        assert!(first.frames == again.frames, "other frames");
    }
    assert_eq!(first.events.len(), again.events.len());
    assert_eq!(daemon.metric(ACCEPTED, &[AUDIO]), 1.0);
}

#[test]
fn a_recording_that_is_sent_anew_is_a_new_job_with_the_same_speech() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let mut request = voice_message("anew", &["fr", "es"]);
    // A voice may change between the two jobs.
    request["generateVoiceClone"] = json!(false);
    let expected = Expected::spoken(&["fr", "es"]);
    let first = Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    request["targetLanguages"] = json!(["es", "de", "fr"]);
    let expected = Expected::spoken(&["es", "de", "fr"]);
    let again = Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    let task_id = |answer: &Answer| answer.completed().text("taskId").to_owned();
    assert_ne!(task_id(&first), task_id(&again));
    for language in ["fr", "es"] {
        assert_eq!(first.translated(language), again.translated(language));
        assert!(
            first.speech(language) == again.speech(language),
            "{language}"
        );
    }
    assert_eq!(daemon.metric(ACCEPTED, &[AUDIO]), 2.0);
}
