//! Jobs of the voice API: accepted at once, followed, cancelled, repeated, killed, posted.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::requests::translation;
use crate::support::voice_api::{
    end_of_job, error_of, exchange, is_end, is_reply, recording, request, result_of, submit,
};
use crate::support::voice_job::{assert_shapes, repeated_recording};
use crate::support::wait_for;
use crate::support::web_server::WebServer;

const STAGES: &str = "translator_stage_duration_seconds_count";

/// A job for awa, with metadata that come back with its event.
fn job(languages: &[&str]) -> Value {
    let wanted = json!({
        "audioBase64": recording(), "targetLanguages": languages,
        "callbackMetadata": {"for": languages},
    });
    request("voice_translate_async", "awa", wanted)
}

fn status(gateway: &mut Gateway, job_id: &str) -> Value {
    let wanted = request("voice_job_status", "awa", json!({"jobId": job_id}));
    result_of(gateway, &wanted)
}

/// Cancels a job, and checks that its end is told once and by one event.
fn cancel(gateway: &mut Gateway, job_id: &str, languages: &[&str]) {
    let wanted = request("voice_job_cancel", "awa", json!({"jobId": job_id}));
    let events = exchange(gateway, &wanted);
    let reply = events
        .iter()
        .find(|event| is_reply(event, &wanted))
        .unwrap();
    assert_eq!(reply.json["result"]["success"], true, "{reply:?}");
    let ends: Vec<&Event> = events
        .iter()
        .filter(|event| is_end(event, job_id))
        .collect();
    let [end] = &ends[..] else {
        panic!("{events:?}")
    };
    assert_eq!(end.kind(), "voice_translation_failed");
    for (key, expected) in [
        ("status", json!("failed")),
        ("reason", json!("cancelled")),
        ("userId", json!("awa")),
        ("callbackMetadata", json!({"for": languages})),
    ] {
        assert_eq!(end.json[key], expected, "{key}");
    }
    let status = status(gateway, job_id);
    assert_eq!(status["status"], "cancelled");
    assert_eq!(status["error"], end.json["error"]);
    assert!(status["completedAt"].is_string());
    // Whoever cancels it again is told so again, and nobody else is told anything.
    let again = request("voice_job_cancel", "awa", json!({"jobId": job_id}));
    let events = exchange(gateway, &again);
    let [reply] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(reply.json["result"]["success"], true);
}

#[test]
fn a_job_is_accepted_at_once_and_ends_with_its_event() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let job_id = submit(&mut gateway, &job(&["fr", "es"]));
    let completed = end_of_job(&gateway, &job_id);
    assert_eq!(completed.kind(), "voice_translation_completed");
    assert_eq!(completed.text("userId"), "awa");
    assert_eq!(
        completed.json["callbackMetadata"],
        json!({"for": ["fr", "es"]})
    );

    let status = status(&mut gateway, &job_id);
    assert_eq!(
        (&status["status"], &status["progress"]),
        (&json!("completed"), &json!(100))
    );
    assert!(
        status["result"] == completed.json["result"],
        "another result"
    );
    assert_eq!(status.get("error"), None);
    let times = ["createdAt", "startedAt", "completedAt"].map(|key| status[key].as_str().unwrap());
    assert!(times.is_sorted(), "{times:?}");

    for kind in ["voice_job_status", "voice_job_cancel"] {
        let others = request(kind, "ben", json!({"jobId": job_id}));
        assert_eq!(error_of(&mut gateway, &others), "FORBIDDEN", "{kind}");
        let mut nobodys = others.clone();
        nobodys["taskId"] = json!("nobodys");
        nobodys.as_object_mut().unwrap().remove("userId");
        assert_eq!(error_of(&mut gateway, &nobodys), "UNAUTHORIZED", "{kind}");
    }
    let late = request("voice_job_cancel", "awa", json!({"jobId": job_id}));
    assert_eq!(result_of(&mut gateway, &late)["success"], false);
}

#[test]
fn a_job_that_fails_says_why() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:fail")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let job_id = submit(&mut gateway, &job(&["fr"]));
    let failed = end_of_job(&gateway, &job_id);
    assert_eq!(failed.kind(), "voice_translation_failed");
    assert_eq!(failed.text("errorCode"), "TTS_FAILED");
    assert_eq!(failed.json["callbackMetadata"], json!({"for": ["fr"]}));
    let status = status(&mut gateway, &job_id);
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"], failed.json["error"]);
    assert_eq!(status.get("result"), None);
    assert!(gateway.rest().is_empty());
}

