//! The voices of users: made from what they say, kept, improved, and chosen for a job.
//!
//! A voice is two things from the same audio: the OpenVoice embedding says who speaks, the XTTS
//! conditioning lets the synthesizer speak like it. A voice that cannot be had never fails a job:
//! the default voice speaks then, and the event says so. Every change and every use of a voice is
//! first written to the [clone log](clone_log).
//!
//! ```text
//! choose.rs     the voice for a job: supplied, the user's own (made or improved), or nobody's
//! register.rs   made or improved because their owner wants it
//! fingerprint.rs recognised later, by what the gateway keeps of them
//! upkeep.rs     looked at, made anew, deleted
//! locks.rs      one lock for each user
//! hear.rs       recordings to a voice
//! profile.rs    a voice as bytes, and means of voices
//! store.rs      voices on disk
//! foreign.rs    identities that other writers left
//! clone_log.rs  who had whose voice made
//! quality.rs    how good a voice is expected to be
//! ```

mod choose;
pub mod clone_log;
pub mod fingerprint;
mod foreign;
mod hear;
mod locks;
pub mod profile;
pub mod quality;
mod register;
pub mod store;
#[cfg(test)]
mod tests;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Mutex, RwLock};

use crate::domain::Deadline;
use crate::domain::digest::short_digest;
use crate::domain::voice::{Conditioning, SpeakerEmbedding};
use crate::engine::{EngineError, EngineHandle};
use crate::error::Reason;
use crate::stages::decode::{DecodeError, DecodeLimits, decode};
use crate::stages::embed::{EmbedError, OpenVoiceEngine};
use crate::stages::synthesize::{
    ConditioningEngine, ConditioningRequest, SynthesizeError, XttsMetadata,
};
use crate::storage::StorageFault;

pub use choose::{ChosenVoice, SuppliedVoice, VoiceRequest, profile_id};
use clone_log::{CloneAction, CloneLog, CloneRecord};
pub use fingerprint::{FingerprintError, FingerprintSimilarity, VoiceFingerprint};
use locks::UserLocks;
pub use profile::{ProfileError, VoicePrint, VoiceProfile};
pub use register::Registration;
pub use store::{StoredVoice, VoiceMetadata, VoiceNotes, VoiceStore, VoiceStoreError};

/// Rate at which both halves of a voice hear their reference audio.
pub const REFERENCE_SAMPLE_RATE_HZ: u32 = 22_050;

/// Quality that events state for voices that are nobody's.
pub const DEFAULT_VOICE_QUALITY: f32 = 0.5;

/// When voices are made and changed.
#[derive(Debug, Clone)]
pub struct VoiceOptions {
    /// Where voices are kept.
    pub directory: PathBuf,
    /// Where it is written who had whose voice made.
    pub clone_log: PathBuf,
    /// Recording of the voice that speaks when none may or can be cloned.
    pub default_voice: PathBuf,
    /// Age at which a voice is improved with the recording at hand, and made anew.
    pub max_age: Duration,
    /// A recording that is shorter makes a voice together with earlier ones only.
    pub min_duration_ms: u64,
    /// Quality below which a younger voice is improved too.
    pub early_improvement_quality: f32,
    /// Length from which a good recording improves a younger voice that was made from less.
    pub first_rate_duration_ms: u64,
    /// Least cosine similarity between a voice and a recording that may improve it.
    pub same_speaker_similarity: f32,
}

impl Default for VoiceOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("data/voices"),
            clone_log: PathBuf::from("data/clone_log.jsonl"),
            default_voice: PathBuf::from("models/xtts/default_voice.ogg"),
            max_age: Duration::from_secs(30 * 86_400),
            min_duration_ms: 10_000,
            early_improvement_quality: 0.5,
            first_rate_duration_ms: 20_000,
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
    /// No recording is of the voice's speaker.
    #[error("no recording is of the voice's speaker")]
    OtherSpeaker,
    /// Nothing is kept of the user's voice.
    #[error("the user has no voice")]
    NoVoice,
    /// The default voice's recording could not be decoded.
    #[error("the default voice could not be decoded")]
    Decode(#[from] DecodeError),
    /// File access or a codec panicked.
    #[error("the voice's files could not be accessed")]
    Panicked,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] VoiceStoreError),
    /// What was to be done could not be logged, so it was not done.
    #[error("the clone log {path} could not be written")]
    CloneLog {
        /// The log.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
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
    /// The fault of the disk that it tells of, if it is one, and where.
    pub fn storage_fault(&self) -> Option<(StorageFault, &Path)> {
        match self {
            Self::Store(VoiceStoreError::Io { path, source }) | Self::CloneLog { path, source } => {
                Some((StorageFault::of(source)?, path))
            }
            _ => None,
        }
    }

    /// The reason that travels on the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Embed(error) => error.reason(),
            Self::Condition(error) => error.reason(),
            // Not the recording is wrong but whose it is said to be.
            Self::OtherSpeaker => Reason::BadOutput,
            Self::NoVoice => Reason::NotFound,
            Self::Store(_) | Self::Panicked | Self::CloneLog { .. } => Reason::Internal,
            Self::DefaultVoice { .. } | Self::Decode(_) => Reason::ModelUnavailable,
        }
    }
}

