//! One open stream, or one single pull, on a subscription: takes messages, and waits when there are none. Closes itself
//! when it is dropped; what it has taken stays leased until its deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::broker::Broker;
use super::leases::StreamId;
use super::queue::Delivery;
use super::refusal::Refusal;
use super::subscription::Subscription;
use super::window::Window;
use super::wire::ReceivedMessage;

// The service answers a pull without messages after "a bounded amount of time"; clients give it a minute.
const PULL_WAIT: Duration = Duration::from_secs(20);

/// The unary Pull.
pub(super) async fn once(
    broker: &Arc<Broker>,
    subscription: &str,
    max_messages: i32,
    return_immediately: bool,
) -> Result<Vec<ReceivedMessage>, Refusal> {
    let subscription = broker.subscription(subscription)?;
    if max_messages <= 0 {
        return Err(Refusal::invalid("max_messages must be positive"));
    }
    let window = Window::new(max_messages.into(), 0);
    let mut puller = Puller::open(Arc::clone(broker), subscription, window, None);
    if return_immediately {
        return puller.take();
    }
    tokio::time::timeout(PULL_WAIT, puller.next()).await.unwrap_or(Ok(Vec::new()))
}

pub(super) struct Puller {
    broker: Arc<Broker>,
    pub(super) subscription: Arc<Subscription>,
    id: StreamId,
    waker: Arc<Notify>,
    stopping: watch::Receiver<bool>,
}

impl Puller {
    pub(super) fn open(
        broker: Arc<Broker>,
        subscription: Arc<Subscription>,
        window: Window,
        lease: Option<Duration>,
    ) -> Puller {
        let waker = Arc::new(Notify::new());
        let id = broker.on(&subscription, |queue| queue.open(window, lease));
        subscription.attach(id, Arc::clone(&waker));
        let stopping = broker.stopping();
        Puller { broker, subscription, id, waker, stopping }
    }

    /// What there is to have now, which may be nothing.
    pub(super) fn take(&self) -> Result<Vec<ReceivedMessage>, Refusal> {
        if self.subscription.is_deleted() {
            return Err(Refusal::not_found(&self.subscription.name));
        }
        if *self.stopping.borrow() {
            return Err(Refusal::stopping());
        }
        let faults = self.broker.faults();
        let deliveries = self.broker.on(&self.subscription, |queue| queue.take(self.id, Instant::now(), faults));
        Ok(deliveries.into_iter().map(|delivery| self.received(delivery)).collect())
    }

    /// Returns when it is worth calling [`Puller::take`] again. Safe to drop and to call again.
    pub(super) async fn wake(&mut self) {
        tokio::select! {
            () = self.waker.notified() => {}
            // An error says that the server is gone, which `take` then says as well.
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn next(&mut self) -> Result<Vec<ReceivedMessage>, Refusal> {
        loop {
            let messages = self.take()?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.wake().await;
        }
    }

    pub(super) fn set_lease(&self, lease: Duration) {
        self.broker.on(&self.subscription, |queue| queue.set_lease(self.id, lease));
    }

    fn received(&self, delivery: Delivery) -> ReceivedMessage {
        ReceivedMessage {
            ack_id: self.subscription.ack_id(delivery.lease),
            message: delivery.message,
            delivery_attempt: i32::try_from(delivery.attempt).unwrap_or(i32::MAX),
        }
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        // First the waker, so that a wake for this stream goes to another one from here on.
        self.subscription.detach(self.id);
        self.broker.on(&self.subscription, |queue| queue.close(self.id));
    }
}
