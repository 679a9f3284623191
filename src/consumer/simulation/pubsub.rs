//! The simulated subscription: it redelivers nacked and unsettled messages, counts deliveries, and panics if a receipt is
//! settled twice or acked before its work is durable.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::{DeliveryFault, Script};
use super::messages::{Template, publish_time};
use super::world::World;
use crate::consumer::ports::{Delivery, Envelope, Receipt, Source, SourceError};

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) messages: Vec<Published>,
    pub(super) deliveries: Vec<Delivered>,
    /// Whether all messages are published.
    pub(super) is_complete: bool,
    /// The messages to deliver, each with the earliest time of its delivery, in no particular order.
    waiting: Vec<(Instant, usize)>,
    /// The time until a nacked message is redelivered.
    pub(super) retry_delay: Duration,
    /// Whether deliveries have a delivery attempt.
    pub(super) counts_attempts: bool,
    /// Whether the subscription was deleted. Then every stream fails.
    pub(super) is_gone: bool,
    /// The messages that a stream still delivers after it was stopped.
    pub(super) read_ahead: usize,
    /// Whether a stopped stream never ends.
    pub(super) never_ends: bool,
    /// The time that the client needs to send the last acknowledgements.
    pub(super) flush: Duration,
    pub(super) fault: Script<usize, DeliveryFault>,
    pub(super) distribution: Distribution,
    /// The killed instances. Their settlements have no effect.
    pub(super) killed: Vec<usize>,
    /// The number of flushes while the instance still had unsettled receipts.
    pub(super) early_flushes: usize,
}

#[derive(Debug)]
pub(super) struct Published {
    pub(super) template: Template,
    pub(super) payload: Bytes,
    pub(super) acked: bool,
    pub(super) attempts: u32,
}

/// How messages are distributed to streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// To the stream that reads first.
    FirstCome,
    /// By the number of the message.
    RoundRobin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    Ack,
    Nack,
}

#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) message: usize,
    pub(super) instance: usize,
    pub(super) stream: usize,
    pub(super) at: Instant,
    pub(super) settled: Option<(Settlement, Instant)>,
}

impl Default for Subscription {
    fn default() -> Subscription {
        Subscription {
            messages: Vec::new(),
            deliveries: Vec::new(),
            is_complete: false,
            waiting: Vec::new(),
            retry_delay: Duration::from_millis(100),
            counts_attempts: false,
            is_gone: false,
            read_ahead: 0,
            never_ends: false,
            flush: Duration::from_millis(10),
            fault: Script::new(|_| DeliveryFault::None),
            distribution: Distribution::FirstCome,
            killed: Vec::new(),
            early_flushes: 0,
        }
    }
}

impl Subscription {
    pub(super) fn publish(&mut self, template: Template) {
        let payload = template.payload(self.messages.len());
        self.waiting.push((Instant::now(), self.messages.len()));
        self.messages.push(Published { template, payload, acked: false, attempts: 0 });
    }

    pub(super) fn acked(&self) -> usize {
        self.messages.iter().filter(|message| message.acked).count()
    }

    pub(super) fn unsettled(&self) -> usize {
        let is_open = |delivery: &&Delivered| delivery.settled.is_none() && !self.killed.contains(&delivery.instance);
        self.deliveries.iter().filter(is_open).count()
    }

    /// Returns the deliveries of one message.
    pub(super) fn deliveries_of(&self, message: usize) -> impl Iterator<Item = &Delivered> {
        self.deliveries.iter().filter(move |delivery| delivery.message == message)
    }

    pub(super) fn settled(&self, settlement: Settlement) -> usize {
        self.deliveries.iter().filter(|delivery| delivery.settled.is_some_and(|(how, _)| how == settlement)).count()
    }

    /// Delivers a message to a stream, if one is due. Returns the numbers of the delivery and of the message.
    fn take(&mut self, source: &Stream) -> Option<(usize, usize)> {
        let Stream { instance, number: stream, of } = *source;
        let now = Instant::now();
        let messages = &self.messages;
        self.waiting.retain(|(_, message)| !messages[*message].acked);
        let first_come = self.distribution == Distribution::FirstCome;
        let is_due = |(at, message): &(Instant, usize)| *at <= now && (first_come || message % of == stream);
        let position = self.waiting.iter().position(is_due)?;
        let (_, message) = self.waiting.remove(position);
        self.messages[message].attempts += 1;
        self.deliveries.push(Delivered { message, instance, stream, at: now, settled: None });
        match self.fault.call(message) {
            DeliveryFault::None => {}
            DeliveryFault::RedeliverAfter(delay) => self.redeliver(now + delay, message),
        }
        Some((self.deliveries.len() - 1, message))
    }

