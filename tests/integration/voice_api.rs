//! The voice API: translations in the reply and as jobs, and what a user can ask about them.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::voice_api::{ask, error_of, recording, request, result_of};
use crate::support::voices::{clone_actions, voice_folder};

const STAGES: &str = "translator_stage_duration_seconds_count";

#[test]
fn a_translation_comes_with_its_speech_in_the_reply() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let wanted = json!({"audioBase64": recording(), "targetLanguages": ["fr", "es", "en"]});
    let translate = request("voice_translate", "awa", wanted);
    // A repeat of what is being done is answered with it.
    gateway.send(&translate, &[]);
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

fn translate(gateway: &mut Gateway, user_id: &str) -> Value {
    let wanted = json!({"audioBase64": recording(), "targetLanguages": ["fr"]});
    result_of(gateway, &request("voice_translate", user_id, wanted))
}

#[test]
fn a_deleted_voice_leaves_nothing_behind() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let ask = |gateway: &mut Gateway, kind: &str, user: &str| {
        result_of(gateway, &request(kind, user, json!({})))
    };
    let translated = translate(&mut gateway, "awa");
    let others = translate(&mut gateway, "ben");
    let feedback = json!({"translationId": translated["translationId"], "rating": 3});
    result_of(&mut gateway, &request("voice_feedback", "awa", feedback));
    let speech = |translated: &Value| {
        let url = translated["translations"][0]["audioUrl"].as_str().unwrap();
        daemon.folder().join(url.trim_start_matches('/'))
    };
    assert!(speech(&translated).exists() && speech(&others).exists());
    assert!(voice_folder(&daemon, "awa").exists());
    let heard = daemon.metric(STAGES, &["stage=\"transcribe\""]);

    // Not the profile of that user.
    let wrong = request(
        "voice_profile_delete",
        "awa",
        json!({"profileId": "vp_other"}),
    );
    assert_eq!(error_of(&mut gateway, &wrong), "NOT_FOUND");
    assert!(voice_folder(&daemon, "awa").exists());

    let profile = ask(&mut gateway, "voice_profile_get", "awa");
    let delete = request(
        "voice_profile_delete",
        "awa",
        json!({"profileId": profile["id"]}),
    );
    let deleted = result_of(&mut gateway, &delete);
    assert_eq!(
        deleted,
        json!({"success": true, "profileId": profile["id"]})
    );
    // A repeat is answered alike.
    assert_eq!(result_of(&mut gateway, &delete), deleted);

    assert!(!voice_folder(&daemon, "awa").exists());
    assert!(!speech(&translated).exists(), "the speech is kept");
    let get = request("voice_profile_get", "awa", json!({}));
    assert_eq!(error_of(&mut gateway, &get), "NOT_FOUND");
    assert_eq!(ask(&mut gateway, "voice_history", "awa")["total"], 0);
    let stats = ask(&mut gateway, "voice_stats", "awa");
    assert_eq!(
        (&stats["feedbackCount"], &stats["profileCount"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(clone_actions(&daemon, "awa").last().unwrap(), "deleted");

    // Others keep theirs.
    assert!(voice_folder(&daemon, "ben").exists() && speech(&others).exists());
    assert_eq!(ask(&mut gateway, "voice_history", "ben")["total"], 1);

    // Nothing that was kept of the user is used when the same recording comes again.
    let again = translate(&mut gateway, "awa");
    assert_eq!(again["voiceProfile"]["isNew"], true);
    let heard_again = daemon.metric(STAGES, &["stage=\"transcribe\""]) - heard;
    assert_eq!(heard_again, 1.0);
}
