//! The later API, under `/v1`: transcriptions as OpenAI's clients ask for them, voices that are registered, and
//! voice messages in one language.

mod subtitles;

use std::collections::BTreeMap;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audio::{Message, recording, transcription};
use super::error::ApiError;
use super::form::{AudioFile, Form};
use super::jobs::{
    Accepted, Answer, JobResult, JobsState, Need, NotDone, Preference, RegisteredVoice,
    TranscriptionReport, TranslatedMessage, no_result,
};
use super::voice_api::Call;
use crate::protocol::RequestKind;
use crate::scheduler::Lane;

/// Forms of a transcription; the first is the usual one.
const FORMS: [&str; 5] = ["json", "verbose_json", "text", "srt", "vtt"];

/// What there is under `/v1` only.
pub fn operations() -> OpenApiRouter<JobsState> {
    OpenApiRouter::default()
        .routes(routes!(transcriptions))
        .routes(routes!(register_voice))
        .routes(routes!(voice_message))
        .routes(routes!(stats))
}

/// Its routes.
pub fn routes(state: JobsState) -> Router {
    let limit = DefaultBodyLimit::max(state.max_body_bytes());
    Router::from(operations()).layer(limit).with_state(state)
}

/// A recording to write down, as `file` or as `audio_base64`. Other fields of OpenAI's API, such as `model`, mean nothing.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct TranscriptionsForm {
    file: Option<AudioFile>,
    /// The same as base64, perhaps as a `data:` URL. Larger ones come as `multipart/form-data`, which has no bound of
    /// 3 MiB.
    audio_base64: Option<String>,
    /// The language; it is detected where it is not told.
    language: Option<String>,
    /// `json`, `verbose_json`, `text`, `srt` or `vtt`; `json` where it is not said.
    response_format: Option<String>,
}

/// A user's recording.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct VoiceForm {
    audio: AudioFile,
    /// Whose voice it is; 512 bytes at most.
    #[schema(min_length = 1, example = "awa")]
    user_id: String,
}

/// A voice message that is wanted in one language.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct VoiceMessageForm {
    audio: AudioFile,
    /// Whose it is; 512 bytes at most.
    #[schema(min_length = 1, example = "awa")]
    user_id: String,
    conversation_id: Option<String>,
    #[schema(example = "fr")]
    target_language: String,
    /// `true` or `false`: whether it is spoken in the user's voice; `true` where it is not said.
    generate_voice_clone: Option<String>,
}

/// What is said in a recording, as `json` or as `verbose_json`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Written {
    Plain(Plain),
    Verbose(Verbose),
}

/// What is said.
#[derive(Serialize, ToSchema)]
struct Plain {
    text: String,
    language: String,
    /// In 0..1.
    confidence: f64,
    duration_ms: u64,
    /// Who has heard it.
    source: String,
}

/// The same with its parts.
#[derive(Serialize, ToSchema)]
struct Verbose {
    /// `transcribe`.
    task: &'static str,
    language: String,
    /// In seconds.
    duration: f64,
    text: String,
    segments: Vec<VerboseSegment>,
    /// In 0..1.
    confidence: f64,
    /// Who has heard it.
    source: String,
}

/// A part of what is said.
#[derive(Serialize, ToSchema)]
struct VerboseSegment {
    id: usize,
    /// In seconds.
    start: f64,
    /// In seconds.
    end: f64,
    text: String,
    /// In 0..1, where it is known.
    confidence: Option<f64>,
}

/// Writes a recording down, for clients of OpenAI's API.
#[utoipa::path(
    post, path = "/v1/audio/transcriptions", operation_id = "transcriptions", tag = "audio",
    request_body(content(
        (TranscriptionsForm = "multipart/form-data"),
        (TranscriptionsForm = "application/x-www-form-urlencoded"),
    )),
    responses(
        (
            status = 200,
            description = "What is said, in the form that was asked for",
            content(
                (Written = "application/json"),
                (String = "text/plain"),
                (String = "application/x-subrip"),
                (String = "text/vtt"),
            ),
        ),
        NotDone,
    ),
)]
async fn transcriptions(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require(Need::Hearing)?;
    let mut form = Form::read(&state, request, &["file", "audio_base64"]).await?;
    let audio = form.file("file").or_else(|| form.file("audio_base64"));
    let audio = audio.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "No audio"))?;
    let language = form.language("language");
    let response_format = form.choice("response_format", &FORMS);
    form.finish()?;
    let work = transcription(&state, audio, language, Answer::TimedTranscription);
    let JobResult::Transcription(heard) = state.result(work).await? else {
        return Err(no_result());
    };
    Ok(written(heard, response_format))
}

