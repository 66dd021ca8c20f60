//! The voice API: translations in the reply and as jobs, and what a user can ask about them.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::voice_api::{ask, check_shape, error_of, recording, request, result_of};

#[test]
fn a_translation_comes_with_its_speech_in_the_reply() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({"audioBase64": recording(), "targetLanguages": ["fr", "es", "en"]});
    let translate = request("voice_translate", "awa", wanted);
    let result = result_of(&mut gateway, &translate);
    let languages: Vec<_> = result["translations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|translation| translation["targetLanguage"].as_str().unwrap())
        .collect();
    assert_eq!(languages, ["fr", "es"]);
    assert_eq!(result["voiceProfile"]["isNew"], true);

    let history = result_of(&mut gateway, &request("voice_history", "awa", json!({})));
    assert_eq!(history["total"], 1);
    assert_eq!(history["history"][0]["id"], result["translationId"]);

    // A repeat is answered again, and nothing is done twice.
    let again = ask(&mut gateway, &translate);
    assert!(
        again.json["result"] == result,
        "the repeat has another result"
    );
    let stats = result_of(
        &mut gateway,
        &request("voice_stats", "awa", json!({"period": "day"})),
    );
    assert_eq!(stats["totalTranslations"], 1);
}

#[test]
fn a_job_is_accepted_at_once_and_ends_with_its_event() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({
        "audioBase64": recording(), "targetLanguages": ["fr"], "callbackMetadata": {"k": 1},
    });
    let accepted = result_of(
        &mut gateway,
        &request("voice_translate_async", "awa", wanted),
    );
    let job_id = accepted["jobId"].as_str().unwrap().to_owned();
    assert_eq!(accepted["status"], "pending");
    let events = gateway.events_until("end of the job", |event| {
        event.kind() == "voice_translation_completed" && event.text("jobId") == job_id
    });
    events.iter().for_each(check_shape);
    let completed = &events.last().unwrap().json;
    assert_eq!(completed["callbackMetadata"], json!({"k": 1}));

    let status = |user: &str| request("voice_job_status", user, json!({"jobId": job_id}));
    let result = result_of(&mut gateway, &status("awa"));
    assert_eq!(
        (&result["status"], &result["progress"]),
        (&json!("completed"), &json!(100))
    );
    assert!(result["result"] == completed["result"], "another result");
    assert_eq!(error_of(&mut gateway, &status("somebody")), "FORBIDDEN");
    let unknown = request("voice_job_status", "awa", json!({"jobId": "job_none"}));
    assert_eq!(error_of(&mut gateway, &unknown), "NOT_FOUND");
    let late = request("voice_job_cancel", "awa", json!({"jobId": job_id}));
    assert_eq!(result_of(&mut gateway, &late)["success"], false);
}

#[test]
fn a_voice_is_registered_named_improved_and_deleted() {
    let daemon = Daemon::start_with(&[("VOICE_MIN_DURATION_MS", "5000")]);
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let get = || request("voice_profile_get", "awa", json!({}));
    assert_eq!(error_of(&mut gateway, &get()), "NOT_FOUND");

    let create = json!({"audioBase64": recording(), "name": "My voice", "metadata": {"a": 1}});
    let created = result_of(
        &mut gateway,
        &request("voice_profile_create", "awa", create),
    );
    assert_eq!(created["name"], "My voice");
    assert_eq!(
        (&created["sampleCount"], &created["metadata"]),
        (&json!(1), &json!({"a": 1}))
    );
    assert!(created["voiceCharacteristics"]["pitch"]["mean_hz"].is_number());
    assert_eq!(result_of(&mut gateway, &get()), created);

    let id = &created["id"];
    let renamed = request(
        "voice_profile_update",
        "awa",
        json!({"profileId": id, "name": "Mine"}),
    );
    assert_eq!(result_of(&mut gateway, &renamed)["name"], "Mine");
    let improve = json!({"profileId": id, "audioBase64": recording()});
    let improved = result_of(
        &mut gateway,
        &request("voice_profile_update", "awa", improve),
    );
    assert_eq!(
        (&improved["sampleCount"], &improved["name"]),
        (&json!(2), &json!("Mine"))
    );

    let other = request("voice_profile_get", "awa", json!({"profileId": "vp_other"}));
    assert_eq!(error_of(&mut gateway, &other), "NOT_FOUND");
    let list = |user: &str| request("voice_profile_list", user, json!({}));
    assert_eq!(result_of(&mut gateway, &list("awa"))["total"], 1);
    assert_eq!(result_of(&mut gateway, &list("ben"))["profiles"], json!([]));

    let delete = request("voice_profile_delete", "awa", json!({"profileId": id}));
    assert_eq!(result_of(&mut gateway, &delete)["success"], true);
    assert_eq!(error_of(&mut gateway, &get()), "NOT_FOUND");
}
