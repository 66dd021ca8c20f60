//! A voice message as every request that brings one sees it: what is heard, in whose voice it is
//! spoken, and every language of it at once.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::{self, JoinSet};

use super::job::Job;
use super::recording::{self, Hints};
use super::speech;
use super::{JobFailure, UnspokenLanguage};
use crate::domain::{Language, Pcm, Transcript};
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::{
    AudioSource, ExistingVoice, MobileTranscription, ModelType, TargetLanguages, TranslatedAudio,
    VoiceCloneHints,
};
use crate::voices::{ChosenVoice, SuppliedVoice, VoiceError, VoiceProfile, VoiceRequest};

/// A voice message and what is wanted of it.
pub(super) struct VoiceMessage {
    /// Where the audio may be, in the order to try.
    pub(super) audio: Vec<AudioSource>,
    /// What the sender's device heard.
    pub(super) mobile_transcription: Option<MobileTranscription>,
    /// The language that is expected: a hint.
    pub(super) user_language: Option<Language>,
    /// The length that the sender claims.
    pub(super) claimed_duration_ms: Option<u64>,
    /// The quality asked for.
    pub(super) model_type: ModelType,
    /// Owner of the voice; without one the default voice speaks.
    pub(super) voice_owner_id: Option<String>,
    /// False: the default voice speaks, and nothing is learnt.
    pub(super) generate_voice_clone: bool,
    /// A voice that came with the request and is to be used as it is.
    pub(super) original_voice: Option<ExistingVoice>,
    /// Wishes about sampling.
    pub(super) voice_clone_hints: VoiceCloneHints,
    /// Name of the speech files, before language and extension; safe in a path.
    pub(super) file_stem: String,
    /// What sampling seeds derive from, beside the language.
    pub(super) seed_key: String,
}

/// The languages of a job.
pub(super) struct Targets {
    /// Languages that were asked for, the source left out; with what is no language at all.
    pub(super) wanted: usize,
    /// Those of them that are to be spoken, in the order of the request.
    pub(super) spoken: Vec<Language>,
}

/// What became of the languages.
#[derive(Default)]
pub(super) struct Outcome {
    /// Speech, in the order of the request once [`sort`](Self::sort) was called.
    pub(super) spoken: Vec<TranslatedAudio>,
    /// Why others have none.
    pub(super) failures: Vec<JobFailure>,
}

/// The voice of a job, or why it cannot be had.
pub(super) type Voice = Result<ChosenVoice, Arc<JobFailure>>;

impl VoiceMessage {
    /// The recording, and what is said in it.
    pub(super) async fn hear(&self, job: &Job) -> Result<(Pcm, Transcript), JobFailure> {
        let pcm = recording::decoded(job, &self.audio).await?;
        let hints = Hints {
            mobile: self.mobile_transcription.as_ref(),
            user_language: self.user_language,
            claimed_duration_ms: self.claimed_duration_ms,
        };
        let transcript = recording::transcript(job, &pcm, hints).await?;
        Ok((pcm, transcript))
    }
}

impl Targets {
    /// What is to be spoken of the languages `wanted` for a transcript.
    pub(super) fn of(job: &Job, wanted: Option<&TargetLanguages>, transcript: &Transcript) -> Self {
        let options = &job.pipeline.options;
        let (wanted, rejected) = match wanted {
            Some(targets) if !transcript.is_blank() => (
                targets.distinct_except(transcript.language),
                targets.rejected.len(),
            ),
            _ => (Vec::new(), 0),
        };
        let has_voice = |language: &Language| match &job.pipeline.spoken {
            Some(spoken) => spoken.speaks(*language),
            // No synthesizer: let every language fail with the reason.
            None => true,
        };
        let mut spoken: Vec<Language> = wanted
            .iter()
            .copied()
            .filter(|language| {
                has_voice(language) || options.unspoken_language != UnspokenLanguage::Skip
            })
            .collect();
        spoken.truncate(options.max_spoken_languages);
        Self {
            wanted: wanted.len() + rejected,
            spoken,
        }
    }
}

impl Outcome {
    /// Notes what became of a language; gives the speech, if there is any.
    ///
    /// # Errors
    /// The ledger has failed: then the job stops.
    pub(super) fn note(
        &mut self,
        job: &Job,
        ended: Result<TranslatedAudio, JobFailure>,
    ) -> Result<Option<TranslatedAudio>, JobFailure> {
        match ended {
            Ok(audio) => {
                self.spoken.push(audio.clone());
                Ok(Some(audio))
            }
            Err(JobFailure::Ledger(error)) => Err(error.into()),
            Err(failure) => {
                failure.record(job.kind());
                self.failures.push(failure);
                Ok(None)
            }
        }
    }

    /// Puts the speech into the order in which it was asked for.
    pub(super) fn sort(&mut self, languages: &[Language]) {
        self.spoken.sort_by_key(|audio| {
            languages
                .iter()
                .position(|language| *language == audio.target_language)
        });
    }

