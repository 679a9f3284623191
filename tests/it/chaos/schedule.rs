//! The schedule of faults, as a function of the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::store_faults::Mode;

/// How many messages are published and how many faults are injected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) messages: u64,
    pub(super) kills: usize,
    pub(super) terminations: usize,
    /// Periods with one kind of fault between the consumers and the store.
    pub(super) store_faults: usize,
    /// Faults of one consumer's connections to Pub/Sub.
    pub(super) connection_faults: usize,
    /// Periods in which the dead-letter topic does not respond.
    pub(super) dead_letter_freezes: usize,
    /// Messages published while the store is stopped, after all other faults.
    pub(super) outage_messages: u64,
}

/// A fault that is injected when `at` messages have been published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) fault: Fault,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// A consumer is killed or terminated, and started again after the pause.
    Restart {
        consumer: usize,
        gracefully: bool,
        pause: Duration,
    },
    Store {
        mode: Mode,
        lasts: Duration,
    },
    Connection {
        consumer: usize,
        fault: ConnectionFault,
        lasts: Duration,
    },
    /// The connections on which consumers publish, which carry the dead letters, are frozen.
    FreezeDeadLetters {
        lasts: Duration,
    },
    /// The store is killed, and started again on its data.
    RestartStore,
    /// All connections to Pub/Sub are closed, and new ones refused for ten seconds.
    RefusePubsub,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionFault {
    Close,
    Delay,
    /// Open connections forward nothing; new ones work.
    FreezeOpen,
    FreezeAll,
}

/// Returns the events in order. Nothing happens during the first and the last tenth of the messages.
pub(super) fn schedule(seed: u64, plan: &Plan, consumers: usize) -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut events = Vec::new();
    let (first, last) = (plan.messages / 10, plan.messages * 9 / 10);
    let restarts = (0..plan.kills).map(|_| false).chain((0..plan.terminations).map(|_| true));
    for gracefully in restarts {
        let fault = Fault::Restart {
            consumer: random.random_range(0..consumers),
            gracefully,
            pause: Duration::from_millis(random.random_range(0..1_500)),
        };
        events.push(Event { at: random.random_range(first..last), fault });
    }
    for n in 0..plan.store_faults {
        let mode = Mode::FAULTY[n % Mode::FAULTY.len()];
        let fault = Fault::Store { mode, lasts: Duration::from_millis(random.random_range(500..4_000)) };
        events.push(Event { at: random.random_range(first..last), fault });
    }
    for n in 0..plan.connection_faults {
        let faults =
            [ConnectionFault::Close, ConnectionFault::Delay, ConnectionFault::FreezeOpen, ConnectionFault::FreezeAll];
        let fault = Fault::Connection {
            consumer: random.random_range(0..consumers),
            fault: faults[n % faults.len()],
            lasts: Duration::from_millis(random.random_range(500..5_000)),
        };
        events.push(Event { at: random.random_range(first..last), fault });
    }
    for _ in 0..plan.dead_letter_freezes {
        // Longer than the timeout of a publish.
        let fault = Fault::FreezeDeadLetters { lasts: Duration::from_millis(random.random_range(7_000..15_000)) };
        events.push(Event { at: random.random_range(first..last), fault });
    }
    events.push(Event { at: plan.messages * random.random_range(25..40) / 100, fault: Fault::RestartStore });
    events.push(Event { at: plan.messages * random.random_range(50..65) / 100, fault: Fault::RefusePubsub });
    events.sort_by_key(|event| event.at);
    events
}

#[test]
fn the_seed_determines_the_schedule() {
    let plan = Plan {
        messages: 1_000,
        kills: 5,
        terminations: 5,
        store_faults: 5,
        connection_faults: 5,
        dead_letter_freezes: 5,
        outage_messages: 0,
    };
    assert_eq!(schedule(1, &plan, 4), schedule(1, &plan, 4));
    assert_ne!(schedule(1, &plan, 4), schedule(2, &plan, 4));
    assert_eq!(schedule(1, &plan, 4).len(), 27);
}
