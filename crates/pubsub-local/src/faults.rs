//! Fault injection: faults that can happen in the real service, with probabilities that a test sets.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

/// Injects faults into a server while it serves. All clones control the same server.
///
/// Probabilities are clamped to `0.0..=1.0` and start at 0.
#[derive(Debug, Clone)]
pub struct Faults {
    controls: Arc<Controls>,
}

struct Controls {
    /// Probabilities as the bits of an `f64`, so that a check of a disabled fault takes no lock.
    deliver_twice: AtomicU64,
    reorder: AtomicU64,
    lose_acks: AtomicU64,
    /// How often the streams have been closed.
    closes: watch::Sender<u64>,
    rng: Mutex<StdRng>,
}

impl Default for Faults {
    fn default() -> Faults {
        let zero = || AtomicU64::new(0_f64.to_bits());
        Faults {
            controls: Arc::new(Controls {
                deliver_twice: zero(),
                reorder: zero(),
                lose_acks: zero(),
                closes: watch::Sender::new(0),
                rng: Mutex::new(StdRng::seed_from_u64(0)),
            }),
        }
    }
}

impl Faults {
    /// Sets the probability that a message is delivered a second time. The second delivery has its own ack id and needs
    /// its own acknowledgement.
    pub fn deliver_twice(&self, probability: f64) {
        set(&self.controls.deliver_twice, probability);
    }

    /// Sets the probability that a delivery takes a random message of the backlog instead of the first.
    pub fn reorder(&self, probability: f64) {
        set(&self.controls.reorder, probability);
    }

    /// Sets the probability that the server confirms an acknowledgement and then ignores it. The message stays leased
    /// and is redelivered when its ack deadline has passed.
    pub fn lose_acks(&self, probability: f64) {
        set(&self.controls.lose_acks, probability);
    }

    /// Ends the streams and the waiting pulls that are open now with UNAVAILABLE, as the service does now and then. Their
    /// messages stay leased. New streams work.
    pub fn close_streams(&self) {
        self.controls.closes.send_modify(|closes| *closes += 1);
    }

    /// Seeds the random numbers again. The same calls in the same order then have the same faults.
    pub fn seed(&self, seed: u64) {
        *self.rng() = StdRng::seed_from_u64(seed);
    }

    /// Disables all faults.
    pub fn clear(&self) {
        [&self.controls.deliver_twice, &self.controls.reorder, &self.controls.lose_acks]
            .into_iter()
            .for_each(|probability| set(probability, 0.0));
    }

    /// Returns how often the streams have been closed, as it changes.
    pub(super) fn closes(&self) -> watch::Receiver<u64> {
        self.controls.closes.subscribe()
    }

    pub(super) fn duplicates_delivery(&self) -> bool {
        self.occurs(&self.controls.deliver_twice)
    }

    pub(super) fn loses_ack(&self) -> bool {
        self.occurs(&self.controls.lose_acks)
    }

    /// Returns the position of the message to deliver next, unless it is the first of the `ready` messages.
    pub(super) fn reordered_position(&self, ready: usize) -> Option<usize> {
        (ready > 1 && self.occurs(&self.controls.reorder)).then(|| self.rng().random_range(1..ready))
    }

    fn occurs(&self, probability: &AtomicU64) -> bool {
        let probability = f64::from_bits(probability.load(Ordering::Relaxed));
        probability > 0.0 && self.rng().random_bool(probability)
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.controls.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(probability: &AtomicU64, value: f64) {
    probability.store(value.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |probability: &AtomicU64| f64::from_bits(probability.load(Ordering::Relaxed));
        f.debug_struct("Controls")
            .field("deliver_twice", &value(&self.deliver_twice))
            .field("reorder", &value(&self.reorder))
            .field("lose_acks", &value(&self.lose_acks))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_never_occur_at_probability_zero_and_always_at_one() {
        let faults = Faults::default();
        let none = || !faults.duplicates_delivery() && !faults.loses_ack() && faults.reordered_position(10).is_none();
        assert!((0..1000).all(|_| none()));
        faults.deliver_twice(1.0);
        faults.reorder(2.0);
        faults.lose_acks(1.0);
        let all = || faults.duplicates_delivery() && faults.loses_ack() && faults.reordered_position(10).is_some();
        assert!((0..1000).all(|_| all()));
        assert_eq!(faults.reordered_position(1), None);
        faults.clear();
        assert!((0..1000).all(|_| none()));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let faults = Faults::default();
        faults.lose_acks(0.5);
        let outcomes = || {
            faults.seed(7);
            (0..100).map(|_| faults.loses_ack()).collect::<Vec<_>>()
        };
        assert_eq!(outcomes(), outcomes());
    }
}
