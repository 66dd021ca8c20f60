//! What can be measured in voices: `voice/analyze`, `voice/compare`.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::json;
use utoipa::ToSchema;

use super::Call;
use crate::http::audio::recording;
use crate::http::error::ApiError;
use crate::http::form::Form;
use crate::http::jobs::{
    Accepted, Answer, JobsState, Need, NotDone, Preference, VoiceAnalysis, VoiceLikeness,
};
use crate::ledger::ReceivedUpload;
use crate::protocol::RequestKind;
use crate::scheduler::Lane;

/// A recording of a voice.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
pub(super) struct VoiceAnalyzeBody {
    /// The recording as base64, perhaps as a `data:` URL; 12 MiB at most.
    audio_base64: String,
    /// Who asks; 512 bytes at most.
    user_id: Option<String>,
}

/// Recordings of two voices, 12 MiB together at most.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
pub(super) struct VoiceCompareBody {
    /// The first recording as base64, perhaps as a `data:` URL.
    audio_base64_1: String,
    /// The second recording.
    audio_base64_2: String,
    /// Who asks; 512 bytes at most.
    user_id: Option<String>,
}

/// Measures pitch, spectrum, energy and rhythm of a voice.
#[utoipa::path(
    post, path = "/api/v1/voice/analyze", operation_id = "voice_analyze", tag = "voice api",
    params(Preference),
    request_body = VoiceAnalyzeBody,
    responses(
        (status = 200, description = "What was measured", body = VoiceAnalysis),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn analyze(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    let kind = (RequestKind::VoiceAnalyze, Answer::VoiceAnalysis);
    let frames = [("audio", "audio_base64")];
    respond(&state, request, kind, &frames).await
}

/// Tells how alike two voices are; one speaker from 0.75 on.
#[utoipa::path(
    post, path = "/api/v1/voice/compare", operation_id = "voice_compare", tag = "voice api",
    params(Preference),
    request_body = VoiceCompareBody,
    responses(
        (status = 200, description = "How alike they are", body = VoiceLikeness),
        Accepted,
        NotDone,
    ),
)]
pub(super) async fn compare(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    let kind = (RequestKind::VoiceCompare, Answer::VoiceLikeness);
    let frames = [("audio_1", "audio_base64_1"), ("audio_2", "audio_base64_2")];
    respond(&state, request, kind, &frames).await
}

/// Answers with what recordings have in them, each in a frame and a field of these names.
async fn respond(
    state: &JobsState,
    request: Request,
    (kind, answer): (RequestKind, Answer),
    frames: &[(&'static str, &str)],
) -> Result<Response, ApiError> {
    state.require_voice_api()?;
    state.require(Need::Measuring)?;
    let headers = request.headers().clone();
    let fields: Vec<&str> = frames.iter().map(|(_, field)| *field).collect();
    let mut form = Form::read_json(state, request, &fields).await?;
    let recordings: Vec<(&'static str, ReceivedUpload)> = frames
        .iter()
        .map(|(frame, field)| Ok((*frame, recording(&mut form, field)?)))
        .collect::<Result<_, ApiError>>()?;
    let call = Call {
        kind,
        lane: Lane::Analysis,
        answer,
        user_id: form.id("user_id")?,
        fields: json!({}),
        recordings,
    };
    form.finish()?;
    state.respond(call.work(state), &headers).await
}
