//! The voices of users: made from what they say, kept, improved, and chosen for a job.
//!
//! A voice is two things from the same audio: the OpenVoice embedding says who speaks, the XTTS
//! conditioning lets the synthesizer speak like it. A voice that cannot be had never fails a job:
//! the default voice speaks then, and the event says so.

pub mod fingerprint;
pub mod profile;
pub mod quality;
pub mod store;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::domain::voice::Conditioning;
use crate::domain::{Deadline, Pcm};
use crate::engine::{EngineError, EngineHandle, error_chain};
use crate::error::Reason;
use crate::stages::decode::{DecodeError, DecodeLimits, decode, resample_sinc};
use crate::stages::embed::{EmbedError, EmbedRequest, OpenVoiceEngine};
use crate::stages::synthesize::{
    ConditioningEngine, ConditioningRequest, SynthesizeError, XttsMetadata,
};

pub use fingerprint::{FingerprintError, FingerprintSimilarity, VoiceFingerprint};
pub use profile::{ProfileError, VoiceProfile};
pub use store::{StoredVoice, VoiceMetadata, VoiceStore, VoiceStoreError};

/// Rate at which both halves of a voice hear their reference audio.
pub const REFERENCE_SAMPLE_RATE_HZ: u32 = 22_050;

/// Quality that events state for the default voice.
const DEFAULT_VOICE_QUALITY: f32 = 0.5;

/// When voices are made and changed.
#[derive(Debug, Clone)]
pub struct VoiceOptions {
    /// Where voices are kept.
    pub directory: PathBuf,
    /// Recording of the voice that speaks when none may or can be cloned.
    pub default_voice: PathBuf,
    /// Age at which a voice is improved with the recording at hand.
    pub max_age: Duration,
    /// Speech of the user that makes a whole voice; until then every recording improves it.
    pub min_duration_ms: u64,
    /// Quality below which a younger voice is improved too.
    pub early_improvement_quality: f32,
    /// Least cosine similarity between a voice and a recording that may improve it.
    pub same_speaker_similarity: f32,
}

impl Default for VoiceOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("data/voices"),
            default_voice: PathBuf::from("models/xtts/default_voice.ogg"),
            max_age: Duration::from_secs(30 * 86_400),
            min_duration_ms: 10_000,
            early_improvement_quality: 0.5,
            same_speaker_similarity: 0.8,
        }
    }
}

/// Why a voice could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// The speaker embedding failed.
    #[error("the speaker could not be embedded")]
    Embed(#[source] EngineError<EmbedError>),
    /// The conditioning failed.
    #[error("the voice could not be conditioned")]
    Condition(#[source] EngineError<SynthesizeError>),
    /// The default voice's recording could not be decoded.
    #[error("the default voice could not be decoded")]
    Decode(#[from] DecodeError),
    /// File access or a codec panicked.
    #[error("the voice's files could not be accessed")]
    Panicked,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] VoiceStoreError),
    /// The default voice's recording could not be read.
    #[error("the default voice could not be read from {path}")]
    DefaultVoice {
        /// The recording.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl VoiceError {
    /// The reason that travels on the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Embed(error) => error.reason(),
            Self::Condition(error) => error.reason(),
            Self::Store(_) | Self::Panicked => Reason::Internal,
            Self::DefaultVoice { .. } | Self::Decode(_) => Reason::ModelUnavailable,
        }
    }
}

/// What a job says about the voice that it wants.
#[derive(Debug)]
pub struct VoiceRequest<'a> {
    /// The job's task id.
    pub task_id: &'a str,
    /// Owner of the voice in the recording.
    pub user_id: &'a str,
    /// False: the default voice speaks and nothing is stored.
    pub may_clone: bool,
    /// The voice that came with the job and is to be used as it is.
    pub supplied: Option<SuppliedVoice>,
    /// The recording at hand.
    pub recording: &'a Pcm,
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
    /// What the synthesizer needs.
    pub conditioning: Conditioning,
    /// False for the default voice.
    pub is_cloned: bool,
    /// Expected likeness in 0..1.
    pub quality: f32,
    /// The stored voice, when it was made or changed for this job: news for the gateway.
    pub news: Option<StoredVoice>,
}

/// Chooses, makes and improves voices.
pub struct Voices {
    options: VoiceOptions,
    store: VoiceStore,
    embed: EngineHandle<OpenVoiceEngine>,
    condition: EngineHandle<ConditioningEngine>,
    /// The synthesizer that speaks in the voices; `None` while none is installed.
    model: Option<XttsMetadata>,
    /// One writer per user at a time.
    writers: std::sync::Mutex<HashMap<String, Weak<Mutex<()>>>>,
    default_voice: Mutex<Option<Conditioning>>,
}

