//! Audio as it travels between stages.

use std::sync::Arc;

use super::Private;

/// Mono PCM, 32-bit float in −1..1, shared without copying.
#[derive(Debug, Clone)]
pub struct Pcm {
    samples: Private<Arc<[f32]>>,
    sample_rate_hz: u32,
}

impl Pcm {
    /// Wraps mono samples taken at `sample_rate_hz` (at least 1).
    pub fn new(samples: impl Into<Arc<[f32]>>, sample_rate_hz: u32) -> Self {
        Self {
            samples: Private::from(samples.into()),
            sample_rate_hz: sample_rate_hz.max(1),
        }
    }

    /// The samples, in −1..1.
    pub fn samples(&self) -> &[f32] {
        self.samples.expose()
    }

    /// Samples per second.
    pub fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    /// Length in whole milliseconds, rounded down.
    pub fn duration_ms(&self) -> u64 {
        self.samples().len() as u64 * 1000 / u64::from(self.sample_rate_hz)
    }
}

/// A recording that was decoded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// What is heard.
    pub pcm: Pcm,
    /// SHA-256 of the bytes as they came, in hexadecimal.
    pub sha256: String,
}
