//! Results as documents, with the exact types that the gateway's schema asks for: ids are
//! ObjectIds, whole numbers int32, probabilities double, times Date.

use std::time::SystemTime;

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};

use super::StoreError;
use crate::domain::{Language, Segment, Transcript, TranscriptSource};

/// Set when a document is inserted, never when it is replaced.
const CREATED_AT: &str = "createdAt";

/// A collection that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collection {
    /// `message_audio_transcriptions`, one document for each attachment.
    Transcriptions,
    /// `message_translated_audios`, one for each attachment and language.
    TranslatedAudios,
    /// `user_voice_models`, one for each user.
    VoiceModels,
}

impl Collection {
    /// All that are written.
    pub const ALL: [Self; 3] = [
        Self::Transcriptions,
        Self::TranslatedAudios,
        Self::VoiceModels,
    ];

    /// The collection's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transcriptions => "message_audio_transcriptions",
            Self::TranslatedAudios => "message_translated_audios",
            Self::VoiceModels => "user_voice_models",
        }
    }

    /// The collection of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|collection| collection.as_str() == name)
    }
}

/// What becomes of ids that are no ObjectIds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdPolicy {
    /// Nothing is written, for the gateway could not read a string there, nor looked for.
    ObjectIdsOnly,
    /// They are strings, for use without the gateway.
    Strings,
}

impl IdPolicy {
    pub(super) fn id(self, id: &str) -> Option<Bson> {
        // Exactly 24 hexadecimal digits; `parse_str` takes nothing else.
        match ObjectId::parse_str(id) {
            Ok(object_id) => Some(Bson::ObjectId(object_id)),
            Err(_) if self == Self::Strings => Some(Bson::String(id.to_owned())),
            Err(_) => None,
        }
    }
}

/// An upsert: the document that `key` finds gets the fields of `fields`, or is made of both.
#[derive(Clone, PartialEq)]
pub struct DocumentWrite {
    /// Where.
    pub collection: Collection,
    /// Equal values of these fields mean the same document.
    pub key: Document,
    /// The other fields.
    pub fields: Document,
}

impl DocumentWrite {
    /// Writes with equal order keys concern one document: they must keep their order.
    pub fn order_key(&self) -> String {
        order_key(self.collection, &self.key)
    }

    /// `key` and `fields` as extended JSON, which keeps every type.
    ///
    /// # Errors
    /// None in practice: the builders of this module make nothing that JSON lacks.
    pub fn to_json(&self) -> Result<(String, String), StoreError> {
        let json = |document| serde_json::to_string(document).map_err(not_json);
        Ok((json(&self.key)?, json(&self.fields)?))
    }

    /// The write whose [`to_json`](Self::to_json) gave `key` and `fields`.
    ///
    /// # Errors
    /// [`StoreError::Document`] for text that is none.
    pub fn from_json(collection: Collection, key: &str, fields: &str) -> Result<Self, StoreError> {
        let document = |json| serde_json::from_str(json).map_err(not_json);
        Ok(Self {
            collection,
            key: document(key)?,
            fields: document(fields)?,
        })
    }

    /// The update command: `createdAt` only for a new document.
    pub(super) fn update(&self) -> Document {
        let mut set = self.fields.clone();
        match set.remove(CREATED_AT) {
            Some(created_at) => doc! { "$set": set, "$setOnInsert": { CREATED_AT: created_at } },
            None => doc! { "$set": set },
        }
    }
}

/// A deletion: the document that `key` finds goes, if it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentDelete {
    /// Where.
    pub collection: Collection,
    /// Equal values of these fields mean the same document.
    pub key: Document,
}

impl DocumentDelete {
    /// What stands in the place of the fields in [`to_json`](Self::to_json).
    const NO_FIELDS: &'static str = "null";

    /// As [`DocumentWrite::order_key`]: a deletion keeps its place among the writes of its document.
    pub fn order_key(&self) -> String {
        order_key(self.collection, &self.key)
    }

