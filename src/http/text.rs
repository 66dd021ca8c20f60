//! Texts: `/translate`, `/translate/batch`, `/detect-language`.

use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::WorkState;
use super::body::{BODY, Fields, JsonBody};
use super::error::{ApiError, ErrorBody, FieldProblem, InvalidBody, Place};
use crate::domain::{Language, PrivateText};
use crate::pipeline::{DirectText, DirectTranslation, JobFailure};
use crate::protocol::ModelType;
use crate::scheduler::Turn;

/// Longest text whose language is detected, in characters.
const MAX_DETECTED_CHARACTERS: usize = 10_000;
/// Longest name of a language, in characters; BCP 47 asks for 35.
const MAX_LANGUAGE_CHARACTERS: usize = 35;
/// Most texts of one batch.
const MAX_BATCH: usize = 10;

/// What stands for a language that nobody has told.
const UNKNOWN_LANGUAGES: [&str; 3] = ["", "auto", UNKNOWN];
/// The answer where the language of a text cannot be told.
const UNKNOWN: &str = "unknown";
/// What has translated a text that stayed as it was.
const NO_MODEL: &str = "none";

/// What there is about texts.
pub fn operations() -> OpenApiRouter<WorkState> {
    OpenApiRouter::default()
        .routes(routes!(translate))
        .routes(routes!(translate_batch))
        .routes(routes!(detect_language))
}

/// Its routes.
pub fn routes(state: WorkState) -> Router {
    Router::from(operations()).with_state(state)
}

/// A text and the language it is wanted in.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
struct TranslateRequest {
    /// The text. One that is longer than `translate.max_characters` comes back as it is.
    #[schema(example = "See you at 6 pm.")]
    text: String,
    /// The language of the text; it is detected where it is not told.
    #[schema(default = "auto", max_length = 35)]
    source_language: Option<String>,
    /// The language that is wanted.
    #[schema(max_length = 35, example = "fr")]
    target_language: String,
    /// How good it has to be: `medium` is `basic`.
    #[schema(default = "basic")]
    model_type: Option<Level>,
}

/// How good a translation has to be.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "it describes a field, which is read as a text")]
enum Level {
    Basic,
    Medium,
    Premium,
}

/// A text in another language.
#[derive(Serialize, ToSchema)]
struct Translated {
    #[schema(value_type = String)]
    original_text: PrivateText,
    #[schema(value_type = String)]
    translated_text: PrivateText,
    /// The language of the text, as it was told or detected.
    source_language: String,
    /// The language that was wanted, as it was written.
    target_language: String,
    /// The level that was used: `basic`, `medium`, `premium`, or `none` for a text that stayed as it was.
    model_used: &'static str,
    /// The models themselves, such as `fr-en+en-de`; null where there was none.
    model: Option<String>,
    confidence_score: f64,
    processing_time_ms: f64,
    /// It was translated before.
    from_cache: bool,
}

/// One text of a batch.
#[derive(Serialize, ToSchema)]
struct BatchItem {
    #[serde(flatten)]
    translated: Translated,
    /// Why the text stayed as it was; absent where all went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A text whose language is wanted.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
struct DetectRequest {
    #[schema(
        min_length = 1,
        max_length = 10_000,
        example = "Kommst du heute Abend auch zum Essen?"
    )]
    text: String,
}

/// The language of a text.
#[derive(Serialize, ToSchema)]
struct DetectedLanguage {
    /// Its code, or `unknown`.
    language: String,
    /// From 0.8 to 1, or 0 where it is unknown.
    confidence: f64,
}

/// A request that was read.
struct Wanted {
    direct: DirectText,
    /// The language as it was written.
    target: String,
}

/// Translates a text.
#[utoipa::path(
    post, path = "/translate", operation_id = "translate", tag = "texts",
    request_body = TranslateRequest,
    responses(
        (status = 200, description = "The translation", body = Translated),
        (status = 400, description = "The text is empty, no installed model covers the languages, or the body is damaged", body = ErrorBody),
        (status = 408, description = "The body did not come in time", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is no JSON", body = ErrorBody),
        (status = 422, description = "Fields are missing or wrong", body = InvalidBody),
        (status = 429, description = "Too much waits", body = ErrorBody),
        (status = 503, description = "Models are not loaded", body = ErrorBody),
    ),
)]
async fn translate(
    State(state): State<WorkState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Translated>, ApiError> {
    let wanted = wanted(body, vec![BODY]).map_err(ApiError::invalid)?;
    if wanted.direct.text.expose().is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, EMPTY));
    }
    let started = Instant::now();
    let turn = place(&state, &wanted)?;
    let translation = in_turn(&state, &wanted, turn).await?;
    Ok(Json(Translated::of(&wanted, Some(translation), started)))
}

