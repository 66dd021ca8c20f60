//! What a recording may cost, measured while it is decoded.

use serde::{Deserialize, Serialize};

use super::error::DecodeError;

/// Caps on one recording. Claims in headers are never trusted: bytes are those that arrived, time
/// and memory those of the samples decoded so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeLimits {
    /// Bytes of the encoded recording.
    pub max_bytes: usize,
    /// Length of the decoded audio.
    pub max_duration_ms: u64,
    /// Bytes of the decoded mono samples: bounds memory at sample rates far above those of speech.
    pub max_decoded_bytes: usize,
    /// Channels of the source.
    pub max_channels: u16,
    /// Lowest sample rate of the source.
    pub min_sample_rate_hz: u32,
    /// Highest sample rate of the source.
    pub max_sample_rate_hz: u32,
}

impl Default for DecodeLimits {
    /// 50 MiB, 15 minutes, 256 MiB of samples (15 minutes at 48 kHz need 165), 8 channels, 8 to 192 kHz.
    fn default() -> Self {
        Self {
            max_bytes: 50 << 20,
            max_duration_ms: 15 * 60 * 1000,
            max_decoded_bytes: 256 << 20,
            max_channels: 8,
            min_sample_rate_hz: 8_000,
            max_sample_rate_hz: 192_000,
        }
    }
}

impl DecodeLimits {
    /// Refuses an encoded recording of no size, or over the limit.
    ///
    /// # Errors
    /// [`DecodeError::Empty`], [`DecodeError::TooLarge`].
    pub fn check_size(&self, recording: &[u8]) -> Result<(), DecodeError> {
        match recording.len() {
            0 => Err(DecodeError::Empty),
            bytes if bytes > self.max_bytes => Err(DecodeError::TooLarge {
                bytes,
                max_bytes: self.max_bytes,
            }),
            _ => Ok(()),
        }
    }

    /// Gives back a number of channels that is within the limit.
    pub(super) fn check_channels(&self, channels: usize) -> Result<u16, DecodeError> {
        match u16::try_from(channels) {
            Ok(count) if (1..=self.max_channels).contains(&count) => Ok(count),
            _ => Err(DecodeError::UnsupportedChannels {
                channels,
                max_channels: self.max_channels,
            }),
        }
    }

    /// Refuses a sample rate outside the limits.
    pub(super) fn check_sample_rate(&self, sample_rate_hz: u32) -> Result<(), DecodeError> {
        if (self.min_sample_rate_hz..=self.max_sample_rate_hz).contains(&sample_rate_hz) {
            Ok(())
        } else {
            Err(DecodeError::UnsupportedSampleRate { sample_rate_hz })
        }
    }
}
