//! One language of a voice message: translate → synthesize → encode → file.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::JobFailure;
use super::cache::Slot;
use super::job::Job;
use super::message::{Voice, VoiceMessage};
use super::recording::in_background;
use super::speaker::{Speaker, Utterance};
use super::translation::{SourceText, translate_cached};
use crate::domain::timestamp::from_unix_ms;
use crate::domain::{Language, Segment, Transcript};
use crate::error::{ErrorCode, Reason, Stage};
use crate::fault;
use crate::ledger::LedgerError;
use crate::observe::metrics::AUDIO_SYNTHESIZED;
use crate::protocol::{AUDIO_MP3, TranslatedAudio};
use crate::stages::encode::mp3;
use crate::stages::synthesize::Speech;
use crate::stages::translate::Priority;
use crate::storage::StorageFault;

/// What is kept of a speech, beside its audio.
#[derive(Serialize, Deserialize)]
struct SpeechRecord {
    duration_ms: u64,
    segments: Vec<Segment>,
    tts_model: String,
    /// For a base voice that was given the sender's: how alike they are.
    similarity: Option<f32>,
}

/// What is kept of a language that is done, beside its audio.
#[derive(Serialize, Deserialize)]
struct SpokenRecord {
    text: String,
    is_cloned: bool,
    quality: f32,
    #[serde(flatten)]
    speech: SpeechRecord,
}

/// What is kept of a translation.
#[derive(Serialize, Deserialize)]
struct TranslatedRecord {
    text: String,
}

/// Speaks the transcript in one language, or takes what an earlier attempt made of it.
pub(super) async fn speak(
    job: &Job,
    message: &VoiceMessage,
    recording_sha256: &str,
    transcript: &Transcript,
    language: Language,
    voice: impl AsyncFnOnce() -> Voice,
) -> Result<TranslatedAudio, JobFailure> {
    if let Some((record, Some(audio))) = job.restored(Stage::Encode, language.as_str()).await {
        return publishable(job, message, language, record, audio).await;
    }
    let text = translation(job, message, transcript, language).await?;
    let speaker = Speaker::of(job, message.generate_voice_clone, language, voice().await)?;
    let said = (language, text.as_str());
    let slot = Slot::speech(job, message, recording_sha256, said, &speaker);
    let (speech, audio, is_new) = match slot.find::<SpeechRecord>().await {
        Some((speech, Some(audio))) => (speech, audio, false),
        _ => {
            let seed = seed(recording_sha256, language);
            let utterance = synthesize(job, message, said, seed, &speaker).await?;
            let speech = &utterance.speech;
            let audio = encode(job, speech, language).await?;
            let record = SpeechRecord {
                duration_ms: speech.pcm.duration_ms(),
                segments: segments(speech, language),
                tts_model: utterance.tts_model,
                similarity: utterance.similarity,
            };
            (record, audio, true)
        }
    };
    let (is_cloned, quality) = speaker.likeness(speech.similarity);
    let record = SpokenRecord {
        text,
        is_cloned,
        quality,
        speech,
    };
    job.checkpoint(
        Stage::Encode,
        language.as_str(),
        &record,
        Some(audio.clone()),
    )
    .await?;
    // Last, since it may wait for the user's voice, and a crash meanwhile must not cost the speech.
    if is_new && speaker.may_keep(record.speech.similarity) {
        slot.keep(&record.speech, Some(audio.clone())).await;
    }
    publishable(job, message, language, record, audio).await
}

/// The transcript in one language, or what an earlier attempt made of it.
pub(super) async fn translation(
    job: &Job,
    message: &VoiceMessage,
    transcript: &Transcript,
    language: Language,
) -> Result<String, JobFailure> {
    let item = language.as_str();
    if let Some((TranslatedRecord { text }, _)) = job.restored(Stage::Translate, item).await {
        return Ok(text);
    }
    let source = SourceText {
        text: transcript.text.expose(),
        language: transcript.language,
        model_type: message.model_type,
        priority: Priority::Recording,
    };
    let translation = translate_cached(job, source, language).await?;
    if translation.text.trim().is_empty() {
        return Err(JobFailure::new(
            Stage::Translate,
            ErrorCode::TranslationFailed,
            Reason::BadOutput,
            "the translation is empty",
        ));
    }
    let record = TranslatedRecord {
        text: translation.text,
    };
    job.checkpoint(Stage::Translate, item, &record, None)
        .await?;
    Ok(record.text)
}

