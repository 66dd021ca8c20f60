//! Requests of the voice API and of voice profiles.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{contract, read};
use crate::protocol::*;

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_500);

fn parsed(json: &Value) -> Result<Request, RequestError> {
    parse(&[Bytes::from(json.to_string())])
}

fn call(json: &Value) -> VoiceCall {
    match parsed(json) {
        Ok(Request::VoiceApi(request)) => request.call,
        other => panic!("{json}: {other:?}"),
    }
}

fn profile_call(json: &Value) -> VoiceProfileCall {
    match parsed(json) {
        Ok(Request::VoiceProfile(request)) => request.call,
        other => panic!("{json}: {other:?}"),
    }
}

fn answer(json: &Value) -> Value {
    let error = parsed(json).expect_err("the request is refused");
    serde_json::to_value(error.answer(NOW).expect("somebody is told")).unwrap()
}

fn request(kind: &str, more: Value) -> Value {
    let mut json = json!({"type": kind, "taskId": "t", "userId": "u"});
    for (key, value) in more.as_object().unwrap() {
        json[key] = value.clone();
    }
    json
}

#[test]
fn every_example_is_understood_by_its_own_name() {
    let Some(folder) = contract::examples_folder() else {
        return;
    };
    let mut understood = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let json = read(&path);
        let kind = json["type"].as_str().unwrap_or_default();
        let is_request = kind.starts_with("voice_")
            && path.file_stem().is_some_and(|stem| stem == kind)
            && json.get("timestamp").is_none()
            && json.get("success").is_none();
        if !is_request {
            continue;
        }
        let request = parsed(&json).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(request.kind().as_str(), kind);
        let id = json.get("taskId").or_else(|| json.get("request_id"));
        assert_eq!(request.task_id(), id.and_then(Value::as_str), "{kind}");
        let user = json.get("userId").or_else(|| json.get("user_id"));
        assert_eq!(request.user_id(), user.and_then(Value::as_str), "{kind}");
        understood += 1;
    }
    assert_eq!(understood, 20, "requests of the voice API and of profiles");
}

#[test]
fn a_translation_takes_its_languages_and_its_recording() {
    let json = request(
        "voice_translate_async",
        json!({
            "targetLanguages": ["EN", "xx-YY", "q1"], "sourceLanguage": "auto",
            "audioPath": "a.ogg", "priority": 9, "generateVoiceClone": false,
            "callbackMetadata": {"k": "v"}, "webhookUrl": "https://hooks.example.test/x",
        }),
    );
    let VoiceCall::TranslateAsync(wanted, options) = call(&json) else {
        panic!("another call");
    };
    let accepted: Vec<_> = wanted
        .target_languages
        .accepted
        .iter()
        .map(|language| language.language.to_string())
        .collect();
    assert_eq!(accepted, ["en", "xx"]);
    assert_eq!(wanted.target_languages.rejected, ["q1"]);
    assert_eq!(wanted.source_language, None);
    assert!(!wanted.generate_voice_clone);
    assert_eq!(wanted.audio, [AudioSource::Path("a.ogg".into())]);
    assert_eq!(
        (options.priority, options.callback_metadata),
        (3, Some(json!({"k": "v"}).into()))
    );
    assert!(!format!("{json:?}").is_empty());
}

