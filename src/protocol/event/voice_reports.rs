//! What the voice API tells about users, their voices and the daemon.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::serialize;
use crate::domain::{Language, Private, PrivateText};

/// Feedback was kept.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedbackKept {
    /// Always true.
    pub success: bool,
    /// Names the feedback.
    pub feedback_id: String,
}

/// A part of a user's history, newest first.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// The part.
    pub history: Vec<HistoryEntry>,
    /// Entries altogether.
    pub total: u64,
}

/// A translation of the past.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Names the translation.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// When it was asked for.
    #[serde(with = "crate::domain::timestamp")]
    pub timestamp: OffsetDateTime,
    /// What was spoken.
    pub source_language: String,
    /// What it was translated into.
    pub target_languages: Vec<String>,
    /// What was said.
    pub original_text: PrivateText,
    /// The text in each language.
    pub translated_texts: Private<serde_json::Map<String, Value>>,
    /// Whether it could be heard.
    pub audio_generated: bool,
    /// Whether it was the user's voice.
    pub voice_cloned: bool,
    /// From acceptance to result.
    pub processing_time_ms: u64,
    /// The user's latest rating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback_rating: Option<f64>,
}

/// Figures about a user's translations.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserStats {
    /// Whose they are.
    pub user_id: String,
    /// Translations.
    pub total_translations: u64,
    /// Length of their recordings.
    pub total_audio_minutes: f64,
    /// Languages that were asked for.
    pub languages_used: Vec<String>,
    /// From acceptance to result.
    pub average_processing_time_ms: u64,
    /// Absent without feedback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_feedback_rating: Option<f64>,
    /// Ratings.
    pub feedback_count: u64,
    /// Voices of the user.
    pub profile_count: u64,
    /// From when on.
    #[serde(with = "crate::domain::timestamp")]
    pub period_start: OffsetDateTime,
    /// Now.
    #[serde(with = "crate::domain::timestamp")]
    pub period_end: OffsetDateTime,
}

/// Figures about the daemon.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminMetrics {
    /// Voice messages in work.
    pub active_jobs: u64,
    /// Voice messages that wait.
    pub queued_jobs: u64,
    /// Since midnight UTC.
    pub completed_today: u64,
    /// Since midnight UTC.
    pub failed_today: u64,
    /// From acceptance to result, today.
    pub average_processing_time_ms: u64,
    /// Share of all cores that this process has used since it started, in percent.
    pub cpu_usage: f64,
    /// Resident memory of this process.
    pub memory_usage_mb: f64,
    /// Engines that take requests.
    pub models_loaded: Vec<&'static str>,
    /// Seconds since the start.
    pub uptime: u64,
    /// The daemon's version.
    pub version: &'static str,
}

/// Which services work.
#[derive(Debug, Clone, Serialize)]
pub struct VoiceHealth {
    /// Altogether.
    pub status: HealthStatus,
    /// One by one.
    pub services: VoiceServices,
    /// Recent times of one stage of one job.
    pub latency: VoiceLatency,
    /// Now.
    #[serde(with = "crate::domain::timestamp")]
    pub timestamp: OffsetDateTime,
}

/// How the services are altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// All work.
    Healthy,
    /// Some do not.
    Degraded,
    /// None does.
    Unhealthy,
}

/// Whether each service works.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceServices {
    /// Speech to text.
    pub transcription: bool,
    /// Text to text.
    pub translation: bool,
    /// Text to speech.
    pub tts: bool,
    /// Recording to voice.
    pub voice_clone: bool,
    /// Measuring voices: needs no model.
    pub analytics: bool,
    /// Whether MongoDB answers, or none is configured.
    pub database: bool,
}

/// Recent times of one stage of one job; 0 before the first.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceLatency {
    /// Speech to text.
    pub transcription_ms: u64,
    /// Text to text.
    pub translation_ms: u64,
    /// Text to speech.
    pub tts_ms: u64,
}

/// How a language is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LanguageSupport {
    /// The language in canonical form.
    pub code: Language,
    /// In English.
    pub name: String,
    /// In the language itself.
    pub native_name: String,
    /// What is done in it.
    pub supported_features: LanguageFeatures,
}

/// What is done in a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LanguageFeatures {
    /// Speech to text.
    pub transcription: bool,
    /// To or from it.
    pub translation: bool,
    /// Text to speech.
    pub tts: bool,
    /// Text to speech in the user's voice.
    pub voice_clone: bool,
}

/// What is known of a user's voice.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceProfileSummary {
    /// Names it.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// What the user calls it; the id until it has a name.
    pub name: PrivateText,
    /// When it was made.
    #[serde(with = "crate::domain::timestamp")]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "crate::domain::timestamp")]
    pub updated_at: OffsetDateTime,
    /// Recordings it was learnt from.
    pub sample_count: u32,
    /// In 0..1.
    #[serde(serialize_with = "serialize::unit_interval")]
    pub average_quality: f32,
    /// What was measured in it, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_characteristics: Option<Private<Value>>,
    /// An object of the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Private<Value>>,
}

/// The voices of a user: one, or none.
#[derive(Debug, Clone, Serialize)]
pub struct VoiceProfiles {
    /// The part of the list that was asked for.
    pub profiles: Vec<VoiceProfileSummary>,
    /// Voices altogether.
    pub total: u64,
}

/// A voice was forgotten.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileDeleted {
    /// Always true.
    pub success: bool,
    /// The voice that was.
    pub profile_id: String,
}
