//! Recordings in other languages: `voice/translate`, and `voice/job`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Call;
use crate::http::audio::{heard_by_device, recording};
use crate::http::error::{ApiError, ErrorBody};
use crate::http::form::{AudioFile, Form};
use crate::http::jobs::{
    Accepted, Answer, JobsState, Need, NotDone, Preference, TranslatedVoice, VoiceJob,
    VoiceJobStatus,
};
use crate::protocol::RequestKind;
use crate::scheduler::Lane;

/// The priority of jobs that may wait behind all others.
const LOW_PRIORITY: u8 = 0;
/// The usual one; higher ones are alike.
const USUAL_PRIORITY: u8 = 1;
const HIGHEST_PRIORITY: u8 = 3;

/// A recording that is wanted in other languages.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
pub(super) struct VoiceTranslateBody {
    /// The recording as base64, perhaps as a `data:` URL; 12 MiB at most: send larger ones to `voice/translate/audio`.
    audio_base64: String,
    #[schema(min_items = 1, max_items = 200, example = json!(["fr", "es"]))]
    target_languages: Vec<String>,
    /// Whose voice it is; 512 bytes at most. Without it the default voice speaks, and no history is kept.
    #[schema(example = "awa")]
    user_id: Option<String>,
    /// The language that is spoken, as far as is known: a hint.
    source_language: Option<String>,
    /// Whether it is spoken in the user's voice.
    #[schema(default = true)]
    generate_voice_clone: Option<bool>,
    /// What the sender's device has heard, instead of what is heard here.
    mobile_transcription: Option<String>,
    /// Its language; it is detected where it is not told.
    mobile_language: Option<String>,
    /// Of a job: 0 waits behind all other recordings; 1 to 3 are alike.
    #[schema(minimum = 0, maximum = 3, default = 1)]
    priority: Option<u8>,
    /// Of a job: where the event of its end is posted as the gateway would get it, if `WEBHOOK_HOSTS` names the host.
    webhook_url: Option<String>,
    /// Of a job: comes back in that event; 4 KiB at most.
    #[schema(value_type = Option<Object>)]
    callback_metadata: Option<Value>,
}

/// The same with the recording as a file.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
pub(super) struct VoiceTranslateForm {
    /// The recording.
    audio: AudioFile,
    /// With commas, or in several fields.
    #[schema(example = "fr,es")]
    target_languages: String,
    /// Whose voice it is; 512 bytes at most. Without it the default voice speaks, and no history is kept.
    #[schema(example = "awa")]
    user_id: Option<String>,
    /// The language that is spoken, as far as is known: a hint.
    source_language: Option<String>,
    /// `true` or `false`: whether it is spoken in the user's voice; `true` where it is not said.
    generate_voice_clone: Option<String>,
    /// What the sender's device has heard, instead of what is heard here.
    mobile_transcription: Option<String>,
    /// Its language; it is detected where it is not told.
    mobile_language: Option<String>,
}

/// A job that was accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct VoiceJobAccepted {
    /// What it is called.
    job_id: String,
    /// `pending`.
    status: VoiceJobStatus,
}

