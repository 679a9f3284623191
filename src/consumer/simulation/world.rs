//! The state that outlives an instance, behind one lock: the subscription, the table and the dead-letter topic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::dead_letters::Topic;
use super::faults::{Answer, Attempt, BatchCall, PublishAnswer, PublishCall, Script};
use super::messages::Template;
use super::pubsub::Subscription;
use super::table::{LATENCY, Table};

/// The maximum of simulated time that a script waits for one event.
const TIMEOUT: Duration = Duration::from_secs(4 * 3600);

#[derive(Debug)]
pub(super) struct State {
    pub(super) start: Instant,
    pub(super) subscription: Subscription,
    pub(super) table: Table,
    pub(super) topic: Topic,
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

    /// Returns the state, after everything that shares it has ended.
    pub(super) fn into_state(self) -> State {
        let state = Arc::into_inner(self.state).expect("nothing shares the state");
        state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all waiting tasks after a change of the state.
    pub(super) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until the state changes.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn publish(&self, templates: impl IntoIterator<Item = Template>) {
        let mut state = self.state();
        for template in templates {
            state.subscription.publish(template);
        }
        drop(state);
        self.notify();
    }

    /// Sets the script of the store, with the default latency.
    pub(super) fn store(&self, script: impl FnMut(Attempt) -> Answer + Send + 'static) {
        let mut script = script;
        self.slow_store(move |attempt| (LATENCY, script(attempt)));
    }

    /// Sets the script of the store, with a latency for each attempt.
    pub(super) fn slow_store(&self, script: impl FnMut(Attempt) -> (Duration, Answer) + Send + 'static) {
        self.state().table.fault = Script::new(script);
    }

    /// Sets the script of batches that get an answer as a whole.
    pub(super) fn batches(&self, script: impl FnMut(BatchCall) -> Option<Answer> + Send + 'static) {
        self.state().table.batch_fault = Script::new(script);
    }

    /// Sets the script of the dead-letter topic.
    pub(super) fn topic(&self, script: impl FnMut(PublishCall) -> PublishAnswer + Send + 'static) {
        self.state().topic.fault = Script::new(script);
    }

    /// Waits until the state fulfils a condition.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let change = self.changed.notified();
                if condition(&self.state()) {
                    return;
                }
                change.await;
            }
        };
        if timeout(TIMEOUT, wait).await.is_err() {
            panic!("still waiting for {what}: {:#?}", self.state());
        }
    }

    /// Waits until `count` messages are acked.
    pub(super) async fn acked(&self, count: usize) {
        self.until(&format!("{count} acked"), |state| state.subscription.acked() == count).await;
    }
}
