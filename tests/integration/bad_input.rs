//! Whatever a peer sends: the answer that the contract has for it, or none, and a daemon that goes on.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::gateway::{Event, Gateway};
use crate::support::recordings::{self, CONVERSIONS};
use crate::support::requests::{audio_process, transcription_only, translation};

/// Ends of an audio job.
const ENDS: &[&str] = &["audio_process_completed", "audio_process_error"];

fn started(environment: &[(&str, &str)]) -> (Daemon, Gateway) {
    let daemon = Daemon::start_with(environment);
    let gateway = Gateway::connect_subscribed(daemon.ports);
    (daemon, gateway)
}

/// The daemon answers a ping, does a text and a voice message, and nothing in it has panicked.
fn assert_works(daemon: &Daemon, gateway: &mut Gateway) {
    let pong = gateway.ping();
    assert_eq!(pong.json["audio_pipeline_available"], true, "{pong:?}");

    gateway.send(
        &translation("honest-text", "Hello my friend.", "en", &["fr"]),
        &[],
    );
    let translated = gateway.next("translation_completed");
    assert_eq!(
        translated.json["result"]["translatedText"],
        "Bonjour mon ami."
    );

    gateway.send(
        &audio_process("honest-audio", &["fr"]),
        &[&recordings::bundled()],
    );
    let last = gateway.events_of("honest-audio", ENDS).pop().unwrap();
    assert_eq!(last.kind(), "audio_process_completed", "{last:?}");
    assert_eq!(
        last.json["translatedAudios"].as_array().unwrap().len(),
        1,
        "{last:?}"
    );

    assert!(!daemon.log().contains("panicked"), "something panicked");
}

fn assert_failure(event: &Event, kind: &str, (code, reason, stage): (&str, &str, &str)) {
    let found = (
        event.kind(),
        event.text("errorCode"),
        event.text("reason"),
        event.text("stage"),
    );
    assert_eq!(found, (kind, code, reason, stage), "{event:?}");
    assert!(!event.text("error").is_empty(), "{event:?}");
    assert!(!event.text("taskId").is_empty(), "{event:?}");
}

#[test]
fn what_is_no_request_is_counted_and_dropped() {
    let (daemon, mut gateway) = started(&[]);
    let before = daemon.metric("translator_requests_rejected_total", &["invalid_request"]);
    let deep_array = "[".repeat(200_000);
    let deep_object = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    let many_values = format!("{{\"type\":\"ping\",\"a\":[{}0]}}", "0,".repeat(300_000));
    let too_deep = format!(
        "{{\"type\":\"ping\",\"a\":{}{}}}",
        "[".repeat(32),
        "]".repeat(32)
    );
    let too_long = format!("{{\"type\":\"ping\"{}}}", " ".repeat(4 << 20));
    let messages: Vec<&[u8]> = vec![
        b"",
        b"{",
        b"{\"type\":\"ping\"",
        b"\xff\xfe\x00",
        b"[1,2,3]",
        b"[{\"type\":\"ping\"}]",
        b"null",
        b"\"ping\"",
        b"17",
        b"{}",
        b"{\"type\":\"\"}",
        b"{\"type\":7,\"taskId\":[]}",
        b"{\"type\":\"make_coffee\"}",
        b"{\"type\":\"make_coffee\",\"taskId\":\"t\"}",
        b"{\"type\":\"voice_health\"}",
        deep_array.as_bytes(),
        deep_object.as_bytes(),
        many_values.as_bytes(),
        too_deep.as_bytes(),
        too_long.as_bytes(),
    ];
    for message in &messages {
        gateway.send_raw(&[message]);
    }
    let answers = gateway.events_of_what_was_sent();
    assert!(answers.is_empty(), "{answers:?}");
    let after = daemon.metric("translator_requests_rejected_total", &["invalid_request"]);
    assert!(after - before >= messages.len() as f64, "{before} {after}");
    assert_works(&daemon, &mut gateway);
}

