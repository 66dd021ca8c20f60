//! The voices that a daemon keeps, over HTTP and on the command line; made anew on demand and in time.

use mongodb::bson::oid::ObjectId;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::daemon::{Daemon, Ports};
use crate::support::database::{Database, shared_server};
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_job::{Answer, repeated_recording};
use crate::support::voices::{
    FRENCH, change_metadata, clone_actions, message_of, stored_metadata, voice_folder,
};
use crate::support::wait_for;

fn time_of(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

fn days_ago(days: i64) -> Value {
    let at = OffsetDateTime::now_utc() - time::Duration::days(days);
    json!(at.format(&Rfc3339).unwrap())
}

/// A message of that sender, answered.
fn heard(daemon: &Daemon, sender: &str, name: &str, recording: &[u8]) -> Answer {
    let mut gateway = Gateway::connect(daemon.ports);
    let message = message_of(sender, name);
    Answer::to(&mut gateway, daemon, &message, &[recording], FRENCH)
}

#[test]
fn a_voice_is_shown_listed_and_made_anew_on_demand() {
    let daemon = Daemon::start();
    let not_found = (404, json!({"detail": "Voice model not found"}));
    assert_eq!(daemon.call("GET", "/audio/voice-models/ann"), not_found);
    assert_eq!(
        daemon.call("GET", "/audio/voice-models"),
        (200, json!({"voice_models": [], "total": 0}))
    );
    let no_history = (400, json!({"detail": "No audio history found"}));
    let nobody = daemon.call("POST", "/audio/voice-models/ann/recalibrate");
    assert_eq!(nobody, no_history);

    let recording = recordings::bundled();
    heard(&daemon, "ann", "first", &recording);
    // An id may hold anything.
    heard(&daemon, "post:1/x?", "post", &recording);
    let (status, voice) = daemon.call("GET", "/audio/voice-models/ann");
    assert_eq!(status, 200);
    let metadata = stored_metadata(&daemon, "ann");
    for key in ["user_id", "audio_count", "total_duration_ms", "version"] {
        assert_eq!(voice[key], metadata[key], "{key}");
    }
    assert_eq!(voice["quality_score"], 0.3);
    assert_eq!(voice["age_days"], 0);
    for key in ["created_at", "updated_at"] {
        assert_eq!(time_of(&voice[key]), time_of(&metadata[key]), "{key}");
    }
    let later = daemon.call("GET", "/v1/audio/voice-models/ann");
    assert_eq!(later, (200, voice.clone()));
    let odd = daemon.call("GET", "/audio/voice-models/post%3A1%2Fx%3F");
    assert_eq!(odd.1["user_id"], "post:1/x?");
    let (_, listing) = daemon.call("GET", "/audio/voice-models?limit=1&offset=1");
    assert_eq!(listing["total"], 2);
    assert_eq!(listing["voice_models"].as_array().unwrap().len(), 1);
    assert_eq!(listing["voice_models"][0]["user_id"], "post:1/x?");

    // Two recordings of the user are still there; the first is heard only once.
    heard(&daemon, "ann", "again", &recording);
    heard(&daemon, "ann", "other", &repeated_recording(2));
    change_metadata(&daemon, "ann", "updated_at", days_ago(9));
    let (_, voice) = daemon.call("GET", "/audio/voice-models/ann");
    assert_eq!(voice["age_days"], 9);
    let before = stored_metadata(&daemon, "ann");
    let (status, made) = daemon.call("POST", "/audio/voice-models/ann/recalibrate");
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["age_days"], 0);
    assert_eq!(made["audio_count"], 2);
    let version = before["version"].as_u64().unwrap();
    assert_eq!(made["version"], version + 1);
    assert_eq!(made["created_at"], voice["created_at"]);
    // 18 seconds of two recordings.
    assert_eq!(made["quality_score"], 0.55);
    assert_eq!(stored_metadata(&daemon, "ann")["version"], version + 1);
    let actions = clone_actions(&daemon, "ann");
    assert_eq!(actions.last().unwrap(), "recalibrated");

    // Recordings, but no voice, and no job that wants one.
    let mut message = message_of("bob", "bob");
    message["generateVoiceClone"] = json!(false);
    let mut gateway = Gateway::connect(daemon.ports);
    Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    let nothing = daemon.call("POST", "/audio/voice-models/bob/recalibrate");
    assert_eq!(nothing, no_history, "what may not be cloned is not history");
    std::fs::remove_dir_all(voice_folder(&daemon, "ann")).unwrap();
    let gone = daemon.call("POST", "/audio/voice-models/ann/recalibrate");
    assert_eq!(gone, not_found);
}

