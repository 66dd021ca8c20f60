//! Voice messages as gateways send them, and what the contract says about every answer.

use std::collections::BTreeSet;

use meeshy_translator::domain::Deadline;
use meeshy_translator::stages::decode::{DecodeLimits, decode, resample};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::gateway::{Event, Gateway};
use super::wav::wav;
use super::{contract, examples};

/// Types that end a voice message.
const LAST: [&str; 2] = ["audio_process_completed", "audio_process_error"];

/// What MP3 may add to speech: the encoder's delay and the last frame's padding.
const MP3_PADDING_MS: u64 = 120;

/// A voice message in today's form, its recording in frame 1, with ids of its own.
pub fn voice_message(name: &str, targets: &[&str]) -> Value {
    json!({
        "type": "audio_process",
        "messageId": format!("message-{name}"),
        "attachmentId": format!("attachment-{name}"),
        "conversationId": "conversation",
        "senderId": format!("sender-{name}"),
        "audioUrl": "",
        "binaryFrames": {"audio": 1},
        "audioDurationMs": 0,
        "targetLanguages": targets,
        "generateVoiceClone": true,
        "modelType": "medium",
    })
}

/// The same with words that the sender's device heard.
pub fn with_words(mut message: Value, language: &str, text: &str) -> Value {
    message["mobileTranscription"] =
        json!({"text": text, "language": language, "confidence": 0.9, "source": "ios_speech"});
    message
}

/// What is expected of a voice message.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Languages that are heard, in the order of the request.
    pub spoken: &'a [&'a str],
    /// Languages with a voice that fail.
    pub failing: usize,
    /// Code of the error that follows when nothing of what was wanted can be heard.
    pub error: Option<&'a str>,
}

impl<'a> Expected<'a> {
    /// These languages and nothing else.
    pub fn spoken(spoken: &'a [&'a str]) -> Self {
        Self {
            spoken,
            failing: 0,
            error: None,
        }
    }

    /// No language, and this error.
    pub fn error(code: &'a str) -> Self {
        Self {
            spoken: &[],
            failing: 0,
            error: Some(code),
        }
    }

    /// Beside them, as many languages fail.
    pub fn beside_failing(self, failing: usize) -> Self {
        Self { failing, ..self }
    }
}

/// All events of one voice message, in the order of their arrival.
pub struct Answer {
    pub events: Vec<Event>,
}

impl Answer {
    /// Sends a voice message, waits for its end and checks everything that the contract says of it.
    pub fn to(
        gateway: &mut Gateway,
        daemon: &Daemon,
        request: &Value,
        frames: &[&[u8]],
        expected: Expected<'_>,
    ) -> Self {
        gateway.send(request, frames);
        let id = request["messageId"].as_str().unwrap();
        let mut events = gateway.events_of(id, &LAST);
        if expected.error.is_some() && events.last().is_some_and(|e| e.kind() == LAST[0]) {
            events.extend(gateway.events_of(id, &LAST[1..]));
        }
        events.extend(gateway.rest_of(id));
        let answer = Self { events };
        answer.check(daemon, request, expected);
        answer
    }

    /// Picks one message's events out of those of several.
    pub fn among(events: &[Event], message_id: &str) -> Self {
        let of_message = |event: &&Event| event.text("messageId") == message_id;
        Self {
            events: events.iter().filter(of_message).cloned().collect(),
        }
    }

    /// Types in the order of arrival.
    pub fn kinds(&self) -> Vec<&str> {
        self.events.iter().map(Event::kind).collect()
    }

    /// The event that lists everything.
    pub fn completed(&self) -> &Event {
        let mut events = self.events.iter();
        events
            .find(|event| event.kind() == LAST[0])
            .unwrap_or_else(|| panic!("not completed: {:?}", self.events))
    }

    /// Languages of the last event, in its order.
    pub fn languages(&self) -> Vec<&str> {
        let audios = self.completed().json["translatedAudios"].as_array();
        audios
            .unwrap()
            .iter()
            .map(|audio| audio["targetLanguage"].as_str().unwrap())
            .collect()
    }

