//! Voices that their owners register by themselves, outside of voice messages.

use time::OffsetDateTime;

use super::clone_log::CloneAction;
use super::{Occasion, StoredVoice, VoiceError, VoiceMetadata, VoiceNotes, Voices};
use super::{blocking, quality};
use crate::domain::{Deadline, Recording, timestamp};

/// A recording from which somebody wants a voice to be made.
#[derive(Debug)]
pub struct Registration<'a> {
    /// On whose behalf.
    pub occasion: Occasion<'a>,
    /// Owner of the voice.
    pub user_id: &'a str,
    /// When the job was accepted: what was deleted since is not made again.
    pub accepted_at: OffsetDateTime,
    /// True: the voice that is there is improved. False: it is replaced.
    pub is_update: bool,
    /// The recording.
    pub recording: &'a Recording,
    /// When to stop.
    pub deadline: Deadline,
}

impl Voices {
    /// Speech that a voice needs to be registered, in milliseconds.
    pub fn min_duration_ms(&self) -> u64 {
        self.options.min_duration_ms
    }

    /// Makes, improves or replaces a user's voice. Repeating it for the same job changes nothing more.
    ///
    /// # Errors
    /// The recording is of another speaker than the voice that it is to improve, the voice was deleted
    /// meanwhile, or it cannot be made; then the old one stays.
    pub async fn register(&self, wanted: &Registration<'_>) -> Result<StoredVoice, VoiceError> {
        let (user_id, task_id) = (wanted.user_id, wanted.occasion.task_id);
        let _writing = self.changes.of(user_id).lock_owned().await;
        if self.is_deleted_since(user_id, wanted.accepted_at).await? {
            return Err(VoiceError::NoVoice);
        }
        let stored = self.load(user_id).await?;
        let recording = std::slice::from_ref(wanted.recording);
        let (action, voice, heard) = match stored {
            Some(stored) if stored.metadata.changed_for == task_id => return Ok(stored),
            Some(stored) if wanted.is_update => {
                let identity = &stored.profile.speaker_embedding;
                let heard = self
                    .hear(recording, Some(identity), &wanted.deadline)
                    .await?;
                let voice = self.improved(task_id, stored, &heard);
                (CloneAction::Improved, voice, heard)
            }
            stored => {
                let heard = self.hear(recording, None, &wanted.deadline).await?;
                let voice = match stored {
                    Some(stored) => self.made_anew(task_id, stored.metadata, &heard),
                    None => self.created(user_id, task_id, &heard),
                };
                (CloneAction::Created, voice, heard)
            }
        };
        self.change(action, &voice, &wanted.occasion, heard.sha256)
            .await?;
        Ok(voice)
    }

    /// Changes what is noted about a user's voice; `None` when there is no voice.
    ///
    /// # Errors
    /// The store fails.
    pub async fn annotate(
        &self,
        user_id: &str,
        change: impl FnOnce(&mut VoiceNotes),
    ) -> Result<Option<VoiceMetadata>, VoiceError> {
        self.change_metadata(user_id, |metadata| change(&mut metadata.notes))
            .await
    }

    pub(super) async fn change_metadata(
        &self,
        user_id: &str,
        change: impl FnOnce(&mut VoiceMetadata),
    ) -> Result<Option<VoiceMetadata>, VoiceError> {
        let _writing = self.changes.of(user_id).lock_owned().await;
        let Some(mut metadata) = self.metadata(user_id).await? else {
            return Ok(None);
        };
        change(&mut metadata);
        let (store, changed) = (self.store.clone(), metadata.clone());
        blocking(move || store.save_metadata(&changed)).await??;
        Ok(Some(metadata))
    }

    pub(super) fn created(
        &self,
        user_id: &str,
        task_id: &str,
        heard: &super::hear::HeardVoice,
    ) -> StoredVoice {
        let now = timestamp::now();
        StoredVoice {
            profile: heard.profile.clone(),
            metadata: VoiceMetadata {
                user_id: user_id.to_owned(),
                profile_id: super::profile_id(user_id),
                created_at: now,
                updated_at: now,
                next_recalibration_at: now + self.options.max_age,
                audio_count: heard.audio_count,
                total_duration_ms: heard.total_duration_ms,
                quality_score: quality::of_new_voice(heard.total_duration_ms, heard.audio_count),
                version: 1,
                changed_for: task_id.to_owned(),
                notes: VoiceNotes::default(),
            },
        }
    }

    /// The next version of a voice, with nothing of how it sounded.
    pub(super) fn made_anew(
        &self,
        task_id: &str,
        before: VoiceMetadata,
        heard: &super::hear::HeardVoice,
    ) -> StoredVoice {
        let created = self.created(&before.user_id, task_id, heard);
        StoredVoice {
            metadata: VoiceMetadata {
                created_at: before.created_at,
                version: before.version.saturating_add(1),
                notes: before.notes,
                ..created.metadata
            },
            ..created
        }
    }

    pub(super) fn improved(
        &self,
        task_id: &str,
        stored: StoredVoice,
        heard: &super::hear::HeardVoice,
    ) -> StoredVoice {
        let now = timestamp::now();
        let before = stored.metadata;
        StoredVoice {
            profile: stored.profile.improved_by(&heard.profile),
            metadata: VoiceMetadata {
                updated_at: now,
                next_recalibration_at: now + self.options.max_age,
                audio_count: before.audio_count.saturating_add(heard.audio_count),
                total_duration_ms: before
                    .total_duration_ms
                    .saturating_add(heard.total_duration_ms),
                quality_score: quality::of_improved_voice(before.quality_score),
                version: before.version.saturating_add(1),
                changed_for: task_id.to_owned(),
                ..before
            },
        }
    }
}
