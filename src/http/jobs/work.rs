//! A request becomes a job, and whoever waits gets its result.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast;
use utoipa::{IntoParams, IntoResponses};
use uuid::Uuid;

use super::report::{JobReport, Loaded, by_id};
use super::result::{JobResult, no_result};
use super::{JobsState, not_found};
use crate::error::error_chain;
use crate::http::error::{ApiError, ErrorBody, InvalidBody, require_writable};
use crate::ledger::{Audience, JobId, JobState, LedgerError, NewJob, ReceivedUpload};
use crate::scheduler::Demand;

/// How often a job that is waited for is looked at when nothing is told of it.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Which engines a request cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// What measures: no model.
    Measuring,
    /// What hears.
    Hearing,
    /// What speaks.
    Speaking,
    /// What tells voices apart.
    Voices,
    /// What hears, translates, and speaks if that is installed at all.
    Everything,
}

/// A request that was checked.
pub struct NewWork {
    /// Names the job, also in its request.
    pub id: Uuid,
    /// The kind of the job in the ledger.
    pub kind: &'static str,
    /// The request as JSON, with the form of its answer.
    pub request: Value,
    /// The recordings that it is about.
    pub uploads: Vec<ReceivedUpload>,
    /// Whose voice it is about.
    pub user_id: Option<String>,
    /// Where it waits, and what it takes.
    pub demand: Demand,
}

/// A job that is waited for; dropped before its end, it is cancelled: nobody wants it any more.
pub struct Awaited {
    state: JobsState,
    job_id: JobId,
    id: String,
    changes: broadcast::Receiver<JobId>,
    /// The last event that was read.
    last_event: i64,
    pieces: VecDeque<Piece>,
    is_wanted: bool,
}

/// A piece of a speech that is given out as it is spoken.
#[derive(Clone)]
pub struct Piece {
    /// What continues the file.
    pub audio: Bytes,
    /// True when it is the voice that was asked for.
    pub is_cloned: bool,
}

/// Whether the client wants the job or its result.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes a header, which is read by hand")]
pub struct Preference {
    /// `respond-async`: the answer is the job, and nobody waits for it.
    #[param(rename = "Prefer", value_type = String, required = false, example = "respond-async")]
    prefer: Option<String>,
}

/// The job, where it is preferred to its result
#[derive(IntoResponses)]
#[response(
    status = 202,
    headers(
        ("Location" = String, description = "Where the job is"),
        ("Preference-Applied" = String, description = "`respond-async`"),
    ),
)]
#[allow(dead_code, reason = "it describes an answer")]
pub struct Accepted(JobReport);

/// Why work has no result.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes answers")]
pub enum NotDone {
    #[response(
        status = 400,
        description = "There is no recording or no text, it cannot be used, or the body cannot be read"
    )]
    Unusable(ErrorBody),
    #[response(status = 404, description = "The job was deleted with its user")]
    Deleted(ErrorBody),
    #[response(status = 408, description = "The body did not come in time")]
    Late(ErrorBody),
    #[response(status = 409, description = "The job was cancelled")]
    Cancelled(ErrorBody),
    #[response(
        status = 413,
        description = "The recording, the text or the body is too long"
    )]
    TooLarge(ErrorBody),
    #[response(
        status = 415,
        description = "The format is unknown, or the recording is damaged"
    )]
    Unsupported(ErrorBody),
    #[response(status = 422, description = "Fields are missing or wrong")]
    Invalid(InvalidBody),
    #[response(status = 429, description = "Too much waits")]
    Overloaded(ErrorBody),
    #[response(
        status = 503,
        description = "Models are not loaded, audio is switched off, or the daemon stops"
    )]
    NotReady(ErrorBody),
    #[response(status = 507, description = "The disk takes nothing")]
    DiskFull(ErrorBody),
}

