//! Misbehaviour that a test asks for: what may happen in the real service, at a rate of the test's choice.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Makes the server misbehave; every clone turns the same knobs. Shares are in `0.0..=1.0` and start at 0.
#[derive(Debug, Clone)]
pub struct Faults {
    knobs: Arc<Knobs>,
}

struct Knobs {
    /// Each share as the bits of an `f64`, so that a knob at 0 costs a load and no lock.
    deliver_twice: AtomicU64,
    reorder: AtomicU64,
    lose_acks: AtomicU64,
    dice: Mutex<StdRng>,
}

impl Default for Faults {
    fn default() -> Faults {
        let zero = || AtomicU64::new(0_f64.to_bits());
        Faults {
            knobs: Arc::new(Knobs {
                deliver_twice: zero(),
                reorder: zero(),
                lose_acks: zero(),
                dice: Mutex::new(StdRng::seed_from_u64(0)),
            }),
        }
    }
}

impl Faults {
    /// The share of messages that are delivered a second time, under an ack id of its own that needs its own ack.
    pub fn deliver_twice(&self, share: f64) {
        set(&self.knobs.deliver_twice, share);
    }

    /// The share of deliveries that take a message out of its turn, from anywhere in the backlog.
    pub fn reorder(&self, share: f64) {
        set(&self.knobs.reorder, share);
    }

    /// The share of acknowledgements that are answered with success and forgotten.
    pub fn lose_acks(&self, share: f64) {
        set(&self.knobs.lose_acks, share);
    }

    /// Starts the dice again: the same calls in the same order then misbehave the same way.
    pub fn seed(&self, seed: u64) {
        *self.dice() = StdRng::seed_from_u64(seed);
    }

    /// Back to good behaviour.
    pub fn clear(&self) {
        [&self.knobs.deliver_twice, &self.knobs.reorder, &self.knobs.lose_acks]
            .into_iter()
            .for_each(|knob| set(knob, 0.0));
    }

    pub(super) fn twice(&self) -> bool {
        self.falls(&self.knobs.deliver_twice)
    }

    pub(super) fn loses_ack(&self) -> bool {
        self.falls(&self.knobs.lose_acks)
    }

    /// Which of `ready` messages goes next, when it is not the first.
    pub(super) fn out_of_turn(&self, ready: usize) -> Option<usize> {
        (ready > 1 && self.falls(&self.knobs.reorder)).then(|| self.dice().random_range(1..ready))
    }

    fn falls(&self, knob: &AtomicU64) -> bool {
        let share = f64::from_bits(knob.load(Ordering::Relaxed));
        share > 0.0 && self.dice().random_bool(share)
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.knobs.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(knob: &AtomicU64, share: f64) {
    knob.store(share.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
}

impl fmt::Debug for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |knob: &AtomicU64| f64::from_bits(knob.load(Ordering::Relaxed));
        f.debug_struct("Knobs")
            .field("deliver_twice", &share(&self.deliver_twice))
            .field("reorder", &share(&self.reorder))
            .field("lose_acks", &share(&self.lose_acks))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_share_nothing_happens_and_with_all_of_it_everything() {
        let faults = Faults::default();
        assert!((0..1000).all(|_| !faults.twice() && !faults.loses_ack() && faults.out_of_turn(10).is_none()));
        faults.deliver_twice(1.0);
        faults.reorder(2.0);
        faults.lose_acks(1.0);
        assert!((0..1000).all(|_| faults.twice() && faults.loses_ack() && faults.out_of_turn(10).is_some()));
        assert_eq!(faults.out_of_turn(1), None);
        faults.clear();
        assert!(!faults.twice());
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let faults = Faults::default();
        faults.lose_acks(0.5);
        let throws = || {
            faults.seed(7);
            (0..100).map(|_| faults.loses_ack()).collect::<Vec<_>>()
        };
        assert_eq!(throws(), throws());
    }
}
