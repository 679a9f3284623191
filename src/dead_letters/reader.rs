//! Reads each dead letter of the subscription once, however many the run leaves there. Does not know why it leaves one.
//!
//! Pub/Sub redelivers a message that is nacked, perhaps before those that were not read yet. So the reader keeps the
//! dead letters that are left leased, up to a limit. Beyond it, a second stream passes over them: their leases end by
//! themselves after [`crate::pubsub::PASSING_LEASE`], and meanwhile the run reads on.

use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::report::End;
use crate::consumer::ports::Envelope;
use crate::pubsub::{
    Connection, DeadLetterReceipt, DeadLetterStream, FORGOTTEN_AFTER, LeaseLimit, PASSING_LEASE, Problem,
};

/// The dead letters that the reader keeps leased to the end of the run. It does not keep their payloads, but the server
/// counts these bytes.
const MAX_KEPT: LeaseLimit = LeaseLimit { messages: 10_000, bytes: 256 << 20 };
/// The dead letters that are being settled at the same time.
pub(super) const MAX_IN_FLIGHT: LeaseLimit = LeaseLimit { messages: 1_000, bytes: 32 << 20 };
/// All dead letters that are leased on the first stream. This also bounds those that wait to be settled.
const FIRST_STREAM: LeaseLimit =
    LeaseLimit { messages: MAX_KEPT.messages + MAX_IN_FLIGHT.messages, bytes: MAX_KEPT.bytes + MAX_IN_FLIGHT.bytes };
/// An ack is sent at least this long before the lease ends.
const LEASE_MARGIN: Duration = Duration::from_secs(60);
/// The timeout of an ack, which takes time only with exactly-once delivery.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// The receipts of dead letters that the client has not forgotten yet, some 500 bytes each.
const MAX_PASSING: usize = 200_000;

/// A dead letter of the subscription.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) envelope: Envelope,
    pub(super) lease: Lease,
}

/// The right to settle one dead letter.
#[derive(Debug)]
pub(super) struct Lease {
    receipt: DeadLetterReceipt,
    /// The size that counts towards the limits of a stream.
    bytes: usize,
    /// When the reader received it on the second stream. `None` on the first.
    passing_since: Option<Instant>,
}

impl Lease {
    /// Acknowledges the dead letter. Returns false if that failed. `true` is certain only with exactly-once delivery.
    pub(super) async fn ack(self) -> bool {
        timeout(ACK_TIMEOUT, self.receipt.ack()).await.unwrap_or(false)
    }

    /// Returns whether the lease has certainly not ended.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        self.passing_since.is_none_or(|since| now + LEASE_MARGIN < since + PASSING_LEASE)
    }
}

/// What happened to the dead letters that the run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// The client has sent every ack and nack.
    pub(super) flushed: bool,
    /// The number of dead letters whose leases end by themselves.
    pub(super) passed_over: usize,
}

pub(super) struct Reader {
    connection: Connection,
    subscription: String,
    first: DeadLetterStream,
    second: Option<DeadLetterStream>,
    left: Vec<DeadLetterReceipt>,
    /// Of the dead letters on the first stream that stay leased to the end of the run.
    kept: LeaseLimit,
    passing: Passing<DeadLetterReceipt>,
    /// The number of dead letters that were left on the second stream.
    passed: usize,
    seen: Seen,
    last_repeat: Option<Instant>,
}

impl Reader {
    pub(super) async fn open(connection: &Connection, subscription: &str) -> Result<Reader, Problem> {
        Ok(Reader {
            first: DeadLetterStream::open(connection, subscription, FIRST_STREAM).await?,
            connection: connection.clone(),
            subscription: subscription.to_owned(),
            second: None,
            left: Vec::new(),
            kept: LeaseLimit { messages: 0, bytes: 0 },
            passing: Passing::default(),
            passed: 0,
            seen: Seen::default(),
            last_repeat: None,
        })
    }

    /// Opens the second stream if the first one is full of dead letters that stay leased. Not cancel safe.
    pub(super) async fn make_room(&mut self) -> Result<(), Problem> {
        let is_full = self.kept.messages >= MAX_KEPT.messages || self.kept.bytes >= MAX_KEPT.bytes;
        if is_full && self.second.is_none() {
            self.second = Some(DeadLetterStream::open_passing(&self.connection, &self.subscription).await?);
        }
        Ok(())
    }

    /// Returns the next dead letter that the run has not left, or waits forever if there is none. Cancel safe. Nothing
    /// follows an error.
    ///
    /// Call it all the time, because that extends the leases of the first stream. The number of dead letters that it
    /// returns is limited there. It reads the second stream only if the caller `has_room`.
    pub(super) async fn next(&mut self, has_room: bool) -> Result<Leased, Problem> {
        loop {
            self.passing.forget(Instant::now());
            let is_full = self.passing.receipts.len() >= MAX_PASSING;
            let second = async {
                match &mut self.second {
                    Some(stream) if has_room && !is_full => stream.next().await,
                    _ => pending().await,
                }
            };
            let (delivery, passing_since) = tokio::select! {
                delivery = self.first.next() => (delivery?, None),
                delivery = second => (delivery?, Some(Instant::now())),
                () = self.passing.next_forgotten(), if is_full => continue,
            };
            let bytes = size(&delivery.envelope);
            let lease = Lease { receipt: delivery.receipt, bytes, passing_since };
            let leased = Leased { envelope: delivery.envelope, lease };
            if !self.seen.contains(&leased.envelope.message_id) {
                return Ok(leased);
            }
            self.last_repeat = Some(Instant::now());
            self.put_aside(leased.lease);
        }
    }

