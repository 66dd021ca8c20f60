//! Jobs of the daemon's own on the voice of a user: making it anew, and deleting it.
//!
//! They are jobs like others, so that what was accepted is done even if the daemon is killed, and so
//! that what they write to MongoDB waits in the ledger while it is away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::history::{self, Wanted};
use super::job::Job;
use super::{JobFailure, documents, recording, voice};
use crate::domain::digest::sha256_hex;
use crate::domain::timestamp;
use crate::error::{ErrorCode, Reason, Stage};
use crate::fault;
use crate::ledger::{
    DocumentWrite, Finish, Forgotten, JobId, JobRecord, Ledger, LedgerError, NewJob,
};
use crate::voices::{Occasion, VoiceMetadata};

/// How long a deletion waits for events of the user's jobs to be published.
const PUBLICATION_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const PUBLICATION_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Name of the checkpoint that tells what was deleted.
const DELETED: &str = "deleted";

/// What is to be done with a user's voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoiceTaskKind {
    /// To be made anew from recordings.
    #[serde(rename = "voice_recalibrate")]
    Recalibrate,
    /// To be deleted, with everything else that is kept of the user.
    #[serde(rename = "voice_delete")]
    Delete,
}

impl VoiceTaskKind {
    /// The job's kind in the ledger, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recalibrate => "voice_recalibrate",
            Self::Delete => "voice_delete",
        }
    }
}

/// A job on a user's voice.
#[derive(Debug, Serialize, Deserialize)]
pub struct VoiceTask {
    #[serde(rename = "type")]
    kind: VoiceTaskKind,
    #[serde(rename = "userId")]
    user_id: String,
    /// Who asked.
    #[serde(rename = "requestedBy")]
    requested_by: String,
    /// Older recordings are left out; milliseconds since 1970.
    #[serde(rename = "sinceMs")]
    since_ms: i64,
    /// What makes two tasks the same.
    #[serde(skip)]
    key: String,
}

impl VoiceTask {
    /// Makes a voice anew because somebody wants it, from the last recordings.
    pub fn recalibrate(user_id: &str, requested_by: &str) -> Self {
        Self::new(VoiceTaskKind::Recalibrate, user_id, requested_by)
    }

    /// Makes a voice anew because its time has come, from recordings since `since`. The same voice is
    /// made anew once for the same time.
    pub fn scheduled(voice: &VoiceMetadata, since: OffsetDateTime) -> Self {
        let kind = VoiceTaskKind::Recalibrate;
        let user = sha256_hex(voice.user_id.as_bytes());
        let due_at = voice.next_recalibration_at.unix_timestamp();
        Self {
            since_ms: timestamp::unix_ms(since),
            key: format!("{}:{user}:{}:{due_at}", kind.as_str(), voice.version),
            ..Self::new(kind, &voice.user_id, "schedule")
        }
    }

    /// Deletes everything that is kept of a user.
    pub fn delete(user_id: &str, requested_by: &str) -> Self {
        Self::new(VoiceTaskKind::Delete, user_id, requested_by)
    }

    fn new(kind: VoiceTaskKind, user_id: &str, requested_by: &str) -> Self {
        Self {
            kind,
            user_id: user_id.to_owned(),
            requested_by: requested_by.to_owned(),
            since_ms: 0,
            key: format!("{}:{}", kind.as_str(), Uuid::new_v4()),
        }
    }

    /// What is to be done.
    pub fn kind(&self) -> VoiceTaskKind {
        self.kind
    }

    /// The task as a job that waits in the lane of that name.
    pub fn job(&self, lane: &str) -> NewJob {
        NewJob {
            key: self.key.clone(),
            kind: self.kind.as_str().to_owned(),
            lane: lane.to_owned(),
            task_id: Uuid::new_v4().to_string(),
            // Plain data with string keys always has a JSON form.
            request: serde_json::to_string(self).unwrap_or_default().into(),
            // A deletion is not part of what it deletes.
            user_id: (self.kind != VoiceTaskKind::Delete).then(|| self.user_id.clone()),
            ..NewJob::default()
        }
    }

