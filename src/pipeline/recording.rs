//! Where a job's audio comes from, and what is heard in it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use time::OffsetDateTime;

use super::JobFailure;
use super::cache::Slot;
use super::job::Job;
use super::uploads::{self, UploadError};
use super::web::{WebError, WebOptions};
use crate::domain::digest::sha256_hex;
use crate::domain::{Language, Pcm, Recording, Transcript, TranscriptSource};
use crate::error::{ErrorCode, Reason, Stage};
use crate::observe::metrics::AUDIO_DECODED;
use crate::protocol::{AudioSource, MobileTranscription};
use crate::stages::decode::{quality_warnings, resample};
use crate::stages::detect::detect_language;
use crate::stages::transcribe::{SAMPLE_RATE_HZ, TranscribeRequest};

/// Where audio may come from beside the request itself.
#[derive(Debug, Clone)]
pub struct RecordingOptions {
    /// Folders that `audioPath` may point into.
    pub upload_roots: Vec<PathBuf>,
    /// Where `audioUrl` may lead.
    pub web: WebOptions,
    /// Longest body of a URL.
    pub max_url_bytes: u64,
}

/// Why a source gave no audio.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("audio is not base64")]
    Base64,
    #[error("audioUrl could not be fetched")]
    Web(#[from] WebError),
    #[error("audioPath could not be opened")]
    Upload(#[from] UploadError),
    #[error("audioPath could not be read")]
    Unreadable(#[from] std::io::Error),
    #[error("audio is larger than {0} bytes")]
    TooLarge(u64),
}

impl SourceError {
    fn reason(&self) -> Reason {
        match self {
            Self::TooLarge(_) | Self::Web(WebError::TooLarge(_)) => Reason::AudioTooLarge,
            Self::Base64 | Self::Web(_) | Self::Upload(_) | Self::Unreadable(_) => Reason::NoAudio,
        }
    }
}

/// Finds the recording among the sources that the request names, and decodes it.
///
/// The sources are taken: as base64 they may be as large as all the rest of a job.
pub(super) async fn decoded(job: &Job, sources: Vec<AudioSource>) -> Result<Recording, JobFailure> {
    job.stage(Stage::Decode, None, ErrorCode::TranscriptionFailed, async {
        let options = job.pipeline.options.clone();
        let decoder = Arc::clone(&job.pipeline.decoder);
        let deadline = job.deadline.clone();
        let work = move || -> Result<Recording, JobFailure> {
            let max_bytes = options.decode_limits.max_bytes as u64;
            let recording = first_readable(&sources, &options.recording, max_bytes)?;
            let decoded = decoder.decode(&recording, &options.decode_limits, &deadline);
            let pcm = decoded.map_err(|error| {
                JobFailure::of_stage(Stage::Decode, ErrorCode::TranscriptionFailed, &error)
            })?;
            for warning in quality_warnings(&pcm) {
                tracing::info!(?warning, "recording is of poor quality");
            }
            Ok(Recording {
                pcm,
                sha256: sha256_hex(&recording),
            })
        };
        let recording = in_background(Stage::Decode, work).await?;
        metrics::histogram!(AUDIO_DECODED).record(recording.pcm.duration_ms() as f64 / 1000.0);
        Ok(recording)
    })
    .await
}

/// Runs file access, or a look at a long text, on the blocking pool.
pub(super) async fn off_thread<T: Send + 'static>(
    stage: Stage,
    work: impl FnOnce() -> Result<T, JobFailure> + Send + 'static,
) -> Result<T, JobFailure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(panicked(stage)))
}

/// Runs a codec or a filter, so that others do not wait for it.
pub(super) async fn in_background<T: Send + 'static>(
    stage: Stage,
    work: impl FnOnce() -> Result<T, JobFailure> + Send + 'static,
) -> Result<T, JobFailure> {
    let done = crate::engine::in_background(work).await;
    done.unwrap_or_else(|_| Err(panicked(stage)))
}

fn panicked(stage: Stage) -> JobFailure {
    JobFailure::new(
        stage,
        ErrorCode::ProcessingFailed,
        Reason::Internal,
        "the stage panicked",
    )
}

fn first_readable(
    sources: &[AudioSource],
    options: &RecordingOptions,
    max_bytes: u64,
) -> Result<Bytes, JobFailure> {
    let mut last = None;
    for source in sources {
        let bytes = match source {
            AudioSource::Frame(_) | AudioSource::Base64(_) => source
                .inline_bytes()
                .map(Option::unwrap_or_default)
                .map_err(|_| SourceError::Base64),
            AudioSource::Url(url) => {
                let fetched = options.web.get(url.expose(), options.max_url_bytes);
                fetched.map_err(SourceError::from)
            }
            AudioSource::Path(path) => read_upload(Path::new(path.expose()), options, max_bytes),
        };
        match bytes {
            Ok(bytes) => return Ok(bytes),
            Err(error) => last = Some(error),
        }
    }
    let (reason, message) = match &last {
        Some(error) => (error.reason(), crate::error::error_chain(error)),
        None => (Reason::NoAudio, "no audio data in request".to_owned()),
    };
    Err(JobFailure::new(
        Stage::Decode,
        ErrorCode::TranscriptionFailed,
        reason,
        message,
    ))
}

