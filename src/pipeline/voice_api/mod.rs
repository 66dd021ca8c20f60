//! The voice API: every request gets exactly one reply, stored before it is published.
//!
//! ```text
//! translate.rs  a recording in other languages, in the reply or as a job
//! jobs.rs       how far a job is, and its cancellation
//! webhook.rs    the post of a job's event to where its request asked for it
//! analysis.rs   what can be measured in a voice, and how alike two are
//! profiles.rs   the voice of a user: looked at, registered, named, deleted
//! history.rs    history, figures and feedback of a user
//! daemon.rs     health, languages and figures of the daemon
//! ```

mod analysis;
mod daemon;
mod history;
mod jobs;
mod profiles;
mod translate;
mod webhook;

use std::sync::Arc;

use super::job::Job;
use super::{JobFailure, Pipeline};
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::{Finish, JobRecord};
use crate::protocol::{
    Event, JobStatusName, Timestamp, VoiceApiRequest, VoiceApiResult, VoiceApiSuccess, VoiceCall,
    VoiceErrorCode, VoiceTranslationFailed,
};

pub(super) use analysis::measured;
pub use daemon::{admin_metrics, health};
pub use history::{history, stats};
pub(super) use jobs::FAILED;
pub use jobs::{accepted, job_id};
pub use profiles::profile;
pub use webhook::Webhooks;

/// Key of the one reply to a request.
pub(super) const REPLY: &str = "reply";

pub(super) async fn run(job: &Arc<Job>, request: VoiceApiRequest) -> Result<Finish, JobFailure> {
    let kind = request.kind();
    let (task_id, user_id) = (request.task_id, request.user_id);
    let user = user_id.as_deref();
    let pipeline = &job.pipeline;
    let result = match request.call {
        VoiceCall::TranslateAsync(wanted, options) => {
            return translate::run_async(job, user_id, *wanted, options).await;
        }
        VoiceCall::Translate(wanted) => translate::run(job, user, *wanted).await?,
        VoiceCall::JobStatus(job_id) => jobs::status(job, user, job_id).await?,
        VoiceCall::JobCancel(job_id) => jobs::cancel(job, user, job_id).await?,
        VoiceCall::Analyze(audio) => analysis::analyze(job, audio).await?,
        VoiceCall::Compare(first, second) => analysis::compare_two(job, first, second).await?,
        VoiceCall::Feedback(feedback) => history::feedback(job, owner(user)?, feedback).await?,
        VoiceCall::History(wanted) => {
            VoiceApiResult::History(history(pipeline, owner(user)?, wanted).await?)
        }
        VoiceCall::Stats(period) => {
            VoiceApiResult::Stats(stats(pipeline, owner(user)?, period).await?)
        }
        VoiceCall::AdminMetrics => VoiceApiResult::AdminMetrics(admin_metrics(pipeline).await?),
        VoiceCall::Health => VoiceApiResult::Health(health(pipeline)),
        VoiceCall::Languages => VoiceApiResult::Languages(daemon::languages(pipeline)),
        VoiceCall::ProfileGet(id) => {
            let profile = profile(pipeline, &owner(user)?, id.as_deref()).await?;
            VoiceApiResult::Profile(profile)
        }
        VoiceCall::ProfileCreate(wanted) => profiles::create(job, &owner(user)?, wanted).await?,
        VoiceCall::ProfileUpdate(wanted) => profiles::update(job, &owner(user)?, wanted).await?,
        VoiceCall::ProfileDelete(id) => profiles::delete(job, &owner(user)?, id).await?,
        VoiceCall::ProfileList(page) => profiles::list(job, &owner(user)?, page).await?,
    };
    let reply = Event::VoiceApiSuccess(Box::new(VoiceApiSuccess {
        task_id,
        request_type: kind,
        result,
        processing_time_ms: job.processing_time_ms(),
        timestamp: Timestamp::now(),
    }));
    job.finish(vec![(REPLY.to_owned(), reply)], Vec::new(), Finish::Done)
        .await?;
    Ok(Finish::Done)
}

/// The event that tells the end of a job that has failed.
pub(super) fn failed(record: &JobRecord, request: &VoiceApiRequest, failure: &JobFailure) -> Event {
    let options = match &request.call {
        VoiceCall::TranslateAsync(_, options) => Some(options),
        _ => None,
    };
    let failure = failure.on_the_wire();
    Event::VoiceTranslationFailed(Box::new(VoiceTranslationFailed {
        job_id: record.public_id.clone().unwrap_or_default(),
        status: JobStatusName::Failed,
        user_id: request.user_id.clone(),
        timestamp: Timestamp::now(),
        error: failure.message,
        error_code: VoiceErrorCode::of(failure.code, failure.reason),
        reason: failure.reason,
        callback_metadata: options.and_then(|options| options.callback_metadata.clone()),
    }))
}

/// Tells the address that a job's request named of the job's end, where it named one.
pub(super) fn post(pipeline: &Pipeline, request: VoiceApiRequest, end: &Event) {
    if let VoiceCall::TranslateAsync(_, options) = request.call
        && let Some(url) = options.webhook_url
    {
        pipeline.webhooks.post(url.into_exposed(), end);
    }
}

/// A request that cannot be served as it is; no stage has failed.
fn refusal(reason: Reason, message: impl Into<String>) -> JobFailure {
    JobFailure::new(Stage::Intake, ErrorCode::ProcessingFailed, reason, message)
}

/// The user, for what makes sense only for somebody; requests without one are rejected before.
fn owner(user: Option<&str>) -> Result<String, JobFailure> {
    user.map(str::to_owned)
        .ok_or_else(|| refusal(Reason::Unauthorized, "the user's id is missing"))
}

/// Digits of a short name. Peers choose the ids that go into it, and two jobs of one name could not
/// both be kept, so it must not be possible to find two that are alike.
const SHORT_NAME_DIGITS: usize = 32;

/// The short name of a job, which a repeat of the request has too: the beginning of its key's hash.
fn short_name(key: &str) -> &str {
    let hash = key.rsplit(':').next().unwrap_or(key);
    hash.get(..SHORT_NAME_DIGITS).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_hash_of_the_key() {
        let key = format!("voice_translate:{}", "0123456789abcdef".repeat(4));
        assert_eq!(short_name(&key), "0123456789abcdef".repeat(2));
        assert_eq!(short_name("short"), "short");
    }
}