    /// The task of a stored job; `None` for a job that somebody sent.
    pub(super) fn of(record: &JobRecord) -> Option<Self> {
        let kinds = [VoiceTaskKind::Recalibrate, VoiceTaskKind::Delete];
        kinds
            .into_iter()
            .find(|kind| kind.as_str() == record.kind)?;
        serde_json::from_slice(record.request.expose()).ok()
    }
}

/// What was deleted of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// Whether there was a voice.
    pub voice: bool,
    /// Jobs that had ended, with their events and audio.
    pub jobs: u64,
    /// Results that were kept to be given out again.
    pub cached: u64,
    /// Entries of the voice API's history, and feedback.
    pub history: u64,
    /// Files of speech in the output folder.
    pub speech_files: u64,
    /// Jobs that go on and leave results of their own; they make no voice.
    pub jobs_in_progress: u64,
}

impl Deleted {
    /// What a deletion that has ended says; `None` when it is no longer in the ledger.
    ///
    /// # Errors
    /// The ledger fails.
    pub async fn by(ledger: &Ledger, job_id: JobId) -> Result<Option<Self>, LedgerError> {
        let checkpoints = ledger.checkpoints(job_id).await?;
        Ok(checkpoints
            .iter()
            .find(|checkpoint| checkpoint.item == DELETED)
            .and_then(|checkpoint| serde_json::from_slice(checkpoint.payload.expose()).ok()))
    }

    /// True when nothing was there to be deleted.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) async fn run(job: &Arc<Job>, task: &VoiceTask) -> Result<Finish, JobFailure> {
    match task.kind {
        VoiceTaskKind::Recalibrate => recalibrate(job, task).await,
        VoiceTaskKind::Delete => delete(job, task).await,
    }
}

async fn recalibrate(job: &Job, task: &VoiceTask) -> Result<Finish, JobFailure> {
    let voices = &job.pipeline.voices;
    let wanted = Wanted {
        user_id: &task.user_id,
        since: timestamp::from_unix_ms(task.since_ms),
        at_hand: None,
    };
    let recordings = history::recordings(&job.pipeline, &wanted, &job.deadline).await;
    let made = job.stage(Stage::Embed, None, ErrorCode::VoiceCloneFailed, async {
        // Who has neither a voice nor recordings is told of the recordings.
        if recordings.is_empty() {
            return Ok(None);
        }
        let occasion = occasion(job, task);
        let made = voices.recalibrate(&task.user_id, &occasion, &recordings, &job.deadline);
        match made.await {
            Ok(voice) => Ok(Some(voice)),
            Err(error) if error.reason() == Reason::AudioTooShort => Ok(None),
            Err(error) => Err(voice::failure(&error)),
        }
    });
    let Some(voice) = made.await? else {
        // On schedule, there is another time.
        if task.since_ms > 0 {
            let postponed = voices.postpone(&task.user_id).await;
            postponed.map_err(|error| voice::failure(&error))?;
            job.finish(Vec::new(), Vec::new(), Finish::Done).await?;
            return Ok(Finish::Done);
        }
        return Err(JobFailure::new(
            Stage::Embed,
            ErrorCode::VoiceCloneFailed,
            Reason::NoAudio,
            "no audio history found",
        ));
    };
    let held = job.hold(&task.user_id).await;
    let documents = match held {
        Some(_) => documents::of_voice(job, &voice).into_iter().collect(),
        None => Vec::new(),
    };
    job.finish(Vec::new(), documents, Finish::Done).await?;
    Ok(Finish::Done)
}

async fn delete(job: &Job, task: &VoiceTask) -> Result<Finish, JobFailure> {
    forget(job, &task.user_id, &task.requested_by).await?;
    job.finish(Vec::new(), Vec::new(), Finish::Done).await?;
    Ok(Finish::Done)
}