    /// Returns how a run ends that got no new dead letter for the idle timeout.
    pub(super) fn idle_end(&self, last: Instant, idle: Duration) -> End {
        // A single repetition soon after the last dead letter is a duplicate, which Pub/Sub may deliver at any time.
        match self.last_repeat.is_some_and(|repeat| repeat >= last + idle / 2) {
            true => End::Repeated(idle),
            false => End::Idle(idle),
        }
    }

    /// Counts a dead letter that its lease keeps for a while, so that the reader has room for others.
    pub(super) fn hold(&mut self, lease: &Lease) {
        if lease.passing_since.is_none() {
            self.kept.messages += 1;
            self.kept.bytes += lease.bytes;
        }
    }

    /// Leaves a dead letter on the subscription, where this run does not meet it again.
    pub(super) fn leave(&mut self, message_id: &str, lease: Lease) {
        self.seen.insert(message_id);
        self.passed += usize::from(lease.passing_since.is_some());
        self.put_aside(lease);
    }

    /// Releases the dead letters that are left and waits until the client has sent all acks and nacks.
    pub(super) async fn close(mut self) -> Closed {
        // A stream that is still open would receive the dead letters that the other one releases.
        let second = async {
            if let Some(stream) = &mut self.second {
                stream.stop().await;
            }
        };
        tokio::join!(self.first.stop(), second);
        self.passing.forget(Instant::now());
        let passed_over = self.passed.saturating_sub(self.passing.receipts.len());
        drop(self.left);
        drop(self.passing);
        let second = async {
            match self.second {
                Some(stream) => stream.close().await,
                None => true,
            }
        };
        let (first, second) = tokio::join!(self.first.close(), second);
        Closed { flushed: first && second, passed_over }
    }

    fn put_aside(&mut self, lease: Lease) {
        match lease.passing_since {
            Some(since) => self.passing.add(since, lease.receipt),
            None => {
                self.kept.messages += 1;
                self.kept.bytes += lease.bytes;
                self.left.push(lease.receipt);
            }
        }
    }
}

/// Returns the size of a message, as far as the server's count of it is known.
fn size(envelope: &Envelope) -> usize {
    envelope.payload.len() + envelope.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

/// The receipts of the second stream, until the client has forgotten their messages. Dropped earlier, they would nack.
struct Passing<R> {
    receipts: VecDeque<(Instant, R)>,
}

impl<R> Default for Passing<R> {
    fn default() -> Passing<R> {
        Passing { receipts: VecDeque::new() }
    }
}

impl<R> Passing<R> {
    fn add(&mut self, since: Instant, receipt: R) {
        self.receipts.push_back((since, receipt));
    }

    /// Drops the receipts of messages that the client has forgotten.
    fn forget(&mut self, now: Instant) {
        while self.receipts.front().is_some_and(|(since, _)| *since + FORGOTTEN_AFTER <= now) {
            self.receipts.pop_front();
        }
    }

    /// Waits until [`Passing::forget`] has something to drop.
    async fn next_forgotten(&self) {
        match self.receipts.front() {
            Some((since, _)) => sleep_until(*since + FORGOTTEN_AFTER).await,
            None => pending().await,
        }
    }
}

/// The ids of the dead letters that the run left, as hashes. If two ids had the same hash, the run would leave the
/// second one too, and the next run would read it.
#[derive(Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// Returns whether the id is new.
    pub(super) fn insert(&mut self, message_id: &str) -> bool {
        self.0.insert(hash(message_id))
    }

    fn contains(&self, message_id: &str) -> bool {
        self.0.contains(&hash(message_id))
    }
}

fn hash(message_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_receipt_is_kept_until_the_client_has_forgotten_its_message() {
        let (start, receipt) = (Instant::now(), Rc::new(()));
        let mut passing = Passing::default();
        passing.add(start, receipt.clone());
        passing.add(start + SECOND, receipt.clone());

        passing.forget(start + FORGOTTEN_AFTER - SECOND);
        assert_eq!(Rc::strong_count(&receipt), 3);
        passing.forget(start + FORGOTTEN_AFTER);
        assert_eq!(Rc::strong_count(&receipt), 2);
        passing.forget(start + FORGOTTEN_AFTER + SECOND);
        assert_eq!(Rc::strong_count(&receipt), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reader_waits_until_the_oldest_message_is_forgotten() {
        let start = Instant::now();
        let mut passing = Passing::default();
        passing.add(start, ());

        passing.next_forgotten().await;

        assert_eq!(start.elapsed(), FORGOTTEN_AFTER);
        passing.forget(Instant::now());
        assert!(passing.receipts.is_empty());
    }

    #[test]
    fn the_limits_count_attributes_like_the_server() {
        let envelope = Envelope {
            payload: bytes::Bytes::from_static(b"12345"),
            attributes: [("name".to_owned(), "value".to_owned())].into(),
            message_id: "7".to_owned(),
            publish_time: std::time::SystemTime::UNIX_EPOCH,
            delivery_attempt: None,
        };
        assert_eq!(size(&envelope), 14);
    }
}
