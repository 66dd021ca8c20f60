//! `transcription_only`: a recording to write down, nothing more.

use super::JobFailure;
use super::job::Job;
use super::recording::{self, Hints};
use crate::ledger::Finish;
use crate::protocol::{Event, Timestamp, TranscriptionRequest, TranscriptionResult};

pub(super) async fn run(
    job: &Job,
    mut request: TranscriptionRequest,
) -> Result<Finish, JobFailure> {
    job.expect_languages(0);
    let recording = recording::decoded(job, std::mem::take(&mut request.audio)).await?;
    let hints = Hints {
        mobile: request.mobile_transcription.as_ref(),
        user_language: request.user_language,
        claimed_duration_ms: None,
        owner_id: None,
    };
    let transcript = recording::transcript(job, &recording, hints).await?;
    let completed = Event::TranscriptionCompleted(Box::new(TranscriptionResult {
        job: request.job(),
        transcription: transcript,
        processing_time_ms: job.processing_time_ms(),
        timestamp: Timestamp::now(),
    }));
    job.finish(
        vec![("completed".to_owned(), completed)],
        Vec::new(),
        Finish::Done,
    )
    .await?;
    Ok(Finish::Done)
}