#[test]
fn options_of_another_type_count_as_absent() {
    let unexpected = json!({"unexpected": [1]});
    let large = json!({"k": "v".repeat(4096)});
    let mut cases: Vec<(&str, Value)> = [
        "priority",
        "webhookUrl",
        "generateVoiceClone",
        "mobileTranscription",
        "sourceLanguage",
    ]
    .map(|field| (field, unexpected.clone()))
    .to_vec();
    cases.push(("callbackMetadata", json!([1])));
    cases.push(("callbackMetadata", large));
    for (field, value) in cases {
        let mut json = request(
            "voice_translate_async",
            json!({"targetLanguages": ["en"], "audioPath": "a.ogg"}),
        );
        json[field] = value;
        let VoiceCall::TranslateAsync(wanted, options) = call(&json) else {
            panic!("another call");
        };
        assert_eq!(options.webhook_url, None, "{field}");
        assert_eq!(options.priority, 1, "{field}");
        assert_eq!(options.callback_metadata, None, "{field}");
        assert!(wanted.generate_voice_clone, "{field}");
        assert!(wanted.mobile_transcription.is_none(), "{field}");
        assert_eq!(wanted.source_language, None, "{field}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_code() {
    for (kind, fields, code) in [
        (
            "voice_translate",
            json!({"audioPath": "a"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_translate",
            json!({"targetLanguages": ["en"]}),
            "INVALID_REQUEST",
        ),
        (
            "voice_translate",
            json!({"targetLanguages": ["q1"], "audioPath": "a"}),
            "LANGUAGE_NOT_SUPPORTED",
        ),
        ("voice_job_status", json!({}), "INVALID_REQUEST"),
        ("voice_job_cancel", json!({"jobId": 7}), "INVALID_REQUEST"),
        (
            "voice_analyze",
            json!({"audioBase64": ""}),
            "INVALID_REQUEST",
        ),
        (
            "voice_compare",
            json!({"audioPath_1": "a"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_feedback",
            json!({"translationId": "x"}),
            "INVALID_REQUEST",
        ),
        (
            "voice_feedback",
            json!({"translationId": "x", "rating": 5.5}),
            "INVALID_REQUEST",
        ),
        ("voice_feedback", json!({"rating": 3}), "INVALID_REQUEST"),
        (
            "voice_profile_create",
            json!({"name": "n"}),
            "INVALID_REQUEST",
        ),
        ("voice_history", json!({"userId": ""}), "UNAUTHORIZED"),
        ("voice_stats", json!({"userId": 5}), "UNAUTHORIZED"),
        (
            "voice_profile_list",
            json!({"userId": null}),
            "UNAUTHORIZED",
        ),
        ("voice_of_nobody", json!({}), "INVALID_REQUEST"),
    ] {
        let event = answer(&request(kind, fields));
        assert_eq!(event["type"], "voice_api_error", "{kind}");
        assert_eq!(event["errorCode"], code, "{kind}: {event}");
        assert_eq!(event["requestType"], kind);
        assert_eq!(event["taskId"], "t");
    }
    // Nobody could recognise an answer.
    let nameless = parsed(&json!({"type": "voice_health"})).unwrap_err();
    assert!(nameless.answer(NOW).is_none());
}

#[test]
fn profiles_are_refused_in_their_own_form() {
    for (kind, fields) in [
        ("voice_profile_analyze", json!({"user_id": "u"})),
        ("voice_profile_analyze", json!({"audio_data": "AAAA"})),
        (
            "voice_profile_verify",
            json!({"user_id": "u", "audio_data": "AAAA"}),
        ),
        (
            "voice_profile_compare",
            json!({"fingerprint_a": {}, "fingerprint_b": []}),
        ),
    ] {
        let mut json = fields;
        json["type"] = kind.into();
        json["request_id"] = "r".into();
        let event = answer(&json);
        assert_eq!(event["type"], "voice_profile_error", "{kind}");
        assert_eq!(
            (&event["request_id"], &event["success"]),
            (&json!("r"), &json!(false))
        );
    }
}

#[test]
fn previews_have_defaults_and_bounds() {
    let analyze = |more: Value| {
        let mut json = json!({
            "type": "voice_profile_analyze", "request_id": "r", "user_id": "u", "audio_data": "AAAA",
        });
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        match profile_call(&json) {
            VoiceProfileCall::Analyze(analysis) => *analysis,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(analyze(json!({})).preview_languages, None);
    let previews = analyze(json!({"generate_previews": true, "preview_text": "é".repeat(300)}));
    let languages: Vec<_> = previews.preview_languages.unwrap().accepted;
    assert_eq!(languages.len(), 3);
    assert_eq!(previews.preview_text.unwrap(), *"é".repeat(100));
    assert_eq!(analyze(json!({"preview_text": "  "})).preview_text, None);
}

#[test]
fn pages_dates_and_words_are_bounded() {
    let history = |fields| match call(&request("voice_history", fields)) {
        VoiceCall::History(history) => history,
        other => panic!("{other:?}"),
    };
    let page = |limit, offset| Page { limit, offset };
    assert_eq!(history(json!({})).page, page(20, 0));
    assert_eq!(
        history(json!({"limit": 0, "offset": u64::MAX})).page,
        page(1, u32::MAX)
    );
    assert_eq!(
        history(json!({"limit": 1000, "offset": -1})).page,
        page(100, 0)
    );
    let dated = history(json!({"startDate": "2026-08-01T00:00:00.000Z", "endDate": "yesterday"}));
    assert_eq!(dated.start.unwrap().unix_timestamp(), 1_785_542_400);
    assert_eq!(dated.end, None);

    let feedback = json!({
        "translationId": "x", "rating": 0, "feedbackType": "nonsense",
        "comment": "ü".repeat(5000), "metadata": {"k": "v".repeat(5000)},
    });
    let VoiceCall::Feedback(feedback) = call(&request("voice_feedback", feedback)) else {
        panic!("another call");
    };
    assert_eq!(feedback.kind, FeedbackKind::Other);
    assert_eq!(feedback.comment.unwrap().expose().chars().count(), 2000);
    assert_eq!(feedback.metadata, None);
}

#[test]
fn a_repeat_has_the_same_key_whatever_its_recording() {
    let key = |json: &Value| parsed(json).unwrap().dedup_key();
    let first = request("voice_analyze", json!({"audioBase64": "AAAA"}));
    let repeat = request("voice_analyze", json!({"audioBase64": "AAAA", "more": 1}));
    assert_eq!(key(&first), key(&repeat));
    for (field, value) in [
        ("taskId", "other"),
        ("userId", "other"),
        ("type", "voice_health"),
    ] {
        let mut other = first.clone();
        other[field] = value.into();
        assert_ne!(key(&first), key(&other), "{field}");
    }
}

#[test]
fn debug_output_shows_no_words() {
    let secret = "my secret";
    for json in [
        request(
            "voice_feedback",
            json!({"translationId": "x", "rating": 1, "comment": secret, "metadata": {"a": secret}}),
        ),
        request(
            "voice_translate_async",
            json!({
                "targetLanguages": ["en"], "audioBase64": secret, "webhookUrl": secret,
                "mobileTranscription": {"text": secret},
            }),
        ),
        request(
            "voice_profile_create",
            json!({"audioBase64": secret, "name": secret}),
        ),
        json!({
            "type": "voice_profile_analyze", "request_id": "r", "user_id": "u",
            "audio_data": secret, "preview_text": secret, "existing_fingerprint": {"a": secret},
        }),
    ] {
        let shown = format!("{:?}", parsed(&json).unwrap());
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn recordings_may_come_in_frames() {
    let json = request(
        "voice_compare",
        json!({"binaryFrames": {"audio_1": 1, "audio_2": 2}, "audioBase64_2": "AAAA"}),
    );
    let frames = [json.to_string().into(), "first".into(), "second".into()];
    let Ok(Request::VoiceApi(compared)) = parse(&frames) else {
        panic!("it is understood");
    };
    let frame = |bytes: &'static str| vec![AudioSource::Frame(Bytes::from(bytes).into())];
    let both = VoiceCall::Compare(frame("first"), frame("second"));
    assert_eq!(compared.call, both);
    // One that did not come is looked for elsewhere.
    let Ok(Request::VoiceApi(compared)) = parse(&frames[..2]) else {
        panic!("it is understood");
    };
    let elsewhere = vec![AudioSource::Base64("AAAA".to_owned().into())];
    assert_eq!(compared.call, VoiceCall::Compare(frame("first"), elsewhere));
}
