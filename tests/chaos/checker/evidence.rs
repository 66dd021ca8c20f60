//! What the checker reads: four independent accounts of one run.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// How a request must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// One event for each language, or one error that names those that failed.
    Text {
        /// As they were asked for.
        languages: Vec<String>,
    },
    /// `audio_process_completed`, or `audio_process_error`.
    Audio {
        /// Key of its documents, where it is an ObjectId.
        attachment_id: String,
        /// Owner of the voice.
        sender_id: String,
    },
    /// `transcription_completed`, or `transcription_error`.
    Transcription,
    /// One reply.
    VoiceReply,
    /// A reply that it was accepted, and the result or the failure later.
    VoiceJob,
}

/// A line of the sender's log.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The request's task id, its own.
    pub task_id: String,
    /// How it must end.
    pub ending: Ending,
    /// When it was pushed, milliseconds since 1970.
    pub at_ms: i64,
}

/// A line of a subscriber's log.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Which connection; one that subscribes again is another.
    pub subscriber: u32,
    /// When it arrived, milliseconds since 1970.
    pub at_ms: i64,
    /// [`fingerprint`] of all frames.
    pub fingerprint: String,
    /// What the JSON says.
    pub facts: EventFacts,
}

/// A job as the ledger keeps it.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// Its task id.
    pub task_id: String,
    /// `accepted`, `running`, `done`, `failed` or `quarantined`.
    pub state: String,
    /// Its events, in the order in which they are published.
    pub events: Vec<StoredEvent>,
}

/// An event as the ledger keeps it.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// [`fingerprint`] of all frames.
    pub fingerprint: String,
    /// What the JSON says.
    pub facts: EventFacts,
}

/// A document of MongoDB.
#[derive(Debug, Clone, Default)]
pub struct StoredDocument {
    /// Its collection.
    pub collection: String,
    /// What must be unique in the collection: the attachment, the attachment and its language, or the user.
    pub key: String,
    /// The words, where there are any.
    pub text: Option<String>,
}

/// What an event says that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFacts {
    /// Its `type`.
    pub kind: String,
    /// Its `taskId`; some events have none.
    pub task_id: Option<String>,
    /// The language that it answers.
    pub language: Option<String>,
    /// The languages that it says have failed.
    pub failed_languages: Vec<String>,
    /// The sentence for people, of an error.
    pub error: Option<String>,
    /// What must be in the documents: `(key, text)`, the transcript's key being the attachment's id.
    pub words: Vec<(String, String)>,
}

impl EventFacts {
    /// Reads the JSON of an event; what is no JSON has no facts, and so ends nothing.
    pub fn read(body: &[u8]) -> Self {
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let failed = event["metadata"]["failedLanguages"].as_array();
        Self {
            kind: text(&event["type"]).unwrap_or_default(),
            task_id: text(&event["taskId"]).or_else(|| text(&event["request_id"])),
            language: text(&event["targetLanguage"]).or_else(|| text(&event["language"])),
            failed_languages: failed.into_iter().flatten().filter_map(text).collect(),
            error: text(&event["error"]),
            words: words(&event),
        }
    }
}

/// The words of a voice message that has ended, by the keys of their documents.
fn words(event: &Value) -> Vec<(String, String)> {
    if event["type"] != "audio_process_completed" {
        return Vec::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attachment = text(&event["attachmentId"]);
    let audios = event["translatedAudios"].as_array().into_iter().flatten();
    let translated = audios.map(|audio| {
        let key = document_key(&attachment, Some(&text(&audio["targetLanguage"])));
        (key, text(&audio["translatedText"]))
    });
    let transcript = text(&event["transcription"]["text"]);
    std::iter::once((document_key(&attachment, None), transcript))
        .chain(translated)
        .collect()
}

/// The key of a document of a voice message.
pub fn document_key(attachment_id: &str, language: Option<&str>) -> String {
    match language {
        Some(language) => format!("{attachment_id} {language}"),
        None => attachment_id.to_owned(),
    }
}

/// Names the frames of an event by the hashes of each, so that two events are the same to the byte or have
/// different names. The ledger keeps the hashes of binary frames, not their bytes.
pub fn fingerprint<'a>(body: &[u8], frame_sha256: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    hash.update(sha256(body));
    for frame in frame_sha256 {
        hash.update(frame);
    }
    hex(&hash.finalize())
}

/// The hash of one frame, in hexadecimal digits as the ledger has it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
