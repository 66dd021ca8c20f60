//! The metrics of the daemon, kept value by value instead of in buckets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// Records counters and histograms of the whole process from [`install`](Self::install) on. Clones share
/// what they have recorded.
#[derive(Clone, Default)]
pub(super) struct Samples {
    histograms: Entries<Values>,
    counters: Entries<Count>,
}

/// What was recorded under each key. There are few, and a key is no key of a map: it caches its hash.
type Entries<T> = Arc<Mutex<Vec<(Key, Arc<T>)>>>;

/// What is recorded under `key` from now on.
fn entry<T: Default>(entries: &Entries<T>, key: &Key) -> Arc<T> {
    let mut entries = lock(entries);
    if let Some((_, recorded)) = entries.iter().find(|(known, _)| known == key) {
        return Arc::clone(recorded);
    }
    let recorded = Arc::default();
    entries.push((key.clone(), Arc::clone(&recorded)));
    recorded
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

#[derive(Default)]
struct Count(AtomicU64);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        lock(&self.0).push(value);
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder for Samples {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(entry(&self.counters, key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(entry(&self.histograms, key))
    }
}

impl Samples {
    /// Makes this the recorder of the process. There can be one only.
    pub(super) fn install() -> Option<Self> {
        let samples = Self::default();
        metrics::set_global_recorder(samples.clone()).ok()?;
        Some(samples)
    }

    /// Forgets all values.
    pub(super) fn clear(&self) {
        for (_, values) in lock(&self.histograms).iter() {
            lock(&values.0).clear();
        }
        for (_, count) in lock(&self.counters).iter() {
            count.0.store(0, Ordering::Relaxed);
        }
    }

    /// The values of one metric by one of its labels, those of its other labels together; only those that
    /// have any.
    pub(super) fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, Vec<f64>> {
        let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (key, values) in lock(&self.histograms).iter() {
            let values = lock(&values.0);
            if key.name() != name || values.is_empty() {
                continue;
            }
            let group = key.labels().find(|found| found.key() == label);
            let group = group.map(|label| label.value()).unwrap_or_default();
            groups
                .entry(group.to_owned())
                .or_default()
                .extend_from_slice(&values);
        }
        groups
    }

    /// What a counter has counted, by all its labels; only what is not 0.
    pub(super) fn counted(&self, name: &str) -> BTreeMap<String, u64> {
        lock(&self.counters)
            .iter()
            .filter(|(key, _)| key.name() == name)
            .map(|(key, count)| {
                let labels: Vec<&str> = key.labels().map(|label| label.value()).collect();
                (labels.join(" "), count.0.load(Ordering::Relaxed))
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// The value below which `percent` of the values lie, by the nearest rank; 0 of none.
pub(super) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}

/// The arithmetic mean; 0 of none.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50), 10.0);
        assert_eq!(percentile(&values, 95), 19.0);
        assert_eq!(percentile(&values, 100), 20.0);
        assert_eq!(percentile(&[7.0], 95), 7.0);
        assert_eq!(percentile(&[], 95), 0.0);
        assert_eq!(mean(&values), 10.5);
    }

    #[test]
    fn values_are_grouped_by_a_label_and_can_be_forgotten() {
        let samples = Samples::default();
        metrics::with_local_recorder(&samples, || {
            for (stage, outcome, value) in [("a", "ok", 1.0), ("a", "error", 2.0), ("b", "ok", 3.0)]
            {
                metrics::histogram!("time", "stage" => stage, "outcome" => outcome).record(value);
            }
            metrics::histogram!("other", "stage" => "a").record(9.0);
            metrics::counter!("errors", "stage" => "a", "reason" => "internal").increment(2);
            metrics::counter!("errors", "stage" => "b", "reason" => "internal").increment(0);
        });
        let groups = samples.by_label("time", "stage");
        let mut a = groups["a"].clone();
        a.sort_by(f64::total_cmp);
        assert_eq!((a, &groups["b"]), (vec![1.0, 2.0], &vec![3.0]));
        assert_eq!(
            samples.counted("errors"),
            BTreeMap::from([("a internal".to_owned(), 2)])
        );
        samples.clear();
        assert!(samples.by_label("time", "stage").is_empty());
        assert!(samples.counted("errors").is_empty());
    }
}
