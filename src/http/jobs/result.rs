//! What a job over HTTP is answered with, read from the events that it has stored.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::voice_results::{
    DeletedProfile, FeedbackReceipt, TranslatedVoice, VoiceAnalysis, VoiceLikeness, VoiceProfile,
    result,
};
use crate::http::error::ApiError;
use crate::ledger::{JobId, LedgerError};
use crate::pipeline::{Pipeline, WrittenText, WrittenTexts};

/// Keys of the events with a job's result.
const RESULT_KEYS: [&str; 2] = ["completed", "reply"];

/// The form of the answer; it is kept with the request, so that whoever asks later gets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A voice message in every language.
    ProcessMessage,
    /// What is said.
    Transcription,
    /// The same, and when.
    TimedTranscription,
    /// A voice message in one language.
    VoiceMessage,
    /// A text that was spoken.
    Speech,
    /// A voice that was registered.
    Voice,
    /// A recording in other languages, with its speech inside.
    VoiceTranslation,
    /// What was measured in a voice.
    VoiceAnalysis,
    /// How alike two voices are.
    VoiceLikeness,
    /// Feedback that was kept.
    Feedback,
    /// A voice with what is known of it.
    VoiceProfile,
    /// A voice that was forgotten.
    DeletedProfile,
}

/// Of a request, how it is to be answered.
#[derive(Deserialize)]
struct Request {
    answer: Answer,
}

impl Answer {
    /// The result of a job that has ended; `None` where it has none.
    ///
    /// # Errors
    /// The ledger fails.
    pub async fn result(
        pipeline: &Pipeline,
        job_id: JobId,
    ) -> Result<Option<JobResult>, LedgerError> {
        let Some(record) = pipeline.ledger.load(job_id).await? else {
            return Ok(None);
        };
        let Ok(Request { answer }) = serde_json::from_slice(record.request.expose()) else {
            return Ok(None);
        };
        for key in RESULT_KEYS {
            if let Some(body) = pipeline.ledger.event(job_id, key).await? {
                let written = pipeline.ledger.event(job_id, WrittenTexts::KEY).await?;
                let Some(written) = written.map_or(Some(Vec::new()), |event| written_texts(&event))
                else {
                    return Ok(None);
                };
                return Ok(answer.of(&body, written));
            }
        }
        Ok(None)
    }

    /// The result that an event tells; `None` for an event of another kind.
    fn of(self, event: &[u8], written: Vec<WrittenText>) -> Option<JobResult> {
        Some(match self {
            Self::ProcessMessage => {
                let event: Processed = serde_json::from_slice(event).ok()?;
                JobResult::ProcessedMessage(ProcessedMessage::of(event, written))
            }
            Self::VoiceMessage => {
                let event: Processed = serde_json::from_slice(event).ok()?;
                JobResult::TranslatedMessage(TranslatedMessage::of(event, written))
            }
            Self::Transcription | Self::TimedTranscription => {
                let event: Transcribed = serde_json::from_slice(event).ok()?;
                let is_timed = self == Self::TimedTranscription;
                JobResult::Transcription(event.transcription.report(is_timed))
            }
            Self::Speech => JobResult::Spoken(serde_json::from_slice(event).ok()?),
            Self::Voice => JobResult::RegisteredVoice(RegisteredVoice::of(result(event)?)),
            Self::VoiceTranslation => JobResult::TranslatedVoice(result(event)?),
            Self::VoiceAnalysis => JobResult::VoiceAnalysis(result(event)?),
            Self::VoiceLikeness => JobResult::VoiceLikeness(result(event)?),
            Self::Feedback => JobResult::Feedback(result(event)?),
            Self::VoiceProfile => JobResult::VoiceProfile(result(event)?),
            Self::DeletedProfile => JobResult::DeletedProfile(result(event)?),
        })
    }
}

/// What a job has brought, by its kind.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum JobResult {
    /// Of `process_message`.
    ProcessedMessage(ProcessedMessage),
    /// The same in one language.
    TranslatedMessage(TranslatedMessage),
    /// Of `transcribe`.
    Transcription(TranscriptionReport),
    /// Of `tts`.
    Spoken(Spoken),
    /// Of `register_voice`.
    RegisteredVoice(RegisteredVoice),
    /// Of `voice_translate` and `voice_translate_async`.
    TranslatedVoice(TranslatedVoice),
    /// Of `voice_analyze`.
    VoiceAnalysis(VoiceAnalysis),
    /// Of `voice_compare`.
    VoiceLikeness(VoiceLikeness),
    /// Of `voice_feedback`.
    Feedback(FeedbackReceipt),
    /// Of `register_voice` and `voice_profile_update`.
    VoiceProfile(VoiceProfile),
    /// Of `voice_profile_delete`.
    DeletedProfile(DeletedProfile),
}

