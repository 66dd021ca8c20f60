//! The voice API and voice profiles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::Session;
use super::messages::{is_spoken, is_translated, source_of, targets};
use crate::support::examples::Example;
use crate::support::gateway::Event;
use crate::support::recordings;
use crate::support::voice_job::check_speech;

/// Events of a job's progress at most.
const MAX_PROGRESS_EVENTS: usize = 5;

/// What the daemon names, by the field of a request that asks for it.
const NAMES: [&str; 3] = ["jobId", "translationId", "profileId"];

/// Sends a request that has one reply.
pub(super) fn ask(session: &mut Session, example: &Example) {
    let request = ready(session, &example.json);
    let reply = reply(session, &request);
    check(session, &request, &reply);
}

/// Sends the request as it is, and then with the fingerprint that the daemon has given.
pub(super) fn ask_with_fingerprints(session: &mut Session, example: &Example) {
    ask(session, example);
    let mut request = ready(session, &example.json);
    request["request_id"] = json!(Uuid::new_v4().to_string());
    for key in ["existing_fingerprint", "fingerprint_a", "fingerprint_b"] {
        if request.get(key).is_some() {
            request[key] = session.known["fingerprint"].clone();
        }
    }
    let reply = reply(session, &request);
    check(session, &request, &reply);
    assert_eq!(reply.json["is_match"], true, "the same voice");
}

/// Sends a request that is accepted at once and has its result in an event of its own.
pub(super) fn ask_for_job(session: &mut Session, example: &Example) {
    let request = ready(session, &example.json);
    let events = session.exchange(&request, &[], |event| {
        event.kind().starts_with("voice_translation_")
    });
    let [accepted, progress @ .., completed] = &events[..] else {
        panic!("{events:?}")
    };
    check_success(&request, accepted);
    let job_id = &accepted.json["result"]["jobId"];
    assert_eq!(accepted.json["result"]["status"], "pending");
    assert!(progress.len() <= MAX_PROGRESS_EVENTS, "{progress:?}");
    let mut percent = 0;
    for event in progress {
        assert_eq!(event.kind(), "voice_job_progress");
        assert_eq!(
            (&event.json["jobId"], &event.json["taskId"]),
            (job_id, &request["taskId"])
        );
        let progress = event.json["progress"].as_u64().unwrap();
        assert!(progress > percent && progress < 100, "{progress} %");
        percent = progress;
    }
    assert_eq!(completed.kind(), "voice_translation_completed");
    for (key, expected) in [
        ("jobId", job_id),
        ("status", &json!("completed")),
        ("userId", &request["userId"]),
        ("callbackMetadata", &request["callbackMetadata"]),
    ] {
        assert_eq!(&completed.json[key], expected, "{key}");
    }
    check_translation(session, &request, &completed.json["result"]);
    session.known.insert("jobId", job_id.clone());
}

/// Asks for the events that tell of failures.
pub(super) fn failures(session: &mut Session) {
    let noise = STANDARD.encode("no recording");
    let ids = |kind: &str| {
        let id = Uuid::new_v4().to_string();
        json!({"type": kind, "taskId": id, "userId": "awa", "request_id": id, "user_id": "awa"})
    };
    let mut request = ids("voice_translate");
    request["audioBase64"] = json!(noise);
    request["targetLanguages"] = json!(["fr"]);
    let error = reply(session, &request);
    assert_eq!(error.kind(), "voice_api_error");
    assert_eq!(error.text("errorCode"), "UNSUPPORTED_FORMAT");

    request["type"] = json!("voice_translate_async");
    let events = session.exchange(&request, &[], |event| {
        event.kind().starts_with("voice_translation_")
    });
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["voice_api_success", "voice_translation_failed"]);
    assert_eq!(events[1].text("status"), "failed");
    assert_eq!(events[1].text("errorCode"), "UNSUPPORTED_FORMAT");

    let mut request = ids("voice_profile_analyze");
    request["audio_data"] = json!(noise);
    request["audio_format"] = json!("wav");
    let error = reply(session, &request);
    assert_eq!(error.kind(), "voice_profile_error");
    assert_eq!(error.json["success"], false);
}

