//! A supervised stream: one task reads it, replaces it when it ends, and keeps what it read for the worker.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::ShutdownToken;
use google_cloud_pubsub::subscriber::handler::Handler;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Connection, Problem};
use crate::consumer::port::{Delivery, Envelope, Receipt, Source, SourceError};
use crate::consumer::{Condition, Health};

/// An error that comes this soon after the start, before any message, is a wrong setting.
const START: Duration = Duration::from_secs(15);
/// A stream that was opened this long ago without an error is well: an idle subscription answers nothing at all.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// The client drops a lease in silence at its maximum, so that lies this far above the age at which we give back.
const LEASE_MARGIN: Duration = Duration::from_secs(600);

/// What one stream asks the server for.
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
}

#[derive(Debug)]
pub struct StreamSource {
    deliveries: mpsc::Receiver<Result<Delivery<StreamReceipt>, SourceError>>,
    stop: CancellationToken,
    supervisor: JoinSet<()>,
}

#[derive(Debug)]
pub struct StreamReceipt(Handler);

impl Receipt for StreamReceipt {
    fn ack(self) {
        self.0.ack();
    }

    fn nack(self) {
        self.0.nack();
    }
}

impl StreamSource {
    /// Starts to read on the runtime that calls this. `worker` names the stream in what is said about it.
    pub fn open(connection: Connection, settings: StreamSettings, health: Arc<Health>, worker: usize) -> StreamSource {
        let capacity = usize::try_from(settings.max_messages).unwrap_or(1).max(1);
        let (sender, deliveries) = mpsc::channel(capacity);
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            connection,
            settings,
            health,
            worker,
            stop: stop.clone(),
            sender,
            started: Instant::now(),
            delivered: false,
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

/// Reads streams, one after another.
struct Supervisor {
    connection: Connection,
    settings: StreamSettings,
    health: Arc<Health>,
    worker: usize,
    stop: CancellationToken,
    sender: mpsc::Sender<Result<Delivery<StreamReceipt>, SourceError>>,
    started: Instant,
    /// Whether any stream ever gave a message.
    delivered: bool,
}

/// Why a stream is read no more.
enum End {
    Stopped,
    Closed,
    Failed(Problem),
}

impl Supervisor {
    async fn run(mut self) {
        let mut closing = JoinSet::new();
        let mut failures: u32 = 0;
        loop {
            let opened = Instant::now();
            let stream = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                stream = self.open() => stream,
            };
            let end = match stream {
                Ok(mut stream) => {
                    let token = stream.shutdown_token();
                    let end = self.read(&mut stream).await;
                    // The token's way, never a plain drop: receipts of the ended stream stay leased and still settle.
                    closing.spawn(shut_down(token));
                    end
                }
                Err(problem) => End::Failed(problem),
            };
            while closing.try_join_next().is_some() {}
            match end {
                End::Stopped => break,
                End::Closed => {}
                End::Failed(problem) => {
                    if problem.is_permanent() && !self.delivered && self.started.elapsed() < START {
                        let _ = self.sender.send(Err(SourceError(self.describe(&problem)))).await;
                        break;
                    }
                    self.health.raise(Condition::Stream(self.worker), &self.describe(&problem));
                }
            }
            failures = if opened.elapsed() > LONGEST_BACKOFF { 1 } else { failures.saturating_add(1) };
            let backoff = LONGEST_BACKOFF.min(FIRST_BACKOFF * 2u32.saturating_pow(failures.min(16)));
            let backoff = rand::rng().random_range(backoff / 2..=backoff);
            warn!(worker = self.worker, backoff_ms = backoff.as_millis() as u64, "stream ended; opening another");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = sleep(backoff) => {}
            }
        }
        drop(self.sender);
        while closing.join_next().await.is_some() {}
    }

    async fn open(&self) -> Result<MessageStream, Problem> {
        let settings = &self.settings;
        let subscriber = self.connection.subscriber().await?;
        Ok(subscriber
            .subscribe(&settings.subscription)
            .set_max_outstanding_messages(settings.max_messages)
            .set_max_outstanding_bytes(settings.max_bytes)
            .set_max_lease_extension(settings.max_lease_extension)
            .set_max_lease(settings.max_retry_time + LEASE_MARGIN)
            .build())
    }

    async fn read(&mut self, stream: &mut MessageStream) -> End {
        let well = sleep_until(Instant::now() + HEALTHY_AFTER);
        tokio::pin!(well);
        let mut unsure = true;
        loop {
            // `next` is dropped unfinished only when the stream ends with it: an opening stream would begin anew.
            let next = stream.next();
            tokio::pin!(next);
            let result = loop {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return End::Stopped,
                    result = &mut next => break result,
                    () = &mut well, if unsure => {
                        unsure = false;
                        self.health.clear(Condition::Stream(self.worker));
                    }
                }
            };
            let (message, handler) = match result {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return End::Failed(Problem::from(&error)),
                None => return End::Closed,
            };
            self.delivered = true;
            if unsure {
                unsure = false;
                self.health.clear(Condition::Stream(self.worker));
            }
            // Full only where the server gives more than it was asked for: then this waits, and the client with it.
            if self.sender.send(Ok(delivery(message, handler))).await.is_err() {
                return End::Stopped;
            }
        }
    }

    fn describe(&self, problem: &Problem) -> String {
        let subscription = &self.settings.subscription;
        match problem {
            Problem::NotFound => format!(
                "subscription {subscription} (--subscription, --project) does not exist.\n\
                 Create it: mini-scan setup pubsub --topic TOPIC --subscription {subscription}"
            ),
            Problem::Refused(detail) => format!(
                "reading subscription {subscription} (--subscription, --project) is refused: {detail}\n\
                 Grant it: gcloud pubsub subscriptions add-iam-policy-binding {subscription} \
                 --role=roles/pubsub.subscriber --member=IDENTITY"
            ),
            Problem::NoCredentials(_) => format!(
                "subscription {subscription} (--subscription, --project) cannot be read: {problem}\n\
                 Run `gcloud auth application-default login`; for a local server set PUBSUB_EMULATOR_HOST."
            ),
            problem => format!("subscription {subscription} (--subscription, --project) cannot be read: {problem}"),
        }
    }
}

async fn shut_down(token: ShutdownToken) {
    token.shutdown().await;
}

fn delivery(message: Message, handler: Handler) -> Delivery<StreamReceipt> {
    let delivery_attempt = handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok());
    let publish_time = message.publish_time.map_or(SystemTime::UNIX_EPOCH, |time| {
        let seconds = Duration::from_secs(u64::try_from(time.seconds()).unwrap_or(0));
        SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(u64::try_from(time.nanos()).unwrap_or(0))
    });
    let envelope = Envelope {
        payload: message.data,
        attributes: message.attributes,
        message_id: message.message_id,
        publish_time,
        delivery_attempt,
    };
    Delivery { envelope, receipt: StreamReceipt(handler) }
}