/// `audio_process_completed`, as far as it is told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Processed {
    transcription: Transcription,
    translated_audios: Vec<TranslatedAudio>,
    voice_model_quality: f64,
    processing_time_ms: u64,
}

#[derive(Deserialize)]
struct Transcribed {
    transcription: Transcription,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TranslatedAudio {
    pub(super) target_language: String,
    pub(super) translated_text: String,
    pub(super) audio_url: String,
    audio_path: String,
    pub(super) duration_ms: u64,
    pub(super) voice_cloned: bool,
    pub(super) voice_quality: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transcription {
    text: String,
    language: String,
    confidence: f64,
    duration_ms: u64,
    source: String,
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    text: String,
    start_ms: u64,
    end_ms: u64,
    confidence: Option<f64>,
}

/// What is said in a recording.
#[derive(Serialize, ToSchema)]
pub struct TranscriptionReport {
    /// The words.
    pub text: String,
    /// The language spoken.
    pub language: String,
    /// In 0..1.
    pub confidence: f64,
    /// Length of the recording.
    pub duration_ms: u64,
    /// Who has heard it: `whisper`, or the sender's `mobile`.
    pub source: String,
    /// The parts, where they were asked for.
    pub segments: Option<Vec<SegmentReport>>,
}

/// A part of what is said.
#[derive(Clone, Serialize, ToSchema)]
pub struct SegmentReport {
    /// The words.
    pub text: String,
    /// Where it begins.
    pub start_ms: u64,
    /// Where it ends.
    pub end_ms: u64,
    /// In 0..1, where it is known.
    pub confidence: Option<f64>,
}

impl Transcription {
    fn report(self, is_timed: bool) -> TranscriptionReport {
        let segments = self.segments.into_iter().map(|segment| SegmentReport {
            text: segment.text,
            start_ms: segment.start_ms,
            end_ms: segment.end_ms,
            confidence: segment.confidence,
        });
        TranscriptionReport {
            text: self.text,
            language: self.language,
            confidence: self.confidence,
            duration_ms: self.duration_ms,
            source: self.source,
            segments: is_timed.then(|| segments.collect()),
        }
    }
}

/// What is said, of an event that tells it; `None` for another event.
pub(super) fn heard(event: &[u8]) -> Option<TranscriptionReport> {
    let event: Transcribed = serde_json::from_slice(event).ok()?;
    Some(event.transcription.report(true))
}

/// One language of a voice message, of an event that tells it; `None` for another event.
pub(super) fn translated(event: &[u8]) -> Option<TranslatedAudio> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ready {
        translated_audio: TranslatedAudio,
    }

    let event: Ready = serde_json::from_slice(event).ok()?;
    Some(event.translated_audio)
}

/// The languages of a voice message that nobody speaks, of the event that keeps them; `None` for another event.
pub(super) fn written_texts(event: &[u8]) -> Option<Vec<WrittenText>> {
    Some(serde_json::from_slice::<WrittenTexts>(event).ok()?.texts)
}

/// A voice message in every language.
#[derive(Serialize, ToSchema)]
pub struct ProcessedMessage {
    /// What was sent.
    pub original: OriginalMessage,
    /// The languages that it was translated into.
    pub translations: BTreeMap<String, TranslatedMessageAudio>,
    /// In 0..1; 0 where no voice was cloned.
    pub voice_model_quality: f64,
    /// From acceptance to the end.
    pub processing_time_ms: u64,
}

/// What was sent.
#[derive(Serialize, ToSchema)]
pub struct OriginalMessage {
    /// Always null: the recording is kept for as long as the job, and not as a file for others.
    pub audio_path: Option<String>,
    /// The words.
    pub transcription: String,
    /// The language spoken.
    pub language: String,
    /// Length of the recording.
    pub duration_ms: u64,
    /// In 0..1.
    pub confidence: f64,
    /// Who has heard it: `whisper`, or the sender's `mobile`.
    pub source: String,
}

/// A voice message in one language.
#[derive(Serialize, ToSchema)]
pub struct TranslatedMessageAudio {
    /// The language.
    pub language: String,
    /// The words.
    pub text: String,
    /// The file below the daemon's working folder; null where nobody speaks the language, as the next two.
    pub audio_path: Option<String>,
    /// Where it is served.
    pub audio_url: Option<String>,
    /// Length of the speech.
    pub duration_ms: Option<u64>,
    /// True when it is the sender's voice.
    pub voice_cloned: bool,
    /// In 0..1.
    pub voice_quality: f64,
}

impl ProcessedMessage {
    fn of(event: Processed, written: Vec<WrittenText>) -> Self {
        let original = event.transcription;
        let written = written.into_iter().map(|written| {
            let translated = TranslatedMessageAudio {
                language: written.language.clone(),
                text: written.text,
                audio_path: None,
                audio_url: None,
                duration_ms: None,
                voice_cloned: false,
                voice_quality: 0.0,
            };
            (written.language, translated)
        });
        let spoken = event.translated_audios.into_iter().map(|audio| {
            let translated = TranslatedMessageAudio {
                language: audio.target_language.clone(),
                text: audio.translated_text,
                audio_path: Some(audio.audio_path),
                audio_url: Some(audio.audio_url),
                duration_ms: Some(audio.duration_ms),
                voice_cloned: audio.voice_cloned,
                voice_quality: audio.voice_quality,
            };
            (audio.target_language, translated)
        });
        Self {
            original: OriginalMessage {
                audio_path: None,
                transcription: original.text,
                language: original.language,
                duration_ms: original.duration_ms,
                confidence: original.confidence,
                source: original.source,
            },
            translations: spoken.chain(written).collect(),
            voice_model_quality: event.voice_model_quality,
            processing_time_ms: event.processing_time_ms,
        }
    }
}

/// A voice message in the one language that was asked for.
#[derive(Serialize, ToSchema)]
pub struct TranslatedMessage {
    /// What was said.
    pub original_text: String,
    /// In which language.
    pub original_language: String,
    /// The same in the other language; null where there is none, as for the language it was said in.
    #[schema(required)]
    pub translated_text: Option<String>,
    /// That language.
    #[schema(required)]
    pub target_language: Option<String>,
    /// Where the speech is served; null where nobody speaks the language.
    #[schema(required)]
    pub audio_url: Option<String>,
    /// From acceptance to the end.
    pub processing_time_ms: u64,
}

impl TranslatedMessage {
    fn of(event: Processed, written: Vec<WrittenText>) -> Self {
        let audio = event.translated_audios.into_iter().next();
        let written = written.into_iter().next();
        let (translated_text, target_language, audio_url) = match (audio, written) {
            (Some(audio), _) => (
                Some(audio.translated_text),
                Some(audio.target_language),
                Some(audio.audio_url),
            ),
            (None, Some(written)) => (Some(written.text), Some(written.language), None),
            (None, None) => (None, None, None),
        };
        Self {
            original_text: event.transcription.text,
            original_language: event.transcription.language,
            translated_text,
            target_language,
            audio_url,
            processing_time_ms: event.processing_time_ms,
        }
    }
}

/// A text that was spoken.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Spoken {
    /// Where the file is served; empty where it could not be written.
    pub audio_url: String,
    /// Its format: `mp3`, `wav` or `ogg`.
    pub format: String,
    /// Length of the speech.
    pub duration_ms: u64,
    /// True when it is the user's voice.
    pub voice_cloned: bool,
    /// In 0..1.
    pub voice_quality: f64,
    /// The language by whose rules it was read.
    pub language: String,
}

