//! A receipt in hand: counted from the moment the client handed it over until it is settled, once.

use std::sync::Arc;
use std::time::SystemTime;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tracing::{Level, Span, debug};

use super::metrics::{End, Metrics};
use super::port::{Delivery, Envelope, Receipt};
use super::process::Process;
use crate::scan::Key;

/// A delivery that is ours until its receipt is settled. Kept in a box from here on: it is moved often, and large.
#[derive(Debug)]
pub(super) struct Message<R: Receipt> {
    pub(super) envelope: Envelope,
    pub(super) claim: Claim<R>,
}

impl<R: Receipt> Message<R> {
    pub(super) fn take(delivery: Delivery<R>, process: &Process, random: &mut StdRng) -> Box<Message<R>> {
        let Delivery { envelope, receipt } = delivery;
        let Process { metrics, settings, spans, .. } = process;
        metrics.delivered(&envelope);
        metrics.begin_unsettled();
        let received = Instant::now();
        let age = settings.max_retry_time.mul_f64(random.random_range(0.9..=1.0));
        let claim = Claim {
            receipt: Some(receipt),
            metrics: metrics.clone(),
            deadline: received + age,
            received,
            published: envelope.publish_time,
            record_bytes: 0,
            span: spans.get().map_or_else(Span::none, |open| open(&envelope, &settings.subscription)),
            labels: tracing::enabled!(Level::DEBUG)
                .then(|| Box::new(Labels { message_id: envelope.message_id.clone(), key: None })),
        };
        Box::new(Message { envelope, claim })
    }
}

/// A receipt, the census it is counted in, and the time by which it is given back. Dropping it nacks.
#[derive(Debug)]
pub(super) struct Claim<R: Receipt> {
    receipt: Option<R>,
    metrics: Arc<Metrics>,
    /// When the receipt reaches its age: `--max-retry-time` less up to 10 % at random, so that what arrived together
    /// is not given back together.
    pub(super) deadline: Instant,
    received: Instant,
    published: SystemTime,
    /// Of the record that its scan would be, as the store bills it; none until the scan is decoded.
    pub(super) record_bytes: usize,
    /// Disabled where the message is not traced.
    pub(super) span: Span,
    /// Absent unless debug lines are logged, so that they cost nothing otherwise.
    pub(super) labels: Option<Box<Labels>>,
}

/// What the debug line of a settled message names.
#[derive(Debug)]
pub(super) struct Labels {
    message_id: String,
    /// Known once the scan is decoded.
    pub(super) key: Option<Key>,
}

impl<R: Receipt> Claim<R> {
    /// How long it is in hand, in milliseconds.
    pub(super) fn age_ms(&self) -> u64 {
        u64::try_from(self.received.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Acks or gives back, as the end asks, and counts it.
    pub(super) fn settle(mut self, end: End) {
        self.settle_once(end);
    }

    fn settle_once(&mut self, end: End) {
        let Some(receipt) = self.receipt.take() else { return };
        self.metrics.ended(end, self.received.elapsed(), self.published, self.record_bytes);
        if !self.span.is_none() {
            self.span.record("outcome", end.name());
            self.span.record("error.type", end.error());
        }
        if let Some(labels) = self.labels.take() {
            debug!(
                message_id = labels.message_id,
                scan_key = labels.key.as_ref().map(Key::as_str),
                outcome = end.name(),
                error.type = end.error(),
                latency_ms = self.age_ms(),
                "settled"
            );
        }
        if end.is_acked() {
            receipt.ack()
        } else {
            receipt.nack()
        }
        self.metrics.end_unsettled();
    }
}

impl<R: Receipt> Drop for Claim<R> {
    fn drop(&mut self) {
        self.settle_once(End::Released);
    }
}