#[test]
fn odd_requests_are_answered_in_json() {
    let daemon = Daemon::start();
    let long = "x".repeat(513);
    for (method, path) in [
        ("GET", format!("/audio/voice-models/{long}")),
        ("DELETE", format!("/audio/voice-models/{long}")),
        ("POST", format!("/audio/voice-models/{long}/recalibrate")),
        ("GET", "/audio/voice-models?limit=-1".to_owned()),
        ("GET", "/audio/voice-models/%ff".to_owned()),
    ] {
        let (status, answer) = daemon.call(method, &path);
        assert_eq!(status, 400, "{method} {path}: {answer}");
        assert!(answer["detail"].is_string(), "{answer}");
    }
    for hostile in ["..%2F..%2Fetc", "%2e%2e", "%00", "a%0Ab"] {
        let (status, answer) = daemon.call("GET", &format!("/audio/voice-models/{hostile}"));
        assert_eq!(status, 404, "{hostile}: {answer}");
    }
}

#[test]
fn voices_whose_time_has_come_are_made_anew() {
    let mut daemon = Daemon::start();
    let recording = repeated_recording(2);
    heard(&daemon, "ann", "first", &recording);
    heard(&daemon, "bob", "first-of-bob", &recording);
    daemon.terminate();
    // A voice whose recordings are gone: another user's folder under a new name.
    let (bob, cid) = (voice_folder(&daemon, "bob"), voice_folder(&daemon, "cid"));
    std::fs::rename(bob, cid).unwrap();
    change_metadata(&daemon, "cid", "user_id", json!("cid"));
    for user in ["ann", "cid"] {
        change_metadata(&daemon, user, "next_recalibration_at", days_ago(1));
    }
    daemon.restart();
    let is_later = |user: &str| {
        let metadata = stored_metadata(&daemon, user);
        time_of(&metadata["next_recalibration_at"]) > OffsetDateTime::now_utc()
    };
    for user in ["ann", "cid"] {
        wait_for(&format!("recalibration of {user}"), || {
            is_later(user).then_some(())
        });
    }
    let metadata = stored_metadata(&daemon, "ann");
    assert_eq!(metadata["version"], 2);
    assert_eq!(metadata["audio_count"], 1);
    let due_in = time_of(&metadata["next_recalibration_at"]) - time_of(&metadata["updated_at"]);
    assert_eq!(due_in.whole_days(), 30);
    assert_eq!(stored_metadata(&daemon, "cid")["version"], 1);
    assert_eq!(clone_actions(&daemon, "ann"), ["created", "recalibrated"]);
    let labels = ["kind=\"voice_recalibrate\"", "outcome=\"done\""];
    wait_for("two jobs", || {
        (daemon.metric("translator_jobs_finished_total", &labels) == 2.0).then_some(())
    });
    wait_for("nothing due", || {
        (daemon.metric("translator_voices_due", &[]) == 0.0).then_some(())
    });
    // The next message hears what was made meanwhile.
    let answer = heard(&daemon, "ann", "second", &recording);
    assert_eq!(answer.translated("fr")["voiceCloned"], true);
    assert_eq!(stored_metadata(&daemon, "ann")["version"], 2);
}