    /// The failure that stands for all when nothing can be heard.
    pub(super) fn into_failure(self) -> JobFailure {
        self.failures.into_iter().next().unwrap_or_else(|| {
            JobFailure::new(
                Stage::Synthesize,
                ErrorCode::TtsFailed,
                Reason::UnsupportedLanguage,
                "none of the target languages has a voice",
            )
        })
    }
}

/// Languages that are being spoken, all at once; the voice is made while the first translations are.
pub(super) struct Speaking {
    running: JoinSet<Result<TranslatedAudio, JobFailure>>,
    languages: HashMap<task::Id, Language>,
    voice: Arc<OnceCell<Voice>>,
    /// Makes the voice before a language asks for it; dropped with this.
    _voice_task: JoinSet<()>,
}

impl Speaking {
    pub(super) fn start(
        job: &Arc<Job>,
        message: &Arc<VoiceMessage>,
        transcript: &Arc<Transcript>,
        pcm: &Pcm,
        languages: &[Language],
    ) -> Self {
        let voice = Arc::new(OnceCell::new());
        let chosen = {
            let (job, message, pcm) = (Arc::clone(job), Arc::clone(message), pcm.clone());
            let voice = Arc::clone(&voice);
            async move || -> Voice {
                let chosen = voice.get_or_init(|| choose_voice(&job, &message, &pcm));
                chosen.await.clone()
            }
        };
        let mut voice_task = JoinSet::new();
        if !languages.is_empty() {
            let chosen = chosen.clone();
            voice_task.spawn(async move { drop(chosen().await) });
        }
        let mut running = JoinSet::new();
        let mut ids = HashMap::new();
        for language in languages.iter().copied() {
            let (job, message) = (Arc::clone(job), Arc::clone(message));
            let (transcript, chosen) = (Arc::clone(transcript), chosen.clone());
            let task = running.spawn(async move {
                speech::speak(&job, &message, &transcript, language, chosen).await
            });
            ids.insert(task.id(), language);
        }
        Self {
            running,
            languages: ids,
            voice,
            _voice_task: voice_task,
        }
    }

    /// The next language that is done, with its speech or why it has none; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<(Language, Result<TranslatedAudio, JobFailure>)> {
        loop {
            let (id, ended) = match self.running.join_next_with_id().await? {
                Ok(ended) => ended,
                Err(error) => {
                    let panicked = JobFailure::new(
                        Stage::Synthesize,
                        ErrorCode::TtsFailed,
                        Reason::Internal,
                        "the language's task panicked",
                    );
                    (error.id(), Err(panicked))
                }
            };
            if let Some(language) = self.languages.remove(&id) {
                return Some((language, ended));
            }
        }
    }

    /// The voice that has spoken, once a language is done.
    pub(super) fn voice(&self) -> Option<&ChosenVoice> {
        self.voice.get()?.as_ref().ok()
    }
}

async fn choose_voice(job: &Job, message: &VoiceMessage, pcm: &Pcm) -> Voice {
    let voices = &job.pipeline.voices;
    let user_id = message.voice_owner_id.as_deref().unwrap_or_default();
    let made_before = job.restored::<MadeVoice>(Stage::Embed, "").await;
    if made_before.is_some()
        && let Ok(Some(voice)) = voices.made_before(user_id).await
    {
        return Ok(voice);
    }
    let code = ErrorCode::VoiceCloneFailed;
    let chosen = job.stage(Stage::Embed, None, code, async {
        let voice_request = VoiceRequest {
            task_id: &job.record.task_id,
            user_id,
            may_clone: message.generate_voice_clone && message.voice_owner_id.is_some(),
            supplied: message.original_voice.as_ref().and_then(supplied_voice),
            recording: pcm,
            deadline: job.deadline.clone(),
        };
        let chosen = voices.choose(voice_request).await;
        let chosen = chosen.map_err(|error| voice_failure(&error))?;
        if let Some(voice) = &chosen.news {
            let made = MadeVoice {
                version: voice.metadata.version,
            };
            job.checkpoint(Stage::Embed, "", &made, None).await?;
        }
        Ok(chosen)
    });
    match chosen.await {
        Err(failure @ JobFailure::Stage { .. }) => {
            failure.record(job.kind());
            let default = voices.default_voice(&job.deadline).await;
            default.map_err(|error| Arc::new(voice_failure(&error)))
        }
        chosen => chosen.map_err(Arc::new),
    }
}

pub(super) fn voice_failure(error: &VoiceError) -> JobFailure {
    let message = crate::engine::error_chain(error);
    JobFailure::new(
        Stage::Embed,
        ErrorCode::VoiceCloneFailed,
        error.reason(),
        message,
    )
}

/// What is kept of a voice that the job made or improved: once is enough.
#[derive(Serialize, Deserialize)]
struct MadeVoice {
    version: u32,
}

fn supplied_voice(voice: &ExistingVoice) -> Option<SuppliedVoice> {
    match VoiceProfile::from_bytes(voice.embedding.as_ref()?) {
        Ok(profile) => Some(SuppliedVoice {
            profile,
            quality: voice.quality_score,
        }),
        Err(error) => {
            tracing::info!(%error, "the supplied voice is not used");
            None
        }
    }
}