    /// Returns the next time at which a further message becomes due.
    fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.waiting.iter().map(|(at, _)| *at).filter(|at| *at > now).min()
    }

    /// Kills an instance. Its unsettled messages are redelivered when their leases end.
    pub(super) fn kill(&mut self, instance: usize, lease: Duration) {
        self.killed.push(instance);
        let lease_end = Instant::now() + lease;
        let is_lost = |delivery: &&Delivered| delivery.instance == instance && delivery.settled.is_none();
        let lost: Vec<usize> = self.deliveries.iter().filter(is_lost).map(|delivery| delivery.message).collect();
        lost.into_iter().for_each(|message| self.redeliver(lease_end, message));
    }

    /// Delivers a message again. Several redeliveries of one message become one, at the earliest of their times.
    fn redeliver(&mut self, at: Instant, message: usize) {
        match self.waiting.iter_mut().find(|(_, other)| *other == message) {
            Some((due, _)) => *due = at.min(*due),
            None => self.waiting.push((at, message)),
        }
    }
}

/// Identifies a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) instance: usize,
    pub(super) number: usize,
    /// The number of streams of the instance.
    pub(super) of: usize,
}

/// One stream of an instance.
#[derive(Debug)]
pub(super) struct SimSource {
    world: World,
    stream: Stream,
    /// After a stop, the number of messages that the stream still delivers.
    left: Option<usize>,
}

impl SimSource {
    pub(super) fn new(world: &World, stream: Stream) -> SimSource {
        SimSource { world: world.clone(), stream, left: None }
    }

    fn try_next(&mut self) -> Option<Result<Option<Delivery<SimReceipt>>, SourceError>> {
        let mut state = self.world.state();
        let subscription = &mut state.subscription;
        if subscription.is_gone {
            return Some(Err(SourceError("the subscription was deleted".to_owned())));
        }
        let mut next = None;
        if self.left != Some(0) {
            next = subscription.take(&self.stream);
        }
        let Some((number, message)) = next else {
            return self.left.filter(|_| !subscription.never_ends).map(|_| Ok(None));
        };
        self.left = self.left.map(|left| left - 1);
        let published = &subscription.messages[message];
        let envelope = Envelope {
            payload: published.payload.clone(),
            attributes: std::collections::HashMap::new(),
            message_id: message.to_string(),
            publish_time: publish_time(),
            delivery_attempt: subscription.counts_attempts.then_some(published.attempts),
        };
        let receipt = SimReceipt { world: self.world.clone(), number, open: true };
        drop(state);
        self.world.notify();
        Some(Ok(Some(Delivery { envelope, receipt })))
    }
}

impl Source for SimSource {
    type Receipt = SimReceipt;

    async fn next(&mut self) -> Result<Option<Delivery<SimReceipt>>, SourceError> {
        loop {
            if let Some(result) = self.try_next() {
                return result;
            }
            let due = self.world.state().subscription.next_due();
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

#[derive(Debug)]
pub(super) struct SimReceipt {
    world: World,
    number: usize,
    open: bool,
}

impl SimReceipt {
    fn settle(&mut self, how: Settlement) {
        self.open = false;
        let mut state = self.world.state();
        let Delivered { message, instance, settled, .. } = &state.subscription.deliveries[self.number];
        let (message, instance) = (*message, *instance);
        if state.subscription.killed.contains(&instance) {
            return;
        }
        assert!(settled.is_none(), "delivery {} of message {message} is settled twice", self.number);
        if how == Settlement::Ack {
            assert!(state.is_durable(message), "message {message} is acked before its work is durable");
        }
        let subscription = &mut state.subscription;
        subscription.deliveries[self.number].settled = Some((how, Instant::now()));
        match how {
            Settlement::Ack => subscription.messages[message].acked = true,
            Settlement::Nack => subscription.redeliver(Instant::now() + subscription.retry_delay, message),
        }
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
        if self.open {
            self.settle(Settlement::Nack);
        }
    }
}
