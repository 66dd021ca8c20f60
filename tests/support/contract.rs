//! Checks events against the shapes of the contract's examples.
//!
//! The examples are not part of the repository. They are looked for in `contract/examples` of the
//! folder named by `TRANSLATOR_SHARED_DIR` (default: `shared` beside the repository); a test that
//! needs them prints a skip without them, and fails if `REQUIRE_SHARED=1`.

use std::path::PathBuf;

use serde_json::{Map, Value};

/// Fields that an event may lack although the example has them, by the end of their path.
const OPTIONAL: &[&str] = &[
    "attachmentId",
    "averageFeedbackRating",
    "conversationId",
    "currentStep",
    "error",
    "feedbackRating",
    "metadata",
    "metadata.modelVersion",
    "metadata.processingNode",
    "model",
    "newVoiceProfile",
    "newVoiceProfile.fingerprint",
    "newVoiceProfile.voiceCharacteristics",
    "originalAudio.segments",
    "postId",
    "postMediaId",
    "primarySpeakerId",
    "result.cpuUsage",
    "result.emojisCount",
    "result.memoryUsage",
    "result.poolType",
    "result.queueTime",
    "result.segmentsCount",
    "result.timestamp",
    "result.translationTime",
    "result.version",
    "result.workerId",
    "result.workerName",
    "segments[].confidence",
    "segments[].language",
    "segments[].speakerId",
    "segments[].voiceSimilarityScore",
    "senderSpeakerId",
    "senderVoiceIdentified",
    "speakerAnalysis",
    "speakerCount",
    "startedAt",
    "transcription",
    "transcription.segments",
    "voiceCharacteristics",
    "voiceProfile",
    "voice_previews",
];

/// Fields that an event may have although the example lacks them.
const EXTRA: &[&str] = &[
    "audioMimeType",
    "binaryFrames",
    "callbackMetadata",
    "completedAt",
    "details.embedding_similarity",
    "durationMs",
    "error",
    "fingerprint.embedding",
    "metadata",
    "model",
    "newVoiceProfile",
    "postId",
    "postMediaId",
    "reason",
    "segments",
    "segments[].confidence",
    "segments[].language",
    "stage",
    "ttsModel",
];

/// Objects whose keys are data.
const MAPS: &[&str] = &["binaryFrames", "translatedTexts", "translations"];

/// Numbers that may have a fraction although the example's has none.
const FRACTIONS: &[&str] = &["feedbackRating"];

/// Numbers that are a probability or a quality.
const UNIT_INTERVAL: &[&str] = &[
    "confidence",
    "confidenceScore",
    "qualityScore",
    "voiceModelQuality",
    "voiceQuality",
    "voiceSimilarityScore",
];

