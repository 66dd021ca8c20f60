//! `translation`: a text in every language that was asked for, one event each, in the order of the
//! request; and story texts, all languages in one event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinSet};

use super::JobFailure;
use super::job::Job;
use super::recording::off_thread;
use super::translation::{SourceText, Translated, translate_cached};
use crate::domain::Language;
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::Finish;
use crate::protocol::{
    Event, ModelType, PoolType, Request, RequestedLanguage, StoryTextCompleted, StoryTextRequest,
    TextErrorMetadata, TextMetadata, TextResult, Timestamp, TranslationCompleted, TranslationError,
    TranslationRequest, TranslationSkipped,
};
use crate::stages::detect::{Detected, detect_language};
use crate::stages::translate::Priority;

/// Keys of the events that answer a request language by language; none for requests of other kinds.
pub fn items(request: &Request) -> Vec<String> {
    match request {
        Request::Translation(request) => request
            .target_languages
            .requested()
            .map(event_key)
            .collect(),
        _ => Vec::new(),
    }
}

/// Leaves only the languages of a request that its job answers; others belong to another job.
pub(super) fn keep_items(request: &mut Request, items: &[String]) {
    if let Request::Translation(request) = request
        && !items.is_empty()
    {
        let is_kept = |requested: &str| items.contains(&event_key(requested));
        request.target_languages.retain(is_kept);
    }
}

pub(super) async fn run(job: &Arc<Job>, request: TranslationRequest) -> Result<Finish, JobFailure> {
    let length = request.text.expose().chars().count();
    let max_length = job.pipeline.options.max_text_characters;
    if length > max_length {
        return too_long(job, request, length, max_length).await;
    }
    let source = source_language(job, request.source_language, request.text.expose()).await?;
    let request = Arc::new(request);
    let targets = &request.target_languages;
    let (stored, missing): (Vec<_>, Vec<_>) = targets
        .accepted
        .iter()
        .cloned()
        .partition(|target| job.has_stored(&event_key(&target.requested)));
    let mut results = in_order(
        job,
        source,
        request.text.expose(),
        request.model_type,
        &missing,
    );
    let mut failed = targets.rejected.clone();
    let mut failures = Vec::new();
    let mut succeeded = !stored.is_empty();
    while let Some((target, result)) = results.next().await {
        match result {
            Ok(translated) => {
                succeeded = true;
                let event = completed(job, &request, source, &target, translated);
                job.emit(&event_key(&target.requested), event).await?;
            }
            Err(JobFailure::Ledger(error)) => return Err(error.into()),
            Err(failure) => {
                failure.record(job.kind());
                failed.push(target.requested);
                failures.push(failure);
            }
        }
    }
    job.check_retry(&mut failures)?;
    if failed.is_empty() {
        job.finish(Vec::new(), Vec::new(), Finish::Done).await?;
        return Ok(Finish::Done);
    }
    let failure = failures.into_iter().next().unwrap_or_else(|| {
        JobFailure::new(
            Stage::Intake,
            ErrorCode::TranslationFailed,
            Reason::UnsupportedLanguage,
            "a target language is not a language code",
        )
    });
    let error = error_event(job, &request, &failure, failed);
    let finish = if succeeded {
        Finish::Done
    } else {
        job.finish_of(&failure)
    };
    job.finish(vec![("error".to_owned(), error)], Vec::new(), finish)
        .await?;
    Ok(finish)
}

/// Names the event of one language within the job.
fn event_key(requested: &str) -> String {
    format!("translation:{requested}")
}

pub(super) async fn run_story(
    job: &Arc<Job>,
    request: StoryTextRequest,
) -> Result<Finish, JobFailure> {
    let source = source_language(job, request.source_language, request.text.expose()).await?;
    let targets: Vec<RequestedLanguage> = request
        .target_languages
        .accepted
        .iter()
        .filter(|target| target.language != source)
        .cloned()
        .collect();
    let mut results = in_order(
        job,
        source,
        request.text.expose(),
        ModelType::Basic,
        &targets,
    );
    let mut event =
        StoryTextCompleted::new(request.post_id, request.text_object_index, Timestamp::now());
    let mut failures = Vec::new();
    while let Some((target, result)) = results.next().await {
        match result {
            Ok(translated) => event.add(target.field_name().to_owned(), translated.text.into()),
            Err(JobFailure::Ledger(error)) => return Err(error.into()),
            Err(failure) => {
                failure.record(job.kind());
                failures.push(failure);
            }
        }
    }
    job.check_retry(&mut failures)?;
    let events = vec![("completed".to_owned(), Event::StoryTextCompleted(event))];
    job.finish(events, Vec::new(), Finish::Done).await?;
    Ok(Finish::Done)
}