/// A voice that was registered.
#[derive(Serialize, ToSchema)]
pub struct RegisteredVoice {
    /// Whose it is.
    pub user_id: String,
    /// What it is called.
    pub voice_embedding_id: String,
    /// In 0..1.
    pub quality_score: f64,
    /// Recordings that it was made from.
    pub audio_count: u64,
    /// `registered`.
    pub status: &'static str,
}

impl RegisteredVoice {
    fn of(profile: VoiceProfile) -> Self {
        Self {
            user_id: profile.user_id,
            voice_embedding_id: profile.id,
            quality_score: profile.average_quality,
            audio_count: profile.sample_count,
            status: "registered",
        }
    }
}

/// The speech of a job that has ended well, and whether it is the voice that was asked for.
///
/// # Errors
/// It cannot be read any more.
pub(super) async fn speech(pipeline: &Pipeline, job_id: JobId) -> Result<(Bytes, bool), ApiError> {
    for event in pipeline.ledger.events_after(job_id, 0).await? {
        let Ok(spoken) = serde_json::from_slice::<Spoken>(event.body.expose()) else {
            continue;
        };
        if let Some(audio) = pipeline.ledger.event_payload(event.id).await? {
            return Ok((audio, spoken.voice_cloned));
        }
    }
    Err(no_result())
}

/// What was made is damaged.
pub fn no_result() -> ApiError {
    let detail = "The result of the job cannot be read any more";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}