/// The folder with the contract's examples, or `None` after telling that the test is skipped.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find optional data by the environment"
)]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub fn examples_folder() -> Option<PathBuf> {
    let shared = std::env::var_os("TRANSLATOR_SHARED_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let folder = shared.join("contract/examples");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("REQUIRE_SHARED").is_ok_and(|value| value == "1");
    assert!(
        !required,
        "REQUIRE_SHARED=1, but there are no contract examples"
    );
    eprintln!("skipped: the contract's examples are not beside the repository");
    None
}

/// Everything in which `event` differs from the shape of `example`, or breaks a rule of the contract.
pub fn event_problems(example: &Value, event: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    compare(&[example], event, "", &mut problems);
    check_values(event, "", &mut problems);
    problems
}

/// Everything that is wrong with the binary frames of a published message, JSON being frame 0.
pub fn frame_problems<F: AsRef<[u8]>>(frames: &[F]) -> Vec<String> {
    let Some(json) = frames.first() else {
        return vec!["no frames".to_owned()];
    };
    let event: Value = match serde_json::from_slice(json.as_ref()) {
        Ok(event) => event,
        Err(error) => return vec![format!("frame 0: {error}")],
    };
    let kind = event["type"].as_str().unwrap_or_default();
    let mut problems = Vec::new();
    let length_of = |number: u64| {
        let number = usize::try_from(number).ok().filter(|number| *number > 0)?;
        frames.get(number).map(|frame| frame.as_ref().len() as u64)
    };
    if kind.starts_with("audio_translation") && length_of(1).unwrap_or(0) == 0 {
        problems.push("no audio in frame 1".to_owned());
    }
    for (name, descriptor) in event["binaryFrames"].as_object().into_iter().flatten() {
        match descriptor["index"].as_u64().and_then(length_of) {
            Some(length) if descriptor["size"].as_u64() == Some(length) => {}
            Some(length) => {
                problems.push(format!("binaryFrames.{name}: the frame has {length} bytes"))
            }
            None => problems.push(format!("binaryFrames.{name}: no such frame")),
        }
    }
    if kind == "audio_process_completed" {
        for audio in event["translatedAudios"].as_array().into_iter().flatten() {
            let name = format!(
                "audio_{}",
                audio["targetLanguage"].as_str().unwrap_or_default()
            );
            if event["binaryFrames"].get(&name).is_none() {
                problems.push(format!("binaryFrames lacks {name}"));
            }
        }
        if event.get("newVoiceProfile").is_some()
            && event["binaryFrames"].get("embedding").is_none()
        {
            problems.push("a new voice profile without an embedding frame".to_owned());
        }
    }
    problems
}

fn is_listed(list: &[&str], path: &str) -> bool {
    list.iter().any(|entry| {
        path == *entry
            || path
                .strip_suffix(entry)
                .is_some_and(|rest| rest.ends_with('.'))
    })
}

/// Compares `actual` with several examples of the same place: a key is required if all have a value
/// for it.
fn compare(examples: &[&Value], actual: &Value, path: &str, problems: &mut Vec<String>) {
    let Some(example) = examples.first() else {
        return;
    };
    match (example, actual) {
        (Value::Object(_), Value::Object(actual)) => {
            let objects: Vec<_> = examples
                .iter()
                .filter_map(|example| example.as_object())
                .collect();
            if is_listed(MAPS, path) {
                let values: Vec<_> = objects.iter().flat_map(|object| object.values()).collect();
                for (key, value) in actual {
                    compare(&values, value, &format!("{path}.{key}"), problems);
                }
            } else {
                compare_objects(&objects, actual, path, problems);
            }
        }
        (Value::Array(_), Value::Array(actual)) => {
            let items: Vec<_> = examples
                .iter()
                .filter_map(|e| e.as_array())
                .flatten()
                .collect();
            for item in actual {
                compare(&items, item, &format!("{path}[]"), problems);
            }
        }
        // An example that is null says nothing about what may be there.
        (Value::Null, _) => {}
        _ if is_same_type(example, actual) => {}
        (Value::Number(_), Value::Number(_)) if is_listed(FRACTIONS, path) => {}
        _ => problems.push(format!(
            "{path}: {} instead of {}",
            type_name(actual),
            type_name(example)
        )),
    }
}

fn compare_objects(
    examples: &[&Map<String, Value>],
    actual: &Map<String, Value>,
    path: &str,
    problems: &mut Vec<String>,
) {
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    for (key, value) in actual {
        let of_key: Vec<_> = examples
            .iter()
            .filter_map(|example| example.get(key))
            .collect();
        if of_key.is_empty() && !is_listed(EXTRA, &join(key)) {
            problems.push(format!("{}: not in the contract", join(key)));
        }
        compare(&of_key, value, &join(key), problems);
    }
    for key in examples.iter().flat_map(|example| example.keys()) {
        let is_filled = |value: &Value| !value.is_null();
        let in_all = examples
            .iter()
            .all(|example| example.get(key).is_some_and(is_filled));
        if in_all && !actual.contains_key(key) && !is_listed(OPTIONAL, &join(key)) {
            problems.push(format!("{}: missing", join(key)));
        }
    }
}

/// An integer in the example asks for an integer; a fraction is content with any number.
fn is_same_type(example: &Value, actual: &Value) -> bool {
    let is_integer = |value: &Value| value.is_i64() || value.is_u64();
    match (example, actual) {
        (Value::Number(_), Value::Number(_)) => !is_integer(example) || is_integer(actual),
        _ => std::mem::discriminant(example) == std::mem::discriminant(actual),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The contract's rules for single values, wherever they are.
fn check_values(value: &Value, path: &str, problems: &mut Vec<String>) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let mut require = |holds: bool, rule: &str| {
        if !holds {
            problems.push(format!("{path}: {rule}"));
        }
    };
    match value {
        Value::Null => require(false, "null instead of absent"),
        Value::String(text) => {
            if ["taskId", "messageId", "translatedText"].contains(&name) {
                require(!text.is_empty(), "empty");
            }
            if ["language", "sourceLanguage"].contains(&name) {
                require(
                    is_language_field(text) && text != "auto",
                    "not a language code",
                );
            }
            if path.contains("translatedAudio") && name == "targetLanguage" {
                require(is_language_field(text), "not a field name");
            }
        }
        Value::Number(number) => {
            if is_listed(UNIT_INTERVAL, path) {
                require(
                    number.as_f64().is_some_and(|n| (0.0..=1.0).contains(&n)),
                    "not in 0..1",
                );
            }
        }
        Value::Bool(_) => {}
        Value::Array(items) => {
            for item in items {
                check_values(item, &format!("{path}[]"), problems);
            }
        }
        Value::Object(fields) => {
            if name == "translations" {
                require(
                    fields.keys().all(|key| is_language_field(key)),
                    "a key is not a field name",
                );
            }
            if let (Some(start), Some(end)) = (fields.get("startMs"), fields.get("endMs")) {
                require(
                    start.as_u64() <= end.as_u64() && start.is_u64(),
                    "ends before it starts",
                );
            }
            for (key, field) in fields {
                let inner = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                check_values(field, &inner, problems);
            }
        }
    }
}

/// `^[a-z]{2,5}$`: what the gateway's database takes as a field name.
fn is_language_field(text: &str) -> bool {
    (2..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Value {
        json!({
            "type": "x", "timestamp": 1.5, "count": 3, "model": "m",
            "translations": {"en": "a"},
            "segments": [{"text": "a", "startMs": 0, "endMs": 1}, {"text": "b", "startMs": 1, "endMs": 2, "speakerId": "s0"}],
        })
    }

    #[test]
    fn an_event_of_the_same_shape_has_no_problems() {
        let event = json!({
            "type": "x", "timestamp": 2, "count": 0, "translations": {},
            "segments": [{"text": "c", "startMs": 4, "endMs": 4, "confidence": 0.5}],
        });
        assert_eq!(event_problems(&example(), &event), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let event = json!({
            "type": 1, "timestamp": null, "count": 0.5, "surplus": true, "translations": {"pt-br": "x"},
            "segments": [{"text": "c", "startMs": 5, "endMs": 4}, {"startMs": 5, "endMs": 6}],
        });
        let problems = event_problems(&example(), &event).join("\n");
        for expected in [
            "type: an integer instead of a string",
            "timestamp: null instead of a fraction",
            "timestamp: null instead of absent",
            "count: a fraction instead of an integer",
            "surplus: not in the contract",
            "translations: a key is not a field name",
            "segments[]: ends before it starts",
            "segments[].text: missing",
        ] {
            assert!(
                problems.contains(expected),
                "{expected:?} is not in:\n{problems}"
            );
        }
    }

    #[test]
    fn frame_numbers_are_checked() {
        let event = json!({
            "type": "audio_process_completed",
            "translatedAudios": [{"targetLanguage": "en"}, {"targetLanguage": "es"}],
            "binaryFrames": {"audio_en": {"index": 1, "size": 4}, "audio_fr": {"index": 2, "size": 4}},
        });
        let problems = frame_problems(&[event.to_string().as_bytes(), b"abc"]);
        assert_eq!(
            problems,
            [
                "binaryFrames.audio_en: the frame has 3 bytes",
                "binaryFrames.audio_fr: no such frame",
                "binaryFrames lacks audio_es",
            ]
        );
    }
}
