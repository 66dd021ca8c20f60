//! Why a recording could not be encoded.

use crate::domain::Stop;
use crate::error::Reason;
use crate::stages::StageError;
use crate::stages::decode::ResampleError;

/// Why there is no encoded audio.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Nothing to encode.
    #[error("there are no samples to encode")]
    Empty,
    /// MP3 knows a fixed list of bit rates.
    #[error("{bitrate_kbps} kbit/s is no MP3 bit rate")]
    UnsupportedBitrate {
        /// The bit rate asked for.
        bitrate_kbps: u32,
    },
    /// The samples could not be brought to a rate that the encoder knows.
    #[error("cannot resample for the encoder")]
    Resample(#[source] ResampleError),
    /// LAME refused its settings. (Its error type is no `std` error: kept as text.)
    #[error("cannot set up LAME: {0}")]
    Setup(String),
    /// LAME failed on the samples.
    #[error("LAME failed: {0}")]
    Lame(String),
    /// libopus refused its settings or the samples. (Its error type is no `std` error: kept as text.)
    #[error("libopus failed: {0}")]
    Opus(&'static str),
    /// An Ogg page could not be written.
    #[error("an ogg page could not be written")]
    Ogg(#[source] std::io::Error),
    /// The deadline has passed, or nobody waits any more.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for EncodeError {
    fn reason(&self) -> Reason {
        match self {
            Self::Empty => Reason::NoAudio,
            Self::Stopped(stop) => (*stop).into(),
            Self::UnsupportedBitrate { .. }
            | Self::Resample(_)
            | Self::Setup(_)
            | Self::Lame(_)
            | Self::Opus(_)
            | Self::Ogg(_) => Reason::Internal,
        }
    }
}
