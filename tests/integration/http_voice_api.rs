//! The voice API over HTTP, under `/api/v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::forms::{self, Form, job_when, uploads};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, ask, get, post};
use crate::support::voice_api::{self, recording};
use crate::support::{recordings, wait_for};

const API: &str = "/api/v1";

fn path(route: &str) -> String {
    format!("{API}/{route}")
}

/// What comes back as it should.
fn good(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn translate(daemon: &Daemon, user_id: &str) -> Value {
    let body = json!({
        "audio_base64": recording(), "target_languages": ["fr", "es"], "user_id": user_id,
    });
    good(post(daemon, &path("voice/translate"), &body))
}

fn history(daemon: &Daemon, query: &str) -> Value {
    good(get(daemon, &path(&format!("voice/history?{query}"))))
}

/// A translation that becomes a job.
fn accepted(daemon: &Daemon, more: &Value) -> String {
    let mut body = json!({
        "audio_base64": recording(), "target_languages": ["fr"], "user_id": "awa",
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = post(daemon, &path("voice/translate/async"), &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body["status"], "pending");
    let id = answer.body["job_id"].as_str().unwrap();
    assert_eq!(
        answer.header("location"),
        path(&format!("voice/job/{id}")),
        "{answer:?}"
    );
    id.to_owned()
}

fn job(daemon: &Daemon, id: &str) -> Value {
    good(get(daemon, &path(&format!("voice/job/{id}"))))
}

fn ended(daemon: &Daemon, id: &str) -> Value {
    wait_for("the end of the job", || {
        let job = job(daemon, id);
        let is_open = job["status"] == "pending" || job["status"] == "processing";
        (!is_open).then_some(job)
    })
}

#[test]
fn a_recording_is_translated_remembered_and_rated() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let translated = translate(&daemon, "awa");
    assert_eq!(translated["success"], true);
    assert_eq!(translated["original_language"], "en");
    let words = translated["original_text"].as_str().unwrap();
    assert!(words.contains("hello"), "{words}");
    assert_eq!(translated["voice_cloned"], true);
    assert!(translated["voice_quality"].as_f64().unwrap() > 0.0);
    assert!(translated["processing_time_ms"].is_u64());
    let languages: Vec<&String> = translated["translations"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(languages, ["es", "fr"]);
    let french = &translated["translations"]["fr"];
    assert!(
        french["translated_text"]
            .as_str()
            .unwrap()
            .contains("bonjour")
    );
    let speech = STANDARD
        .decode(french["audio_base64"].as_str().unwrap())
        .unwrap();
    let file = forms::get(&daemon, french["audio_url"].as_str().unwrap());
    assert!(file.body == speech, "the file has another speech");

    // The same as a file, for nobody in particular.
    let form = Form::of(&[("target_languages", "fr,es")]).file("audio", &recordings::bundled());
    let of_form = forms::post(&daemon, &path("voice/translate/audio"), &form);
    assert_eq!(of_form.status, 200, "{}", of_form.text());
    assert_eq!(of_form.json()["original_text"], translated["original_text"]);
    assert_eq!(of_form.json()["voice_cloned"], false);

    let past = history(&daemon, "user_id=awa");
    assert_eq!(past["total"], 1);
    let entry = &past["history"][0];
    assert_eq!(entry["id"], translated["translation_id"]);
    assert_eq!(entry["original_text"], translated["original_text"]);
    assert_eq!(
        entry["translated_texts"]["fr"], french["translated_text"],
        "{entry}"
    );
    assert_eq!(entry["feedback_rating"], Value::Null);
    for (query, found) in [
        ("user_id=ben", 0),
        ("user_id=awa&offset=1", 0),
        ("user_id=awa&end_date=2020-01-01T00:00:00Z", 0),
        ("user_id=awa&start_date=2020-01-01T00:00:00Z&limit=1", 1),
    ] {
        let part = history(&daemon, query);
        assert_eq!(part["history"].as_array().unwrap().len(), found, "{query}");
    }

    let feedback = |user_id: &str| {
        let body = json!({
            "user_id": user_id, "translation_id": translated["translation_id"], "rating": 4.5,
            "feedback_type": "accuracy", "comment": "Good.", "metadata": {"screen": 7},
        });
        post(&daemon, &path("voice/feedback"), &body)
    };
    let others = feedback("ben");
    assert_eq!(others.status, 403, "{others:?}");
    assert!(others.detail().contains("another user"), "{others:?}");
    let kept = good(feedback("awa"));
    assert_eq!(kept["success"], true);
    assert!(kept["feedback_id"].as_str().unwrap().starts_with("fb_"));
    let rated = history(&daemon, "user_id=awa");
    assert_eq!(rated["history"][0]["feedback_rating"], 4.5);
    let stats = good(get(&daemon, &path("voice/stats?user_id=awa&period=day")));
    assert_eq!(stats["total_translations"], 1);
    assert_eq!(stats["average_feedback_rating"], 4.5);
    assert_eq!(stats["languages_used"], json!(["es", "fr"]));

    // The gateway asks about the same, and has heard of none of it.
    let wanted = voice_api::request("voice_history", "awa", json!({}));
    let of_gateway = voice_api::result_of(&mut gateway, &wanted);
    assert_eq!(of_gateway["history"][0]["id"], translated["translation_id"]);
    assert_eq!(uploads(&daemon), 0);
}

#[test]
fn who_only_asks_leaves_no_job() {
    let daemon = Daemon::start();
    for route in [
        "voice/history?user_id=awa",
        "voice/stats?user_id=awa",
        "voice/languages",
        "health",
    ] {
        good(get(&daemon, &path(route)));
    }
    assert_eq!(get(&daemon, &path("voice/profile?user_id=awa")).status, 404);
    assert_eq!(daemon.get_json("/jobs")["total"], 0);
    let health = daemon.get_json(&path("health"));
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["services"]["voice_clone"], true);
    assert!(health["latency"]["tts_ms"].is_u64());
}

#[test]
fn a_job_is_followed_and_goes_on_after_a_kill() {
    let mut daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let more = json!({"priority": 0, "callback_metadata": {"for": "the caller"}});
    let id = accepted(&daemon, &more);
    let running = wait_for("the speech", || {
        let job = job(&daemon, &id);
        (job["current_step"] == "synthesize").then_some(job)
    });
    assert_eq!(running["status"], "processing");
    assert!(running["progress"].as_u64().unwrap() > 0);
    assert_eq!(
        (&running["result"], &running["error"]),
        (&json!(null), &json!(null))
    );
    let lanes = daemon.get_json("/queues")["lanes"].clone();
    let low = lanes.as_array().unwrap().iter();
    let low = low.clone().find(|lane| lane["lane"] == "audio_low");
    assert_eq!(low.unwrap()["running"], 1);
    daemon.kill();
    daemon.restart_with(&[]);
    let completed = ended(&daemon, &id);
    assert_eq!(completed["status"], "completed", "{completed}");
    assert_eq!(completed["progress"], 100);
    let french = &completed["result"]["translations"]["fr"];
    assert!(french["audio_base64"].is_string());
    let times = ["created_at", "started_at", "completed_at"];
    let times = times.map(|name| completed[name].as_str().unwrap().to_owned());
    assert!(times.is_sorted(), "{times:?}");
    // It is a job like others.
    let same = daemon.get_json(&format!("/jobs/{id}"));
    assert_eq!(same["result"], completed["result"]);
    assert_eq!(history(&daemon, "user_id=awa")["total"], 1);
    let late = ask(
        &daemon,
        "DELETE",
        &path(&format!("voice/job/{id}")),
        &[],
        &[],
    );
    assert_eq!(late.status, 409, "{late:?}");
}

#[test]
fn a_job_is_cancelled_and_only_translations_are_shown() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:pause")]);
    let id = accepted(&daemon, &json!({}));
    let cancelled = ask(
        &daemon,
        "DELETE",
        &path(&format!("voice/job/{id}")),
        &[],
        &[],
    );
    let cancelled = good(cancelled);
    assert_eq!(cancelled["status"], "cancelled");
    assert!(cancelled["error"].is_string());

    // Who leaves cancels too, and who prefers the job gets that.
    let body = json!({"audio_base64": recording(), "target_languages": ["fr"]}).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("prefer", "respond-async"),
    ];
    let route = path("voice/translate");
    let preferred = ask(&daemon, "POST", &route, &headers, body.as_bytes());
    assert_eq!(preferred.status, 202, "{preferred:?}");
    let preferred = preferred.body["id"].as_str().unwrap();
    job_when(&daemon, preferred, "speech", |job| {
        job["stage"] == "synthesize"
    });
    assert_eq!(job(&daemon, preferred)["status"], "processing");

    let form = Form::default().file("audio", &recordings::bundled());
    let other = forms::post_async(&daemon, "/audio/transcribe", &form).json();
    let other = other["id"].as_str().unwrap();
    for id in [other, "1", "nothing"] {
        for method in ["GET", "DELETE"] {
            let answer = ask(&daemon, method, &path(&format!("voice/job/{id}")), &[], &[]);
            assert_eq!(answer.status, 404, "{method} {id}");
        }
    }
}

