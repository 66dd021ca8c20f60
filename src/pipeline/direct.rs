//! A text whose sender waits for the translation: nothing of it is kept but what the cache keeps.

use std::sync::Arc;

use super::job::Job;
use super::text::{detected, source_language};
use super::translation::{SourceText, translate_cached};
use super::{JobFailure, Pipeline};
use crate::domain::{Deadline, Language, PrivateText};
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::ModelType;
use crate::stages::detect::Detected;
use crate::stages::translate::Priority;

/// What the work is called in logs and metrics.
const KIND: &str = "translate";

/// Confidence in a text that stays as it is because it is in the language asked for.
const SAME_LANGUAGE_CONFIDENCE: f32 = 1.0;

/// What is to be translated.
pub struct DirectText {
    /// The text.
    pub text: PrivateText,
    /// Its language; `None` means that it is to be detected.
    pub source_language: Option<Language>,
    /// The language that is wanted.
    pub target_language: Language,
    /// The quality asked for.
    pub model_type: ModelType,
}

/// What has become of it.
pub struct DirectTranslation {
    /// The text in the language that was wanted, or as it was.
    pub text: PrivateText,
    /// The language it was in.
    pub source_language: Language,
    /// The quality that was used; `None` for a text that stayed as it was.
    pub model_type: Option<ModelType>,
    /// Names of the models; empty for a text that stayed as it was.
    pub model: String,
    /// As the gateway expects it.
    pub confidence_score: f32,
    /// Whether it was made before.
    pub from_cache: bool,
}

impl Pipeline {
    /// Translates a text while its sender waits. Dropped, it stops.
    ///
    /// # Errors
    /// There is no model for the languages, it is not loaded, its output is not usable, or time is over.
    pub async fn translate_directly(
        self: &Arc<Self>,
        direct: &DirectText,
    ) -> Result<DirectTranslation, JobFailure> {
        let deadline = CancelledOnDrop(Deadline::none());
        let job = Job::unrecorded(Arc::clone(self), KIND, deadline.0.clone());
        let result = translate(&job, direct).await;
        result.inspect_err(|failure| failure.record(KIND))
    }

    /// The language of a text; `None` when it cannot be told.
    ///
    /// # Errors
    /// It is the daemon's fault.
    pub async fn detect_language(
        &self,
        text: &PrivateText,
    ) -> Result<Option<Detected>, JobFailure> {
        detected(text.expose()).await
    }
}

async fn translate(job: &Job, direct: &DirectText) -> Result<DirectTranslation, JobFailure> {
    let pipeline = &job.pipeline;
    let text = direct.text.expose();
    let language = source_language(job, direct.source_language, text).await?;
    let is_same = language == direct.target_language;
    let is_too_long = text.chars().count() > pipeline.options.max_text_characters;
    if is_same || is_too_long || text.trim().is_empty() {
        return Ok(DirectTranslation {
            text: direct.text.clone(),
            source_language: language,
            model_type: None,
            model: String::new(),
            confidence_score: if is_same {
                SAME_LANGUAGE_CONFIDENCE
            } else {
                0.0
            },
            from_cache: false,
        });
    }
    // Whoever waits here does not wait for a model that is still loading.
    if !pipeline.engines.translate.is_ready() {
        return Err(JobFailure::new(
            Stage::Translate,
            ErrorCode::PipelineUnavailable,
            Reason::ModelUnavailable,
            "the translate model is not loaded",
        ));
    }
    let source = SourceText {
        text,
        language,
        model_type: direct.model_type,
        priority: Priority::Text,
    };
    let translated = translate_cached(job, source, direct.target_language).await?;
    Ok(DirectTranslation {
        confidence_score: translated.confidence_score(),
        text: translated.text.into(),
        source_language: language,
        model_type: Some(translated.model_type),
        model: translated.model,
        from_cache: translated.is_cached,
    })
}

/// Ends the work in the engines when nobody waits for it any more.
struct CancelledOnDrop(Deadline);

impl Drop for CancelledOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
