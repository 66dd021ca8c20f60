//! What users say, write and sound like is in events, documents and the data directory, and nowhere else:
//! canary sentences go through every path of daemons that log all they can.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::database::{Database, shared_server};
use crate::support::gateway::{Event, Gateway};
use crate::support::requests::{audio_process, transcription_only, translation};
use crate::support::voice_api::{profile_request, recording, request};
use crate::support::voice_message::VoiceMessage;
use crate::support::web_server::WebServer;
use crate::support::{recordings, wait_for};

/// Quotes and an accent, which JSON and `Debug` may write in other ways; the words survive all of them.
const CANARY: &str = "My quokkaé \"xylophone\" zebra is at the station.";
const WORDS: [&str; 3] = ["quokka", "xylophone", "zebra"];

/// Shorter texts of events may stand in a log by chance.
const MIN_SECRET_CHARACTERS: usize = 12;
/// A piece of something long, as base64 of audio, that nothing else contains.
const PIECE_CHARACTERS: usize = 40;

#[test]
fn nothing_that_users_say_write_or_sound_like_leaves_the_events() {
    // Without one, the same goes on without documents.
    let server = shared_server();
    std::thread::scope(|scope| {
        for format in ["text", "json"] {
            let server = server.as_deref();
            scope.spawn(move || {
                let environment = [
                    ("LOG_LEVEL", "trace"),
                    ("LOG_FORMAT", format),
                    ("MAX_TRANSLATION_LENGTH", "100"),
                    ("VOICE_MIN_DURATION_MS", "5000"),
                    ("WEBHOOK_HOSTS", "127.0.0.1"),
                    ("AUDIO_URL_HOSTS", "127.0.0.1"),
                    ("AUDIO_URL_NETWORKS", "127.0.0.0/8"),
                ];
                let mut daemon = match server.map(Database::new) {
                    Some(database) => database.daemon(&environment),
                    None => Daemon::start_with(&environment),
                };
                let mut gateway = Gateway::connect_subscribed(daemon.ports);
                let mut events = good_requests(&daemon, &mut gateway);
                events.extend(bad_requests(&daemon, &mut gateway));
                assert_told(&events);
                assert_silent(&daemon, &events);
                assert!(daemon.log().contains("DEBUG"), "the log tells too little");

                // The stored events are told again, and what is damaged is quoted by nobody.
                drop(gateway);
                daemon.kill();
                damage_metadata(&daemon);
                daemon.restart();
                let mut gateway = Gateway::connect_subscribed(daemon.ports);
                let get = request("voice_profile_get", "awa", json!({}));
                gateway.send(&get, &[]);
                events.extend(settled(&daemon, &mut gateway));
                assert_silent(&daemon, &events);
            });
        }
    });
}

#[test]
fn nothing_that_users_say_is_in_what_is_said_about_failures() {
    let faults = [
        "decode:fail",
        "transcribe:fail",
        "translate:fail",
        "synthesize:fail",
        "embed:fail",
        "translate:panic",
        "synthesize:panic",
    ];
    std::thread::scope(|scope| {
        for (fault, format) in faults.into_iter().zip(["text", "json"].into_iter().cycle()) {
            scope.spawn(move || {
                let daemon = Daemon::start_with(&[
                    ("LOG_LEVEL", "trace"),
                    ("LOG_FORMAT", format),
                    ("TRANSLATOR_FAULT", fault),
                ]);
                let mut gateway = Gateway::connect_subscribed(daemon.ports);
                let events = said_once(&daemon, &mut gateway);
                let failures = events.iter().filter(|event| event.kind().contains("error"));
                assert!(failures.count() > 0, "{fault} breaks nothing: {events:?}");
                assert_silent(&daemon, &events);
                if fault.ends_with("panic") {
                    let log = daemon.log();
                    assert!(log.contains("src/fault.rs"), "the place is told: {log}");
                    assert!(!log.contains("injected panic"), "so is the message: {log}");
                }
            });
        }
    });
}