async fn synthesize(
    job: &Job,
    message: &VoiceMessage,
    (language, text): (Language, &str),
    seed: [u8; 32],
    speaker: &Speaker,
) -> Result<Utterance, JobFailure> {
    let code = ErrorCode::TtsFailed;
    job.stage(Stage::Synthesize, Some(language), code, async {
        let utterance = speaker
            .say(job, message.voice_clone_hints, text, seed)
            .await?;
        metrics::histogram!(AUDIO_SYNTHESIZED, "language" => language.to_string())
            .record(utterance.speech.pcm.duration_ms() as f64 / 1000.0);
        Ok(utterance)
    })
    .await
}

/// The same recording, or text, is always spoken alike in the same language.
pub(super) fn seed(recording_sha256: &str, language: Language) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(recording_sha256.as_bytes());
    hasher.update([0]);
    hasher.update(language.as_str().as_bytes());
    hasher.finalize().into()
}

fn segments(speech: &Speech, language: Language) -> Vec<Segment> {
    speech
        .parts
        .iter()
        .map(|part| Segment {
            text: part.text.clone(),
            start_ms: part.start_ms,
            end_ms: part.end_ms,
            confidence: None,
            speaker_id: None,
            voice_similarity_score: None,
            language: Some(language),
        })
        .collect()
}

async fn encode(job: &Job, speech: &Speech, language: Language) -> Result<Bytes, JobFailure> {
    let code = ErrorCode::TtsFailed;
    job.stage(Stage::Encode, Some(language), code, async {
        let (pcm, options) = (speech.pcm.clone(), job.pipeline.options.mp3.clone());
        let deadline = job.deadline.clone();
        in_background(Stage::Encode, move || {
            mp3(&pcm, &options, &deadline)
                .map_err(|error| JobFailure::of_stage(Stage::Encode, code, &error))
        })
        .await
    })
    .await
}

/// Writes the file that the paths of the event name. The gateway keeps a copy of its own, so a file that
/// cannot be written costs the paths, not the speech; a full disk is waited for.
async fn publishable(
    job: &Job,
    message: &VoiceMessage,
    language: Language,
    record: SpokenRecord,
    audio: Bytes,
) -> Result<TranslatedAudio, JobFailure> {
    let (audio_path, audio_url) = match &message.file_stem {
        Some(stem) => {
            let name = format!("{stem}_{language}.mp3");
            written_file(job, &name, audio.clone()).await?
        }
        None => Default::default(),
    };
    Ok(TranslatedAudio {
        target_language: language,
        translated_text: record.text.into(),
        audio_url,
        audio_path,
        duration_ms: record.speech.duration_ms,
        voice_cloned: record.is_cloned,
        voice_quality: record.quality,
        tts_model: record.speech.tts_model,
        audio_mime_type: AUDIO_MP3.to_owned(),
        segments: record.speech.segments,
        audio: audio.into(),
    })
}

/// Writes a speech file of that name; gives its path and its URL, both empty when it could not be written, or when
/// everything of the user was deleted since the job came.
pub(super) async fn written_file(
    job: &Job,
    name: &str,
    audio: Bytes,
) -> Result<(String, String), LedgerError> {
    let file = relative_file(job.record.received_at_ms, name);
    // A deletion waits until the file is where it will find it.
    let _held = match &job.record.user_id {
        Some(user_id) => {
            let Some(held) = job.hold(user_id).await else {
                return Ok(Default::default());
            };
            let ledger = &job.pipeline.ledger;
            ledger.note_speech_file(user_id, &file).await?;
            Some(held)
        }
        None => None,
    };
    let root = job.pipeline.options.output_directory.clone();
    let path = root.join(&file);
    let written = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || write_file(&path, &audio)).await
    };
    if let Ok(Err(error)) = &written {
        if let Some(fault) = StorageFault::of(error) {
            return Err(LedgerError::Storage { path, fault });
        }
        tracing::error!(%error, "speech file could not be written");
    }
    if !matches!(written, Ok(Ok(()))) {
        return Ok(Default::default());
    }
    let url = format!("/outputs/audio/{}", file.display());
    Ok((root.join(&file).display().to_string(), url))
}

/// `translated/YYYY/mm/<name>`
fn relative_file(received_at_ms: i64, name: &str) -> PathBuf {
    let received = from_unix_ms(received_at_ms);
    Path::new("translated")
        .join(format!("{:04}", received.year()))
        .join(format!("{:02}", u8::from(received.month())))
        .join(name)
}

fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fault::disk("speech")?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    // Temporary files are private; the gateway reads these from a shared volume.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_recording_and_language_only() {
        assert_eq!(seed("a", Language::FRENCH), seed("a", Language::FRENCH));
        assert_ne!(seed("a", Language::FRENCH), seed("a", Language::ENGLISH));
        assert_ne!(seed("a", Language::FRENCH), seed("b", Language::FRENCH));
    }
}