/// The request with recordings, and with the names that the daemon has given.
fn ready(session: &Session, example: &Value) -> Value {
    let mut request = example.clone();
    let second = recordings::second_speaker();
    for suffix in ["", "_1", "_2"] {
        let recording = if suffix == "_2" {
            &second
        } else {
            &session.recording
        };
        if let Some(path) = request[format!("audioPath{suffix}")].as_str() {
            session.upload(path, recording);
        }
        for key in [
            format!("audioBase64{suffix}"),
            format!("audio_data{suffix}"),
        ] {
            if request.get(&key).is_some() {
                request[key] = json!(STANDARD.encode(recording));
            }
        }
    }
    for name in NAMES {
        if request.get(name).is_some() {
            request[name] = session.known[name].clone();
        }
    }
    let now = OffsetDateTime::now_utc();
    for (key, at) in [
        ("startDate", now - Duration::HOUR),
        ("endDate", now + Duration::HOUR),
    ] {
        if request.get(key).is_some() {
            request[key] = json!(at.format(&Rfc3339).unwrap());
        }
    }
    request
}

/// Sends a request and gives its one reply.
fn reply(session: &mut Session, request: &Value) -> Event {
    let mut events = session.exchange(request, &[], |_| true);
    assert_eq!(events.len(), 1, "{events:?}");
    let reply = events.remove(0);
    assert!(reply.frames.is_empty(), "a reply has one frame");
    reply
}

fn check_success(request: &Value, reply: &Event) {
    assert_eq!(reply.kind(), "voice_api_success", "{}", reply.text("error"));
    assert_eq!(reply.json["requestType"], request["type"]);
    assert_eq!(reply.json["taskId"], request["taskId"]);
}

