use bytes::Bytes;
use serde_json::{Value, json};

use super::{contract, fixture, read};
use crate::domain::Language;
use crate::error::Reason;
use crate::protocol::*;

const AUDIO: &[u8] = b"the recording";
const VOICE: &[u8] = b"the voice print";
const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_500);

/// The message with this JSON, a recording in frame 1 and a voice print in frame 2.
fn message(json: &Value) -> Vec<Bytes> {
    vec![
        Bytes::from(json.to_string()),
        Bytes::from_static(AUDIO),
        Bytes::from_static(VOICE),
    ]
}

fn request(json: &Value) -> Request {
    parse(&message(json)).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn translation(json: &Value) -> TranslationRequest {
    match request(json) {
        Request::Translation(request) => request,
        other => panic!("{other:?}"),
    }
}

fn audio_process(json: &Value) -> AudioProcessRequest {
    match request(json) {
        Request::AudioProcess(request) => *request,
        other => panic!("{other:?}"),
    }
}

fn requested(languages: &TargetLanguages) -> Vec<&str> {
    languages
        .accepted
        .iter()
        .map(|l| l.requested.as_str())
        .collect()
}

fn without(mut json: Value, key: &str) -> Value {
    json.as_object_mut().unwrap().remove(key);
    json
}

fn with(mut json: Value, key: &str, value: Value) -> Value {
    json[key] = value;
    json
}

fn answer(json: &Value) -> Option<Value> {
    let event = parse(&message(json)).unwrap_err().answer(NOW)?;
    Some(serde_json::to_value(event).unwrap())
}

#[test]
fn ping() {
    assert!(matches!(
        request(&fixture("requests/ping.json")),
        Request::Ping
    ));
}

#[test]
fn translation_with_every_field() {
    let request = translation(&fixture("requests/translation.json"));
    assert_eq!(
        request.task_id.as_deref(),
        Some("7d0c9a4e-0f3b-4a55-8f0a-2b1f6f1f0a01")
    );
    assert_eq!(request.message_id, "comment:5f0000000000000000000a01");
    assert_eq!(request.text, "Le train part à midi.\n\n- quai 3 🚉");
    assert_eq!(request.source_language, Some(Language::FRENCH));
    assert_eq!(requested(&request.target_languages), ["en", "pt-br"]);
    assert_eq!(request.conversation_id, "any");
    assert!(request.is_low_priority());
    assert_eq!(request.model_type, ModelType::Premium);
}

#[test]
fn translation_of_an_old_gateway() {
    let request = translation(&fixture("requests/translation.legacy.json"));
    assert_eq!(request.task_id, None);
    assert_eq!(request.source_language, None);
    assert_eq!(requested(&request.target_languages), ["de"]);
    assert_eq!(request.conversation_id, "unknown");
    assert_eq!(request.model_type, ModelType::Basic);
}

#[test]
fn audio_process_of_todays_gateway() {
    let request = audio_process(&fixture("requests/audio_process.json"));
    assert_eq!(request.task_id, None);
    assert_eq!(
        request.audio,
        [AudioSource::Frame(Bytes::from_static(AUDIO).into())]
    );
    assert_eq!(request.audio_mime_type.as_deref(), Some("audio/webm"));
    assert_eq!(request.claimed_duration_ms, None);
    assert_eq!(request.voice_owner_id(), "5f0000000000000000000c02");
    assert_eq!(request.user_language.unwrap().as_str(), "pt");
    assert!(request.use_original_voice);
    let targets = request.target_languages.as_ref().unwrap();
    assert_eq!(requested(targets), ["en", "fr", "eng"]);
    assert_eq!(
        targets.distinct_except(Language::FRENCH),
        [Language::ENGLISH]
    );

    let mobile = request.mobile_transcription.as_ref().unwrap();
    assert_eq!(mobile.text, "Bom dia a todos, até logo.");
    assert_eq!(mobile.confidence, 0.85);
    assert_eq!(mobile.source.as_deref(), Some("android_speech"));
    let times: Vec<_> = mobile
        .segments
        .iter()
        .map(|s| (s.start_ms, s.end_ms))
        .collect();
    assert_eq!(times, [(0, 1_250), (1_400, 1_400)]);
    assert_eq!(mobile.segments[0].confidence, Some(0.9));

    let voice = request.existing_voice.as_ref().unwrap();
    assert_eq!(voice.profile_id.as_deref(), Some("vp_01"));
    assert_eq!(voice.embedding, Some(Bytes::from_static(VOICE).into()));
    assert_eq!(request.voice_clone_hints.temperature, Some(0.65));
    assert_eq!(
        request.voice_clone_hints.repetition_penalty, None,
        "out of range"
    );
    assert_eq!(request.post_id.as_deref(), Some("5f0000000000000000000d01"));

    let job = request.job("fresh");
    assert_eq!(job.task_id, "fresh");
    assert_eq!(
        job.post_media_id.as_deref(),
        Some("5f0000000000000000000d02")
    );
}

#[test]
fn audio_process_of_the_original_plan() {
    let request = audio_process(&fixture("requests/audio_process.paths.json"));
    assert_eq!(
        request.audio,
        [
            AudioSource::Base64("data:audio/ogg;base64,dGhlIHJlY29yZGluZw==".into()),
            AudioSource::Url("https://files.example.test/a.ogg".into()),
            AudioSource::Path("2025/01/a.ogg".into()),
        ]
    );
    assert_eq!(
        request.audio[0].inline_bytes().unwrap().as_deref(),
        Some(AUDIO)
    );
    assert_eq!(request.target_languages, None, "absent: to be derived");
    assert!(request.generate_voice_clone);
    assert_eq!(request.model_type, ModelType::Medium);
    assert_eq!(request.voice_clone_hints.top_p, Some(0.9), "the flat form");
}

#[test]
fn no_target_languages_and_an_empty_list_differ() {
    let json = fixture("requests/audio_process.paths.json");
    let empty = audio_process(&with(json.clone(), "targetLanguages", json!([])));
    assert_eq!(empty.target_languages, Some(TargetLanguages::default()));
    let null = audio_process(&with(json, "targetLanguages", Value::Null));
    assert_eq!(null.target_languages, None);
}

#[test]
fn transcription_only() {
    let Request::TranscriptionOnly(request) = request(&fixture("requests/transcription_only.json"))
    else {
        panic!("another kind");
    };
    assert_eq!(
        request.audio,
        [
            AudioSource::Frame(Bytes::from_static(AUDIO).into()),
            AudioSource::Path("a.wav".into()),
            AudioSource::Url("https://files.example.test/a.wav".into()),
        ]
    );
    assert_eq!(request.audio_format.as_deref(), Some("wav"));
    assert_eq!(
        request.mobile_transcription, None,
        "blank text counts as absent"
    );
}

#[test]
fn story_text() {
    let Request::StoryText(request) =
        request(&fixture("requests/story_text_object_translation.json"))
    else {
        panic!("another kind");
    };
    assert_eq!(request.post_id, "5f0000000000000000000d01");
    assert_eq!(request.text_object_index, 2);
    assert_eq!(requested(&request.target_languages), ["en", "zh"]);
}

#[test]
fn optional_fields_of_the_wrong_type_count_as_absent() {
    let mut json = fixture("requests/audio_process.json");
    for key in [
        "taskId",
        "conversationId",
        "audioMimeType",
        "audioDurationMs",
        "mobileTranscription",
        "targetLanguages",
        "userLanguage",
        "generateVoiceClone",
        "modelType",
        "originalSenderId",
        "existingVoiceProfile",
        "useOriginalVoice",
        "voiceCloneParams",
        "postId",
        "postMediaId",
    ] {
        json[key] = json!({"unexpected": [1]});
    }
    json["mobileTranscription"] = json!(7);
    json["existingVoiceProfile"] = json!("text");
    let request = audio_process(&json);
    assert_eq!(request.mobile_transcription, None);
    assert_eq!(request.target_languages, None);
    assert!(request.generate_voice_clone && !request.use_original_voice);
    assert_eq!(request.voice_owner_id(), request.sender_id);
    assert_eq!(request.voice_clone_hints, VoiceCloneHints::default());
}

#[test]
fn frame_numbers_are_not_trusted() {
    let json = fixture("requests/transcription_only.json");
    for number in [
        json!(0),
        json!(3),
        json!(-1),
        json!(1.5),
        json!("1"),
        json!(u64::MAX),
        Value::Null,
    ] {
        let request = request(&with(
            json.clone(),
            "binaryFrames",
            json!({"audio": number}),
        ));
        let Request::TranscriptionOnly(request) = request else {
            panic!("another kind");
        };
        assert!(
            !matches!(request.audio[0], AudioSource::Frame(_)),
            "{number}"
        );
    }
}

#[test]
fn an_embedding_frame_is_a_voice() {
    let json = fixture("requests/audio_process.paths.json");
    let request = audio_process(&with(
        json,
        "binaryFrames",
        json!({"embedding": 2, "embeddingSize": 9}),
    ));
    assert_eq!(
        request.existing_voice.unwrap().embedding,
        Some(Bytes::from_static(VOICE).into())
    );
}

#[test]
fn base64_that_is_none_is_an_error() {
    let source = AudioSource::Base64("not base64!".into());
    assert!(source.inline_bytes().is_err());
}

#[test]
fn what_is_no_request_gets_no_answer() {
    let deep = "[".repeat(100_000);
    for json in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "\u{0}",
        "{\"type\":\"ping\"} x",
        &deep,
    ] {
        let error = parse(&[Bytes::from(json.to_owned())]).unwrap_err();
        assert!(error.answer(NOW).is_none(), "{error}");
        assert_eq!(error.reason(), Reason::InvalidRequest);
    }
    assert!(matches!(parse(&[]), Err(RequestError::NoFrames)));
    let many = vec![Bytes::from_static(b"{\"type\":\"ping\"}"); 17];
    assert!(matches!(parse(&many), Err(RequestError::TooManyFrames(17))));
    assert!(parse(&[Bytes::from_static(b"{\"type\":\"\xff\"}")]).is_err());
}