#[test]
fn large_requests_are_served_or_answered() {
    let (daemon, mut gateway) = started(&[]);

    let mut padded = translation("padded", "Hello my friend.", "en", &["fr"]);
    padded["padding"] = "x".repeat(2 << 20).into();
    gateway.send(&padded, &[]);
    let event = gateway.next("translation_completed");
    assert_eq!(event.json["result"]["translatedText"], "Bonjour mon ami.");

    // More frames than any request needs: nothing of them is kept but the ids.
    let recording = recordings::bundled();
    let frames: Vec<&[u8]> = vec![&recording; 20];
    gateway.send(&audio_process("twenty-frames", &["fr"]), &frames);
    let event = gateway.next("audio_process_error");
    assert_eq!(event.text("messageId"), "twenty-frames");
    let expected = ("transcription_failed", "audio_too_large", "intake");
    assert_failure(&event, "audio_process_error", expected);
    gateway.send(&transcription_only("twenty-frames"), &frames);
    let event = gateway.next("transcription_error");
    assert_failure(&event, "transcription_error", expected);

    // A frame beyond the limit costs its sender the connection, nobody else anything.
    let mut hostile = Gateway::connect(daemon.ports);
    hostile.send(
        &audio_process("seventy-megabytes", &["fr"]),
        &[&vec![0; 70 << 20]],
    );
    assert_works(&daemon, &mut gateway);
}