async fn too_long(
    job: &Job,
    request: TranslationRequest,
    length: usize,
    max_length: usize,
) -> Result<Finish, JobFailure> {
    let failure = JobFailure::new(
        Stage::Intake,
        ErrorCode::TranslationFailed,
        Reason::TextTooLong,
        format!("text has {length} characters, at most {max_length} are translated"),
    );
    failure.record(job.kind());
    let skipped = TranslationSkipped::too_long(
        request.message_id.clone(),
        request.conversation_id.clone(),
        length,
        max_length,
    );
    let error = error_event(job, &request, &failure, Vec::new());
    let events = vec![
        ("skipped".to_owned(), Event::TranslationSkipped(skipped)),
        ("error".to_owned(), error),
    ];
    let finish = failure.finish();
    job.finish(events, Vec::new(), finish).await?;
    Ok(finish)
}

/// The language that is given, else the one that the text seems to be in, else the default one.
pub(super) async fn source_language(
    job: &Job,
    given: Option<Language>,
    text: &str,
) -> Result<Language, JobFailure> {
    if let Some(given) = given {
        return Ok(given);
    }
    let detected = detected(text).await?;
    let default = job.pipeline.options.default_text_language;
    Ok(detected.map_or(default, |detected| detected.language))
}

/// The language that a text seems to be in.
pub(super) async fn detected(text: &str) -> Result<Option<Detected>, JobFailure> {
    // The longest texts take a while to look through.
    let text = text.to_owned();
    off_thread(Stage::Translate, move || Ok(detect_language(&text))).await
}

/// Translations that run at once and are handed out in the order of the request.
struct InOrder {
    running: JoinSet<Result<Translated, JobFailure>>,
    /// Each task's place among the targets.
    places: HashMap<task::Id, usize>,
    targets: Vec<RequestedLanguage>,
    ready: Vec<Option<Result<Translated, JobFailure>>>,
    next: usize,
}

fn in_order(
    job: &Arc<Job>,
    source: Language,
    text: &str,
    model_type: ModelType,
    targets: &[RequestedLanguage],
) -> InOrder {
    let mut running = JoinSet::new();
    let mut places = HashMap::new();
    let text: Arc<str> = Arc::from(text);
    for (place, target) in targets.iter().enumerate() {
        let (job, text, language) = (Arc::clone(job), Arc::clone(&text), target.language);
        let task = running.spawn(async move {
            let source = SourceText {
                text: &text,
                language: source,
                model_type,
                priority: Priority::Text,
            };
            translate_cached(&job, source, language).await
        });
        places.insert(task.id(), place);
    }
    InOrder {
        running,
        places,
        targets: targets.to_vec(),
        ready: targets.iter().map(|_| None).collect(),
        next: 0,
    }
}

impl InOrder {
    /// The next language of the request with its result, as soon as that is known.
    async fn next(&mut self) -> Option<(RequestedLanguage, Result<Translated, JobFailure>)> {
        let target = self.targets.get(self.next)?.clone();
        loop {
            if let Some(result) = self.ready.get_mut(self.next).and_then(Option::take) {
                self.next += 1;
                return Some((target, result));
            }
            let panicked = || {
                Err(JobFailure::new(
                    Stage::Translate,
                    ErrorCode::ProcessingFailed,
                    Reason::Internal,
                    "the language's task panicked",
                ))
            };
            let (task, result) = match self.running.join_next_with_id().await {
                Some(Ok(ended)) => ended,
                Some(Err(error)) => (error.id(), panicked()),
                None => {
                    self.next += 1;
                    return Some((target, panicked()));
                }
            };
            let place = self.places.get(&task);
            if let Some(ready) = place.and_then(|place| self.ready.get_mut(*place)) {
                *ready = Some(result);
            }
        }
    }
}

fn completed(
    job: &Job,
    request: &TranslationRequest,
    source: Language,
    target: &RequestedLanguage,
    translated: Translated,
) -> Event {
    let processing_time = Duration::from_millis(job.processing_time_ms());
    let task_id = job.record.task_id.clone();
    let confidence_score = translated.confidence_score();
    Event::TranslationCompleted(Box::new(TranslationCompleted {
        task_id: task_id.clone(),
        target_language: target.requested.clone(),
        result: TextResult {
            message_id: request.message_id.clone(),
            translated_text: translated.text.into(),
            source_language: source,
            target_language: target.requested.clone(),
            confidence_score,
            processing_time,
            model_type: request.model_type,
            translator_model: translated.model_type,
            pool_type: Some(PoolType::of_text(
                request.text.expose(),
                request.is_low_priority(),
            )),
            translation_time: Some(translated.translation_time),
            queue_time: Some(processing_time.saturating_sub(translated.translation_time)),
            segments_count: translated.segments_count,
            emojis_count: translated.emojis_count,
        },
        timestamp: Timestamp::now(),
        metadata: TextMetadata::new(
            task_id,
            (!translated.model.is_empty()).then_some(translated.model),
        ),
    }))
}

fn error_event(
    job: &Job,
    request: &TranslationRequest,
    failure: &JobFailure,
    failed_languages: Vec<String>,
) -> Event {
    let failure = failure.on_the_wire();
    Event::TranslationError(TranslationError {
        task_id: job.record.task_id.clone(),
        message_id: Some(request.message_id.clone()),
        error: failure.message,
        conversation_id: Some(request.conversation_id.clone()),
        reason: failure.reason,
        stage: failure.stage,
        metadata: TextErrorMetadata::of(failed_languages),
    })
}
