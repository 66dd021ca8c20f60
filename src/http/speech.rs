//! Texts that are spoken: `/audio/tts`, `/v1/tts` and `/v1/audio/speech`.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{BODY, Fields, JsonBody};
use super::error::ApiError;
use super::form::{AudioFile, Form, MAX_ID_BYTES};
use super::jobs::{
    Accepted, Answer, Awaited, JobsState, Need, NewWork, NotDone, Piece, Preference, no_result,
    prefers_async,
};
use crate::domain::Language;
use crate::pipeline::{SpeechFormat, SpokenText};
use crate::scheduler::Demand;

/// Longest text that is spoken at once: a quarter of an hour of speech.
const MAX_CHARACTERS: usize = 10_000;
/// What a body with a text may have.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Tells whether it is the voice that was asked for.
const VOICE_CLONED: HeaderName = HeaderName::from_static("x-voice-cloned");
/// Names the job that has spoken, or speaks.
const JOB_ID: HeaderName = HeaderName::from_static("x-job-id");

/// What there is of speech.
pub fn operations() -> OpenApiRouter<JobsState> {
    let spoken = OpenApiRouter::default().routes(routes!(tts));
    OpenApiRouter::default()
        .nest("/audio", spoken.clone())
        .nest("/v1/audio", spoken)
        .routes(routes!(tts_of_voice))
        .routes(routes!(openai))
}

/// Its routes.
pub fn routes(state: JobsState) -> Router {
    Router::from(operations())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

/// A text that is to be spoken.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct TtsForm {
    /// Of up to 10,000 characters.
    #[schema(example = "Hello my friend.")]
    text: String,
    /// `en` where it is not said.
    language: Option<String>,
    /// Whose voice it is to be; one of the language where that user has none. 512 bytes at most.
    user_id: Option<String>,
    /// `mp3`, `wav` or `ogg`; `mp3` where it is not said.
    format: Option<String>,
    /// `true` or `false`: whether it is given out as it is spoken, which `ogg` is not; `false` where it is not said.
    stream: Option<String>,
}

/// The same as the later API names it.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the form, which is read field by field"
)]
struct TtsOfVoiceForm {
    /// Of up to 10,000 characters.
    #[schema(example = "Hello my friend.")]
    text: String,
    /// `en` where it is not said.
    language: Option<String>,
    /// The user whose voice it is to be.
    voice_id: Option<String>,
    /// Refused, 422: an embedding says who speaks, and a model that speaks needs more of a voice than that. A voice that
    /// is registered has it, and `voice_id` names it.
    voice_embedding: Option<AudioFile>,
}

/// What clients of OpenAI's API send. Its other fields, such as `model` and `speed`, mean nothing.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes the body, which is read field by field"
)]
struct OpenAiSpeech {
    /// The text, of up to 10,000 characters.
    #[schema(example = "Hello my friend.")]
    input: String,
    /// The user whose voice it is to be; one of the language where that user has none. 512 bytes at most.
    voice: Option<String>,
    /// `mp3`, `wav` or `opus`; `mp3` where it is not said.
    response_format: Option<String>,
    /// It is detected where it is not told.
    language: Option<String>,
    /// `audio`.
    stream_format: Option<String>,
}

/// What is to be said, and how.
struct Wanted {
    text: String,
    /// `None`: that of the text.
    language: Option<Language>,
    user_id: Option<String>,
    format: SpeechFormat,
    /// True: as it is spoken.
    is_streamed: bool,
    /// What the client is told that it gets.
    media_type: String,
}

