//! Everything that outlives an instance: the subscription, the table and the dead-letter topic, behind one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::dead_letters::Topic;
use super::faults::{Answer, Attempt, Calling, Posting, Publishing, Script};
use super::messages::{Template, Truth};
use super::pubsub::Subscription;
use super::store::{LATENCY, Table};

/// The most simulated time that a script waits for one event.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

#[derive(Debug)]
pub(super) struct State {
    pub(super) start: Instant,
    pub(super) subscription: Subscription,
    pub(super) table: Table,
    pub(super) topic: Topic,
}

impl State {
    /// Whether this message may be acked: its work is durable.
    pub(super) fn is_done(&self, message: usize) -> bool {
        let published = &self.subscription.messages[message];
        let done = match published.template.truth {
            Truth::Scan { port, timestamp } => self.table.rows.get(&port).is_some_and(|row| row.timestamp >= timestamp),
            Truth::Expired => true,
            Truth::Broken => false,
        };
        done || self.topic.has(&published.payload)
    }
}

#[derive(Debug, Clone)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl World {
    pub(super) fn new() -> World {
        let state = State {
            start: Instant::now(),
            subscription: Subscription::default(),
            table: Table::default(),
            topic: Topic::default(),
        };
        World { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for something to have happened.
    pub(super) fn note(&self) {
        self.changed.notify_waiters();
    }

    pub(super) async fn change(&self) {
        self.changed.notified().await;
    }

    pub(super) fn publish(&self, templates: impl IntoIterator<Item = Template>) {
        let mut state = self.state();
        for template in templates {
            state.subscription.publish(template);
        }
        drop(state);
        self.note();
    }

    pub(super) fn store(&self, script: impl FnMut(Attempt) -> Answer + Send + 'static) {
        let mut script = script;
        self.slow_store(move |attempt| (LATENCY, script(attempt)));
    }

    /// The store with a latency for each attempt.
    pub(super) fn slow_store(&self, script: impl FnMut(Attempt) -> (Duration, Answer) + Send + 'static) {
        self.state().table.fault = Script::new(script);
    }

    /// What batches do as a whole, where it is not for their statements to say.
    pub(super) fn batches(&self, script: impl FnMut(Calling) -> Option<Answer> + Send + 'static) {
        self.state().table.batch_fault = Script::new(script);
    }

    pub(super) fn topic(&self, script: impl FnMut(Posting) -> Publishing + Send + 'static) {
        self.state().topic.fault = Script::new(script);
    }

    /// Waits until something holds of the world.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let change = self.changed.notified();
                if holds(&self.state()) {
                    return;
                }
                change.await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("it never came about: {what}: {:#?}", self.state());
        }
    }

    /// Waits until so many messages are acked.
    pub(super) async fn acked(&self, count: usize) {
        self.until(&format!("{count} acked"), |state| state.subscription.acked() == count).await;
    }
}
