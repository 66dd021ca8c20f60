//! Earlier recordings of a user, to make a voice from, and who the user is: what the gateway's
//! database says, and where it says nothing, what the ledger still has.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use super::Pipeline;
use super::job::Job;
use super::recording::{self, RecordingOptions};
use crate::domain::digest::sha256_hex;
use crate::domain::timestamp::from_unix_ms;
use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Deadline, Recording};
use crate::engine::in_background;
use crate::error::{Reason, error_chain};
use crate::ledger::{JobId, JobRecord, JobState, LedgerError};
use crate::protocol::{AudioSource, Request, RequestKind};
use crate::stages::decode::DecodeLimits;
use crate::voices::VoicePrint;

/// Recordings that one voice is made from at most, beside the one at hand.
const MAX_RECORDINGS: usize = 20;
/// Jobs that are looked through for them: some hold the same recording, or none that may be used.
const MAX_JOBS: u32 = 100;
/// Speech beyond which no more recordings are looked for: the quality of a voice has no step above
/// a minute, and XTTS hears half a minute of each.
const MAX_SPEECH_MS: u64 = 300_000;
/// Bytes that are read at most.
const MAX_BYTES: usize = 64 << 20;
/// For all of it: a job waits.
const BUDGET: Duration = Duration::from_secs(10);

/// Which recordings are wanted.
pub(super) struct Wanted<'a> {
    pub(super) user_id: &'a str,
    /// Older ones are left out.
    pub(super) since: OffsetDateTime,
    /// The recording at hand, which is not wanted again, with its job.
    pub(super) at_hand: Option<(JobId, &'a Recording)>,
}

/// What a job with a short recording may use beside it.
pub(super) async fn earlier(job: &Job, user_id: &str, recording: &Recording) -> Vec<Recording> {
    let wanted = Wanted {
        user_id,
        since: OffsetDateTime::UNIX_EPOCH,
        at_hand: Some((job.record.id, recording)),
    };
    let deadline = job.deadline.with_budget(BUDGET);
    recordings(&job.pipeline, &wanted, &deadline).await
}

/// Who a user is by the voice print that the gateway keeps, ours or another writer's.
pub(super) async fn identity(pipeline: &Pipeline, user_id: &str) -> Option<SpeakerEmbedding> {
    let database = pipeline.database.as_ref()?;
    match database.voice_embedding(user_id).await {
        Ok(print) => Some(VoicePrint::from_bytes(&print?).ok()?.into_identity()),
        Err(error) => {
            let error = error_chain(&error);
            tracing::warn!(error, "the voice print in the database is not known");
            None
        }
    }
}

/// The recordings that a user made, newest first, each once. What cannot be read or decoded is left
/// out; so are forwarded recordings, and those from which nothing may be learnt.
pub(super) async fn recordings(
    pipeline: &Pipeline,
    wanted: &Wanted<'_>,
    deadline: &Deadline,
) -> Vec<Recording> {
    let mut found = Found::new(pipeline, wanted, deadline);
    found.look_through_uploads().await;
    if !found.recordings.is_empty() {
        return found.recordings;
    }
    if let Err(error) = found.look_through_jobs().await {
        tracing::warn!(error = %error_chain(&error), "earlier recordings cannot be looked up");
    }
    found.recordings
}

struct Found<'a> {
    pipeline: &'a Pipeline,
    wanted: &'a Wanted<'a>,
    deadline: &'a Deadline,
    recordings: Vec<Recording>,
    seen: HashSet<String>,
    speech_ms: u64,
    bytes: usize,
}

impl<'a> Found<'a> {
    fn new(pipeline: &'a Pipeline, wanted: &'a Wanted<'a>, deadline: &'a Deadline) -> Self {
        let at_hand = wanted.at_hand.map(|(_, recording)| recording);
        Self {
            pipeline,
            wanted,
            deadline,
            recordings: Vec::new(),
            seen: at_hand
                .iter()
                .map(|recording| recording.sha256.clone())
                .collect(),
            speech_ms: at_hand.map_or(0, |recording| recording.pcm.duration_ms()),
            bytes: 0,
        }
    }

    fn is_enough(&self) -> bool {
        self.recordings.len() >= MAX_RECORDINGS
            || self.speech_ms >= MAX_SPEECH_MS
            || self.bytes >= MAX_BYTES
            || self.deadline.check().is_err()
    }

