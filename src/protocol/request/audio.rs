//! Requests that bring a recording.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::error::RequestIds;
use super::language::take_language;
use super::{MobileTranscription, ModelType, Problem, RequestError, RequestKind, TargetLanguages};
use crate::domain::{Language, PrivateBytes, PrivateText};
use crate::protocol::event::AudioJob;
use crate::protocol::fields::Fields;
use crate::protocol::frames::RequestFrames;

/// Where the bytes of a recording are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioSource {
    /// Here.
    Frame(PrivateBytes),
    /// Here, as base64 that is not decoded yet; perhaps a `data:` URL.
    Base64(PrivateText),
    /// On a web server.
    Url(PrivateText),
    /// On a shared volume: absolute, or relative to one of the upload folders.
    Path(PrivateText),
}

/// The base64 of a recording is none.
#[derive(Debug, thiserror::Error)]
#[error("audio is not base64")]
pub struct AudioSourceError(#[source] base64::DecodeError);

impl AudioSource {
    /// The bytes that came with the request; `None` for a URL or a path.
    ///
    /// # Errors
    /// [`AudioSourceError`] for base64 that is none.
    pub fn inline_bytes(&self) -> Result<Option<Bytes>, AudioSourceError> {
        match self {
            Self::Frame(bytes) => Ok(Some(bytes.expose().clone())),
            Self::Base64(text) => {
                let text = text.expose();
                let payload = match text.split_once(";base64,") {
                    Some((prefix, payload)) if prefix.starts_with("data:") => payload,
                    _ => text,
                };
                let bytes = STANDARD.decode(payload.trim()).map_err(AudioSourceError)?;
                Ok(Some(bytes.into()))
            }
            Self::Url(_) | Self::Path(_) => Ok(None),
        }
    }
}

/// A voice that the gateway keeps for its owner.
#[derive(Debug, Clone, PartialEq)]
pub struct ExistingVoice {
    /// The profile's id in the gateway.
    pub profile_id: Option<String>,
    /// Whose voice it is.
    pub user_id: Option<String>,
    /// How good the profile is, in 0..1.
    pub quality_score: Option<f32>,
    /// The embedding as this daemon, or its predecessor, once gave it to the gateway.
    pub embedding: Option<PrivateBytes>,
}

impl ExistingVoice {
    /// Reads `existingVoiceProfile` and the embedding that comes in a frame or, in an older form,
    /// as base64 inside; `None` when there is neither.
    fn take(fields: &mut Fields, frames: &RequestFrames<'_>) -> Option<Self> {
        let frame = frames
            .get("voiceProfile")
            .or_else(|| frames.get("embedding"))
            .map(PrivateBytes::from);
        let profile = fields.object("existingVoiceProfile");
        if frame.is_none() && profile.is_none() {
            return None;
        }
        let Some(mut profile) = profile else {
            return Some(Self {
                profile_id: None,
                user_id: None,
                quality_score: None,
                embedding: frame,
            });
        };
        let embedding = frame.or_else(|| {
            let decoded = STANDARD.decode(profile.string("embedding")?).ok()?;
            Some(Bytes::from(decoded).into())
        });
        Some(Self {
            profile_id: profile.id("profileId"),
            user_id: profile.id("userId"),
            quality_score: profile.unit_interval("qualityScore"),
            embedding,
        })
    }
}

/// Wishes about sampling, meant for another engine than ours: hints, all in a sensible range. The
/// other engine's `exaggeration` and `cfgWeight` mean nothing to ours and are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct VoiceCloneHints {
    /// Above 0, at most 2.
    pub temperature: Option<f32>,
    /// Above 0, at most 1.
    pub top_p: Option<f32>,
    /// At most 1.
    pub min_p: Option<f32>,
    /// In 1..=20.
    pub repetition_penalty: Option<f32>,
}

