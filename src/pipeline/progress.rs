//! How far jobs are, for whoever watches.

use crate::domain::Language;
use crate::error::Stage;
use crate::ledger::JobId;

/// A stage of a job began or ended.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The job.
    pub job_id: JobId,
    /// The stage.
    pub stage: Stage,
    /// The language, for stages that run once for each.
    pub language: Option<Language>,
    /// What happened.
    pub step: Step,
}

/// What happened to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It began.
    Started,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
}
