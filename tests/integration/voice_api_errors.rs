//! Every error code of the voice API, and a way to have it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::models::copied_models;
use crate::support::voice_api::{ask, error_of, recording, request, result_of, submit};
use crate::support::{settings_file, wait_for};

/// All codes of the contract.
const CODES: [&str; 16] = [
    "AUDIO_TOO_LONG",
    "AUDIO_TOO_SHORT",
    "FORBIDDEN",
    "INTERNAL_ERROR",
    "INVALID_REQUEST",
    "LANGUAGE_NOT_SUPPORTED",
    "NOT_FOUND",
    "QUOTA_EXCEEDED",
    "SERVICE_UNAVAILABLE",
    "TIMEOUT",
    "TRANSCRIPTION_FAILED",
    "TRANSLATION_FAILED",
    "TTS_FAILED",
    "UNAUTHORIZED",
    "UNSUPPORTED_FORMAT",
    "VOICE_CLONE_FAILED",
];

/// The environment of a daemon, and codes with what leads to them there.
type Way<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, Failing)]);

/// Prepares the daemon, where that is needed, and gives the request that fails.
type Failing = fn(&mut Gateway) -> Value;

fn translate(_: &mut Gateway) -> Value {
    translation(&["fr"])
}

fn translation(languages: &[&str]) -> Value {
    let wanted = json!({"audioBase64": recording(), "targetLanguages": languages});
    request("voice_translate", "awa", wanted)
}

fn job(languages: &[&str]) -> Value {
    let wanted = json!({"audioBase64": recording(), "targetLanguages": languages});
    request("voice_translate_async", "awa", wanted)
}

fn analyze(_: &mut Gateway) -> Value {
    request("voice_analyze", "awa", json!({"audioBase64": recording()}))
}

fn create_profile(_: &mut Gateway) -> Value {
    let wanted = json!({"audioBase64": recording()});
    request("voice_profile_create", "awa", wanted)
}

fn status_of(user_id: &str, job_id: &str) -> Value {
    request("voice_job_status", user_id, json!({"jobId": job_id}))
}

/// Asks for the job of somebody else.
fn others_job(gateway: &mut Gateway) -> Value {
    let job_id = submit(gateway, &job(&["fr"]));
    status_of("ben", &job_id)
}

/// Asks for a job where one is worked on and another waits.
fn one_too_many(gateway: &mut Gateway) -> Value {
    let first = submit(gateway, &job(&["fr"]));
    wait_for("first job at work", || {
        let status = result_of(gateway, &status_of("awa", &first));
        (status["status"] == "processing").then_some(())
    });
    submit(gateway, &job(&["es"]));
    job(&["de"])
}

fn without_user(_: &mut Gateway) -> Value {
    let mut request = request("voice_history", "awa", json!({}));
    request.as_object_mut().unwrap().remove("userId");
    request
}

#[test]
fn every_error_code_of_the_voice_api_is_had() {
    let impatient = settings_file("[jobs]\ndeadline_secs = 1\n");
    let impatient = impatient.path().to_str().unwrap();
    let ways: &[Way<'_>] = &[
        (
            &[],
            &[
                ("INVALID_REQUEST", |_| translation(&[])),
                ("UNAUTHORIZED", without_user),
                ("NOT_FOUND", |_| status_of("awa", "job_none")),
                ("FORBIDDEN", others_job),
                ("AUDIO_TOO_SHORT", create_profile),
                ("LANGUAGE_NOT_SUPPORTED", |_| translation(&["wo"])),
                ("UNSUPPORTED_FORMAT", |_| {
                    request(
                        "voice_analyze",
                        "awa",
                        json!({"audioBase64": "bm8gYXVkaW8="}),
                    )
                }),
            ],
        ),
        (
            &[("ENABLE_VOICE_API", "false")],
            &[("SERVICE_UNAVAILABLE", translate)],
        ),
        (
            &[("AUDIO_MAX_DURATION_SECS", "3")],
            &[("AUDIO_TOO_LONG", analyze)],
        ),
        (
            &[("TRANSLATOR_FAULT", "measure:panic")],
            &[("INTERNAL_ERROR", analyze)],
        ),
        (
            &[("TRANSLATOR_FAULT", "transcribe:fail")],
            &[("TRANSCRIPTION_FAILED", translate)],
        ),
        (
            &[("TRANSLATOR_FAULT", "translate.fr:fail")],
            &[("TRANSLATION_FAILED", translate)],
        ),
        (
            &[("TRANSLATOR_FAULT", "synthesize:fail")],
            &[("TTS_FAILED", translate)],
        ),
        (
            &[
                ("TRANSLATOR_FAULT", "embed:fail"),
                ("VOICE_MIN_DURATION_MS", "5000"),
            ],
            &[("VOICE_CLONE_FAILED", create_profile)],
        ),
        (
            &[
                ("TRANSLATOR_FAULT", "measure:pause"),
                ("TRANSLATOR_CONFIG", impatient),
            ],
            &[("TIMEOUT", analyze)],
        ),
        (
            &[
                ("TRANSLATOR_FAULT", "transcribe:pause"),
                ("MAX_CONCURRENT_JOBS", "1"),
                ("MAX_QUEUE_SIZE", "1"),
            ],
            &[("QUOTA_EXCEEDED", one_too_many)],
        ),
    ];
    let mut had = BTreeSet::new();
    std::thread::scope(|scope| {
        for (environment, requests) in ways {
            had.extend(requests.iter().map(|(code, _)| *code));
            scope.spawn(move || {
                let daemon = Daemon::start_with(environment);
                let mut gateway = Gateway::connect_subscribed(daemon.ports);
                for (code, failing) in *requests {
                    let request = failing(&mut gateway);
                    let found = error_of(&mut gateway, &request);
                    assert_eq!(found, *code, "{environment:?}");
                }
            });
        }
    });
    assert_eq!(had, BTreeSet::from(CODES));
}