impl VoiceCloneHints {
    /// Reads the nested form (`voiceCloneParams.chatterbox`) or the flat one, under either name.
    fn take(fields: &mut Fields) -> Self {
        let params = fields
            .object("voiceCloneParams")
            .or_else(|| fields.object("cloningParams"));
        let Some(mut params) = params else {
            return Self::default();
        };
        let params = params.object("chatterbox").unwrap_or(params);
        let within = |key: &str, least: f64, most: f64| {
            params
                .number(key)
                .filter(|number| (least..=most).contains(number))
                .map(|number| number as f32)
        };
        Self {
            temperature: within("temperature", 0.01, 2.0),
            top_p: within("topP", 0.01, 1.0),
            min_p: within("minP", 0.0, 1.0),
            repetition_penalty: within("repetitionPenalty", 1.0, 20.0),
        }
    }
}

/// `audio_process`: a voice message to transcribe, translate and speak in its sender's voice.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioProcessRequest {
    /// Names the request. Today's gateway sends none.
    pub task_id: Option<String>,
    /// The message, opaque.
    pub message_id: String,
    /// The recording, opaque.
    pub attachment_id: String,
    /// Who sent it, opaque.
    pub sender_id: String,
    /// The conversation, opaque.
    pub conversation_id: Option<String>,
    /// Where the audio may be, in the order to try; never empty.
    pub audio: Vec<AudioSource>,
    /// The media type the sender claims; it is often wrong.
    pub audio_mime_type: Option<String>,
    /// The length the sender claims, above 0.
    pub claimed_duration_ms: Option<u64>,
    /// What the sender's device heard.
    pub mobile_transcription: Option<MobileTranscription>,
    /// `None`: to be found out from the conversation. Empty: transcription only.
    pub target_languages: Option<TargetLanguages>,
    /// The sender's own language: a hint.
    pub user_language: Option<Language>,
    /// False: speak with the default voice and learn nothing about the sender's.
    pub generate_voice_clone: bool,
    /// The quality asked for.
    pub model_type: ModelType,
    /// Who recorded it, when it was forwarded.
    pub original_sender_id: Option<String>,
    /// The voice that the gateway keeps, if it sent one.
    pub existing_voice: Option<ExistingVoice>,
    /// True: use that voice as it is.
    pub use_original_voice: bool,
    /// Wishes about sampling.
    pub voice_clone_hints: VoiceCloneHints,
    /// The post, when the recording belongs to one.
    pub post_id: Option<String>,
    /// The post's medium.
    pub post_media_id: Option<String>,
}

impl AudioProcessRequest {
    pub(super) fn read(mut fields: Fields, frames: &[Bytes]) -> Result<Self, RequestError> {
        let ids = RequestIds {
            task_id: fields.id("taskId"),
            message_id: fields.id("messageId"),
            attachment_id: fields.id("attachmentId"),
            conversation_id: fields.id("conversationId"),
            post_id: fields.id("postId"),
            post_media_id: fields.id("postMediaId"),
            ..RequestIds::default()
        };
        let reject = |problem, ids| {
            Err(RequestError::rejected(
                RequestKind::AudioProcess,
                problem,
                ids,
            ))
        };

        let Some(message_id) = ids.message_id.clone() else {
            return reject(Problem::Missing("messageId"), ids);
        };
        let Some(attachment_id) = ids.attachment_id.clone() else {
            return reject(Problem::Missing("attachmentId"), ids);
        };
        let Some(sender_id) = fields.id("senderId") else {
            return reject(Problem::Missing("senderId"), ids);
        };
        let mut frames = RequestFrames::take(frames, &mut fields);
        let audio = [
            frames
                .get("audio")
                .map(|bytes| AudioSource::Frame(bytes.into())),
            fields.private("audioBase64").map(AudioSource::Base64),
            fields.private("audioUrl").map(AudioSource::Url),
            fields.private("audioPath").map(AudioSource::Path),
        ];
        let audio: Vec<_> = audio.into_iter().flatten().collect();
        if audio.is_empty() {
            return reject(Problem::NoAudio, ids);
        }
        let Ok(target_languages) = TargetLanguages::take(&mut fields) else {
            return reject(Problem::TooManyTargetLanguages, ids);
        };
        Ok(Self {
            task_id: ids.task_id,
            message_id,
            attachment_id,
            sender_id,
            conversation_id: ids.conversation_id,
            audio,
            audio_mime_type: frames
                .string("audioMimeType")
                .or_else(|| fields.string("audioMimeType")),
            claimed_duration_ms: fields
                .unsigned("audioDurationMs")
                .filter(|duration| *duration > 0),
            mobile_transcription: MobileTranscription::take(&mut fields),
            target_languages,
            user_language: take_language(&mut fields, "userLanguage"),
            generate_voice_clone: fields.bool("generateVoiceClone").unwrap_or(true),
            model_type: ModelType::take(&mut fields, ModelType::Medium),
            original_sender_id: fields.id("originalSenderId"),
            existing_voice: ExistingVoice::take(&mut fields, &frames),
            use_original_voice: fields.bool("useOriginalVoice").unwrap_or(false),
            voice_clone_hints: VoiceCloneHints::take(&mut fields),
            post_id: ids.post_id,
            post_media_id: ids.post_media_id,
        })
    }