/// The canary in each of the places where users put their words.
fn good_requests(daemon: &Daemon, gateway: &mut Gateway) -> Vec<Event> {
    let webhooks = WebServer::start(Vec::new());
    let mut events = said_once(daemon, gateway);

    let analyze = json!({
        "audio_data": recording(), "audio_format": "ogg", "generate_previews": true,
        "preview_languages": ["fr"], "preview_text": CANARY, "include_transcription": true,
    });
    gateway.send(
        &profile_request("voice_profile_analyze", "awa", analyze),
        &[],
    );
    let job = json!({
        "audioBase64": recording(), "targetLanguages": ["fr"], "mobileTranscription": spoken(),
        "webhookUrl": webhooks.url("/webhook"), "callbackMetadata": {"said": CANARY},
    });
    gateway.send(&request("voice_translate_async", "awa", job), &[]);
    events.extend(settled(daemon, gateway));
    wait_for("post", || webhooks.posted("/webhook").pop());

    let feedback = json!({
        "translationId": "vt_1", "rating": 3, "comment": CANARY, "metadata": {"said": CANARY},
    });
    gateway.send(&request("voice_feedback", "awa", feedback), &[]);
    let update = json!({"name": CANARY, "metadata": {"said": CANARY}});
    gateway.send(&request("voice_profile_update", "awa", update), &[]);
    events.extend(settled(daemon, gateway));
    for kind in [
        "voice_history",
        "voice_profile_get",
        "voice_profile_list",
        "voice_stats",
    ] {
        gateway.send(&request(kind, "awa", json!({})), &[]);
    }
    for kind in ["voice_health", "voice_languages", "voice_admin_metrics"] {
        gateway.send(&request(kind, "awa", json!({})), &[]);
    }
    gateway.send(
        &request("voice_analyze", "awa", json!({"audioBase64": recording()})),
        &[],
    );
    let compare = json!({"audioBase64_1": recording(), "audioBase64_2": recording()});
    gateway.send(&request("voice_compare", "awa", compare), &[]);

    // What the daemon hears by itself.
    gateway.send(&audio_process("heard", &["fr"]), &[&recordings::bundled()]);
    gateway.send(
        &transcription_only("written down"),
        &[&recordings::bundled()],
    );
    events.extend(settled(daemon, gateway));
    events
}

/// A text, a story and a recording in each of the forms that make events of their own.
fn said_once(daemon: &Daemon, gateway: &mut Gateway) -> Vec<Event> {
    gateway.send(
        &translation("said", CANARY, "en", &["en", "fr", "es", "ru"]),
        &[],
    );
    let story = json!({
        "type": "story_text_object_translation", "postId": "p", "textObjectIndex": 0,
        "text": CANARY, "sourceLanguage": "en", "targetLanguages": ["fr"],
    });
    gateway.send(&story, &[]);
    // Ids as MongoDB makes them, so that documents are written.
    let mut spoken_message = VoiceMessage::numbered(7).request(&["fr", "ko"]);
    spoken_message["mobileTranscription"] = spoken();
    gateway.send(&spoken_message, &[&recordings::bundled()]);
    let mut written = transcription_only("spoken");
    written["mobileTranscription"] = spoken();
    gateway.send(&written, &[&recordings::bundled()]);
    let wanted = json!({
        "audioBase64": recording(), "targetLanguages": ["fr"], "mobileTranscription": spoken(),
    });
    gateway.send(&request("voice_translate", "awa", wanted), &[]);
    let create = json!({"audioBase64": recording(), "name": CANARY});
    gateway.send(&request("voice_profile_create", "binta", create), &[]);
    settled(daemon, gateway)
}