    /// `key` as extended JSON, and `null` in the place of fields.
    ///
    /// # Errors
    /// None in practice, as for [`DocumentWrite::to_json`].
    pub fn to_json(&self) -> Result<(String, String), StoreError> {
        let key = serde_json::to_string(&self.key).map_err(not_json)?;
        Ok((key, Self::NO_FIELDS.to_owned()))
    }

    /// The deletion whose [`to_json`](Self::to_json) gave `key` and `fields`; `None` when they are
    /// those of a write.
    ///
    /// # Errors
    /// [`StoreError::Document`] for text that is none.
    pub fn from_json(
        collection: Collection,
        key: &str,
        fields: &str,
    ) -> Result<Option<Self>, StoreError> {
        if fields != Self::NO_FIELDS {
            return Ok(None);
        }
        let key = serde_json::from_str(key).map_err(not_json)?;
        Ok(Some(Self { collection, key }))
    }
}

fn not_json(error: serde_json::Error) -> StoreError {
    StoreError::Document(error.into())
}

fn order_key(collection: Collection, key: &Document) -> String {
    let values = key.iter().map(|(_, value)| match value {
        Bson::ObjectId(id) => id.to_hex(),
        Bson::String(text) => text.clone(),
        other => other.to_string(),
    });
    let parts: Vec<String> = std::iter::once(collection.as_str().to_owned())
        .chain(values)
        .collect();
    parts.join("/")
}

/// Shows where only: what people say is personal data.
impl std::fmt::Debug for DocumentWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentWrite")
            .field("collection", &self.collection)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The recording that results belong to. Recordings of posts are not messages: make no documents of them.
#[derive(Debug, Clone, Copy)]
pub struct Recording<'a> {
    /// The message.
    pub message_id: &'a str,
    /// The recording.
    pub attachment_id: &'a str,
}

/// A spoken translation.
#[derive(Clone)]
pub struct TranslatedAudioRecord<'a> {
    /// The language.
    pub target_language: Language,
    /// The words.
    pub translated_text: &'a str,
    /// The file below the working folder.
    pub audio_path: &'a str,
    /// The file below the web root.
    pub audio_url: &'a str,
    /// Length of the speech.
    pub duration_ms: u64,
    /// Container of the file, such as `mp3`.
    pub format: &'a str,
    /// Whether it is the sender's voice.
    pub voice_cloned: bool,
    /// In 0..1.
    pub voice_quality: f32,
    /// The model that spoke, such as `xtts`.
    pub tts_model: &'a str,
}

/// What is known of a user's voice.
#[derive(Debug, Clone)]
pub struct VoiceModelRecord<'a> {
    /// Whose voice it is.
    pub user_id: &'a str,
    /// Where the daemon keeps it.
    pub embedding_path: &'a str,
    /// Recordings it was learnt from.
    pub audio_count: u32,
    /// Their length together.
    pub total_duration_ms: u64,
    /// In 0..1.
    pub quality_score: f32,
    /// Grows with each improvement.
    pub version: u32,
    /// When it is due to be learnt again.
    pub next_recalibration_at: Option<SystemTime>,
}

/// What was said in a recording; `None` if the ids are none that `policy` takes.
pub fn transcription(
    recording: Recording<'_>,
    transcript: &Transcript,
    at: SystemTime,
    policy: IdPolicy,
) -> Option<DocumentWrite> {
    let segments: Vec<Bson> = transcript
        .segments
        .iter()
        .map(|s| segment(s).into())
        .collect();
    let model = match transcript.source {
        TranscriptSource::Mobile => None,
        TranscriptSource::Whisper => transcript.model.clone(),
    };
    Some(DocumentWrite {
        collection: Collection::Transcriptions,
        key: doc! { "attachmentId": policy.id(recording.attachment_id)? },
        fields: doc! {
            "messageId": policy.id(recording.message_id)?,
            "transcribedText": transcript.text.expose(),
            "language": transcript.language.as_str(),
            "confidence": unit_interval(transcript.confidence),
            "source": match transcript.source {
                TranscriptSource::Mobile => "mobile",
                TranscriptSource::Whisper => "whisper",
            },
            "segments": if segments.is_empty() { Bson::Null } else { segments.into() },
            "audioDurationMs": int32(transcript.duration_ms),
            "model": model,
            CREATED_AT: date(at),
        },
    })
}

