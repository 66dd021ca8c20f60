//! What was translated for a user and what the user thinks of it, and whether the services work:
//! `voice/feedback`, `voice/history`, `voice/stats`, `health`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

use super::{Call, checked_user};
use crate::http::body::retold;
use crate::http::error::{ApiError, ErrorBody, require_writable};
use crate::http::form::Form;
use crate::http::jobs::{Accepted, Answer, FeedbackReceipt, JobsState, NotDone, Preference};
use crate::pipeline::voice_api;
use crate::protocol::{FeedbackKind, HistoryRequest, Page, RequestKind, StatsPeriod};
use crate::scheduler::Lane;

/// What a user thinks of a translation.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
pub(super) struct VoiceFeedbackBody {
    /// Whose opinion it is; 512 bytes at most.
    #[schema(min_length = 1, example = "awa")]
    user_id: String,
    /// The translation; 512 bytes at most.
    #[schema(min_length = 1)]
    translation_id: String,
    #[schema(minimum = 0, maximum = 5, example = 4)]
    rating: f64,
    /// What it is about: `quality`, `accuracy`, `voice_similarity` or `other`.
    #[schema(default = "quality")]
    feedback_type: Option<String>,
    /// In the user's words; cut after 2000 characters.
    comment: Option<String>,
    /// 4 KiB at most.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// Notes what a user thinks of a translation.
#[utoipa::path(
    post, path = "/api/v1/voice/feedback", operation_id = "voice_feedback", tag = "voice api",
    params(Preference),
    request_body = VoiceFeedbackBody,
    responses(
        (status = 200, description = "It is noted", body = FeedbackReceipt),
        (status = 403, description = "The translation is another user's", body = ErrorBody),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn feedback(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require_voice_api()?;
    require_writable(state.pipeline.ledger.storage())?;
    let headers = request.headers().clone();
    let mut form = Form::read_json(&state, request, &[]).await?;
    let call = Call {
        kind: RequestKind::VoiceFeedback,
        lane: Lane::Query,
        answer: Answer::Feedback,
        user_id: Some(form.required_id("user_id")?),
        fields: json!({
            "translationId": form.required_id("translation_id")?,
            "rating": form.required_number("rating", 0.0..=5.0),
            "feedbackType": form.choice("feedback_type", &FeedbackKind::ALL.map(FeedbackKind::as_str)),
            "comment": form.text("comment"),
            "metadata": form.object("metadata"),
        }),
        recordings: Vec::new(),
    };
    form.finish()?;
    state.respond(call.work(&state), &headers).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Past {
    /// Whose history; 512 bytes at most.
    #[param(example = "awa")]
    user_id: String,
    /// Most entries: 20 where it is not said, at most 100.
    #[param(value_type = Option<usize>)]
    limit: Option<u32>,
    /// Entries that are passed over.
    #[param(value_type = Option<usize>)]
    offset: Option<u32>,
    /// Nothing before that time (RFC 3339).
    #[param(format = DateTime)]
    start_date: Option<String>,
    /// Nothing after that time (RFC 3339).
    #[param(format = DateTime)]
    end_date: Option<String>,
}

/// A part of a user's history, newest first.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct VoiceHistory {
    history: Vec<VoiceHistoryEntry>,
    /// Entries altogether.
    total: u64,
}

/// A translation of the past.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
struct VoiceHistoryEntry {
    /// Names the translation.
    id: String,
    user_id: String,
    /// When it was asked for (RFC 3339).
    #[schema(format = DateTime)]
    timestamp: String,
    source_language: String,
    target_languages: Vec<String>,
    original_text: String,
    /// The text in each language.
    translated_texts: BTreeMap<String, String>,
    audio_generated: bool,
    voice_cloned: bool,
    /// From acceptance to the end.
    processing_time_ms: u64,
    /// The user's latest rating.
    feedback_rating: Option<f64>,
}

/// What was translated for a user.
#[utoipa::path(
    get, path = "/api/v1/voice/history", operation_id = "voice_history", tag = "voice api",
    params(Past),
    responses(
        (status = 200, description = "The part that was asked for", body = VoiceHistory),
        (status = 400, description = "The query cannot be read", body = ErrorBody),
        (status = 503, description = "The voice API is switched off", body = ErrorBody),
    ),
)]
pub(super) async fn history(
    State(state): State<JobsState>,
    past: Result<Query<Past>, QueryRejection>,
) -> Result<Json<VoiceHistory>, ApiError> {
    state.require_voice_api()?;
    let Query(past) = past?;
    let wanted = HistoryRequest {
        page: Page::new(past.limit, past.offset),
        start: time("start_date", past.start_date)?,
        end: time("end_date", past.end_date)?,
    };
    let user_id = checked_user(past.user_id)?;
    let history = voice_api::history(&state.pipeline, user_id, wanted).await?;
    retold(&history).map(Json)
}

