//! Reads the dead-letter subscription for an operator's command. A dead letter stays leased until it is settled or the
//! stream is closed. Does not know what dead letters contain.

use std::time::Duration;

use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior, ShutdownToken};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

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
/// The time that the last acks and nacks may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Acknowledges the dead letter. Best effort, unless the subscription has exactly-once delivery.
    pub async fn ack(self) {
        match self.0 {
            // The result does not matter: if the ack was lost, the dead letter is redriven again, and its scan is
            // stale.
            Handler::ExactlyOnce(handler) => drop(handler.confirmed_ack().await),
            handler => handler.ack(),
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
            .set_max_lease(MAX_LEASE)
            // This also nacks messages that the client has read and nobody has received.
            .set_shutdown_behavior(ShutdownBehavior::NackImmediately);
        let stream = subscribe.build();
        let token = stream.shutdown_token();
        let (sender, deliveries) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(read(stream, sender));
        Ok(DeadLetterStream { deliveries, token, reader })
    }

    /// Returns the next dead letter, or waits forever if there is none. Cancel safe. Nothing follows an error.
    ///
    /// Call it all the time: the client extends the lease of a message only after reading it.
    pub async fn next(&mut self) -> Result<Delivery<DeadLetterReceipt>, Problem> {
        let closed = || Err(Problem::Unreachable("the stream was closed".to_owned()));
        self.deliveries.recv().await.unwrap_or_else(closed)
    }

    /// Nacks the unsettled dead letters and waits until the client has sent all nacks and acks. Returns false on a
    /// timeout.
    pub async fn close(mut self) -> bool {
        drop(self.deliveries);
        let flushed = timeout(FLUSH_TIMEOUT, self.token.shutdown()).await.is_ok();
        self.reader.shutdown().await;
        flushed
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