impl JobsState {
    /// Refuses calls of the voice API where it is switched off.
    ///
    /// # Errors
    /// It is.
    pub fn require_voice_api(&self) -> Result<(), ApiError> {
        if self.options.voice_api_enabled {
            return Ok(());
        }
        let detail = "The voice API is switched off in this daemon";
        Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail))
    }

    /// Refuses what cannot be done now.
    ///
    /// # Errors
    /// Audio is switched off, models are missing, or the disk takes nothing.
    pub fn require(&self, need: Need) -> Result<(), ApiError> {
        if !self.options.audio_enabled {
            let detail = "Audio is switched off in this daemon";
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        let engines = &self.pipeline.engines;
        let is_ready = match need {
            Need::Measuring => true,
            Need::Hearing => engines.transcribe.is_ready(),
            Need::Speaking => engines.can_speak(),
            Need::Voices => self.pipeline.voices.is_ready(),
            Need::Everything => {
                let speaks = self.pipeline.spoken.is_silent() || engines.can_speak();
                engines.transcribe.is_ready() && engines.translate.is_ready() && speaks
            }
        };
        if !is_ready {
            return Err(ApiError::not_ready());
        }
        require_writable(self.pipeline.ledger.storage())
    }

    /// Makes a job of a request; it is durable when this returns.
    ///
    /// # Errors
    /// Too much waits, or the disk takes nothing.
    pub async fn submit(&self, work: NewWork) -> Result<JobId, ApiError> {
        let id = work.id.to_string();
        let job = NewJob {
            key: format!("http:{id}"),
            kind: work.kind.to_owned(),
            lane: work.demand.lane.as_str().to_owned(),
            task_id: id.clone(),
            request: work.request.to_string().into(),
            uploads: work.uploads,
            user_id: work.user_id,
            public_id: Some(id),
            audience: Audience::Http,
            ..NewJob::default()
        };
        let ledger = &self.pipeline.ledger;
        let submitted = self.scheduler.submit_with(ledger, work.demand, job).await;
        let job_id = submitted?;
        self.pipeline.running.tell(job_id);
        Ok(job_id)
    }

    /// Answers with the job, if that is wanted, else with its result.
    ///
    /// # Errors
    /// The job has failed.
    pub async fn respond(&self, work: NewWork, headers: &HeaderMap) -> Result<Response, ApiError> {
        if prefers_async(headers) {
            return self.accepted(work).await;
        }
        Ok(Json(self.result(work).await?).into_response())
    }

    /// Answers with the result of work that goes on when its client leaves, as a deletion does.
    ///
    /// # Errors
    /// The job has failed.
    pub async fn respond_lastingly(&self, work: NewWork) -> Result<Response, ApiError> {
        let mut awaited = self.begin(work).await?;
        awaited.is_wanted = false;
        Ok(Json(self.result_of(awaited).await?).into_response())
    }

    /// Answers with the job, which nobody waits for.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn accepted(&self, work: NewWork) -> Result<Response, ApiError> {
        let job_id = self.submit(work).await?;
        let job = self.job(job_id).await?.whole(&self.pipeline).await?;
        let headers = [
            (header::LOCATION, format!("/jobs/{}", job.id)),
            (PREFERENCE_APPLIED, "respond-async".to_owned()),
        ];
        Ok((StatusCode::ACCEPTED, headers, Json(job)).into_response())
    }

    /// The result of the work, once it is done.
    ///
    /// # Errors
    /// The job has failed.
    pub async fn result(&self, work: NewWork) -> Result<JobResult, ApiError> {
        let awaited = self.begin(work).await?;
        self.result_of(awaited).await
    }

    async fn result_of(&self, awaited: Awaited) -> Result<JobResult, ApiError> {
        let job = awaited.ended().await?;
        // What is damaged is told as such.
        let result = job.whole(&self.pipeline).await?.result.flatten();
        result.ok_or_else(no_result)
    }

    /// Does the work as a job that somebody waits for.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn begin(&self, work: NewWork) -> Result<Awaited, ApiError> {
        let id = work.id.to_string();
        let changes = self.pipeline.running.changes();
        Ok(Awaited {
            job_id: self.submit(work).await?,
            state: self.clone(),
            id,
            changes,
            last_event: 0,
            pieces: VecDeque::new(),
            is_wanted: true,
        })
    }

    async fn job(&self, job_id: JobId) -> Result<Loaded, ApiError> {
        let summary = by_id(&self.pipeline, job_id).await?;
        let summary = summary.ok_or_else(not_found)?;
        Ok(Loaded::of(&self.pipeline, summary).await?)
    }
}