fn time(name: &str, written: Option<String>) -> Result<Option<OffsetDateTime>, ApiError> {
    let time = written.map(|written| OffsetDateTime::parse(&written, &Rfc3339));
    time.transpose().map_err(|_| {
        let detail = format!("{name} is a time such as 2026-11-27T00:00:00Z");
        ApiError::new(StatusCode::BAD_REQUEST, detail)
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Figures {
    /// Whose figures; 512 bytes at most.
    #[param(example = "awa")]
    user_id: String,
    /// `day`, `week`, `month` or `all` of the time up to now; `all` where it is not said.
    period: Option<String>,
}

/// Figures about a user's translations.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub(super) struct VoiceStats {
    user_id: String,
    total_translations: u64,
    /// Length of their recordings.
    total_audio_minutes: f64,
    /// Languages that were asked for.
    languages_used: Vec<String>,
    /// From acceptance to the end.
    average_processing_time_ms: u64,
    /// Null without feedback.
    average_feedback_rating: Option<f64>,
    feedback_count: u64,
    /// Voices of the user.
    profile_count: u64,
    #[schema(format = DateTime)]
    period_start: String,
    #[schema(format = DateTime)]
    period_end: String,
}

/// Figures about what was translated for a user.
#[utoipa::path(
    get, path = "/api/v1/voice/stats", operation_id = "voice_stats", tag = "voice api",
    params(Figures),
    responses(
        (status = 200, description = "The figures", body = VoiceStats),
        (status = 400, description = "The query cannot be read", body = ErrorBody),
        (status = 503, description = "The voice API is switched off", body = ErrorBody),
    ),
)]
pub(super) async fn stats(
    State(state): State<JobsState>,
    figures: Result<Query<Figures>, QueryRejection>,
) -> Result<Json<VoiceStats>, ApiError> {
    state.require_voice_api()?;
    let Query(figures) = figures?;
    let period =
        StatsPeriod::parse(figures.period.as_deref().unwrap_or("all")).ok_or_else(|| {
            let detail = "period is one of day, week, month, all";
            ApiError::new(StatusCode::BAD_REQUEST, detail)
        })?;
    let user_id = checked_user(figures.user_id)?;
    let stats = voice_api::stats(&state.pipeline, user_id, period).await?;
    retold(&stats).map(Json)
}

/// Which services work.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct VoiceHealthReport {
    /// `healthy`, `degraded` or `unhealthy`.
    status: String,
    services: VoiceServicesReport,
    latency: VoiceLatencyReport,
    #[schema(format = DateTime)]
    timestamp: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
struct VoiceServicesReport {
    transcription: bool,
    translation: bool,
    tts: bool,
    voice_clone: bool,
    analytics: bool,
    database: bool,
}

/// Recent times of one stage of one job; 0 before the first.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
struct VoiceLatencyReport {
    transcription_ms: u64,
    translation_ms: u64,
    tts_ms: u64,
}

/// Which services of the voice API work. Always 200: the body says it.
#[utoipa::path(
    get, path = "/api/v1/health", operation_id = "voice_health", tag = "voice api",
    responses(
        (status = 200, description = "How they are", body = VoiceHealthReport),
        (status = 503, description = "The voice API is switched off", body = ErrorBody),
    ),
)]
pub(super) async fn health(
    State(state): State<JobsState>,
) -> Result<Json<VoiceHealthReport>, ApiError> {
    state.require_voice_api()?;
    retold(&voice_api::health(&state.pipeline)).map(Json)
}
