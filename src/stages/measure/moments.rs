//! Mean and standard deviation, one value at a time.

/// Count, sum and sum of squares of values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    count: u64,
    sum: f64,
    sum_of_squares: f64,
}

impl Moments {
    /// Adds a value.
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    /// The mean; 0 of no value.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// The standard deviation of the values themselves, not of a population that they stand for.
    pub(super) fn std(&self) -> f64 {
        let mean = self.mean();
        (self.sum_of_squares / self.count.max(1) as f64 - mean * mean)
            .max(0.0)
            .sqrt()
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.add(value);
        }
        moments
    }
}

/// The value as it is published; 0 where it is no finite number.
pub(super) fn finite(value: f64) -> f32 {
    let value = value as f32;
    if value.is_finite() { value } else { 0.0 }
}
