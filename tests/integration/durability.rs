//! What was accepted is done: kills in every stage, absent subscribers, jobs that kill the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::voice_message::VoiceMessage;
use crate::support::wait_for;

const LANGUAGES: [&str; 2] = ["fr", "es"];

/// The last event of a voice message.
const COMPLETED: &str = "audio_process_completed";
/// The last event of a voice message that is done, and of one that is not.
const LAST: [&str; 2] = [COMPLETED, "audio_process_error"];

/// The message that is sent to daemons that are killed, and to the one that is not.
fn message() -> VoiceMessage {
    VoiceMessage::named("killed")
}

/// What a daemon publishes that nobody kills.
fn unkilled() -> &'static [Event] {
    static EVENTS: OnceLock<Vec<Event>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let daemon = Daemon::start();
        let mut gateway = Gateway::connect(daemon.ports);
        message().send(&mut gateway, &LANGUAGES);
        gateway.events_of(&message().message_id, &[COMPLETED])
    })
}

/// Names an event within its job. Which language is done last, and so has the event that says
/// "last", may differ from run to run.
fn key(event: &Event) -> String {
    match event.text("language") {
        "" => event.kind().to_owned(),
        language => format!("audio in {language}"),
    }
}

/// The events of a job by their keys; every repeat must be the same to the byte.
fn distinct(events: &[Event]) -> BTreeMap<String, Event> {
    let mut distinct: BTreeMap<String, Event> = BTreeMap::new();
    for event in events {
        let first = distinct.entry(key(event)).or_insert_with(|| event.clone());
        assert!(first.body == event.body, "a repeated event differs");
        assert!(first.frames == event.frames, "a repeated frame differs");
    }
    distinct
}

/// Checks the events of one voice message as a whole.
fn assert_whole_sequence(events: &[Event]) {
    let task_ids: BTreeSet<&str> = events.iter().map(|event| event.text("taskId")).collect();
    assert_eq!(task_ids.len(), 1, "one task id: {events:?}");
    let events: Vec<Event> = {
        let mut seen = BTreeSet::new();
        let first = events.iter().filter(|event| seen.insert(key(event)));
        first.cloned().collect()
    };
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(
        kinds,
        [
            "transcription_ready",
            "audio_translations_progressive",
            "audio_translations_completed",
            COMPLETED
        ]
    );
    let languages: BTreeSet<&str> = events.iter().map(|event| event.text("language")).collect();
    assert_eq!(languages, BTreeSet::from(["", "es", "fr"]));
    let completed = events.last().unwrap();
    assert_eq!(completed.json["newVoiceProfile"]["version"], 1);
    assert_eq!(completed.json["newVoiceProfile"]["audioCount"], 1);
    let embedding = &completed.json["binaryFrames"]["embedding"];
    let index = embedding["index"].as_u64().unwrap() as usize;
    assert!(!completed.frames[index - 1].is_empty());
}

/// What must not depend on kills: words, audio, voice; all but ids, paths and times.
fn substance(events: &[Event]) -> BTreeMap<String, (Value, Vec<Vec<u8>>)> {
    distinct(events)
        .into_iter()
        .map(|(key, event)| {
            let mut json = event.json;
            for changing in ["type", "taskId", "timestamp", "processingTimeMs"] {
                json.as_object_mut().unwrap().remove(changing);
            }
            (key, (json, event.frames))
        })
        .collect()
}

/// Times that a stage ended well in the daemon's present life.
fn stage_count(daemon: &Daemon, stage: &str) -> u64 {
    let stage = format!("stage=\"{stage}\"");
    let labels = [stage.as_str(), "outcome=\"ok\""];
    daemon.metric("translator_stage_duration_seconds_count", &labels) as u64
}

/// Waits until the job has reached the fault for the `times`th time, over all lives of the daemon.
fn wait_paused(daemon: &Daemon, times: usize) {
    wait_for("pause in the log", || {
        (daemon.log().matches("fault: paused").count() >= times).then_some(())
    });
}