    /// What the last event says of one language.
    pub fn translated(&self, language: &str) -> &Value {
        let audios = self.completed().json["translatedAudios"].as_array();
        let mut audios = audios.unwrap().iter();
        audios
            .find(|audio| audio["targetLanguage"] == language)
            .unwrap_or_else(|| panic!("no {language}"))
    }

    /// The last event's frame of that name.
    pub fn frame(&self, name: &str) -> Option<&[u8]> {
        let completed = self.completed();
        let index = completed.json["binaryFrames"][name]["index"].as_u64()?;
        Some(&completed.frames[index as usize - 1])
    }

    /// One language's MP3.
    pub fn speech(&self, language: &str) -> &[u8] {
        self.frame(&format!("audio_{language}"))
            .unwrap_or_else(|| panic!("no speech in {language}"))
    }

    /// The voice print for the gateway to keep.
    pub fn embedding(&self) -> Option<&[u8]> {
        self.frame("embedding")
    }

    /// Checks everything that the contract says of every voice message.
    pub fn check(&self, daemon: &Daemon, request: &Value, expected: Expected<'_>) {
        assert_shapes(&self.events);
        self.check_ids(request);
        self.check_order(expected);
        self.check_voice(request);
        self.check_speech(daemon, expected);
    }

    fn check_ids(&self, request: &Value) {
        let task_ids: BTreeSet<&str> = self.events.iter().map(|e| e.text("taskId")).collect();
        assert_eq!(task_ids.len(), 1, "one job, one task id: {:?}", self.events);
        assert!(!task_ids.contains(""), "no task id: {:?}", self.events);
        if let Some(task_id) = request["taskId"].as_str() {
            assert!(task_ids.contains(task_id), "the request's task id is kept");
        }
        for event in &self.events {
            for key in ["messageId", "attachmentId", "postId", "postMediaId"] {
                assert_eq!(event.json.get(key), request.get(key), "{key} of {event:?}");
            }
        }
    }

    fn check_order(&self, expected: Expected<'_>) {
        let is_blank = self.completed().json["transcription"]["text"] == "";
        let several = expected.spoken.len() + expected.failing > 1;
        let count = expected.spoken.len();
        let mut order = Vec::new();
        order.extend((!is_blank).then_some("transcription_ready"));
        order.extend(
            (1..=count).map(|position| match (several, position == count) {
                (false, _) => "audio_translation_ready",
                (true, false) => "audio_translations_progressive",
                (true, true) => "audio_translations_completed",
            }),
        );
        let mut kinds = self.kinds();
        // When the last to finish fails, no language is announced as the last.
        if expected.failing > 0
            && let Some(kind) = kinds.get_mut(order.len().saturating_sub(1))
            && *kind == "audio_translations_progressive"
        {
            *kind = "audio_translations_completed";
        }
        order.push(LAST[0]);
        order.extend(expected.error.map(|_| LAST[1]));
        assert_eq!(kinds, order);
        if let Some(code) = expected.error {
            let error = &self.events[order.len() - 1];
            assert_eq!(error.text("errorCode"), code, "{error:?}");
        }
        if !is_blank {
            let ready = &self.events[0].json["transcription"];
            assert_eq!(ready, &self.completed().json["transcription"]);
        }
    }

    fn check_voice(&self, request: &Value) {
        let completed = &self.completed().json;
        let owner = match &request["originalSenderId"] {
            Value::Null => &request["senderId"],
            original => original,
        };
        assert_eq!(&completed["voiceModelUserId"], owner);
        if let Some(profile) = completed.get("newVoiceProfile") {
            assert_eq!(&profile["userId"], owner);
            assert_eq!(request.get("existingVoiceProfile"), None);
            assert_ne!(request["generateVoiceClone"], false);
        }
        let has_profile = completed.get("newVoiceProfile").is_some();
        assert_eq!(self.embedding().is_some(), has_profile);
    }

