use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::{contract, fixture, read};
use crate::domain::{Language, Segment, Transcript, TranscriptSource};
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::*;

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_250);

fn job() -> AudioJob {
    AudioJob {
        task_id: "0d5c8f7e-90f1-4c36-9d5e-5d6f3a1c2b01".to_owned(),
        message_id: "5f0000000000000000000a01".to_owned(),
        attachment_id: Some("5f0000000000000000000b01".to_owned()),
        post_id: None,
        post_media_id: None,
    }
}

fn segment(text: &str, start_ms: u64, end_ms: u64, language: Language) -> Segment {
    Segment {
        text: text.into(),
        start_ms,
        end_ms,
        confidence: Some(0.9),
        speaker_id: None,
        voice_similarity_score: None,
        language: Some(language),
    }
}

fn transcript() -> Transcript {
    Transcript {
        text: "Bonne route, à demain.".into(),
        language: Language::FRENCH,
        confidence: 0.91,
        source: TranscriptSource::Whisper,
        duration_ms: 2_480,
        model: Some("base".to_owned()),
        segments: vec![
            segment("Bonne route,", 80, 1_100, Language::FRENCH),
            segment("à demain.", 1_240, 2_300, Language::FRENCH),
        ],
    }
}

fn translated(code: &str, text: &str, audio: &'static [u8]) -> TranslatedAudio {
    let language = Language::parse(code).unwrap();
    TranslatedAudio {
        target_language: language,
        translated_text: text.into(),
        audio_url: format!("/outputs/audio/translated/2025/01/m_a_{code}.mp3"),
        audio_path: format!("outputs/audio/translated/2025/01/m_a_{code}.mp3"),
        duration_ms: 2_100,
        voice_cloned: true,
        voice_quality: 0.7,
        tts_model: "xtts".to_owned(),
        audio_mime_type: AUDIO_MP3.to_owned(),
        segments: vec![segment(text, 0, 2_100, language)],
        audio: Bytes::from_static(audio).into(),
    }
}

fn translation_completed() -> Event {
    let task_id = "7d0c9a4e-0f3b-4a55-8f0a-2b1f6f1f0a01".to_owned();
    Event::TranslationCompleted(Box::new(TranslationCompleted {
        task_id: task_id.clone(),
        target_language: "pt-br".to_owned(),
        result: TextResult {
            message_id: "comment:5f0000000000000000000a01".to_owned(),
            translated_text: "O trem parte ao meio-dia.".into(),
            source_language: Language::FRENCH,
            target_language: "pt-br".to_owned(),
            confidence_score: 0.95,
            processing_time: Duration::from_micros(412_345),
            model_type: ModelType::Medium,
            translator_model: ModelType::Basic,
            pool_type: Some(PoolType::Fast),
            translation_time: Some(Duration::from_millis(398)),
            queue_time: Some(Duration::from_millis(14)),
            segments_count: 2,
            emojis_count: 1,
        },
        timestamp: NOW,
        metadata: TextMetadata::new(task_id, Some("fr-en+en-pt".to_owned())),
    }))
}

fn audio_process_completed() -> Event {
    Event::AudioProcessCompleted(Box::new(AudioProcessCompleted {
        job: job(),
        transcription: transcript(),
        translated_audios: vec![
            translated("en", "Have a safe trip, see you tomorrow.", b"english"),
            translated("es", "Buen viaje, hasta mañana.", b"spanish speech"),
        ],
        voice_model_user_id: "5f0000000000000000000c01".to_owned(),
        voice_model_quality: 0.5,
        processing_time_ms: 3_210,
        timestamp: NOW,
        new_voice_profile: Some(NewVoiceProfile {
            user_id: "5f0000000000000000000c01".to_owned(),
            profile_id: "vp_01".to_owned(),
            quality_score: 0.5,
            audio_count: 1,
            total_duration_ms: 2_480,
            version: 1,
            embedding: Bytes::from_static(b"voice print").into(),
        }),
    }))
}

fn failure(code: ErrorCode) -> AudioFailure {
    AudioFailure {
        job: job(),
        failure: Failure {
            code,
            reason: Reason::UnsupportedCodec,
            stage: Stage::Decode,
            message: "audio could not be decoded: codec speex is not supported".to_owned(),
        },
        timestamp: NOW,
    }
}

fn result(post: bool) -> Box<TranscriptionResult> {
    let mut job = job();
    if post {
        job.post_id = Some("5f0000000000000000000d01".to_owned());
        job.post_media_id = Some("5f0000000000000000000d02".to_owned());
    }
    Box::new(TranscriptionResult {
        job,
        transcription: transcript(),
        processing_time_ms: 840,
        timestamp: NOW,
    })
}

fn speech() -> Box<AudioTranslation> {
    let audio = translated("en", "Have a safe trip, see you tomorrow.", b"english");
    Box::new(AudioTranslation::new(job(), audio, NOW))
}

fn story_text() -> Event {
    let mut event = StoryTextCompleted::new("5f0000000000000000000d01".to_owned(), 2, NOW);
    event.add("en".to_owned(), "Happy birthday".into());
    event.add("zh".to_owned(), "生日快乐".into());
    Event::StoryTextCompleted(event)
}

fn translation_error() -> Event {
    Event::TranslationError(TranslationError {
        task_id: "7d0c9a4e-0f3b-4a55-8f0a-2b1f6f1f0a01".to_owned(),
        message_id: Some("comment:5f0000000000000000000a01".to_owned()),
        error: POOL_FULL.to_owned(),
        conversation_id: Some("any".to_owned()),
        reason: Reason::Overloaded,
        stage: Stage::Intake,
        metadata: TextErrorMetadata::of(vec!["de".to_owned()]),
    })
}