impl Voices {
    /// Uses the two engines that hear a voice; voices that do not fit `model` are not used.
    pub fn new(
        options: VoiceOptions,
        embed: EngineHandle<OpenVoiceEngine>,
        condition: EngineHandle<ConditioningEngine>,
        model: Option<XttsMetadata>,
    ) -> Self {
        Self {
            store: VoiceStore::new(options.directory.clone()),
            options,
            embed,
            condition,
            model,
            writers: std::sync::Mutex::default(),
            default_voice: Mutex::default(),
        }
    }

    /// The folder of a user's voice.
    pub fn folder(&self, user_id: &str) -> PathBuf {
        self.store.folder(user_id)
    }

    /// Chooses the voice for a job, making or improving the user's own where that is due.
    ///
    /// A supplied voice that was made for another synthesizer counts as none.
    ///
    /// # Errors
    /// The voice cannot be had; try [`default_voice`](Self::default_voice).
    pub async fn choose(&self, request: VoiceRequest<'_>) -> Result<ChosenVoice, VoiceError> {
        let supplied = request.supplied.as_ref();
        if let Some(supplied) = supplied.filter(|supplied| self.fits_model(&supplied.profile)) {
            return Ok(ChosenVoice {
                conditioning: supplied.profile.conditioning.clone(),
                is_cloned: true,
                quality: supplied.quality.unwrap_or(DEFAULT_VOICE_QUALITY),
                news: None,
            });
        }
        if request.may_clone {
            self.own_voice(&request).await
        } else {
            self.default_voice(&request.deadline).await
        }
    }

    /// The voice of nobody in particular.
    ///
    /// # Errors
    /// Its recording cannot be read, or the engine that hears it is not there.
    pub async fn default_voice(&self, deadline: &Deadline) -> Result<ChosenVoice, VoiceError> {
        Ok(ChosenVoice {
            conditioning: self.default_conditioning(deadline).await?,
            is_cloned: false,
            quality: DEFAULT_VOICE_QUALITY,
            news: None,
        })
    }

    /// The voice that an earlier attempt at the job made or improved, as news once more.
    ///
    /// # Errors
    /// The store fails.
    pub async fn made_before(&self, user_id: &str) -> Result<Option<ChosenVoice>, VoiceError> {
        let stored = self.load(user_id).await?;
        Ok(stored.map(|voice| chosen(voice, true)))
    }

