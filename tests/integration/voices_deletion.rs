//! Everything about a user is deleted, and nothing brings it back but a new message.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use mongodb::bson::oid::ObjectId;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::database::{Database, shared_server};
use crate::support::gateway::Gateway;
use crate::support::recordings;
use crate::support::voice_api::{recording, request, result_of};
use crate::support::voice_job::{Answer, repeated_recording};
use crate::support::voices::{FRENCH, clone_actions, message_of, stored_metadata, voice_folder};
use crate::support::wait_for;

const ANN: &str = "/audio/voice-models/ann";

fn speech_file(daemon: &Daemon, answer: &Answer) -> PathBuf {
    let path = answer.translated("fr")["audioPath"].as_str().unwrap();
    daemon.folder().join(path)
}

/// Every file below a folder whose bytes hold these.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(needle.len())
            .any(|window| window == needle)
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_user_is_deleted_whole_and_others_stay() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let answer_of = |gateway: &mut Gateway, sender: &str, name: &str| {
        let message = message_of(sender, name);
        Answer::to(gateway, &daemon, &message, &[&recording], FRENCH)
    };
    let anns = answer_of(&mut gateway, "ann", "anns");
    let bobs = answer_of(&mut gateway, "bob", "bobs");
    std::fs::write(voice_folder(&daemon, "ann").join("embedding.pkl"), b"\x80").unwrap();

    let (status, answer) = daemon.call("DELETE", ANN);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["user_id"], "ann");
    let deleted = &answer["deleted"];
    assert_eq!(deleted["voice"], true);
    assert_eq!(deleted["jobs"], 1);
    assert_eq!(deleted["speech_files"], 1);
    assert_eq!(
        deleted["cached"], 3,
        "a transcript, a translation, and speech"
    );
    assert_eq!(deleted["jobs_in_progress"], 0);
    assert!(!voice_folder(&daemon, "ann").exists());
    assert!(!speech_file(&daemon, &anns).exists());
    let not_found = (404, json!({"detail": "Voice model not found"}));
    assert_eq!(daemon.call("GET", ANN), not_found);
    assert_eq!(daemon.call("DELETE", ANN), not_found, "nothing is left");
    let no_history = (400, json!({"detail": "No audio history found"}));
    let recalibrated = daemon.call("POST", "/audio/voice-models/ann/recalibrate");
    assert_eq!(recalibrated, no_history);

    assert!(voice_folder(&daemon, "bob").join("voice.bin").exists());
    assert!(speech_file(&daemon, &bobs).exists());
    assert_eq!(daemon.call("GET", "/audio/voice-models/bob").0, 200);

    // Who speaks again has a voice again, with nothing of the old one.
    let again = answer_of(&mut gateway, "ann", "again");
    let profile = &again.completed().json["newVoiceProfile"];
    assert_eq!(profile["version"], 1);
    assert_eq!(profile["audioCount"], 1);
    assert_eq!(
        clone_actions(&daemon, "ann"),
        ["created", "deleted", "created"]
    );
}

#[test]
fn no_print_of_a_deleted_voice_is_left_on_disk() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let message = message_of("ann", "message");
    let recording = repeated_recording(2);
    let answer = Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    // Some floats of the print, as they lie in files.
    let print = answer.embedding().unwrap()[20..84].to_vec();
    let data = daemon.folder().join("data");
    assert!(!files_with(&data, &print).is_empty());
    assert_eq!(daemon.call("DELETE", ANN).0, 200);
    assert!(files_with(&data.join("voices"), &print).is_empty());
    // The event's frame goes when the ledger is swept, which every start does, once it is old enough
    // not to be on its way in.
    daemon.terminate();
    for blob in files_with(&data, &print) {
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7 * 86_400);
        let file = std::fs::File::options().append(true).open(blob).unwrap();
        file.set_modified(old).unwrap();
    }
    daemon.restart();
    wait_for("sweep of the ledger", || {
        files_with(&data, &print).is_empty().then_some(())
    });
}

