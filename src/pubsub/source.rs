//! A supervised stream as the consumer's port. One task reads it and queues its messages for the worker. It replaces
//! the stream when it ends or is idle for too long. Does not decode or settle messages.

mod activity;
mod backoff;
mod idle;
mod probe;
mod replaced;
mod state;
mod supervisor;
mod unsettled;

use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::activity::Activity;
use self::replaced::Replaced;
use self::state::Machine;
use self::supervisor::Supervisor;
use self::unsettled::{Amount, Unsettled, UnsettledGuard};
use super::Connection;
use super::envelope::envelope;
use crate::consumer::Health;
use crate::consumer::ports::{Delivery, Observer, Receipt, Source, SourceError};

/// The limits of one stream, and when it is replaced.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Full name of the subscription.
    pub subscription: String,
    pub max_messages: i64,
    pub max_bytes: i64,
    /// The length of a lease extension, and so the time until the messages of a killed instance are redelivered. 10 s
    /// to 600 s.
    pub max_lease_extension: Duration,
    /// The age at which the consumer nacks a message.
    pub max_retry_time: Duration,
    /// The time without a message after which a stream is replaced, unless it is at its limits. Only the stream of worker 0
    /// is replaced that often while the whole process receives nothing.
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
    _unsettled: UnsettledGuard,
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
    /// Starts reading on the current runtime. `worker` names the stream in logs, metrics and health conditions. All workers
    /// of a process share the activity.
    pub fn open(
        connection: Connection,
        settings: StreamSettings,
        health: Arc<Health>,
        observer: Arc<dyn Observer>,
        worker: usize,
        activity: Arc<Activity>,
    ) -> StreamSource {
        let limit = settings.limit();
        let (sender, deliveries) = mpsc::channel(limit.messages);
        let stop = CancellationToken::new();
        let machine = Machine::new(limit, settings.max_idle, worker == 0, StdRng::from_os_rng(), Instant::now());
        let replaced = Replaced::new(limit);
        let supervisor = Supervisor {
            connection,
            settings,
            health,
            observer,
            worker,
            activity,
            stop: stop.clone(),
            sender,
            machine,
            replaced,
        };
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

fn delivery(message: Message, handler: Handler, unsettled: &Arc<Unsettled>) -> Delivery<StreamReceipt> {
    let envelope = envelope(message, &handler);
    let attributes = envelope.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let guard = unsettled.add((envelope.payload.len() + attributes) as u64);
    Delivery { envelope, receipt: StreamReceipt { handler, _unsettled: guard } }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt;
    use ops::panic_text;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_supervisor_resumes_in_the_worker() {
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