#[test]
fn incomplete_requests_are_answered_with_what_is_wrong() {
    let (daemon, mut gateway) = started(&[]);
    let recording = recordings::bundled();
    let mut answer = |request: &Value, frames: &[&[u8]]| {
        gateway.send(request, frames);
        let mut answers = gateway.events_of_what_was_sent();
        assert!(answers.len() <= 1, "{request}: {answers:?}");
        answers.pop()
    };

    let unknown = answer(
        &json!({"type": "voice_dance", "taskId": "v", "userId": "u"}),
        &[],
    )
    .unwrap();
    assert_eq!(unknown.kind(), "voice_api_error");
    assert_eq!(unknown.text("taskId"), "v");
    assert_eq!(unknown.text("requestType"), "voice_dance");
    assert_eq!(unknown.text("errorCode"), "INVALID_REQUEST");

    // Voice messages.
    let invalid = ("processing_failed", "invalid_request", "intake");
    let no_audio = ("transcription_failed", "no_audio", "intake");
    let without = |key: &str| {
        let mut request = audio_process("m", &["fr"]);
        request.as_object_mut().unwrap().remove(key);
        request["postId"] = "p".into();
        request["postMediaId"] = "pm".into();
        request
    };
    let with = |key: &str, value: Value| {
        let mut request = without(key);
        request[key] = value;
        request
    };
    let languages: Vec<String> = (0..300).map(|i| format!("l{i}")).collect();
    for (request, expected) in [
        (without("attachmentId"), invalid),
        (without("senderId"), invalid),
        (with("attachmentId", json!(7)), invalid),
        (with("senderId", json!("s".repeat(10_000))), invalid),
        (with("targetLanguages", json!(languages)), invalid),
        (without("binaryFrames"), no_audio),
        (with("binaryFrames", json!({})), no_audio),
        (with("binaryFrames", json!([1])), no_audio),
        (with("binaryFrames", json!({"audio": 0})), no_audio),
        (with("binaryFrames", json!({"audio": 2})), no_audio),
        (with("binaryFrames", json!({"audio": -1})), no_audio),
        (with("binaryFrames", json!({"audio": 1.5})), no_audio),
        (with("binaryFrames", json!({"audio": "1"})), no_audio),
        (with("binaryFrames", json!({"audio": u64::MAX})), no_audio),
    ] {
        let event = answer(&request, &[&recording]).unwrap_or_else(|| panic!("{request}"));
        assert_failure(&event, "audio_process_error", expected);
        assert_eq!(event.text("messageId"), "m");
        assert_eq!(event.text("postId"), "p");
        assert_eq!(event.text("postMediaId"), "pm");
    }
    let event = answer(&without("audioUrl"), &[b""]).unwrap();
    assert_failure(&event, "audio_process_error", no_audio);
    // Nobody could tell what an answer without this id belongs to.
    assert!(answer(&without("messageId"), &[&recording]).is_none());
    assert!(answer(&with("messageId", json!("m".repeat(10_000))), &[&recording]).is_none());

    // Transcriptions.
    for (key, reason) in [
        ("taskId", "invalid_request"),
        ("messageId", "invalid_request"),
        ("binaryFrames", "no_audio"),
    ] {
        let mut request = transcription_only("t");
        request.as_object_mut().unwrap().remove(key);
        let event = answer(&request, &[&recording]).unwrap_or_else(|| panic!("{key}"));
        let expected = ("transcription_failed", reason, "intake");
        assert_failure(&event, "transcription_error", expected);
    }

    // Texts.
    for (key, value, reason) in [
        ("text", Value::Null, "invalid_request"),
        ("text", json!(""), "invalid_request"),
        ("text", json!({"a": 1}), "invalid_request"),
        ("messageId", Value::Null, "invalid_request"),
        ("targetLanguages", Value::Null, "invalid_request"),
        ("targetLanguages", json!([]), "invalid_request"),
        ("targetLanguages", json!("fr"), "invalid_request"),
        ("targetLanguages", json!([1, null, {}]), "invalid_request"),
        (
            "targetLanguages",
            json!(["q1", "../fr"]),
            "unsupported_language",
        ),
    ] {
        let mut request = translation("t", "Hello.", "en", &["fr"]);
        request[key] = value;
        let event = answer(&request, &[]).unwrap_or_else(|| panic!("{request}"));
        assert_eq!(event.kind(), "translation_error", "{event:?}");
        assert_eq!(event.text("taskId"), "t");
        assert_eq!(event.text("reason"), reason, "{request}");
        assert_eq!(event.text("stage"), "intake");
        assert!(!event.text("error").is_empty());
        if reason == "unsupported_language" {
            assert_eq!(
                event.json["metadata"]["failedLanguages"],
                json!(["q1", "../fr"])
            );
        }
    }

    // Story texts have no error event: the answer is empty.
    let mut story = json!({
        "type": "story_text_object_translation", "postId": "p", "textObjectIndex": 0,
        "targetLanguages": ["fr"],
    });
    let event = answer(&story, &[]).unwrap();
    assert_eq!(event.kind(), "story_text_object_translation_completed");
    assert_eq!(event.json["translations"], json!({}));
    story.as_object_mut().unwrap().remove("postId");
    assert!(answer(&story, &[]).is_none());

    assert_works(&daemon, &mut gateway);
}