/// A recording spoken in another language; `None` if the ids are none that `policy` takes.
pub fn translated_audio(
    recording: Recording<'_>,
    audio: &TranslatedAudioRecord<'_>,
    at: SystemTime,
    policy: IdPolicy,
) -> Option<DocumentWrite> {
    Some(DocumentWrite {
        collection: Collection::TranslatedAudios,
        key: doc! {
            "attachmentId": policy.id(recording.attachment_id)?,
            "targetLanguage": audio.target_language.as_str(),
        },
        fields: doc! {
            "messageId": policy.id(recording.message_id)?,
            "translatedText": audio.translated_text,
            "audioPath": audio.audio_path,
            "audioUrl": audio.audio_url,
            "durationMs": int32(audio.duration_ms),
            "format": audio.format,
            "voiceCloned": audio.voice_cloned,
            "voiceQuality": unit_interval(audio.voice_quality),
            // The voice model's id is the server's, and nothing is read before writing.
            "voiceModelId": Bson::Null,
            "ttsModel": audio.tts_model,
            CREATED_AT: date(at),
        },
    })
}

/// A user's voice; `None` if the id is none that `policy` takes.
pub fn voice_model(
    voice: &VoiceModelRecord<'_>,
    at: SystemTime,
    policy: IdPolicy,
) -> Option<DocumentWrite> {
    Some(DocumentWrite {
        collection: Collection::VoiceModels,
        key: doc! { "userId": policy.id(voice.user_id)? },
        fields: doc! {
            "embeddingPath": voice.embedding_path,
            "audioCount": int32(voice.audio_count.into()),
            "totalDurationMs": int32(voice.total_duration_ms),
            "qualityScore": unit_interval(voice.quality_score),
            "version": int32(voice.version.into()),
            "updatedAt": date(at),
            "nextRecalibrationAt": voice.next_recalibration_at.map(date),
            CREATED_AT: date(at),
        },
    })
}

/// Deletes what is known of a user's voice; `None` if the id is none that `policy` takes.
pub fn no_voice_model(user_id: &str, policy: IdPolicy) -> Option<DocumentDelete> {
    Some(DocumentDelete {
        collection: Collection::VoiceModels,
        key: doc! { "userId": policy.id(user_id)? },
    })
}

fn segment(segment: &Segment) -> Document {
    let mut document = doc! {
        "text": segment.text.expose(),
        "startMs": int32(segment.start_ms),
        "endMs": int32(segment.end_ms.max(segment.start_ms)),
    };
    if let Some(confidence) = segment.confidence {
        document.insert("confidence", unit_interval(confidence));
    }
    if let Some(speaker_id) = &segment.speaker_id {
        document.insert("speakerId", speaker_id);
    }
    if let Some(score) = segment.voice_similarity_score {
        document.insert("voiceSimilarityScore", unit_interval(score));
    }
    if let Some(language) = segment.language {
        document.insert("language", language.as_str());
    }
    document
}

/// What the schema stores as a 32-bit integer; 24 days of milliseconds fit.
fn int32(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// In 0..1 with four decimals, 0 for what is not a number.
fn unit_interval(value: f32) -> f64 {
    let value = if value.is_nan() {
        0.0
    } else {
        f64::from(value.clamp(0.0, 1.0))
    };
    (value * 10_000.0).round() / 10_000.0
}

fn date(time: SystemTime) -> DateTime {
    DateTime::from_system_time(time)
}