/// Kills a daemon in the middle of a stage; `again` are the stages of the second life.
fn assert_survives_a_kill_in(place: &str, again: &[(&str, u64)]) {
    let fault = format!("{place}:pause");
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", &fault)]);
    let mut gateway = Gateway::connect(daemon.ports);
    message().send(&mut gateway, &LANGUAGES);
    let mut events = Vec::new();
    if place.ends_with(".es") {
        // The other language goes its way: let it be done before the kill.
        events = gateway.events_until("audio in French", |event| event.text("language") == "fr");
    }
    wait_paused(&daemon, 1);
    daemon.kill();
    daemon.restart_with(&[]);
    events.extend(gateway.events_of(&message().message_id, &[COMPLETED]));

    assert_whole_sequence(&events);
    assert_eq!(substance(&events), substance(unkilled()));
    for (stage, count) in again {
        assert_eq!(
            stage_count(&daemon, stage),
            *count,
            "{stage} after the kill"
        );
    }
    let metadata = daemon
        .folder()
        .join("data/voices")
        .join(&message().sender_id)
        .join("metadata.json");
    let metadata: Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["version"], 1, "the voice is made once");
}

// A recording is decoded in every life: that is cheap, and the voice is made from it. Speech is kept
// once it is encoded.

#[test]
fn a_kill_while_decoding_loses_nothing() {
    let again = [("transcribe", 1), ("embed", 1), ("synthesize", 2)];
    assert_survives_a_kill_in("decode", &again);
}

#[test]
fn a_kill_while_transcribing_loses_nothing() {
    let again = [("transcribe", 1), ("embed", 1), ("synthesize", 2)];
    assert_survives_a_kill_in("transcribe", &again);
}

#[test]
fn a_kill_while_making_the_voice_loses_nothing() {
    let again = [("transcribe", 0), ("embed", 1), ("synthesize", 2)];
    assert_survives_a_kill_in("embed", &again);
}

#[test]
fn a_kill_while_translating_loses_nothing() {
    let again = [
        ("transcribe", 0),
        ("embed", 0),
        ("translate", 1),
        ("synthesize", 1),
        ("encode", 1),
    ];
    assert_survives_a_kill_in("translate.es", &again);
}

#[test]
fn a_kill_while_synthesizing_loses_nothing() {
    let again = [
        ("transcribe", 0),
        ("embed", 0),
        ("translate", 0),
        ("synthesize", 1),
        ("encode", 1),
    ];
    assert_survives_a_kill_in("synthesize.es", &again);
}

#[test]
fn a_kill_while_encoding_loses_nothing() {
    let again = [
        ("transcribe", 0),
        ("embed", 0),
        ("translate", 0),
        ("synthesize", 1),
        ("encode", 1),
    ];
    assert_survives_a_kill_in("encode.es", &again);
}

#[test]
fn a_kill_between_the_voice_and_its_checkpoint_makes_no_second_version() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    message().send(&mut gateway, &LANGUAGES);
    wait_paused(&daemon, 2);
    daemon.kill();
    // No fault can be put between the two: take back what was written after the voice.
    let ledger = rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3")).unwrap();
    let deleted = ledger
        .execute("DELETE FROM checkpoints WHERE stage = 'embed'", [])
        .unwrap();
    assert_eq!(deleted, 1);
    drop(ledger);
    daemon.restart_with(&[]);
    let events = gateway.events_of(&message().message_id, &[COMPLETED]);
    assert_whole_sequence(&events);
    assert_eq!(substance(&events), substance(unkilled()));
}

