//! What can go wrong when a recording is measured.

use crate::domain::Stop;
use crate::error::Reason;
use crate::stages::StageError;
use crate::stages::decode::ResampleError;

/// Why there are no measures.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The samples could not be brought to the rate of the analysis.
    #[error("the recording could not be resampled")]
    Resample(#[from] ResampleError),
    /// The transform of a frame failed.
    #[error("the spectrum could not be computed")]
    Transform(#[from] realfft::FftError),
    /// A sample is no number.
    #[error("the recording has samples that are not finite")]
    NotFinite,
    /// The work was stopped.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for MeasureError {
    fn reason(&self) -> Reason {
        match self {
            Self::Resample(_) | Self::Transform(_) => Reason::Internal,
            Self::NotFinite => Reason::MalformedAudio,
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}
