//! How long something took, in buckets: any thread adds, any thread reads, and nobody waits for another.

use std::time::Duration;

use super::metrics::Count;

#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, each included, in ascending order.
    bounds: &'static [Duration],
    /// One a bound, and one for what is above them all.
    buckets: Box<[Count]>,
    sum_us: Count,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [Duration]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| Count::default()).collect();
        Histogram { bounds, buckets, sum_us: Count::default() }
    }

    pub(super) fn add(&self, took: Duration) {
        let bucket = self.bounds.iter().position(|bound| took <= *bound).unwrap_or(self.bounds.len());
        self.buckets[bucket].add_one();
        self.sum_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many took at most each of the bounds, in ascending order.
    pub fn at_most(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.bounds.iter().zip(&self.buckets).scan(0, |below, (bound, bucket)| {
            *below += bucket.get();
            Some((*bound, *below))
        })
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
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
    fn a_duration_counts_in_every_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&BOUNDS);
        for micros in [0, 1_000, 1_001, 10_000, 10_001] {
            histogram.add(Duration::from_micros(micros));
        }
        assert_eq!(histogram.at_most().collect::<Vec<_>>(), [(BOUNDS[0], 2), (BOUNDS[1], 4)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_micros(22_002)));
    }
}
