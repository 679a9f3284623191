//! The simulated subscription: redelivers what was nacked or not settled, counts deliveries, and refuses a receipt that
//! is settled twice, or acked before its work is durable.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::{Delivering, Script};
use super::messages::{Template, publish_time};
use super::world::World;
use crate::consumer::ports::{Delivery, Envelope, Receipt, Source, SourceError};

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) messages: Vec<Published>,
    pub(super) deliveries: Vec<Delivered>,
    /// Everything was published.
    pub(super) is_complete: bool,
    /// When messages may be delivered (again), in no order.
    waiting: Vec<(Instant, usize)>,
    /// How long a nacked message stays away.
    pub(super) retry_delay: Duration,
    /// Whether deliveries carry their number.
    pub(super) counts_attempts: bool,
    /// Every stream ends with an error from now on.
    pub(super) is_gone: bool,
    /// What a stream had read but not handed over when it was stopped.
    pub(super) read_ahead: usize,
    /// A stopped stream never says that it has ended.
    pub(super) never_ends: bool,
    /// How long the client takes to send its last acknowledgements.
    pub(super) flush: Duration,
    pub(super) fault: Script<usize, Delivering>,
    pub(super) streams: Streams,
    /// Instances that were killed: what they do to their receipts is never heard.
    pub(super) dead: Vec<usize>,
    /// Flushes that were asked for while their instance held an unsettled receipt.
    pub(super) early_flushes: usize,
}

#[derive(Debug)]
pub(super) struct Published {
    pub(super) template: Template,
    pub(super) payload: Bytes,
    pub(super) acked: bool,
    pub(super) attempts: u32,
}

/// Which stream gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// Whichever asks first.
    AsAsked,
    /// By the number of the message.
    InTurn,
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
            fault: Script::new(|_| Delivering::Well),
            streams: Streams::AsAsked,
            dead: Vec::new(),
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
        let lives = |delivery: &&Delivered| delivery.settled.is_none() && !self.dead.contains(&delivery.instance);
        self.deliveries.iter().filter(lives).count()
    }

    /// The deliveries of one message.
    pub(super) fn deliveries_of(&self, message: usize) -> impl Iterator<Item = &Delivered> {
        self.deliveries.iter().filter(move |delivery| delivery.message == message)
    }

    pub(super) fn settled(&self, settlement: Settlement) -> usize {
        self.deliveries.iter().filter(|delivery| delivery.settled.is_some_and(|(how, _)| how == settlement)).count()
    }

    fn take(&mut self, source: &Stream) -> Option<(usize, usize)> {
        let Stream { instance, number: stream, of } = *source;
        let now = Instant::now();
        let messages = &self.messages;
        self.waiting.retain(|(_, message)| !messages[*message].acked);
        let any = self.streams == Streams::AsAsked;
        let ours = |(at, message): &(Instant, usize)| *at <= now && (any || message % of == stream);
        let position = self.waiting.iter().position(ours)?;
        let (_, message) = self.waiting.remove(position);
        self.messages[message].attempts += 1;
        self.deliveries.push(Delivered { message, instance, stream, at: now, settled: None });
        match self.fault.ask(message) {
            Delivering::Well => {}
            Delivering::TwiceAfter(delay) => self.deliver_again(now + delay, message),
        }
        Some((self.deliveries.len() - 1, message))
    }

    /// When something that waits is due that was not before.
    fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.waiting.iter().map(|(at, _)| *at).filter(|at| *at > now).min()
    }

    /// Kills an instance: what it holds comes again when the leases end.
    pub(super) fn kill(&mut self, instance: usize, lease: Duration) {
        self.dead.push(instance);
        let again = Instant::now() + lease;
        let lost = |delivery: &&Delivered| delivery.instance == instance && delivery.settled.is_none();
        let lost: Vec<usize> = self.deliveries.iter().filter(lost).map(|delivery| delivery.message).collect();
        lost.into_iter().for_each(|message| self.deliver_again(again, message));
    }

    /// A message waits once at most, however many of its deliveries come back.
    fn deliver_again(&mut self, at: Instant, message: usize) {
        match self.waiting.iter_mut().find(|(_, other)| *other == message) {
            Some((due, _)) => *due = at.min(*due),
            None => self.waiting.push((at, message)),
        }
    }
}

/// Which stream this is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) instance: usize,
    pub(super) number: usize,
    /// How many the instance has.
    pub(super) of: usize,
}

/// One stream of an instance.
#[derive(Debug)]
pub(super) struct SimSource {
    world: World,
    stream: Stream,
    /// What may still be handed over, once stopped.
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
            return Some(Err(SourceError("the subscription is gone".to_owned())));
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
        self.world.note();
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
                () = self.world.change() => {}
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
            let holds = |delivery: &Delivered| delivery.instance == instance && delivery.settled.is_none();
            if state.subscription.deliveries.iter().any(holds) {
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
        if state.subscription.dead.contains(&instance) {
            return;
        }
        assert!(settled.is_none(), "delivery {} of message {message} is settled twice", self.number);
        if how == Settlement::Ack {
            assert!(state.is_done(message), "message {message} is acked, and its work is not durable");
        }
        let subscription = &mut state.subscription;
        subscription.deliveries[self.number].settled = Some((how, Instant::now()));
        match how {
            Settlement::Ack => subscription.messages[message].acked = true,
            Settlement::Nack => subscription.deliver_again(Instant::now() + subscription.retry_delay, message),
        }
        drop(state);
        self.world.note();
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