/// On whose behalf something is done with a voice; the clone log tells it.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// Who asked: a user, or what of the daemon.
    pub requested_by: &'a str,
    /// The job.
    pub task_id: &'a str,
}

/// Chooses, makes, improves and deletes voices.
pub struct Voices {
    options: VoiceOptions,
    store: VoiceStore,
    clone_log: Arc<CloneLog>,
    embed: EngineHandle<OpenVoiceEngine>,
    /// `None` where no XTTS is to speak: then voices are identities only.
    condition: Option<EngineHandle<ConditioningEngine>>,
    /// The synthesizer that speaks in the voices; `None` while none is installed.
    model: Option<XttsMetadata>,
    /// One change of a user's voice at a time.
    changes: UserLocks<Mutex<()>>,
    /// Who keeps something of a user shares it, a deletion has it alone. Taken before `changes`, where
    /// both are.
    records: UserLocks<RwLock<()>>,
    default_voice: Mutex<Option<ChosenVoice>>,
}

impl Voices {
    /// Uses the engines that hear a voice, `condition` only where XTTS is to speak in it; voices that do
    /// not fit `model` are not used.
    pub fn new(
        options: VoiceOptions,
        embed: EngineHandle<OpenVoiceEngine>,
        condition: Option<EngineHandle<ConditioningEngine>>,
        model: Option<XttsMetadata>,
    ) -> Self {
        Self {
            store: VoiceStore::new(options.directory.clone()),
            clone_log: Arc::new(CloneLog::new(options.clone_log.clone())),
            options,
            embed,
            condition,
            model,
            changes: UserLocks::default(),
            records: UserLocks::default(),
            default_voice: Mutex::default(),
        }
    }

    /// True when the engines that hear a voice take requests.
    pub fn is_ready(&self) -> bool {
        let condition = self.condition.as_ref();
        self.embed.is_ready() && condition.is_none_or(EngineHandle::is_ready)
    }

    /// The folder of a user's voice.
    pub fn folder(&self, user_id: &str) -> PathBuf {
        self.store.folder(user_id)
    }

    /// The file of a user's voice.
    pub fn voice_file(&self, user_id: &str) -> PathBuf {
        self.store.voice_file(user_id)
    }

    /// The voice of nobody in particular.
    ///
    /// # Errors
    /// Its recording cannot be read, or the engine that hears it is not there.
    pub async fn default_voice(&self, deadline: &Deadline) -> Result<ChosenVoice, VoiceError> {
        let mut cached = self.default_voice.lock().await;
        if let Some(voice) = &*cached {
            return Ok(voice.clone());
        }
        let Some(condition) = &self.condition else {
            return Ok(ChosenVoice {
                key: "default".to_owned(),
                conditioning: Conditioning::none(),
                identity: None,
                is_cloned: false,
                quality: DEFAULT_VOICE_QUALITY,
                news: None,
            });
        };
        let path = self.options.default_voice.clone();
        let recording = tokio::fs::read(&path)
            .await
            .map_err(|source| VoiceError::DefaultVoice { path, source })?;
        let key = format!("default:{}", short_digest(&recording));
        let decoded = {
            let deadline = deadline.clone();
            blocking(move || decode(&recording, &DecodeLimits::default(), &deadline)).await?
        }?;
        let conditioning = condition
            .run(ConditioningRequest {
                references: vec![hear::reference(decoded.pcm).await?],
                deadline: deadline.clone(),
            })
            .await
            .map_err(VoiceError::Condition)?;
        let voice = ChosenVoice {
            key,
            conditioning,
            identity: None,
            is_cloned: false,
            quality: DEFAULT_VOICE_QUALITY,
            news: None,
        };
        *cached = Some(voice.clone());
        Ok(voice)
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

    async fn foreign_identity(
        &self,
        user_id: &str,
    ) -> Result<Option<SpeakerEmbedding>, VoiceError> {
        let (store, user_id) = (self.store.clone(), user_id.to_owned());
        blocking(move || store.foreign_identity(&user_id)).await
    }

    /// Stores a voice that was made or changed, once that is in the clone log.
    async fn change(
        &self,
        action: CloneAction,
        voice: &StoredVoice,
        occasion: &Occasion<'_>,
        reference_sha256: Vec<String>,
    ) -> Result<(), VoiceError> {
        let version = Some(voice.metadata.version);
        let user_id = &voice.metadata.user_id;
        self.log(action, user_id, occasion, version, reference_sha256)
            .await?;
        let (store, voice) = (self.store.clone(), voice.clone());
        Ok(blocking(move || store.save(&voice)).await??)
    }

    async fn log(
        &self,
        action: CloneAction,
        user_id: &str,
        occasion: &Occasion<'_>,
        version: Option<u32>,
        reference_sha256: Vec<String>,
    ) -> Result<(), VoiceError> {
        let record = CloneRecord {
            at: OffsetDateTime::now_utc(),
            action,
            user_id: user_id.to_owned(),
            requested_by: occasion.requested_by.to_owned(),
            task_id: occasion.task_id.to_owned(),
            version,
            reference_sha256,
        };
        let log = Arc::clone(&self.clone_log);
        let appended = blocking(move || log.append(&record)).await?;
        appended.map_err(|source| VoiceError::CloneLog {
            path: self.options.clone_log.clone(),
            source,
        })
    }
}

/// Runs file access or a codec off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VoiceError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| VoiceError::Panicked)
}
