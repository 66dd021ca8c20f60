//! Jobs of the voice API: their acceptance, how far they are, and their cancellation.

use serde_json::Value;

use super::{failed, post, refusal, short_name};
use crate::domain::timestamp::from_unix_ms;
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::{Emission, JobRecord, JobState, LedgerError};
use crate::pipeline::job::{Job, outgoing_event};
use crate::pipeline::{JobFailure, count_end};
use crate::protocol::{
    Event, JobAccepted, JobCancelled, JobStatus, JobStatusName, Request, RequestKind, Timestamp,
    VoiceApiRequest, VoiceApiResult, VoiceApiSuccess,
};

/// Key of the event with a job's result.
pub(super) const COMPLETED: &str = "completed";
/// Key of the event that tells a job's failure.
pub(in crate::pipeline) const FAILED: &str = "error";

/// What peers call the job that has this key in the ledger.
pub fn job_id(key: &str) -> String {
    format!("job_{}", short_name(key))
}

/// The reply to a request that became a job; stored together with the job.
pub fn accepted(request: &VoiceApiRequest, job_id: String) -> Event {
    Event::VoiceApiSuccess(Box::new(VoiceApiSuccess {
        task_id: request.task_id.clone(),
        request_type: RequestKind::VoiceTranslateAsync,
        result: VoiceApiResult::JobAccepted(JobAccepted {
            job_id,
            status: JobStatusName::Pending,
        }),
        processing_time_ms: 0,
        timestamp: Timestamp::now(),
    }))
}

pub(super) async fn status(
    job: &Job,
    user_id: Option<&str>,
    job_id: String,
) -> Result<VoiceApiResult, JobFailure> {
    let record = owned(job, user_id, job_id.clone()).await?;
    let status = status_of(&record);
    let advance = job.pipeline.running.advance(record.id).unwrap_or_default();
    let (result, error) = match status {
        JobStatusName::Completed => (event_field(job, &record, COMPLETED, "result").await?, None),
        JobStatusName::Failed | JobStatusName::Cancelled => {
            let error = event_field(job, &record, FAILED, "error").await?;
            let text = error.as_ref().and_then(Value::as_str);
            (None, text.map(str::to_owned))
        }
        JobStatusName::Pending | JobStatusName::Processing => (None, None),
    };
    Ok(VoiceApiResult::JobStatus(Box::new(JobStatus {
        id: job_id.clone(),
        job_id,
        user_id: record.user_id.clone(),
        user_id_snake: record.user_id.clone(),
        status,
        progress: match status {
            JobStatusName::Completed => 100,
            _ => advance.percent,
        },
        current_step: advance.step.map(Stage::as_str),
        created_at: from_unix_ms(record.received_at_ms),
        started_at: record.started_at_ms.map(from_unix_ms),
        completed_at: record.finished_at_ms.map(from_unix_ms),
        result: result.map(Into::into),
        error,
    })))
}

/// Ends a job that has not ended, with its event; the job itself notices at its next step.
pub(super) async fn cancel(
    job: &Job,
    user_id: Option<&str>,
    job_id: String,
) -> Result<VoiceApiResult, JobFailure> {
    let record = owned(job, user_id, job_id).await?;
    match status_of(&record) {
        JobStatusName::Pending | JobStatusName::Processing => {}
        // By an earlier request, or by an earlier attempt at this one.
        JobStatusName::Cancelled => return Ok(cancelled(true, "the job is cancelled")),
        JobStatusName::Completed | JobStatusName::Failed => {
            return Ok(cancelled(false, "the job has ended already"));
        }
    }
    // With its request, however large.
    let Some(record) = job.pipeline.ledger.load(record.id).await? else {
        return Err(refusal(Reason::NotFound, "no job has that id"));
    };
    let Ok(Request::VoiceApi(request)) = job.pipeline.request_of(&record).await? else {
        return Err(JobFailure::unreadable_request());
    };
    let failure = JobFailure::new(
        Stage::Intake,
        ErrorCode::ProcessingFailed,
        Reason::Cancelled,
        "the job was cancelled",
    );
    let event = failed(&record, &request, &failure);
    let emission = Emission {
        events: outgoing_event(FAILED.to_owned(), &event)
            .into_iter()
            .collect(),
        finish: Some(failure.finish()),
        ..Emission::default()
    };
    match job.pipeline.emit(record.id, emission).await {
        Ok(()) => {}
        Err(LedgerError::AlreadyFinished(_)) => {
            return Ok(cancelled(false, "the job has ended already"));
        }
        Err(error) => return Err(error.into()),
    }
    count_end(&record.kind, record.received_at_ms, failure.finish());
    job.pipeline.running.cancel(record.id);
    post(&job.pipeline, *request, &event);
    Ok(cancelled(true, "the job is cancelled"))
}

fn cancelled(success: bool, message: &str) -> VoiceApiResult {
    VoiceApiResult::JobCancelled(JobCancelled {
        success,
        message: message.to_owned(),
    })
}

/// The job of that name, if it is the user's or nobody's.
async fn owned(job: &Job, user_id: Option<&str>, job_id: String) -> Result<JobRecord, JobFailure> {
    let record = job.pipeline.ledger.load_public(job_id).await?;
    let record = record.ok_or_else(|| refusal(Reason::NotFound, "no job has that id"))?;
    match (record.user_id.as_deref(), user_id) {
        (None, _) => Ok(record),
        (Some(_), None) => Err(refusal(Reason::Unauthorized, "the user's id is missing")),
        (Some(owner), Some(user_id)) if owner == user_id => Ok(record),
        (Some(_), Some(_)) => Err(refusal(Reason::Forbidden, "the job is another user's")),
    }
}

fn status_of(record: &JobRecord) -> JobStatusName {
    match record.state {
        JobState::Accepted => JobStatusName::Pending,
        JobState::Running => JobStatusName::Processing,
        JobState::Done => JobStatusName::Completed,
        JobState::Failed if record.reason.as_deref() == Some(Reason::Cancelled.as_str()) => {
            JobStatusName::Cancelled
        }
        JobState::Failed | JobState::Quarantined => JobStatusName::Failed,
    }
}

/// A field of an event that the job has stored.
async fn event_field(
    job: &Job,
    record: &JobRecord,
    key: &'static str,
    field: &str,
) -> Result<Option<Value>, JobFailure> {
    let body = job.pipeline.ledger.event(record.id, key).await?;
    let event: Option<Value> = body.and_then(|body| serde_json::from_slice(&body).ok());
    Ok(event.and_then(|mut event| event.get_mut(field).map(Value::take)))
}