#[test]
fn a_job_that_fails_says_why() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize:fail")]);
    let id = accepted(&daemon, &json!({}));
    let failed = ended(&daemon, &id);
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["result"], Value::Null);
    let body = json!({"audio_base64": recording(), "target_languages": ["fr"]});
    let waited = post(&daemon, &path("voice/translate"), &body);
    assert_eq!(
        (waited.status, waited.detail()),
        (500, failed["error"].as_str().unwrap())
    );
}

#[test]
fn a_voice_is_made_improved_and_forgotten() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "5000")]);
    let profile = path("voice/profile?user_id=awa");
    let missing = get(&daemon, &profile);
    assert_eq!(missing.status, 404, "{missing:?}");
    let sample = Form::of(&[("user_id", "awa"), ("name", "Mine")]);
    let sample = sample.file("audio", &recordings::bundled());
    let too_early = forms::post(&daemon, &path("voice/profile/sample"), &sample);
    assert_eq!(too_early.status, 404, "{}", too_early.text());

    let body = json!({
        "user_id": "awa", "audio_base64": recording(), "name": "My voice", "metadata": {"a": 1},
    });
    let created = good(post(&daemon, &path("voice/profile"), &body));
    assert_eq!(created["user_id"], "awa");
    assert_eq!(created["name"], "My voice");
    assert_eq!(created["sample_count"], 1);
    assert_eq!(created["metadata"], json!({"a": 1}));
    let pitch = &created["voice_characteristics"]["pitch"]["mean_hz"];
    assert!(pitch.is_number(), "{created}");
    assert_eq!(good(get(&daemon, &profile)), created);
    let id = created["id"].as_str().unwrap();
    let named = good(get(&daemon, &format!("{profile}&profile_id={id}")));
    assert_eq!(named, created);
    let other = get(&daemon, &format!("{profile}&profile_id=vp_other"));
    assert_eq!(other.status, 404);

    let improved = forms::post(&daemon, &path("voice/profile/sample"), &sample);
    assert_eq!(improved.status, 200, "{}", improved.text());
    let improved = improved.json();
    assert_eq!(
        (&improved["name"], &improved["sample_count"]),
        (&json!("Mine"), &json!(2))
    );
    assert_eq!(improved["metadata"], json!({"a": 1}));

    let others = ask(
        &daemon,
        "DELETE",
        &path("voice/profile?user_id=ben"),
        &[],
        &[],
    );
    assert_eq!(others.status, 404, "{others:?}");
    let deleted = good(ask(&daemon, "DELETE", &profile, &[], &[]));
    assert_eq!(deleted, json!({"success": true, "profile_id": id}));
    assert_eq!(get(&daemon, &profile).status, 404);
}