/// Every event under the name of its fixture and, where it is another, of the contract's example.
fn every_event() -> Vec<(&'static str, &'static str, Event)> {
    let same = |name, event| (name, name, event);
    vec![
        same("pong", Event::Pong(Pong::new(5555, 5558, true, NOW))),
        same("translation_completed", translation_completed()),
        same("translation_error", translation_error()),
        same(
            "translation_skipped",
            Event::TranslationSkipped(TranslationSkipped::too_long(
                "m".to_owned(),
                "any".to_owned(),
                100_001,
                100_000,
            )),
        ),
        same("story_text_object_translation_completed", story_text()),
        same(
            "transcription_ready",
            Event::TranscriptionReady(result(false)),
        ),
        same(
            "transcription_ready.post",
            Event::TranscriptionReady(result(true)),
        ),
        same(
            "audio_translation_ready",
            Event::AudioTranslationReady(speech()),
        ),
        same(
            "audio_translations_progressive",
            Event::AudioTranslationsProgressive(speech()),
        ),
        same(
            "audio_translations_completed",
            Event::AudioTranslationsCompleted(speech()),
        ),
        same("audio_process_completed", audio_process_completed()),
        (
            "audio_process_completed",
            "audio_process_completed.seed",
            audio_process_completed(),
        ),
        same(
            "audio_process_error",
            Event::AudioProcessError(failure(ErrorCode::TranscriptionFailed)),
        ),
        same(
            "transcription_completed",
            Event::TranscriptionCompleted(result(false)),
        ),
        same(
            "transcription_error",
            Event::TranscriptionError(failure(ErrorCode::TranscriptionFailed)),
        ),
    ]
}

fn json(event: &Event) -> Value {
    serde_json::from_slice(&event.frames().unwrap()[0]).unwrap()
}

#[test]
fn every_event_is_written_as_its_fixture() {
    for (name, _, event) in every_event() {
        let mut expected = fixture(&format!("events/{name}.json"));
        if let Some(version) = expected.pointer_mut("/metadata/translatorVersion") {
            *version = env!("CARGO_PKG_VERSION").into();
        }
        assert_eq!(json(&event), expected, "{name}");
        assert_eq!(json(&event)["type"], event.kind(), "{name}");
    }
}

#[test]
fn every_event_has_the_shape_of_the_contracts_example() {
    let Some(folder) = contract::examples_folder() else {
        return;
    };
    for (_, name, event) in every_event() {
        let example = read(&folder.join(format!("{name}.json")));
        let problems = contract::event_problems(&example, &json(&event));
        assert_eq!(problems, Vec::<String>::new(), "{name}");
        assert_eq!(
            contract::frame_problems(&event.frames().unwrap()),
            Vec::<String>::new(),
            "{name}"
        );
    }
}

#[test]
fn audio_and_voice_print_travel_in_frames_of_their_own() {
    let frames = audio_process_completed().frames().unwrap();
    assert_eq!(
        frames[1..],
        [&b"english"[..], b"spanish speech", b"voice print"]
    );
    let frames = Event::AudioTranslationReady(speech()).frames().unwrap();
    assert_eq!(frames[1..], [&b"english"[..]]);
}

#[test]
fn a_language_given_twice_keeps_the_frames_in_step() {
    let Event::AudioProcessCompleted(mut event) = audio_process_completed() else {
        unreachable!();
    };
    event
        .translated_audios
        .insert(1, translated("en", "again", b"twice"));
    let frames = Event::AudioProcessCompleted(event).frames().unwrap();
    assert_eq!(contract::frame_problems(&frames), Vec::<String>::new());
    assert_eq!(frames.len(), 4);
}

#[test]
fn a_blank_transcript_says_nothing_with_no_confidence() {
    let mut result = result(false);
    result.transcription.text = "  ".into();
    let event = json(&Event::TranscriptionCompleted(result));
    assert_eq!(event["transcription"]["text"], "");
    assert_eq!(event["transcription"]["confidence"], 0.0);
    assert!(event["transcription"].get("segments").is_none());
}

#[test]
fn what_is_not_a_number_never_reaches_the_wire() {
    let mut result = result(false);
    result.transcription.confidence = f32::NAN;
    result.transcription.segments[0].confidence = Some(f32::INFINITY);
    result.transcription.segments[0].end_ms = 0;
    let event = json(&Event::TranscriptionReady(result));
    let transcription = &event["transcription"];
    assert_eq!(transcription["confidence"], 0.0);
    assert_eq!(transcription["segments"][0]["confidence"], 1.0);
    assert_eq!(
        transcription["segments"][0]["endMs"],
        transcription["segments"][0]["startMs"]
    );
}

#[test]
fn debug_output_shows_no_text() {
    let mut told = 0;
    for (name, event) in every_event().iter().map(|(name, _, event)| (name, event)) {
        let (shown, wire) = (format!("{event:?}"), json(event));
        for text in texts(&wire) {
            told += 1;
            assert!(!shown.contains(text), "{name}: {text:?} is in {shown}");
        }
    }
    assert!(told > 10, "{told} texts");
}

/// What was said in an event.
fn texts(json: &Value) -> Vec<&str> {
    match json {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(text) if key.to_lowercase().ends_with("text") => vec![text.as_str()],
                value => texts(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
