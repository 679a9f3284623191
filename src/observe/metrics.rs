//! The counters and histograms of the consumer. Any thread updates them, without a lock.

use std::time::Duration;

use ops::metrics::Counter;
use tracing::Span;

use super::durations::Durations;
use super::spans::{self, Spans};
use super::streams::Streams;
use super::traffic::{Traffic, units};
use crate::consumer::ports::{Answer, End, Envelope, Observer, Operation, Restart, Settled, StoreErrorKind, Throttle};
use crate::scan::Reason;

/// Counts what the consumer reports, and opens the spans of messages that are traced.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Deliveries from the streams.
    pub received: Counter,
    /// Of these, deliveries with an attempt above 1.
    pub redelivered: Counter,
    pub stored: Counter,
    /// Not written because the record is up to date, or will be after a write in flight.
    pub stale: Counter,
    /// Of the stale, those settled by the write of a newer scan of their key: they needed no write.
    pub superseded: Counter,
    /// Of the stale, those whose record was known to be up to date: they needed no write.
    pub known: Counter,
    pub expired: Counter,
    /// Nacked after `--max-retry-time`.
    pub given_up: Counter,
    /// Rejected without a dead letter, and nacked.
    pub dead_letter_failed: Counter,
    /// Nacked without a result: at drain, or because the write that superseded them was refused.
    pub released: Counter,
    pub durations: Durations,
    pub traffic: Traffic,
    pub streams: Streams,
    retries: [Counter; StoreErrorKind::ALL.len()],
    throttles: [Counter; Throttle::ALL.len()],
    /// Replaced streams whose last acks and nacks were not sent: their messages may be redelivered.
    pub unflushed: Counter,
    stream_restarts: [Counter; Restart::ALL.len()],
    dead_letters: [Counter; Reason::ALL.len()],
    rejections: [Counter; Reason::ALL.len()],
    /// `None` where nothing is traced.
    spans: Option<Spans>,
}

/// Every count at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub received: u64,
    pub redelivered: u64,
    pub stored: u64,
    pub stale: u64,
    pub superseded: u64,
    pub known: u64,
    pub expired: u64,
    pub rejected: u64,
    pub dead_lettered: u64,
    pub dead_letter_failed: u64,
    pub given_up: u64,
    pub released: u64,
    pub retries: u64,
    pub throttled: u64,
    /// Streams replaced because of a fault.
    pub stream_restarts: u64,
    pub unflushed: u64,
}

impl Snapshot {
    /// Returns the number of acked messages: stored, stale, expired or dead-lettered.
    pub fn processed(&self) -> u64 {
        self.stored + self.stale + self.expired + self.dead_lettered
    }

    /// Returns the number of messages nacked after `--max-retry-time` or rejected without a dead letter.
    pub fn failed(&self) -> u64 {
        self.given_up + self.dead_letter_failed
    }
}

impl Metrics {
    pub fn new(spans: Option<Spans>) -> Metrics {
        Metrics { spans, ..Metrics::default() }
    }

    pub fn snapshot(&self) -> Snapshot {
        let faults = Restart::ALL.iter().filter(|cause| cause.is_fault());
        Snapshot {
            received: self.received.get(),
            redelivered: self.redelivered.get(),
            stored: self.stored.get(),
            stale: self.stale.get(),
            superseded: self.superseded.get(),
            known: self.known.get(),
            expired: self.expired.get(),
            rejected: self.rejections.iter().map(Counter::get).sum(),
            dead_lettered: self.dead_letters.iter().map(Counter::get).sum(),
            dead_letter_failed: self.dead_letter_failed.get(),
            given_up: self.given_up.get(),
            released: self.released.get(),
            retries: self.retries.iter().map(Counter::get).sum(),
            throttled: self.throttles.iter().map(Counter::get).sum(),
            stream_restarts: faults.map(|cause| self.stream_restarts(*cause).get()).sum(),
            unflushed: self.unflushed.get(),
        }
    }

    /// Counts the attempts that follow an attempt with this error.
    pub fn retries(&self, kind: StoreErrorKind) -> &Counter {
        &self.retries[kind as usize]
    }

    /// Counts the attempts for which this was throttled.
    pub fn throttles(&self, throttle: Throttle) -> &Counter {
        &self.throttles[throttle as usize]
    }