#[test]
fn a_recalibration_that_is_killed_is_done_at_the_next_start() {
    let mut daemon = Daemon::start();
    heard(&daemon, "ann", "first", &repeated_recording(2));
    daemon.terminate();
    change_metadata(&daemon, "ann", "next_recalibration_at", days_ago(1));
    daemon.restart_with(&[("TRANSLATOR_FAULT", "embed:pause")]);
    daemon.wait_logged("fault: paused");
    daemon.kill();
    daemon.restart_with(&[]);
    wait_for("the new version", || {
        (stored_metadata(&daemon, "ann")["version"] == 2).then_some(())
    });
    wait_for("the end of the job", || {
        let labels = ["kind=\"voice_recalibrate\""];
        (daemon.metric("translator_jobs_finished_total", &labels) == 1.0).then_some(())
    });
    assert_eq!(clone_actions(&daemon, "ann"), ["created", "recalibrated"]);
}

#[test]
fn a_voice_that_is_made_anew_is_written_to_the_database() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    let user = ObjectId::new();
    heard(&daemon, &user.to_hex(), "first", &repeated_recording(2));
    let path = format!("/audio/voice-models/{}/recalibrate", user.to_hex());
    assert_eq!(daemon.call("POST", &path).0, 200);
    let model = wait_for("the new version in the database", || {
        let models = database.documents("user_voice_models");
        models
            .into_iter()
            .find(|model| model.get_i32("version").unwrap() == 2)
    });
    assert_eq!(model.get_object_id("userId").unwrap(), user);
    assert_eq!(database.documents("user_voice_models").len(), 1);
}

/// Runs a command of the client against a daemon.
fn translator(ports: Ports, arguments: &[&str]) -> std::process::Output {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_translator"))
        .args(arguments)
        .env_clear()
        .env("HTTP_PORT", ports.http.to_string())
        .timeout(crate::support::PATIENCE)
        .output()
        .unwrap()
}

fn succeed(ports: Ports, arguments: &[&str]) -> String {
    let output = translator(ports, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fail(ports: Ports, arguments: &[&str]) -> String {
    let output = translator(ports, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_command_line_shows_remakes_and_deletes_voices() {
    let daemon = Daemon::start();
    let ports = daemon.ports;
    heard(&daemon, "ann", "first", &repeated_recording(2));
    heard(&daemon, "post:1", "post", &recordings::bundled());

    let table = succeed(ports, &["voices", "list"]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(lines[0][..2], ["USER", "QUALITY"]);
    assert_eq!(lines[1][..3], ["ann", "0.50", "1"]);
    assert_eq!(lines[2][..3], ["post:1", "0.30", "1"]);
    let json: Value = serde_json::from_str(&succeed(ports, &["voices", "list", "--json"])).unwrap();
    assert_eq!(json[1]["user_id"], "post:1");

    let shown = succeed(ports, &["voices", "show", "post:1"]);
    assert!(
        shown.contains("post:1") && shown.contains("0.30"),
        "{shown}"
    );
    let made = succeed(ports, &["voices", "recalibrate", "ann", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["version"], 2);
    let url = format!("http://127.0.0.1:{}/", ports.http);
    let deleted = succeed(ports, &["voices", "delete", "ann", "--url", &url]);
    // The message, and the recalibration.
    assert!(deleted.contains("the voice, 2 finished jobs"), "{deleted}");
    assert!(!voice_folder(&daemon, "ann").exists());

    for command in ["show", "delete", "recalibrate"] {
        let error = fail(ports, &["voices", command, "ann"]);
        assert!(
            error.contains("not found") || error.contains("No audio"),
            "{error}"
        );
    }
    let nobody = Ports::free();
    for arguments in [&["voices", "list"][..], &["voices", "show", "ann"]] {
        let error = fail(nobody, arguments);
        assert!(error.contains("no daemon answers at"), "{error}");
        assert!(error.contains("translator serve"), "{error}");
    }
    let error = fail(ports, &["voices", "show", "x", "--url", "nonsense"]);
    assert!(error.contains("nonsense"), "{error}");
}
