//! What a user has had translated: history by pages and dates, figures by period, feedback.

use rusqlite::Connection;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::voice_api::{ask, error_of, recording, request, result_of};

/// Translates a recording whose words are given; gives the translation's name.
fn translate(gateway: &mut Gateway, user_id: &str, text: &str, languages: &[&str]) -> String {
    let wanted = json!({
        "audioBase64": recording(), "targetLanguages": languages, "generateVoiceClone": false,
        "mobileTranscription": {"text": text, "language": "en", "source": "other"},
    });
    let result = result_of(gateway, &request("voice_translate", user_id, wanted));
    result["translationId"].as_str().unwrap().to_owned()
}

fn history(gateway: &mut Gateway, user_id: &str, wanted: Value) -> (Vec<String>, u64) {
    let result = result_of(gateway, &request("voice_history", user_id, wanted));
    let entries = result["history"].as_array().unwrap();
    let ids = entries.iter().map(|entry| entry["id"].as_str().unwrap());
    (
        ids.map(str::to_owned).collect(),
        result["total"].as_u64().unwrap(),
    )
}

fn stats(gateway: &mut Gateway, user_id: &str, period: &str) -> Value {
    let wanted = request("voice_stats", user_id, json!({"period": period}));
    result_of(gateway, &wanted)
}

fn rate(gateway: &mut Gateway, user_id: &str, translation_id: &str, rating: f64) -> Value {
    let wanted = json!({
        "translationId": translation_id, "rating": rating, "feedbackType": "accuracy",
        "comment": "nearly", "metadata": {"app": "web"},
    });
    let feedback = request("voice_feedback", user_id, wanted);
    let result = result_of(gateway, &feedback);
    assert_eq!(result["success"], true);
    feedback
}

/// Makes a translation, and what was said about it, older.
fn age(daemon: &Daemon, translation_id: &str, days: i64) {
    let ledger = daemon.folder().join("data/ledger.sqlite3");
    let ledger = Connection::open(ledger).unwrap();
    let ms = days * 86_400_000;
    let changed = ledger.execute(
        "UPDATE voice_translations SET created_at_ms = created_at_ms - ?1 WHERE id = ?2",
        (ms, translation_id),
    );
    assert_eq!(changed.unwrap(), 1);
    let feedback = "UPDATE voice_feedback SET created_at_ms = created_at_ms - ?1
                    WHERE translation_id = ?2";
    ledger.execute(feedback, (ms, translation_id)).unwrap();
}

fn days_ago(days: i64) -> String {
    let at = OffsetDateTime::now_utc() - Duration::days(days);
    at.format(&Rfc3339).unwrap()
}

