//! The simulated subscription. It redelivers nacked and unsettled messages and messages whose acks were lost, counts
//! deliveries, and stops at the limits of a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::faults::{AckFault, DeliveryFault, Script, StreamEvent};
use super::messages::Template;
use super::source::Stream;
use crate::consumer::ports::Restart;

/// More than the bytes of any message. A stream that is below its limit gets one more message.
const MAX_MESSAGE_BYTES: u64 = 200;

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) messages: Vec<Published>,
    pub(super) deliveries: Vec<Delivered>,
    /// Whether all messages are published.
    pub(super) is_complete: bool,
    /// The messages to deliver, in no particular order.
    waiting: Vec<Waiting>,
    /// What each stream of each instance has not settled.
    unsettled: BTreeMap<(usize, usize), Amount>,
    /// The time until a nacked message is redelivered.
    pub(super) retry_delay: Duration,
    /// Whether deliveries have a delivery attempt.
    pub(super) counts_attempts: bool,
    /// Whether the server ignores the limits of streams.
    pub(super) ignores_limits: bool,
    /// Whether the subscription was deleted. Then every stream fails.
    pub(super) is_gone: bool,
    /// The messages that a stream still delivers after it was stopped.
    pub(super) read_ahead: usize,
    /// Whether a stopped stream never ends.
    pub(super) never_ends: bool,
    /// The time that the client needs to send the last acknowledgements.
    pub(super) flush: Duration,
    pub(super) fault: Script<usize, DeliveryFault>,
    pub(super) ack_fault: Script<usize, AckFault>,
    /// Why a stream ends, if it does.
    pub(super) stream_fault: Script<StreamEvent, Option<Restart>>,
    pub(super) distribution: Distribution,
    /// The killed instances. Their settlements have no effect.
    pub(super) killed: Vec<usize>,
    /// The number of flushes while the instance still had unsettled receipts.
    pub(super) early_flushes: usize,
    pub(super) counts: Counts,
}

/// How often each fault of the subscription happened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) lost_acks: usize,
    pub(super) deliveries_after_ack: usize,
    pub(super) full_streams: usize,
    pub(super) ended_streams: usize,
}

#[derive(Debug)]
pub(super) struct Published {
    pub(super) template: Template,
    pub(super) payload: Bytes,
    pub(super) acked: bool,
    pub(super) attempts: u32,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// The earliest time of its delivery.
    at: Instant,
    message: usize,
    /// Whether it is delivered although it is acked.
    even_acked: bool,
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

#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    messages: usize,
    bytes: u64,
}

impl Default for Subscription {
    fn default() -> Subscription {
        Subscription {
            messages: Vec::new(),
            deliveries: Vec::new(),
            is_complete: false,
            waiting: Vec::new(),
            unsettled: BTreeMap::new(),
            retry_delay: Duration::from_millis(100),
            counts_attempts: false,
            ignores_limits: false,
            is_gone: false,
            read_ahead: 0,
            never_ends: false,
            flush: Duration::from_millis(10),
            fault: Script::new(|_| DeliveryFault::None),
            ack_fault: Script::new(|_| AckFault::None),
            stream_fault: Script::new(|_| None),
            distribution: Distribution::FirstCome,
            killed: Vec::new(),
            early_flushes: 0,
            counts: Counts::default(),
        }
    }
}

impl Subscription {
    pub(super) fn publish(&mut self, template: Template) {
        let payload = template.payload(self.messages.len());
        self.waiting.push(Waiting { at: Instant::now(), message: self.messages.len(), even_acked: false });
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

    /// Delivers a message to a stream, if one is due and the stream is below its limits. Returns the numbers of the delivery
    /// and of the message.
    pub(super) fn take(&mut self, to: &Stream) -> Option<(usize, usize)> {
        let Stream { instance, number: stream, of, max_messages, max_bytes, .. } = *to;
        let now = Instant::now();
        let messages = &self.messages;
        self.waiting.retain(|waiting| waiting.even_acked || !messages[waiting.message].acked);
        let first_come = self.distribution == Distribution::FirstCome;
        let is_due = |waiting: &Waiting| waiting.at <= now && (first_come || waiting.message % of == stream);
        let position = self.waiting.iter().position(is_due)?;
        let amount = self.unsettled.entry((instance, stream)).or_default();
        if !self.ignores_limits && (amount.messages >= max_messages || amount.bytes >= max_bytes) {
            self.counts.full_streams += 1;
            return None;
        }
        let message = self.waiting.remove(position).message;
        self.counts.deliveries_after_ack += usize::from(self.messages[message].acked);
        self.messages[message].attempts += 1;
        self.deliveries.push(Delivered { message, instance, stream, at: now, settled: None });
        amount.messages += 1;
        amount.bytes += self.messages[message].payload.len() as u64;
        self.check_bytes(to);
        match self.fault.call(message) {
            DeliveryFault::None => {}
            DeliveryFault::RedeliverAfter(delay) => self.redeliver(now + delay, message, false),
        }
        Some((self.deliveries.len() - 1, message))
    }

    /// Panics if an instance has more bytes unsettled than its setting allows.
    fn check_bytes(&self, to: &Stream) {
        let streams = self.unsettled.range((to.instance, 0)..(to.instance + 1, 0));
        let bytes: u64 = streams.map(|(_, amount)| amount.bytes).sum();
        let most = to.max_outstanding_bytes + to.of as u64 * MAX_MESSAGE_BYTES;
        assert!(self.ignores_limits || bytes <= most, "{bytes} unsettled bytes, but {most} are allowed");
    }

    /// Settles a delivery.
    pub(super) fn settle(&mut self, delivery: usize, how: Settlement) {
        let now = Instant::now();
        let Delivered { message, instance, stream, settled, .. } = &mut self.deliveries[delivery];
        *settled = Some((how, now));
        let (message, stream) = (*message, (*instance, *stream));
        let amount = self.unsettled.get_mut(&stream).expect("the stream of a delivery");
        amount.messages -= 1;
        amount.bytes -= self.messages[message].payload.len() as u64;
        if how == Settlement::Nack {
            return self.redeliver(now + self.retry_delay, message, false);
        }
        match self.ack_fault.call(message) {
            AckFault::None => self.messages[message].acked = true,
            AckFault::Lost(delay) => {
                self.counts.lost_acks += 1;
                self.redeliver(now + delay, message, false);
            }
            AckFault::RedeliverAfter(delay) => {
                self.messages[message].acked = true;
                self.redeliver(now + delay, message, true);
            }
        }
    }

    /// Returns the next time at which a further message becomes due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.waiting.iter().map(|waiting| waiting.at).filter(|at| *at > now).min()
    }

    /// Kills an instance. Its unsettled messages are redelivered when their leases end.
    pub(super) fn kill(&mut self, instance: usize, lease: Duration) {
        self.killed.push(instance);
        let lease_end = Instant::now() + lease;
        let is_lost = |delivery: &&Delivered| delivery.instance == instance && delivery.settled.is_none();
        let lost: Vec<usize> = self.deliveries.iter().filter(is_lost).map(|delivery| delivery.message).collect();
        lost.into_iter().for_each(|message| self.redeliver(lease_end, message, false));
    }

    /// Delivers a message again. Several redeliveries of one message become one, at the earliest of their times.
    fn redeliver(&mut self, at: Instant, message: usize, even_acked: bool) {
        match self.waiting.iter_mut().find(|waiting| waiting.message == message) {
            Some(waiting) => {
                waiting.at = at.min(waiting.at);
                waiting.even_acked |= even_acked;
            }
            None => self.waiting.push(Waiting { at, message, even_acked }),
        }
    }
}
