//! A recording in other languages: in the reply itself, or as a job with an event of its own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{jobs, short_name};
use crate::domain::Transcript;
use crate::error::Stage;
use crate::ledger::{Finish, VoiceTranslationRecord};
use crate::pipeline::job::Job;
use crate::pipeline::message::{Outcome, Speaking, Targets, VoiceMessage};
use crate::pipeline::{JobFailure, documents, voice};
use crate::protocol::{
    Event, JobOptions, JobStatusName, ModelType, OriginalAudio, Timestamp, TranslatedAudio,
    UsedVoice, VoiceApiResult, VoiceCloneHints, VoiceJobProgress, VoiceTranslateRequest,
    VoiceTranslation, VoiceTranslationAudio, VoiceTranslationCompleted,
};
use crate::voices::{ChosenVoice, profile_id};

/// Share of the work that is done when the recording was heard, in percent.
const HEARD_PERCENT: u8 = 30;
/// Share of the work that is done when every language was spoken, in percent.
const SPOKEN_PERCENT: u8 = 95;

pub(super) async fn run(
    job: &Arc<Job>,
    user_id: Option<&str>,
    wanted: VoiceTranslateRequest,
) -> Result<VoiceApiResult, JobFailure> {
    let translation = translate(job, user_id, wanted).await?;
    Ok(VoiceApiResult::Translation(Box::new(translation)))
}

/// The same as a job: its acceptance was answered, its result is an event.
pub(super) async fn run_async(
    job: &Arc<Job>,
    user_id: Option<String>,
    wanted: VoiceTranslateRequest,
    options: JobOptions,
) -> Result<Finish, JobFailure> {
    let translation = translate(job, user_id.as_deref(), wanted).await?;
    let completed = Event::VoiceTranslationCompleted(Box::new(VoiceTranslationCompleted {
        job_id: job.record.public_id.clone().unwrap_or_default(),
        status: JobStatusName::Completed,
        user_id,
        timestamp: Timestamp::now(),
        result: Arc::new(translation),
        callback_metadata: options.callback_metadata.clone(),
    }));
    let post = options.webhook_url.map(|url| (url, completed.clone()));
    let events = vec![(jobs::COMPLETED.to_owned(), completed)];
    job.finish(events, Vec::new(), Finish::Done).await?;
    if let Some((url, event)) = post {
        job.pipeline.webhooks.post(url.into_exposed(), &event);
    }
    Ok(Finish::Done)
}

async fn translate(
    job: &Arc<Job>,
    user_id: Option<&str>,
    wanted: VoiceTranslateRequest,
) -> Result<VoiceTranslation, JobFailure> {
    let translation_id = format!("vt_{}", short_name(&job.record.key));
    let targets = wanted.target_languages.clone();
    let mut message = message(user_id, wanted, &translation_id);
    let (recording, transcript) = message.hear(job).await?;
    let message = Arc::new(message);
    advance(job, HEARD_PERCENT, Stage::Translate).await?;
    let transcript = Arc::new(transcript);
    let targets = Targets::of(job, Some(&targets), &transcript);
    let mut speaking = Speaking::start(
        job,
        &message,
        &transcript,
        &recording,
        &targets.spoken,
        None,
    );
    let mut outcome = Outcome::default();
    let mut ended = 0;
    while let Some((_, spoken)) = speaking.next().await {
        outcome.note(job, spoken)?;
        ended += 1;
        let share =
            usize::from(SPOKEN_PERCENT - HEARD_PERCENT) * ended / targets.spoken.len().max(1);
        job.pipeline
            .running
            .set_percent(job.record.id, HEARD_PERCENT + share as u8);
    }
    outcome.sort(&targets.spoken);
    job.check_retry(&mut outcome.failures)?;
    if targets.wanted > 0 && outcome.spoken.is_empty() {
        return Err(outcome.into_failure());
    }
    remember(job, user_id, &translation_id, &transcript, &outcome.spoken).await?;
    // While this is held the voice is not deleted; once it is deleted it is no news any more.
    if let Some((news, _held)) = voice::news(job, speaking.voice()).await {
        let documents = documents::of_voice(job, news).into_iter().collect();
        job.hand_over_documents(documents).await?;
    }
    Ok(VoiceTranslation {
        translation_id,
        original_audio: OriginalAudio(Arc::unwrap_or_clone(transcript)),
        translations: outcome.spoken.into_iter().map(wire_audio).collect(),
        voice_profile: user_id
            .zip(speaking.voice().filter(|voice| voice.is_cloned))
            .map(|(user_id, voice)| used_voice(user_id, voice)),
        processing_time_ms: job.processing_time_ms(),
    })
}

