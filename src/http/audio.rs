//! Voice messages over HTTP: `/audio/process-message` and `/audio/transcribe`.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::ApiError;
use super::form::{AudioFile, Form};
use super::jobs::{
    Accepted, Answer, JobsState, Need, NewWork, NotDone, Preference, ProcessedMessage,
    TranscriptionReport,
};
use crate::domain::Language;
use crate::ledger::ReceivedUpload;
use crate::scheduler::Lane;

/// What there is about recordings, under `/audio` and under `/v1/audio`.
pub fn operations() -> OpenApiRouter<JobsState> {
    let recordings = OpenApiRouter::default()
        .routes(routes!(process_message))
        .routes(routes!(transcribe));
    OpenApiRouter::default()
        .nest("/audio", recordings.clone())
        .nest("/v1/audio", recordings)
}

/// Its routes.
pub fn routes(state: JobsState) -> Router {
    let limit = DefaultBodyLimit::max(state.max_body_bytes());
    Router::from(operations()).layer(limit).with_state(state)
}

/// A voice message.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct MessageForm {
    /// The recording.
    audio: AudioFile,
    /// Whose it is; 512 bytes at most, as all ids.
    #[schema(min_length = 1, example = "awa")]
    sender_id: String,
    #[schema(min_length = 1, example = "family")]
    conversation_id: String,
    /// With commas, or in several fields; without them those of the conversation's members.
    #[schema(example = "fr,es")]
    target_languages: Option<String>,
    /// The message in the gateway's database that it belongs to.
    message_id: Option<String>,
    attachment_id: Option<String>,
    /// The language that is spoken, as far as is known: a hint.
    language: Option<String>,
    /// `true` or `false`: whether it is spoken in the sender's voice; `true` where it is not said.
    generate_voice_clone: Option<String>,
    /// How good the translation has to be: `medium`, `basic` or `premium`; `medium` where it is not said.
    model_type: Option<String>,
    /// What the sender's device has heard, instead of what is heard here.
    mobile_transcription: Option<String>,
    /// Its language; it is detected where it is not told.
    mobile_language: Option<String>,
}

/// A recording to write down.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct TranscribeForm {
    /// The recording.
    audio: AudioFile,
    /// The language; it is detected where it is not told.
    language: Option<String>,
    /// `true` or `false`: whether the parts are told too; `false` where it is not said.
    return_timestamps: Option<String>,
}

/// Writes a voice message down, translates it, and speaks it in its sender's voice.
#[utoipa::path(
    post, path = "/process-message", operation_id = "process_message", tag = "audio",
    params(Preference),
    request_body(content = MessageForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The message in every language", body = ProcessedMessage),
        Accepted,
        NotDone,
    ),
)]
async fn process_message(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require(Need::Everything)?;
    let headers = request.headers().clone();
    let mut form = Form::read(&state, request, &["audio"]).await?;
    let message = Message {
        audio: recording(&mut form, "audio")?,
        sender_id: form.required_id("sender_id")?,
        conversation_id: Some(form.required_id("conversation_id")?),
        target_languages: form.languages("target_languages"),
        message_id: form.id("message_id")?,
        attachment_id: form.id("attachment_id")?,
        language: form.language("language"),
        generate_voice_clone: form.flag("generate_voice_clone", true),
        model_type: form.choice("model_type", &["medium", "basic", "premium"]),
        mobile_language: form.language("mobile_language"),
        mobile_transcription: form.text("mobile_transcription").map(str::to_owned),
        answer: Answer::ProcessMessage,
    };
    form.finish()?;
    state.respond(message.work(&state), &headers).await
}

/// Writes a recording down.
#[utoipa::path(
    post, path = "/transcribe", operation_id = "transcribe", tag = "audio",
    params(Preference),
    request_body(content = TranscribeForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "What is said", body = TranscriptionReport),
        Accepted,
        NotDone,
    ),
)]
async fn transcribe(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require(Need::Hearing)?;
    let headers = request.headers().clone();
    let mut form = Form::read(&state, request, &["audio"]).await?;
    let audio = recording(&mut form, "audio")?;
    let language = form.language("language");
    let answer = match form.flag("return_timestamps", false) {
        true => Answer::TimedTranscription,
        false => Answer::Transcription,
    };
    form.finish()?;
    let work = transcription(&state, audio, language, answer);
    state.respond(work, &headers).await
}

/// A voice message that was received.
pub(super) struct Message {
    pub(super) audio: ReceivedUpload,
    pub(super) sender_id: String,
    pub(super) conversation_id: Option<String>,
    /// `None`: to be found out from the conversation.
    pub(super) target_languages: Option<Vec<Language>>,
    pub(super) message_id: Option<String>,
    pub(super) attachment_id: Option<String>,
    /// The language that is expected: a hint.
    pub(super) language: Option<Language>,
    pub(super) generate_voice_clone: bool,
    pub(super) model_type: &'static str,
    pub(super) mobile_transcription: Option<String>,
    pub(super) mobile_language: Option<Language>,
    pub(super) answer: Answer,
}

impl Message {
    /// The request that the gateway would send.
    pub(super) fn work(self, state: &JobsState) -> NewWork {
        let id = Uuid::new_v4();
        // Without a message of its own it is not written to the gateway's database.
        let message_id = self.message_id.unwrap_or_else(|| id.to_string());
        let attachment_id = self.attachment_id.unwrap_or_else(|| id.to_string());
        let mut request = json!({
            "type": "audio_process",
            "answer": self.answer,
            "messageId": message_id,
            "attachmentId": attachment_id,
            "userLanguage": self.language,
            "conversationId": self.conversation_id,
            "senderId": self.sender_id,
            "binaryFrames": { "audio": 1 },
            "generateVoiceClone": self.generate_voice_clone,
            "modelType": self.model_type,
        });
        if let Some(languages) = self.target_languages {
            request["targetLanguages"] = json!(languages);
        }
        if let Some(text) = self.mobile_transcription {
            request["mobileTranscription"] = heard_by_device(&text, self.mobile_language);
        }
        let user_id = Some(self.sender_id);
        work(state, id, "audio_process", request, self.audio, user_id)
    }
}

/// What the sender's device has heard, as requests carry it.
pub(super) fn heard_by_device(text: &str, language: Option<Language>) -> Value {
    json!({ "text": text, "source": "mobile", "language": language })
}

/// A recording that is to be written down.
pub(super) fn transcription(
    state: &JobsState,
    audio: ReceivedUpload,
    language: Option<Language>,
    answer: Answer,
) -> NewWork {
    let id = Uuid::new_v4();
    let request = json!({
        "type": "transcription_only",
        "answer": answer,
        "taskId": id,
        "messageId": id,
        "binaryFrames": { "audio": 1 },
        "userLanguage": language,
    });
    work(state, id, "transcription_only", request, audio, None)
}

fn work(
    state: &JobsState,
    id: Uuid,
    kind: &'static str,
    request: Value,
    audio: ReceivedUpload,
    user_id: Option<String>,
) -> NewWork {
    let sizes = [audio.size_bytes()];
    NewWork {
        id,
        kind,
        request,
        uploads: vec![audio],
        demand: state
            .scheduler
            .demand_of_uploads(Lane::Audio, user_id.as_deref(), &sizes),
        user_id,
    }
}

/// The recording of a form.
///
/// # Errors
/// There is none, or an empty one.
pub(super) fn recording(form: &mut Form, name: &str) -> Result<ReceivedUpload, ApiError> {
    let detail = "No audio";
    form.file(name)
        .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, detail))
}
