//! The bundled recording, sent with ids that a test looks for afterwards.

use serde_json::Value;

use super::gateway::Gateway;
use super::recordings;
use super::voice_job::voice_message;

/// Ids of one voice message.
#[derive(Debug, Clone)]
pub struct VoiceMessage {
    pub message_id: String,
    pub attachment_id: String,
    pub sender_id: String,
}

impl VoiceMessage {
    /// Ids that are no ObjectIds.
    pub fn named(name: &str) -> Self {
        Self {
            message_id: format!("message-{name}"),
            attachment_id: format!("attachment-{name}"),
            sender_id: format!("sender-{name}"),
        }
    }

    /// Ids as MongoDB makes them.
    pub fn numbered(number: u32) -> Self {
        Self {
            message_id: format!("66b1f0a4c2d3e4f5a6b{number:05x}"),
            attachment_id: format!("66b1f0a4c2d3e4f5a7b{number:05x}"),
            sender_id: format!("66b1f0a4c2d3e4f5a8b{number:05x}"),
        }
    }

    /// The JSON of the request; the recording is its frame 1.
    pub fn request(&self, languages: &[&str]) -> Value {
        let mut request = voice_message("", languages);
        request["messageId"] = self.message_id.as_str().into();
        request["attachmentId"] = self.attachment_id.as_str().into();
        request["senderId"] = self.sender_id.as_str().into();
        request
    }

    /// Pushes the message.
    pub fn send(&self, gateway: &mut Gateway, languages: &[&str]) {
        gateway.send(&self.request(languages), &[&recordings::bundled()]);
    }
}
