//! Events of text translations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::serialize;
use crate::domain::{Language, PrivateText};
use crate::error::{Reason, Stage};
use crate::protocol::request::ModelType;
use crate::protocol::timestamp::Timestamp;

/// The `error` of a [`TranslationError`] for a request that found the queue full; the gateway knows the words.
pub const POOL_FULL: &str = "translation pool full";

/// Which lane a text went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolType {
    /// Short texts.
    Fast,
    /// Other texts.
    Normal,
    /// Texts that nobody waits for.
    Any,
}

impl PoolType {
    /// Texts shorter than this go first (contract/rules.md, section 3).
    const FAST_TEXT_CHARACTERS: usize = 100;

    /// The lane of a text.
    pub fn of_text(text: &str, is_low_priority: bool) -> Self {
        if is_low_priority {
            Self::Any
        } else if text.chars().nth(Self::FAST_TEXT_CHARACTERS - 1).is_none() {
            Self::Fast
        } else {
            Self::Normal
        }
    }
}

/// `translation_completed`: a text in one language.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TranslationCompleted {
    /// The request's id.
    pub task_id: String,
    /// The language as requested: [`RequestedLanguage::requested`](crate::protocol::RequestedLanguage).
    pub target_language: String,
    /// What it became.
    pub result: TextResult,
    /// Now.
    pub timestamp: Timestamp,
    /// About the daemon.
    pub metadata: TextMetadata,
}

/// The translation itself.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextResult {
    /// The request's message.
    pub message_id: String,
    /// Never empty.
    pub translated_text: PrivateText,
    /// Given or detected.
    pub source_language: Language,
    /// As requested.
    pub target_language: String,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub confidence_score: f32,
    /// From the request's arrival.
    #[serde(serialize_with = "serialize::seconds")]
    pub processing_time: Duration,
    /// The quality asked for.
    pub model_type: ModelType,
    /// The quality given.
    pub translator_model: ModelType,
    /// The lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_type: Option<PoolType>,
    /// In the engine.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize::optional_seconds"
    )]
    pub translation_time: Option<Duration>,
    /// Before the engine.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize::optional_seconds"
    )]
    pub queue_time: Option<Duration>,
    /// Stretches of prose between what is kept verbatim.
    pub segments_count: usize,
    /// Emojis, each kept at its place.
    pub emojis_count: usize,
}

/// What produced a translation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextMetadata {
    translator_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_version: Option<String>,
    request_id: String,
    protocol: &'static str,
    encoding: &'static str,
}

impl TextMetadata {
    /// For an answer to `task_id`, made by the model of that name.
    pub fn new(task_id: String, model_version: Option<String>) -> Self {
        Self {
            translator_version: env!("CARGO_PKG_VERSION"),
            model_version,
            request_id: task_id,
            protocol: "ZMQ_PUB_SUB",
            encoding: "UTF-8",
        }
    }
}

/// `translation_error`: ends a request; what languages are missing will not come.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TranslationError {
    /// The request's id.
    pub task_id: String,
    /// The request's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// For people; never quotes the text.
    pub error: String,
    /// The request's conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// For programs.
    pub reason: Reason,
    /// Where it happened.
    pub stage: Stage,
    /// Which languages are missing, if only some are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TextErrorMetadata>,
}

/// What a [`TranslationError`] concerns.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextErrorMetadata {
    failed_languages: Vec<String>,
}

impl TextErrorMetadata {
    /// The languages as requested; `None` if there are none to name.
    pub fn of(failed_languages: Vec<String>) -> Option<Self> {
        (!failed_languages.is_empty()).then_some(Self { failed_languages })
    }
}

/// `translation_skipped`: a text is too long; a [`TranslationError`] follows.
#[derive(Debug, Clone, Serialize)]
pub struct TranslationSkipped {
    #[serde(rename = "messageId")]
    message_id: String,
    reason: &'static str,
    length: usize,
    max_length: usize,
    #[serde(rename = "conversationId")]
    conversation_id: String,
}

impl TranslationSkipped {
    /// For a text of `length` characters where `max_length` are allowed.
    pub fn too_long(
        message_id: String,
        conversation_id: String,
        length: usize,
        max_length: usize,
    ) -> Self {
        Self {
            message_id,
            reason: "message_too_long",
            length,
            max_length,
            conversation_id,
        }
    }
}

/// `story_text_object_translation_completed`: a story's text in every language that worked.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoryTextCompleted {
    post_id: String,
    text_object_index: i64,
    translations: BTreeMap<String, PrivateText>,
    /// Milliseconds, unlike every other event.
    timestamp: u64,
}

impl StoryTextCompleted {
    /// The answer without any translation yet.
    pub fn new(post_id: String, text_object_index: i64, timestamp: Timestamp) -> Self {
        Self {
            post_id,
            text_object_index,
            translations: BTreeMap::new(),
            timestamp: timestamp.unix_ms(),
        }
    }

    /// Adds the text in a language: the name is
    /// [`RequestedLanguage::field_name`](crate::protocol::RequestedLanguage::field_name).
    pub fn add(&mut self, field_name: String, text: PrivateText) {
        self.translations.insert(field_name, text);
    }
}
