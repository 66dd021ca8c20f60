//! What is measured in a voice, and whether two voices are one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::recordings::second_speaker;
use crate::support::voice_api::{recording, request, result_of};

fn compare(gateway: &mut Gateway, first: &str, second: &str) -> Value {
    let wanted = json!({"audioBase64_1": first, "audioBase64_2": second});
    result_of(gateway, &request("voice_compare", "awa", wanted))
}

#[test]
fn voices_are_measured_and_compared() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect_subscribed(daemon.ports);
    let other = STANDARD.encode(second_speaker());

    let wanted = request("voice_analyze", "awa", json!({"audioBase64": recording()}));
    let measures = result_of(&mut gateway, &wanted);
    let pitch = |key: &str| measures["pitch"][key].as_f64().unwrap();
    let (least, mean, most) = (pitch("min_hz"), pitch("mean_hz"), pitch("max_hz"));
    assert!(50.0 < least && least < mean && mean < most && most < 800.0);
    assert!((pitch("range_hz") - (most - least)).abs() < 0.1);
    let silence = measures["energy"]["silence_ratio"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&silence), "{silence}");
    let seconds = measures["metadata"]["duration_seconds"].as_f64().unwrap();
    assert!((seconds - 6.0).abs() < 0.05, "{seconds} s");
    // Whoever measures again measures the same.
    let wanted = request("voice_analyze", "ben", json!({"audioBase64": recording()}));
    let again = result_of(&mut gateway, &wanted);
    for part in [
        "pitch",
        "classification",
        "spectral",
        "energy",
        "quality",
        "mfcc",
    ] {
        assert_eq!(again[part], measures[part], "{part}");
    }

    let same = compare(&mut gateway, &recording(), &recording());
    assert_eq!(same["is_likely_same_speaker"], true);
    let score = |comparison: &Value| comparison["overall_score"].as_f64().unwrap();
    assert!(score(&same) > 0.99, "{same}");
    let different = compare(&mut gateway, &recording(), &other);
    assert_eq!(different["is_likely_same_speaker"], false, "{different}");
    assert!(score(&different) < 0.75, "{different}");
    for comparison in [&same, &different] {
        for component in comparison["components"].as_object().unwrap().values() {
            let similarity = component.as_f64().unwrap();
            assert!((0.0..=1.0).contains(&similarity), "{comparison}");
        }
    }
    // It does not matter which is the first.
    let turned = compare(&mut gateway, &other, &recording());
    assert!(
        (score(&turned) - score(&different)).abs() < 1e-3,
        "{turned}"
    );
}
