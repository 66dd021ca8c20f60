//! Points in time as the events carry them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A point in time in whole milliseconds since 1970; most events carry it as seconds with a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    unix_ms: u64,
}

impl Timestamp {
    /// The present by the system clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// `unix_ms` milliseconds after the start of 1970.
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms }
    }

    /// Milliseconds since the start of 1970.
    pub fn unix_ms(self) -> u64 {
        self.unix_ms
    }
}

/// A clock set before 1970 counts as 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.unix_ms as f64 / 1000.0)
    }
}
