//! What an event leaves in the gateway's database once the gateway has taken it.

use serde::Deserialize;

use crate::ledger::UnsettledEvent;
use crate::store::{Trace, TraceOwner};

/// The events that the gateway keeps something of (contract/mongo.md, section 3).
pub(super) const KINDS: [&str; 7] = [
    "translation_completed",
    "transcription_ready",
    "transcription_completed",
    "audio_translation_ready",
    "audio_translations_progressive",
    "audio_translations_completed",
    "audio_process_completed",
];

/// What is read of an event: ids and languages, not what people say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    attachment_id: Option<String>,
    post_media_id: Option<String>,
    language: Option<String>,
    target_language: Option<String>,
    result: Option<TextResult>,
    transcription: Option<Transcription>,
    #[serde(default)]
    translated_audios: Vec<Speech>,
    new_voice_profile: Option<VoiceProfile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TextResult {
    message_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transcription {
    language: String,
    duration_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Speech {
    target_language: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoiceProfile {
    user_id: String,
}

/// Everything that has to be there for the event to count as taken; `None` where that cannot be told.
pub(super) fn traces(event: &UnsettledEvent) -> Option<Vec<Trace>> {
    // The daemon's own event, so it is whole; what a later version writes may not be.
    let body: Body = serde_json::from_slice(event.body.expose()).ok()?;
    match event.kind.as_str() {
        "translation_completed" => Some(vec![Trace::Text {
            message_id: body.result?.message_id,
            language: body.target_language?,
        }]),
        "transcription_ready" | "transcription_completed" => {
            Some(vec![transcription(owner(&body)?, &body.transcription?)])
        }
        "audio_translation_ready"
        | "audio_translations_progressive"
        | "audio_translations_completed" => Some(vec![Trace::Speech {
            owner: owner(&body)?,
            language: body.language?,
        }]),
        "audio_process_completed" => {
            let owner = owner(&body)?;
            let mut traces = vec![transcription(owner.clone(), &body.transcription?)];
            traces.extend(body.translated_audios.into_iter().map(|speech| {
                let (owner, language) = (owner.clone(), speech.target_language);
                Trace::Speech { owner, language }
            }));
            traces.extend(body.new_voice_profile.map(|profile| Trace::Voice {
                user_id: profile.user_id,
            }));
            Some(traces)
        }
        _ => None,
    }
}

fn owner(body: &Body) -> Option<TraceOwner> {
    match &body.post_media_id {
        Some(id) => Some(TraceOwner::PostMedia(id.clone())),
        None => body.attachment_id.clone().map(TraceOwner::Attachment),
    }
}

fn transcription(owner: TraceOwner, transcription: &Transcription) -> Trace {
    Trace::Transcription {
        owner,
        language: transcription.language.clone(),
        duration_ms: transcription.duration_ms,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::{EventRef, JobId};

    fn traces_of(body: &Value) -> Option<Vec<Trace>> {
        traces(&UnsettledEvent {
            event: EventRef {
                id: 1,
                job_id: JobId(1),
                reissues: 0,
            },
            kind: body["type"].as_str().unwrap().to_owned(),
            body: Bytes::from(body.to_string()).into(),
            received_at_ms: 0,
        })
    }

    #[test]
    fn a_voice_message_is_taken_when_all_of_it_is_there() {
        let mut event = json!({
            "type": "audio_process_completed", "attachmentId": "a", "messageId": "m",
            "transcription": { "text": "x", "language": "en", "durationMs": 7 },
            "translatedAudios": [{ "targetLanguage": "fr", "translatedText": "y" }],
            "newVoiceProfile": { "userId": "u" },
        });
        let heard = |owner| Trace::Transcription {
            owner,
            language: "en".into(),
            duration_ms: Some(7),
        };
        let spoken = |owner| Trace::Speech {
            owner,
            language: "fr".into(),
        };
        let voice = || Trace::Voice {
            user_id: "u".into(),
        };
        let attachment = || TraceOwner::Attachment("a".into());
        let all = vec![heard(attachment()), spoken(attachment()), voice()];
        assert_eq!(traces_of(&event), Some(all));
        event["postMediaId"] = "p".into();
        let media = || TraceOwner::PostMedia("p".into());
        let all = vec![heard(media()), spoken(media()), voice()];
        assert_eq!(traces_of(&event), Some(all));
    }

    #[test]
    fn texts_are_looked_for_by_message_and_language_and_errors_nowhere() {
        let text = json!({
            "type": "translation_completed", "taskId": "t", "targetLanguage": "fr",
            "result": { "messageId": "m", "translatedText": "x" },
        });
        let trace = Trace::Text {
            message_id: "m".into(),
            language: "fr".into(),
        };
        assert_eq!(traces_of(&text), Some(vec![trace]));
        for kind in [
            "translation_error",
            "audio_process_error",
            "transcription_error",
            "voice_api_success",
            "story_text_object_translation_completed",
        ] {
            assert_eq!(traces_of(&json!({ "type": kind, "messageId": "m" })), None);
        }
    }
}