    async fn own_voice(&self, request: &VoiceRequest<'_>) -> Result<ChosenVoice, VoiceError> {
        let writer = self.writer_of(request.user_id);
        let _writing = writer.lock().await;
        let stored = self.load(request.user_id).await?;
        let Some(stored) = stored else {
            let profile = self.hear(request.recording, &request.deadline).await?;
            let voice = self.created(request, profile);
            self.save(voice.clone()).await?;
            return Ok(chosen(voice, true));
        };
        // An earlier attempt was killed right after it had saved the voice.
        if stored.metadata.changed_for == request.task_id {
            return Ok(chosen(stored, true));
        }
        if !self.is_due(&stored.metadata) {
            return Ok(chosen(stored, false));
        }
        // An old voice still speaks when the recording at hand cannot improve it.
        match self.hear(request.recording, &request.deadline).await {
            Ok(heard) if self.is_same_speaker(&stored.profile, &heard) => {
                let voice = self.improved(request, stored, &heard);
                self.save(voice.clone()).await?;
                Ok(chosen(voice, true))
            }
            Ok(_) => {
                tracing::info!("recording is of another speaker, the voice stays as it is");
                Ok(chosen(stored, false))
            }
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "voice could not be improved");
                Ok(chosen(stored, false))
            }
        }
    }

    fn is_due(&self, metadata: &VoiceMetadata) -> bool {
        let age = OffsetDateTime::now_utc() - metadata.updated_at;
        age >= self.options.max_age
            || metadata.total_duration_ms < self.options.min_duration_ms
            || metadata.quality_score < self.options.early_improvement_quality
    }

    fn is_same_speaker(&self, stored: &VoiceProfile, heard: &VoiceProfile) -> bool {
        let similarity = stored
            .speaker_embedding
            .cosine_similarity(&heard.speaker_embedding);
        similarity >= self.options.same_speaker_similarity
    }

    fn created(&self, request: &VoiceRequest<'_>, profile: VoiceProfile) -> StoredVoice {
        let now = OffsetDateTime::now_utc();
        let duration_ms = request.recording.duration_ms();
        StoredVoice {
            profile,
            metadata: VoiceMetadata {
                user_id: request.user_id.to_owned(),
                profile_id: profile_id(request.user_id),
                created_at: now,
                updated_at: now,
                next_recalibration_at: now + self.options.max_age,
                audio_count: 1,
                total_duration_ms: duration_ms,
                quality_score: quality::of_new_voice(duration_ms, 1),
                version: 1,
                changed_for: request.task_id.to_owned(),
            },
        }
    }

    fn improved(
        &self,
        request: &VoiceRequest<'_>,
        stored: StoredVoice,
        heard: &VoiceProfile,
    ) -> StoredVoice {
        let heard_ms = request.recording.duration_ms();
        let now = OffsetDateTime::now_utc();
        StoredVoice {
            profile: stored.profile.improved_by(heard),
            metadata: VoiceMetadata {
                updated_at: now,
                next_recalibration_at: now + self.options.max_age,
                audio_count: stored.metadata.audio_count.saturating_add(1),
                total_duration_ms: stored.metadata.total_duration_ms.saturating_add(heard_ms),
                quality_score: quality::of_improved_voice(stored.metadata.quality_score),
                version: stored.metadata.version.saturating_add(1),
                changed_for: request.task_id.to_owned(),
                ..stored.metadata
            },
        }
    }

    /// Hears both halves of a voice in one recording.
    async fn hear(&self, recording: &Pcm, deadline: &Deadline) -> Result<VoiceProfile, VoiceError> {
        let reference = reference(recording.clone()).await?;
        let embedding = self.embed.run(EmbedRequest {
            pcm: reference.clone(),
            deadline: deadline.clone(),
        });
        let conditioning = self.condition.run(ConditioningRequest {
            references: vec![reference.clone()],
            deadline: deadline.clone(),
        });
        let (embedding, conditioning) = tokio::join!(embedding, conditioning);
        Ok(VoiceProfile {
            speaker_embedding: embedding.map_err(VoiceError::Embed)?,
            conditioning: conditioning.map_err(VoiceError::Condition)?,
        })
    }

    async fn default_conditioning(&self, deadline: &Deadline) -> Result<Conditioning, VoiceError> {
        let mut cached = self.default_voice.lock().await;
        if let Some(conditioning) = &*cached {
            return Ok(conditioning.clone());
        }
        let path = self.options.default_voice.clone();
        let recording = tokio::fs::read(&path)
            .await
            .map_err(|source| VoiceError::DefaultVoice { path, source })?;
        let decoded = {
            let deadline = deadline.clone();
            blocking(move || decode(&recording, &DecodeLimits::default(), &deadline)).await?
        }?;
        let conditioning = self
            .condition
            .run(ConditioningRequest {
                references: vec![reference(decoded.pcm).await?],
                deadline: deadline.clone(),
            })
            .await
            .map_err(VoiceError::Condition)?;
        *cached = Some(conditioning.clone());
        Ok(conditioning)
    }

    async fn load(&self, user_id: &str) -> Result<Option<StoredVoice>, VoiceError> {
        let (store, user_id) = (self.store.clone(), user_id.to_owned());
        let loaded = blocking(move || store.load(&user_id)).await?;
        match loaded {
            // A damaged voice is made anew rather than kept for ever.
            Err(VoiceStoreError::Profile { .. } | VoiceStoreError::Metadata { .. }) => {
                tracing::warn!("stored voice is damaged, it is made anew");
                Ok(None)
            }
            Ok(Some(voice)) if !self.fits_model(&voice.profile) => {
                tracing::info!("stored voice was made for another model, it is made anew");
                Ok(None)
            }
            other => Ok(other?),
        }
    }

    fn fits_model(&self, profile: &VoiceProfile) -> bool {
        let fits = |model: &XttsMetadata| model.fits(&profile.conditioning);
        self.model.as_ref().is_none_or(fits)
    }

    async fn save(&self, voice: StoredVoice) -> Result<(), VoiceError> {
        let store = self.store.clone();
        Ok(blocking(move || store.save(&voice)).await??)
    }

    fn writer_of(&self, user_id: &str) -> Arc<Mutex<()>> {
        let mut writers = self
            .writers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        writers.retain(|_, writer| writer.strong_count() > 0);
        if let Some(writer) = writers.get(user_id).and_then(Weak::upgrade) {
            return writer;
        }
        let writer = Arc::new(Mutex::new(()));
        writers.insert(user_id.to_owned(), Arc::downgrade(&writer));
        writer
    }
}

fn chosen(voice: StoredVoice, is_news: bool) -> ChosenVoice {
    ChosenVoice {
        conditioning: voice.profile.conditioning.clone(),
        is_cloned: true,
        quality: voice.metadata.quality_score,
        news: is_news.then_some(voice),
    }
}

/// The same user always gets the same profile id.
fn profile_id(user_id: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, user_id.as_bytes());
    format!("vp_{}", id.simple())
}

/// A recording at the rate at which voices are heard, by the filter that the models were trained with.
async fn reference(recording: Pcm) -> Result<Pcm, VoiceError> {
    blocking(move || resample_sinc(&recording, REFERENCE_SAMPLE_RATE_HZ)).await
}

/// Runs file access or a codec off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VoiceError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| VoiceError::Panicked)
}
