//! The voice of a user: `voice/profile`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{Call, checked_user};
use crate::http::audio::recording;
use crate::http::body::retold;
use crate::http::error::{ApiError, ErrorBody, require_writable};
use crate::http::form::{AudioFile, Form};
use crate::http::jobs::{
    Accepted, Answer, DeletedProfile, JobsState, Need, NotDone, Preference, VoiceProfile,
};
use crate::pipeline::voice_api;
use crate::protocol::RequestKind;
use crate::scheduler::Lane;

/// A recording that makes a user's voice.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
pub(super) struct VoiceProfileBody {
    /// The recording of at least 10 s as base64, perhaps as a `data:` URL; 12 MiB at most.
    audio_base64: String,
    /// Whose voice it is; 512 bytes at most.
    #[schema(min_length = 1, example = "awa")]
    user_id: String,
    /// What the user calls it; 512 bytes at most.
    name: Option<String>,
    /// What the client has to say about it; 4 KiB at most.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// A recording that makes a user's voice better.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
pub(super) struct VoiceSampleForm {
    /// The recording of at least 10 s.
    audio: AudioFile,
    /// Whose voice it is; 512 bytes at most.
    #[schema(min_length = 1, example = "awa")]
    user_id: String,
    /// What the user calls it from now on; 512 bytes at most.
    name: Option<String>,
    /// What the client has to say about it, as JSON; 4 KiB at most.
    metadata: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Whose voice it is; 512 bytes at most.
    #[param(example = "awa")]
    user_id: String,
    /// Only the voice that is called so: there is one of each user.
    profile_id: Option<String>,
}

/// What is known of a user's voice.
#[utoipa::path(
    get, path = "/api/v1/voice/profile", operation_id = "show_voice_profile", tag = "voice api",
    params(Whose),
    responses(
        (status = 200, description = "The voice", body = VoiceProfile),
        (status = 400, description = "The query cannot be read", body = ErrorBody),
        (status = 404, description = "The user has no such voice", body = ErrorBody),
        (status = 503, description = "The voice API is switched off", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(state): State<JobsState>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<VoiceProfile>, ApiError> {
    state.require_voice_api()?;
    let Query(whose) = whose?;
    let user_id = checked_user(whose.user_id)?;
    let profile_id = whose.profile_id.as_deref();
    let profile = voice_api::profile(&state.pipeline, &user_id, profile_id).await?;
    retold(&profile).map(Json)
}

/// Makes a user's voice from a recording.
#[utoipa::path(
    post, path = "/api/v1/voice/profile", operation_id = "create_voice_profile", tag = "voice api",
    params(Preference),
    request_body = VoiceProfileBody,
    responses(
        (status = 200, description = "The voice", body = VoiceProfile),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn create(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    require(&state)?;
    let headers = request.headers().clone();
    let mut form = Form::read_json(&state, request, &["audio_base64"]).await?;
    let call = call(&mut form, "audio_base64", RequestKind::VoiceProfileCreate)?;
    form.finish()?;
    state.respond(call.work(&state), &headers).await
}

/// Makes a user's voice better with one more recording.
#[utoipa::path(
    post, path = "/api/v1/voice/profile/sample", operation_id = "add_voice_sample",
    tag = "voice api",
    params(Preference),
    request_body(content = VoiceSampleForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The voice", body = VoiceProfile),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn add_sample(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    require(&state)?;
    let headers = request.headers().clone();
    let mut form = Form::read(&state, request, &["audio"]).await?;
    let call = call(&mut form, "audio", RequestKind::VoiceProfileUpdate)?;
    form.finish()?;
    state.respond(call.work(&state), &headers).await
}

/// Forgets a user's voice, with everything of the user.
#[utoipa::path(
    delete, path = "/api/v1/voice/profile", operation_id = "delete_voice_profile",
    tag = "voice api",
    params(Whose),
    responses(
        (status = 200, description = "It is deleted", body = DeletedProfile),
        NotDone,
    ),
)]
pub(super) async fn delete(
    State(state): State<JobsState>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Response, ApiError> {
    state.require_voice_api()?;
    require_writable(state.pipeline.ledger.storage())?;
    let Query(whose) = whose?;
    let call = Call {
        kind: RequestKind::VoiceProfileDelete,
        lane: Lane::Query,
        answer: Answer::DeletedProfile,
        user_id: Some(checked_user(whose.user_id)?),
        fields: json!({ "profileId": whose.profile_id }),
        recordings: Vec::new(),
    };
    state.respond_lastingly(call.work(&state)).await
}

fn require(state: &JobsState) -> Result<(), ApiError> {
    state.require_voice_api()?;
    state.require(Need::Voices)
}

fn call(form: &mut Form, audio: &str, kind: RequestKind) -> Result<Call, ApiError> {
    let audio = recording(form, audio)?;
    Ok(Call {
        kind,
        lane: Lane::Analysis,
        answer: Answer::VoiceProfile,
        user_id: Some(form.required_id("user_id")?),
        fields: json!({ "name": form.id("name")?, "metadata": form.object("metadata") }),
        recordings: vec![("audio", audio)],
    })
}
