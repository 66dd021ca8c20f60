//! The voice that a job speaks in, or makes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedRwLockReadGuard;

use super::job::Job;
use super::message::{Voice, VoiceMessage};
use super::{JobFailure, documents, history};
use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Pcm, Recording, VoiceMeasures};
use crate::error::{ErrorCode, Reason, Stage, error_chain};
use crate::ledger::LedgerError;
use crate::voices::{
    ChosenVoice, Occasion, Registration, StoredVoice, SuppliedVoice, VoiceError, VoicePrint,
    VoiceRequest,
};

/// What is kept of a voice that the job made or improved: once is enough.
#[derive(Serialize, Deserialize)]
struct MadeVoice {
    version: u32,
}

/// The voice for a job. One that cannot be had is the default voice.
pub(super) async fn choose(job: &Job, message: &VoiceMessage, recording: &Recording) -> Voice {
    let voices = &job.pipeline.voices;
    // Who is unknown has no voice.
    let user_id = message.voice_owner_id.as_deref().unwrap_or_default();
    let occasion = Occasion {
        requested_by: &message.requested_by,
        task_id: &job.record.task_id,
    };
    let made_before = job.restored::<MadeVoice>(Stage::Embed, "").await;
    if made_before.is_some()
        && let Ok(Some(voice)) = voices.made_before(user_id, &occasion).await
    {
        return Ok(voice);
    }
    let code = ErrorCode::VoiceCloneFailed;
    let chosen = job.stage(Stage::Embed, None, code, async {
        let may_clone = message.generate_voice_clone && message.voice_owner_id.is_some();
        let (supplied, identity) = sent_voice(message, user_id);
        let voice_request = VoiceRequest {
            occasion,
            user_id,
            accepted_at: job.accepted_at(),
            may_clone,
            supplied,
            identity: match identity {
                None if may_clone => known_identity(job, user_id).await,
                identity => identity,
            },
            recording,
            deadline: job.deadline.clone(),
        };
        let earlier = async || history::earlier(job, user_id, recording).await;
        let chosen = voices.choose(voice_request, earlier).await;
        let chosen = chosen.map_err(|error| failure(&error))?;
        if let Some(voice) = &chosen.news {
            let made = MadeVoice {
                version: voice.metadata.version,
            };
            job.checkpoint(Stage::Embed, "", &made, None).await?;
        }
        Ok(chosen)
    });
    match chosen.await {
        Err(failed @ JobFailure::Stage { .. }) => {
            failed.record(job.kind());
            let default = voices.default_voice(&job.deadline).await;
            default.map_err(|error| Arc::new(failure(&error)))
        }
        chosen => chosen.map_err(Arc::new),
    }
}

/// Makes or improves the user's voice from a recording, and hands over its document. Repeating it for
/// the same job changes nothing more.
///
/// # Errors
/// As [`Voices::register`](crate::voices::Voices::register).
pub(super) async fn register(
    job: &Job,
    user_id: &str,
    recording: &Recording,
    is_update: bool,
) -> Result<StoredVoice, JobFailure> {
    let voices = &job.pipeline.voices;
    let made = job.stage(Stage::Embed, None, ErrorCode::VoiceCloneFailed, async {
        let registration = Registration {
            occasion: Occasion {
                requested_by: user_id,
                task_id: &job.record.task_id,
            },
            user_id,
            accepted_at: job.accepted_at(),
            is_update,
            recording,
            deadline: job.deadline.clone(),
        };
        let made = voices.register(&registration).await;
        made.map_err(|error| failure(&error))
    });
    let made = made.await?;
    // While this is held the voice is not deleted: its document must not come after the deletion's.
    let held = voices.hold(user_id, job.accepted_at()).await;
    let Some(_held) = held.map_err(|error| failure(&error))? else {
        return Err(failure(&VoiceError::NoVoice));
    };
    let documents = documents::of_voice(job, &made).into_iter().collect();
    job.hand_over_documents(documents).await?;
    Ok(made)
}