#[test]
fn jobs_are_followed_and_cancelled_while_others_ask_and_write() {
    let daemon = Daemon::start_with(&[
        ("MAX_CONCURRENT_JOBS", "1"),
        ("TRANSLATOR_FAULT", "synthesize:pause"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let first = submit(&mut gateway, &job(&["fr"]));
    daemon.wait_logged("fault: paused");
    let second = submit(&mut gateway, &job(&["es"]));

    let running = status(&mut gateway, &first);
    assert_eq!(running["status"], "processing");
    assert_eq!(running["currentStep"], "synthesize");
    let percent = running["progress"].as_u64().unwrap();
    assert!(percent > 0 && percent < 100, "{percent} %");
    assert!(running["startedAt"].is_string());
    let waiting = status(&mut gateway, &second);
    assert_eq!(
        (&waiting["status"], &waiting["progress"]),
        (&json!("pending"), &json!(0))
    );
    for absent in ["currentStep", "startedAt", "completedAt", "result", "error"] {
        assert_eq!(waiting.get(absent), None, "{absent}");
    }

    // Neither questions nor texts wait for the recordings.
    let ask = |gateway: &mut Gateway, kind| result_of(gateway, &request(kind, "awa", json!({})));
    let metrics = ask(&mut gateway, "voice_admin_metrics");
    assert_eq!(
        (&metrics["activeJobs"], &metrics["queuedJobs"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(ask(&mut gateway, "voice_health")["status"], "healthy");
    assert_eq!(ask(&mut gateway, "voice_history")["total"], 0);
    assert_eq!(ask(&mut gateway, "voice_stats")["totalTranslations"], 0);
    assert_eq!(ask(&mut gateway, "voice_profile_list")["total"], 1);
    let measured = request("voice_analyze", "awa", json!({"audioBase64": recording()}));
    assert!(result_of(&mut gateway, &measured)["pitch"].is_object());
    gateway.send(&translation("text", "Hello my friend.", "en", &["fr"]), &[]);
    let text = gateway.next("translation_completed");
    assert_eq!(text.json["result"]["translatedText"], "Bonjour mon ami.");

    cancel(&mut gateway, &second, &["es"]);
    cancel(&mut gateway, &first, &["fr"]);
    let metrics = ask(&mut gateway, "voice_admin_metrics");
    assert_eq!(
        (&metrics["queuedJobs"], &metrics["failedToday"]),
        (&json!(0), &json!(2))
    );
    assert!(gateway.rest().is_empty());
}

#[test]
fn a_cancelled_job_makes_room() {
    let daemon = Daemon::start_with(&[("MAX_CONCURRENT_JOBS", "1")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let uploads = daemon.folder().join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    std::fs::write(uploads.join("long.wav"), repeated_recording(60)).unwrap();
    let mut long = job(&["fr"]);
    long.as_object_mut().unwrap().remove("audioBase64");
    long["audioPath"] = json!("long.wav");
    let long = submit(&mut gateway, &long);
    wait_for("long job at work", || {
        (status(&mut gateway, &long)["status"] == "processing").then_some(())
    });
    let waiting = submit(&mut gateway, &job(&["es"]));
    cancel(&mut gateway, &waiting, &["es"]);
    cancel(&mut gateway, &long, &["fr"]);

    let last = submit(&mut gateway, &job(&["de"]));
    assert_eq!(
        end_of_job(&gateway, &last).kind(),
        "voice_translation_completed"
    );
    assert!(
        gateway.rest().is_empty(),
        "the cancelled jobs say nothing more"
    );
    // Only the last was spoken.
    assert_eq!(daemon.metric(STAGES, &["stage=\"synthesize\""]), 1.0);
}

#[test]
fn a_repeat_is_answered_without_the_work() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = job(&["fr"]);
    gateway.send(&wanted, &[]);
    let job_id = submit(&mut gateway, &wanted);
    let first = end_of_job(&gateway, &job_id);
    assert!(
        gateway.rest().is_empty(),
        "a repeat of a job at work says nothing"
    );

    gateway.send(&wanted, &[]);
    let mut events = gateway.events_until("end of the repeat", |event| is_end(event, &job_id));
    events.extend(gateway.rest());
    assert_shapes(&events);
    let replies: Vec<&Event> = events
        .iter()
        .filter(|event| is_reply(event, &wanted))
        .collect();
    assert_eq!(replies.len(), 1, "{events:?}");
    assert_eq!(replies[0].json["result"]["jobId"], json!(job_id));
    let ends: Vec<&Event> = events
        .iter()
        .filter(|event| is_end(event, &job_id))
        .collect();
    assert_eq!(ends.len(), 1, "{events:?}");
    assert!(ends[0].json == first.json, "another end");

    for stage in ["decode", "transcribe", "synthesize", "encode"] {
        let label = format!("stage=\"{stage}\"");
        assert_eq!(daemon.metric(STAGES, &[&label]), 1.0, "{stage}");
    }
    let history = request("voice_history", "awa", json!({}));
    assert_eq!(result_of(&mut gateway, &history)["total"], 1);
}

#[test]
fn a_killed_daemon_keeps_its_word() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let told = job(&["fr"]);
    let told_id = submit(&mut gateway, &told);
    daemon.wait_logged("fault: paused");

    // Nobody hears of the second job before the daemon is killed.
    gateway.unsubscribe();
    let untold = job(&["es"]);
    gateway.send(&untold, &[]);
    wait_for("second job", || {
        (daemon.log().matches("fault: paused").count() == 2).then_some(())
    });
    daemon.kill();
    daemon.restart_with(&[]);
    gateway.subscribe();

    let mut ended = 0;
    let mut events = gateway.events_until("both ends", |event| {
        ended += usize::from(event.kind() == "voice_translation_completed");
        ended == 2
    });
    events.extend(gateway.rest());
    assert_shapes(&events);
    let mut accepted = events.iter().filter(|event| is_reply(event, &untold));
    let accepted = accepted.next().expect("the acceptance is not lost");
    let untold_id = accepted.json["result"]["jobId"].as_str().unwrap();
    for (job_id, language) in [(told_id.as_str(), "fr"), (untold_id, "es")] {
        let mut ends = events.iter().filter(|event| is_end(event, job_id));
        let end = ends.next().unwrap();
        // Who subscribes anew may hear it again, but nothing else.
        assert!(ends.all(|again| again.body == end.body), "another end");
        let translation = &end.json["result"]["translations"][0];
        assert_eq!(translation["targetLanguage"], language);
        assert_eq!(status(&mut gateway, job_id)["status"], "completed");
    }
    let history = request("voice_history", "awa", json!({}));
    assert_eq!(result_of(&mut gateway, &history)["total"], 2);
}

#[test]
fn a_webhook_is_called_once_where_that_is_allowed() {
    let server = WebServer::start(Vec::new());
    let daemon = Daemon::start_with(&[
        ("WEBHOOK_HOSTS", "127.0.0.1"),
        ("AUDIO_URL_NETWORKS", "127.0.0.0/8"),
    ]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let called_with = |request: &mut Value, url: String| request["webhookUrl"] = json!(url);

    let mut allowed = job(&["fr"]);
    called_with(&mut allowed, server.url("/webhook"));
    let job_id = submit(&mut gateway, &allowed);
    let completed = end_of_job(&gateway, &job_id);
    let posted = wait_for("post", || server.posted("/webhook").pop());
    assert!(posted == completed.body, "the post is another event");

    // A repeat is answered, but nobody is called again; and a failure is posted too.
    daemon.wait_published();
    gateway.send(&allowed, &[]);
    end_of_job(&gateway, &job_id);
    let mut noise = job(&["fr"]);
    noise["audioBase64"] = json!("bm8gYXVkaW8=");
    called_with(&mut noise, server.url("/webhook"));
    let noise_id = submit(&mut gateway, &noise);
    let failed = end_of_job(&gateway, &noise_id);
    assert_eq!(failed.kind(), "voice_translation_failed");
    let posted = wait_for("post of the failure", || {
        server.posted("/webhook").get(1).cloned()
    });
    assert!(posted == failed.body, "the post is another event");

    // Another name of the same machine, another scheme, a place that is not there, one that moved.
    let refused = "webhook not called";
    let elsewhere = server.url("/webhook").replace("127.0.0.1", "localhost");
    let missing = server.url("/missing");
    let moved = server.url("/moved");
    for (number, url) in [elsewhere, "file:///etc/passwd".to_owned(), missing, moved]
        .into_iter()
        .enumerate()
    {
        let mut elsewhere = job(&["fr"]);
        called_with(&mut elsewhere, url);
        let job_id = submit(&mut gateway, &elsewhere);
        assert_eq!(
            end_of_job(&gateway, &job_id).kind(),
            "voice_translation_completed"
        );
        wait_for("refusal", || {
            (daemon.log().matches(refused).count() == number + 1).then_some(())
        });
    }
    assert_eq!(server.posted("/webhook").len(), 2);
    // A redirect could lead anywhere, so it was not followed.
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|path| *path == "/moved").count(), 1);
    assert!(!asked.iter().any(|path| path == "/recording"), "{asked:?}");
    assert!(
        !daemon.log().contains("/webhook"),
        "an address may hold a secret"
    );
}