/// Reads a file below one of the upload folders.
fn read_upload(
    path: &Path,
    options: &RecordingOptions,
    max_bytes: u64,
) -> Result<Bytes, SourceError> {
    let file = uploads::open(path, &options.upload_roots)?;
    read_at_most(file, max_bytes)?.ok_or(SourceError::TooLarge(max_bytes))
}

/// Reads a file below one of the upload folders that was not last written before `since`; `None` when
/// it cannot be read.
pub(super) fn upload_since(
    path: &str,
    options: &RecordingOptions,
    max_bytes: u64,
    since: OffsetDateTime,
) -> Option<Bytes> {
    let file = uploads::open(Path::new(path), &options.upload_roots).ok()?;
    let written = file.metadata().and_then(|facts| facts.modified()).ok()?;
    if OffsetDateTime::from(written) < since {
        return None;
    }
    read_at_most(file, max_bytes).ok()?
}

/// Reads all of it; `None` when it is more than `max_bytes`.
pub(super) fn read_at_most(source: impl Read, max_bytes: u64) -> std::io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    source
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_bytes).then(|| bytes.into()))
}

/// What a request says about the words in its recording.
pub(super) struct Hints<'a> {
    pub(super) mobile: Option<&'a MobileTranscription>,
    pub(super) user_language: Option<Language>,
    pub(super) claimed_duration_ms: Option<u64>,
    /// Whose words they are, where that is known.
    pub(super) owner_id: Option<&'a str>,
}

/// The transcript: the device's own, else what an earlier attempt or job heard, else what is heard now.
pub(super) async fn transcript(
    job: &Job,
    recording: &Recording,
    hints: Hints<'_>,
) -> Result<Transcript, JobFailure> {
    let pcm = &recording.pcm;
    let default_language = job.pipeline.options.default_language;
    if let Some(mobile) = hints.mobile {
        return Ok(of_device(
            mobile,
            pcm,
            hints.user_language,
            default_language,
        ));
    }
    if let Some((transcript, _)) = job.restored(Stage::Transcribe, "").await {
        return Ok(transcript);
    }
    let slot = Slot::transcript(job, recording, &hints);
    let (transcript, is_new) = match slot.find().await {
        Some((transcript, _)) => (transcript, false),
        None => (heard(job, pcm, &hints).await?, true),
    };
    job.checkpoint(Stage::Transcribe, "", &transcript, None)
        .await?;
    // Last, since it may wait for the user's voice, and a crash meanwhile must not cost the transcript.
    if is_new {
        slot.keep(&transcript, None).await;
    }
    Ok(transcript)
}

async fn heard(job: &Job, pcm: &Pcm, hints: &Hints<'_>) -> Result<Transcript, JobFailure> {
    let code = ErrorCode::TranscriptionFailed;
    job.stage(Stage::Transcribe, None, code, async {
        let pcm = pcm.clone();
        let duration_ms = pcm.duration_ms();
        let resampled = move || {
            resample(&pcm, SAMPLE_RATE_HZ).map_err(|error| {
                JobFailure::new(Stage::Transcribe, code, Reason::Internal, error.to_string())
            })
        };
        let pcm = in_background(Stage::Transcribe, resampled).await?;
        let request = || TranscribeRequest {
            pcm: pcm.clone(),
            language_hint: hints.user_language,
            // What the sender does not say is measured.
            declared_duration_ms: hints.claimed_duration_ms.or(Some(duration_ms)),
            default_language: job.pipeline.options.default_language,
            deadline: job.deadline.clone(),
        };
        let engine = &job.pipeline.engines.transcribe;
        job.engine(Stage::Transcribe, code, engine, request).await
    })
    .await
}

fn of_device(
    mobile: &MobileTranscription,
    pcm: &Pcm,
    user_language: Option<Language>,
    default_language: Language,
) -> Transcript {
    Transcript {
        text: mobile.text.expose().trim().into(),
        language: mobile
            .language
            .or(user_language)
            .or_else(|| detect_language(mobile.text.expose()).map(|detected| detected.language))
            .unwrap_or(default_language),
        confidence: mobile.confidence,
        source: TranscriptSource::Mobile,
        duration_ms: pcm.duration_ms(),
        model: mobile.source.clone(),
        segments: mobile.segments.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_read_up_to_a_limit() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.ogg"), b"audio").unwrap();
        let options = RecordingOptions {
            upload_roots: vec![root.path().to_owned()],
            web: WebOptions::default(),
            max_url_bytes: 0,
        };
        let read = |max_bytes| read_upload(Path::new("a.ogg"), &options, max_bytes);
        assert_eq!(read(5).unwrap(), "audio");
        assert_eq!(read(4).unwrap_err().reason(), Reason::AudioTooLarge);
    }
}
