use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::domain::Deadline;
use crate::domain::Pcm;
use crate::stages::measure::measure;

const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// A swelling harmonic sound, the voice of nobody.
fn measures(hz: f32, brightness: f32) -> VoiceMeasures {
    let samples: Vec<f32> = (0..16_000)
        .map(|n| {
            let t = n as f32 / 16_000.0;
            let harmonic = |k: u8| {
                let k = f32::from(k);
                k.powf(brightness - 2.0) * (std::f32::consts::TAU * k * hz * t).sin()
            };
            0.1 * (9.0 * t).sin().abs() * (1..12).map(harmonic).sum::<f32>()
        })
        .collect();
    measure(&Pcm::new(samples, 16_000), &Deadline::none()).unwrap()
}

fn embedding(dimensions: usize, seed: f32) -> SpeakerEmbedding {
    let values = (0..dimensions).map(|i| (i as f32 * seed).sin() * 3.0);
    SpeakerEmbedding(values.collect())
}

fn fingerprint(dimensions: usize, seed: f32) -> VoiceFingerprint {
    let measures = measures(120.0, 1.0);
    VoiceFingerprint::new(&embedding(dimensions, seed), &measures, AT, 14_800, 1)
}

/// One of another writer.
fn foreign() -> Value {
    json!({
        "fingerprint_id": "vfp_3ab4c9d01e2f",
        "version": "1.0",
        "signature": "9f2c4d1e8b7a60533c4d2e1f0a9b8c7d6e5f40312233445566778899aabbccdd",
        "signature_short": "9f2c4d1e8b7a",
        "components": {
            "pitch_hash": "1a2b3c4d5e6f7081",
            "spectral_hash": "92a3b4c5d6e7f809",
            "prosody_hash": "0f1e2d3c4b5a6978"
        },
        "checksum": "5c6d7e8f",
        "metadata": {
            "created_at": "2026-08-22T09:30:17.482000",
            "audio_duration_ms": 14800,
            "sample_count": 1,
            "embedding_dimensions": 256
        },
        "integrity_valid": true,
        "a_key_of_another_writer": {"x": [1, 2]}
    })
}

#[test]
fn the_form_is_that_of_the_gateway_and_ours_beside_it() {
    let value = fingerprint(256, 0.7).to_json();
    let mut expected: Vec<String> = foreign().as_object().unwrap().keys().cloned().collect();
    expected.retain(|key| key != "a_key_of_another_writer");
    expected.push("embedding".to_owned());
    expected.sort();
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, expected);
    for group in ["components", "metadata"] {
        let keys = |value: &Value| {
            let mut keys: Vec<_> = value[group].as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&value), keys(&foreign()), "{group}");
    }
    assert_eq!(
        value["metadata"]["created_at"],
        "1970-01-01T00:00:00.000000"
    );
    assert_eq!(value["metadata"]["embedding_dimensions"], 256);
    assert_eq!(value["embedding"].as_str().unwrap().len(), 684);
    let signature = value["signature"].as_str().unwrap();
    assert_eq!(value["signature_short"], signature[..12]);
    assert_eq!(signature.len(), 64);
    assert_eq!(value["checksum"].as_str().unwrap().len(), 8);
}

#[test]
fn the_same_voice_has_the_same_fingerprint() {
    let fingerprint_of = |seed: f32, hz: f32, at: OffsetDateTime| {
        VoiceFingerprint::new(&embedding(8, seed), &measures(hz, 1.0), at, 10_000, 1)
    };
    let first = fingerprint_of(0.7, 120.0, AT);
    assert_eq!(first, fingerprint_of(0.7, 120.0, AT));
    let later = fingerprint_of(0.7, 120.0, AT + time::Duration::seconds(1));
    assert_eq!(later.signature, first.signature);
    assert_ne!(later.id, first.id);
    assert_ne!(fingerprint_of(0.8, 120.0, AT).signature, first.signature);
    assert_ne!(fingerprint_of(0.7, 180.0, AT).signature, first.signature);
}

#[test]
fn what_comes_back_is_what_was_sent() {
    let ours = fingerprint(256, 0.7);
    assert_eq!(VoiceFingerprint::from_json(&ours.to_json()), Ok(ours));
    let theirs = VoiceFingerprint::from_json(&foreign()).unwrap();
    assert_eq!(theirs.embedding(), None);
    let mut expected = foreign();
    expected
        .as_object_mut()
        .unwrap()
        .remove("a_key_of_another_writer");
    assert_eq!(theirs.to_json(), expected);
}

