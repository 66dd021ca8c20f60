//! The later API, under `/v1`: transcriptions as OpenAI's clients ask for them, voices that are registered, and
//! voice messages in one language.

mod subtitles;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::audio::{Message, recording, transcription};
use super::error::ApiError;
use super::form::Form;
use super::jobs::{Answer, JobsState, Need, NewWork, TranscriptionReport};
use crate::scheduler::Lane;

/// Forms of a transcription; the first is the usual one.
const FORMS: [&str; 5] = ["json", "verbose_json", "text", "srt", "vtt"];

/// The routes under `/v1`.
pub fn routes(state: JobsState) -> Router {
    let limit = DefaultBodyLimit::max(state.max_body_bytes());
    Router::new()
        .route("/v1/audio/transcriptions", post(transcriptions))
        .route("/v1/register-voice", post(register_voice))
        .route("/v1/voice-message", post(voice_message))
        .route("/v1/audio/stats", get(stats))
        .layer(limit)
        .with_state(state)
}

/// A recording to write down: as a file, or as base64. `model`, `prompt` and `temperature` mean nothing here.
async fn transcriptions(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state
        .in_time(async {
            state.require(Need::Hearing)?;
            let mut form = Form::read(&state, request, &["file", "audio_base64"]).await?;
            let audio = form.file("file").or_else(|| form.file("audio_base64"));
            let audio = audio.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "No audio"))?;
            let language = form.language("language");
            let response_format = form.choice("response_format", &FORMS);
            form.check()?;
            let work = transcription(&state, audio, language, Answer::TimedTranscription);
            let heard = state.result(work).await?;
            let heard: TranscriptionReport =
                serde_json::from_value(heard).map_err(|error| ApiError::internal(&error))?;
            Ok(written(&heard, response_format))
        })
        .await
}

/// The transcription in the form that was asked for.
fn written(heard: &TranscriptionReport, form: &str) -> Response {
    let plain = |media_type: &'static str, text: String| {
        ([(header::CONTENT_TYPE, media_type)], text).into_response()
    };
    match form {
        "text" => plain("text/plain; charset=utf-8", format!("{}\n", heard.text)),
        "srt" => plain("application/x-subrip; charset=utf-8", subtitles::srt(heard)),
        "vtt" => plain("text/vtt; charset=utf-8", subtitles::vtt(heard)),
        "verbose_json" => Json(verbose(heard)).into_response(),
        _ => Json(json!({
            "text": heard.text,
            "language": heard.language,
            "confidence": heard.confidence,
            "duration_ms": heard.duration_ms,
            "source": heard.source,
        }))
        .into_response(),
    }
}

fn verbose(heard: &TranscriptionReport) -> Value {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let segments = heard.segments.iter().flatten().enumerate();
    let segments: Vec<Value> = segments
        .map(|(id, segment)| {
            json!({
                "id": id,
                "start": seconds(segment.start_ms),
                "end": seconds(segment.end_ms),
                "text": segment.text,
                "confidence": segment.confidence,
            })
        })
        .collect();
    json!({
        "task": "transcribe",
        "language": heard.language,
        "duration": seconds(heard.duration_ms),
        "text": heard.text,
        "segments": segments,
        "confidence": heard.confidence,
        "source": heard.source,
    })
}

/// A user's voice, made from a recording.
async fn register_voice(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state
        .in_time(async {
            state.require(Need::Voices)?;
            let headers = request.headers().clone();
            let mut form = Form::read(&state, request, &["audio"]).await?;
            let audio = recording(&mut form, "audio")?;
            let user_id = form.required_id("user_id")?;
            form.check()?;
            let id = Uuid::new_v4();
            let bytes = audio.size_bytes();
            let work = NewWork {
                id,
                kind: "voice_profile_create",
                request: json!({
                    "type": "voice_profile_create",
                    "answer": Answer::Voice,
                    "taskId": id,
                    "userId": user_id,
                    "binaryFrames": { "audio": 1 },
                }),
                upload: Some(audio),
                demand: state
                    .scheduler
                    .demand_of_upload(Lane::Analysis, Some(&user_id), bytes),
                user_id: Some(user_id),
            };
            state.respond(work, &headers).await
        })
        .await
}

/// A voice message in one language.
async fn voice_message(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state
        .in_time(async {
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
                generate_voice_clone: form.flag("generate_voice_clone", true),
                model_type: "medium",
                mobile_transcription: None,
                mobile_language: None,
                answer: Answer::VoiceMessage,
            };
            form.check()?;
            state.respond(message.work(&state), &headers).await
        })
        .await
}

/// Jobs of audio that the ledger knows: those that ended lately, and those that have not.
#[derive(Serialize)]
struct AudioStats {
    /// How many there are of each kind, by how they stand.
    jobs: Value,
    /// Voices that are kept.
    voices: usize,
}

async fn stats(State(state): State<JobsState>) -> Result<Json<AudioStats>, ApiError> {
    let mut jobs = json!({});
    for tally in state.pipeline.ledger.tally().await? {
        jobs[tally.kind][tally.state.as_str()] = tally.jobs.into();
    }
    let voices = state.pipeline.voices.list().await;
    let voices = voices.map_err(|error| ApiError::internal(&error))?.len();
    Ok(Json(AudioStats { jobs, voices }))
}
