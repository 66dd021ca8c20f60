//! The voice for a job: the one that came with it, the user's own, or nobody's.

use time::OffsetDateTime;

use super::blocking;
use super::clone_log::CloneAction;
use super::profile::{self, VoiceProfile};
use super::{DEFAULT_VOICE_QUALITY, Occasion, StoredVoice, VoiceError, VoiceMetadata, Voices};
use crate::domain::digest::short_digest;
use crate::domain::voice::{Conditioning, SpeakerEmbedding};
use crate::domain::{Deadline, Recording};
use crate::error::error_chain;
use crate::stages::decode::quality_warnings;

/// What a job says about the voice that it wants.
#[derive(Debug)]
pub struct VoiceRequest<'a> {
    /// On whose behalf.
    pub occasion: Occasion<'a>,
    /// Owner of the voice in the recording.
    pub user_id: &'a str,
    /// When the job was accepted: what was deleted since is not made again.
    pub accepted_at: OffsetDateTime,
    /// False: the default voice speaks and nothing is stored.
    pub may_clone: bool,
    /// The voice that came with the job and is to be used as it is.
    pub supplied: Option<SuppliedVoice>,
    /// Who the user is according to others: it counts where no voice is stored yet.
    pub identity: Option<SpeakerEmbedding>,
    /// The recording at hand.
    pub recording: &'a Recording,
    /// When to stop.
    pub deadline: Deadline,
}

/// A voice that came with a job.
#[derive(Debug)]
pub struct SuppliedVoice {
    /// The voice.
    pub profile: VoiceProfile,
    /// Its quality in 0..1, where the sender says it.
    pub quality: Option<f32>,
}

/// The voice for a job.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenVoice {
    /// Names this very voice in cache keys: `default:…`, `supplied:…`, or that of a
    /// [stored voice](StoredVoice::key).
    pub key: String,
    /// What XTTS needs; empty where none is installed.
    pub conditioning: Conditioning,
    /// Who it is: what base voices are given; `None` for the default voice.
    pub identity: Option<SpeakerEmbedding>,
    /// False for the default voice.
    pub is_cloned: bool,
    /// Expected likeness in 0..1.
    pub quality: f32,
    /// The stored voice, when it was made or changed for this job: news for the gateway.
    pub news: Option<StoredVoice>,
}

impl Voices {
    /// Chooses the voice for a job, making or improving the user's own where that is due. `earlier`
    /// gives other recordings of the user, newest first; it is asked when the one at hand is too short
    /// to make a voice from.
    ///
    /// A supplied voice that was made for another synthesizer counts as none.
    ///
    /// # Errors
    /// The voice cannot be had; try [`default_voice`](Self::default_voice).
    pub async fn choose(
        &self,
        request: VoiceRequest<'_>,
        earlier: impl AsyncFnOnce() -> Vec<Recording>,
    ) -> Result<ChosenVoice, VoiceError> {
        let supplied = request.supplied.as_ref();
        if let Some(supplied) = supplied.filter(|supplied| self.fits_model(&supplied.profile)) {
            return self.supplied_voice(&request, supplied).await;
        }
        if request.may_clone {
            self.own_voice(&request, earlier).await
        } else {
            self.default_voice(&request.deadline).await
        }
    }

    /// The voice that an earlier attempt at the job made or improved, as news once more.
    ///
    /// # Errors
    /// The store or the clone log fails.
    pub async fn made_before(
        &self,
        user_id: &str,
        occasion: &Occasion<'_>,
    ) -> Result<Option<ChosenVoice>, VoiceError> {
        let Some(voice) = self.load(user_id).await? else {
            return Ok(None);
        };
        let news = Some(voice.clone());
        let chosen = self.used(voice, occasion).await?;
        Ok(Some(ChosenVoice { news, ..chosen }))
    }

    /// The voice that is kept of a user, to speak as it is; `None` when there is none that can.
    ///
    /// # Errors
    /// The store or the clone log fails.
    pub async fn kept(
        &self,
        user_id: &str,
        occasion: &Occasion<'_>,
    ) -> Result<Option<ChosenVoice>, VoiceError> {
        match self.load(user_id).await? {
            Some(voice) => self.used(voice, occasion).await.map(Some),
            None => Ok(None),
        }
    }

    async fn supplied_voice(
        &self,
        request: &VoiceRequest<'_>,
        supplied: &SuppliedVoice,
    ) -> Result<ChosenVoice, VoiceError> {
        let digest = short_digest(&supplied.profile.to_bytes());
        let (action, references) = (CloneAction::Used, vec![digest.clone()]);
        self.log(action, request.user_id, &request.occasion, None, references)
            .await?;
        Ok(ChosenVoice {
            key: format!("supplied:{digest}"),
            conditioning: supplied.profile.conditioning.clone(),
            identity: Some(supplied.profile.speaker_embedding.clone()),
            is_cloned: true,
            quality: supplied.quality.unwrap_or(DEFAULT_VOICE_QUALITY),
            news: None,
        })
    }

