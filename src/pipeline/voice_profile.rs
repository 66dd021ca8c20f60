//! Voice profiles that the gateway keeps: a voice is measured, verified against a fingerprint, or two
//! fingerprints are compared.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use super::JobFailure;
use super::job::Job;
use super::message::{Outcome, Speaking, Targets, VoiceMessage};
use super::recording::{self, Hints};
use super::voice::{self, register, require_length, require_voice};
use super::voice_api::{REPLY, measured};
use crate::domain::{PrivateText, Recording, Transcript, TranscriptSource, VoiceMeasures};
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::Finish;
use crate::protocol::{
    AudioSource, Event, Fingerprint, MAX_PREVIEW_CHARACTERS, ModelType, ProfileAnalysis,
    ProfileTranscription, TargetLanguages, TranslatedAudio, VoiceCloneHints, VoicePreview,
    VoiceProfileAnalyzed, VoiceProfileCall, VoiceProfileCompared, VoiceProfileRequest,
    VoiceProfileVerified,
};
use crate::stages::detect::detect_language;
use crate::voices::{FingerprintSimilarity, StoredVoice, VoiceFingerprint};

pub(super) async fn run(
    job: &Arc<Job>,
    request: VoiceProfileRequest,
) -> Result<Finish, JobFailure> {
    let (request_id, user_id) = (request.request_id, request.user_id.unwrap_or_default());
    let reply = match request.call {
        VoiceProfileCall::Analyze(wanted) => analyze(job, request_id, user_id, *wanted).await?,
        VoiceProfileCall::Verify(audio, expected) => {
            verify(job, request_id, user_id, audio, &expected).await?
        }
        VoiceProfileCall::Compare(a, b) => compare(request_id, &a, &b)?,
    };
    job.finish(vec![(REPLY.to_owned(), reply)], Vec::new(), Finish::Done)
        .await?;
    Ok(Finish::Done)
}

async fn analyze(
    job: &Arc<Job>,
    request_id: String,
    user_id: String,
    mut wanted: ProfileAnalysis,
) -> Result<Event, JobFailure> {
    let recording = recording::decoded(job, std::mem::take(&mut wanted.audio)).await?;
    require_length(job, &recording)?;
    let needs_words = wanted.preview_languages.is_some() && wanted.preview_text.is_none();
    let transcription = if wanted.include_transcription || needs_words {
        Some(transcribe(job, &user_id, &recording).await?)
    } else {
        None
    };
    let measures = measured(job, &recording.pcm).await?;
    require_voice(&measures)?;
    if wanted.is_update
        && let Some(expected) = &wanted.existing_fingerprint
    {
        let known = read(expected)?;
        let heard = fingerprint_of(job, &recording, &measures).await?;
        if !heard.compare(&known).is_match() {
            return Err(other_speaker());
        }
    }
    let stored = register(job, &user_id, &recording, wanted.is_update).await?;
    let fingerprint = VoiceFingerprint::new(
        &stored.profile.speaker_embedding,
        &measures,
        job.accepted_at(),
        stored.metadata.total_duration_ms,
        stored.metadata.audio_count,
    );
    let voice_previews = match &wanted.preview_languages {
        None => None,
        Some(languages) => {
            let text = preview_transcript(job, wanted.preview_text, transcription.as_ref());
            Some(previews(job, &user_id, &recording, &stored, text, languages).await?)
        }
    };
    let voice_file = job.pipeline.voices.voice_file(&user_id);
    Ok(Event::VoiceProfileAnalyzed(Box::new(
        VoiceProfileAnalyzed {
            request_id,
            success: true,
            profile_id: stored.metadata.profile_id.clone(),
            quality_score: stored.metadata.quality_score,
            audio_duration_ms: recording.pcm.duration_ms(),
            voice_characteristics: match &transcription {
                // Not for the fingerprint: it must not depend on what else was asked for.
                Some(heard) => measures.with_words(words(&heard.transcript)),
                None => measures,
            },
            fingerprint_id: fingerprint.id().to_owned(),
            signature_short: fingerprint.signature_short().to_owned(),
            fingerprint: fingerprint.to_json().into(),
            embedding_path: voice_file.display().to_string(),
            embedding_data: stored.profile.to_bytes().into(),
            embedding_dimension: stored.profile.speaker_embedding.0.len(),
            transcription: transcription.filter(|_| wanted.include_transcription),
            voice_previews,
            user_id,
        },
    )))
}

fn words(transcript: &Transcript) -> usize {
    transcript.text.expose().split_whitespace().count()
}

async fn transcribe(
    job: &Job,
    user_id: &str,
    recording: &Recording,
) -> Result<ProfileTranscription, JobFailure> {
    let started = Instant::now();
    let hints = Hints {
        mobile: None,
        user_language: None,
        claimed_duration_ms: None,
        owner_id: Some(user_id),
    };
    let transcript = recording::transcript(job, recording, hints).await?;
    Ok(ProfileTranscription {
        transcript,
        processing_time_ms: started.elapsed().as_millis() as u64,
    })
}