/// Speaks a text in a user's voice, into a file or as it is spoken.
#[utoipa::path(
    post, path = "/tts", operation_id = "tts", tag = "audio",
    params(Preference),
    request_body(content(
        (TtsForm = "multipart/form-data"),
        (TtsForm = "application/x-www-form-urlencoded"),
    )),
    responses(
        (
            status = 200, description = "The speech",
            content(
                (AudioFile = "audio/mp3"),
                (AudioFile = "audio/wav"),
                (AudioFile = "audio/ogg"),
            ),
            headers(
                ("Content-Disposition" = String, description = "What the file is called"),
                ("X-Voice-Cloned" = bool, description = "Whether it is the voice that was asked for"),
                ("X-Job-Id" = String, description = "The job that has spoken, or speaks"),
            ),
        ),
        Accepted,
        NotDone,
    ),
)]
async fn tts(State(state): State<JobsState>, request: Request) -> Result<Response, ApiError> {
    state.require(Need::Speaking)?;
    let is_async = prefers_async(request.headers());
    let mut form = Form::read(&state, request, &[]).await?;
    let text = text_of(&mut form);
    let language = form.language("language").unwrap_or(Language::ENGLISH);
    let format = format_of(form.text("format").unwrap_or("mp3"))?;
    let wanted = Wanted {
        text,
        language: Some(language),
        user_id: form.id("user_id")?,
        format,
        is_streamed: form.flag("stream", false),
        media_type: format!("audio/{}", format.as_str()),
    };
    form.finish()?;
    answer(&state, wanted, is_async).await
}

/// Speaks a text in a user's voice, always as MP3.
#[utoipa::path(
    post, path = "/v1/tts", operation_id = "tts_of_voice", tag = "audio",
    params(Preference),
    request_body(content(
        (TtsOfVoiceForm = "multipart/form-data"),
        (TtsOfVoiceForm = "application/x-www-form-urlencoded"),
    )),
    responses(
        (
            status = 200, description = "The speech",
            content(
                (AudioFile = "audio/mpeg"),
            ),
            headers(
                ("Content-Disposition" = String, description = "What the file is called"),
                ("X-Voice-Cloned" = bool, description = "Whether it is the voice that was asked for"),
                ("X-Job-Id" = String, description = "The job that has spoken, or speaks"),
            ),
        ),
        Accepted,
        NotDone,
    ),
)]
async fn tts_of_voice(
    State(state): State<JobsState>,
    request: Request,
) -> Result<Response, ApiError> {
    state.require(Need::Speaking)?;
    let is_async = prefers_async(request.headers());
    let mut form = Form::read(&state, request, &["voice_embedding"]).await?;
    if form.file("voice_embedding").is_some() || form.has("voice_embedding") {
        let msg =
            "An embedding says who speaks and not how: register the voice, and name it by voice_id";
        form.wrong("voice_embedding", msg, "unsupported");
    }
    let text = text_of(&mut form);
    let language = form.language("language").unwrap_or(Language::ENGLISH);
    let wanted = Wanted {
        text,
        language: Some(language),
        user_id: form.id("voice_id")?,
        format: SpeechFormat::Mp3,
        is_streamed: false,
        media_type: SpeechFormat::Mp3.media_type().to_owned(),
    };
    form.finish()?;
    answer(&state, wanted, is_async).await
}

/// Speaks a text in a user's voice as it is spoken, for clients of OpenAI's API.
#[utoipa::path(
    post, path = "/v1/audio/speech", operation_id = "speech", tag = "audio",
    request_body = OpenAiSpeech,
    responses(
        (
            status = 200, description = "The speech",
            content(
                (AudioFile = "audio/mpeg"),
                (AudioFile = "audio/wav"),
                (AudioFile = "audio/ogg"),
            ),
            headers(
                ("Content-Disposition" = String, description = "What the file is called"),
                ("X-Voice-Cloned" = bool, description = "Whether it is the voice that was asked for"),
                ("X-Job-Id" = String, description = "The job that has spoken, or speaks"),
            ),
        ),
        NotDone,
    ),
)]
async fn openai(
    State(state): State<JobsState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    state.require(Need::Speaking)?;
    let mut fields = Fields::of(body, vec![BODY]);
    let any = 0..=usize::MAX;
    let text = fields.text("input", any.clone());
    let voice = fields.optional_text("voice", any.clone());
    let format = fields.optional_text("response_format", any.clone());
    let stream_format = fields.optional_text("stream_format", any.clone());
    let code = fields.optional_text("language", any);
    let language = code.as_deref().and_then(Language::parse);
    if code.is_some() && language.is_none() {
        fields.problem("language", "value_error", "Not a language".to_owned());
    }
    let problems = fields.problems();
    if !problems.is_empty() {
        return Err(ApiError::invalid(problems));
    }
    if stream_format.is_some_and(|format| format != "audio") {
        return Err(unsupported("stream_format is audio"));
    }
    let format = format_of(format.as_deref().unwrap_or("mp3"))?;
    let wanted = Wanted {
        text,
        language,
        user_id: voice.filter(|voice| !voice.trim().is_empty()),
        format,
        is_streamed: format != SpeechFormat::Ogg,
        media_type: format.media_type().to_owned(),
    };
    answer(&state, wanted, false).await
}

