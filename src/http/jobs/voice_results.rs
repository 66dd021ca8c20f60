//! What jobs of the voice API are answered with. Their events are in camel case, as the gateway has them; answers
//! over HTTP are in snake case.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::VoiceMeasures;
use crate::domain::measures::VoiceComparison;

/// The result that an event of the voice API tells; `None` for another event.
pub(super) fn result<T: DeserializeOwned>(event: &[u8]) -> Option<T> {
    #[derive(Deserialize)]
    struct Told<T> {
        result: T,
    }

    let Told { result } = serde_json::from_slice(event).ok()?;
    Some(result)
}

/// A recording in other languages.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(from = "Translation")]
pub struct TranslatedVoice {
    /// Always true.
    pub success: bool,
    /// Names the translation, for feedback.
    pub translation_id: String,
    /// What was said.
    pub original_text: String,
    /// In which language.
    pub original_language: String,
    /// The languages that it is spoken in.
    pub translations: BTreeMap<String, TranslatedSpeech>,
    /// True when any of them is spoken in the user's voice.
    pub voice_cloned: bool,
    /// Of the best of them, in 0..1.
    pub voice_quality: f64,
    /// From acceptance to the end.
    pub processing_time_ms: u64,
}

/// A recording in one language.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct TranslatedSpeech {
    /// The words.
    pub translated_text: String,
    /// The speech, an MP3.
    pub audio_base64: String,
    /// Where it is served too; null where no file could be written.
    pub audio_url: Option<String>,
    /// Length of the speech.
    pub duration_ms: u64,
    /// True when it is the user's voice.
    pub voice_cloned: bool,
    /// In 0..1.
    pub voice_quality: f64,
}

/// The same as the event tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Translation {
    translation_id: String,
    original_audio: OriginalAudio,
    translations: Vec<Spoken>,
    processing_time_ms: u64,
}

#[derive(Deserialize)]
struct OriginalAudio {
    transcription: String,
    language: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spoken {
    target_language: String,
    #[serde(flatten)]
    speech: TranslatedSpeech,
}

impl From<Translation> for TranslatedVoice {
    fn from(event: Translation) -> Self {
        let spoken = || event.translations.iter().map(|spoken| &spoken.speech);
        Self {
            success: true,
            voice_cloned: spoken().any(|speech| speech.voice_cloned),
            voice_quality: spoken()
                .map(|speech| speech.voice_quality)
                .fold(0.0, f64::max),
            translation_id: event.translation_id,
            original_text: event.original_audio.transcription,
            original_language: event.original_audio.language,
            processing_time_ms: event.processing_time_ms,
            translations: event
                .translations
                .into_iter()
                .map(|spoken| (spoken.target_language, spoken.speech))
                .collect(),
        }
    }
}

/// What was measured in a voice.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = VoiceMeasures)]
pub struct VoiceAnalysis(Value);

/// How alike two voices are.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = VoiceComparison)]
pub struct VoiceLikeness(Value);

/// Feedback was kept.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct FeedbackReceipt {
    /// Always true.
    pub success: bool,
    /// Names the feedback.
    pub feedback_id: String,
}

/// What is known of a user's voice.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct VoiceProfile {
    /// Names it.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// What the user calls it; the id until it has a name.
    pub name: String,
    /// When it was made (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was changed last.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Recordings that it was made from.
    pub sample_count: u64,
    /// In 0..1.
    pub average_quality: f64,
    /// What was measured in it, where it was.
    #[schema(value_type = Option<Object>)]
    pub voice_characteristics: Option<Value>,
    /// What the client has said about it.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
}

/// A voice was forgotten, with everything of its user.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct DeletedProfile {
    /// Always true.
    pub success: bool,
    /// The voice that was.
    pub profile_id: String,
}
