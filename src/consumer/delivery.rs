//! One delivery and its receipt: counted as unsettled from its arrival until it is settled, exactly once. Knows nothing of
//! the content of the message.

use std::sync::Arc;
use std::time::SystemTime;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tracing::Span;

use super::ports::{Delivery, End, Envelope, Receipt, Settled};
use super::process::Process;

/// A delivered message that is not settled. It is large and moved often, so it is always boxed.
#[derive(Debug)]
pub(crate) struct Message<R: Receipt> {
    pub(crate) envelope: Envelope,
    pub(crate) claim: Claim<R>,
}

impl<R: Receipt> Message<R> {
    /// Reports a delivery and counts it as unsettled.
    pub(crate) fn take(delivery: Delivery<R>, process: &Arc<Process>, random: &mut StdRng) -> Box<Message<R>> {
        let Delivery { envelope, receipt } = delivery;
        process.observer.delivered(&envelope);
        process.census.begin_unsettled();
        let received = Instant::now();
        let age = process.settings.max_retry_time.mul_f64(random.random_range(0.9..=1.0));
        let claim = Claim {
            receipt: Some(receipt),
            process: process.clone(),
            deadline: received + age,
            received,
            publish_time: envelope.publish_time,
            record_bytes: 0,
            span: process.observer.message_span(&envelope),
        };
        Box::new(Message { envelope, claim })
    }
}

/// A receipt, and the deadline for settling it. Dropping it nacks the message.
#[derive(Debug)]
pub(crate) struct Claim<R: Receipt> {
    receipt: Option<R>,
    process: Arc<Process>,
    /// When the message is nacked: `--max-retry-time` after its arrival, less up to 10 % at random, so that messages that
    /// arrived together are not redelivered together.
    pub(crate) deadline: Instant,
    received: Instant,
    publish_time: SystemTime,
    /// The size of its scan's record, as the store bills it; 0 until the message is decoded.
    pub(crate) record_bytes: usize,
    /// Disabled if the message is not traced.
    pub(crate) span: Span,
}

impl<R: Receipt> Claim<R> {
    /// Returns the time since its arrival, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.received.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Reports the end of the message, and acks or nacks it accordingly.
    pub(crate) fn settle(mut self, end: End) {
        self.settle_once(end);
    }

    fn settle_once(&mut self, end: End) {
        let Some(receipt) = self.receipt.take() else { return };
        let Claim { process, received, publish_time, record_bytes, span, .. } = self;
        let (took, publish_time, record_bytes) = (received.elapsed(), *publish_time, *record_bytes);
        process.observer.settled(&Settled { end, took, publish_time, record_bytes, span });
        if end.is_acked() {
            receipt.ack()
        } else {
            receipt.nack()
        }
        process.census.end_unsettled();
    }
}

impl<R: Receipt> Drop for Claim<R> {
    fn drop(&mut self) {
        self.settle_once(End::Released);
    }
}
