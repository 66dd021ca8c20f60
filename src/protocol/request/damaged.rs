//! What can still be read of a request whose bytes have changed: whom to tell.

use std::sync::LazyLock;

use bytes::Bytes;
use regex::Regex;
use serde_json::{Map, Value};

/// Ids by which senders recognise an answer.
static IDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#""(messageId|attachmentId|conversationId|postId|postMediaId|textObjectIndex|userId|user_id)"\s*:\s*("[^"\\]{1,512}"|\d{1,9})"#,
    )
    .ok()
});

/// A request of that kind with those of its fields that can still be read, for its answer only: all of
/// them, or, if it is no JSON any more, the ids that look like ids. Nobody is to be called because of it.
pub fn readable_request(kind: &str, task_id: &str, damaged: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(damaged);
    let mut fields = serde_json::from_str(&text).unwrap_or_else(|_| ids_in(&text));
    fields.insert("type".to_owned(), kind.into());
    fields.remove("webhookUrl");
    for name in ["taskId", "request_id"] {
        fields
            .entry(name)
            .or_insert_with(|| Value::from(task_id.to_owned()));
    }
    // An object with string keys always has a JSON form.
    serde_json::to_vec(&fields).unwrap_or_default().into()
}

fn ids_in(text: &str) -> Map<String, Value> {
    IDS.iter()
        .flat_map(|ids| ids.captures_iter(text))
        .filter_map(|found| {
            let value = serde_json::from_str(&found[2]).ok()?;
            Some((found[1].to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Event, Request, Timestamp, parse};

    fn readable(kind: &str, damaged: &[u8]) -> Result<Request, crate::protocol::RequestError> {
        parse(&[readable_request(kind, "task", damaged)])
    }

    #[test]
    fn what_is_still_json_keeps_its_fields() {
        let damaged = b"{\"type\":\"trXnslation\",\"messageId\":\"m\",\"text\":\"h\xffllo\",\
                        \"targetLanguages\":[\"fr\"],\"webhookUrl\":\"http://x\"}";
        let request = readable("translation", damaged).unwrap();
        assert_eq!(request.task_id(), Some("task"));
        assert!(matches!(request, Request::Translation(request) if request.message_id == "m"));
    }

    #[test]
    fn what_is_no_json_keeps_its_ids() {
        let damaged = br#"{"type":"audio_process","messageId":"m-1"\x01,"attachmentId":"a","text:"#;
        let error = readable("audio_process", damaged).unwrap_err();
        let Some(Event::AudioProcessError(answer)) = error.answer(Timestamp::now()) else {
            panic!("{error}");
        };
        assert_eq!(answer.job.message_id, "m-1");
        assert_eq!(answer.job.attachment_id.as_deref(), Some("a"));
        for kind in ["translation", "voice_analyze", "voice_profile_verify"] {
            let error = readable(kind, b"\x00\xff").unwrap_err();
            assert!(error.answer(Timestamp::now()).is_some(), "{kind}");
        }
    }
}
