//! The simulated client of the subscription: streams and their receipts. A stream takes its limits and the reaction to
//! its errors from the shipped code. Every settlement is checked.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::StreamEvent;
use super::messages::publish_time;
use super::pubsub::{Delivered, Settlement};
use super::world::World;
use crate::consumer::policy::ends_the_program;
use crate::consumer::ports::{Delivery, Envelope, Receipt, Source, SourceError};
use crate::consumer::settings::{Settings, max_lease, stream_bytes, stream_messages};

/// The time until a stream that ended is replaced.
const REOPEN: Duration = Duration::from_secs(1);

/// Identifies a stream, with its limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) instance: usize,
    pub(super) number: usize,
    /// The number of streams of the instance.
    pub(super) of: usize,
    pub(super) max_messages: usize,
    pub(super) max_bytes: u64,
    /// How long the client extends the lease of a message.
    max_lease: Duration,
    /// The setting of the instance, for the checks.
    pub(super) max_outstanding_bytes: u64,
    /// How long the instance may trust its cache.
    pub(super) trust: Duration,
}

impl Stream {
    pub(super) fn new(instance: usize, number: usize, settings: &Settings) -> Stream {
        let Settings { consumers, max_outstanding, max_outstanding_bytes, cache_entries, .. } = *settings;
        Stream {
            instance,
            number,
            of: consumers.get(),
            max_messages: stream_messages(max_outstanding, consumers),
            max_bytes: stream_bytes(max_outstanding_bytes, consumers),
            max_lease: max_lease(settings.max_retry_time),
            max_outstanding_bytes,
            trust: if cache_entries == 0 { Duration::ZERO } else { settings.cache_max_age },
        }
    }
}

/// One stream of an instance, which replaces itself.
#[derive(Debug)]
pub(super) struct SimSource {
    world: World,
    stream: Stream,
    started: Instant,
    /// When the stream was or will be opened.
    opens: Instant,
    received: usize,
    /// Whether the stream may end: once after its opening and after each message.
    may_end: bool,
    /// After a stop, the number of messages that the stream still delivers.
    left: Option<usize>,
}

impl SimSource {
    pub(super) fn new(world: &World, stream: Stream) -> SimSource {
        let now = Instant::now();
        SimSource { world: world.clone(), stream, started: now, opens: now, received: 0, may_end: true, left: None }
    }

    fn try_next(&mut self) -> Option<Result<Option<Delivery<SimReceipt>>, SourceError>> {
        let mut state = self.world.state();
        let start = state.start;
        let subscription = &mut state.subscription;
        if subscription.is_gone {
            return Some(Err(SourceError("the subscription was deleted".to_owned())));
        }
        if self.left.is_none() {
            if Instant::now() < self.opens {
                return None;
            }
            let event = StreamEvent { received: self.received, at: start.elapsed() };
            if std::mem::take(&mut self.may_end)
                && let Some(cause) = subscription.stream_fault.call(event)
            {
                if ends_the_program(cause, self.received > 0, self.started.elapsed()) {
                    return Some(Err(SourceError(cause.name().to_owned())));
                }
                subscription.counts.ended_streams += 1;
                self.opens = Instant::now() + REOPEN;
                self.may_end = true;
                return None;
            }
        }
        let mut next = None;
        if self.left != Some(0) {
            next = subscription.take(&self.stream);
        }
        let Some((number, message)) = next else {
            return self.left.filter(|_| !subscription.never_ends).map(|_| Ok(None));
        };
        self.left = self.left.map(|left| left - 1);
        self.received += 1;
        self.may_end = true;
        let published = &subscription.messages[message];
        let envelope = Envelope {
            payload: published.payload.clone(),
            attributes: std::collections::HashMap::new(),
            message_id: message.to_string(),
            publish_time: publish_time(),
            delivery_attempt: subscription.counts_attempts.then_some(published.attempts),
        };
        let receipt = SimReceipt { world: self.world.clone(), number, stream: self.stream, open: true };
        drop(state);
        self.world.notify();
        Some(Ok(Some(Delivery { envelope, receipt })))
    }

    /// Returns the next time at which the stream opens or a message becomes due.
    fn next_due(&self) -> Option<Instant> {
        let opens = (self.opens > Instant::now()).then_some(self.opens);
        let due = self.world.state().subscription.next_due();
        opens.into_iter().chain(due).min()
    }
}

impl Source for SimSource {
    type Receipt = SimReceipt;

    async fn next(&mut self) -> Result<Option<Delivery<SimReceipt>>, SourceError> {
        loop {
            if let Some(result) = self.try_next() {
                return result;
            }
            let due = self.next_due();
            let wait = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.world.changed() => {}
                () = wait => {}
            }
        }
    }

    fn stop(&mut self) {
        self.left = Some(self.world.state().subscription.read_ahead);
    }

    async fn flushed(self) {
        let flush = {
            let mut state = self.world.state();
            let instance = self.stream.instance;
            let is_unsettled = |delivery: &Delivered| delivery.instance == instance && delivery.settled.is_none();
            if state.subscription.deliveries.iter().any(is_unsettled) {
                state.subscription.early_flushes += 1;
            }
            state.subscription.flush
        };
        sleep(flush).await;
    }
}

/// Panics if a delivery is settled twice, settled after its lease, or acked before its work is durable.
#[derive(Debug)]
pub(super) struct SimReceipt {
    world: World,
    number: usize,
    stream: Stream,
    open: bool,
}

impl SimReceipt {
    fn settle(&mut self, how: Settlement) {
        self.open = false;
        let mut state = self.world.state();
        let delivery = &state.subscription.deliveries[self.number];
        let message = delivery.message;
        if state.subscription.killed.contains(&delivery.instance) {
            return;
        }
        assert!(delivery.settled.is_none(), "delivery {} of message {message} is settled twice", self.number);
        let kept = delivery.at.elapsed();
        assert!(kept <= self.stream.max_lease, "message {message} is kept for {kept:?}, longer than its lease");
        if how == Settlement::Ack {
            assert!(
                state.may_be_acked(delivery, self.stream.trust),
                "message {message} is acked before its work is durable"
            );
        }
        state.subscription.settle(self.number, how);
        drop(state);
        self.world.notify();
    }
}

impl Receipt for SimReceipt {
    fn ack(mut self) {
        self.settle(Settlement::Ack);
    }

    fn nack(mut self) {
        self.settle(Settlement::Nack);
    }
}

impl Drop for SimReceipt {
    fn drop(&mut self) {
        // A second panic would abort the test and hide the first one.
        if self.open && !std::thread::panicking() {
            self.settle(Settlement::Nack);
        }
    }
}