    /// Counts the streams replaced for this cause.
    pub fn stream_restarts(&self, cause: Restart) -> &Counter {
        &self.stream_restarts[cause as usize]
    }

    /// Counts the published dead letters with this reason.
    pub fn dead_letters(&self, reason: Reason) -> &Counter {
        &self.dead_letters[reason as usize]
    }

    /// Counts the deliveries rejected with this reason, with or without a published dead letter.
    pub fn rejections(&self, reason: Reason) -> &Counter {
        &self.rejections[reason as usize]
    }
}

impl Observer for Metrics {
    fn delivered(&self, envelope: &Envelope) {
        self.received.add_one();
        if envelope.delivery_attempt.is_some_and(|attempt| attempt > 1) {
            self.redelivered.add_one();
        }
    }

    fn message_span(&self, envelope: &Envelope) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.message(envelope))
    }

    fn settled(&self, message: &Settled<'_>) {
        match message.end {
            End::Stored => self.stored.add_one(),
            End::Stale => self.stale.add_one(),
            End::Superseded => {
                self.superseded.add_one();
                self.stale.add_one();
                self.traffic.superseded_units.add(units(message.record_bytes));
            }
            End::Known => {
                self.known.add_one();
                self.stale.add_one();
                self.traffic.known_units.add(units(message.record_bytes));
            }
            End::Expired => self.expired.add_one(),
            End::DeadLettered(reason) => self.dead_letters(reason).add_one(),
            End::DeadLetterFailed(_) => self.dead_letter_failed.add_one(),
            End::GivenUp => self.given_up.add_one(),
            End::Released => self.released.add_one(),
        }
        self.durations.settled(message);
        spans::settled(message.span, message.end);
    }

    fn released_unread(&self) {
        self.released.add_one();
    }

    fn rejected(&self, reason: Reason) {
        self.rejections(reason).add_one();
    }

    fn retried(&self, kind: StoreErrorKind) {
        self.retries(kind).add_one();
    }

    fn throttled(&self, throttle: Throttle) {
        self.throttles(throttle).add_one();
    }

    fn sent(&self, record_bytes: usize, answer: Option<&Answer>) {
        self.traffic.sent(record_bytes, answer);
    }

    fn sent_with_other_verb(&self, record_bytes: usize) {
        self.traffic.sent_with_other_verb(record_bytes);
    }

    fn called(&self, operation: Operation, took: Duration, failure: Option<StoreErrorKind>) {
        self.durations.called(operation, took, failure);
    }

    fn attempt_span(&self, message: &Span, operation: Operation) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.attempt(message, operation))
    }

    fn attempt_failed(&self, attempt: &Span, kind: StoreErrorKind) {
        spans::failed(attempt, kind.name());
    }

    fn stream_opened(&self, worker: usize) {
        self.streams.opened(worker);
    }

    fn stream_ended(&self, worker: usize) {
        self.streams.ended(worker);
    }

    fn stream_replaced(&self, cause: Restart) {
        self.stream_restarts(cause).add_one();
    }

    fn stream_unflushed(&self) {
        self.unflushed.add_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn counts_the_write_units_that_duplicates_did_not_need() {
        let metrics = Metrics::default();
        for end in [End::Known, End::Superseded, End::Superseded, End::Stale] {
            let (took, publish_time, span) = (Duration::ZERO, SystemTime::UNIX_EPOCH, &Span::none());
            metrics.settled(&Settled { end, took, publish_time, record_bytes: 2000, span });
        }
        let Traffic { superseded_units, known_units, .. } = &metrics.traffic;
        assert_eq!([superseded_units, known_units].map(Counter::get), [4, 2]);
        let counts = metrics.snapshot();
        assert_eq!((counts.stale, counts.superseded, counts.known), (4, 2, 1));
    }

    #[test]
    fn only_a_second_attempt_is_a_redelivery() {
        let metrics = Metrics::default();
        for delivery_attempt in [None, Some(1), Some(2), Some(3)] {
            metrics.delivered(&Envelope {
                payload: bytes::Bytes::new(),
                attributes: Default::default(),
                message_id: String::new(),
                publish_time: SystemTime::UNIX_EPOCH,
                delivery_attempt,
            });
        }
        assert_eq!((metrics.received.get(), metrics.redelivered.get()), (4, 2));
    }
}