/// The canary where it does not belong, and in what cannot be read.
fn bad_requests(daemon: &Daemon, gateway: &mut Gateway) -> Vec<Event> {
    for raw in [
        format!("{{\"type\":\"translation\",\"messageId\":\"m\",\"text\":{CANARY:?},\"targ"),
        format!("{{\"type\":\"translation\",\"text\":\"{CANARY}"),
        format!("{{\"type\":{{\"{CANARY}\":1}}"),
        json!([CANARY]).to_string(),
        json!(CANARY).to_string(),
        CANARY.to_owned(),
    ] {
        gateway.send_raw(&[raw.as_bytes()]);
    }
    gateway.send(&translation("long", &CANARY.repeat(9), "en", &["fr"]), &[]);
    gateway.send(&json!({"type": CANARY, "taskId": "t", "text": CANARY}), &[]);
    let voice_type = format!("voice_{CANARY}");
    gateway.send(
        &json!({"type": voice_type, "taskId": "t", "text": CANARY}),
        &[],
    );
    gateway.send(&json!({"type": [CANARY], "text": CANARY}), &[]);

    // Every field of the wrong type, or saying what it should not.
    let odd = [json!(CANARY), json!([CANARY]), json!({ CANARY: CANARY })];
    let text_fields = [
        "messageId",
        "text",
        "sourceLanguage",
        "targetLanguages",
        "modelType",
    ];
    let audio_fields = [
        "targetLanguages",
        "binaryFrames",
        "audioDurationMs",
        "mobileTranscription",
        "userLanguage",
        "existingVoiceProfile",
        "voiceCloneParams",
        "audioUrl",
        "audioPath",
        "audioBase64",
    ];
    for (number, value) in odd.iter().enumerate() {
        for key in text_fields {
            let mut message = translation(&format!("odd {key} {number}"), CANARY, "en", &["fr"]);
            message[key] = value.clone();
            gateway.send(&message, &[]);
        }
        for key in audio_fields {
            let mut message = audio_process(&format!("odd {key} {number}"), &["fr"]);
            message[key] = value.clone();
            gateway.send(&message, &[b"no audio"]);
        }
    }
    let mut voice = audio_process("odd voice", &["fr"]);
    voice["useOriginalVoice"] = true.into();
    voice["existingVoiceProfile"] = json!({"embedding": STANDARD.encode(CANARY)});
    voice["mobileTranscription"] =
        json!({"text": CANARY, "segments": [CANARY, {"text": [CANARY]}]});
    gateway.send(&voice, &[&recordings::bundled()]);
    let mut elsewhere = audio_process("odd place", &["fr"]);
    elsewhere["binaryFrames"] = Value::Null;
    elsewhere["audioUrl"] = "http://127.0.0.1:9/xylophone zebra".into();
    gateway.send(&elsewhere, &[]);
    elsewhere["messageId"] = "odd name".into();
    elsewhere["audioUrl"] = "http://xylophone.zebra.invalid/quokka".into();
    gateway.send(&elsewhere, &[]);

    for (kind, more) in [
        (
            "voice_translate",
            json!({"audioBase64": CANARY, "targetLanguages": ["fr"]}),
        ),
        (
            "voice_translate",
            json!({"audioPath": CANARY, "targetLanguages": [CANARY]}),
        ),
        (
            "voice_translate_async",
            json!({
                "audioBase64": recording(), "targetLanguages": ["fr"], "mobileTranscription": spoken(),
                "webhookUrl": "http://127.0.0.1:9/xylophone/zebra",
            }),
        ),
        (
            "voice_translate_async",
            json!({
                "audioBase64": CANARY, "targetLanguages": ["fr"], "priority": CANARY,
                "webhookUrl": CANARY, "callbackMetadata": CANARY,
            }),
        ),
        (
            "voice_feedback",
            json!({"translationId": "vt_2", "rating": CANARY, "comment": CANARY}),
        ),
        (
            "voice_feedback",
            json!({"translationId": "vt_2", "rating": 1, "comment": {CANARY: 1}}),
        ),
        (
            "voice_history",
            json!({"limit": CANARY, "startDate": CANARY}),
        ),
        (
            "voice_profile_update",
            json!({"name": {CANARY: 1}, "metadata": CANARY}),
        ),
    ] {
        gateway.send(&request(kind, "awa", more), &[]);
    }
    let strange = json!({"fingerprint_a": {CANARY: CANARY}, "fingerprint_b": {"version": CANARY}});
    gateway.send(
        &profile_request("voice_profile_compare", "awa", strange),
        &[],
    );
    settled(daemon, gateway)
}

/// What the sender's device heard.
fn spoken() -> Value {
    json!({
        "text": CANARY, "language": "en",
        "segments": [{"text": CANARY, "startMs": 0, "endMs": 900}],
    })
}

/// Everything that is published until all requests that were sent have ended.
fn settled(daemon: &Daemon, gateway: &mut Gateway) -> Vec<Event> {
    let mut events = gateway.events_of_what_was_sent();
    let ledger = daemon.folder().join("data/ledger.sqlite3");
    let ledger = rusqlite::Connection::open(ledger).unwrap();
    let open = "SELECT count(*) FROM jobs WHERE state IN ('accepted', 'running')";
    wait_for("end of all jobs", || {
        let open: i64 = ledger.query_row(open, [], |row| row.get(0)).unwrap();
        (open == 0).then_some(())
    });
    daemon.wait_published();
    events.extend(gateway.events_of_what_was_sent());
    events
}

