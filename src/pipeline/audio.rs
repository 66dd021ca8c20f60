//! `audio_process`: a voice message, transcribed, translated and spoken in its sender's voice.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::job::Job;
use super::recording::{self, Hints};
use super::speech::{self, Spoken, VoiceCell};
use super::{JobFailure, UnspokenLanguage, conversation, documents};
use crate::domain::{Language, Pcm, Transcript};
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::Finish;
use crate::protocol::{
    AudioFailure, AudioProcessCompleted, AudioProcessRequest, AudioTranslation, Event,
    ExistingVoice, NewVoiceProfile, Request, Timestamp, TranscriptionResult, TranslatedAudio,
};
use crate::voices::{ChosenVoice, SuppliedVoice, VoiceError, VoiceProfile, VoiceRequest};

pub(super) async fn run(
    job: &Arc<Job>,
    mut request: AudioProcessRequest,
) -> Result<Finish, JobFailure> {
    let pcm = recording::decoded(job, &request.audio).await?;
    let hints = Hints {
        mobile: request.mobile_transcription.as_ref(),
        user_language: request.user_language,
        claimed_duration_ms: request.claimed_duration_ms,
    };
    let transcript = recording::transcript(job, &pcm, hints).await?;
    if !transcript.is_blank() {
        job.emit("transcription_ready", ready(job, &request, &transcript))
            .await?;
        if request.target_languages.is_none() {
            let languages = conversation::target_languages(job, &request).await?;
            request.target_languages = Some(languages);
        }
    }
    let request = Arc::new(request);
    let transcript = Arc::new(transcript);
    let targets = targets(job, &request, &transcript);
    let voice = VoiceCell::new(OnceCell::new());
    let mut outcome = if targets.wanted == 0 {
        Outcome::default()
    } else {
        // The voice is made while the first translations are.
        let (_, outcome) = tokio::join!(
            voice.get_or_init(|| choose_voice(job, &request, &pcm)),
            speak_all(job, &request, &transcript, &targets.spoken, &pcm, &voice),
        );
        outcome?
    };
    job.check_retry(&mut outcome.failures)?;
    finish(job, &request, &transcript, targets, outcome, voice.get()).await
}

fn ready(job: &Job, request: &AudioProcessRequest, transcript: &Transcript) -> Event {
    Event::TranscriptionReady(Box::new(TranscriptionResult {
        job: request.job(&job.record.task_id),
        transcription: transcript.clone(),
        processing_time_ms: job.processing_time_ms(),
        timestamp: Timestamp::now(),
    }))
}

/// The languages of a job.
struct Targets {
    /// Languages that were asked for, the source left out; with what is no language at all.
    wanted: usize,
    /// Those of them that are to be spoken, in the order of the request.
    spoken: Vec<Language>,
}

