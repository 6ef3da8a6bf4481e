//! How long things took, counted by bounds; threads add to it without a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64],
    /// Between the bounds, and beyond the last.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// What a histogram held at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts(Vec<u64>);

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds, counts, nanos: AtomicU64::new(0) }))
    }

    /// Counts one that took so long.
    pub(crate) fn observe(&self, took: Duration) {
        let inner = &*self.0;
        let seconds = took.as_secs_f64();
        inner.counts[inner.bounds.partition_point(|bound| *bound < seconds)].fetch_add(1, Relaxed);
        inner.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts(self.0.counts.iter().map(|count| count.load(Relaxed)).collect())
    }

    /// How long it took at most for this share of those that were counted between two moments: estimated within the
    /// bounds, and the last bound for what lies beyond. None when nothing was.
    pub(super) fn quantile(&self, share: f64, before: &Counts, after: &Counts) -> Option<Duration> {
        let new = |index: usize| (after.0[index] - before.0[index]) as f64;
        let all: f64 = (0..after.0.len()).map(new).sum();
        let rank = share * all;
        let (mut below, mut lower) = (0.0, 0.0);
        for (index, upper) in self.0.bounds.iter().copied().enumerate() {
            let count = new(index);
            if count > 0.0 && below + count >= rank {
                return Some(Duration::from_secs_f64(lower + (upper - lower) * (rank - below) / count));
            }
            below += count;
            lower = upper;
        }
        (all > 0.0).then(|| Duration::from_secs_f64(lower))
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Counts(counts) = self.counts();
        let sum = Duration::from_nanos(self.0.nanos.load(Relaxed)).as_secs_f64();
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn quantiles_are_of_what_came_between() {
        let histogram = Histogram::new(&[0.010, 0.020, 0.100]);
        let start = histogram.counts();
        assert_eq!(histogram.quantile(0.5, &start, &start), None);
        histogram.observe(Duration::from_secs(5));
        let before = histogram.counts();
        assert_eq!(histogram.quantile(0.5, &start, &before), Some(millis(100)), "beyond all bounds");
        (0..50).for_each(|_| histogram.observe(millis(10)));
        (0..50).for_each(|_| histogram.observe(millis(15)));
        let after = histogram.counts();
        assert_eq!(histogram.quantile(0.25, &before, &after), Some(millis(5)));
        assert_eq!(histogram.quantile(0.50, &before, &after), Some(millis(10)));
        assert_eq!(histogram.quantile(0.75, &before, &after), Some(millis(15)));
        assert_eq!(histogram.quantile(1.0, &before, &after), Some(millis(20)));
    }
}
