//! The schedule of faults, as a function of the seed and the plan alone.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::store_faults::Mode;

/// How many messages are published and how many faults are injected. A fault that happens less often fails the run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) messages: u64,
    pub(super) messages_per_second: u32,
    /// Consumers that are killed while they consume.
    pub(super) kills: usize,
    pub(super) terminations: usize,
    /// Leases that end although the consumer sent no acknowledgement, e.g. because it was killed.
    pub(super) expired_leases: u64,
    /// Acknowledgements that Pub/Sub ignores.
    pub(super) lost_acks: u64,
    /// Periods with one kind of fault between the consumers and the store.
    pub(super) store_faults: usize,
    pub(super) modes: Vec<Mode>,
    /// Faults of one consumer's connections to Pub/Sub.
    pub(super) connection_faults: usize,
    /// Periods in which all connections to Pub/Sub are closed and new ones refused.
    pub(super) pubsub_refusals: usize,
    /// How often Pub/Sub closes all streams.
    pub(super) stream_closes: usize,
    /// Periods in which the dead-letter topic does not respond.
    pub(super) dead_letter_freezes: usize,
    pub(super) store_restarts: usize,
    /// How often the table is deleted and created again. The consumers then have no cache.
    pub(super) recreations: usize,
    /// Messages whose items the store refuses for good. They are published after all kills and terminations.
    pub(super) refused_items: usize,
    /// Messages published while the store is stopped, after all other faults. Without any, it is not stopped.
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
    /// The table is deleted, and created again after this time.
    RecreateTable {
        missing_for: Duration,
    },
    /// All connections to Pub/Sub are closed, and new ones refused for ten seconds.
    RefusePubsub,
    /// Pub/Sub ends all open streams.
    CloseStreams,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnectionFault {
    Close,
    Delay,
    /// Open connections forward nothing; new ones work.
    FreezeOpen,
    FreezeAll,
}

impl Plan {
    /// Returns how many messages are published before the messages with refused items.
    pub(super) fn before_refused_items(&self) -> u64 {
        self.messages / 2
    }

    /// Returns how many statements of batches fail at least, if consumers write in batches.
    pub(super) fn failed_statements(&self) -> u64 {
        match self.modes.contains(&Mode::Statements) {
            true => self.messages / 1_000,
            false => 0,
        }
    }

    /// Returns the messages between which consumers are restarted.
    fn restarts(&self) -> Range<u64> {
        match self.refused_items {
            0 => self.messages / 10..self.messages * 9 / 10,
            _ => self.messages / 10..self.before_refused_items(),
        }
    }
}

/// Returns the events in order. Nothing happens during the first and the last tenth of the messages.
pub(super) fn schedule(seed: u64, plan: &Plan, consumers: usize) -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut events = Vec::new();
    let faulty = plan.messages / 10..plan.messages * 9 / 10;
    let mut add = |at, fault| events.push(Event { at, fault });
    let milliseconds = |random: &mut StdRng, range| Duration::from_millis(random.random_range(range));
    let restarts = (0..plan.kills).map(|_| false).chain((0..plan.terminations).map(|_| true));
    for gracefully in restarts {
        let consumer = random.random_range(0..consumers);
        let pause = milliseconds(&mut random, 0..1_500);
        add(random.random_range(plan.restarts()), Fault::Restart { consumer, gracefully, pause });
    }
    for mode in plan.modes.iter().cycle().take(plan.store_faults) {
        let lasts = milliseconds(&mut random, 500..3_000);
        add(random.random_range(faulty.clone()), Fault::Store { mode: *mode, lasts });
    }
    let faults =
        [ConnectionFault::Close, ConnectionFault::Delay, ConnectionFault::FreezeOpen, ConnectionFault::FreezeAll];
    for fault in faults.into_iter().cycle().take(plan.connection_faults) {
        let consumer = random.random_range(0..consumers);
        let lasts = milliseconds(&mut random, 500..5_000);
        add(random.random_range(faulty.clone()), Fault::Connection { consumer, fault, lasts });
    }
    for _ in 0..plan.dead_letter_freezes {
        // Longer than the timeout of a publish.
        let lasts = milliseconds(&mut random, 7_000..15_000);
        add(random.random_range(faulty.clone()), Fault::FreezeDeadLetters { lasts });
    }
    for _ in 0..plan.stream_closes {
        add(random.random_range(faulty.clone()), Fault::CloseStreams);
    }
    for at in apart(&mut random, plan.recreations, &faulty) {
        add(at, Fault::RecreateTable { missing_for: milliseconds(&mut random, 1_000..3_000) });
    }
    for at in apart(&mut random, plan.store_restarts, &faulty) {
        add(at, Fault::RestartStore);
    }
    for at in apart(&mut random, plan.pubsub_refusals, &faulty) {
        add(at, Fault::RefusePubsub);
    }
    events.sort_by_key(|event| event.at);
    events
}

/// Divides the range into this many parts of equal length, and returns a random place in the middle of each.
fn apart(random: &mut StdRng, count: usize, range: &Range<u64>) -> Vec<u64> {
    let count = count as u64;
    let length = (range.end - range.start) / count.max(1);
    let place = |n| range.start + n * length + random.random_range(length / 4..=length * 3 / 4);
    (0..count).map(place).collect()
}

#[test]
fn the_seed_determines_the_schedule() {
    let plan = Plan {
        messages: 1_000,
        messages_per_second: 1_000,
        kills: 5,
        terminations: 5,
        expired_leases: 5,
        lost_acks: 5,
        store_faults: 5,
        modes: Mode::BATCH.to_vec(),
        connection_faults: 5,
        pubsub_refusals: 1,
        stream_closes: 2,
        dead_letter_freezes: 5,
        store_restarts: 1,
        recreations: 2,
        refused_items: 10,
        outage_messages: 0,
    };
    let events = schedule(1, &plan, 4);
    assert_eq!(events, schedule(1, &plan, 4));
    assert_ne!(events, schedule(2, &plan, 4));
    assert_eq!(events.len(), 31);
    let restarts = events.iter().filter(|event| matches!(event.fault, Fault::Restart { .. }));
    assert!(restarts.clone().count() == 10 && restarts.clone().all(|event| event.at < plan.before_refused_items()));
}