const EMPTY: &str = "The text is empty";

/// Translates several texts; what fails stays as it was and says why.
#[utoipa::path(
    post, path = "/translate/batch", operation_id = "translate_batch", tag = "texts",
    request_body(content = inline(Batch)),
    responses(
        (status = 200, description = "The translations, in the order of the texts", body = Vec<BatchItem>),
        (status = 400, description = "The body breaks off or is damaged", body = ErrorBody),
        (status = 408, description = "The body did not come in time", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is no JSON", body = ErrorBody),
        (status = 422, description = "Fields are missing or wrong", body = InvalidBody),
        (status = 429, description = "Too much waits", body = ErrorBody),
    ),
)]
async fn translate_batch(
    State(state): State<WorkState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Vec<BatchItem>>, ApiError> {
    let started = Instant::now();
    let batch = batch(body).map_err(ApiError::invalid)?;
    // All of them, before the first is begun.
    let turns = batch.iter().map(|wanted| place(&state, wanted));
    let turns: Vec<Turn> = turns.collect::<Result<_, _>>()?;
    let mut tasks = JoinSet::new();
    for (index, (wanted, turn)) in batch.into_iter().zip(turns).enumerate() {
        let state = state.clone();
        tasks.spawn(async move { (index, item(&state, wanted, turn, started).await) });
    }
    let mut items = Vec::with_capacity(tasks.len());
    while let Some(done) = tasks.join_next().await {
        items.push(done.map_err(|error| ApiError::internal(&error))?);
    }
    items.sort_by_key(|(index, _)| *index);
    Ok(Json(items.into_iter().map(|(_, item)| item).collect()))
}

/// From one to ten texts.
#[derive(ToSchema)]
#[schema(min_items = 1, max_items = 10)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
struct Batch(Vec<TranslateRequest>);

/// Tells the language of a text.
#[utoipa::path(
    post, path = "/detect-language", operation_id = "detect_language", tag = "texts",
    request_body = DetectRequest,
    responses(
        (status = 200, description = "The language, which may be `unknown`", body = DetectedLanguage),
        (status = 400, description = "The body breaks off or is damaged", body = ErrorBody),
        (status = 408, description = "The body did not come in time", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is no JSON", body = ErrorBody),
        (status = 422, description = "Fields are missing or wrong", body = InvalidBody),
        (status = 429, description = "Too many large bodies are held", body = ErrorBody),
    ),
)]
async fn detect_language(
    State(state): State<WorkState>,
    JsonBody(body): JsonBody,
) -> Result<Json<DetectedLanguage>, ApiError> {
    let mut fields = Fields::of(body, vec![BODY]);
    let text = fields.text("text", 1..=MAX_DETECTED_CHARACTERS);
    let problems = fields.problems();
    if !problems.is_empty() {
        return Err(ApiError::invalid(problems));
    }
    let detected = state.pipeline.detect_language(&text.into()).await;
    let detected = detected.map_err(ApiError::from)?;
    Ok(Json(match detected {
        Some(detected) => DetectedLanguage {
            language: detected.language.to_string(),
            confidence: rounded(detected.confidence),
        },
        None => DetectedLanguage {
            language: UNKNOWN.to_owned(),
            confidence: 0.0,
        },
    }))
}

