//! A streaming pull whose deliveries can be awaited with a bound.

use std::time::Duration;

use google_cloud_pubsub::builder::subscriber::Subscribe;
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::ShutdownToken;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::within_patience;

pub(crate) type Delivery = (Message, Handler);

/// A stream that a task reads, because `MessageStream::next` must not be cancelled while it opens. Dropping it ends
/// the stream and nacks what was not taken from it.
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

    /// The next message, which must come.
    pub(crate) async fn next(&mut self) -> Delivery {
        within_patience("a message on the stream", self.deliveries.recv())
            .await
            .expect("the stream ended")
            .expect("the stream failed")
    }

    /// The next `count` messages, unsettled.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// The next message, if one comes within `time`.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<Delivery> {
        let delivery = tokio::time::timeout(time, self.deliveries.recv()).await.ok()?;
        Some(delivery.expect("the stream ended").expect("the stream failed"))
    }

    /// The error with which the stream must answer.
    pub(crate) async fn error(&mut self) -> google_cloud_pubsub::Error {
        let answer = within_patience("an error on the stream", self.deliveries.recv()).await;
        answer.expect("the stream ended without an error").expect_err("a message in place of an error")
    }

    /// Whether the stream has ended after what was taken from it.
    pub(crate) async fn ended(&mut self) -> bool {
        within_patience("the end of the stream", self.deliveries.recv()).await.is_none()
    }

    /// Ends the stream, nacks what was not taken from it, and waits until what was settled is flushed.
    ///
    /// By its token and not by a drop: Google's emulator goes on delivering to a stream that was dropped.
    pub(crate) async fn close(mut self) {
        drop(self.deliveries);
        within_patience("the flush of a stream", self.token.shutdown()).await;
        within_patience("the end of a stream", self.reader.join_next()).await;
    }

    /// Tells the stream to end, as a drain does, while its receipts are still to be settled.
    pub(crate) fn shutdown_token(&self) -> ShutdownToken {
        self.token.clone()
    }
}