#[test]
fn unknown_types_are_answered_only_within_the_voice_api() {
    let known = json!({"type": "voice_singing", "taskId": "t1"});
    assert_eq!(
        answer(&known).unwrap(),
        json!({
            "type": "voice_api_error", "taskId": "t1", "requestType": "voice_singing",
            "error": "this request type is not supported", "errorCode": "INVALID_REQUEST",
            "reason": "invalid_request", "timestamp": 1_700_000_000.5
        })
    );
    assert_eq!(answer(&json!({"type": "voice_singing"})), None);
    assert_eq!(answer(&json!({"type": "new_thing", "taskId": "t1"})), None);
}

#[test]
fn an_incomplete_translation_is_answered_to_its_ids() {
    let json = fixture("requests/translation.json");
    for (broken, error) in [
        (without(json.clone(), "text"), "text is missing"),
        (with(json.clone(), "text", json!(1)), "text is missing"),
        (
            with(json.clone(), "targetLanguages", json!([])),
            "targetLanguages is missing",
        ),
        (
            with(json.clone(), "targetLanguages", json!(vec!["en"; 201])),
            "too many target languages",
        ),
    ] {
        let event = answer(&broken).unwrap();
        assert_eq!(event["type"], "translation_error");
        assert_eq!(event["taskId"], json["taskId"]);
        assert_eq!(event["messageId"], json["messageId"]);
        assert_eq!(event["error"], error);
        assert_eq!(
            (&event["reason"], &event["stage"]),
            (&json!("invalid_request"), &json!("intake"))
        );
    }
    let event = answer(&with(json.clone(), "targetLanguages", json!(["x", "12"]))).unwrap();
    assert_eq!(event["reason"], "unsupported_language");
    assert_eq!(event["metadata"], json!({"failedLanguages": ["x", "12"]}));
    assert_eq!(answer(&without(without(json, "taskId"), "messageId")), None);
}

