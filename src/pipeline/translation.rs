//! One text in one other language: from the cache, else from the engine.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::JobFailure;
use super::cache;
use super::job::Job;
use crate::domain::Language;
use crate::error::{ErrorCode, Stage};
use crate::ledger::CacheKind;
use crate::protocol::ModelType;
use crate::stages::translate::{Quality, Request, Route, Translation};

/// What is to be translated.
#[derive(Clone, Copy)]
pub(super) struct SourceText<'t> {
    pub(super) text: &'t str,
    pub(super) language: Language,
    /// The level asked for.
    pub(super) model_type: ModelType,
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
        let route = cachable_route(job, source.language, target);
        if let Some(route) = &route {
            let found = load(job, source, target, route).await;
            cache::count(CacheKind::Text, found.is_some());
            if let Some((text, model_type)) = found {
                return Ok((text, model_type, true));
            }
        }
        let request = || Request {
            text: source.text.to_owned(),
            source_language: source.language,
            target_language: target,
            quality: quality_of(source.model_type),
            deadline: job.translate_deadline(source.text),
        };
        let engine = &job.pipeline.engines.translate;
        let translation = job.engine(Stage::Translate, code, engine, request).await?;
        let text = CachedText::of(translation);
        // The engine may have found other models than there were when the routes were read.
        if let Some(route) = route.filter(|route| route.model_name() == text.model) {
            let key = key(source, target, &route, source.model_type);
            let (ledger, user_id) = (&job.pipeline.ledger, job.record.user_id.as_deref());
            cache::store(ledger, CacheKind::Text, key, user_id, &text).await;
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

/// The models that a translation would be made with; `None` when nothing is cached.
fn cachable_route(job: &Job, source: Language, target: Language) -> Option<Route> {
    if job.pipeline.options.cache_max_age.is_zero() {
        return None;
    }
    job.pipeline.routes.route(source, target).ok()
}

/// A kept translation of the level asked for or of the best one, and which of them it is.
async fn load(
    job: &Job,
    source: SourceText<'_>,
    target: Language,
    route: &Route,
) -> Option<(CachedText, ModelType)> {
    let max_age = job.pipeline.options.cache_max_age;
    for model_type in [source.model_type, ModelType::Premium] {
        let key = key(source, target, route, model_type);
        let ledger = &job.pipeline.ledger;
        if let Some(text) = cache::load(ledger, CacheKind::Text, &key, max_age).await {
            return Some((text, model_type));
        }
        if source.model_type == ModelType::Premium {
            break;
        }
    }
    None
}

fn key(source: SourceText<'_>, target: Language, route: &Route, model_type: ModelType) -> String {
    let level = match model_type {
        // The same search in the same model.
        ModelType::Basic | ModelType::Medium => ModelType::Basic,
        ModelType::Premium => ModelType::Premium,
    };
    cache::key(&[
        source.text,
        source.language.as_str(),
        target.as_str(),
        level.as_str(),
        &route.identity(),
    ])
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
            text: translation.text,
            segments_count: translation.segments_count,
            emojis_count: translation.emojis_count,
            model: translation.model,
        }
    }
}