fn message(
    user_id: Option<&str>,
    wanted: VoiceTranslateRequest,
    translation_id: &str,
) -> VoiceMessage {
    VoiceMessage {
        audio: wanted.audio,
        mobile_transcription: wanted.mobile_transcription,
        user_language: wanted.source_language,
        claimed_duration_ms: None,
        model_type: ModelType::Medium,
        voice_owner_id: user_id.map(str::to_owned),
        generate_voice_clone: wanted.generate_voice_clone,
        requested_by: user_id.unwrap_or_default().to_owned(),
        existing_voice: None,
        use_original_voice: false,
        voice_clone_hints: VoiceCloneHints::default(),
        file_stem: Some(translation_id.to_owned()),
    }
}

/// Tells how far a job is; a request that is answered at once has nobody to tell.
async fn advance(job: &Job, percent: u8, step: Stage) -> Result<(), JobFailure> {
    job.pipeline.running.set_percent(job.record.id, percent);
    let Some(job_id) = job.record.public_id.clone() else {
        return Ok(());
    };
    let progress = Event::VoiceJobProgress(VoiceJobProgress {
        task_id: job.record.task_id.clone(),
        job_id,
        progress: percent,
        current_step: step.as_str(),
        timestamp: Timestamp::now(),
    });
    job.emit(&format!("progress:{percent}"), progress).await?;
    Ok(())
}

/// Keeps the translation for the user's history, unless everything of the user was deleted meanwhile.
async fn remember(
    job: &Job,
    user_id: Option<&str>,
    translation_id: &str,
    transcript: &Transcript,
    spoken: &[TranslatedAudio],
) -> Result<(), JobFailure> {
    let Some(user_id) = user_id else {
        return Ok(());
    };
    // A deletion waits until the entry is where it will find it.
    let Some(_held) = job.hold(user_id).await else {
        return Ok(());
    };
    let texts: serde_json::Map<String, serde_json::Value> = spoken
        .iter()
        .map(|audio| {
            let text = audio.translated_text.expose().clone();
            (audio.target_language.to_string(), text.into())
        })
        .collect();
    let record = VoiceTranslationRecord {
        id: translation_id.to_owned(),
        user_id: user_id.to_owned(),
        created_at_ms: job.record.received_at_ms,
        source_language: transcript.language.to_string(),
        original_text: transcript.text.clone(),
        translated_texts: serde_json::Value::Object(texts).to_string().into(),
        audio_duration_ms: transcript.duration_ms,
        voice_cloned: spoken.iter().any(|audio| audio.voice_cloned),
        processing_time_ms: job.processing_time_ms(),
        rating: None,
    };
    job.pipeline.ledger.remember_translation(record).await?;
    Ok(())
}

fn wire_audio(audio: TranslatedAudio) -> VoiceTranslationAudio {
    VoiceTranslationAudio {
        target_language: audio.target_language,
        translated_text: audio.translated_text,
        audio_base64: STANDARD.encode(audio.audio.expose()).into(),
        audio_url: audio.audio_url,
        duration_ms: audio.duration_ms,
        voice_cloned: audio.voice_cloned,
        voice_quality: audio.voice_quality,
        segments: audio.segments,
    }
}

fn used_voice(user_id: &str, voice: &ChosenVoice) -> UsedVoice {
    UsedVoice {
        profile_id: profile_id(user_id),
        quality: voice.quality,
        is_new: voice
            .news
            .as_ref()
            .is_some_and(|stored| stored.metadata.version == 1),
    }
}
