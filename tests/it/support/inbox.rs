//! A streaming pull whose deliveries can be awaited with a timeout.

use std::time::Duration;

use google_cloud_pubsub::builder::subscriber::Subscribe;
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::ShutdownToken;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::with_timeout;

pub(crate) type Delivery = (Message, Handler);

/// A stream that a task reads, because `MessageStream::next` must not be cancelled while it opens. Dropping the inbox
/// ends the stream and nacks the messages that were not taken.
pub(crate) struct Inbox {
    deliveries: mpsc::UnboundedReceiver<Result<Delivery, google_cloud_pubsub::Error>>,
    token: ShutdownToken,
    reader: JoinSet<()>,
}

impl Inbox {
    pub(crate) fn open(subscribe: Subscribe) -> Inbox {
        let mut stream = subscribe.build();
        let token = stream.shutdown_token();
        let (sender, deliveries) = mpsc::unbounded_channel();
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(delivery) = stream.next().await {
                if sender.send(delivery).is_err() {
                    break;
                }
            }
        });
        Inbox { deliveries, token, reader }
    }

    /// Returns the next message, and panics if none comes.
    pub(crate) async fn next(&mut self) -> Delivery {
        with_timeout("a message on the stream", self.deliveries.recv())
            .await
            .expect("the stream ended")
            .expect("the stream failed")
    }

    /// Returns the next `count` messages, unsettled.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Returns the next message, if one comes within `time`.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<Delivery> {
        let delivery = tokio::time::timeout(time, self.deliveries.recv()).await.ok()?;
        Some(delivery.expect("the stream ended").expect("the stream failed"))
    }

    /// Returns the error of the stream, and panics if a message comes instead.
    pub(crate) async fn error(&mut self) -> google_cloud_pubsub::Error {
        let response = with_timeout("an error on the stream", self.deliveries.recv()).await;
        response.expect("the stream ended without an error").expect_err("a message came instead of an error")
    }

    /// Returns whether the stream has ended.
    pub(crate) async fn ended(&mut self) -> bool {
        with_timeout("the end of the stream", self.deliveries.recv()).await.is_none()
    }

    /// Ends the stream, nacks the messages that were not taken, and waits until all settlements are flushed.
    ///
    /// A dropped stream would not wait for its settlements.
    pub(crate) async fn close(mut self) {
        drop(self.deliveries);
        with_timeout("the flush of a stream", self.token.shutdown()).await;
        with_timeout("the end of a stream", self.reader.join_next()).await;
    }

    /// Returns the token that ends the stream while its receipts are still unsettled, as a drain does.
    pub(crate) fn shutdown_token(&self) -> ShutdownToken {
        self.token.clone()
    }
}
