//! What a user has had translated, figures about it, and what the user thinks of it.

use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::{refusal, short_name};
use crate::domain::timestamp::{from_unix_ms, unix_ms};
use crate::error::Reason;
use crate::ledger::{HistoryRange, VoiceFeedback, VoiceTranslationRecord};
use crate::pipeline::job::Job;
use crate::pipeline::{JobFailure, Pipeline, voice};
use crate::protocol::{
    FeedbackKept, FeedbackRequest, History, HistoryEntry, HistoryRequest, StatsPeriod, UserStats,
    VoiceApiResult,
};

/// A part of what was translated for a user.
///
/// # Errors
/// The ledger fails.
pub async fn history(
    pipeline: &Pipeline,
    user_id: String,
    wanted: HistoryRequest,
) -> Result<History, JobFailure> {
    let range = HistoryRange {
        from_ms: wanted.start.map_or(0, unix_ms),
        until_ms: wanted.end.map_or(i64::MAX, unix_ms),
        limit: wanted.page.limit,
        offset: wanted.page.offset,
    };
    let page = pipeline.ledger.history(user_id, range).await?;
    Ok(History {
        history: page.translations.into_iter().map(entry).collect(),
        total: page.total,
    })
}

fn entry(translation: VoiceTranslationRecord) -> HistoryEntry {
    // The daemon wrote it itself.
    let texts: Map<String, Value> =
        serde_json::from_str(translation.translated_texts.expose()).unwrap_or_default();
    HistoryEntry {
        id: translation.id,
        user_id: translation.user_id,
        timestamp: from_unix_ms(translation.created_at_ms),
        source_language: translation.source_language,
        target_languages: texts.keys().cloned().collect(),
        original_text: translation.original_text,
        audio_generated: !texts.is_empty(),
        translated_texts: texts.into(),
        voice_cloned: translation.voice_cloned,
        processing_time_ms: translation.processing_time_ms,
        feedback_rating: translation.rating,
    }
}

/// Figures about what was translated for a user.
///
/// # Errors
/// The ledger fails, or the user's voice cannot be read.
pub async fn stats(
    pipeline: &Pipeline,
    user_id: String,
    period: StatsPeriod,
) -> Result<UserStats, JobFailure> {
    let now = OffsetDateTime::now_utc();
    let start = match period {
        StatsPeriod::Day => now - Duration::days(1),
        StatsPeriod::Week => now - Duration::days(7),
        StatsPeriod::Month => now - Duration::days(30),
        StatsPeriod::All => OffsetDateTime::UNIX_EPOCH,
    };
    let ledger = &pipeline.ledger;
    let figures = ledger
        .user_statistics(user_id.clone(), unix_ms(start))
        .await?;
    let voice = pipeline.voices.metadata(&user_id).await;
    let voice = voice.map_err(|error| voice::failure(&error))?;
    Ok(UserStats {
        user_id,
        total_translations: figures.translations,
        total_audio_minutes: figures.audio_duration_ms as f64 / 60_000.0,
        languages_used: figures.languages,
        average_processing_time_ms: figures.mean_processing_time_ms.round() as u64,
        average_feedback_rating: figures.mean_rating,
        feedback_count: figures.feedback,
        profile_count: u64::from(voice.is_some()),
        period_start: start,
        period_end: now,
    })
}

pub(super) async fn feedback(
    job: &Job,
    user_id: String,
    feedback: FeedbackRequest,
) -> Result<VoiceApiResult, JobFailure> {
    let owner = job
        .pipeline
        .ledger
        .translation_owner(feedback.translation_id.clone())
        .await?;
    // Translations of voice messages are not in the history: the gateway knows whose they are.
    if owner.is_some_and(|owner| owner != user_id) {
        return Err(refusal(
            Reason::Forbidden,
            "the translation is another user's",
        ));
    }
    // The same for a repeat of the request, which then keeps it once.
    let feedback_id = format!("fb_{}", short_name(&job.record.key));
    let record = VoiceFeedback {
        id: feedback_id.clone(),
        user_id,
        translation_id: feedback.translation_id,
        rating: feedback.rating,
        kind: feedback.kind.as_str().to_owned(),
        comment: feedback.comment,
        metadata: feedback
            .metadata
            .map(|metadata| metadata.expose().to_string().into()),
        created_at_ms: job.record.received_at_ms,
    };
    // What a user says of deleted things goes with them; a deletion waits until it is kept.
    if let Some(_held) = job.hold(&record.user_id).await {
        job.pipeline.ledger.remember_feedback(record).await?;
    }
    Ok(VoiceApiResult::Feedback(FeedbackKept {
        success: true,
        feedback_id,
    }))
}
