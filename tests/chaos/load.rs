//! The messages of a run: every one is another, so that no cache answers it, and every one carries the canary.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meeshy_translator::domain::Deadline;
use meeshy_translator::stages::decode::{DecodeLimits, decode};
use serde_json::{Value, json};

use crate::canary;
use crate::checker::evidence::Ending;
use crate::dice::Dice;
use crate::support::tests_daemon::fixture_models;
use crate::support::wav::wav;

/// Languages that the fixture models translate to, and speak.
const LANGUAGES: [&str; 5] = ["fr", "es", "de", "it", "pt"];

/// Words that the fixture models know.
const WORDS: [&str; 12] = [
    "hello", "my", "friend", "how", "are", "you", "the", "train", "is", "late", "we", "wait",
];

/// Length of a recording: what the fixture recognizer hears two sentences in.
const RECORDING_SECS: usize = 3;

/// A request that is to be pushed.
#[derive(Clone)]
pub struct Message {
    /// Its task id, its own.
    pub task_id: String,
    /// How it must end.
    pub ending: Ending,
    /// Its frames.
    pub frames: Vec<Vec<u8>>,
    /// How often each stage must run for it, by the stages' names in the metrics.
    pub work: Vec<(&'static str, usize)>,
}

/// Shares of the kinds of requests, in percent; what is left are requests of the voice API.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Texts.
    pub text: usize,
    /// Voice messages.
    pub audio: usize,
}

impl Mix {
    /// What a gateway sends on an ordinary day.
    pub const USUAL: Self = Self {
        text: 60,
        audio: 30,
    };
    /// Texts alone.
    pub const TEXT: Self = Self {
        text: 100,
        audio: 0,
    };
    /// Voice messages alone.
    pub const AUDIO: Self = Self {
        text: 0,
        audio: 100,
    };
}

/// Makes messages.
pub struct Load {
    dice: Dice,
    seed: u64,
    next: u32,
    /// Samples of the bundled voice message.
    voice: Vec<f32>,
    sample_rate_hz: u32,
}

impl Load {
    /// The messages of a seed.
    pub fn new(seed: u64) -> Self {
        let path: &Path = &fixture_models().join("audio/voice_message.ogg");
        let bundled = std::fs::read(path).expect("the bundled recording");
        let decoded = decode(&bundled, &DecodeLimits::default(), &Deadline::none());
        let decoded = decoded.expect("the bundled recording is sound");
        let sample_rate_hz = decoded.pcm.sample_rate_hz();
        let mut voice = decoded.pcm.samples().to_vec();
        voice.truncate(RECORDING_SECS * sample_rate_hz as usize);
        Self {
            dice: Dice::new(seed, "load"),
            seed,
            next: 0,
            voice,
            sample_rate_hz,
        }
    }

    /// The next `count` messages.
    pub fn messages(&mut self, count: usize, mix: Mix) -> Vec<Message> {
        (0..count).map(|_| self.message(mix)).collect()
    }

    /// One message of a kind that the dice choose.
    pub fn message(&mut self, mix: Mix) -> Message {
        let kind = self.dice.below(100);
        if kind < mix.text {
            let languages = 1 + self.dice.below(3);
            self.text(languages)
        } else if kind < mix.text + mix.audio {
            // One recording in ten is not to be spoken.
            if self.dice.chance(10) {
                self.transcription()
            } else {
                self.audio()
            }
        } else {
            self.voice_request()
        }
    }

    /// A text in that many languages.
    pub fn text(&mut self, languages: usize) -> Message {
        let number = self.number();
        let languages = self.languages(languages);
        let text = self.sentence(number);
        self.text_of(number, &text, languages)
    }

    /// A text that is padded to `bytes`, in one language.
    pub fn long_text(&mut self, bytes: usize) -> Message {
        let number = self.number();
        let mut text = self.sentence(number);
        while text.len() < bytes {
            text.push(' ');
            let word: &&str = self.dice.pick(&WORDS);
            text.push_str(word);
        }
        let languages = self.languages(1);
        self.text_of(number, &text, languages)
    }

    /// A short text in a request that other fields make `bytes` long.
    pub fn padded_text(&mut self, bytes: usize) -> Message {
        let mut message = self.text(1);
        let mut request: Value = serde_json::from_slice(&message.frames[0]).expect("our own JSON");
        request["padding"] = "x"
            .repeat(bytes.saturating_sub(message.frames[0].len()))
            .into();
        message.frames[0] = request.to_string().into_bytes();
        message
    }

    fn text_of(&self, number: u32, text: &str, languages: Vec<String>) -> Message {
        let task_id = self.task_id("text", number);
        let request = json!({
            "type": "translation",
            "taskId": task_id,
            "messageId": object_id("a1", self.seed, number),
            "text": text,
            "sourceLanguage": "en",
            "targetLanguages": languages,
            "conversationId": "66b1f0a4c2d3e4f5a6b7c8d9",
            "modelType": "basic",
        });
        Message::new(task_id, Ending::Text { languages }, &request, Vec::new())
    }

    /// A recording that is only to be written down.
    fn transcription(&mut self) -> Message {
        let number = self.number();
        let task_id = self.task_id("transcription", number);
        let request = json!({
            "type": "transcription_only",
            "taskId": task_id,
            "messageId": object_id("a1", self.seed, number),
            "attachmentId": object_id("a2", self.seed, number),
            "audioFormat": "wav",
            "binaryFrames": {"audio": 1},
        });
        let recording = self.recording();
        Message::new(task_id, Ending::Transcription, &request, vec![recording])
    }