#[test]
fn an_incomplete_audio_job_is_answered_to_its_message() {
    let json = fixture("requests/audio_process.json");
    let event = answer(&without(json.clone(), "senderId")).unwrap();
    assert_eq!(event["type"], "audio_process_error");
    assert_eq!(event["errorCode"], "processing_failed");
    assert_eq!(event["attachmentId"], json["attachmentId"]);
    assert_eq!(event["postId"], json["postId"]);
    assert_ne!(event["taskId"], "");

    let event = answer(&without(json.clone(), "binaryFrames")).unwrap();
    assert_eq!(event["errorCode"], "transcription_failed");
    assert_eq!(event["reason"], "no_audio");
    assert_eq!(answer(&without(json, "messageId")), None);
}

#[test]
fn an_incomplete_transcription_request_is_answered() {
    let json =
        json!({"type": "transcription_only", "taskId": "t1", "messageId": "m1", "audioPath": ""});
    let event = answer(&json).unwrap();
    assert_eq!(event["type"], "transcription_error");
    assert_eq!(
        (&event["taskId"], &event["reason"]),
        (&json!("t1"), &json!("no_audio"))
    );
}

#[test]
fn an_incomplete_story_text_is_answered_with_nothing() {
    let json = without(
        fixture("requests/story_text_object_translation.json"),
        "text",
    );
    let event = answer(&json).unwrap();
    assert_eq!(event["translations"], json!({}));
    assert_eq!(event["timestamp"], 1_700_000_000_500_u64);
}

