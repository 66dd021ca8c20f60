//! Voice messages over HTTP: `/audio/process-message` and `/audio/transcribe`.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::form::Form;
use super::jobs::{Answer, JobsState, Need, NewWork};
use crate::domain::Language;
use crate::ledger::ReceivedUpload;
use crate::scheduler::Lane;

/// The routes under `/audio`, served under `/v1/audio` too.
pub fn routes(state: JobsState) -> Router {
    let limit = DefaultBodyLimit::max(state.max_body_bytes());
    let routes = Router::new()
        .route("/process-message", post(process_message))
        .route("/transcribe", post(transcribe))
        .layer(limit)
        .with_state(state);
    Router::new()
        .nest("/audio", routes.clone())
        .nest("/v1/audio", routes)
}

/// A voice message: transcribed, translated, and spoken in its sender's voice.
async fn process_message(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state
        .in_time(async {
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
                generate_voice_clone: form.flag("generate_voice_clone", true),
                model_type: form.choice("model_type", &["medium", "basic", "premium"]),
                mobile_language: form.language("mobile_language"),
                mobile_transcription: form.text("mobile_transcription").map(str::to_owned),
                answer: Answer::ProcessMessage,
            };
            form.check()?;
            state.respond(message.work(&state), &headers).await
        })
        .await
}

/// A recording to write down.
async fn transcribe(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state
        .in_time(async {
            state.require(Need::Hearing)?;
            let headers = request.headers().clone();
            let mut form = Form::read(&state, request, &["audio"]).await?;
            let audio = recording(&mut form, "audio")?;
            let language = form.language("language");
            let answer = match form.flag("return_timestamps", false) {
                true => Answer::TimedTranscription,
                false => Answer::Transcription,
            };
            form.check()?;
            let work = transcription(&state, audio, language, answer);
            state.respond(work, &headers).await
        })
        .await
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
            let mut mobile = json!({ "text": text, "source": "mobile" });
            if let Some(language) = self.mobile_language {
                mobile["language"] = json!(language);
            }
            request["mobileTranscription"] = mobile;
        }
        let user_id = Some(self.sender_id);
        work(state, id, "audio_process", request, self.audio, user_id)
    }
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
    let bytes = audio.size_bytes();
    NewWork {
        id,
        kind,
        request,
        upload: Some(audio),
        demand: state
            .scheduler
            .demand_of_upload(Lane::Audio, user_id.as_deref(), bytes),
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