    fn check_speech(&self, daemon: &Daemon, expected: Expected<'_>) {
        assert_eq!(self.languages(), expected.spoken);
        let announced = self
            .events
            .iter()
            .filter(|event| event.kind().starts_with("audio_translation"));
        let mut languages = BTreeSet::new();
        for event in announced {
            let language = event.text("language");
            assert!(languages.insert(language), "{language} comes twice");
            let audio = &event.json["translatedAudio"];
            assert_eq!(audio, self.translated(language), "the two events agree");
            assert_eq!(audio["targetLanguage"], language);
            assert_eq!(event.frames.len(), 1, "{event:?}");
            assert!(event.frames[0] == self.speech(language), "{language}");
            check_translated_audio(daemon, audio, &event.frames[0]);
        }
        assert_eq!(languages.len(), expected.spoken.len());
    }
}

/// Checks one language: the MP3 is what the JSON says, and lies where it says.
fn check_translated_audio(daemon: &Daemon, audio: &Value, mp3: &[u8]) {
    let path = audio["audioPath"].as_str().unwrap();
    assert_eq!(audio["audioUrl"], format!("/{path}"));
    assert!(path.starts_with("outputs/audio/translated/"), "{path}");
    let file = std::fs::read(daemon.folder().join(path)).unwrap();
    assert!(file == mp3, "{path} is another recording");
    assert_eq!(audio["audioMimeType"], "audio/mp3");
    check_speech(audio, mp3);
}

/// Checks that an MP3 is the speech that the JSON describes: its length, its segments, no silence.
pub fn check_speech(audio: &Value, mp3: &[u8]) {
    let decoded = decode(mp3, &DecodeLimits::default(), &Deadline::none()).unwrap();
    assert_eq!(decoded.codec, "mp3");
    let duration_ms = audio["durationMs"].as_u64().unwrap();
    assert!(duration_ms > 0, "no speech");
    let padding_ms = decoded.pcm.duration_ms().abs_diff(duration_ms);
    assert!(padding_ms <= MP3_PADDING_MS, "{padding_ms} ms");
    assert!(
        decoded
            .pcm
            .samples()
            .iter()
            .any(|sample| sample.abs() > 1e-3),
        "silence"
    );

    let segments = audio["segments"].as_array().unwrap();
    let times: Vec<u64> = segments
        .iter()
        .flat_map(|segment| [&segment["startMs"], &segment["endMs"]])
        .map(|time| time.as_u64().unwrap())
        .collect();
    assert!(!times.is_empty() && times.is_sorted(), "{segments:?}");
    assert!(times.last() <= Some(&duration_ms), "{segments:?}");
    let letters = |text: &str| -> String { text.chars().filter(|c| !c.is_whitespace()).collect() };
    let said: String = segments
        .iter()
        .map(|segment| letters(segment["text"].as_str().unwrap()))
        .collect();
    let text = audio["translatedText"].as_str().unwrap();
    assert_eq!(said, letters(text), "the segments hold the whole text");
    assert!(
        segments
            .iter()
            .all(|segment| segment["language"] == audio["targetLanguage"])
    );
}

/// Checks every event's fields and frames against the contract's example of its type.
pub fn assert_shapes(events: &[Event]) {
    for event in events {
        let mut problems = contract::event_problems(&examples::event(&event.json), &event.json);
        let json = event.json.to_string();
        let frames = std::iter::once(json.as_bytes()).chain(event.frames.iter().map(Vec::as_slice));
        problems.extend(contract::frame_problems(&frames.collect::<Vec<_>>()));
        assert!(problems.is_empty(), "{event:?}: {problems:#?}");
    }
}

/// The bundled voice message as samples at a rate of the test's choice.
pub fn bundled_samples(rate_hz: u32) -> Vec<f32> {
    let bundled = super::recordings::bundled();
    let decoded = decode(&bundled, &DecodeLimits::default(), &Deadline::none()).unwrap();
    resample(&decoded.pcm, rate_hz).unwrap().samples().to_vec()
}

/// The bundled voice message said `times` times, as a WAV file: a recording as long as a test needs.
pub fn repeated_recording(times: usize) -> Vec<u8> {
    let bundled = super::recordings::bundled();
    let decoded = decode(&bundled, &DecodeLimits::default(), &Deadline::none()).unwrap();
    let samples = decoded.pcm.samples().repeat(times);
    wav(samples, 1, decoded.pcm.sample_rate_hz())
}