/// What the previews say: the text of the request, else the beginning of what was said.
fn preview_transcript(
    job: &Job,
    text: Option<PrivateText>,
    heard: Option<&ProfileTranscription>,
) -> Transcript {
    let heard = heard.map(|heard| &heard.transcript);
    let default_language = job.pipeline.options.default_text_language;
    let (text, language) = match (text, heard) {
        (None, Some(heard)) => (beginning(heard.text.expose()).into(), heard.language),
        (text, heard) => {
            let text = text.unwrap_or_default();
            let detected = detect_language(text.expose()).map(|detected| detected.language);
            let spoken = heard.map(|heard| heard.language);
            let language = detected.or(spoken).unwrap_or(default_language);
            (text, language)
        }
    };
    Transcript {
        text,
        language,
        confidence: 1.0,
        source: TranscriptSource::Mobile,
        duration_ms: 0,
        model: None,
        segments: Vec::new(),
    }
}

/// The first words that fit into a preview.
fn beginning(text: &str) -> String {
    if text.chars().count() <= MAX_PREVIEW_CHARACTERS {
        return text.to_owned();
    }
    let cut: String = text.chars().take(MAX_PREVIEW_CHARACTERS + 1).collect();
    match cut.rsplit_once(char::is_whitespace) {
        Some((words, _)) => words.to_owned(),
        None => cut.chars().take(MAX_PREVIEW_CHARACTERS).collect(),
    }
}

/// The voice in other languages; those that fail for good are left out.
async fn previews(
    job: &Arc<Job>,
    user_id: &str,
    recording: &Recording,
    stored: &StoredVoice,
    text: Transcript,
    languages: &TargetLanguages,
) -> Result<Vec<VoicePreview>, JobFailure> {
    if text.is_blank() {
        return Ok(Vec::new());
    }
    let message = Arc::new(VoiceMessage {
        audio: Vec::new(),
        mobile_transcription: None,
        user_language: None,
        claimed_duration_ms: None,
        model_type: ModelType::Medium,
        voice_owner_id: Some(user_id.to_owned()),
        generate_voice_clone: true,
        requested_by: user_id.to_owned(),
        existing_voice: None,
        use_original_voice: false,
        voice_clone_hints: VoiceCloneHints::default(),
        file_stem: None,
    });
    let spoken = Targets::with_voice(job, languages.distinct());
    let text = Arc::new(text);
    let voice = Some(stored.chosen());
    let mut speaking = Speaking::start(job, &message, &text, recording, &spoken, voice);
    let mut outcome = Outcome::default();
    while let Some((_, ended)) = speaking.next().await {
        outcome.note(job, ended)?;
    }
    outcome.sort(&spoken);
    job.check_retry(&mut outcome.failures)?;
    let preview = |audio: TranslatedAudio| preview(text.text.expose(), audio);
    Ok(outcome.spoken.into_iter().map(preview).collect())
}

fn preview(original: &str, audio: TranslatedAudio) -> VoicePreview {
    VoicePreview {
        language: audio.target_language,
        original_text: original.into(),
        translated_text: audio.translated_text,
        audio_base64: STANDARD.encode(audio.audio.expose()).into(),
        audio_format: "mp3",
        duration_ms: audio.duration_ms,
        generated_at: OffsetDateTime::now_utc(),
    }
}

async fn verify(
    job: &Job,
    request_id: String,
    user_id: String,
    audio: Vec<AudioSource>,
    expected: &Fingerprint,
) -> Result<Event, JobFailure> {
    let expected = read(expected)?;
    let recording = recording::decoded(job, audio).await?;
    require_length(job, &recording)?;
    let measures = measured(job, &recording.pcm).await?;
    require_voice(&measures)?;
    let heard = fingerprint_of(job, &recording, &measures).await?;
    let similarity = heard.compare(&expected);
    Ok(Event::VoiceProfileVerified(VoiceProfileVerified {
        request_id,
        success: true,
        user_id,
        is_match: similarity.is_match(),
        similarity_score: similarity.similarity,
        threshold: FingerprintSimilarity::THRESHOLD,
    }))
}

async fn fingerprint_of(
    job: &Job,
    recording: &Recording,
    measures: &VoiceMeasures,
) -> Result<VoiceFingerprint, JobFailure> {
    let speaker = voice::identify(job, &recording.pcm).await?;
    Ok(VoiceFingerprint::new(
        &speaker,
        measures,
        job.accepted_at(),
        recording.pcm.duration_ms(),
        1,
    ))
}

fn compare(request_id: String, a: &Fingerprint, b: &Fingerprint) -> Result<Event, JobFailure> {
    let similarity = read(a)?.compare(&read(b)?);
    Ok(Event::VoiceProfileCompared(VoiceProfileCompared {
        request_id,
        success: true,
        similarity_score: similarity.similarity,
        is_match: similarity.is_match(),
        threshold: FingerprintSimilarity::THRESHOLD,
    }))
}

fn read(fingerprint: &Fingerprint) -> Result<VoiceFingerprint, JobFailure> {
    VoiceFingerprint::from_json(fingerprint.0.expose()).map_err(|error| {
        JobFailure::new(
            Stage::Intake,
            ErrorCode::ProcessingFailed,
            Reason::InvalidRequest,
            error.to_string(),
        )
    })
}

fn other_speaker() -> JobFailure {
    JobFailure::new(
        Stage::Embed,
        ErrorCode::VoiceCloneFailed,
        Reason::BadOutput,
        "the recording is of another speaker than the fingerprint",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_ends_with_a_word() {
        assert_eq!(beginning("short words"), "short words");
        let long = format!("{} next", "é".repeat(99));
        assert_eq!(beginning(&long), "é".repeat(99));
        assert_eq!(beginning(&"é".repeat(300)), "é".repeat(100));
    }
}