async fn answer(state: &JobsState, wanted: Wanted, is_async: bool) -> Result<Response, ApiError> {
    if wanted.text.trim().is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "No text"));
    }
    if wanted.text.chars().count() > MAX_CHARACTERS {
        let detail = format!("A text that is spoken has at most {MAX_CHARACTERS} characters");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let voice_bytes = wanted.user_id.as_ref().map_or(0, String::len);
    if voice_bytes > MAX_ID_BYTES {
        let detail = format!("A user id has at most {MAX_ID_BYTES} bytes");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
    }
    if wanted.is_streamed && wanted.format == SpeechFormat::Ogg {
        return Err(unsupported(
            "Only mp3 and wav are given out as they are spoken",
        ));
    }
    let (format, is_streamed) = (wanted.format, wanted.is_streamed && !is_async);
    let media_type = wanted.media_type.clone();
    let language = wanted.language.map(|language| language.to_string());
    let language = language.unwrap_or_else(|| "speech".to_owned());
    let name = format!("tts_{language}.{}", format.as_str());
    let work = work(wanted, is_streamed);
    if is_async {
        return state.accepted(work).await;
    }
    let mut awaited = state.begin(work).await?;
    let id = awaited.id();
    let (body, is_cloned) = if is_streamed {
        match awaited.piece().await? {
            Some(first) => (
                Body::from_stream(pieces(awaited, first.clone())),
                first.is_cloned,
            ),
            None => return Err(no_result()),
        }
    } else {
        let job = awaited.ended().await?;
        let (audio, is_cloned) = job.speech(&state.pipeline).await?;
        (Body::from(audio), is_cloned)
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media_type),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (VOICE_CLONED, is_cloned.to_string()),
        (JOB_ID, id),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// The rest of a speech, behind its first piece. Dropped, it cancels the job.
fn pieces(
    awaited: Awaited,
    first: Piece,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    unfold((awaited, Some(first)), |(mut awaited, first)| async move {
        let piece = match first {
            Some(first) => Some(first),
            // The headers have said that all is well: the client sees the speech break off.
            None => match awaited.piece().await {
                Ok(piece) => piece,
                Err(_) => {
                    let broken = std::io::Error::other("the speech has failed");
                    return Some((Err(broken), (awaited, None)));
                }
            },
        };
        piece.map(|piece| (Ok(piece.audio), (awaited, None)))
    })
}

fn work(wanted: Wanted, is_streamed: bool) -> NewWork {
    let id = Uuid::new_v4();
    let user_id = wanted.user_id;
    NewWork {
        id,
        kind: SpokenText::KIND,
        request: json!({
            "type": SpokenText::KIND,
            "answer": Answer::Speech,
            "text": wanted.text,
            "language": wanted.language,
            "userId": user_id,
            "format": wanted.format,
            "isStreamed": is_streamed,
        }),
        uploads: Vec::new(),
        demand: Demand::of_spoken_text(user_id.as_deref(), &wanted.text),
        user_id,
    }
}

/// The text of a form; one that is not there is noted.
fn text_of(form: &mut Form) -> String {
    if !form.has("text") {
        form.missing("text");
    }
    form.text("text").unwrap_or_default().to_owned()
}

fn format_of(name: &str) -> Result<SpeechFormat, ApiError> {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        // The container of Opus.
        "opus" => Ok(SpeechFormat::Ogg),
        name => SpeechFormat::ALL
            .into_iter()
            .find(|format| format.as_str() == name)
            .ok_or_else(|| unsupported("A format is one of mp3, wav, ogg")),
    }
}

fn unsupported(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}