/// Puts the canary where a number belongs in the file about a voice.
fn damage_metadata(daemon: &Daemon) {
    let mut found = Vec::new();
    let mut folders = vec![daemon.folder().join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("metadata.json") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no voice was kept");
    for path in found {
        let mut metadata: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        metadata["audio_count"] = CANARY.into();
        std::fs::write(&path, metadata.to_string()).unwrap();
    }
}

/// The canary came back wherever it was to come back: the daemon did not simply drop it.
fn assert_told(events: &[Event]) {
    let told: BTreeSet<&str> = events
        .iter()
        .filter(|event| mentions(&event.json))
        .map(|event| match event.text("requestType") {
            "" => event.kind(),
            request_type => request_type,
        })
        .collect();
    for kind in [
        "translation_completed",
        "transcription_ready",
        "transcription_completed",
        "audio_process_completed",
        "voice_translate",
        "voice_translation_completed",
        "voice_profile_create",
        "voice_profile_update",
        "voice_profile_get",
        "voice_profile_list",
        "voice_history",
        "voice_profile_analyze_result",
    ] {
        assert!(told.contains(kind), "no canary in {kind}, only in {told:?}");
    }
    let heard = |event: &Event| {
        let transcript = event.json["transcription"]["text"].as_str();
        transcript.is_some_and(|text| text.contains("hello my friend"))
    };
    assert!(events.iter().any(heard), "nothing was heard");
}

fn mentions(json: &Value) -> bool {
    match json {
        Value::String(text) => text.contains(CANARY),
        Value::Array(items) => items.iter().any(mentions),
        Value::Object(fields) => fields.values().any(mentions),
        _ => false,
    }
}

/// Nothing of the canary, of the recording and of what came back is where operators look.
fn assert_silent(daemon: &Daemon, events: &[Event]) {
    let mut secrets = forms(CANARY);
    secrets.extend(WORDS.map(str::to_owned));
    secrets.insert(middle(&recording()));
    for event in events {
        words_of(&event.json, &mut secrets);
    }
    assert!(secrets.len() > 10, "{}", secrets.len());
    let log = daemon.log();
    let page = |path: &str| daemon.get(path).unwrap().1;
    for (place, text) in [
        ("the log", log),
        ("/metrics", page("/metrics")),
        ("/health", page("/health")),
        ("/ready", page("/ready")),
    ] {
        for secret in &secrets {
            let Some(at) = text.find(secret.as_str()) else {
                continue;
            };
            let line = text[..at].lines().count();
            panic!(
                "{secret:?} is in {place}: {:?}",
                text.lines().nth(line.saturating_sub(1))
            );
        }
    }
}

/// A text as it is, in JSON of ASCII, as `Debug` shows it and its bytes, and in base64 at every offset.
fn forms(text: &str) -> BTreeSet<String> {
    let quoted = json!(text).to_string();
    let ascii: String = quoted
        .chars()
        .map(|c| match c.is_ascii() {
            true => c.to_string(),
            false => format!("\\u{:04x}", u32::from(c)),
        })
        .collect();
    let bytes = format!("{:?}", text.as_bytes());
    let mut forms = BTreeSet::from([
        text.to_owned(),
        quoted,
        ascii,
        format!("{text:?}"),
        bytes.trim_matches(['[', ']']).to_owned(),
    ]);
    for offset in 0..3 {
        let encoded = STANDARD.encode([&b"   "[..offset], text.as_bytes()].concat());
        forms.insert(middle(&encoded));
    }
    forms
}

/// What was said, heard, spoken and measured in an event; of what is long, a piece.
fn words_of(json: &Value, words: &mut BTreeSet<String>) {
    const KEYS: [&str; 8] = [
        "text",
        "transcription",
        "base64",
        "embedding",
        "embedding_data",
        "name",
        "said",
        "signature",
    ];
    match json {
        Value::Array(items) => items.iter().for_each(|item| words_of(item, words)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = key.to_lowercase();
                match value {
                    Value::String(text)
                        if KEYS.iter().any(|end| key.ends_with(end))
                            && text.chars().count() >= MIN_SECRET_CHARACTERS
                            // Languages have names too.
                            && key != "nativename" =>
                    {
                        words.insert(middle(text));
                    }
                    value => words_of(value, words),
                }
            }
        }
        _ => {}
    }
}

/// The middle of a long text: its ends may be those of many.
fn middle(text: &str) -> String {
    let characters = text.chars().count();
    if characters <= PIECE_CHARACTERS {
        return text.to_owned();
    }
    let start = (characters - PIECE_CHARACTERS) / 2;
    text.chars().skip(start).take(PIECE_CHARACTERS).collect()
}
