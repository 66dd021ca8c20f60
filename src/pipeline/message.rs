//! A voice message as every request that brings one sees it: what is heard, in whose voice it is
//! spoken, and every language of it at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::{self, JoinSet};

use super::job::Job;
use super::recording::{self, Hints};
use super::written::WrittenTexts;
use super::{JobFailure, speech, voice};
use crate::domain::{Language, Recording, Transcript};
use crate::error::{ErrorCode, Reason, Stage};
use crate::protocol::{
    AudioSource, ExistingVoice, MobileTranscription, ModelType, TargetLanguages, TranslatedAudio,
    VoiceCloneHints,
};
use crate::voices::ChosenVoice;

/// A voice message and what is wanted of it.
pub(super) struct VoiceMessage {
    /// Where the audio may be, in the order to try; empty once it was heard.
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
    /// Who asks.
    pub(super) requested_by: String,
    /// The voice that came with the request.
    pub(super) existing_voice: Option<ExistingVoice>,
    /// True: that voice is to be used as it is.
    pub(super) use_original_voice: bool,
    /// Wishes about sampling.
    pub(super) voice_clone_hints: VoiceCloneHints,
    /// Name of the speech files, before language and extension; safe in a path. Without one nothing is
    /// written.
    pub(super) file_stem: Option<String>,
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
    /// Languages that are only written.
    pub(super) written: WrittenTexts,
    /// Why others have neither.
    pub(super) failures: Vec<JobFailure>,
}

/// The voice of a job, or why it cannot be had.
pub(super) type Voice = Result<ChosenVoice, Arc<JobFailure>>;

impl VoiceMessage {
    /// The recording, and what is said in it.
    pub(super) async fn hear(&mut self, job: &Job) -> Result<(Recording, Transcript), JobFailure> {
        let recording = recording::decoded(job, std::mem::take(&mut self.audio)).await?;
        let hints = Hints {
            mobile: self.mobile_transcription.as_ref(),
            user_language: self.user_language,
            claimed_duration_ms: self.claimed_duration_ms,
            owner_id: self.voice_owner_id.as_deref(),
        };
        let transcript = recording::transcript(job, &recording, hints).await?;
        Ok((recording, transcript))
    }
}

impl Targets {
    /// What is to be spoken of the languages `wanted` for a transcript.
    pub(super) fn of(job: &Job, wanted: Option<&TargetLanguages>, transcript: &Transcript) -> Self {
        let (wanted, rejected) = match wanted {
            Some(targets) if !transcript.is_blank() => (
                targets.distinct_except(transcript.language),
                targets.rejected.len(),
            ),
            _ => (Vec::new(), 0),
        };
        Self {
            wanted: wanted.len() + rejected,
            spoken: Self::with_voice(job, wanted),
        }
    }

    /// The languages that can be spoken, as many as one job may speak.
    pub(super) fn with_voice(job: &Job, mut languages: Vec<Language>) -> Vec<Language> {
        let options = &job.pipeline.options;
        let spoken = &job.pipeline.spoken;
        languages.retain(|language| {
            let reader = spoken.reader(*language, options.unspoken_language);
            reader.is_some()
        });
        languages.truncate(options.max_spoken_languages);
        languages
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
    ) -> Result<Option<&TranslatedAudio>, JobFailure> {
        match ended {
            Ok(audio) => {
                self.spoken.push(audio);
                Ok(self.spoken.last())
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
    /// Speaks in the voice that is `given`, else in the one that the message and its recording give.
    pub(super) fn start(
        job: &Arc<Job>,
        message: &Arc<VoiceMessage>,
        transcript: &Arc<Transcript>,
        recording: &Recording,
        languages: &[Language],
        given: Option<ChosenVoice>,
    ) -> Self {
        let voice: Arc<OnceCell<Voice>> = Arc::new(OnceCell::new_with(given.map(Ok)));
        let chosen = {
            let (job, message) = (Arc::clone(job), Arc::clone(message));
            let (recording, voice) = (recording.clone(), Arc::clone(&voice));
            async move || -> Voice {
                let chosen = voice.get_or_init(|| voice::choose(&job, &message, &recording));
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
            let sha256 = recording.sha256.clone();
            let task = running.spawn(async move {
                speech::speak(&job, &message, &sha256, &transcript, language, chosen).await
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