#[test]
fn what_is_switched_off_or_missing_is_said_and_the_rest_goes_on() {
    let models = copied_models();
    std::fs::remove_dir_all(models.path().join("xtts")).unwrap();
    let settings = settings_file("[jobs]\nmodel_wait_secs = 1\n");
    let daemon = Daemon::launch(&[
        ("MODELS_PATH", models.path().to_str().unwrap()),
        ("TRANSLATOR_CONFIG", settings.path().to_str().unwrap()),
    ]);
    daemon.wait_loaded();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let failing = translate(&mut gateway);
    assert_eq!(error_of(&mut gateway, &failing), "SERVICE_UNAVAILABLE");

    let health = result_of(&mut gateway, &request("voice_health", "awa", json!({})));
    assert_eq!(health["status"], "degraded");
    let services = json!({
        "transcription": true, "translation": true, "tts": false, "voiceClone": false,
        "analytics": true, "database": true,
    });
    assert_eq!(health["services"], services);
    let languages = result_of(&mut gateway, &request("voice_languages", "awa", json!({})));
    for language in languages.as_array().unwrap() {
        let features = &language["supportedFeatures"];
        let spoken = (&features["tts"], &features["voiceClone"]);
        assert_eq!(
            spoken,
            (&json!(false), &json!(false)),
            "{}",
            language["code"]
        );
    }
    let metrics = request("voice_admin_metrics", "awa", json!({}));
    let metrics = result_of(&mut gateway, &metrics);
    let mut loaded: Vec<&str> = metrics["modelsLoaded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model.as_str().unwrap())
        .collect();
    loaded.sort_unstable();
    assert_eq!(loaded, ["embed", "transcribe", "translate"]);
    let analysis = analyze(&mut gateway);
    assert!(result_of(&mut gateway, &analysis)["pitch"].is_object());
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_its_error() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let audio = recording();
    for (kind, fields, code) in [
        (
            "voice_translate",
            json!({"audioBase64": audio}),
            "INVALID_REQUEST",
        ),
        (
            "voice_translate",
            json!({"targetLanguages": ["fr"]}),
            "INVALID_REQUEST",
        ),
        (
            "voice_translate",
            json!({"audioBase64": audio, "targetLanguages": ["?", 7]}),
            "LANGUAGE_NOT_SUPPORTED",
        ),
        (
            "voice_translate_async",
            json!({"targetLanguages": ["fr"]}),
            "INVALID_REQUEST",
        ),
        ("voice_job_status", json!({}), "INVALID_REQUEST"),
        ("voice_job_cancel", json!({"jobId": 7}), "INVALID_REQUEST"),
        (
            "voice_job_cancel",
            json!({"jobId": "job_none"}),
            "NOT_FOUND",
        ),
        ("voice_analyze", json!({}), "INVALID_REQUEST"),
        (
            "voice_analyze",
            json!({"audioPath": "none.ogg"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_analyze",
            json!({"audioPath": "../../etc/passwd"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_analyze",
            json!({"audioBase64": "not base64!"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_compare",
            json!({"audioBase64_1": audio}),
            "INVALID_REQUEST",
        ),
        ("voice_feedback", json!({"rating": 3}), "INVALID_REQUEST"),
        (
            "voice_feedback",
            json!({"translationId": "vt_1"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_feedback",
            json!({"translationId": "vt_1", "rating": 5.5}),
            "INVALID_REQUEST",
        ),
        (
            "voice_profile_create",
            json!({"name": "voice"}),
            "INVALID_REQUEST",
        ),
        ("voice_profile_get", json!({}), "NOT_FOUND"),
        (
            "voice_profile_update",
            json!({"name": "voice"}),
            "NOT_FOUND",
        ),
        ("voice_profile_delete", json!({}), "NOT_FOUND"),
        ("voice_unheard_of", json!({}), "INVALID_REQUEST"),
    ] {
        let shown = fields
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>();
        let found = error_of(&mut gateway, &request(kind, "awa", fields));
        assert_eq!(found, code, "{kind} with {shown:?}");
    }
    // Whoever cannot be answered is not.
    let mut nameless = request("voice_health", "awa", json!({}));
    nameless.as_object_mut().unwrap().remove("taskId");
    gateway.send(&nameless, &[]);
    assert!(gateway.rest().is_empty());
    // It goes on.
    let health = ask(&mut gateway, &request("voice_health", "awa", json!({})));
    assert_eq!(health.kind(), "voice_api_success");
}
