//! What is told of a job.

use axum::body::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::JobError;
use super::result::{Answer, JobResult, speech};
use crate::domain::timestamp::{from_unix_ms, text};
use crate::error::Reason;
use crate::http::error::ApiError;
use crate::ledger::{
    Audience, JobFilter, JobId, JobState, JobSummary, LedgerError, StageRun, StageStatus,
};
use crate::pipeline::Pipeline;

/// Jobs, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = JobReports)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobReport>,
    /// How many there are in all.
    pub total: u64,
}

/// A job.
#[derive(Serialize, ToSchema)]
pub struct JobReport {
    /// What it is called: a UUID, or a number for jobs of the gateway.
    pub id: String,
    /// What is to be done: `process_message`, `transcribe`, `tts`, `register_voice`, or the type of a message of
    /// the gateway.
    pub kind: String,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    pub status: JobStatus,
    /// The stage that was begun last, while the job runs.
    pub stage: Option<String>,
    /// In percent.
    #[schema(maximum = 100)]
    pub progress: u8,
    /// When it was accepted (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its latest attempt was begun.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub completed_at: Option<String>,
    /// The stages of its latest attempt, in the order in which they began.
    pub stages: Vec<StageReport>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What a request that waits is answered with; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub result: Option<Option<JobResult>>,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for its turn.
    Queued,
    /// It is being worked on.
    Running,
    /// It has its result.
    Completed,
    /// It has none, and will have none.
    Failed,
    /// Nobody wanted it any more.
    Cancelled,
}

/// One run of a stage.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StageReport {
    /// The stage.
    pub stage: String,
    /// The language, for stages that run once for each.
    pub language: Option<String>,
    /// `running`, `done` or `failed`.
    pub status: StageStatus,
    /// When it began (RFC 3339).
    #[schema(format = DateTime)]
    pub started_at: String,
    /// How long it took, once it is over.
    pub duration_ms: Option<u64>,
}

/// A job as it stands.
pub struct Loaded {
    pub(super) summary: JobSummary,
    pub(super) status: JobStatus,
    pub(super) stages: Vec<StageRun>,
    stage: Option<String>,
    progress: u8,
    error: Option<JobError>,
}

impl Loaded {
    pub(super) async fn of(pipeline: &Pipeline, summary: JobSummary) -> Result<Self, LedgerError> {
        let status = status_of(&summary);
        let is_running = status == JobStatus::Running;
        let advance = pipeline.running.advance(summary.id).filter(|_| is_running);
        let advance = advance.unwrap_or_default();
        let error = match status {
            JobStatus::Failed | JobStatus::Cancelled => {
                Some(JobError::of(pipeline, &summary).await?)
            }
            JobStatus::Queued | JobStatus::Running | JobStatus::Completed => None,
        };
        Ok(Self {
            status,
            stages: if is_running {
                pipeline.running.stages(summary.id)
            } else {
                summary.stages.clone()
            },
            stage: advance.step.map(|stage| stage.as_str().to_owned()),
            progress: match status {
                JobStatus::Completed => 100,
                _ => advance.percent,
            },
            error,
            summary,
        })
    }

    /// What the job is called outside.
    pub(super) fn id(&self) -> String {
        match (&self.summary.public_id, self.summary.audience) {
            (Some(public_id), Audience::Http) => public_id.clone(),
            _ => self.summary.id.to_string(),
        }
    }

    /// The speech of a job that has ended well, and whether it is the voice that was asked for.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub async fn speech(&self, pipeline: &Pipeline) -> Result<(Bytes, bool), ApiError> {
        speech(pipeline, self.summary.id).await
    }

    pub(super) fn progress(&self) -> u8 {
        self.progress
    }

    pub(super) fn error(&self) -> Option<&JobError> {
        self.error.as_ref()
    }

    pub(super) fn is_over(&self) -> bool {
        self.summary.state.is_finished()
    }

    /// The job without what it is about.
    pub(super) fn report(&self) -> JobReport {
        let summary = &self.summary;
        let time = |ms| text(from_unix_ms(ms));
        JobReport {
            id: self.id(),
            kind: kind_of(summary).to_owned(),
            status: self.status,
            stage: self.stage.clone(),
            progress: self.progress,
            created_at: time(summary.received_at_ms),
            started_at: summary.started_at_ms.map(time),
            completed_at: summary.finished_at_ms.map(time),
            stages: self.stages.iter().map(StageReport::of).collect(),
            error: self.error.clone(),
            result: None,
        }
    }

    /// The job with its result, which only jobs that came over HTTP have.
    pub(super) async fn whole(&self, pipeline: &Pipeline) -> Result<JobReport, LedgerError> {
        let result = match self.summary.audience {
            Audience::Http if self.is_over() => Answer::result(pipeline, self.summary.id).await?,
            _ => None,
        };
        Ok(JobReport {
            result: Some(result),
            ..self.report()
        })
    }
}

impl StageReport {
    pub(super) fn of(run: &StageRun) -> Self {
        Self {
            stage: run.stage.clone(),
            language: run.language.clone(),
            status: run.status,
            started_at: text(from_unix_ms(run.started_at_ms)),
            duration_ms: run.duration_ms,
        }
    }
}

/// The job of that name: a UUID for jobs that came over HTTP, which their numbers do not lead to.
pub(super) async fn find(pipeline: &Pipeline, id: &str) -> Result<Option<Loaded>, LedgerError> {
    let (audience, summary) = match id.parse() {
        Ok(id) => (Audience::Gateway, by_id(pipeline, JobId(id)).await?),
        Err(_) => {
            let filter = JobFilter {
                public_id: Some(id.to_owned()),
                limit: 1,
                ..JobFilter::default()
            };
            let found = pipeline.ledger.jobs(filter).await?;
            (Audience::Http, found.jobs.into_iter().next())
        }
    };
    match summary.filter(|summary| summary.audience == audience) {
        Some(summary) => Ok(Some(Loaded::of(pipeline, summary).await?)),
        None => Ok(None),
    }
}

/// The job of that id in the ledger.
pub(super) async fn by_id(
    pipeline: &Pipeline,
    job_id: JobId,
) -> Result<Option<JobSummary>, LedgerError> {
    let filter = JobFilter {
        before: Some(JobId(job_id.0.saturating_add(1))),
        limit: 1,
        ..JobFilter::default()
    };
    let newest = pipeline.ledger.jobs(filter).await?.jobs.into_iter().next();
    Ok(newest.filter(|summary| summary.id == job_id))
}

fn status_of(summary: &JobSummary) -> JobStatus {
    match summary.state {
        JobState::Accepted => JobStatus::Queued,
        JobState::Running => JobStatus::Running,
        JobState::Done => JobStatus::Completed,
        JobState::Failed if summary.reason.as_deref() == Some(Reason::Cancelled.as_str()) => {
            JobStatus::Cancelled
        }
        JobState::Failed | JobState::Quarantined => JobStatus::Failed,
    }
}

fn kind_of(summary: &JobSummary) -> &str {
    match (summary.audience, summary.kind.as_str()) {
        (Audience::Http, "audio_process") => "process_message",
        (Audience::Http, "transcription_only") => "transcribe",
        (Audience::Http, "voice_profile_create") => "register_voice",
        (_, kind) => kind,
    }
}