#[test]
fn jobs_that_wait_survive_a_kill() {
    let mut daemon = Daemon::start_with(&[
        ("TRANSLATOR_FAULT", "decode:pause"),
        ("MAX_CONCURRENT_JOBS", "1"),
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    let messages: Vec<VoiceMessage> = (1..=3)
        .map(|n| VoiceMessage::named(&format!("waiting-{n}")))
        .collect();
    for message in &messages {
        message.send(&mut gateway, &["fr"]);
    }
    wait_for("three accepted jobs", || {
        (daemon.metric("translator_jobs_accepted_total", &[]) == 3.0).then_some(())
    });
    wait_paused(&daemon, 1);
    daemon.kill();
    daemon.restart_with(&[]);
    let mut missing: BTreeSet<&str> = messages.iter().map(|m| m.message_id.as_str()).collect();
    gateway.events_until("the end of three jobs", |event| {
        if event.kind() == COMPLETED {
            assert_eq!(event.json["translatedAudios"].as_array().unwrap().len(), 1);
            missing.remove(event.text("messageId"));
        }
        missing.is_empty()
    });
}

#[test]
fn a_text_goes_on_with_the_languages_that_are_missing() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "translate.es:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.send(&text("text-1", &["fr", "es"]), &[]);
    let french = gateway.next("translation_completed");
    wait_paused(&daemon, 1);
    daemon.kill();
    daemon.restart_with(&[]);
    let spanish = gateway.events_until("Spanish", |event| event.text("targetLanguage") == "es");
    assert_eq!(french.text("targetLanguage"), "fr");
    assert_eq!(
        french.text("taskId"),
        spanish.last().unwrap().text("taskId")
    );
    assert_eq!(stage_count(&daemon, "translate"), 1);
}

fn text(task_id: &str, languages: &[&str]) -> Value {
    json!({
        "type": "translation",
        "taskId": task_id,
        "messageId": format!("message of {task_id}"),
        "text": "hello my friend",
        "sourceLanguage": "en",
        "targetLanguages": languages,
        "conversationId": "c",
        "modelType": "basic",
    })
}

#[test]
fn a_repeated_request_is_answered_once_and_after_its_end_again() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "translate:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    for _ in 0..3 {
        gateway.send(&text("repeated", &["fr", "es"]), &[]);
    }
    wait_for("two repeats", || {
        let repeats = daemon.log().matches("repeats a job in progress").count();
        (repeats == 2).then_some(())
    });
    daemon.kill();
    daemon.restart_with(&[]);
    let answers_until = |gateway: &mut Gateway, marker: &str| -> Vec<Event> {
        gateway.send(&text(marker, &["fr"]), &[]);
        let mut events = gateway.events_until(marker, |event| event.text("taskId") == marker);
        events.pop();
        events
    };
    let mut answers = gateway.events_until("Spanish", |e| e.text("targetLanguage") == "es");
    answers.extend(answers_until(&mut gateway, "marker 1"));
    let languages: Vec<&str> = answers.iter().map(|e| e.text("targetLanguage")).collect();
    assert_eq!(languages, ["fr", "es"], "one answer for each language");

    gateway.send(&text("repeated", &["fr", "es"]), &[]);
    let again = gateway.events_until("Spanish again", |e| e.text("targetLanguage") == "es");
    let bodies = |events: &[Event]| -> Vec<Vec<u8>> {
        events.iter().map(|event| event.body.clone()).collect()
    };
    assert_eq!(bodies(&answers), bodies(&again));
}

#[test]
fn events_wait_for_a_subscriber_and_come_again_for_a_new_one() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.unsubscribe();
    let message = VoiceMessage::named("unheard");
    message.send(&mut gateway, &LANGUAGES);
    wait_for("end of the job", || {
        (daemon.metric("translator_jobs_finished_total", &[]) == 1.0).then_some(())
    });
    // What nobody has heard survives a kill, too.
    daemon.kill();
    daemon.restart();
    gateway.subscribe();
    let first = gateway.events_of(&message.message_id, &[COMPLETED]);
    assert_whole_sequence(&first);

    gateway.unsubscribe();
    gateway.subscribe();
    let again = gateway.events_of(&message.message_id, &[COMPLETED]);
    assert_whole_sequence(&again);
    assert_eq!(distinct(&[first, again].concat()).len(), 4);
}

#[test]
fn a_subscriber_that_comes_and_goes_misses_nothing() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for number in 0..6 {
        let task_id = format!("flapping-{number}");
        gateway.send(&text(&task_id, &["fr", "es", "de"]), &[]);
        for language in ["fr", "es", "de"] {
            missing.insert(format!("{task_id} {language}"));
        }
        gateway.unsubscribe();
        gateway.subscribe();
    }
    gateway.events_until("all translations", |event| {
        let key = format!("{} {}", event.text("taskId"), event.text("targetLanguage"));
        missing.remove(&key);
        missing.is_empty()
    });
}

#[test]
fn a_job_that_kills_the_process_is_put_aside() {
    let environment = [("TRANSLATOR_FAULT", "transcribe:pause")];
    let mut daemon = Daemon::start_with(&environment);
    let mut gateway = Gateway::connect(daemon.ports);
    let poison = VoiceMessage::named("poison");
    poison.send(&mut gateway, &["fr"]);
    for attempt in 1..=3 {
        wait_paused(&daemon, attempt);
        daemon.kill();
        daemon.restart_with(if attempt < 3 { &environment } else { &[] });
    }
    let events = gateway.events_of(&poison.message_id, &["audio_process_error"]);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].text("errorCode"), "processing_failed");
    assert_eq!(events[0].text("attachmentId"), poison.attachment_id);
    let quarantined = ["outcome=\"quarantined\""];
    assert_eq!(
        daemon.metric("translator_jobs_finished_total", &quarantined),
        1.0
    );

    let later = VoiceMessage::named("later");
    later.send(&mut gateway, &["fr"]);
    let events = gateway.events_of(&later.message_id, &[COMPLETED, "audio_process_error"]);
    assert_eq!(events.last().unwrap().kind(), COMPLETED);
}

