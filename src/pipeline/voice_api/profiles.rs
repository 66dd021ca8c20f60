//! The voice of a user as a profile: looked at, registered, named, deleted.

use serde_json::Value;

use super::analysis::measured;
use super::refusal;
use crate::domain::{Private, VoiceMeasures};
use crate::error::Reason;
use crate::pipeline::job::Job;
use crate::pipeline::{JobFailure, Pipeline, recording, voice, voice_task};
use crate::protocol::{
    AudioSource, Page, ProfileDeleted, ProfileRequest, VoiceApiResult, VoiceProfileSummary,
    VoiceProfiles,
};
use crate::voices::{VoiceMetadata, VoiceNotes};

/// What is known of a user's voice.
///
/// # Errors
/// There is none, none with that id, or it cannot be read.
pub async fn profile(
    pipeline: &Pipeline,
    user_id: &str,
    profile_id: Option<&str>,
) -> Result<VoiceProfileSummary, JobFailure> {
    let metadata = existing(pipeline, user_id, profile_id).await?;
    Ok(summary(metadata))
}

pub(super) async fn list(
    job: &Job,
    user_id: &str,
    page: Page,
) -> Result<VoiceApiResult, JobFailure> {
    let metadata = job.pipeline.voices.metadata(user_id).await;
    let profiles: Vec<_> = metadata
        .map_err(|error| voice::failure(&error))?
        .into_iter()
        .map(summary)
        .collect();
    let total = profiles.len() as u64;
    let part = profiles
        .into_iter()
        .skip(page.offset as usize)
        .take(page.limit as usize);
    Ok(VoiceApiResult::Profiles(VoiceProfiles {
        profiles: part.collect(),
        total,
    }))
}

pub(super) async fn create(
    job: &Job,
    user_id: &str,
    mut request: ProfileRequest,
) -> Result<VoiceApiResult, JobFailure> {
    let audio = std::mem::take(&mut request.audio);
    let measures = register(job, user_id, audio, false).await?;
    note(job, user_id, request, Some(&measures)).await
}

pub(super) async fn update(
    job: &Job,
    user_id: &str,
    mut request: ProfileRequest,
) -> Result<VoiceApiResult, JobFailure> {
    existing(&job.pipeline, user_id, request.profile_id.as_deref()).await?;
    let audio = std::mem::take(&mut request.audio);
    let measures = if audio.is_empty() {
        None
    } else {
        Some(register(job, user_id, audio, true).await?)
    };
    note(job, user_id, request, measures.as_ref()).await
}

pub(super) async fn delete(
    job: &Job,
    user_id: &str,
    profile_id: Option<String>,
) -> Result<VoiceApiResult, JobFailure> {
    // A later attempt finds no voice any more, even if the first was killed half-way.
    let voices = &job.pipeline.voices;
    let deleted = voices.is_deleted_since(user_id, job.accepted_at());
    if !deleted.await.map_err(|error| voice::failure(&error))? {
        existing(&job.pipeline, user_id, profile_id.as_deref()).await?;
    }
    voice_task::forget(job, user_id, user_id).await?;
    Ok(VoiceApiResult::ProfileDeleted(ProfileDeleted {
        success: true,
        profile_id: crate::voices::profile_id(user_id),
    }))
}

async fn existing(
    pipeline: &Pipeline,
    user_id: &str,
    profile_id: Option<&str>,
) -> Result<VoiceMetadata, JobFailure> {
    let metadata = pipeline.voices.metadata(user_id).await;
    metadata
        .map_err(|error| voice::failure(&error))?
        .filter(|metadata| profile_id.is_none_or(|wanted| metadata.profile_id == wanted))
        .ok_or_else(|| refusal(Reason::NotFound, "the user has no such voice profile"))
}

/// Makes or improves the user's voice from a recording that is long enough; gives what was measured
/// in it.
async fn register(
    job: &Job,
    user_id: &str,
    audio: Vec<AudioSource>,
    is_update: bool,
) -> Result<VoiceMeasures, JobFailure> {
    let recording = recording::decoded(job, audio).await?;
    voice::require_length(job, &recording)?;
    // What may fail comes first, so that who is told of a failure has no new voice.
    let measures = measured(job, &recording.pcm).await?;
    voice::require_voice(&measures)?;
    voice::register(job, user_id, &recording, is_update).await?;
    Ok(measures)
}

/// Notes what the request says about the voice, and gives it back.
async fn note(
    job: &Job,
    user_id: &str,
    request: ProfileRequest,
    measures: Option<&VoiceMeasures>,
) -> Result<VoiceApiResult, JobFailure> {
    // By way of text, which gives the shortest decimals of single precision.
    let characteristics: Option<Private<Value>> = measures
        .and_then(|measures| serde_json::to_vec(measures).ok())
        .and_then(|json| serde_json::from_slice(&json).ok());
    let change = move |notes: &mut VoiceNotes| {
        notes.name = request.name.or(notes.name.take());
        notes.client_metadata = request.metadata.or(notes.client_metadata.take());
        notes.characteristics = characteristics.or(notes.characteristics.take());
    };
    let noted = job.pipeline.voices.annotate(user_id, change).await;
    let noted = noted.map_err(|error| voice::failure(&error))?;
    let metadata =
        noted.ok_or_else(|| refusal(Reason::NotFound, "the voice was deleted meanwhile"))?;
    Ok(VoiceApiResult::Profile(summary(metadata)))
}

fn summary(metadata: VoiceMetadata) -> VoiceProfileSummary {
    let notes = metadata.notes;
    VoiceProfileSummary {
        name: notes
            .name
            .unwrap_or_else(|| metadata.profile_id.clone().into()),
        id: metadata.profile_id,
        user_id: metadata.user_id,
        created_at: metadata.created_at,
        updated_at: metadata.updated_at,
        sample_count: metadata.audio_count,
        average_quality: metadata.quality_score,
        voice_characteristics: notes.characteristics,
        metadata: notes.client_metadata,
    }
}