#[test]
fn debug_output_and_errors_hold_no_content() {
    for name in [
        "translation",
        "audio_process",
        "story_text_object_translation",
    ] {
        let json = fixture(&format!("requests/{name}.json"));
        let shown = format!("{:?}", request(&json));
        for secret in ["train", "Bom dia", "Joyeux", "recording", "voice print"] {
            assert!(!shown.contains(secret), "{name}: {shown}");
        }
    }
    let error = parse(&[Bytes::from_static(b"{\"text\":\"my secret\" oops")]).unwrap_err();
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn repeats_have_one_key_and_other_work_has_another() {
    let json = fixture("requests/translation.json");
    let key = |json: &Value| request(json).dedup_key();
    let reordered = with(json.clone(), "targetLanguages", json!(["pt-BR", "en"]));
    assert_eq!(key(&json), key(&with(reordered, "timestamp", json!(5))));
    // A retry lists only the languages that are missing.
    let retry = with(json.clone(), "targetLanguages", json!(["en"]));
    assert_eq!(key(&json), key(&retry));
    for (field, value) in [("taskId", json!("another")), ("text", json!("other"))] {
        assert_ne!(
            key(&json),
            key(&with(json.clone(), field, value)),
            "{field}"
        );
    }
}

#[test]
fn the_same_recording_sent_twice_is_two_jobs() {
    let json = fixture("requests/audio_process.json");
    let mut first = request(&json);
    let mut second = request(&with(json, "targetLanguages", json!(["de"])));
    first.set_task_id("one".to_owned());
    second.set_task_id("two".to_owned());
    assert_eq!(first.task_id(), Some("one"));
    assert_ne!(first.dedup_key(), second.dedup_key());
}

#[test]
fn every_request_of_the_contract_is_understood() {
    let Some(folder) = contract::examples_folder() else {
        return;
    };
    for (name, kind) in [
        ("ping", RequestKind::Ping),
        ("translation", RequestKind::Translation),
        ("translation.story", RequestKind::Translation),
        ("audio_process", RequestKind::AudioProcess),
        ("audio_process.mobile", RequestKind::AudioProcess),
        ("audio_process.post", RequestKind::AudioProcess),
        ("audio_process.seed", RequestKind::AudioProcess),
        ("transcription_only", RequestKind::TranscriptionOnly),
        ("story_text_object_translation", RequestKind::StoryText),
    ] {
        let json = read(&folder.join(format!("{name}.json")));
        let request = request(&json);
        assert_eq!(request.kind(), kind, "{name}");
        assert_eq!(request.task_id(), json["taskId"].as_str(), "{name}");
        let languages = match &request {
            Request::Translation(request) => Some(&request.target_languages),
            Request::StoryText(request) => Some(&request.target_languages),
            Request::AudioProcess(request) => request.target_languages.as_ref(),
            Request::VoiceApi(_) | Request::VoiceProfile(_) => continue,
            Request::Ping | Request::TranscriptionOnly(_) => None,
        };
        let expected: Option<Vec<&str>> = json["targetLanguages"]
            .as_array()
            .map(|codes| codes.iter().filter_map(Value::as_str).collect());
        assert_eq!(languages.map(requested), expected, "{name}");
        if let Request::AudioProcess(request) = request {
            let has_frame = matches!(request.audio[0], AudioSource::Frame(_));
            assert_eq!(has_frame, json.get("binaryFrames").is_some(), "{name}");
            assert_eq!(
                request.mobile_transcription.is_some(),
                json.get("mobileTranscription").is_some()
            );
            assert_eq!(request.post_id.as_deref(), json["postId"].as_str());
        }
    }
}
