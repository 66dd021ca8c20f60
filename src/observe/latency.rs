//! Recent times of a few things, for those who ask without a metrics server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A mean of times in which older ones count less and less.
#[derive(Debug, Default)]
pub struct RecentMean {
    /// Microseconds; 0 before the first.
    mean_us: AtomicU64,
}

impl RecentMean {
    /// Share of the past in the mean: about the last ten count.
    const PAST: f64 = 0.9;

    /// Counts one time.
    pub fn record(&self, time: Duration) {
        let new_us = time.as_secs_f64() * 1e6;
        let mean = match self.mean_us.load(Ordering::Relaxed) {
            0 => new_us,
            mean_us => Self::PAST * mean_us as f64 + (1.0 - Self::PAST) * new_us,
        };
        // Of two times at once one may get lost: it is a mean.
        self.mean_us.store((mean as u64).max(1), Ordering::Relaxed);
    }

    /// Milliseconds, rounded up; 0 before the first time.
    pub fn ms(&self) -> u64 {
        self.mean_us.load(Ordering::Relaxed).div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_fades() {
        let mean = RecentMean::default();
        assert_eq!(mean.ms(), 0);
        mean.record(Duration::from_millis(100));
        assert_eq!(mean.ms(), 100);
        mean.record(Duration::from_millis(200));
        assert_eq!(mean.ms(), 110);
        for _ in 0..100 {
            mean.record(Duration::from_millis(10));
        }
        assert!((10..=11).contains(&mean.ms()), "{}", mean.ms());
    }
}