/// Deletes everything that is kept of a user, here and, once it can be reached, in MongoDB.
pub(super) async fn forget(job: &Job, user_id: &str, requested_by: &str) -> Result<(), JobFailure> {
    // An earlier attempt has told already what there was.
    let deleted = job.restored::<Deleted>(Stage::Embed, DELETED).await;
    if deleted.is_none() {
        let occasion = Occasion {
            requested_by,
            task_id: &job.record.task_id,
        };
        let existed = job.pipeline.voices.forget(user_id, &occasion).await;
        let voice = existed.map_err(|error| voice::failure(&error))?;
        let fault = fault::point(Stage::Embed, DELETED, job.fault_target()).await;
        fault.map_err(|fault| {
            JobFailure::injected(Stage::Embed, ErrorCode::ProcessingFailed, fault)
        })?;
        let ledger = &job.pipeline.ledger;
        let (forgotten, speech_files) = forget_records(job, user_id).await?;
        let deleted = Deleted {
            voice,
            jobs: forgotten.jobs,
            cached: forgotten.cached,
            history: forgotten.history,
            speech_files,
            jobs_in_progress: ledger.unfinished_jobs_of_user(user_id).await?,
        };
        job.checkpoint(Stage::Embed, DELETED, &deleted, None)
            .await?;
    }
    let documents: Vec<DocumentWrite> = documents::of_no_voice(job, user_id).into_iter().collect();
    job.hand_over_documents(documents).await?;
    Ok(())
}

/// Deletes what the ledger keeps of a user, with the speech files that it names, and counts both. What
/// still waits to be published is published first: whoever asked waits for it.
async fn forget_records(job: &Job, user_id: &str) -> Result<(Forgotten, u64), JobFailure> {
    let ledger = &job.pipeline.ledger;
    let (mut sum, mut speech_files) = (Forgotten::default(), 0);
    let until = Instant::now() + PUBLICATION_PATIENCE;
    loop {
        let keep_unpublished = job.pipeline.outbox.is_some() && Instant::now() < until;
        speech_files += delete_speech(job, user_id).await?;
        let forgotten = ledger.forget_user(user_id, keep_unpublished).await?;
        sum.jobs += forgotten.jobs;
        sum.cached += forgotten.cached;
        sum.history += forgotten.history;
        if forgotten.unpublished == 0 {
            return Ok((sum, speech_files));
        }
        tokio::time::sleep(PUBLICATION_CHECK_INTERVAL).await;
    }
}

fn occasion<'a>(job: &'a Job, task: &'a VoiceTask) -> Occasion<'a> {
    Occasion {
        requested_by: &task.requested_by,
        task_id: &job.record.task_id,
    }
}

/// Deletes the speech that was written for a user; gives the number of files. What cannot be deleted
/// stays known, for another try.
async fn delete_speech(job: &Job, user_id: &str) -> Result<u64, JobFailure> {
    let ledger = &job.pipeline.ledger;
    let files = ledger.speech_files_of_user(user_id).await?;
    let root = job.pipeline.options.output_directory.clone();
    let work = move || {
        let mut deleted = 0;
        let is_gone = |file: &PathBuf| match std::fs::remove_file(root.join(file)) {
            Ok(()) => {
                deleted += 1;
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => {
                tracing::error!(%error, "speech file could not be deleted");
                false
            }
        };
        let gone: Vec<PathBuf> = files.into_iter().filter(is_gone).collect();
        Ok((gone, deleted))
    };
    let (gone, deleted) = recording::off_thread(Stage::Embed, work).await?;
    ledger.forget_speech_files(gone).await?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_from_its_own_job_only() {
        let task = VoiceTask::delete("ann", "api");
        let job = task.job("text_fast");
        assert_eq!(job.kind, "voice_delete");
        assert_eq!(job.user_id, None);
        let read: VoiceTask = serde_json::from_str(job.request.expose()).unwrap();
        assert_eq!(read.kind(), VoiceTaskKind::Delete);
        assert_eq!(read.user_id, "ann");
        assert_ne!(
            job.key,
            VoiceTask::delete("ann", "api").job("text_fast").key
        );
    }
}
