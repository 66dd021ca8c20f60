//! Translations of the voice API as jobs of their own form.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::Serialize;
use utoipa::ToSchema;

use super::report::{JobReport, JobStatus, Loaded};
use super::result::JobResult;
use super::voice_results::TranslatedVoice;
use super::{JobsState, named, not_found};
use crate::http::error::ApiError;
use crate::ledger::Audience;
use crate::protocol::RequestKind;

/// The kinds of jobs that are translations of the voice API.
const TRANSLATIONS: [RequestKind; 2] = [
    RequestKind::VoiceTranslate,
    RequestKind::VoiceTranslateAsync,
];

/// A translation of the voice API as a job.
#[derive(Serialize, ToSchema)]
pub struct VoiceJob {
    /// What it is called.
    pub id: String,
    /// How it stands.
    pub status: VoiceJobStatus,
    /// In percent.
    #[schema(maximum = 100)]
    pub progress: u8,
    /// The stage that was begun last, while the job runs.
    pub current_step: Option<String>,
    /// What it has brought.
    pub result: Option<TranslatedVoice>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was accepted (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its latest attempt was begun.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub completed_at: Option<String>,
}

/// How a job of the voice API stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoiceJobStatus {
    /// It waits for its turn.
    Pending,
    /// It is being worked on.
    Processing,
    /// It has its result.
    Completed,
    /// It failed.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl VoiceJob {
    fn of(job: JobReport) -> Self {
        Self {
            id: job.id,
            status: match job.status {
                JobStatus::Queued => VoiceJobStatus::Pending,
                JobStatus::Running => VoiceJobStatus::Processing,
                JobStatus::Completed => VoiceJobStatus::Completed,
                JobStatus::Failed => VoiceJobStatus::Failed,
                JobStatus::Cancelled => VoiceJobStatus::Cancelled,
            },
            progress: job.progress,
            current_step: job.stage,
            result: match job.result.flatten() {
                Some(JobResult::TranslatedVoice(translated)) => Some(translated),
                _ => None,
            },
            error: job.error.map(|error| error.detail),
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
        }
    }
}

impl JobsState {
    /// A translation of the voice API that came over HTTP.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn voice_job(
        &self,
        id: Result<Path<String>, PathRejection>,
    ) -> Result<VoiceJob, ApiError> {
        let job = self.translation(id).await?;
        Ok(VoiceJob::of(job.whole(&self.pipeline).await?))
    }

    /// Ends one that has not ended; as it is afterwards.
    ///
    /// # Errors
    /// There is none of that name, or it has ended.
    pub async fn cancel_voice_job(
        &self,
        id: Result<Path<String>, PathRejection>,
    ) -> Result<VoiceJob, ApiError> {
        let job = self.translation(id).await?;
        Ok(VoiceJob::of(self.cancelled(job).await?))
    }

    async fn translation(
        &self,
        id: Result<Path<String>, PathRejection>,
    ) -> Result<Loaded, ApiError> {
        let job = named(self, id).await?;
        let summary = &job.summary;
        let is_translation = TRANSLATIONS
            .iter()
            .any(|kind| kind.as_str() == summary.kind);
        if summary.audience != Audience::Http || !is_translation {
            return Err(not_found());
        }
        Ok(job)
    }
}