#[test]
fn any_change_to_ours_is_found() {
    let good = fingerprint(64, 0.7).to_json();
    for path in [
        "/fingerprint_id",
        "/version",
        "/signature",
        "/components/pitch_hash",
        "/components/spectral_hash",
        "/components/prosody_hash",
        "/checksum",
        "/metadata/created_at",
        "/metadata/audio_duration_ms",
        "/metadata/sample_count",
        "/metadata/embedding_dimensions",
        "/embedding",
        "/integrity_valid",
    ] {
        let mut changed = good.clone();
        let field = changed.pointer_mut(path).unwrap();
        *field = match &*field {
            Value::String(text) => {
                // Another digit in the last place, or before the padding.
                let place = text.trim_end_matches('=').len() - 2;
                let digit = if &text[place..=place] == "1" {
                    "2"
                } else {
                    "1"
                };
                Value::String([&text[..place], digit, &text[place + 1..]].concat())
            }
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            _ => json!(false),
        };
        let error = VoiceFingerprint::from_json(&changed).unwrap_err();
        assert_eq!(
            error,
            if path == "/version" {
                FingerprintError::Version
            } else {
                FingerprintError::Damaged
            },
            "{path}"
        );
    }
}

#[test]
fn hostile_values_are_refused() {
    for (path, hostile) in [
        ("", json!([])),
        ("", Value::Null),
        ("/fingerprint_id", json!("vfp_3ab4c9d01e2")),
        ("/fingerprint_id", json!("xyz_3ab4c9d01e2f")),
        ("/fingerprint_id", json!("vfp_3ab4c9d01é2")),
        ("/version", json!("")),
        ("/version", json!("2.0")),
        ("/version", json!(1.0)),
        ("/signature", json!("9f")),
        (
            "/signature",
            json!("zz2c4d1e8b7a60533c4d2e1f0a9b8c7d6e5f40312233445566778899aabbccdd"),
        ),
        ("/signature", json!("é".repeat(32))),
        ("/components", json!("none")),
        ("/components/pitch_hash", json!("+a2b3c4d5e6f7081")),
        ("/components/pitch_hash", Value::Null),
        ("/checksum", json!(12345678)),
        ("/metadata", Value::Null),
        ("/metadata/created_at", json!("9".repeat(65))),
        ("/metadata/audio_duration_ms", json!(-1)),
        ("/metadata/audio_duration_ms", json!(1e300)),
        ("/metadata/sample_count", json!(u64::MAX)),
        ("/integrity_valid", json!(false)),
    ] {
        let mut value = foreign();
        *value.pointer_mut(path).unwrap() = hostile.clone();
        let refused = VoiceFingerprint::from_json(&value);
        assert!(refused.is_err(), "{path}: {hostile}");
    }
    for embedding in [
        json!(7),
        json!(""),
        json!("not base64!"),
        json!("AAAA"), // three bytes: a value and a half
        json!("AHw="), // infinity
        json!("AH4="), // no number
        json!(BASE64.encode(vec![0; 2 * MAX_DIMENSIONS + 2])),
    ] {
        let mut value = foreign();
        value["embedding"] = embedding.clone();
        let refused = VoiceFingerprint::from_json(&value);
        assert!(refused.is_err(), "{embedding}");
    }
}

#[test]
fn embeddings_decide_where_there_are_two() {
    let a = fingerprint(256, 0.7);
    let same = a.compare(&a);
    assert!(same.similarity > 0.9999 && same.is_match());
    assert_eq!(same.by, ComparedBy::Embedding);
    let b = fingerprint(256, 0.9);
    let exact = embedding(256, 0.7).cosine_similarity(&embedding(256, 0.9));
    let compared = a.compare(&b).similarity;
    // Half precision keeps eleven bits of each value.
    assert!(
        (compared - exact.max(0.0)).abs() < 1e-3,
        "{compared} and {exact}"
    );
    assert_eq!(compared, b.compare(&a).similarity);
    let opposite = SpeakerEmbedding(embedding(256, 0.7).0.iter().map(|x| -x).collect());
    let opposite = VoiceFingerprint::new(&opposite, &measures(120.0, 1.0), AT, 1, 1);
    assert_eq!(a.compare(&opposite).similarity, 0.0);
}

