//! `audio_process`: a voice message, transcribed, translated and spoken in its sender's voice.

use std::sync::Arc;

use super::job::Job;
use super::message::{Outcome, Speaking, Targets, VoiceMessage};
use super::{JobFailure, conversation, documents, voice, written};
use crate::domain::digest::file_name;
use crate::domain::{Language, Transcript};
use crate::ledger::Finish;
use crate::protocol::{
    AudioFailure, AudioProcessCompleted, AudioProcessRequest, AudioTranslation, Event,
    NewVoiceProfile, Timestamp, TranscriptionResult, TranslatedAudio,
};
use crate::voices::ChosenVoice;

pub(super) async fn run(
    job: &Arc<Job>,
    mut request: AudioProcessRequest,
) -> Result<Finish, JobFailure> {
    let mut message = message(&mut request);
    let (recording, transcript) = message.hear(job).await?;
    let message = Arc::new(message);
    if !transcript.is_blank() {
        job.emit("transcription_ready", ready(job, &request, &transcript))
            .await?;
        if request.target_languages.is_none() {
            let languages = conversation::target_languages(job, &request).await?;
            request.target_languages = Some(languages);
        }
    }
    let transcript = Arc::new(transcript);
    let wanted = request.target_languages.as_ref();
    let mut targets = Targets::of(job, wanted, &transcript);
    let written = written::take(job, wanted, &transcript, &mut targets);
    job.expect_languages(targets.spoken.len());
    let mut speaking = Speaking::start(
        job,
        &message,
        &transcript,
        &recording,
        &targets.spoken,
        None,
    );
    let mut outcome = publish_all(job, &request, &targets.spoken, &mut speaking).await?;
    written::translate(job, &message, &transcript, &written, &mut outcome).await?;
    job.check_retry(&mut outcome.failures)?;
    // Those that have failed may come with the next attempt: only the last stores them.
    written::keep(job, &outcome.written).await?;
    let voice = speaking.voice();
    finish(job, &request, &transcript, targets, outcome, voice).await
}

/// Takes out of the request what makes the voice message; the ids stay.
fn message(request: &mut AudioProcessRequest) -> VoiceMessage {
    VoiceMessage {
        file_stem: Some(format!(
            "{}_{}",
            file_name(&request.message_id),
            file_name(&request.attachment_id)
        )),
        audio: std::mem::take(&mut request.audio),
        mobile_transcription: request.mobile_transcription.take(),
        user_language: request.user_language,
        claimed_duration_ms: request.claimed_duration_ms,
        model_type: request.model_type,
        voice_owner_id: Some(request.voice_owner_id().to_owned()),
        requested_by: request.sender_id.clone(),
        generate_voice_clone: request.generate_voice_clone,
        existing_voice: request.existing_voice.clone(),
        use_original_voice: request.use_original_voice,
        voice_clone_hints: request.voice_clone_hints,
    }
}

fn ready(job: &Job, request: &AudioProcessRequest, transcript: &Transcript) -> Event {
    Event::TranscriptionReady(Box::new(TranscriptionResult {
        job: request.job(&job.record.task_id),
        transcription: transcript.clone(),
        processing_time_ms: job.processing_time_ms(),
        timestamp: Timestamp::now(),
    }))
}

/// Publishes each language as soon as it is done.
async fn publish_all(
    job: &Job,
    request: &AudioProcessRequest,
    languages: &[Language],
    speaking: &mut Speaking,
) -> Result<Outcome, JobFailure> {
    let is_stored = |language: Language| job.has_stored(&event_key(language));
    // Of the events that are still to be stored the last one says that it is the last.
    let mut missing = languages
        .iter()
        .filter(|language| !is_stored(**language))
        .count();
    let mut outcome = Outcome::default();
    while let Some((language, ended)) = speaking.next().await {
        if !is_stored(language) {
            missing = missing.saturating_sub(1);
        }
        let Some(audio) = outcome.note(job, ended)? else {
            continue;
        };
        if is_stored(language) {
            continue;
        }
        let is_last = missing == 0;
        let event = translation_event(job, request, audio.clone(), languages.len(), is_last);
        job.emit(&event_key(language), event).await?;
    }
    // The last event lists the languages as they were asked for.
    outcome.sort(languages);
    Ok(outcome)
}

fn translation_event(
    job: &Job,
    request: &AudioProcessRequest,
    audio: TranslatedAudio,
    languages: usize,
    is_last: bool,
) -> Event {
    let ids = request.job(&job.record.task_id);
    let translation = Box::new(AudioTranslation::new(ids, audio, Timestamp::now()));
    if languages == 1 {
        Event::AudioTranslationReady(translation)
    } else if is_last {
        Event::AudioTranslationsCompleted(translation)
    } else {
        Event::AudioTranslationsProgressive(translation)
    }
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
    mut outcome: Outcome,
    voice: Option<&ChosenVoice>,
) -> Result<Finish, JobFailure> {
    // While this is held the voice is not deleted; once it is deleted it is no news any more.
    let held = voice::news(job, voice).await;
    let news = held.as_ref().map(|(news, _)| *news);
    let ids = request.job(&job.record.task_id);
    let failed =
        targets.wanted > 0 && outcome.spoken.is_empty() && outcome.written.texts.is_empty();
    let documents = documents::of_audio(job, request, transcript, &outcome.spoken, news);
    let completed = Event::AudioProcessCompleted(Box::new(AudioProcessCompleted {
        job: ids.clone(),
        transcription: transcript.clone(),
        translated_audios: std::mem::take(&mut outcome.spoken),
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
                embedding: voice.profile.to_bytes().into(),
            }),
    }));
    let mut events = vec![("completed".to_owned(), completed)];
    if !failed {
        job.finish(events, documents, Finish::Done).await?;
        return Ok(Finish::Done);
    }
    // Something was said, languages were wanted, and none can be heard: the contract wants both events.
    let failure = outcome.into_failure();
    let finish = job.finish_of(&failure);
    events.push((
        "error".to_owned(),
        Event::AudioProcessError(AudioFailure {
            job: ids,
            failure: failure.on_the_wire(),
            timestamp: Timestamp::now(),
        }),
    ));
    job.finish(events, documents, finish).await?;
    Ok(finish)
}