/// Who speaks in a recording.
///
/// # Errors
/// As [`Voices::identify`](crate::voices::Voices::identify).
pub(super) async fn identify(job: &Job, pcm: &Pcm) -> Result<SpeakerEmbedding, JobFailure> {
    job.stage(Stage::Embed, None, ErrorCode::VoiceCloneFailed, async {
        let speaker = job.pipeline.voices.identify(pcm, &job.deadline).await;
        speaker.map_err(|error| failure(&error))
    })
    .await
}

/// # Errors
/// The recording is too short to be registered as a voice, or compared with one.
pub(super) fn require_length(job: &Job, recording: &Recording) -> Result<(), JobFailure> {
    let found = recording.pcm.duration_ms();
    let needed = job.pipeline.voices.min_duration_ms();
    if found >= needed {
        return Ok(());
    }
    Err(JobFailure::new(
        Stage::Embed,
        ErrorCode::VoiceCloneFailed,
        Reason::AudioTooShort,
        format!("audio too short: {found} ms, at least {needed} ms required"),
    ))
}

/// # Errors
/// No voice is heard in the recording: what is learnt from silence or noise is nobody's voice.
pub(super) fn require_voice(measures: &VoiceMeasures) -> Result<(), JobFailure> {
    if measures.pitch.mean_hz > 0.0 {
        return Ok(());
    }
    Err(JobFailure::new(
        Stage::Measure,
        ErrorCode::VoiceCloneFailed,
        Reason::NoAudio,
        "no voice is heard in the recording",
    ))
}

/// Who a user is of whom no voice is kept here.
async fn known_identity(job: &Job, user_id: &str) -> Option<SpeakerEmbedding> {
    match job.pipeline.voices.metadata(user_id).await {
        Ok(None) => history::identity(&job.pipeline, user_id).await,
        _ => None,
    }
}

/// The voice that was made or changed for the job, unless it was deleted since the job was accepted,
/// with what keeps a deletion waiting until the news are stored.
pub(super) async fn news<'a>(
    job: &Job,
    chosen: Option<&'a ChosenVoice>,
) -> Option<(&'a StoredVoice, OwnedRwLockReadGuard<()>)> {
    let voice = chosen?.news.as_ref()?;
    Some((voice, job.hold(&voice.metadata.user_id).await?))
}

/// A failure of voices as one of a job. A disk that is full is not answered with another voice: the job
/// waits for space.
pub(super) fn failure(error: &VoiceError) -> JobFailure {
    if let Some((fault, path)) = error.storage_fault() {
        let path = path.to_owned();
        return JobFailure::Ledger(LedgerError::Storage { path, fault });
    }
    let message = error_chain(error);
    JobFailure::new(
        Stage::Embed,
        ErrorCode::VoiceCloneFailed,
        error.reason(),
        message,
    )
}

/// The voice that came with the request, if it can speak and is to, and who it is otherwise.
fn sent_voice(
    message: &VoiceMessage,
    user_id: &str,
) -> (Option<SuppliedVoice>, Option<SpeakerEmbedding>) {
    let existing = message
        .existing_voice
        .as_ref()
        .and_then(|existing| Some((existing, existing.embedding.as_ref()?)));
    let Some((existing, bytes)) = existing else {
        return (None, None);
    };
    match VoicePrint::from_bytes(bytes.expose()) {
        Ok(VoicePrint::Whole(profile)) if message.use_original_voice => {
            let supplied = SuppliedVoice {
                profile,
                quality: existing.quality_score,
            };
            (Some(supplied), None)
        }
        Ok(print) => {
            if message.use_original_voice {
                tracing::info!("the supplied voice tells who it is, not how to speak like it");
            }
            let is_owner = |owner: &String| owner == user_id;
            let is_of_owner = existing.user_id.as_ref().is_none_or(is_owner);
            (None, is_of_owner.then(|| print.into_identity()))
        }
        Err(error) => {
            tracing::info!(%error, "the supplied voice is not used");
            (None, None)
        }
    }
}