#[test]
fn history_and_figures_are_the_users_own_by_page_date_and_period() {
    let mut daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let texts = ["Hello my friend.", "How are you?", "The book is good."];
    let languages: [&[&str]; 3] = [&["fr"], &["es", "de"], &["it"]];
    let ids: Vec<String> = texts
        .iter()
        .zip(languages)
        .map(|(text, languages)| translate(&mut gateway, "awa", text, languages))
        .collect();
    translate(&mut gateway, "ben", "Hello.", &["fr"]);
    let feedback = rate(&mut gateway, "awa", &ids[0], 2.0);
    rate(&mut gateway, "awa", &ids[1], 4.5);
    // The first is 40 days old, the second 3, the third is of today.
    assert_eq!(daemon.terminate().code(), Some(0));
    age(&daemon, &ids[0], 40);
    age(&daemon, &ids[1], 3);
    daemon.restart();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);

    let newest_first = [&ids[2], &ids[1], &ids[0]].map(Clone::clone);
    for (wanted, expected, total) in [
        (json!({}), &newest_first[..], 3),
        (json!({"limit": 2}), &newest_first[..2], 3),
        (json!({"limit": 2, "offset": 2}), &newest_first[2..], 3),
        (json!({"offset": 3}), &[], 3),
        // Out of bounds: the nearest that is possible.
        (json!({"limit": 0}), &newest_first[..1], 3),
        (json!({"limit": 100_000}), &newest_first, 3),
        (json!({"startDate": days_ago(5)}), &newest_first[..2], 2),
        (json!({"endDate": days_ago(1)}), &newest_first[1..], 2),
        (
            json!({"startDate": days_ago(5), "endDate": days_ago(1)}),
            &newest_first[1..2],
            1,
        ),
        (json!({"startDate": days_ago(-1)}), &[], 0),
        // What is no date is none.
        (
            json!({"startDate": "yesterday", "endDate": 7}),
            &newest_first,
            3,
        ),
    ] {
        let found = history(&mut gateway, "awa", wanted.clone());
        assert_eq!(found, (expected.to_vec(), total), "{wanted}");
    }
    assert_eq!(history(&mut gateway, "ben", json!({})).1, 1);
    assert_eq!(history(&mut gateway, "cem", json!({})), (Vec::new(), 0));

    let result = result_of(&mut gateway, &request("voice_history", "awa", json!({})));
    let entry = &result["history"][1];
    for (key, expected) in [
        ("userId", json!("awa")),
        ("sourceLanguage", json!("en")),
        ("originalText", json!(texts[1])),
        ("audioGenerated", json!(true)),
        ("voiceCloned", json!(false)),
        ("feedbackRating", json!(4.5)),
    ] {
        assert_eq!(entry[key], expected, "{key}");
    }
    let texts = entry["translatedTexts"].as_object().unwrap();
    let mut translated: Vec<&str> = texts.keys().map(String::as_str).collect();
    translated.sort_unstable();
    assert_eq!(translated, ["de", "es"]);
    assert_eq!(result["history"][0].get("feedbackRating"), None);

    for (period, translations, languages, feedback, days) in [
        ("day", 1, json!(["it"]), 0, 1),
        ("week", 2, json!(["de", "es", "it"]), 1, 7),
        ("month", 2, json!(["de", "es", "it"]), 1, 30),
        ("all", 3, json!(["de", "es", "fr", "it"]), 2, 0),
        ("decade", 3, json!(["de", "es", "fr", "it"]), 2, 0),
    ] {
        let stats = stats(&mut gateway, "awa", period);
        assert_eq!(stats["totalTranslations"], translations, "{period}");
        assert_eq!(stats["languagesUsed"], languages, "{period}");
        assert_eq!(stats["feedbackCount"], feedback, "{period}");
        assert_eq!(stats["profileCount"], 0, "{period}");
        // Recordings of six seconds.
        let minutes = stats["totalAudioMinutes"].as_f64().unwrap();
        assert!(
            (minutes - 0.1 * f64::from(translations)).abs() < 1e-6,
            "{minutes}"
        );
        let rating = [Value::Null, json!(4.5), json!(3.25)][feedback].clone();
        assert_eq!(stats["averageFeedbackRating"], rating, "{period}");
        let time =
            |key: &str| OffsetDateTime::parse(stats[key].as_str().unwrap(), &Rfc3339).unwrap();
        if days > 0 {
            assert_eq!(
                time("periodEnd") - time("periodStart"),
                Duration::days(days)
            );
        }
    }

    // A later opinion counts, a repeated one once, and another user's not at all; what is said of
    // the translation of a voice message, which is in nobody's history, is kept.
    rate(&mut gateway, "awa", &ids[1], 1.0);
    let others = json!({"translationId": ids[2], "rating": 5});
    let others = request("voice_feedback", "ben", others);
    assert_eq!(error_of(&mut gateway, &others), "FORBIDDEN");
    rate(&mut gateway, "ben", "of-a-voice-message", 5.0);
    assert_eq!(ask(&mut gateway, &feedback).kind(), "voice_api_success");
    let result = result_of(&mut gateway, &request("voice_history", "awa", json!({})));
    assert_eq!(result["history"][1]["feedbackRating"], 1.0);
    assert_eq!(result["history"][0].get("feedbackRating"), None);
    assert_eq!(stats(&mut gateway, "awa", "all")["feedbackCount"], 3);
    assert_eq!(stats(&mut gateway, "ben", "all")["feedbackCount"], 1);
}

#[test]
fn the_figures_of_the_daemon_count_what_was_done() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    translate(&mut gateway, "awa", "Hello.", &["fr"]);
    let noise = json!({"audioBase64": "bm8gYXVkaW8=", "targetLanguages": ["fr"]});
    ask(&mut gateway, &request("voice_translate", "awa", noise));
    let metrics = request("voice_admin_metrics", "awa", json!({}));
    let metrics = result_of(&mut gateway, &metrics);
    for (key, expected) in [
        ("activeJobs", 0),
        ("queuedJobs", 0),
        ("completedToday", 1),
        ("failedToday", 1),
    ] {
        assert_eq!(metrics[key], expected, "{key}");
    }
    assert!(metrics["averageProcessingTimeMs"].as_u64().unwrap() > 0);
    assert!(metrics["memoryUsageMb"].as_f64().unwrap() > 1.0);
    let cpu = metrics["cpuUsage"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&cpu), "{cpu}");
    let health = result_of(&mut gateway, &request("voice_health", "awa", json!({})));
    assert!(health["latency"]["ttsMs"].as_u64().unwrap() > 0);
    assert_eq!(health["latency"]["transcriptionMs"], 0, "nothing was heard");
}