fn targets(job: &Job, request: &AudioProcessRequest, transcript: &Transcript) -> Targets {
    let options = &job.pipeline.options;
    let (wanted, rejected) = match &request.target_languages {
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
    Targets {
        wanted: wanted.len() + rejected,
        spoken,
    }
}

async fn choose_voice(
    job: &Job,
    request: &AudioProcessRequest,
    pcm: &Pcm,
) -> Result<ChosenVoice, Arc<JobFailure>> {
    let supplied = request
        .existing_voice
        .as_ref()
        .filter(|_| request.use_original_voice)
        .and_then(supplied_voice);
    let voices = &job.pipeline.voices;
    let made_before = job.restored::<MadeVoice>(Stage::Embed, "").await;
    if made_before.is_some()
        && let Ok(Some(voice)) = voices.made_before(request.voice_owner_id()).await
    {
        return Ok(voice);
    }
    let code = ErrorCode::VoiceCloneFailed;
    let chosen = job.stage(Stage::Embed, None, code, async {
        let voice_request = VoiceRequest {
            task_id: &job.record.task_id,
            user_id: request.voice_owner_id(),
            may_clone: request.generate_voice_clone,
            supplied,
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

fn voice_failure(error: &VoiceError) -> JobFailure {
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

/// What became of the languages.
#[derive(Default)]
struct Outcome {
    spoken: Vec<TranslatedAudio>,
    failures: Vec<JobFailure>,
}

/// Speaks every language at once; each is published as soon as it is done.
async fn speak_all(
    job: &Arc<Job>,
    request: &Arc<AudioProcessRequest>,
    transcript: &Arc<Transcript>,
    languages: &[Language],
    pcm: &Pcm,
    voice: &VoiceCell,
) -> Result<Outcome, JobFailure> {
    let seed_key = Request::AudioProcess(Box::new((**request).clone())).seed_key();
    // Of the events that are still to be stored the last one says that it is the last.
    let mut missing = languages
        .iter()
        .filter(|language| !job.has_stored(&event_key(**language)))
        .count();
    let mut running = JoinSet::new();
    for language in languages.iter().copied() {
        let (job, request, transcript) =
            (Arc::clone(job), Arc::clone(request), Arc::clone(transcript));
        let (voice, pcm, seed_key) = (Arc::clone(voice), pcm.clone(), seed_key.clone());
        running.spawn(async move {
            let voice = async || {
                let chosen = voice.get_or_init(|| choose_voice(&job, &request, &pcm));
                chosen.await.clone()
            };
            speech::speak(&job, &request, &transcript, language, &seed_key, voice).await
        });
    }
    let mut outcome = Outcome::default();
    while let Some(finished) = running.join_next().await {
        let spoken = finished.unwrap_or_else(|_| {
            Err(JobFailure::new(
                Stage::Synthesize,
                ErrorCode::TtsFailed,
                Reason::Internal,
                "the language's task panicked",
            ))
        });
        match spoken {
            Ok(Spoken { audio }) if job.has_stored(&event_key(audio.target_language)) => {
                outcome.spoken.push(audio);
            }
            Ok(Spoken { audio }) => {
                missing = missing.saturating_sub(1);
                let translation = Box::new(AudioTranslation::new(
                    request.job(&job.record.task_id),
                    audio.clone(),
                    Timestamp::now(),
                ));
                let event = if languages.len() == 1 {
                    Event::AudioTranslationReady(translation)
                } else if missing == 0 {
                    Event::AudioTranslationsCompleted(translation)
                } else {
                    Event::AudioTranslationsProgressive(translation)
                };
                job.emit(&event_key(audio.target_language), event).await?;
                outcome.spoken.push(audio);
            }
            Err(JobFailure::Ledger(error)) => return Err(error.into()),
            Err(failure) => {
                missing = missing.saturating_sub(1);
                failure.record(job.kind());
                outcome.failures.push(failure);
            }
        }
    }
    // The last event lists the languages as they were asked for.
    outcome.spoken.sort_by_key(|audio| {
        languages
            .iter()
            .position(|language| *language == audio.target_language)
    });
    Ok(outcome)
}

/// Names the event of one language within the job.
fn event_key(language: Language) -> String {
    format!("audio:{language}")
}

async fn finish(
    job: &Job,
    request: &AudioProcessRequest,
    transcript: &Transcript,
    targets: Targets,
    outcome: Outcome,
    voice: Option<&Result<ChosenVoice, Arc<JobFailure>>>,
) -> Result<Finish, JobFailure> {
    let voice = voice.and_then(|voice| voice.as_ref().ok());
    let news = voice.and_then(|voice| voice.news.as_ref());
    let ids = request.job(&job.record.task_id);
    let failed = targets.wanted > 0 && outcome.spoken.is_empty();
    let documents = documents::of_audio(job, request, transcript, &outcome.spoken, news);
    let completed = Event::AudioProcessCompleted(Box::new(AudioProcessCompleted {
        job: ids.clone(),
        transcription: transcript.clone(),
        translated_audios: outcome.spoken,
        voice_model_user_id: request.voice_owner_id().to_owned(),
        voice_model_quality: voice
            .filter(|voice| voice.is_cloned)
            .map_or(0.0, |voice| voice.quality),
        processing_time_ms: job.processing_time_ms(),
        timestamp: Timestamp::now(),
        new_voice_profile: news
            .filter(|_| request.existing_voice.is_none())
            .map(|voice| NewVoiceProfile {
                user_id: voice.metadata.user_id.clone(),
                profile_id: voice.metadata.profile_id.clone(),
                quality_score: voice.metadata.quality_score,
                audio_count: voice.metadata.audio_count,
                total_duration_ms: voice.metadata.total_duration_ms,
                version: voice.metadata.version,
                embedding: voice.profile.to_bytes(),
            }),
    }));
    let mut events = vec![("completed".to_owned(), completed)];
    if !failed {
        job.finish(events, documents, Finish::Done).await?;
        return Ok(Finish::Done);
    }
    // Something was said, languages were wanted, and none can be heard: the contract wants both events.
    let failure = outcome.failures.into_iter().next().unwrap_or_else(|| {
        JobFailure::new(
            Stage::Synthesize,
            ErrorCode::TtsFailed,
            Reason::UnsupportedLanguage,
            "none of the target languages has a voice",
        )
    });
    events.push((
        "error".to_owned(),
        Event::AudioProcessError(AudioFailure {
            job: ids,
            failure: failure.on_the_wire(),
            timestamp: Timestamp::now(),
        }),
    ));
    job.finish(events, documents, Finish::Failed).await?;
    Ok(Finish::Failed)
}
