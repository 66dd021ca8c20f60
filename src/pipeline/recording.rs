//! Where a job's audio comes from, and what is heard in it.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use super::JobFailure;
use super::cache::Slot;
use super::job::Job;
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
    /// Hosts that `audioUrl` may name; empty means that URLs are not fetched.
    pub allowed_url_hosts: Vec<String>,
    /// Time for fetching a URL.
    pub url_timeout: Duration,
    /// Longest body of a URL.
    pub max_url_bytes: u64,
}

/// Why a source gave no audio.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("audio is not base64")]
    Base64,
    #[error("audioUrl is not fetched: its host is not allow-listed")]
    HostNotAllowed,
    #[error("audioUrl could not be fetched")]
    Fetch(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("audioPath lies outside the upload folders")]
    OutsideRoots,
    #[error("audioPath could not be read")]
    Unreadable(#[source] std::io::Error),
    #[error("audio is larger than {0} bytes")]
    TooLarge(u64),
}

impl SourceError {
    fn reason(&self) -> Reason {
        match self {
            Self::TooLarge(_) => Reason::AudioTooLarge,
            Self::Base64
            | Self::HostNotAllowed
            | Self::Fetch(_)
            | Self::OutsideRoots
            | Self::Unreadable(_) => Reason::NoAudio,
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
        let recording = off_thread(Stage::Decode, work).await?;
        metrics::histogram!(AUDIO_DECODED).record(recording.pcm.duration_ms() as f64 / 1000.0);
        Ok(recording)
    })
    .await
}

/// Runs a codec or file access on the blocking pool.
pub(super) async fn off_thread<T: Send + 'static>(
    stage: Stage,
    work: impl FnOnce() -> Result<T, JobFailure> + Send + 'static,
) -> Result<T, JobFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(JobFailure::new(
            stage,
            ErrorCode::ProcessingFailed,
            Reason::Internal,
            "the stage panicked",
        )),
    }
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
            AudioSource::Url(url) => fetch(url.expose(), options),
            AudioSource::Path(path) => read_upload(Path::new(path.expose()), options, max_bytes),
        };
        match bytes {
            Ok(bytes) => return Ok(bytes),
            Err(error) => last = Some(error),
        }
    }
    let (reason, message) = match &last {
        Some(error) => (error.reason(), crate::engine::error_chain(error)),
        None => (Reason::NoAudio, "no audio data in request".to_owned()),
    };
    Err(JobFailure::new(
        Stage::Decode,
        ErrorCode::TranscriptionFailed,
        reason,
        message,
    ))
}

/// Fetches an allow-listed URL.
fn fetch(url: &str, options: &RecordingOptions) -> Result<Bytes, SourceError> {
    let uri = allowed_uri(url, &options.allowed_url_hosts).ok_or(SourceError::HostNotAllowed)?;
    let mut response = http_client(options.url_timeout)
        .get(uri)
        .call()
        .map_err(|e| SourceError::Fetch(Box::new(e)))?;
    let body = response.body_mut().as_reader();
    read_at_most(body, options.max_url_bytes).map_err(|error| match error {
        SourceError::Unreadable(source) => SourceError::Fetch(Box::new(source)),
        other => other,
    })
}

/// The address, if it is one of the web and names an allowed host.
pub(super) fn allowed_uri(url: &str, allowed_hosts: &[String]) -> Option<ureq::http::Uri> {
    // What is no URL names no host.
    let uri: ureq::http::Uri = url.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host()?;
    let is_allowed = allowed_hosts
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(host));
    (is_web && is_allowed).then_some(uri)
}

/// A client for an [allowed address](allowed_uri). It follows no redirect, since it could lead anywhere.
pub(super) fn http_client(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .build()
        .into()
}

/// Reads a file below one of the upload folders.
fn read_upload(
    path: &Path,
    options: &RecordingOptions,
    max_bytes: u64,
) -> Result<Bytes, SourceError> {
    read_at_most(open_upload(path, options)?, max_bytes)
}

