//! What is done to whom, and when: a function of the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::weather::Weather;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) messages: u64,
    pub(super) kills: usize,
    pub(super) terminations: usize,
    /// Times of bad weather before the store.
    pub(super) weathers: usize,
    /// Faults of one consumer's connections to Pub/Sub.
    pub(super) wires: usize,
    /// Times in which no dead letter is taken.
    pub(super) letterless: usize,
    /// Published while the store is stopped, after all of that.
    pub(super) in_outage: u64,
}

/// One thing that is done when so many messages have been published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// A consumer is killed, or asked to stop, and started again after the pause.
    End {
        consumer: usize,
        gently: bool,
        pause: Duration,
    },
    Weather {
        weather: Weather,
        lasts: Duration,
    },
    Wire {
        consumer: usize,
        fault: WireFault,
        lasts: Duration,
    },
    /// What the consumers publish, which are dead letters, is heard by nobody until it is over.
    FreezeLetters {
        lasts: Duration,
    },
    /// The store is killed, and started again on its data.
    RestartStore,
    /// All connections to Pub/Sub are cut, and new ones refused for ten seconds.
    RefusePubsub,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireFault {
    Cut,
    Delay,
    /// Open connections pass nothing on; new ones work.
    FreezeOpen,
    FreezeAll,
}

/// The events in order. The first and the last tenth of the messages are left alone.
pub(super) fn script(seed: u64, plan: &Plan, consumers: usize) -> Vec<Event> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut events = Vec::new();
    let (first, last) = (plan.messages / 10, plan.messages * 9 / 10);
    let ends = (0..plan.kills).map(|_| false).chain((0..plan.terminations).map(|_| true));
    for gently in ends {
        let what = What::End {
            consumer: dice.random_range(0..consumers),
            gently,
            pause: Duration::from_millis(dice.random_range(0..1_500)),
        };
        events.push(Event { at: dice.random_range(first..last), what });
    }
    for n in 0..plan.weathers {
        let weather = Weather::BAD[n % Weather::BAD.len()];
        let what = What::Weather { weather, lasts: Duration::from_millis(dice.random_range(500..4_000)) };
        events.push(Event { at: dice.random_range(first..last), what });
    }
    for n in 0..plan.wires {
        let faults = [WireFault::Cut, WireFault::Delay, WireFault::FreezeOpen, WireFault::FreezeAll];
        let what = What::Wire {
            consumer: dice.random_range(0..consumers),
            fault: faults[n % faults.len()],
            lasts: Duration::from_millis(dice.random_range(500..5_000)),
        };
        events.push(Event { at: dice.random_range(first..last), what });
    }
    for _ in 0..plan.letterless {
        // Longer than it takes until a publish is given up.
        let what = What::FreezeLetters { lasts: Duration::from_millis(dice.random_range(7_000..15_000)) };
        events.push(Event { at: dice.random_range(first..last), what });
    }
    events.push(Event { at: plan.messages * dice.random_range(25..40) / 100, what: What::RestartStore });
    events.push(Event { at: plan.messages * dice.random_range(50..65) / 100, what: What::RefusePubsub });
    events.sort_by_key(|event| event.at);
    events
}

#[test]
fn the_same_seed_gives_the_same_script_and_another_seed_another() {
    let plan = Plan { messages: 1_000, kills: 5, terminations: 5, weathers: 5, wires: 5, letterless: 5, in_outage: 0 };
    assert_eq!(script(1, &plan, 4), script(1, &plan, 4));
    assert_ne!(script(1, &plan, 4), script(2, &plan, 4));
    assert_eq!(script(1, &plan, 4).len(), 27);
}
