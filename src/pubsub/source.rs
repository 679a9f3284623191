//! A supervised stream: one task reads it, replaces it when it ends or is silent, and keeps what it read for the worker.

mod backoff;
mod holding;
mod probe;
mod silence;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::holding::{Amount, Holding, Share};
use self::supervisor::Supervisor;
use super::Connection;
use super::envelope::envelope;
use crate::consumer::Health;
use crate::consumer::ports::{Delivery, Observer, Receipt, Source, SourceError};

/// What one stream asks the server for, and when it is replaced.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Full name of the subscription.
    pub subscription: String,
    pub max_messages: i64,
    pub max_bytes: i64,
    /// How far each lease extension reaches: how soon the messages of a killed instance come back. 10 s to 600 s.
    pub max_lease_extension: Duration,
    /// The age at which the consumer gives a message back.
    pub max_retry_time: Duration,
    /// How long a stream that is not full may give nothing.
    pub max_idle: Duration,
}

impl StreamSettings {
    fn limit(&self) -> Amount {
        Amount {
            messages: usize::try_from(self.max_messages).unwrap_or(1).max(1),
            bytes: u64::try_from(self.max_bytes).unwrap_or(1).max(1),
        }
    }
}

#[derive(Debug)]
pub struct StreamSource {
    deliveries: mpsc::Receiver<Result<Delivery<StreamReceipt>, SourceError>>,
    stop: CancellationToken,
    supervisor: JoinSet<()>,
}

#[derive(Debug)]
pub struct StreamReceipt {
    handler: Handler,
    _share: Share,
}

impl Receipt for StreamReceipt {
    fn ack(self) {
        self.handler.ack();
    }

    fn nack(self) {
        self.handler.nack();
    }
}

impl StreamSource {
    /// Starts to read on the runtime that calls this. `worker` names the stream in what is said about it.
    pub fn open(
        connection: Connection,
        settings: StreamSettings,
        health: Arc<Health>,
        observer: Arc<dyn Observer>,
        worker: usize,
    ) -> StreamSource {
        let (sender, deliveries) = mpsc::channel(settings.limit().messages);
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(connection, settings, health, observer, worker, stop.clone(), sender);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor.run());
        StreamSource { deliveries, stop, supervisor: tasks }
    }
}

impl Source for StreamSource {
    type Receipt = StreamReceipt;

    async fn next(&mut self) -> Result<Option<Delivery<StreamReceipt>>, SourceError> {
        if let Some(delivery) = self.deliveries.recv().await {
            return delivery.map(Some);
        }
        if !self.stop.is_cancelled()
            && let Some(Err(error)) = self.supervisor.join_next().await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        Ok(None)
    }

    fn stop(&mut self) {
        self.stop.cancel();
    }

    async fn flushed(mut self) {
        while self.supervisor.join_next().await.is_some() {}
    }
}

fn delivery(message: Message, handler: Handler, holding: &Arc<Holding>) -> Delivery<StreamReceipt> {
    let envelope = envelope(message, &handler);
    let attributes = envelope.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let share = holding.share((envelope.payload.len() + attributes) as u64);
    Delivery { envelope, receipt: StreamReceipt { handler, _share: share } }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt;
    use ops::panic_text;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_supervisor_goes_on_in_the_worker() {
        let (sender, deliveries) = mpsc::channel(1);
        let mut supervisor = JoinSet::new();
        supervisor.spawn(async move {
            let _sender = sender;
            panic!("a bug");
        });
        let mut source = StreamSource { deliveries, stop: CancellationToken::new(), supervisor };

        let panic = AssertUnwindSafe(source.next()).catch_unwind().await.unwrap_err();

        assert_eq!(panic_text(panic.as_ref()), "a bug");
    }
}
