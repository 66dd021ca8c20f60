//! One text in one other language: from the cache, else from the engine.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::JobFailure;
use super::cache::Slot;
use super::job::Job;
use crate::domain::Language;
use crate::error::{ErrorCode, Stage};
use crate::protocol::ModelType;
use crate::stages::translate::{Priority, Quality, Request, Route, Translation};

/// Confidence that the gateway expects of a fresh translation (contract/rules.md, section 3).
const FRESH_CONFIDENCE: f32 = 0.95;
/// Confidence that it expects of a translation from the cache (same place).
const CACHED_CONFIDENCE: f32 = 0.99;

/// What is to be translated.
#[derive(Clone, Copy)]
pub(super) struct SourceText<'t> {
    pub(super) text: &'t str,
    pub(super) language: Language,
    /// The level asked for.
    pub(super) model_type: ModelType,
    /// Whose turn comes first.
    pub(super) priority: Priority,
}

/// A text in the language asked for.
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) segments_count: usize,
    pub(super) emojis_count: usize,
    /// Names of the models; empty where none was needed.
    pub(super) model: String,
    /// The level that was used.
    pub(super) model_type: ModelType,
    pub(super) is_cached: bool,
    /// Time that it took.
    pub(super) translation_time: Duration,
}

impl Translated {
    /// The confidence that the gateway expects.
    pub(super) fn confidence_score(&self) -> f32 {
        if self.is_cached {
            CACHED_CONFIDENCE
        } else {
            FRESH_CONFIDENCE
        }
    }
}

/// What is kept of a translation.
#[derive(Serialize, Deserialize)]
struct CachedText {
    text: String,
    segments_count: usize,
    emojis_count: usize,
    model: String,
}

/// Translates a text, or takes what an earlier job made of it: of the level asked for, else of a
/// better one (contract/rules.md, section 3).
///
/// # Errors
/// There is no model for the languages, its output is not usable, or time is over.
pub(super) async fn translate_cached(
    job: &Job,
    source: SourceText<'_>,
    target: Language,
) -> Result<Translated, JobFailure> {
    let started = Instant::now();
    let code = ErrorCode::TranslationFailed;
    let work = async {
        if source.language == target || source.text.trim().is_empty() {
            let unchanged = Translation::unchanged(source.text.to_owned());
            return Ok((CachedText::of(unchanged), source.model_type, false));
        }
        let route = job.pipeline.routes.route(source.language, target).ok();
        if let Some(route) = &route
            && let Some((text, model_type)) = find(job, source, target, route).await
        {
            return Ok((text, model_type, true));
        }
        let request = || Request {
            text: source.text.into(),
            source_language: source.language,
            target_language: target,
            quality: quality_of(source.model_type),
            priority: source.priority,
            deadline: job.translate_deadline(source.text),
        };
        let engine = &job.pipeline.engines.translate;
        let translation = job.engine(Stage::Translate, code, engine, request).await?;
        let text = CachedText::of(translation);
        // The engine may have found other models than there were when the routes were read.
        if let Some(route) = route.filter(|route| route.model_name() == text.model) {
            let slot = slot(job, source, target, &route, source.model_type);
            slot.keep(&text, None).await;
        }
        Ok((text, source.model_type, false))
    };
    let (text, model_type, is_cached) = job
        .stage(Stage::Translate, Some(target), code, work)
        .await?;
    Ok(Translated {
        text: text.text,
        segments_count: text.segments_count,
        emojis_count: text.emojis_count,
        model: text.model,
        model_type,
        is_cached,
        translation_time: started.elapsed(),
    })
}

/// A kept translation of the level asked for or of the best one, and which of them it is.
async fn find(
    job: &Job,
    source: SourceText<'_>,
    target: Language,
    route: &Route,
) -> Option<(CachedText, ModelType)> {
    let wanted = slot(job, source, target, route, source.model_type);
    let mut found = wanted
        .peek()
        .await
        .map(|(text, _)| (text, source.model_type));
    if found.is_none() && source.model_type != ModelType::Premium {
        let best = slot(job, source, target, route, ModelType::Premium);
        found = best
            .peek()
            .await
            .map(|(text, _)| (text, ModelType::Premium));
    }
    wanted.count(found.is_some());
    found
}

fn slot<'a>(
    job: &'a Job,
    source: SourceText<'_>,
    target: Language,
    route: &Route,
    model_type: ModelType,
) -> Slot<'a> {
    let level = match model_type {
        // The same search in the same model.
        ModelType::Basic | ModelType::Medium => ModelType::Basic,
        ModelType::Premium => ModelType::Premium,
    };
    Slot::text(
        job,
        &[
            source.text,
            source.language.as_str(),
            target.as_str(),
            level.as_str(),
            &route.identity(),
        ],
    )
}

/// The translate stage's quality for the gateway's word.
fn quality_of(model_type: ModelType) -> Quality {
    match model_type {
        ModelType::Basic => Quality::Basic,
        ModelType::Medium => Quality::Medium,
        ModelType::Premium => Quality::Premium,
    }
}

impl CachedText {
    fn of(translation: Translation) -> Self {
        Self {
            text: translation.text.into_exposed(),
            segments_count: translation.segments_count,
            emojis_count: translation.emojis_count,
            model: translation.model,
        }
    }
}
