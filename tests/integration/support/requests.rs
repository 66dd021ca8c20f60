//! Requests as the gateway writes them.

use serde_json::{Value, json};

/// `translation` with its usual fields.
pub fn translation(task_id: &str, text: &str, source: &str, targets: &[&str]) -> Value {
    json!({
        "type": "translation",
        "taskId": task_id,
        "messageId": format!("message-of-{task_id}"),
        "text": text,
        "sourceLanguage": source,
        "targetLanguages": targets,
        "conversationId": "66b1f0a4c2d3e4f5a6b7c8d9",
        "modelType": "medium",
    })
}

/// `audio_process` whose recording is frame 1.
pub fn audio_process(message_id: &str, targets: &[&str]) -> Value {
    json!({
        "type": "audio_process",
        "messageId": message_id,
        "attachmentId": format!("attachment-of-{message_id}"),
        "conversationId": "66b1f0a4c2d3e4f5a6b7c8d9",
        "senderId": "sender",
        "audioUrl": "",
        "audioDurationMs": 0,
        "binaryFrames": {"audio": 1},
        "targetLanguages": targets,
    })
}

/// `transcription_only` whose recording is frame 1.
pub fn transcription_only(task_id: &str) -> Value {
    json!({
        "type": "transcription_only",
        "taskId": task_id,
        "messageId": format!("message-of-{task_id}"),
        "attachmentId": format!("attachment-of-{task_id}"),
        "audioFormat": "wav",
        "binaryFrames": {"audio": 1},
    })
}
