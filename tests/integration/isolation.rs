//! Jobs side by side: none waits for, changes or breaks another.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, fixture_models};
use crate::support::gateway::{Event, Gateway};
use crate::support::recordings;
use crate::support::voice_job::{Answer, Expected, repeated_recording, voice_message, with_words};
use crate::support::wait_for;

const BATCH_SIZE: &str = "translator_engine_batch_size_bucket";
const SYNTHESIZE: &str = "engine=\"synthesize\"";

/// A voice message with its recording and the languages that are heard.
struct Message {
    request: Value,
    recording: Vec<u8>,
    spoken: &'static [&'static str],
}

/// Voice messages that differ in everything.
fn messages() -> Vec<Message> {
    let other_speaker = fixture_models().join("audio/second_speaker.ogg");
    let french = with_words(
        voice_message("a", &["en", "es"]),
        "fr",
        "bonjour mon ami. comment vas-tu ce soir.",
    );
    let english = with_words(
        voice_message("b", &["fr", "de", "it"]),
        "en",
        "the train is late. we wait in the house.",
    );
    vec![
        Message {
            request: french,
            recording: recordings::bundled(),
            spoken: &["en", "es"],
        },
        Message {
            request: english,
            recording: std::fs::read(other_speaker).unwrap(),
            spoken: &["fr", "de", "it"],
        },
        Message {
            // Its words are heard in the recording.
            request: voice_message("c", &["pt", "fr"]),
            recording: repeated_recording(2),
            spoken: &["pt", "fr"],
        },
    ]
}

#[test]
fn jobs_at_once_answer_as_each_does_alone() {
    let alone: Vec<Answer> = {
        let daemon = Daemon::start();
        let mut gateway = Gateway::connect(daemon.ports);
        let answers = messages().into_iter().map(|message| {
            let expected = Expected::spoken(message.spoken);
            Answer::to(
                &mut gateway,
                &daemon,
                &message.request,
                &[&message.recording],
                expected,
            )
        });
        answers.collect()
    };

    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let messages = messages();
    for message in &messages {
        gateway.send(&message.request, &[&message.recording]);
    }
    let mut left = messages.len();
    let events = gateway.events_until("end of every job", |event| {
        left -= usize::from(event.kind() == "audio_process_completed");
        left == 0
    });
    let mut task_ids = Vec::new();
    let mut texts = Vec::new();
    for (message, alone) in messages.iter().zip(&alone) {
        let id = message.request["messageId"].as_str().unwrap();
        let together = Answer::among(&events, id);
        together.check(&daemon, &message.request, Expected::spoken(message.spoken));
        let words = &together.completed().json["transcription"]["text"];
        assert_eq!(words, &alone.completed().json["transcription"]["text"]);
        if let Some(device) = message.request.get("mobileTranscription") {
            assert_eq!(words, &device["text"]);
        }
        for language in message.spoken {
            assert_eq!(together.translated(language), alone.translated(language));
            // To the bit: neither the words, nor the voice, nor the sampling of another job is in it.
            assert_eq!(
                together.speech(language),
                alone.speech(language),
                "{id} {language}"
            );
            texts.push(together.translated(language)["translatedText"].clone());
        }
        assert!(together.embedding() == alone.embedding(), "{id}");
        task_ids.push(together.completed().text("taskId").to_owned());
    }
    assert_eq!(
        events.len(),
        alone
            .iter()
            .map(|answer| answer.events.len())
            .sum::<usize>()
    );
    task_ids.sort();
    task_ids.dedup();
    assert_eq!(
        task_ids.len(),
        messages.len(),
        "every job has a task id of its own"
    );
    let all = texts.len();
    texts.sort_by_key(Value::to_string);
    texts.dedup();
    assert_eq!(
        texts.len(),
        all,
        "every text is another: a mixture would show"
    );
}

#[test]
fn the_languages_of_one_message_are_spoken_in_one_batch() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let text = "the train is late. we wait in the house. my friend is here. how are you.";
    let languages = ["fr", "es", "de", "it"];
    let request = with_words(voice_message("batch", &languages), "en", text);
    let recording = recordings::bundled();
    Answer::to(
        &mut gateway,
        &daemon,
        &request,
        &[&recording],
        Expected::spoken(&languages),
    );

    let steps = |bound: &str| daemon.metric(BATCH_SIZE, &[SYNTHESIZE, &format!("le=\"{bound}\"")]);
    assert!(steps("+Inf") > 0.0, "the synthesizer took steps");
    assert!(
        steps("4") > steps("2"),
        "no step with more than two languages"
    );
    assert_eq!(steps("+Inf"), steps("4"), "one request for each language");
}