/// Reads a file below one of the upload folders that was not last written before `since`; `None` when
/// it cannot be read.
pub(super) fn upload_since(
    path: &str,
    options: &RecordingOptions,
    max_bytes: u64,
    since: OffsetDateTime,
) -> Option<Bytes> {
    let file = open_upload(Path::new(path), options).ok()?;
    let written = file.metadata().and_then(|facts| facts.modified()).ok()?;
    if OffsetDateTime::from(written) < since {
        return None;
    }
    read_at_most(file, max_bytes).ok()
}

/// Opens a file below one of the upload folders. Links are resolved first, so none leads out.
fn open_upload(path: &Path, options: &RecordingOptions) -> Result<std::fs::File, SourceError> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(SourceError::OutsideRoots);
    }
    let mut failure = SourceError::OutsideRoots;
    for root in &options.upload_roots {
        let Ok(root) = root.canonicalize() else {
            continue;
        };
        let candidates = if path.is_absolute() {
            vec![path.to_owned()]
        } else {
            // The path may begin with the folder's own name (`uploads/2026/…`).
            let parent = root.parent().map(|parent| parent.join(path));
            std::iter::once(root.join(path)).chain(parent).collect()
        };
        for candidate in candidates {
            match candidate.canonicalize() {
                Ok(file) if file.starts_with(&root) && file.is_file() => {
                    return std::fs::File::open(file).map_err(SourceError::Unreadable);
                }
                Ok(_) => {}
                Err(error) => failure = SourceError::Unreadable(error),
            }
        }
    }
    Err(failure)
}

fn read_at_most(source: impl std::io::Read, max_bytes: u64) -> Result<Bytes, SourceError> {
    let mut bytes = Vec::new();
    source
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(SourceError::Unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(SourceError::TooLarge(max_bytes));
    }
    Ok(bytes.into())
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
        let pcm = off_thread(Stage::Transcribe, resampled).await?;
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

    fn options(root: &Path) -> RecordingOptions {
        RecordingOptions {
            upload_roots: vec![root.to_owned()],
            allowed_url_hosts: vec!["media.example.test".to_owned()],
            url_timeout: Duration::from_secs(1),
            max_url_bytes: 10,
        }
    }

    #[test]
    fn uploads_are_read_below_their_root_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("uploads");
        std::fs::create_dir_all(root.join("2026")).unwrap();
        std::fs::write(root.join("2026/a.ogg"), b"audio").unwrap();
        std::fs::write(folder.path().join("secret"), b"secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
        let options = options(&root);
        let read = |path: &Path| read_upload(path, &options, 5);

        assert_eq!(read(Path::new("2026/a.ogg")).unwrap(), "audio");
        assert_eq!(read(Path::new("uploads/2026/a.ogg")).unwrap(), "audio");
        assert_eq!(read(&root.join("2026/a.ogg")).unwrap(), "audio");
        for hostile in [
            "../secret",
            "link",
            "/etc/passwd",
            "2026/../../secret",
            "secret",
        ] {
            let error = read(Path::new(hostile)).unwrap_err();
            assert_eq!(error.reason(), Reason::NoAudio, "{hostile}");
        }
        assert!(matches!(
            read_upload(Path::new("2026/a.ogg"), &options, 4),
            Err(SourceError::TooLarge(4))
        ));
    }

    #[test]
    fn urls_are_fetched_from_allowed_hosts_only() {
        let options = options(Path::new("uploads"));
        for url in [
            "http://127.0.0.1/a",
            "http://media.example.test.evil.test/a",
            "http://media.example.test@evil.test/a",
            "file:///etc/passwd",
            "ftp://media.example.test/a",
            "/relative",
        ] {
            let error = fetch(url, &options).unwrap_err();
            assert!(
                matches!(error, SourceError::HostNotAllowed),
                "{url}: {error}"
            );
        }
    }
}