    /// Whose voice the recording holds.
    pub fn voice_owner_id(&self) -> &str {
        self.original_sender_id
            .as_deref()
            .unwrap_or(&self.sender_id)
    }

    /// The ids that every event of the job carries; `task_id` serves a request that has none.
    pub fn job(&self, task_id: &str) -> AudioJob {
        AudioJob {
            task_id: self.task_id.clone().unwrap_or_else(|| task_id.to_owned()),
            message_id: self.message_id.clone(),
            attachment_id: Some(self.attachment_id.clone()),
            post_id: self.post_id.clone(),
            post_media_id: self.post_media_id.clone(),
        }
    }
}

/// `transcription_only`: a recording to write down, nothing more.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriptionRequest {
    /// Names the request.
    pub task_id: String,
    /// The message, opaque.
    pub message_id: String,
    /// The recording, opaque.
    pub attachment_id: Option<String>,
    /// Where the audio may be, in the order to try; never empty.
    pub audio: Vec<AudioSource>,
    /// The media subtype the sender claims, such as `mp4`; it is often wrong.
    pub audio_format: Option<String>,
    /// What the sender's device heard.
    pub mobile_transcription: Option<MobileTranscription>,
    /// The language that is expected: a hint.
    pub user_language: Option<Language>,
}

impl TranscriptionRequest {
    pub(super) fn read(mut fields: Fields, frames: &[Bytes]) -> Result<Self, RequestError> {
        let ids = RequestIds {
            task_id: fields.id("taskId"),
            message_id: fields.id("messageId"),
            attachment_id: fields.id("attachmentId"),
            ..RequestIds::default()
        };
        let reject = |problem, ids| {
            Err(RequestError::rejected(
                RequestKind::TranscriptionOnly,
                problem,
                ids,
            ))
        };

        let Some(task_id) = ids.task_id.clone() else {
            return reject(Problem::Missing("taskId"), ids);
        };
        let Some(message_id) = ids.message_id.clone() else {
            return reject(Problem::Missing("messageId"), ids);
        };
        let frames = RequestFrames::take(frames, &mut fields);
        let audio = [
            frames
                .get("audio")
                .map(|bytes| AudioSource::Frame(bytes.into())),
            fields.private("audioData").map(AudioSource::Base64),
            fields.private("audioPath").map(AudioSource::Path),
            fields.private("audioUrl").map(AudioSource::Url),
        ];
        let audio: Vec<_> = audio.into_iter().flatten().collect();
        if audio.is_empty() {
            return reject(Problem::NoAudio, ids);
        }
        Ok(Self {
            task_id,
            message_id,
            attachment_id: ids.attachment_id,
            audio,
            audio_format: fields.string("audioFormat"),
            mobile_transcription: MobileTranscription::take(&mut fields),
            user_language: take_language(&mut fields, "userLanguage"),
        })
    }

    /// The ids that the answer carries.
    pub fn job(&self) -> AudioJob {
        AudioJob {
            task_id: self.task_id.clone(),
            message_id: self.message_id.clone(),
            attachment_id: self.attachment_id.clone(),
            post_id: None,
            post_media_id: None,
        }
    }
}