#[test]
fn hashes_decide_where_an_embedding_is_missing() {
    let theirs = VoiceFingerprint::from_json(&foreign()).unwrap();
    let same = theirs.compare(&theirs);
    assert_eq!((same.similarity, same.by), (1.0, ComparedBy::Hashes));
    let mut other = foreign();
    other["components"]["prosody_hash"] = json!("f0e1d2c3b4a59687");
    let other = VoiceFingerprint::from_json(&other).unwrap();
    let compared = theirs.compare(&other);
    assert_eq!(compared.similarity, 0.75);
    assert!(!compared.is_match());
    let ours = fingerprint(256, 0.7);
    assert_eq!(ours.compare(&theirs).similarity, 0.0);
    assert_eq!(theirs.compare(&ours).by, ComparedBy::Hashes);
}

#[test]
fn components_of_like_voices_are_near() {
    // Embeddings of different models: only the components can be compared.
    let of = |dimensions: usize, hz: f32, brightness: f32| {
        let embedding = embedding(dimensions, 0.7);
        VoiceFingerprint::new(&embedding, &measures(hz, brightness), AT, 1_000, 1)
    };
    let reference = of(8, 120.0, 1.0);
    let same = reference.compare(&of(16, 120.0, 1.0));
    assert_eq!((same.similarity, same.by), (1.0, ComparedBy::Hashes));
    let near = reference.compare(&of(16, 122.0, 1.0));
    let far = reference.compare(&of(16, 240.0, 1.6)).similarity;
    assert!(near.is_match(), "{near:?}");
    assert!(far < 0.5, "{far}");
}

#[test]
fn debug_output_does_not_describe_the_voice() {
    let voice = fingerprint(16, 0.7);
    let shown = format!("{voice:?}");
    assert!(shown.contains(voice.id()));
    let value = voice.to_json();
    for secret in [
        &value["signature"],
        &value["components"]["pitch_hash"],
        &value["checksum"],
        &value["embedding"],
    ] {
        assert!(!shown.contains(secret.as_str().unwrap()), "{shown}");
    }
    assert!(!shown.contains(voice.signature_short()));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,70}".prop_map(Value::from),
        "[0-9a-f]{64}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,12}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reading_never_panics(field in 0_usize..10, hostile in any_json()) {
        static GOOD: LazyLock<Value> = LazyLock::new(|| fingerprint(4, 0.7).to_json());
        let mut value = GOOD.clone();
        let keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        value[keys[field % keys.len()].as_str()] = hostile.clone();
        // The signature's short form and a true or odd integrity are not read; all else is refused.
        let is_read = !matches!(keys[field % keys.len()].as_str(), "signature_short" | "integrity_valid" | "embedding");
        if is_read {
            prop_assert!(VoiceFingerprint::from_json(&value).is_err());
        } else if let Ok(read) = VoiceFingerprint::from_json(&value) {
            prop_assert!(read.compare(&read).similarity <= 1.0);
        }
        prop_assert!(VoiceFingerprint::from_json(&hostile).is_err());
    }

    #[test]
    fn half_precision_keeps_the_cosine(
        pairs in prop::collection::vec((-5.0_f32..5.0, -5.0_f32..5.0), 2..300),
        scale in prop::sample::select(vec![1e-20_f32, 1.0, 1e20]),
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let exact = SpeakerEmbedding(a.clone().into()).cosine_similarity(&SpeakerEmbedding(b.clone().into()));
        let scaled = SpeakerEmbedding(a.iter().map(|x| x * scale).collect());
        let (a, b) = (EmbeddingBytes::of(&scaled), EmbeddingBytes::of(&SpeakerEmbedding(b.into())));
        prop_assert!((a.values().cosine_similarity(&b.values()) - exact).abs() < 2e-3);
    }

    #[test]
    fn thermometers_differ_by_the_difference(a in -1.0_f32..2.0, b in -1.0_f32..2.0) {
        let hash = |value| thermometers([(value, 0.0, 1.0), (0.5, 0.0, 1.0), (0.0, 0.0, 1.0), (9.0, 0.0, 1.0)]);
        let level = |value: f32| (value.clamp(0.0, 1.0) * 16.0).round() as u32;
        prop_assert_eq!((hash(a) ^ hash(b)).count_ones(), level(a).abs_diff(level(b)));
    }
}