#[test]
fn voices_are_measured_and_compared() {
    let daemon = Daemon::start();
    let body = json!({"audio_base64": recording()});
    let measures = good(post(&daemon, &path("voice/analyze"), &body));
    assert_eq!(measures["metadata"]["duration_seconds"], 6.0);
    assert!(measures["pitch"]["mean_hz"].as_f64().unwrap() > 0.0);
    assert_eq!(measures["mfcc"]["mean"].as_array().unwrap().len(), 13);

    let second = STANDARD.encode(recordings::second_speaker());
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    for (other, is_same) in [(&recording(), true), (&second, false)] {
        let body = json!({"audio_base64_1": recording(), "audio_base64_2": other});
        let likeness = good(post(&daemon, &path("voice/compare"), &body));
        assert_eq!(likeness["is_likely_same_speaker"], is_same, "{likeness}");
        let wanted = json!({"audioBase64_1": recording(), "audioBase64_2": other});
        let wanted = voice_api::request("voice_compare", "awa", wanted);
        let of_gateway = voice_api::result_of(&mut gateway, &wanted);
        assert_eq!(likeness["overall_score"], of_gateway["overall_score"]);
        assert_eq!(likeness["components"], of_gateway["components"]);
    }
    let half = json!({"audio_base64_1": recording()});
    assert_eq!(post(&daemon, &path("voice/compare"), &half).status, 400);
}

