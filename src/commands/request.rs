//! Requests as the gateway writes them.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::CommandError;
use crate::domain::Language;

/// A request and the ids by which its answers are known.
pub(super) struct Outgoing {
    /// The request's `messageId`.
    pub(super) message_id: String,
    /// JSON, then binary frames.
    pub(super) frames: Vec<Bytes>,
}

/// A recording read from a file.
pub(super) struct Recording {
    bytes: Bytes,
    mime_type: &'static str,
}

impl Recording {
    /// Reads a file of at most `max_bytes`.
    pub(super) fn read(path: &Path, max_bytes: u64) -> Result<Self, CommandError> {
        let unreadable = |source| CommandError::path(path, source);
        let actual = std::fs::metadata(path).map_err(unreadable)?.len();
        if actual > max_bytes {
            return Err(CommandError::TooLarge {
                path: path.to_owned(),
                actual,
                most: max_bytes,
            });
        }
        Ok(Self {
            bytes: std::fs::read(path).map_err(unreadable)?.into(),
            mime_type: mime_type(path),
        })
    }

    /// A WAV file that is no file.
    pub(super) fn of_wav(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            mime_type: mime_type(Path::new("sound.wav")),
        }
    }
}

/// What the gateway makes of a file's extension.
fn mime_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str().unwrap_or_default() {
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "ogg" => "audio/ogg",
        "webm" => "audio/webm",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        _ => "audio/wav",
    }
}

/// What the sender's device heard.
pub(super) struct MobileText<'a> {
    pub(super) text: &'a str,
    pub(super) language: Option<Language>,
}

/// `audio_process`: a voice message.
pub(super) fn audio_process(
    recording: &Recording,
    targets: &[Language],
    mobile: Option<MobileText<'_>>,
    user_id: &str,
    clone_voice: bool,
) -> Outgoing {
    let message_id = format!("cli_{}", Uuid::new_v4().simple());
    let mut request = json!({
        "type": "audio_process",
        "messageId": message_id,
        "attachmentId": format!("{message_id}_audio"),
        "conversationId": "cli",
        "senderId": user_id,
        "audioUrl": "",
        "audioMimeType": recording.mime_type,
        "binaryFrames": {
            "audio": 1,
            "audioMimeType": recording.mime_type,
            "audioSize": recording.bytes.len(),
        },
        "audioDurationMs": 0,
        "targetLanguages": targets,
        "generateVoiceClone": clone_voice,
        "modelType": "medium",
    });
    if let Some(mobile) = mobile {
        let mut transcription = json!({ "text": mobile.text, "source": "mobile" });
        if let Some(language) = mobile.language {
            transcription["language"] = language.as_str().into();
        }
        request["mobileTranscription"] = transcription;
    }
    Outgoing {
        message_id,
        frames: vec![json_frame(&request), recording.bytes.clone()],
    }
}

/// `translation`: a text, in a language that the daemon finds out unless `source` tells it.
pub(super) fn translation(text: &str, source: Option<Language>, targets: &[Language]) -> Outgoing {
    let message_id = format!("cli_{}", Uuid::new_v4().simple());
    let request = json!({
        "type": "translation",
        "taskId": Uuid::new_v4(),
        "messageId": message_id,
        "text": text,
        "sourceLanguage": source.as_ref().map_or("auto", Language::as_str),
        "targetLanguages": targets,
        "conversationId": "cli",
        "modelType": "medium",
        "timestamp": unix_ms(),
    });
    Outgoing {
        message_id,
        frames: vec![json_frame(&request)],
    }
}

/// `ping`
pub(super) fn ping() -> Vec<Bytes> {
    vec![json_frame(
        &json!({ "type": "ping", "timestamp": unix_ms() }),
    )]
}

fn json_frame(value: &Value) -> Bytes {
    value.to_string().into()
}

fn unix_ms() -> u64 {
    crate::protocol::Timestamp::now().unix_ms()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AudioSource, Request, parse};

    fn languages() -> Vec<Language> {
        ["fr", "es"]
            .into_iter()
            .filter_map(Language::parse)
            .collect()
    }

    #[test]
    fn the_daemon_understands_a_voice_message() {
        let recording = Recording {
            bytes: Bytes::from_static(b"RIFF"),
            mime_type: mime_type(Path::new("a.WEBM")),
        };
        let mobile = MobileText {
            text: "hello",
            language: Some(Language::ENGLISH),
        };
        let outgoing = audio_process(&recording, &languages(), Some(mobile), "ada", false);
        let Ok(Request::AudioProcess(request)) = parse(&outgoing.frames) else {
            panic!("not understood");
        };
        assert_eq!(request.message_id, outgoing.message_id);
        assert_eq!(request.audio, [AudioSource::Frame(recording.bytes.into())]);
        assert_eq!(request.audio_mime_type.as_deref(), Some("audio/webm"));
        assert_eq!(request.sender_id, "ada");
        assert!(!request.generate_voice_clone);
        let targets = request.target_languages.unwrap();
        assert_eq!(targets.distinct_except(Language::ENGLISH), languages());
        assert_eq!(
            request.mobile_transcription.unwrap().language,
            Some(Language::ENGLISH)
        );
    }

    #[test]
    fn the_daemon_understands_a_text_and_a_ping() {
        let outgoing = translation("hello", None, &languages());
        let Ok(Request::Translation(request)) = parse(&outgoing.frames) else {
            panic!("not understood");
        };
        assert_eq!(request.message_id, outgoing.message_id);
        assert_eq!(request.text, "hello");
        assert!(matches!(parse(&ping()), Ok(Request::Ping)));
    }
}
