//! One open stream, or one unary pull, on a subscription. It takes messages, and waits if there are none. Dropping it
//! closes it; its messages stay leased until their deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::broker::Broker;
use super::error::ApiError;
use super::leases::StreamId;
use super::queue::{Delivery, Queue};
use super::subscription::Subscription;
use super::window::Window;
use super::wire::ReceivedMessage;

// The service answers a pull without messages after "a bounded amount of time". Clients wait for a minute.
const PULL_WAIT: Duration = Duration::from_secs(20);

/// Serves one unary Pull request.
pub(super) async fn once(
    broker: &Arc<Broker>,
    subscription: &str,
    max_messages: i32,
    return_immediately: bool,
) -> Result<Vec<ReceivedMessage>, ApiError> {
    let subscription = broker.subscription(subscription)?;
    if max_messages <= 0 {
        return Err(ApiError::invalid_argument("max_messages must be positive"));
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
    shutdown: watch::Receiver<bool>,
    closes: watch::Receiver<u64>,
    /// How often streams had been closed when this one was opened.
    closes_before: u64,
}

impl Puller {
    pub(super) fn open(
        broker: Arc<Broker>,
        subscription: Arc<Subscription>,
        window: Window,
        lease: Option<Duration>,
    ) -> Puller {
        let waker = Arc::new(Notify::new());
        let id = broker.change(&subscription, |queue| queue.open(window, lease));
        subscription.attach(id, Arc::clone(&waker));
        let (shutdown, closes) = (broker.shutdown(), broker.faults().closes());
        let closes_before = *closes.borrow();
        Puller { broker, subscription, id, waker, shutdown, closes, closes_before }
    }

    /// Takes the messages that are available now, which may be none.
    pub(super) fn take(&self) -> Result<Vec<ReceivedMessage>, ApiError> {
        if self.subscription.is_deleted() {
            return Err(ApiError::not_found(&self.subscription.name));
        }
        if *self.shutdown.borrow() {
            return Err(ApiError::shutting_down());
        }
        if *self.closes.borrow() != self.closes_before {
            self.broker.change(&self.subscription, Queue::stream_closed);
            return Err(ApiError::stream_closed());
        }
        let faults = self.broker.faults();
        let deliveries = self.broker.change(&self.subscription, |queue| queue.take(self.id, Instant::now(), faults));
        Ok(deliveries.into_iter().map(|delivery| self.received(delivery)).collect())
    }

    /// Waits until [`Puller::take`] should be called again. Cancel safe.
    pub(super) async fn wake(&mut self) {
        tokio::select! {
            () = self.waker.notified() => {}
            // An error means that the server has shut down, which `take` reports as well.
            _ = self.shutdown.wait_for(|requested| *requested) => {}
            _ = self.closes.wait_for(|closes| *closes != self.closes_before) => {}
        }
    }

    async fn next(&mut self) -> Result<Vec<ReceivedMessage>, ApiError> {
        loop {
            let messages = self.take()?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.wake().await;
        }
    }

    pub(super) fn set_lease(&self, lease: Duration) {
        self.broker.change(&self.subscription, |queue| queue.set_lease(self.id, lease));
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
        // The waker goes first. Closing the stream then passes a pending wake on to another stream.
        self.subscription.detach(self.id);
        self.broker.change(&self.subscription, |queue| queue.close(self.id));
    }
}
