//! What becomes of voices outside of voice messages: looked at, made anew, deleted.

use time::OffsetDateTime;
use tokio::sync::OwnedRwLockReadGuard;

use super::blocking;
use super::clone_log::CloneAction;
use super::{Occasion, StoredVoice, VoiceError, VoiceMetadata, VoiceStoreError, Voices};
use crate::domain::{Deadline, Recording, timestamp};
use crate::error::error_chain;

/// How long the note about a deletion is kept: no job waits that long.
const NOTE_LIFE: time::Duration = time::Duration::days(30);

impl Voices {
    /// What is known about a user's voice; `None` when there is none that this program can read.
    ///
    /// # Errors
    /// The store fails.
    pub async fn metadata(&self, user_id: &str) -> Result<Option<VoiceMetadata>, VoiceError> {
        let (store, user_id) = (self.store.clone(), user_id.to_owned());
        match blocking(move || store.metadata(&user_id)).await? {
            // Another program's, or damaged.
            Err(VoiceStoreError::Metadata { .. }) => Ok(None),
            metadata => Ok(metadata?),
        }
    }

    /// What is known about every voice, in the order of the users' ids.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(&self) -> Result<Vec<VoiceMetadata>, VoiceError> {
        let store = self.store.clone();
        Ok(blocking(move || store.list()).await??)
    }

    /// The voices whose time to be made anew has come, the most overdue first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn due(&self, now: OffsetDateTime) -> Result<Vec<VoiceMetadata>, VoiceError> {
        let mut due = self.list().await?;
        due.retain(|metadata| metadata.next_recalibration_at <= now);
        due.sort_by_key(|metadata| metadata.next_recalibration_at);
        Ok(due)
    }

    /// Makes a user's voice anew from recordings, newest first. Repeating it for the same job changes
    /// nothing more.
    ///
    /// # Errors
    /// There is no voice, no recording can be heard, or the store fails; the old voice stays.
    pub async fn recalibrate(
        &self,
        user_id: &str,
        occasion: &Occasion<'_>,
        recordings: &[Recording],
        deadline: &Deadline,
    ) -> Result<StoredVoice, VoiceError> {
        let _writing = self.changes.of(user_id).lock_owned().await;
        let before = self.metadata(user_id).await?.ok_or(VoiceError::NoVoice)?;
        if before.changed_for == occasion.task_id
            && let Some(stored) = self.load(user_id).await?
        {
            return Ok(stored);
        }
        let heard = self.hear(recordings, None, deadline).await?;
        let voice = self.made_anew(occasion.task_id, before, &heard);
        self.change(CloneAction::Recalibrated, &voice, occasion, heard.sha256)
            .await?;
        Ok(voice)
    }

    /// Leaves a voice as it is until its next time: there is nothing to make it anew from.
    ///
    /// # Errors
    /// The store fails.
    pub async fn postpone(&self, user_id: &str) -> Result<(), VoiceError> {
        let postpone = |metadata: &mut VoiceMetadata| {
            metadata.next_recalibration_at = timestamp::now() + self.options.max_age;
        };
        self.change_metadata(user_id, postpone).await?;
        Ok(())
    }

    /// Deletes everything that is kept of a user's voice and tells whether there was any. Jobs that
    /// were accepted before do not make the voice again.
    ///
    /// # Errors
    /// The store fails; a part may be deleted.
    pub async fn forget(&self, user_id: &str, occasion: &Occasion<'_>) -> Result<bool, VoiceError> {
        let _alone = self.records.of(user_id).write_owned().await;
        let _writing = self.changes.of(user_id).lock_owned().await;
        let folder = self.folder(user_id);
        let existed = blocking(move || folder.exists()).await?;
        if existed {
            let (action, nothing) = (CloneAction::Deleted, Vec::new());
            let logged = self.log(action, user_id, occasion, None, nothing).await;
            // Whoever wants the voice gone is served all the same.
            if let Err(error) = logged {
                tracing::error!(error = %error_chain(&error), "deletion of a voice is not logged");
            }
        }
        let (store, user_id) = (self.store.clone(), user_id.to_owned());
        blocking(move || store.delete(&user_id, OffsetDateTime::now_utc())).await??;
        Ok(existed)
    }

    /// Keeps the deletion of everything of a user waiting while the guard lives, so that what is kept
    /// meanwhile is deleted too, and news of a voice cannot overtake its deletion; `None` when it was
    /// deleted since `accepted_at`.
    ///
    /// # Errors
    /// The store fails.
    pub async fn hold(
        &self,
        user_id: &str,
        accepted_at: OffsetDateTime,
    ) -> Result<Option<OwnedRwLockReadGuard<()>>, VoiceError> {
        let shared = self.records.of(user_id).read_owned().await;
        let is_deleted = self.is_deleted_since(user_id, accepted_at).await?;
        Ok((!is_deleted).then_some(shared))
    }

    /// True when a user's voice was deleted at `accepted_at` or later.
    ///
    /// # Errors
    /// The store fails.
    pub async fn is_deleted_since(
        &self,
        user_id: &str,
        accepted_at: OffsetDateTime,
    ) -> Result<bool, VoiceError> {
        let (store, user_id) = (self.store.clone(), user_id.to_owned());
        let deleted_at = blocking(move || store.deleted_at(&user_id)).await??;
        Ok(deleted_at.is_some_and(|deleted_at| deleted_at >= accepted_at))
    }

    /// Drops notes about deletions that no job can need any more.
    ///
    /// # Errors
    /// The store fails.
    pub async fn tidy(&self) -> Result<(), VoiceError> {
        let store = self.store.clone();
        Ok(blocking(move || store.drop_notes(OffsetDateTime::now_utc() - NOTE_LIFE)).await??)
    }
}