/// The transcription in the form that was asked for.
fn written(heard: TranscriptionReport, form: &str) -> Response {
    let plain = |media_type: &'static str, text: String| {
        ([(header::CONTENT_TYPE, media_type)], text).into_response()
    };
    match form {
        "text" => plain("text/plain; charset=utf-8", format!("{}\n", heard.text)),
        "srt" => plain(
            "application/x-subrip; charset=utf-8",
            subtitles::srt(&heard),
        ),
        "vtt" => plain("text/vtt; charset=utf-8", subtitles::vtt(&heard)),
        "verbose_json" => Json(Written::Verbose(Verbose::of(heard))).into_response(),
        _ => Json(Written::Plain(Plain::of(heard))).into_response(),
    }
}

impl Plain {
    fn of(heard: TranscriptionReport) -> Self {
        Self {
            text: heard.text,
            language: heard.language,
            confidence: heard.confidence,
            duration_ms: heard.duration_ms,
            source: heard.source,
        }
    }
}

impl Verbose {
    fn of(heard: TranscriptionReport) -> Self {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let segments = heard.segments.into_iter().flatten().enumerate();
        let segments = segments.map(|(id, segment)| VerboseSegment {
            id,
            start: seconds(segment.start_ms),
            end: seconds(segment.end_ms),
            text: segment.text,
            confidence: segment.confidence,
        });
        Self {
            task: "transcribe",
            language: heard.language,
            duration: seconds(heard.duration_ms),
            text: heard.text,
            segments: segments.collect(),
            confidence: heard.confidence,
            source: heard.source,
        }
    }
}

/// Makes a user's voice from a recording.
#[utoipa::path(
    post, path = "/v1/register-voice", operation_id = "register_voice", tag = "voices",
    params(Preference),
    request_body(content = VoiceForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The voice", body = RegisteredVoice),
        Accepted,
        NotDone,
    ),
)]
async fn register_voice(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require(Need::Voices)?;
    let headers = request.headers().clone();
    let mut form = Form::read(&state, request, &["audio"]).await?;
    let audio = recording(&mut form, "audio")?;
    let user_id = form.required_id("user_id")?;
    form.finish()?;
    let call = Call {
        kind: RequestKind::VoiceProfileCreate,
        lane: Lane::Analysis,
        answer: Answer::Voice,
        user_id: Some(user_id),
        fields: json!({}),
        recordings: vec![("audio", audio)],
    };
    state.respond(call.work(&state), &headers).await
}

/// Speaks a voice message in one other language.
#[utoipa::path(
    post, path = "/v1/voice-message", operation_id = "voice_message", tag = "audio",
    params(Preference),
    request_body(content = VoiceMessageForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The message in that language", body = TranslatedMessage),
        Accepted,
        NotDone,
    ),
)]
async fn voice_message(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require(Need::Everything)?;
    let headers = request.headers().clone();
    let mut form = Form::read(&state, request, &["audio"]).await?;
    let audio = recording(&mut form, "audio")?;
    let sender_id = form.required_id("user_id")?;
    let target_language = form.language("target_language");
    if !form.has("target_language") {
        form.missing("target_language");
    }
    let message = Message {
        audio,
        sender_id,
        conversation_id: form.id("conversation_id")?,
        target_languages: Some(target_language.into_iter().collect()),
        message_id: None,
        attachment_id: None,
        language: None,
        generate_voice_clone: form.flag("generate_voice_clone", true),
        model_type: "medium",
        mobile_transcription: None,
        mobile_language: None,
        answer: Answer::VoiceMessage,
    };
    form.finish()?;
    state.respond(message.work(&state), &headers).await
}

/// Jobs that the ledger knows: those that ended lately, and those that have not.
#[derive(Serialize, ToSchema)]
struct AudioStats {
    /// How many there are of each kind, by how they stand.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    jobs: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Voices that are kept.
    voices: usize,
}

/// How many jobs and voices there are.
#[utoipa::path(
    get, path = "/v1/audio/stats", operation_id = "audio_stats", tag = "audio",
    responses((status = 200, description = "The figures", body = AudioStats)),
)]
async fn stats(State(state): State<JobsState>) -> Result<Json<AudioStats>, ApiError> {
    let mut jobs: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
    for tally in state.pipeline.ledger.tally().await? {
        let of_kind = jobs.entry(tally.kind).or_default();
        of_kind.insert(tally.state.as_str(), tally.jobs);
    }
    let voices = state.pipeline.voices.list().await;
    let voices = voices.map_err(|error| ApiError::internal(&error))?.len();
    Ok(Json(AudioStats { jobs, voices }))
}
