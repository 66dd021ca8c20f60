//! The documents that jobs leave in MongoDB.

use std::time::SystemTime;

use super::job::Job;
use crate::domain::Transcript;
use crate::ledger::{self, Audience};
use crate::protocol::{AudioProcessRequest, TranslatedAudio};
use crate::store::documents::{
    self, Collection, DocumentWrite, Recording, TranslatedAudioRecord, VoiceModelRecord,
};
use crate::store::{IdPolicy, StoreError};
use crate::voices::StoredVoice;

/// The upserts of one voice message; none without a database, and none of message collections for
/// the media of posts, which belong to no message.
pub(super) fn of_audio(
    job: &Job,
    request: &AudioProcessRequest,
    transcript: &Transcript,
    spoken: &[TranslatedAudio],
    voice: Option<&StoredVoice>,
) -> Vec<ledger::DocumentWrite> {
    let Some(policy) = job.pipeline.documents else {
        return Vec::new();
    };
    // Who names no message over HTTP gets the job's id for one: no document is about that.
    if job.record.audience == Audience::Http && request.message_id == job.record.task_id {
        return Vec::new();
    }
    let at = accepted_at(job);
    let mut writes = Vec::new();
    if request.post_id.is_none() {
        let recording = Recording {
            message_id: &request.message_id,
            attachment_id: &request.attachment_id,
        };
        writes.push(documents::transcription(recording, transcript, at, policy));
        writes.extend(
            spoken.iter().map(|audio| {
                documents::translated_audio(recording, &translated(audio), at, policy)
            }),
        );
    }
    if let Some(voice) = voice {
        writes.push(voice_model(job, voice, policy));
    }
    let (kept, skipped): (Vec<_>, Vec<_>) = writes.into_iter().partition(Option::is_some);
    if !skipped.is_empty() {
        tracing::debug!(
            documents = skipped.len(),
            "ids are no object ids, nothing is written"
        );
    }
    kept.into_iter()
        .flatten()
        .filter_map(stored_write)
        .collect()
}

/// The upsert of a voice that was made anew; none without a database, or where the user's id is none
/// that is written there.
pub(super) fn of_voice(job: &Job, voice: &StoredVoice) -> Option<ledger::DocumentWrite> {
    stored_write(voice_model(job, voice, job.pipeline.documents?)?)
}

/// The deletion of what is written of a user's voice; none as for [`of_voice`].
pub(super) fn of_no_voice(job: &Job, user_id: &str) -> Option<ledger::DocumentWrite> {
    let delete = documents::no_voice_model(user_id, job.pipeline.documents?)?;
    stored_form(delete.collection, delete.order_key(), delete.to_json())
}

/// The time of acceptance: a job that goes on after a crash writes the same documents.
fn accepted_at(job: &Job) -> SystemTime {
    job.accepted_at().into()
}

fn translated(audio: &TranslatedAudio) -> TranslatedAudioRecord<'_> {
    TranslatedAudioRecord {
        target_language: audio.target_language,
        translated_text: audio.translated_text.expose(),
        audio_path: &audio.audio_path,
        audio_url: &audio.audio_url,
        duration_ms: audio.duration_ms,
        format: "mp3",
        voice_cloned: audio.voice_cloned,
        voice_quality: audio.voice_quality,
        tts_model: &audio.tts_model,
    }
}

fn voice_model(job: &Job, voice: &StoredVoice, policy: IdPolicy) -> Option<DocumentWrite> {
    let folder = job.pipeline.voices.folder(&voice.metadata.user_id);
    let record = VoiceModelRecord {
        user_id: &voice.metadata.user_id,
        embedding_path: folder.to_str().unwrap_or_default(),
        audio_count: voice.metadata.audio_count,
        total_duration_ms: voice.metadata.total_duration_ms,
        quality_score: voice.metadata.quality_score,
        version: voice.metadata.version,
        next_recalibration_at: Some(SystemTime::from(voice.metadata.next_recalibration_at)),
    };
    documents::voice_model(&record, accepted_at(job), policy)
}

fn stored_write(write: DocumentWrite) -> Option<ledger::DocumentWrite> {
    stored_form(write.collection, write.order_key(), write.to_json())
}

/// A write or a deletion as the ledger keeps it.
fn stored_form(
    collection: Collection,
    order_key: String,
    json: Result<(String, String), StoreError>,
) -> Option<ledger::DocumentWrite> {
    match json {
        Ok((filter, document)) => Some(ledger::DocumentWrite {
            order_key,
            collection: collection.as_str().to_owned(),
            filter,
            document: document.into(),
        }),
        Err(error) => {
            tracing::error!(%error, "document could not be written as json");
            None
        }
    }
}