impl Awaited {
    /// What the job is called outside.
    pub fn id(&self) -> String {
        self.id.clone()
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    /// It has failed, or the daemon stops.
    pub async fn ended(mut self) -> Result<Loaded, ApiError> {
        loop {
            if let Some(job) = self.look().await? {
                return Ok(job);
            }
            changed(&mut self.changes, self.job_id).await;
        }
    }

    /// The next piece of the speech; `None` after the last.
    ///
    /// # Errors
    /// The job has failed, or the daemon stops.
    pub async fn piece(&mut self) -> Result<Option<Piece>, ApiError> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            // Before its events: a job that has ended has all of them.
            let is_over = self.look().await?.is_some();
            self.read_pieces().await?;
            if self.pieces.is_empty() {
                if is_over {
                    return Ok(None);
                }
                changed(&mut self.changes, self.job_id).await;
            }
        }
    }

    async fn read_pieces(&mut self) -> Result<(), ApiError> {
        let ledger = &self.state.pipeline.ledger;
        for event in ledger.events_after(self.job_id, self.last_event).await? {
            self.last_event = event.id;
            let body = serde_json::from_slice::<PieceEvent>(event.body.expose());
            if let Ok(PieceEvent { voice_cloned, .. }) = body
                && let Some(audio) = ledger.event_payload(event.id).await?
            {
                self.pieces.push_back(Piece {
                    audio,
                    is_cloned: voice_cloned,
                });
            }
        }
        Ok(())
    }

    /// The job, if it has ended well.
    async fn look(&mut self) -> Result<Option<Loaded>, ApiError> {
        let job = self.state.job(self.job_id).await?;
        if job.is_over() {
            self.is_wanted = false;
            return match job.error() {
                Some(error) => Err(error.answer()),
                None => Ok(Some(job)),
            };
        }
        let is_stopping = *self.state.options.stopping.borrow();
        if is_stopping && job.summary.state == JobState::Accepted {
            self.is_wanted = false;
            let detail = format!(
                "The daemon stops; GET /jobs/{} once it is there again",
                self.id
            );
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        Ok(None)
    }
}

/// The event of a piece.
#[derive(Deserialize)]
struct PieceEvent {
    voice_cloned: bool,
    #[serde(rename = "is_last")]
    _is_last: bool,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if !self.is_wanted {
            return;
        }
        let (pipeline, job_id) = (Arc::clone(&self.state.pipeline), self.job_id);
        // There is none any more when the daemon stops: then the job goes on at the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                match pipeline.cancel(job_id).await {
                    Ok(()) => tracing::info!(job.id = job_id.0, "nobody waits for a job any more"),
                    Err(LedgerError::AlreadyFinished(_) | LedgerError::UnknownJob(_)) => {}
                    Err(error) => {
                        let error = error_chain(&error);
                        tracing::error!(job.id = job_id.0, error, "a job could not be cancelled");
                    }
                }
            });
        }
    }
}

/// Waits until there may be something new of a job.
pub(super) async fn changed(changes: &mut broadcast::Receiver<JobId>, job_id: JobId) {
    let told = async {
        loop {
            match changes.recv().await {
                Ok(changed) if changed != job_id => {}
                // What was missed may have been about it.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => break,
                // Whoever tells lives as long as the daemon.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    // A change that is told by nobody is found all the same.
    drop(tokio::time::timeout(CHECK_INTERVAL, told).await);
}

/// Names the preference of the request that was followed (RFC 7240).
const PREFERENCE_APPLIED: header::HeaderName =
    header::HeaderName::from_static("preference-applied");

/// True when the client wants the job and not its result (RFC 7240).
pub fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(preferences)
        .any(|name| name.eq_ignore_ascii_case("respond-async"))
}

/// The names of the preferences of a header; what follows a name is its value and its parameters. In quotes a comma
/// separates nothing.
fn preferences(header: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = header.split(move |character| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match character {
            '\\' => is_escaped = is_quoted && !was_escaped,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        character == ',' && !is_quoted
    });
    parts.map(|part| {
        let name = part.split(['=', ';']).next();
        name.unwrap_or_default().trim()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn preferences_are_read_with_their_quotes_and_parameters() {
        let is_async = |value: &'static str| {
            let headers = [(
                header::HeaderName::from_static("prefer"),
                HeaderValue::from_static(value),
            )];
            prefers_async(&HeaderMap::from_iter(headers))
        };
        for value in [
            "respond-async",
            "Respond-Async; wait=10",
            "wait=10, respond-async",
            "handling=\"a\\\"b, c\", respond-async",
            "return=minimal; foo=\"some, thing\",respond-async",
        ] {
            assert!(is_async(value), "{value}");
        }
        for value in [
            "",
            "wait=10",
            "handling=respond-async",
            "handling=\"a, respond-async\"",
            "handling=\"a\\\", respond-async, b\"",
            "handling=lenient; respond-async",
        ] {
            assert!(!is_async(value), "{value}");
        }
    }
}