fn batch(body: Value) -> Result<Vec<Wanted>, Vec<FieldProblem>> {
    let problem = |kind, msg: String| {
        Err(vec![FieldProblem {
            loc: vec![BODY],
            msg,
            kind,
        }])
    };
    let Value::Array(bodies) = body else {
        return problem("list_type", "Input should be a valid list".to_owned());
    };
    if bodies.is_empty() {
        let msg = "List should have at least 1 item".to_owned();
        return problem("too_short", msg);
    }
    if bodies.len() > MAX_BATCH {
        let msg = format!("List should have at most {MAX_BATCH} items");
        return problem("too_long", msg);
    }
    let mut batch = Vec::with_capacity(bodies.len());
    let mut problems = Vec::new();
    for (index, body) in bodies.into_iter().enumerate() {
        match wanted(body, vec![BODY, Place::Index(index)]) {
            Ok(wanted) => batch.push(wanted),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() {
        Ok(batch)
    } else {
        Err(problems)
    }
}

fn wanted(body: Value, place: Vec<Place>) -> Result<Wanted, Vec<FieldProblem>> {
    let mut fields = Fields::of(body, place);
    let text = fields.text("text", 0..=usize::MAX);
    let source = fields.optional_text("source_language", 0..=MAX_LANGUAGE_CHARACTERS);
    let source = source.filter(|source| {
        let source = source.trim().to_ascii_lowercase();
        !UNKNOWN_LANGUAGES.contains(&source.as_str())
    });
    let source_language = source.as_deref().and_then(Language::parse);
    let target = fields.text("target_language", 0..=MAX_LANGUAGE_CHARACTERS);
    let target_language = Language::parse(&target);
    let no_language = |fields: &mut Fields, name| {
        let msg = "Value error, it is no language code such as fr or pt-BR".to_owned();
        fields.problem(name, "value_error", msg);
    };
    if source.is_some() && source_language.is_none() {
        no_language(&mut fields, "source_language");
    }
    if target_language.is_none() {
        no_language(&mut fields, "target_language");
    }
    let level = fields.optional_text("model_type", 0..=usize::MAX);
    let model_type = level
        .as_deref()
        .map_or(Some(ModelType::Basic), ModelType::from_name);
    if model_type.is_none() {
        let msg = "Input should be 'basic', 'medium' or 'premium'".to_owned();
        fields.problem("model_type", "enum", msg);
    }
    let problems = fields.problems();
    match (target_language, model_type) {
        (Some(target_language), Some(model_type)) if problems.is_empty() => Ok(Wanted {
            direct: DirectText {
                text: text.into(),
                source_language,
                target_language,
                model_type,
            },
            target,
        }),
        _ => Err(problems),
    }
}

fn place(state: &WorkState, wanted: &Wanted) -> Result<Turn, ApiError> {
    let turn = state.scheduler.place_text(wanted.direct.text.expose());
    turn.map_err(ApiError::from)
}

async fn in_turn(
    state: &WorkState,
    wanted: &Wanted,
    mut turn: Turn,
) -> Result<DirectTranslation, JobFailure> {
    turn.come().await;
    state.pipeline.translate_directly(&wanted.direct).await
}

async fn item(state: &WorkState, wanted: Wanted, turn: Turn, started: Instant) -> BatchItem {
    let result = if wanted.direct.text.expose().is_empty() {
        Err(EMPTY.to_owned())
    } else {
        let result = in_turn(state, &wanted, turn).await;
        result.map_err(|failure| told(&failure))
    };
    let (translation, error) = match result {
        Ok(translation) => (Some(translation), None),
        Err(error) => (None, Some(error)),
    };
    BatchItem {
        translated: Translated::of(&wanted, translation, started),
        error,
    }
}

impl Translated {
    /// The answer; without a translation the text stays as it was.
    fn of(wanted: &Wanted, translation: Option<DirectTranslation>, started: Instant) -> Self {
        let given = wanted.direct.source_language;
        let original_text = wanted.direct.text.clone();
        let target_language = wanted.target.clone();
        let processing_time_ms = (started.elapsed().as_secs_f64() * 1e4).round() / 10.0;
        match translation {
            Some(translation) => Self {
                original_text,
                translated_text: translation.text,
                source_language: translation.source_language.to_string(),
                target_language,
                model_used: translation.model_type.map_or(NO_MODEL, ModelType::as_str),
                model: (!translation.model.is_empty()).then_some(translation.model),
                confidence_score: rounded(translation.confidence_score),
                processing_time_ms,
                from_cache: translation.from_cache,
            },
            None => Self {
                translated_text: original_text.clone(),
                original_text,
                source_language: given
                    .map_or_else(|| UNKNOWN.to_owned(), |given| given.to_string()),
                target_language,
                model_used: NO_MODEL,
                model: None,
                confidence_score: 0.0,
                processing_time_ms,
                from_cache: false,
            },
        }
    }
}

/// As it was meant: 0.95 as f32 is 0.949999988079071 as f64.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1e4).round() / 1e4
}

/// What the sender of a batch is told of a failure. Messages of failures quote no text.
fn told(failure: &JobFailure) -> String {
    match failure {
        JobFailure::Ledger(_) => "Internal server error".to_owned(),
        JobFailure::Stage { message, .. } => message.clone(),
    }
}