#[test]
fn what_is_wrong_is_told_and_leaves_nothing_behind() {
    let daemon = Daemon::start_with(&[("AUDIO_MAX_SIZE_MB", "1")]);
    let audio = recording();
    let long_id = "x".repeat(513);
    let too_large = STANDARD.encode(vec![0; 1 << 20 | 1]);
    let large_object = json!({"text": "x".repeat(4096)});
    let nested = (0..40).fold(json!({}), |inner, _| json!({"in": inner}));
    let many: Vec<String> = (0..201).map(|_| "fr".to_owned()).collect();
    let translate = |more: Value| {
        let mut body = json!({"audio_base64": audio, "target_languages": ["fr"]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        ("voice/translate/async", body)
    };
    let feedback = |rating: Value| {
        let body = json!({"user_id": "awa", "translation_id": "vt_1", "rating": rating});
        ("voice/feedback", body)
    };
    for ((route, body), status) in [
        (translate(json!({"audio_base64": null})), 400),
        (translate(json!({"audio_base64": ""})), 400),
        (translate(json!({"audio_base64": 7})), 400),
        (translate(json!({"audio_base64": "no base64!"})), 400),
        (translate(json!({"audio_base64": too_large})), 413),
        (translate(json!({"target_languages": null})), 422),
        (translate(json!({"target_languages": []})), 422),
        (translate(json!({"target_languages": ["??"]})), 422),
        (translate(json!({"target_languages": {"fr": 1}})), 422),
        (translate(json!({"target_languages": many})), 422),
        (translate(json!({"source_language": "??"})), 422),
        (translate(json!({"generate_voice_clone": "maybe"})), 422),
        (translate(json!({"priority": 4})), 422),
        (translate(json!({"priority": "soon"})), 422),
        (translate(json!({"callback_metadata": large_object})), 422),
        (translate(json!({"callback_metadata": [1]})), 422),
        (translate(json!({"callback_metadata": nested})), 422),
        (translate(json!({"user_id": long_id})), 400),
        (translate(json!({"user_id": {}})), 422),
        (translate(json!({"user_id": false})), 422),
        (
            translate(json!({"generate_voice_clone": {"on": false}})),
            422,
        ),
        (translate(json!({"priority": [0]})), 422),
        (translate(json!({"webhook_url": "x".repeat(1 << 20)})), 413),
        (("voice/profile", json!({"audio_base64": audio})), 422),
        (("voice/profile", json!({"user_id": "awa"})), 400),
        (("voice/analyze", json!({})), 400),
        (("voice/analyze", json!([audio])), 422),
        (
            (
                "voice/analyze",
                json!({"audio_base64": audio, "user_id": [7]}),
            ),
            422,
        ),
        (("voice/analyze", json!("text")), 422),
        (feedback(json!(5.5)), 422),
        (feedback(json!(null)), 422),
        (feedback(json!("good")), 422),
        (feedback(json!("")), 422),
        (("voice/feedback", json!({"rating": 3})), 422),
    ] {
        let answer = post(&daemon, &path(route), &body);
        assert_eq!(answer.status, status, "{route} {:?}", answer.body);
        if status == 422 {
            assert!(answer.problems()[0].starts_with("body"), "{answer:?}");
        } else {
            assert!(!answer.detail().is_empty(), "{answer:?}");
        }
    }
    let (_, nothing) = translate(json!({"target_languages": null, "priority": 9}));
    let answer = post(&daemon, &path("voice/translate/async"), &nothing);
    assert_eq!(
        answer.problems(),
        ["body.target_languages: missing", "body.priority: number"]
    );
    // What cannot be decoded is found by the job.
    let noise = json!({"audio_base64": STANDARD.encode("no recording")});
    assert_eq!(post(&daemon, &path("voice/analyze"), &noise).status, 415);

    for (kind, body, status) in [
        ("text/plain", "{}".to_owned(), 415),
        ("application/json", "{".to_owned(), 422),
        (
            "application/json",
            format!("{{{}}}", vec!["\"a\":1"; 129].join(",")),
            413,
        ),
        ("application/json", " ".repeat(16 << 20 | 1), 413),
    ] {
        let headers = [("content-type", kind)];
        let route = path("voice/analyze");
        let answer = ask(&daemon, "POST", &route, &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for route in [
        "voice/history",
        "voice/history?user_id=",
        "voice/history?user_id=awa&limit=many",
        "voice/history?user_id=awa&start_date=yesterday",
        "voice/stats?user_id=awa&period=century",
        "voice/stats",
        "voice/profile",
        &format!("voice/profile?user_id={long_id}"),
    ] {
        let answer = get(&daemon, &path(route));
        assert_eq!(answer.status, 400, "{route} {answer:?}");
        assert!(!answer.detail().is_empty(), "{route}");
    }
    assert_eq!(uploads(&daemon), 0);
    // Only the noise was worth a job.
    assert_eq!(daemon.get_json("/jobs")["total"], 1);
}

#[test]
fn what_cannot_be_done_now_is_refused() {
    let wanted = [
        ("voice/translate", "audio_base64"),
        ("voice/translate/async", "audio_base64"),
        ("voice/profile", "audio_base64"),
        ("voice/analyze", "audio_base64"),
    ];
    let body = json!({
        "audio_base64": recording(), "target_languages": ["fr"], "user_id": "awa",
    });
    let off = Daemon::start_with(&[("ENABLE_VOICE_API", "false")]);
    for (route, _) in wanted {
        let answer = post(&off, &path(route), &body);
        assert_eq!(answer.status, 503, "{route}");
        assert!(answer.detail().contains("voice API is switched off"));
    }
    for route in [
        "voice/profile?user_id=a",
        "voice/history?user_id=a",
        "voice/stats?user_id=a",
        "voice/job/a",
        "health",
    ] {
        assert_eq!(get(&off, &path(route)).status, 503, "{route}");
    }
    let silent = Daemon::start_with(&[("ENABLE_AUDIO_SERVICES", "false")]);
    for (route, _) in wanted {
        assert_eq!(post(&silent, &path(route), &body).status, 503, "{route}");
    }
    good(get(&silent, &path("voice/history?user_id=awa")));

    let models = tempfile::tempdir().unwrap();
    let bare = Daemon::launch(&[("MODELS_PATH", models.path().to_str().unwrap())]);
    bare.wait_loaded();
    for (route, _) in &wanted[..3] {
        let answer = post(&bare, &path(route), &body);
        assert_eq!(
            (answer.status, answer.detail()),
            (503, "Models are not loaded"),
            "{route}"
        );
    }
    // What takes no model is done.
    good(post(&bare, &path("voice/analyze"), &body));
    let health = good(get(&bare, &path("health")));
    assert_eq!(health["services"]["transcription"], false);

    let full = Daemon::start_with(&[
        ("TRANSLATOR_FAULT", "decode:pause"),
        ("MAX_CONCURRENT_JOBS", "1"),
        ("MAX_QUEUE_SIZE", "2"),
    ]);
    let first = accepted(&full, &json!({}));
    job_when(&full, &first, "work", |job| job["status"] == "running");
    accepted(&full, &json!({}));
    let refused = post(&full, &path("voice/translate/async"), &body);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(uploads(&full), 0);
}

#[test]
fn operators_see_how_busy_the_daemon_is() {
    const TOKEN: &str = "0123456789abcdef-of-operators";
    let daemon = Daemon::start_with(&[("TRANSLATOR_ADMIN_TOKEN", TOKEN)]);
    translate(&daemon, "awa");
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*authorization)];
    let metrics = good(ask(&daemon, "GET", &path("admin/metrics"), &headers, &[]));
    // The day may have ended since.
    assert!(metrics["completed_today"].as_u64().unwrap() <= 1);
    assert_eq!(metrics["failed_today"], 0);
    assert!(metrics["memory_usage_mb"].as_f64().unwrap() > 0.0);
    let loaded = metrics["models_loaded"].as_array().unwrap();
    assert!(loaded.contains(&json!("transcribe")), "{metrics}");
    let queue = good(ask(&daemon, "GET", &path("admin/queue"), &headers, &[]));
    assert_eq!(
        (&queue["waiting"], &queue["running"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(queue["lanes"].as_array().unwrap().len(), 7);
    for route in ["admin/metrics", "admin/queue"] {
        assert_eq!(get(&daemon, &path(route)).status, 401, "{route}");
    }
}