fn check(session: &mut Session, request: &Value, reply: &Event) {
    let kind = request["type"].as_str().unwrap();
    if request.get("request_id").is_some() {
        return check_profile(session, request, reply);
    }
    check_success(request, reply);
    let result = &reply.json["result"];
    let user_id = &request["userId"];
    match kind {
        "voice_health" => {
            assert_eq!(result["status"], "healthy");
            let services = result["services"].as_object().unwrap();
            assert!(services.values().all(|works| *works == json!(true)));
        }
        "voice_languages" => check_languages(result),
        "voice_analyze" => {
            for measure in ["pitch", "spectral", "energy", "mfcc", "metadata"] {
                assert!(result[measure].is_object(), "{measure}");
            }
            assert_eq!(result["mfcc"]["mean"].as_array().unwrap().len(), 13);
        }
        "voice_compare" => {
            let score = result["overall_score"].as_f64().unwrap();
            assert_eq!(result["is_likely_same_speaker"], score >= 0.75);
        }
        "voice_translate" => {
            check_translation(session, request, result);
            let id = result["translationId"].clone();
            session.known.insert("translationId", id);
        }
        "voice_job_status" => {
            for (key, expected) in [
                ("jobId", &request["jobId"]),
                ("id", &request["jobId"]),
                ("userId", user_id),
                ("user_id", user_id),
                ("status", &json!("completed")),
                ("progress", &json!(100)),
            ] {
                assert_eq!(&result[key], expected, "{key}");
            }
            let event = session.published.iter().rev();
            let mut completed = event.filter(|event| event.kind() == "voice_translation_completed");
            let completed = &completed.next().unwrap().json["result"];
            assert!(result["result"] == *completed, "another result");
        }
        // It has ended before.
        "voice_job_cancel" => assert_eq!(result["success"], false),
        "voice_feedback" => {
            assert_eq!(result["success"], true);
            session.known.insert("rating", request["rating"].clone());
        }
        "voice_history" => check_history(session, result),
        "voice_stats" => {
            assert_eq!(&result["userId"], user_id);
            assert_eq!(result["totalTranslations"], 2);
            assert_eq!(result["feedbackCount"], 1);
            let rating = session.known["rating"].as_f64();
            assert_eq!(result["averageFeedbackRating"].as_f64(), rating);
        }
        "voice_admin_metrics" => {
            assert_eq!(result["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(
                (&result["activeJobs"], &result["queuedJobs"]),
                (&json!(0), &json!(0))
            );
            let models = result["modelsLoaded"].as_array().unwrap();
            assert!(models.contains(&json!("synthesize")), "{models:?}");
        }
        "voice_profile_create" => {
            assert_eq!(&result["userId"], user_id);
            assert_eq!(result["name"], request["name"]);
            assert_eq!(result["metadata"], request["metadata"]);
            session.known.insert("profileId", result["id"].clone());
            session.known.insert("profile", result.clone());
        }
        "voice_profile_get" => assert!(*result == session.known["profile"], "another profile"),
        "voice_profile_update" => {
            assert_eq!(result["id"], session.known["profileId"]);
            if let Some(name) = request.get("name") {
                assert_eq!(&result["name"], name);
            }
            session.known.insert("profile", result.clone());
        }
        "voice_profile_list" => {
            assert_eq!(result["total"], 1);
            let profiles = result["profiles"].as_array().unwrap();
            assert!(
                profiles[..] == [session.known["profile"].clone()],
                "another profile"
            );
        }
        "voice_profile_delete" => {
            assert_eq!(result["success"], true);
            assert_eq!(result["profileId"], session.known["profileId"]);
        }
        other => panic!("nothing is known of {other}"),
    }
}

fn check_languages(result: &Value) {
    let features = |code: &str| {
        let mut languages = result.as_array().unwrap().iter();
        let language = languages.find(|language| language["code"] == code);
        language.map(|language| language["supportedFeatures"].clone())
    };
    for language in ["en", "fr", "es", "de", "it", "pt"] {
        let features = features(language).unwrap();
        assert_eq!(features["translation"], true, "{language}");
        assert_eq!(features["tts"], is_spoken(language), "{language}");
    }
    // It has a voice, but nothing translates into it.
    let russian = features("ru").unwrap();
    assert_eq!(
        (&russian["translation"], &russian["tts"]),
        (&json!(false), &json!(true))
    );
}

/// Checks a recording in other languages: each that is possible, with its speech inside.
fn check_translation(session: &Session, request: &Value, result: &Value) {
    let source = source_of(request);
    let mut expected = targets(request);
    expected.retain(|target| target != source && is_translated(source, target));
    let original = &result["originalAudio"];
    assert_eq!(original["language"], source);
    if let Some(device) = request.get("mobileTranscription") {
        assert_eq!(original["transcription"], device["text"]);
    }
    let translations = result["translations"].as_array().unwrap();
    let languages: Vec<&str> = translations
        .iter()
        .map(|translation| translation["targetLanguage"].as_str().unwrap())
        .collect();
    assert_eq!(languages, expected);
    let is_cloned = request["generateVoiceClone"] != false;
    assert_eq!(result.get("voiceProfile").is_some(), is_cloned);
    for translation in translations {
        let mp3 = STANDARD
            .decode(translation["audioBase64"].as_str().unwrap())
            .unwrap();
        check_speech(translation, &mp3);
        assert_eq!(translation["voiceCloned"], is_cloned);
        let url = translation["audioUrl"].as_str().unwrap();
        let file = session.daemon.folder().join(url.trim_start_matches('/'));
        assert!(
            std::fs::read(file).unwrap() == mp3,
            "{url} is another recording"
        );
    }
}

fn check_history(session: &Session, result: &Value) {
    assert_eq!(result["total"], 2);
    let entries = result["history"].as_array().unwrap();
    let mut rated = entries
        .iter()
        .filter(|e| e["id"] == session.known["translationId"]);
    assert_eq!(
        rated.next().unwrap()["feedbackRating"].as_f64(),
        session.known["rating"].as_f64()
    );
    for entry in entries {
        let languages = entry["targetLanguages"].as_array().unwrap();
        let texts = entry["translatedTexts"].as_object().unwrap();
        assert_eq!(languages.len(), texts.len());
        assert!(
            texts
                .values()
                .all(|text| text.as_str().is_some_and(|text| !text.is_empty()))
        );
    }
}

fn check_profile(session: &mut Session, request: &Value, reply: &Event) {
    let kind = request["type"].as_str().unwrap();
    assert_eq!(
        reply.kind(),
        format!("{kind}_result"),
        "{}",
        reply.text("error")
    );
    assert_eq!(reply.json["request_id"], request["request_id"]);
    assert_eq!(reply.json.get("user_id"), request.get("user_id"));
    assert_eq!(reply.json["success"], true);
    if kind != "voice_profile_analyze" {
        let score = reply.json["similarity_score"].as_f64().unwrap();
        assert_eq!(reply.json["threshold"], 0.8);
        assert_eq!(reply.json["is_match"], score >= 0.8, "{score}");
        return;
    }
    let fingerprint = &reply.json["fingerprint"];
    assert_eq!(reply.json["fingerprint_id"], fingerprint["fingerprint_id"]);
    assert_eq!(
        reply.json["signature_short"],
        fingerprint["signature_short"]
    );
    let (short, long) = (
        fingerprint["signature_short"].as_str(),
        fingerprint["signature"].as_str(),
    );
    assert!(long.unwrap().starts_with(short.unwrap()));
    session.known.insert("fingerprint", fingerprint.clone());
    let previews = reply.json["voice_previews"].as_array().unwrap();
    let languages: Vec<&Value> = previews
        .iter()
        .map(|preview| &preview["language"])
        .collect();
    assert!(!languages.is_empty());
    for preview in previews {
        assert!(
            request["preview_languages"]
                .as_array()
                .unwrap()
                .contains(&preview["language"])
        );
        assert_eq!(preview["audio_format"], "mp3");
        assert_ne!(preview["translated_text"], "");
        assert_ne!(preview["audio_base64"], "");
    }
}
