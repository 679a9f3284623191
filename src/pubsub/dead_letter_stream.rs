//! The dead-letter subscription, read by hand: what it gives stays leased until it is settled or the stream is closed.

use std::time::Duration;

use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior, ShutdownToken};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::envelope::envelope;
use super::{Connection, Problem};
use crate::consumer::ports::Delivery;

/// How soon the letters of a program that was killed come back: the soonest that Pub/Sub has. And those that were given
/// back, where the server hands them to the closing stream once more, as Google's emulator does.
pub const LEASE_EXTENSION: Duration = Duration::from_secs(10);
/// The client drops a lease in silence at its maximum, so that lies above any run.
const MAX_LEASE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long the last acks and nacks may take.
const FLUSH: Duration = Duration::from_secs(5);

/// How much is leased at a time, at most; the server may give one letter above the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    pub letters: usize,
    pub bytes: usize,
}

/// One stream, which is not replaced when it ends: whoever reads by hand starts again.
#[derive(Debug)]
pub struct DeadLetterStream {
    deliveries: mpsc::Receiver<Result<Delivery<DeadLetterReceipt>, Problem>>,
    token: ShutdownToken,
    reader: JoinSet<()>,
}

/// The right to settle one letter. Dropping it nacks.
#[derive(Debug)]
pub struct DeadLetterReceipt(Handler);

impl DeadLetterReceipt {
    /// The letter need not come again. Best effort, except where the subscription confirms acks.
    pub async fn ack(self) {
        match self.0 {
            // Whether it was confirmed or not: a letter that comes again is published again, and stale.
            Handler::ExactlyOnce(handler) => drop(handler.confirmed_ack().await),
            handler => handler.ack(),
        }
    }
}

impl DeadLetterStream {
    /// Starts to read the subscription of this full name on the runtime that calls this. The first answer shows whether
    /// it may be read.
    pub async fn open(connection: &Connection, subscription: &str, most: Leased) -> Result<DeadLetterStream, Problem> {
        let subscribe = connection
            .subscriber()
            .await?
            .subscribe(subscription)
            .set_max_outstanding_messages(i64::try_from(most.letters).unwrap_or(i64::MAX))
            .set_max_outstanding_bytes(i64::try_from(most.bytes).unwrap_or(i64::MAX))
            .set_max_lease_extension(LEASE_EXTENSION)
            .set_max_lease(MAX_LEASE)
            // What the client has read and nobody has taken is nacked with the rest.
            .set_shutdown_behavior(ShutdownBehavior::NackImmediately);
        let stream = subscribe.build();
        let token = stream.shutdown_token();
        let (sender, deliveries) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(read(stream, sender));
        Ok(DeadLetterStream { deliveries, token, reader })
    }

    /// The next letter; waits for ever where there is none. Cancel safe. An error is the last that comes.
    ///
    /// To be called at all times: the client extends no lease of what it has not read.
    pub async fn next(&mut self) -> Result<Delivery<DeadLetterReceipt>, Problem> {
        let closed = || Err(Problem::Unreachable("the stream was closed".to_owned()));
        self.deliveries.recv().await.unwrap_or_else(closed)
    }

    /// Nacks what is not settled, and waits until that and every ack before is sent. False when it took too long.
    pub async fn close(mut self) -> bool {
        drop(self.deliveries);
        let flushed = timeout(FLUSH, self.token.shutdown()).await.is_ok();
        self.reader.shutdown().await;
        flushed
    }
}

/// In a task of its own, because `next` must not be dropped while it opens the stream.
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