    async fn own_voice(
        &self,
        request: &VoiceRequest<'_>,
        earlier: impl AsyncFnOnce() -> Vec<Recording>,
    ) -> Result<ChosenVoice, VoiceError> {
        let _writing = self.changes.of(request.user_id).lock_owned().await;
        if self
            .is_deleted_since(request.user_id, request.accepted_at)
            .await?
        {
            tracing::info!("the user's voice was deleted after the job came, it is not made again");
            return self.default_voice(&request.deadline).await;
        }
        let Some(stored) = self.load(request.user_id).await? else {
            return self.create(request, earlier).await;
        };
        // An earlier attempt was killed right after it had saved the voice.
        if stored.metadata.changed_for == request.occasion.task_id {
            return Ok(chosen(stored, true));
        }
        if !self.is_due(&stored.metadata, request.recording).await? {
            return self.used(stored, &request.occasion).await;
        }
        self.improve(request, stored).await
    }

    async fn create(
        &self,
        request: &VoiceRequest<'_>,
        earlier: impl AsyncFnOnce() -> Vec<Recording>,
    ) -> Result<ChosenVoice, VoiceError> {
        let mut recordings = vec![request.recording.clone()];
        if request.recording.pcm.duration_ms() < self.options.min_duration_ms {
            recordings.extend(earlier().await);
        }
        let mut heard = self.hear(&recordings, None, &request.deadline).await?;
        let identity = match &request.identity {
            Some(identity) => Some(identity.clone()),
            None => self.foreign_identity(request.user_id).await?,
        };
        // Who is known already keeps most of the identity, as in an improvement.
        if let Some(known) = identity
            && self.is_same_speaker(&known, &heard.profile.speaker_embedding)
        {
            heard.profile.speaker_embedding =
                profile::improved(&known, &heard.profile.speaker_embedding);
        }
        let voice = self.created(request.user_id, request.occasion.task_id, &heard);
        self.change(
            CloneAction::Created,
            &voice,
            &request.occasion,
            heard.sha256,
        )
        .await?;
        Ok(chosen(voice, true))
    }

    async fn improve(
        &self,
        request: &VoiceRequest<'_>,
        stored: StoredVoice,
    ) -> Result<ChosenVoice, VoiceError> {
        let recording = std::slice::from_ref(request.recording);
        let identity = &stored.profile.speaker_embedding;
        match self
            .hear(recording, Some(identity), &request.deadline)
            .await
        {
            Ok(heard) => {
                let voice = self.improved(request.occasion.task_id, stored, &heard);
                self.change(
                    CloneAction::Improved,
                    &voice,
                    &request.occasion,
                    heard.sha256,
                )
                .await?;
                Ok(chosen(voice, true))
            }
            // An old voice still speaks when the recording at hand cannot improve it.
            Err(VoiceError::OtherSpeaker) => self.used(stored, &request.occasion).await,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "voice could not be improved");
                self.used(stored, &request.occasion).await
            }
        }
    }

    /// A stored voice is used as it is until it is old. Earlier than that it is improved while it is
    /// poor, and by a good recording that is longer than all it was made from.
    async fn is_due(
        &self,
        metadata: &VoiceMetadata,
        recording: &Recording,
    ) -> Result<bool, VoiceError> {
        let age = OffsetDateTime::now_utc() - metadata.updated_at;
        if age >= self.options.max_age
            || metadata.quality_score < self.options.early_improvement_quality
        {
            return Ok(true);
        }
        let duration_ms = recording.pcm.duration_ms();
        if duration_ms < self.options.first_rate_duration_ms
            || duration_ms <= metadata.total_duration_ms
        {
            return Ok(false);
        }
        let pcm = recording.pcm.clone();
        blocking(move || quality_warnings(&pcm).is_empty()).await
    }

    /// A stored voice that speaks, once that is in the clone log.
    async fn used(
        &self,
        voice: StoredVoice,
        occasion: &Occasion<'_>,
    ) -> Result<ChosenVoice, VoiceError> {
        let version = Some(voice.metadata.version);
        let user_id = &voice.metadata.user_id;
        self.log(CloneAction::Used, user_id, occasion, version, Vec::new())
            .await?;
        Ok(chosen(voice, false))
    }
}

impl StoredVoice {
    /// The voice as one that speaks; for whoever has it logged already.
    pub fn chosen(&self) -> ChosenVoice {
        chosen(self.clone(), false)
    }
}

fn chosen(voice: StoredVoice, is_news: bool) -> ChosenVoice {
    ChosenVoice {
        key: voice.key(),
        conditioning: voice.profile.conditioning.clone(),
        identity: Some(voice.profile.speaker_embedding.clone()),
        is_cloned: true,
        quality: voice.metadata.quality_score,
        news: is_news.then_some(voice),
    }
}

/// The same user always gets the same profile id.
pub fn profile_id(user_id: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, user_id.as_bytes());
    format!("vp_{}", id.simple())
}
