//! One delivery: counted as unsettled from its arrival until its receipt is settled, once. Knows nothing of what is in the
//! message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tracing::{Level, Span, debug};

use super::ports::{Delivery, End, Envelope, Receipt, Settled};
use super::process::Process;
use crate::scan::Key;

/// A delivery that is ours until its receipt is settled. Kept in a box from here on: it is moved often, and large.
#[derive(Debug)]
pub(crate) struct Message<R: Receipt> {
    pub(crate) envelope: Envelope,
    pub(crate) claim: Claim<R>,
}

impl<R: Receipt> Message<R> {
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
            labels: tracing::enabled!(Level::DEBUG)
                .then(|| Box::new(Labels { message_id: envelope.message_id.clone(), key: None })),
        };
        Box::new(Message { envelope, claim })
    }
}

/// A receipt, and the time by which it is given back. Dropping it nacks.
#[derive(Debug)]
pub(crate) struct Claim<R: Receipt> {
    receipt: Option<R>,
    process: Arc<Process>,
    /// When the receipt reaches its age: `--max-retry-time` less up to 10 % at random, so that what arrived together
    /// is not given back together.
    pub(crate) deadline: Instant,
    received: Instant,
    publish_time: SystemTime,
    /// Of the record that its scan would be, as the store bills it; none until the scan is decoded.
    pub(crate) record_bytes: usize,
    /// Disabled where the message is not traced.
    pub(crate) span: Span,
    /// Absent unless debug lines are logged, so that they cost nothing otherwise.
    pub(super) labels: Option<Box<Labels>>,
}

/// What the debug line of a settled message names.
#[derive(Debug)]
pub(crate) struct Labels {
    message_id: String,
    /// Known once the scan is decoded.
    pub(super) key: Option<Key>,
}

impl<R: Receipt> Claim<R> {
    /// How long it is in hand, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        whole_milliseconds(self.received.elapsed())
    }

    /// Acks or nacks, as the end asks, and reports it.
    pub(crate) fn settle(mut self, end: End) {
        self.settle_once(end);
    }

    fn settle_once(&mut self, end: End) {
        let Some(receipt) = self.receipt.take() else { return };
        let labels = self.labels.take();
        let Claim { process, received, publish_time, record_bytes, span, .. } = self;
        let (took, publish_time, record_bytes) = (received.elapsed(), *publish_time, *record_bytes);
        process.observer.settled(&Settled { end, took, publish_time, record_bytes, span });
        if let Some(labels) = labels {
            debug!(
                message_id = labels.message_id,
                scan_key = labels.key.as_ref().map(Key::as_str),
                outcome = end.name(),
                error.type = end.error(),
                latency_ms = whole_milliseconds(took),
                "settled"
            );
        }
        if end.is_acked() {
            receipt.ack()
        } else {
            receipt.nack()
        }
        process.census.end_unsettled();
    }
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<R: Receipt> Drop for Claim<R> {
    fn drop(&mut self) {
        self.settle_once(End::Released);
    }
}