/// Translates a recording, and speaks it in its user's voice.
#[utoipa::path(
    post, path = "/api/v1/voice/translate", operation_id = "voice_translate", tag = "voice api",
    params(Preference),
    request_body = VoiceTranslateBody,
    responses(
        (status = 200, description = "The recording in every language", body = TranslatedVoice),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn translate(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    require(&state)?;
    let headers = request.headers().clone();
    let mut form = Form::read_json(&state, request, &["audio_base64"]).await?;
    let call = call(&mut form, "audio_base64", RequestKind::VoiceTranslate)?;
    form.finish()?;
    state.respond(call.work(&state), &headers).await
}

/// The same of a recording that comes as a file.
#[utoipa::path(
    post, path = "/api/v1/voice/translate/audio", operation_id = "voice_translate_audio",
    tag = "voice api",
    params(Preference),
    request_body(content = VoiceTranslateForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The recording in every language", body = TranslatedVoice),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn translate_audio(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    require(&state)?;
    let headers = request.headers().clone();
    let mut form = Form::read(&state, request, &["audio"]).await?;
    let call = call(&mut form, "audio", RequestKind::VoiceTranslate)?;
    form.finish()?;
    state.respond(call.work(&state), &headers).await
}

/// Translates a recording as a job, which nobody waits for.
#[utoipa::path(
    post, path = "/api/v1/voice/translate/async", operation_id = "voice_translate_async",
    tag = "voice api",
    request_body = VoiceTranslateBody,
    responses(
        (
            status = 202,
            description = "The job is kept",
            body = VoiceJobAccepted,
            headers(("Location" = String, description = "Where the job is")),
        ),
        NotDone,
    ),
)]
pub(super) async fn translate_async(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    require(&state)?;
    let mut form = Form::read_json(&state, request, &["audio_base64"]).await?;
    let mut call = call(&mut form, "audio_base64", RequestKind::VoiceTranslateAsync)?;
    let priority = form.number("priority", LOW_PRIORITY..=HIGHEST_PRIORITY);
    let priority = priority.unwrap_or(USUAL_PRIORITY);
    call.fields["priority"] = json!(priority);
    call.fields["webhookUrl"] = json!(form.text("webhook_url"));
    call.fields["callbackMetadata"] = json!(form.object("callback_metadata"));
    if priority == LOW_PRIORITY {
        call.lane = Lane::AudioLow;
    }
    form.finish()?;
    let work = call.work(&state);
    let job_id = work.id.to_string();
    state.submit(work).await?;
    let location = [(header::LOCATION, format!("/api/v1/voice/job/{job_id}"))];
    let accepted = VoiceJobAccepted {
        job_id,
        status: VoiceJobStatus::Pending,
    };
    Ok((StatusCode::ACCEPTED, location, Json(accepted)).into_response())
}

fn require(state: &JobsState) -> Result<(), ApiError> {
    state.require_voice_api()?;
    state.require(Need::Everything)?;
    // Its translations have speech, always.
    state.require(Need::Speaking)
}

fn call(form: &mut Form, audio: &str, kind: RequestKind) -> Result<Call, ApiError> {
    let audio = recording(form, audio)?;
    let languages = form.languages("target_languages").unwrap_or_default();
    if languages.is_empty() {
        form.missing("target_languages");
    }
    let mut fields = json!({
        "targetLanguages": languages,
        "sourceLanguage": form.language("source_language"),
        "generateVoiceClone": form.flag("generate_voice_clone", true),
    });
    let language = form.language("mobile_language");
    if let Some(text) = form.text("mobile_transcription") {
        fields["mobileTranscription"] = heard_by_device(text, language);
    }
    Ok(Call {
        kind,
        lane: Lane::Audio,
        answer: Answer::VoiceTranslation,
        user_id: form.id("user_id")?,
        fields,
        recordings: vec![("audio", audio)],
    })
}

/// A translation that came over HTTP, with its result.
#[utoipa::path(
    get, path = "/api/v1/voice/job/{id}", operation_id = "show_voice_job", tag = "voice api",
    params(("id" = String, Path, description = "What it is called")),
    responses(
        (status = 200, description = "The job", body = VoiceJob),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 503, description = "The voice API is switched off", body = ErrorBody),
    ),
)]
pub(super) async fn show_job(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<VoiceJob>, ApiError> {
    state.require_voice_api()?;
    Ok(Json(state.voice_job(id).await?))
}

/// Ends a translation that came over HTTP and has not ended.
#[utoipa::path(
    delete, path = "/api/v1/voice/job/{id}", operation_id = "cancel_voice_job", tag = "voice api",
    params(("id" = String, Path, description = "What it is called")),
    responses(
        (status = 200, description = "The job, which has ended", body = VoiceJob),
        (status = 400, description = "The id cannot be read", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "The job has ended already", body = ErrorBody),
        (status = 503, description = "The voice API is switched off", body = ErrorBody),
        (status = 507, description = "The disk takes nothing", body = ErrorBody),
    ),
)]
pub(super) async fn cancel_job(
    State(state): State<JobsState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<VoiceJob>, ApiError> {
    state.require_voice_api()?;
    Ok(Json(state.cancel_voice_job(id).await?))
}