#[test]
fn optional_fields_of_a_wrong_type_count_as_absent() {
    let (daemon, mut gateway) = started(&[]);
    let mut request = audio_process("odd", &[]);
    for (key, value) in [
        ("taskId", json!(5)),
        ("conversationId", json!({})),
        ("audioUrl", json!([])),
        ("audioPath", json!(1)),
        ("audioBase64", json!(true)),
        ("audioMimeType", json!(null)),
        ("audioDurationMs", json!("long")),
        ("mobileTranscription", json!("hello")),
        ("userLanguage", json!(33)),
        ("generateVoiceClone", json!("yes")),
        ("modelType", json!("gigantic")),
        ("originalSenderId", json!([])),
        ("existingVoiceProfile", json!("v")),
        ("useOriginalVoice", json!(1)),
        ("voiceCloneParams", json!([{"temperature": "hot"}])),
        ("postId", json!(false)),
        (
            "targetLanguages",
            json!(["fr", 7, null, ["es"], "FR", "fr-CA"]),
        ),
        (
            "binaryFrames",
            json!({"audio": 1, "voiceProfile": "2", "embedding": 9, "audioMimeType": 1}),
        ),
    ] {
        request[key] = value;
    }
    gateway.send(&request, &[&recordings::bundled(), b"no voice"]);
    let last = gateway.events_of("odd", ENDS).pop().unwrap();
    assert_eq!(last.kind(), "audio_process_completed", "{last:?}");
    assert_eq!(last.json["transcription"]["source"], "whisper");
    assert_eq!(last.json["voiceModelUserId"], "sender");
    assert!(last.json.get("postId").is_none());
    let languages: Vec<&Value> = last.json["translatedAudios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|audio| &audio["targetLanguage"])
        .collect();
    assert_eq!(languages, ["fr"]);

    // Numbers out of all proportion.
    let mut request = audio_process("vast", &["fr"]);
    request["audioDurationMs"] = json!(u64::MAX);
    request["mobileTranscription"] = json!({
        "text": "hello my friend.", "language": "auto", "confidence": 1e308,
        "segments": [
            {"text": "hello", "startMs": 9e15, "endMs": -4},
            {"text": "my", "startMs": "0"}, 3, null,
        ],
    });
    request["voiceCloneParams"] = json!({"chatterbox": {"temperature": -1e300, "topP": 1e300}});
    request["existingVoiceProfile"] = json!({"qualityScore": -7, "embedding": "????"});
    gateway.send(&request, &[&recordings::bundled()]);
    let last = gateway.events_of("vast", ENDS).pop().unwrap();
    assert_eq!(last.kind(), "audio_process_completed", "{last:?}");
    assert_eq!(last.json["transcription"]["confidence"], 1.0);
    assert_ne!(last.json["transcription"]["language"], "auto");
    assert_works(&daemon, &mut gateway);
}

/// What the daemon makes of a recording whose job fails before a transcript.
fn refused(gateway: &mut Gateway, name: &str, request: &Value, frames: &[&[u8]]) -> Event {
    gateway.send(request, frames);
    let mut events = gateway.events_of(name, ENDS);
    let event = events.pop().unwrap();
    assert!(events.is_empty(), "{name}: {events:?}");
    event
}

#[test]
fn recordings_that_cannot_be_decoded_are_refused_with_the_reason() {
    let (daemon, mut gateway) = started(&[]);
    let noise: Vec<u8> = (0..50_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut claims_to_be_ogg = b"OggS".to_vec();
    claims_to_be_ogg.extend(&noise);
    let amr = [&b"#!AMR\n"[..], &noise[..2000]].concat();
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01";
    let page = b"<!DOCTYPE html><html><body>404</body></html>";
    for (name, bytes, reason) in [
        ("one byte", b"x".to_vec(), "malformed_audio"),
        ("random bytes", noise.clone(), "malformed_audio"),
        (
            "a text file",
            b"Dear diary, today\n".repeat(500),
            "malformed_audio",
        ),
        ("a web page", page.to_vec(), "malformed_audio"),
        ("a picture", picture.to_vec(), "malformed_audio"),
        ("half an ogg", claims_to_be_ogg, "malformed_audio"),
        ("an empty wav", wav(16_000, &[], 0), "no_audio"),
        ("amr", amr, "unsupported_codec"),
    ] {
        let request = audio_process(name, &["fr"]);
        let event = refused(&mut gateway, name, &request, &[&bytes]);
        let expected = ("transcription_failed", reason, "decode");
        assert_failure(&event, "audio_process_error", expected);
        assert_eq!(event.text("attachmentId"), format!("attachment-of-{name}"));
    }
    for (codec, arguments) in [
        ("speex", &["-ar", "16000", "-c:a", "libspeex", "-f", "ogg"]),
        ("wma", &["-ar", "16000", "-c:a", "wmav2", "-f", "asf"]),
        ("ac3", &["-ar", "48000", "-c:a", "ac3", "-f", "ac3"]),
    ] {
        let Some(bytes) = converted(arguments) else {
            return;
        };
        let event = refused(
            &mut gateway,
            codec,
            &audio_process(codec, &["fr"]),
            &[&bytes],
        );
        let expected = ("transcription_failed", "unsupported_codec", "decode");
        assert_failure(&event, "audio_process_error", expected);
    }

    gateway.send(&transcription_only("noise"), &[&noise]);
    let event = gateway.next("transcription_error");
    let expected = ("transcription_failed", "malformed_audio", "decode");
    assert_failure(&event, "transcription_error", expected);
    assert_works(&daemon, &mut gateway);
}

#[test]
fn headers_and_tight_compression_cost_no_more_than_the_limits_allow() {
    let limits = [
        ("AUDIO_MAX_SIZE_MB", "1"),
        ("AUDIO_MAX_DURATION_SECS", "60"),
    ];
    let (daemon, mut gateway) = started(&limits);
    let mut refuse = |name: &str, bytes: &[u8], reason: &str| {
        let event = refused(&mut gateway, name, &audio_process(name, &["fr"]), &[bytes]);
        assert_failure(
            &event,
            "audio_process_error",
            ("transcription_failed", reason, "decode"),
        );
    };
    refuse("large", &vec![7; (1 << 20) + 1], "audio_too_large");
    refuse(
        "long",
        &wav(8_000, &vec![0; 8_000 * 61], 8_000 * 61),
        "audio_too_long",
    );
    // Ten hours of silence in less than a megabyte.
    if let Some(bomb) = generated(
        "anullsrc=r=8000:cl=mono",
        "36000",
        &["-frame_size", "65535", "-f", "flac"],
    ) {
        assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
        refuse("bomb", &bomb, "audio_too_long");
    }

    // A header that claims three hours is no reason to refuse what is really there.
    let samples: Vec<i16> = (0..16_000)
        .map(|i| ((i % 80) * 200 - 8_000) as i16)
        .collect();
    let boastful = wav(16_000, &samples, 3 * 3600 * 16_000);
    gateway.send(&transcription_only("boastful"), &[&boastful]);
    let event = gateway.next("transcription_completed");
    assert_eq!(event.json["transcription"]["durationMs"], 1000, "{event:?}");
    assert_works(&daemon, &mut gateway);
}

#[test]
fn silence_is_completed_without_speech() {
    let (daemon, mut gateway) = started(&[]);
    let mut recordings = vec![("silent-wav", wav(16_000, &[0; 32_000], 32_000))];
    let opus = ["-c:a", "libopus", "-f", "ogg"];
    recordings
        .extend(generated("anullsrc=r=48000:cl=mono", "2", &opus).map(|ogg| ("silent-opus", ogg)));
    for (name, bytes) in recordings {
        gateway.send(&audio_process(name, &["fr", "es"]), &[&bytes]);
        let events = gateway.events_of(name, ENDS);
        let [completed] = &events[..] else {
            panic!("{name}: {events:?}");
        };
        assert_eq!(completed.kind(), "audio_process_completed");
        assert_eq!(completed.json["transcription"]["text"], "");
        assert_eq!(completed.json["transcription"]["confidence"], 0.0);
        assert_eq!(completed.json["transcription"]["language"], "fr");
        assert_eq!(completed.json["translatedAudios"], json!([]));
        assert_eq!(completed.json["binaryFrames"], json!({}));
        assert!(completed.frames.is_empty());

        gateway.send(&transcription_only(name), &[&bytes]);
        let event = gateway.next("transcription_completed");
        assert_eq!(event.json["transcription"]["text"], "");
    }
    assert_works(&daemon, &mut gateway);
}

#[test]
fn truncated_recordings_give_what_they_hold_or_the_reason() {
    let (daemon, mut gateway) = started(&[]);
    let whole_wav = recordings::convert(&bundled_file(), &["-ar", "16000", "-f", "wav"]);
    let Some(whole_wav) = whole_wav else { return };
    let mut formats = vec![("wav", whole_wav)];
    for (name, arguments) in CONVERSIONS {
        formats.push((
            name,
            recordings::convert(&bundled_file(), arguments).unwrap(),
        ));
    }
    for (name, whole) in formats {
        let cut = &whole[..whole.len() * 6 / 10];
        gateway.send(&transcription_only(&format!("{name}-cut")), &[cut]);
        let event = gateway.events_until("end", |event| event.kind().starts_with("transcription"));
        let event = event.last().unwrap();
        if name == "m4a" {
            // Its index stands at the end.
            let expected = ("transcription_failed", "malformed_audio", "decode");
            assert_failure(event, "transcription_error", expected);
        } else {
            assert_eq!(event.kind(), "transcription_completed", "{name}: {event:?}");
            let duration_ms = event.json["transcription"]["durationMs"].as_u64().unwrap();
            assert!(
                (1_000..5_900).contains(&duration_ms),
                "{name}: {duration_ms} ms of 6000"
            );
        }

        gateway.send(
            &transcription_only(&format!("{name}-head")),
            &[&whole[..24]],
        );
        let event = gateway.next("transcription_error");
        assert_eq!(event.text("errorCode"), "transcription_failed");
        assert!(
            ["malformed_audio", "no_audio"].contains(&event.text("reason")),
            "{name}: {event:?}"
        );
    }
    assert_works(&daemon, &mut gateway);
}

#[test]
fn sources_that_must_not_be_read_are_refused() {
    let (daemon, mut gateway) = started(&[("AUDIO_URL_HOSTS", "media.example.test")]);
    let uploads = daemon.folder().join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    let secret = daemon.folder().join("secret.ogg");
    std::fs::write(&secret, recordings::bundled()).unwrap();
    std::os::unix::fs::symlink(&secret, uploads.join("link.ogg")).unwrap();
    let named_pipe = std::process::Command::new("mkfifo")
        .arg(uploads.join("pipe"))
        .status();
    assert!(named_pipe.unwrap().success());

    let no_frame = |name: &str, key: &str, value: &str| {
        let mut request = audio_process(name, &["fr"]);
        request.as_object_mut().unwrap().remove("binaryFrames");
        request[key] = value.into();
        request
    };
    let port = daemon.ports.http;
    let absolute = secret.display().to_string();
    let local = format!("http://127.0.0.1:{port}/live");
    let disguised = format!("http://media.example.test@127.0.0.1:{port}/live");
    for (key, value) in [
        ("audioPath", "../secret.ogg"),
        ("audioPath", "uploads/../secret.ogg"),
        ("audioPath", "link.ogg"),
        ("audioPath", absolute.as_str()),
        ("audioPath", "/etc/passwd"),
        ("audioPath", "secret.ogg"),
        ("audioPath", "missing.ogg"),
        ("audioPath", "pipe"),
        ("audioPath", "."),
        ("audioPath", "a\u{0}b"),
        ("audioUrl", local.as_str()),
        ("audioUrl", disguised.as_str()),
        ("audioUrl", "file:///etc/passwd"),
        ("audioUrl", "not a url"),
        ("audioBase64", "this is no base64!"),
        ("audioBase64", "data:audio/ogg;base64,@@@@"),
    ] {
        let name = format!("{key} {value}").replace('\u{0}', "NUL");
        let event = refused(&mut gateway, &name, &no_frame(&name, key, value), &[]);
        assert_failure(
            &event,
            "audio_process_error",
            ("transcription_failed", "no_audio", "decode"),
        );
        let quoted = event.text("error").contains(value) && value.len() > 3;
        assert!(!quoted, "the answer quotes the request: {event:?}");
    }

    // The same sources serve what they may serve; the first that works is taken.
    std::fs::write(uploads.join("note.ogg"), recordings::bundled()).unwrap();
    let base64 = STANDARD.encode(recordings::bundled());
    for (key, value) in [
        ("audioPath", "note.ogg"),
        ("audioPath", "uploads/note.ogg"),
        ("audioBase64", base64.as_str()),
    ] {
        let name = format!("good {}", &value[..8]);
        let mut request = no_frame(&name, key, value);
        if key == "audioPath" {
            request["audioBase64"] = "no base64".into();
        }
        request["targetLanguages"] = json!([]);
        gateway.send(&request, &[]);
        let last = gateway.events_of(&name, ENDS).pop().unwrap();
        assert_eq!(last.kind(), "audio_process_completed", "{last:?}");
    }
    assert_works(&daemon, &mut gateway);
}

#[test]
fn hostile_ids_are_echoed_and_never_leave_the_folders() {
    let (daemon, mut gateway) = started(&[]);
    let parent = daemon.folder().parent().unwrap().to_owned();
    // A name that nobody else has given to a file there.
    let stray = format!("stray{}", daemon.ports.pull);
    let outside = format!("../../../../{stray}");
    let ids = [
        outside.as_str(),
        "/etc/cron.d/x",
        "a\u{0}b",
        "..",
        ".",
        "con\r\nX: y",
        "%2e%2e%2f",
        "${HOME}`id`",
        "\u{202e}txt.exe",
    ];
    for id in ids {
        let mut request = audio_process(id, &["fr"]);
        request["attachmentId"] = id.into();
        request["senderId"] = id.into();
        request["postId"] = id.into();
        gateway.send(&request, &[&recordings::bundled()]);
        let last = gateway.events_of(id, ENDS).pop().unwrap();
        assert_eq!(last.kind(), "audio_process_completed", "{id:?}: {last:?}");
        for key in ["messageId", "attachmentId", "postId", "voiceModelUserId"] {
            assert_eq!(last.text(key), id);
        }
        let audio = &last.json["translatedAudios"][0];
        let path = audio["audioPath"].as_str().unwrap();
        assert!(path.starts_with("outputs/audio/translated/"), "{path}");
        assert!(
            path.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_-.".contains(&b)),
            "{path}"
        );
        assert!(!path.contains(".."), "{path}");
        assert!(daemon.folder().join(path).is_file(), "{path}");
        assert!(
            audio["audioUrl"]
                .as_str()
                .unwrap()
                .starts_with("/outputs/audio/translated/")
        );
    }
    for file in files_below(daemon.folder()) {
        let name = file
            .strip_prefix(daemon.folder())
            .unwrap()
            .to_str()
            .unwrap();
        assert!(
            ["data/", "outputs/"]
                .iter()
                .any(|root| name.starts_with(root)),
            "{name}"
        );
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_-.".contains(&b)),
            "{name}"
        );
    }
    let left_outside = std::fs::read_dir(&parent).unwrap().flatten();
    for entry in left_outside {
        let name = entry.file_name();
        assert!(!name.to_string_lossy().contains(&stray), "{name:?}");
    }
    assert_works(&daemon, &mut gateway);
}

/// A mono 16-bit WAV file whose header claims `claimed` samples.
fn wav(sample_rate_hz: u32, samples: &[i16], claimed: u32) -> Vec<u8> {
    let data_bytes = claimed * 2;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36_u32.saturating_add(data_bytes)).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(sample_rate_hz.to_le_bytes());
    bytes.extend((sample_rate_hz * 2).to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(16_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(data_bytes.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

fn bundled_file() -> PathBuf {
    crate::support::daemon::fixture_models().join("audio/voice_message.ogg")
}

fn converted(arguments: &[&str]) -> Option<Vec<u8>> {
    recordings::convert(&bundled_file(), arguments)
}

/// Audio from one of ffmpeg's generators; `None` when there is no ffmpeg.
fn generated(source: &str, seconds: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("generated");
    let run = std::process::Command::new("ffmpeg")
        .args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            source,
            "-t",
            seconds,
        ])
        .args(arguments)
        .arg(&list)
        .status();
    if run.is_err() {
        crate::support::skip("REQUIRE_FFMPEG", "ffmpeg does not run");
        return None;
    }
    assert!(run.unwrap().success());
    Some(std::fs::read(list).unwrap())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