#[test]
fn texts_are_answered_while_every_place_for_audio_is_taken() {
    let daemon = Daemon::start_with(&[
        ("MAX_CONCURRENT_JOBS", "2"),
        ("TRANSLATOR_FAULT", "synthesize:pause"),
    ]);
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    for name in ["first", "second", "waiting"] {
        gateway.send(&voice_message(name, &["fr"]), &[&recording]);
    }
    wait_for("two voice messages that hang", || {
        let paused = daemon.log().matches("fault: paused").count();
        (paused == 2).then_some(())
    });
    gateway.send(
        &json!({
            "type": "translation", "taskId": "task", "messageId": "text", "text": "hello my friend",
            "sourceLanguage": "en", "targetLanguages": ["fr", "es"],
        }),
        &[],
    );
    gateway.send(&json!({"type": "ping", "timestamp": 1}), &[]);
    let mut languages = 0;
    let events = gateway.events_until("both translations", |event| {
        languages += usize::from(event.kind() == "translation_completed");
        languages == 2
    });
    let audio = events
        .iter()
        .filter(|event| !event.text("messageId").is_empty());
    let audio: Vec<&str> = audio.map(Event::kind).collect();
    assert_eq!(
        audio, ["transcription_ready"; 2],
        "the voice messages still hang"
    );
    let rest = gateway.listen(Duration::from_millis(500));
    assert!(rest.iter().all(|event| event.kind() == "pong"), "{rest:?}");
}

#[test]
fn a_failing_language_leaves_the_others() {
    for fault in ["synthesize.fr:fail", "translate.fr:fail", "encode.fr:fail"] {
        let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", fault)]);
        let mut gateway = Gateway::connect(daemon.ports);
        let recording = recordings::bundled();
        let request = voice_message("three", &["es", "fr", "de"]);
        let expected = Expected::spoken(&["es", "de"]).beside_failing(1);
        Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);

        // Alone it is the whole job; the transcript arrives all the same.
        let code = match fault.split_once('.') {
            Some(("translate", _)) => "translation_failed",
            _ => "tts_failed",
        };
        let request = voice_message("one", &["fr"]);
        let expected = Expected::error(code).beside_failing(1);
        Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    }
}

#[test]
fn a_language_whose_task_panics_leaves_the_others_and_the_daemon() {
    let daemon = Daemon::start_with(&[("TRANSLATOR_FAULT", "synthesize.fr:panic")]);
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = recordings::bundled();
    let request = voice_message("panic", &["es", "fr"]);
    let expected = Expected::spoken(&["es"]).beside_failing(1);
    Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
    let request = voice_message("after", &["es", "de"]);
    let expected = Expected::spoken(&["es", "de"]);
    Answer::to(&mut gateway, &daemon, &request, &[&recording], expected);
}

#[test]
fn two_messages_of_one_sender_at_once_make_one_voice() {
    let daemon = Daemon::start();
    let mut gateway = Gateway::connect(daemon.ports);
    let recording = repeated_recording(2);
    let requests = ["left", "right"].map(|name| {
        let mut request = voice_message(name, &["fr"]);
        request["senderId"] = json!("sender");
        request
    });
    for request in &requests {
        gateway.send(request, &[&recording]);
    }
    let mut left = requests.len();
    let events = gateway.events_until("end of both jobs", |event| {
        left -= usize::from(event.kind() == "audio_process_completed");
        left == 0
    });
    let mut new_voices = 0;
    for request in &requests {
        let answer = Answer::among(&events, request["messageId"].as_str().unwrap());
        answer.check(&daemon, request, Expected::spoken(&["fr"]));
        assert_eq!(answer.translated("fr")["voiceCloned"], true);
        new_voices += usize::from(answer.embedding().is_some());
    }
    assert_eq!(
        new_voices, 1,
        "the second job waits for the first one's voice"
    );
}

#[test]
fn every_gateway_gets_every_event() {
    let daemon = Daemon::start();
    let mut gateways = [
        Gateway::connect_subscribed(daemon.ports),
        Gateway::connect_subscribed(daemon.ports),
    ];
    for (gateway, name) in gateways.iter_mut().zip(["one", "two"]) {
        let request = voice_message(name, &["fr"]);
        gateway.send(&request, &[&recordings::bundled()]);
    }
    let seen = gateways.each_ref().map(|gateway| {
        let mut left = 2;
        let events = gateway.events_until("end of both jobs", |event| {
            left -= usize::from(event.kind() == "audio_process_completed");
            left == 0
        });
        let of_messages = events
            .iter()
            .filter(|event| !event.text("messageId").is_empty());
        let mut jobs: Vec<String> = of_messages.map(|event| event.json.to_string()).collect();
        jobs.sort();
        jobs
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].len(), 6);
}
