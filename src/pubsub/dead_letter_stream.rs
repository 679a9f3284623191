//! Reads the dead-letter subscription for an operator's command. A stream either keeps each dead letter leased until it
//! is settled, or passes over it: its lease ends by itself. Does not know what dead letters contain.

use std::time::Duration;

use futures_util::FutureExt;
use google_cloud_pubsub::builder::subscriber::Subscribe;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior, ShutdownToken};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::envelope::envelope;
use super::{Connection, Problem};
use crate::consumer::ports::Delivery;

/// The time after which Pub/Sub redelivers the dead letters of a killed run: the shortest that Pub/Sub allows.
///
/// It also applies to released dead letters if the server delivers them once more to the closing stream, as Google's
/// emulator does.
pub const LEASE_EXTENSION: Duration = Duration::from_secs(10);
/// The client silently drops a lease at its maximum, so the maximum is longer than any run.
const MAX_LEASE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The lease of a message on a stream that passes over messages: the longest that Pub/Sub allows.
pub const PASSING_LEASE: Duration = Duration::from_secs(600);
/// The maximum lease on such a stream. Later, the client neither extends the lease nor nacks, but still acks.
const MAX_PASSING_LEASE: Duration = Duration::from_secs(20);
/// Dropping a receipt of such a stream after this time leaves the lease to end by itself. The client checks the maximum
/// lease every 3 s.
pub const FORGOTTEN_AFTER: Duration = MAX_PASSING_LEASE.saturating_add(Duration::from_secs(5));
/// The time that the last acks and nacks may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that the server has to notice the end of a stream. Otherwise it would deliver nacked messages to that
/// stream.
const END_OF_STREAM: Duration = Duration::from_millis(200);

/// The most that is leased at the same time. The server may exceed the bytes by one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLimit {
    pub messages: usize,
    pub bytes: usize,
}

/// One stream, which is not replaced when it ends. The operator runs the command again.
#[derive(Debug)]
pub struct DeadLetterStream {
    deliveries: mpsc::Receiver<Result<Delivery<DeadLetterReceipt>, Problem>>,
    token: ShutdownToken,
    reader: JoinSet<()>,
}

/// The right to settle one dead letter. Dropping it nacks.
#[derive(Debug)]
pub struct DeadLetterReceipt(Handler);

impl DeadLetterReceipt {
    /// Acknowledges the dead letter. Returns whether that succeeded, as far as the client knows: it does not wait for
    /// the server unless the subscription has exactly-once delivery.
    pub async fn ack(self) -> bool {
        match self.0 {
            Handler::ExactlyOnce(handler) => handler.confirmed_ack().await.is_ok(),
            handler => {
                handler.ack();
                true
            }
        }
    }
}

impl DeadLetterStream {
    /// Starts reading the subscription with this full name on the current runtime. The first result of [`Self::next`]
    /// shows whether the identity may read it.
    pub async fn open(
        connection: &Connection,
        subscription: &str,
        limit: LeaseLimit,
    ) -> Result<DeadLetterStream, Problem> {
        let subscribe = connection
            .subscriber()
            .await?
            .subscribe(subscription)
            .set_max_outstanding_messages(i64::try_from(limit.messages).unwrap_or(i64::MAX))
            .set_max_outstanding_bytes(i64::try_from(limit.bytes).unwrap_or(i64::MAX))
            .set_max_lease_extension(LEASE_EXTENSION)
            .set_max_lease(MAX_LEASE);
        Ok(DeadLetterStream::start(subscribe))
    }

    /// Does the same, but passes over messages: it leases each for [`PASSING_LEASE`], and does not limit how many.
    pub async fn open_passing(connection: &Connection, subscription: &str) -> Result<DeadLetterStream, Problem> {
        let subscribe = connection
            .subscriber()
            .await?
            .subscribe(subscription)
            .set_max_outstanding_messages(0)
            .set_max_outstanding_bytes(0)
            .set_max_lease_extension(PASSING_LEASE)
            .set_max_lease(MAX_PASSING_LEASE);
        Ok(DeadLetterStream::start(subscribe))
    }

    fn start(subscribe: Subscribe) -> DeadLetterStream {
        // The leases outlive the stream, so that it can end before the nacks.
        let stream = subscribe.set_shutdown_behavior(ShutdownBehavior::WaitForProcessing).build();
        let token = stream.shutdown_token();
        let (sender, deliveries) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(read(stream, sender));
        DeadLetterStream { deliveries, token, reader }
    }

    /// Returns the next dead letter, or waits forever if there is none. Cancel safe. Nothing follows an error.
    ///
    /// Unless the stream passes over messages, call it all the time: the client extends the lease of a message only
    /// after reading it.
    pub async fn next(&mut self) -> Result<Delivery<DeadLetterReceipt>, Problem> {
        let closed = || Err(Problem::Unreachable("the stream was closed".to_owned()));
        self.deliveries.recv().await.unwrap_or_else(closed)
    }

    /// Ends the stream. Its dead letters stay leased until their receipts are settled or dropped.
    pub async fn stop(&mut self) {
        // The first poll signals the end to the client, and the rest would wait for the receipts.
        let _ = self.token.shutdown().now_or_never();
        self.deliveries.close();
        while self.reader.join_next().await.is_some() {}
        sleep(END_OF_STREAM).await;
    }

    /// Waits until the client has sent all acks and nacks. Returns false on a timeout.
    ///
    /// First [`Self::stop`] the stream, then drop all receipts. Messages without a receipt are nacked too.
    pub async fn close(self) -> bool {
        drop(self.deliveries);
        timeout(FLUSH_TIMEOUT, self.token.shutdown()).await.is_ok()
    }
}

/// Reads in a separate task, because the client's `next` must not be dropped while it opens the stream.
async fn read(mut stream: MessageStream, sender: mpsc::Sender<Result<Delivery<DeadLetterReceipt>, Problem>>) {
    while let Some(result) = stream.next().await {
        let result = result.map(|(message, handler)| {
            let envelope = envelope(message, &handler);
            Delivery { envelope, receipt: DeadLetterReceipt(handler) }
        });
        if sender.send(result.map_err(|error| Problem::from(&error))).await.is_err() {
            break;
        }
    }
}
