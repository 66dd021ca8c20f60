//! Requests to translate texts.

use super::error::RequestIds;
use super::language::take_language;
use super::{ModelType, Problem, RequestError, RequestKind, TargetLanguages};
use crate::domain::{Language, PrivateText};
use crate::protocol::fields::Fields;

/// Conversation of a request that names none.
const UNKNOWN_CONVERSATION: &str = "unknown";

/// Conversation of the low-priority lane.
const ANY_CONVERSATION: &str = "any";

/// `translation`: a text and the languages it is wanted in.
#[derive(Debug, Clone, PartialEq)]
pub struct TranslationRequest {
    /// Names the request; the same on retries. Absent from the oldest gateways.
    pub task_id: Option<String>,
    /// The message, opaque.
    pub message_id: String,
    /// The text; may be only spaces, never empty.
    pub text: PrivateText,
    /// The language of the text; `None` means that it is to be detected.
    pub source_language: Option<Language>,
    /// At least one accepted language.
    pub target_languages: TargetLanguages,
    /// The conversation, opaque.
    pub conversation_id: String,
    /// The quality asked for.
    pub model_type: ModelType,
}

impl TranslationRequest {
    pub(super) fn read(mut fields: Fields) -> Result<Self, RequestError> {
        let mut ids = RequestIds {
            task_id: fields.id("taskId"),
            message_id: fields.id("messageId"),
            conversation_id: fields.id("conversationId"),
            ..RequestIds::default()
        };
        let reject = |problem, ids| {
            Err(RequestError::rejected(
                RequestKind::Translation,
                problem,
                ids,
            ))
        };

        let Ok(target_languages) = TargetLanguages::take(&mut fields) else {
            return reject(Problem::TooManyTargetLanguages, ids);
        };
        let mut target_languages = target_languages.unwrap_or_default();
        if target_languages.is_empty()
            && let Some(code) = fields.string("targetLanguage")
        {
            target_languages.add(&code);
        }
        let Some(message_id) = ids.message_id.clone() else {
            return reject(Problem::Missing("messageId"), ids);
        };
        let Some(text) = fields.private("text") else {
            return reject(Problem::Missing("text"), ids);
        };
        if target_languages.is_empty() {
            return reject(Problem::Missing("targetLanguages"), ids);
        }
        if target_languages.accepted.is_empty() {
            ids.failed_languages = target_languages.rejected;
            return reject(Problem::NoValidTargetLanguage, ids);
        }
        Ok(Self {
            task_id: ids.task_id,
            message_id,
            text,
            source_language: take_language(&mut fields, "sourceLanguage"),
            target_languages,
            conversation_id: ids
                .conversation_id
                .unwrap_or_else(|| UNKNOWN_CONVERSATION.to_owned()),
            model_type: ModelType::take(&mut fields, ModelType::Basic),
        })
    }

    /// True for work that may wait behind all other texts.
    pub fn is_low_priority(&self) -> bool {
        self.conversation_id == ANY_CONVERSATION
    }
}

/// `story_text_object_translation`: a text drawn on a story. All languages are answered in one event.
#[derive(Debug, Clone, PartialEq)]
pub struct StoryTextRequest {
    /// The story, opaque.
    pub post_id: String,
    /// Which of the story's texts.
    pub text_object_index: i64,
    /// The text, never empty.
    pub text: PrivateText,
    /// The language of the text; `None` means that it is to be detected.
    pub source_language: Option<Language>,
    /// May be empty: the answer is then empty too.
    pub target_languages: TargetLanguages,
}

impl StoryTextRequest {
    pub(super) fn read(mut fields: Fields) -> Result<Self, RequestError> {
        let ids = RequestIds {
            post_id: fields.id("postId"),
            text_object_index: fields.integer("textObjectIndex"),
            ..RequestIds::default()
        };
        let reject =
            |problem, ids| Err(RequestError::rejected(RequestKind::StoryText, problem, ids));

        let Some(post_id) = ids.post_id.clone() else {
            return reject(Problem::Missing("postId"), ids);
        };
        let Some(text_object_index) = ids.text_object_index else {
            return reject(Problem::Missing("textObjectIndex"), ids);
        };
        let Some(text) = fields.private("text") else {
            return reject(Problem::Missing("text"), ids);
        };
        let Ok(target_languages) = TargetLanguages::take(&mut fields) else {
            return reject(Problem::TooManyTargetLanguages, ids);
        };
        Ok(Self {
            post_id,
            text_object_index,
            text,
            source_language: take_language(&mut fields, "sourceLanguage"),
            target_languages: target_languages.unwrap_or_default(),
        })
    }
}
