//! Why a job, or one language of it, failed: stage, wire code, reason, and a sentence for people.

use crate::engine::EngineError;
use crate::error::{ErrorCode, Reason, Stage, error_chain};
use crate::fault::InjectedFault;
use crate::ledger::{Finish, LedgerError};
use crate::observe::metrics::ERRORS;
use crate::protocol::{
    AudioFailure, Event, Failure, Request, StoryTextCompleted, Timestamp, TranslationError,
    VoiceApiError, VoiceErrorCode, VoiceProfileError,
};
use crate::stages::StageError;

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobFailure {
    /// A stage failed; the job's event tells it.
    #[error("{message}")]
    Stage {
        /// Where.
        stage: Stage,
        /// What the gateway knows.
        code: ErrorCode,
        /// What we know beyond it.
        reason: Reason,
        /// For people; never quotes what was said.
        message: String,
    },
    /// The ledger failed: nothing can be told to anybody.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl JobFailure {
    /// A failure in plain words.
    pub fn new(stage: Stage, code: ErrorCode, reason: Reason, message: impl Into<String>) -> Self {
        Self::Stage {
            stage,
            code,
            reason,
            message: message.into(),
        }
    }

    /// The failure of a stage that is a function.
    pub fn of_stage(stage: Stage, code: ErrorCode, error: &impl StageError) -> Self {
        Self::new(stage, code, error.reason(), error_chain(error))
    }

    /// The failure of a stage that is an engine; `code` is for failures of the stage itself.
    pub fn of_engine<E: StageError>(stage: Stage, code: ErrorCode, error: &EngineError<E>) -> Self {
        let code = match error {
            EngineError::Stage(_) => code,
            EngineError::Unavailable(_) => ErrorCode::PipelineUnavailable,
            EngineError::Crashed(_) => ErrorCode::ProcessingFailed,
        };
        Self::new(stage, code, error.reason(), error_chain(error))
    }

    /// A test wanted it.
    pub fn injected(stage: Stage, code: ErrorCode, fault: InjectedFault) -> Self {
        Self::new(stage, code, Reason::BadOutput, fault.to_string())
    }

    /// The same once more if it is the disk's: each language of a job gets its own.
    pub(super) fn same_storage_fault(&self) -> Option<Self> {
        match self {
            Self::Ledger(error) => error.same_storage_fault().map(Self::Ledger),
            Self::Stage { .. } => None,
        }
    }

    /// The time for the whole job has passed, and no stage has noticed.
    pub fn overdue() -> Self {
        Self::new(
            Stage::Intake,
            ErrorCode::ProcessingFailed,
            Reason::DeadlineExceeded,
            "the job took too long",
        )
    }

    /// What is stored cannot be read as a request.
    pub fn unreadable_request() -> Self {
        Self::new(
            Stage::Intake,
            ErrorCode::ProcessingFailed,
            Reason::InvalidRequest,
            "the stored request cannot be read",
        )
    }

    /// The reason that travels on the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Stage { reason, .. } => *reason,
            Self::Ledger(_) => Reason::Internal,
        }
    }

    /// Where it happened.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Stage { stage, .. } => *stage,
            Self::Ledger(_) => Stage::Intake,
        }
    }

    /// How a job ends with this failure.
    pub fn finish(&self) -> Finish {
        Finish::Failed(self.reason().as_str())
    }

    /// Counts and logs the failure; called once, where it is handled.
    pub fn record(&self, kind: &str) {
        // Somebody wanted it.
        if self.reason() == Reason::Cancelled {
            tracing::info!(
                job.kind = kind,
                stage = self.stage().as_str(),
                "stage cancelled"
            );
            return;
        }
        let (stage, reason) = (self.stage().as_str(), self.reason().as_str());
        metrics::counter!(ERRORS, "stage" => stage, "reason" => reason).increment(1);
        tracing::warn!(job.kind = kind, stage, reason, error = %self, "stage failed");
    }

    /// The failure as events carry it.
    pub fn on_the_wire(&self) -> Failure {
        let code = match self {
            Self::Stage { code, .. } => *code,
            Self::Ledger(_) => ErrorCode::ProcessingFailed,
        };
        Failure {
            message: self.to_string(),
            code,
            reason: self.reason(),
            stage: self.stage(),
        }
    }

    /// The event that ends a request with this failure.
    pub fn event(&self, request: &Request, task_id: &str, at: Timestamp) -> Option<Event> {
        let failure = self.on_the_wire();
        match request {
            Request::Ping => None,
            Request::AudioProcess(request) => Some(Event::AudioProcessError(AudioFailure {
                job: request.job(task_id),
                failure,
                timestamp: at,
            })),
            Request::TranscriptionOnly(request) => Some(Event::TranscriptionError(AudioFailure {
                job: request.job(),
                failure: Failure {
                    code: ErrorCode::TranscriptionFailed,
                    ..failure
                },
                timestamp: at,
            })),
            Request::Translation(request) => Some(Event::TranslationError(TranslationError {
                task_id: task_id.to_owned(),
                message_id: Some(request.message_id.clone()),
                error: failure.message,
                conversation_id: Some(request.conversation_id.clone()),
                reason: failure.reason,
                stage: failure.stage,
                metadata: None,
            })),
            Request::StoryText(request) => Some(Event::StoryTextCompleted(
                StoryTextCompleted::new(request.post_id.clone(), request.text_object_index, at),
            )),
            Request::VoiceApi(request) => Some(Event::VoiceApiError(VoiceApiError {
                task_id: request.task_id.clone(),
                request_type: request.kind().as_str().to_owned(),
                error: failure.message,
                error_code: VoiceErrorCode::of(failure.code, failure.reason),
                reason: failure.reason,
                timestamp: at,
            })),
            Request::VoiceProfile(request) => Some(Event::VoiceProfileError(VoiceProfileError {
                request_id: request.request_id.clone(),
                user_id: request.user_id.clone().unwrap_or_default(),
                error: failure.message,
                success: false,
                reason: failure.reason,
                timestamp: at,
            })),
        }
    }
}