    /// The recordings that the gateway's database knows and whose files are here.
    async fn look_through_uploads(&mut self) {
        let Some(database) = &self.pipeline.database else {
            return;
        };
        let limit = MAX_RECORDINGS as u32;
        let paths = match database.audio_history(self.wanted.user_id, limit).await {
            Ok(paths) => paths,
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(error, "recordings in the database are not known");
                return;
            }
        };
        for path in paths {
            if self.is_enough() {
                break;
            }
            self.hear(vec![AudioSource::Path(path.into())]).await;
        }
    }

    /// The recordings of jobs that the ledger still has.
    async fn look_through_jobs(&mut self) -> Result<(), LedgerError> {
        let ledger = &self.pipeline.ledger;
        let kind = RequestKind::AudioProcess.as_str();
        let before = self.wanted.at_hand.map(|(job_id, _)| job_id);
        let jobs = ledger
            .jobs_of_user(self.wanted.user_id, kind, before, MAX_JOBS)
            .await?;
        for job_id in jobs {
            if self.is_enough() {
                break;
            }
            let Some(record) = ledger.load(job_id).await? else {
                continue;
            };
            if record.is_damaged {
                continue;
            }
            if from_unix_ms(record.received_at_ms) < self.wanted.since {
                break;
            }
            if is_harmful(&record) {
                continue;
            }
            let Ok(Request::AudioProcess(request)) = self.pipeline.request_of(&record).await?
            else {
                continue;
            };
            // A forwarded recording says whose voice it is on another's word, and where nothing may be
            // cloned nothing may be learnt.
            let is_own = request.original_sender_id.is_none()
                || request.original_sender_id.as_ref() == Some(&request.sender_id);
            if is_own && request.generate_voice_clone {
                self.hear(request.audio).await;
            }
        }
        Ok(())
    }

    /// Adds a recording that can be read, is new, and can be decoded.
    async fn hear(&mut self, sources: Vec<AudioSource>) {
        let options = self.pipeline.options.recording.clone();
        let limits = DecodeLimits {
            max_duration_ms: MAX_SPEECH_MS,
            ..self.pipeline.options.decode_limits.clone()
        };
        let max_bytes = limits.max_bytes.min(MAX_BYTES.saturating_sub(self.bytes)) as u64;
        let since = self.wanted.since;
        let read = move || {
            let bytes = local_bytes(&sources, &options, max_bytes, since)?;
            let sha256 = sha256_hex(&bytes);
            Some((bytes, sha256))
        };
        let Some((bytes, sha256)) = off_thread(read).await else {
            return;
        };
        self.bytes += bytes.len();
        if !self.seen.insert(sha256.clone()) {
            return;
        }
        let deadline = self.deadline.clone();
        let decoder = Arc::clone(&self.pipeline.decoder);
        let decoded = off_thread(move || decoder.decode(&bytes, &limits, &deadline).ok());
        if let Some(pcm) = decoded.await {
            self.speech_ms += pcm.duration_ms();
            self.recordings.push(Recording { pcm, sha256 });
        }
    }
}

/// True for a job whose recording could not be decoded, or may have been what took so long: it is not
/// tried again with every later recording of its user.
fn is_harmful(record: &JobRecord) -> bool {
    let harmful = [Reason::MalformedAudio, Reason::DeadlineExceeded].map(Reason::as_str);
    record.state == JobState::Quarantined
        || record
            .reason
            .as_deref()
            .is_some_and(|reason| harmful.contains(&reason))
}

/// Runs what may panic on a recording that nobody has to have.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    in_background(work).await.unwrap_or_else(|_| {
        tracing::error!("an earlier recording made its decoder panic");
        None
    })
}

/// The bytes of a recording that is still at hand; nothing is fetched for it again.
fn local_bytes(
    sources: &[AudioSource],
    options: &RecordingOptions,
    max_bytes: u64,
    since: OffsetDateTime,
) -> Option<Bytes> {
    sources.iter().find_map(|source| match source {
        AudioSource::Frame(_) | AudioSource::Base64(_) => source.inline_bytes().ok()?,
        AudioSource::Path(path) => {
            recording::upload_since(path.expose(), options, max_bytes, since)
        }
        AudioSource::Url(_) => None,
    })
}