    /// A voice message in one or two languages. Of half of them the sender's device has heard the words.
    pub fn audio(&mut self) -> Message {
        let languages = 1 + self.dice.below(2);
        let recording = self.recording();
        self.audio_of(recording, languages)
    }

    /// A voice message with that recording.
    pub fn audio_of(&mut self, recording: Vec<u8>, languages: usize) -> Message {
        let number = self.number();
        let task_id = self.task_id("audio", number);
        let languages = self.languages(languages);
        let attachment_id = object_id("a2", self.seed, number);
        // Some senders send several messages.
        let sender = number - number % 4;
        let sender_id = object_id("a3", self.seed, sender);
        let mut request = json!({
            "type": "audio_process",
            "taskId": task_id,
            "messageId": object_id("a1", self.seed, number),
            "attachmentId": attachment_id,
            "conversationId": "66b1f0a4c2d3e4f5a6b7c8d9",
            "senderId": sender_id,
            "audioUrl": "",
            "audioDurationMs": 0,
            "binaryFrames": {"audio": 1},
            "targetLanguages": languages,
            "generateVoiceClone": self.dice.chance(50),
            "modelType": "medium",
        });
        if self.dice.chance(50) {
            let text = self.sentence(number);
            request["mobileTranscription"] =
                json!({"text": text, "language": "en", "confidence": 0.9, "source": "ios_speech"});
        }
        let ending = Ending::Audio {
            attachment_id,
            sender_id,
        };
        Message::new(task_id, ending, &request, vec![recording])
    }

    /// A request of the voice API: feedback, a question, or a recording that is to be translated.
    fn voice_request(&mut self) -> Message {
        let number = self.number();
        let task_id = self.task_id("voice", number);
        let user_id = object_id("a3", self.seed, number);
        let comment = self.sentence(number);
        let mut request = json!({"taskId": task_id, "userId": user_id});
        let (kind, ending) = *self.dice.pick(&[
            ("voice_feedback", false),
            ("voice_stats", false),
            ("voice_translate", false),
            ("voice_translate_async", true),
        ]);
        request["type"] = kind.into();
        match kind {
            "voice_feedback" => {
                request["translationId"] = "vt_0a1b2c3d4e5f".into();
                request["rating"] = 4.into();
                request["feedbackType"] = "accuracy".into();
                request["comment"] = comment.into();
            }
            "voice_stats" => {}
            _ => {
                request["audioBase64"] = STANDARD.encode(self.recording()).into();
                request["targetLanguages"] = self.languages(1).into();
                request["generateVoiceClone"] = false.into();
            }
        }
        let ending = if ending {
            Ending::VoiceJob
        } else {
            Ending::VoiceReply
        };
        Message::new(task_id, ending, &request, Vec::new())
    }

    /// The bundled voice message with noise of one step of 16 bits: it sounds alike, and no other has its hash.
    pub fn recording(&mut self) -> Vec<u8> {
        const STEP: f32 = 1.0 / 32_768.0;
        let noise = self.dice.bytes(self.voice.len());
        let samples = self.voice.iter().zip(noise);
        let samples = samples.map(|(sample, noise)| sample + f32::from(noise % 3) * STEP - STEP);
        wav(samples, 1, self.sample_rate_hz)
    }

    fn sentence(&mut self, number: u32) -> String {
        let words: Vec<&str> = (0..4).map(|_| *self.dice.pick(&WORDS)).collect();
        format!("{} {} {number}.", words.join(" "), canary::SENTENCE)
    }

    fn languages(&mut self, count: usize) -> Vec<String> {
        let chosen = self.dice.sample(&LANGUAGES, count);
        chosen.into_iter().map(str::to_owned).collect()
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn task_id(&self, kind: &str, number: u32) -> String {
        format!("{kind}-{}-{number}", self.seed)
    }
}

impl Message {
    fn new(task_id: String, ending: Ending, request: &Value, binary: Vec<Vec<u8>>) -> Self {
        let work = work_of(request);
        let mut frames = vec![request.to_string().into_bytes()];
        frames.extend(binary);
        Self {
            task_id,
            ending,
            frames,
            work,
        }
    }
}

/// How often each stage must run for a request.
fn work_of(request: &Value) -> Vec<(&'static str, usize)> {
    let languages = request["targetLanguages"].as_array().map_or(0, Vec::len);
    match request["type"].as_str().unwrap_or_default() {
        "translation" => vec![("translate", languages)],
        "voice_feedback" | "voice_stats" => Vec::new(),
        kind => {
            let is_heard_by_device = request.get("mobileTranscription").is_some();
            let spoken = if kind == "transcription_only" {
                0
            } else {
                languages
            };
            vec![
                ("decode", 1),
                ("transcribe", usize::from(!is_heard_by_device)),
                ("embed", usize::from(spoken > 0)),
                ("translate", spoken),
                ("synthesize", spoken),
                ("encode", spoken),
            ]
        }
    }
}

/// An id as MongoDB makes them, so that documents are written.
fn object_id(space: &str, seed: u64, number: u32) -> String {
    format!("{space}{:010x}{number:012x}", seed & 0xff_ffff_ffff)
}
