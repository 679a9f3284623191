//! Durations in buckets. Adding one takes two atomic additions and no lock.

use std::time::Duration;

use super::Counter;

#[derive(Debug)]
pub struct Histogram {
    /// Inclusive upper bounds in ascending order.
    bounds: &'static [Duration],
    /// One per bound, and one for durations above all bounds.
    buckets: Box<[Counter]>,
    sum_us: Counter,
}

impl Histogram {
    /// Creates an empty histogram with these inclusive upper bounds, in ascending order.
    pub fn new(bounds: &'static [Duration]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Histogram { bounds, buckets, sum_us: Counter::default() }
    }

    pub fn add(&self, duration: Duration) {
        let bucket = self.bounds.iter().position(|bound| duration <= *bound).unwrap_or(self.bounds.len());
        self.buckets[bucket].add_one();
        self.sum_us.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Returns each bound with the number of durations up to it, in ascending order, and the number of all durations. Reads
    /// each bucket once, because other threads may add durations meanwhile.
    pub fn cumulative(&self) -> (Vec<(Duration, u64)>, u64) {
        let mut count = 0;
        let mut add = |bucket: &Counter| {
            count += bucket.get();
            count
        };
        let below = self.bounds.iter().zip(&self.buckets).map(|(bound, bucket)| (*bound, add(bucket))).collect();
        let all = add(&self.buckets[self.bounds.len()]);
        (below, all)
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

    #[test]
    fn a_duration_counts_for_every_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&BOUNDS);
        for micros in [0, 1_000, 1_001, 10_000, 10_001] {
            histogram.add(Duration::from_micros(micros));
        }
        assert_eq!(histogram.cumulative(), (vec![(BOUNDS[0], 2), (BOUNDS[1], 4)], 5));
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_micros(22_002)));
    }
}