#[test]
fn one_poison_among_good_jobs_is_put_aside_after_three_deaths_and_they_are_done() {
    let slots = ("MAX_CONCURRENT_JOBS", "4");
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "decode:pause"), slots]);
    let mut gateway = Gateway::connect(daemon.ports);
    let poison = VoiceMessage::named("poison");
    let good: Vec<VoiceMessage> = (0..20)
        .map(|number| VoiceMessage::named(&format!("good-{number}")))
        .collect();
    for (number, message) in good.iter().enumerate() {
        if number == 5 {
            poison.send(&mut gateway, &["fr"]);
        }
        message.send(&mut gateway, &["fr"]);
    }
    // What is on its way when a daemon dies is lost: it dies when it has all, with four good ones in work.
    wait_for("acceptance of all", || {
        (daemon.metric("translator_jobs_accepted_total", &[]) == 21.0).then_some(())
    });
    wait_paused(&daemon, 4);
    daemon.kill();
    let abort = ("TRANSLATOR_FAULT", "decode@message-poison:abort");
    daemon.relaunch_with(&[abort, slots]);
    let mut deaths = 0;
    let mut ends = BTreeMap::new();
    wait_for("the end of all", || {
        if daemon.has_ended() {
            deaths += 1;
            assert!(deaths <= 3, "the poison was not put aside");
            daemon.relaunch_with(&[abort, slots]);
        }
        for event in gateway.listen(Duration::from_millis(50)) {
            if LAST.contains(&event.kind()) {
                ends.insert(event.text("messageId").to_owned(), event.kind().to_owned());
            }
        }
        (ends.len() == good.len() + 1).then_some(())
    });
    assert_eq!(deaths, 3);
    daemon.wait_ready();
    assert_eq!(ends.remove(&poison.message_id).as_deref(), Some(LAST[1]));
    assert!(ends.values().all(|kind| kind == COMPLETED), "{ends:?}");

    let ledger = rusqlite::Connection::open(daemon.folder().join("data/ledger.sqlite3")).unwrap();
    let most_crashes = |state: &str| -> i64 {
        let query = "SELECT max(crashes) FROM jobs WHERE state = ?1";
        ledger.query_row(query, [state], |row| row.get(0)).unwrap()
    };
    assert_eq!(most_crashes("quarantined"), 3);
    assert!(most_crashes("done") <= 2);
    let crashed = ["cause=\"crashed\""];
    assert_eq!(
        daemon.metric("translator_jobs_quarantined_total", &crashed),
        1.0
    );
    assert_eq!(daemon.metric("translator_suspects", &[]), 0.0);
}

#[test]
fn a_panic_costs_one_job_and_not_the_daemon() {
    for (place, before_the_error) in [
        ("decode", &[][..]),
        ("synthesize", &["transcription_ready", COMPLETED][..]),
    ] {
        let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", &format!("{place}:panic"))]);
        let mut gateway = Gateway::connect(daemon.ports);
        let message = VoiceMessage::named("panic");
        message.send(&mut gateway, &["fr"]);
        let events = gateway.events_of(&message.message_id, &["audio_process_error"]);
        let (error, before) = events.split_last().unwrap();
        let kinds: Vec<&str> = before.iter().map(Event::kind).collect();
        assert_eq!(kinds, before_the_error, "{place}");
        let code = error.text("errorCode");
        assert!(
            ["processing_failed", "tts_failed"].contains(&code),
            "{place}: {code}"
        );
        assert_eq!(
            daemon.log().matches("panic place=\"src/fault.rs").count(),
            5,
            "{place} is tried five times"
        );
        let quarantined = ["cause=\"internal\""];
        let quarantined = daemon.metric("translator_jobs_quarantined_total", &quarantined);
        assert_eq!(quarantined, 1.0, "{place}");
        gateway.send(&text("after the panic", &["fr"]), &[]);
        gateway.next("translation_completed");
    }
}

#[test]
fn a_job_whose_recording_is_lost_ends_with_an_error() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "decode:pause")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let message = VoiceMessage::named("damaged");
    message.send(&mut gateway, &["fr"]);
    wait_paused(&daemon, 1);
    daemon.kill();
    std::fs::remove_dir_all(daemon.folder().join("data/blobs")).unwrap();
    daemon.restart_with(&[]);
    let events = gateway.events_of(&message.message_id, &["audio_process_error"]);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].text("errorCode"), "transcription_failed");
}