#[test]
fn a_job_from_before_the_deletion_does_not_bring_the_voice_back() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = message_of("ann", "message");
    gateway.send(&message, &[&recordings::bundled()]);
    daemon.wait_logged("fault: paused");
    assert_eq!(stored_metadata(&daemon, "ann")["version"], 1);
    let (status, answer) = daemon.call("DELETE", ANN);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["deleted"]["jobs_in_progress"], 1);
    assert!(!voice_folder(&daemon, "ann").exists());

    daemon.kill();
    daemon.restart_with(&[]);
    let events = gateway.events_of("message-message", &["audio_process_completed"]);
    let completed: &Value = &events.last().unwrap().json;
    assert_eq!(completed.get("newVoiceProfile"), None);
    assert_eq!(completed["translatedAudios"][0]["voiceCloned"], false);
    assert_eq!(completed["voiceModelQuality"], 0.0);
    assert!(!voice_folder(&daemon, "ann").exists());
    assert_eq!(clone_actions(&daemon, "ann"), ["created", "deleted"]);
    // What it has left goes with a second deletion.
    let (status, answer) = daemon.call("DELETE", ANN);
    assert_eq!((status, &answer["deleted"]["jobs"]), (200, &json!(1)));
    assert_eq!(answer["deleted"]["cached"], 0, "nothing more was kept");
}

#[test]
fn the_voice_is_deleted_in_the_database_too_once_it_is_there() {
    let Some(server) = shared_server() else {
        return;
    };
    let database = Database::new(&server);
    let daemon = database.daemon(&[]);
    let mut gateway = Gateway::connect(daemon.ports);
    let [ann, bob] = [ObjectId::new(), ObjectId::new()];
    let recording = repeated_recording(2);
    for user in [ann, bob] {
        let message = message_of(&user.to_hex(), &user.to_hex());
        Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    }
    let users = || -> Vec<ObjectId> {
        let models = database.documents("user_voice_models");
        let users = models.iter().map(|model| model.get_object_id("userId"));
        users.collect::<Result<_, _>>().unwrap()
    };
    wait_for("two models", || (users().len() == 2).then_some(()));
    let path = format!("/audio/voice-models/{}", ann.to_hex());
    assert_eq!(daemon.call("DELETE", &path).0, 200);
    wait_for("one model", || (users() == [bob]).then_some(()));
}

#[test]
fn what_the_voice_api_has_kept_goes_too_however_old_it_is() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({"audioBase64": recording(), "targetLanguages": ["fr"]});
    let translated = result_of(&mut gateway, &request("voice_translate", "ann", wanted));
    let url = translated["translations"][0]["audioUrl"].as_str().unwrap();
    let file = daemon.folder().join(url.strip_prefix('/').unwrap());
    assert!(file.exists());
    let rate = json!({"translationId": translated["translationId"], "rating": 4});
    result_of(&mut gateway, &request("voice_feedback", "ann", rate));

    // The ledger has no job of hers any more, as after its retention.
    daemon.terminate();
    let ledger = daemon.folder().join("data/ledger.sqlite3");
    let ledger = rusqlite::Connection::open(ledger).unwrap();
    ledger
        .execute_batch("PRAGMA foreign_keys = ON; DELETE FROM jobs")
        .unwrap();
    drop(ledger);
    daemon.restart();

    let (status, answer) = daemon.call("DELETE", ANN);
    assert_eq!(status, 200, "{answer}");
    let deleted = &answer["deleted"];
    assert_eq!(
        (&deleted["jobs"], &deleted["speech_files"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        deleted["history"], 2,
        "a translation and what she thinks of it"
    );
    assert!(!file.exists());
    assert_eq!(daemon.call("DELETE", ANN).0, 404, "nothing is left");
}

#[test]
fn a_deletion_whose_client_leaves_is_completed() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let message = message_of("ann", "anns");
    Answer::to(&mut gateway, &daemon, &message, &[&recording], FRENCH);
    assert!(voice_folder(&daemon, "ann").exists());

    let mut client = TcpStream::connect(("127.0.0.1", daemon.ports.http)).unwrap();
    let request = format!("DELETE {ANN} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    // Whoever leaves before that has asked for nothing.
    wait_for("the beginning of the deletion", || {
        let accepted = daemon.metric("translator_jobs_accepted_total", &["kind=\"voice_delete\""]);
        (accepted == 1.0).then_some(())
    });
    drop(client);
    wait_for("the end of the voice", || {
        (!voice_folder(&daemon, "ann").exists()).then_some(())
    });
    wait_for("the end of the deletion", || {
        let done = daemon.metric(
            "translator_jobs_finished_total",
            &["kind=\"voice_delete\"", "outcome=\"done\""],
        );
        (done == 1.0).then_some(())
    });
}
