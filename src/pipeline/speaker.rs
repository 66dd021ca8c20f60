//! Who says a text: XTTS in the voice that was chosen, or the language's base voice.

use std::sync::Arc;

use super::JobFailure;
use super::cache::EngineFingerprint;
use super::job::Job;
use super::message::Voice;
use super::spoken::Reader;
use crate::domain::Language;
use crate::domain::voice::SpeakerEmbedding;
use crate::engine::EngineHandle;
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::VoiceCloneHints;
use crate::stages::Engine;
use crate::stages::synthesize::base::BaseSpeechRequest;
use crate::stages::synthesize::{SamplingHints, Speech, SpeechRequest};
use crate::voices::{ChosenVoice, DEFAULT_VOICE_QUALITY};

/// Name of XTTS in events and documents; base voices have names of their own.
const XTTS: &str = "xtts";

/// The speaker of one language of a job.
pub(super) enum Speaker {
    /// XTTS.
    Xtts {
        /// The language by whose rules it reads.
        language: Language,
        /// The voice that it speaks in.
        voice: Box<ChosenVoice>,
    },
    /// A base voice.
    Base {
        /// The language by whose rules it reads.
        language: Language,
        /// The voice that it is given; `None`: it speaks as it is.
        target: Option<Target>,
    },
}

/// A voice that a base voice is given.
pub(super) struct Target {
    key: String,
    identity: SpeakerEmbedding,
}

/// A text that was said.
pub(super) struct Utterance {
    pub(super) speech: Speech,
    /// Who has said it, such as `xtts` or `espeak-ng:fr-fr`.
    pub(super) tts_model: String,
    /// For a base voice that was given another voice: how alike they are, in 0..1.
    pub(super) similarity: Option<f32>,
}

impl Speaker {
    /// The speaker of `language` in this voice, which was to be a clone or not. A base voice speaks without it
    /// too.
    ///
    /// # Errors
    /// XTTS is to speak and there is no voice, or the disk is full: then the job waits.
    pub(super) fn of(
        job: &Job,
        wants_clone: bool,
        language: Language,
        voice: Voice,
    ) -> Result<Self, JobFailure> {
        let spoken = &job.pipeline.spoken;
        let otherwise = job.pipeline.options.unspoken_language;
        let voice = match voice {
            Ok(voice) => Ok(voice),
            Err(failure) => match failure.same_storage_fault() {
                Some(failure) => return Err(failure),
                None => Err(without_voice(wants_clone, &failure)),
            },
        };
        match spoken.reader(language, otherwise) {
            Some(Reader::Base(language)) => {
                let voice = voice
                    .ok()
                    .filter(|voice| spoken.converts && voice.is_cloned);
                let target = voice.and_then(|voice| {
                    Some(Target {
                        key: voice.key,
                        identity: voice.identity?,
                    })
                });
                Ok(Self::Base { language, target })
            }
            // Nobody speaks it: XTTS says so.
            None => voice.map(|voice| Self::xtts(language, voice)),
            Some(Reader::Xtts(language)) => voice.map(|voice| Self::xtts(language, voice)),
        }
    }

    fn xtts(language: Language, voice: ChosenVoice) -> Self {
        Self::Xtts {
            language,
            voice: Box::new(voice),
        }
    }

    /// Names the very voice that is heard, for cache keys.
    pub(super) fn voice_key(&self) -> &str {
        match self {
            Self::Xtts { voice, .. } => &voice.key,
            Self::Base { target, .. } => target.as_ref().map_or("base", |target| &target.key),
        }
    }

    /// Tells the engine from others, for cache keys.
    pub(super) fn engine<'a>(&self, job: &'a Job) -> &'a EngineFingerprint {
        let cache = &job.pipeline.options.cache;
        match self {
            Self::Xtts { .. } => &cache.synthesizer,
            Self::Base { .. } => &cache.base_voice,
        }
    }

    /// Whether what was said with this similarity is in the sender's voice, and how good that is.
    pub(super) fn likeness(&self, similarity: Option<f32>) -> (bool, f32) {
        match self {
            Self::Xtts { voice, .. } => (voice.is_cloned, voice.quality),
            Self::Base { .. } => (
                similarity.is_some(),
                similarity.unwrap_or(DEFAULT_VOICE_QUALITY),
            ),
        }
    }

    /// False for what was said otherwise than it was meant to be: it must not be given out again.
    pub(super) fn may_keep(&self, similarity: Option<f32>) -> bool {
        match self {
            Self::Xtts { .. } => true,
            Self::Base { target, .. } => target.is_some() == similarity.is_some(),
        }
    }

    /// Says a text.
    ///
    /// # Errors
    /// As the engine, or it is not there.
    pub(super) async fn say(
        &self,
        job: &Job,
        hints: VoiceCloneHints,
        text: &str,
        seed: [u8; 32],
    ) -> Result<Utterance, JobFailure> {
        let (stage, code) = (Stage::Synthesize, ErrorCode::TtsFailed);
        let deadline = job
            .deadline
            .with_budget(job.pipeline.options.synthesize_budget);
        let engines = &job.pipeline.engines;
        match self {
            Self::Xtts { language, voice } => {
                let engine = present(engines.synthesize.as_ref())?;
                let conditioning = Arc::new(voice.conditioning.clone());
                let speak = || SpeechRequest {
                    text: text.into(),
                    language: *language,
                    conditioning: Arc::clone(&conditioning),
                    seed,
                    sampling: SamplingHints {
                        temperature: hints.temperature,
                        top_p: hints.top_p,
                        min_p: hints.min_p,
                        repetition_penalty: hints.repetition_penalty,
                        ..SamplingHints::default()
                    },
                    deadline: deadline.clone(),
                };
                Ok(Utterance {
                    speech: job.engine(stage, code, engine, speak).await?,
                    tts_model: XTTS.to_owned(),
                    similarity: None,
                })
            }
            Self::Base { language, target } => {
                let engine = present(engines.base_voice.as_ref())?;
                let speak = || BaseSpeechRequest {
                    text: text.into(),
                    language: *language,
                    target: target.as_ref().map(|target| target.identity.clone()),
                    seed,
                    deadline: deadline.clone(),
                };
                let spoken = job.engine(stage, code, engine, speak).await?;
                Ok(Utterance {
                    speech: spoken.speech,
                    tts_model: spoken.voice,
                    similarity: spoken.similarity,
                })
            }
        }
    }
}

/// The failure of a language that is to be spoken in a voice that cannot be had.
fn without_voice(wants_clone: bool, failure: &JobFailure) -> JobFailure {
    let failure = failure.on_the_wire();
    let code = if wants_clone {
        failure.code
    } else {
        ErrorCode::TtsFailed
    };
    JobFailure::new(failure.stage, code, failure.reason, failure.message)
}

/// An engine that is there: what it can speak was read from its own models.
fn present<E: Engine>(engine: Option<&EngineHandle<E>>) -> Result<&EngineHandle<E>, JobFailure> {
    engine.ok_or_else(|| {
        JobFailure::new(
            Stage::Synthesize,
            ErrorCode::PipelineUnavailable,
            Reason::ModelUnavailable,
            "no synthesizer speaks the language",
        )
    })
}
