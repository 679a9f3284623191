//! Reads one stream after another: opens each, counts why it ended, and reports whether Pub/Sub is healthy. Does not
//! settle messages.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownToken};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backoff::{Backoff, MAX_BACKOFF, jittered};
use super::idle::{IdleTimer, LastMessage};
use super::probe::probe;
use super::unsettled::{Amount, Unsettled};
use super::{StreamReceipt, StreamSettings, delivery};
use crate::consumer::policy::ends_the_program;
use crate::consumer::ports::{Delivery, Observer, Restart, SourceError};
use crate::consumer::settings::max_lease;
use crate::consumer::{Condition, Health};
use crate::pubsub::envelope::publish_time;
use crate::pubsub::{Connection, Problem, grant_subscriber};

/// Pub/Sub is healthy again if it responded to a probe and no error occurred for this time. The stream of an idle
/// subscription receives nothing that would show it sooner.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// The client sends acks every 100 ms. Acks of a replaced stream that are not sent within this time are lost.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a worker checks whether its replaced streams have settled enough messages for a new stream.
const CAPACITY_CHECK: Duration = Duration::from_millis(100);

pub(super) struct Supervisor {
    connection: Connection,
    settings: StreamSettings,
    health: Arc<Health>,
    observer: Arc<dyn Observer>,
    worker: usize,
    stop: CancellationToken,
    sender: mpsc::Sender<Result<Delivery<StreamReceipt>, SourceError>>,
    started: Instant,
    last: Option<LastMessage>,
    /// The unsettled messages of streams that have ended.
    replaced: Vec<Arc<Unsettled>>,
    /// When the previous stream was replaced because it was idle. `None` once it is known whether its connection was
    /// dead.
    suspect: Option<Instant>,
    /// The time of the last fault. `None` while Pub/Sub is healthy.
    last_fault: Option<Instant>,
}

/// Why the supervisor stopped reading a stream.
enum End {
    Stopped,
    IdleTooLong,
    Overfull,
    Closed { received: bool },
    Failed(Problem),
}

impl Supervisor {
    pub(super) fn new(
        connection: Connection,
        settings: StreamSettings,
        health: Arc<Health>,
        observer: Arc<dyn Observer>,
        worker: usize,
        stop: CancellationToken,
        sender: mpsc::Sender<Result<Delivery<StreamReceipt>, SourceError>>,
    ) -> Supervisor {
        Supervisor {
            connection,
            settings,
            health,
            observer,
            worker,
            stop,
            sender,
            started: Instant::now(),
            last: None,
            replaced: Vec::new(),
            suspect: None,
            last_fault: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut closing = JoinSet::new();
        let mut backoff = Backoff::default();
        while self.has_capacity().await {
            let opened = Instant::now();
            let end = self.stream(&mut closing).await;
            while closing.try_join_next().is_some() {}
            if self.suspect.take().is_some() {
                self.count(Restart::Idle);
            }
            let problem = match end {
                End::Stopped => break,
                End::IdleTooLong => {
                    self.suspect = Some(Instant::now());
                    continue;
                }
                End::Overfull => {
                    self.count(Restart::Overfull);
                    continue;
                }
                End::Closed { received } => {
                    self.count(Restart::Closed);
                    // A server may close a stream after a while. It is unhealthy if it closes one before any message.
                    (!received).then(|| Problem::Unreachable("the stream was closed".to_owned()))
                }
                End::Failed(problem) if self.is_fatal(&problem) => {
                    let _ = self.sender.send(Err(SourceError(self.describe(&problem)))).await;
                    break;
                }
                End::Failed(problem) => {
                    self.count(restart(&problem));
                    Some(problem)
                }
            };
            if let Some(problem) = problem {
                self.raise(&problem);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = sleep(backoff.after(opened.elapsed())) => {}
            }
        }
        drop(self.sender);
        while closing.join_next().await.is_some() {}
    }

    /// Waits until the replaced streams have less than one limit unsettled, so that with a new stream it is never more
    /// than two limits. Returns false if the supervisor is stopped.
    async fn has_capacity(&mut self) -> bool {
        loop {
            self.replaced.retain(|unsettled| unsettled.amount() != Amount::NOTHING);
            if !self.unsettled_of_replaced().reaches(self.settings.limit()) {
                return !self.stop.is_cancelled();
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = sleep(CAPACITY_CHECK) => {}
            }
        }
    }

    fn unsettled_of_replaced(&self) -> Amount {
        self.replaced.iter().fold(Amount::NOTHING, |sum, unsettled| sum.plus(unsettled.amount()))
    }

    /// Returns whether the worker has twice the limit unsettled. The server enforces the limit per stream, and counts
    /// from zero if the client reconnects the stream.
    fn is_overfull(&self, stream: &Unsettled) -> bool {
        let (amount, limit) = (stream.amount(), self.settings.limit());
        amount.reaches(limit) && amount.plus(self.unsettled_of_replaced()).reaches(limit.plus(limit))
    }

    /// Opens one stream and reads it to its end. Its messages stay leased, and a task in `closing` waits until they are
    /// settled.
    async fn stream(&mut self, closing: &mut JoinSet<()>) -> End {
        let opened = tokio::select! {
            biased;
            () = self.stop.cancelled() => return End::Stopped,
            opened = self.open() => opened,
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(problem) => return End::Failed(problem),
        };
        let (token, unsettled) = (stream.shutdown_token(), Arc::<Unsettled>::default());
        self.observer.stream_opened(self.worker);
        let end = self.read(&mut stream, &unsettled).await;
        self.observer.stream_ended(self.worker);
        // With the token, unlike with a plain drop, receipts of the ended stream stay leased and can still be settled.
        closing.spawn(shut_down(token, unsettled.clone(), self.observer.clone()));
        self.replaced.push(unsettled);
        end
    }

    /// Opens a stream with a new client. A stream of the old client would reuse its connection, which may be dead.
    async fn open(&self) -> Result<MessageStream, Problem> {
        let settings = &self.settings;
        let subscriber = self.connection.subscriber().await?;
        Ok(subscriber
            .subscribe(&settings.subscription)
            .set_max_outstanding_messages(settings.max_messages)
            .set_max_outstanding_bytes(settings.max_bytes)
            .set_max_lease_extension(settings.max_lease_extension)
            .set_max_lease(max_lease(settings.max_retry_time))
            .build())
    }

    async fn read(&mut self, stream: &mut MessageStream, unsettled: &Arc<Unsettled>) -> End {
        let StreamSettings { max_idle, .. } = self.settings;
        // Without jitter, streams that were opened together would be replaced together.
        let timeout = max_idle.mul_f64(rand::rng().random_range(1.0..1.1));
        let mut idle = IdleTimer::new(self.settings.limit(), timeout, Instant::now());
        let mut checks = interval((max_idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(5)));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probe = pin!(self.probe());
        let (mut responded, mut received) = (false, false);
        loop {
            // `next` is dropped unfinished only when the stream ends too, because a dropped `next` restarts the
            // opening.
            let mut next = pin!(stream.next());
            let result = loop {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return End::Stopped,
                    result = &mut next => break result,
                    response = &mut probe => match response {
                        Ok(()) => responded = true,
                        Err(problem) => {
                            self.probe_failed(&problem);
                            idle.shorten(jittered(MAX_BACKOFF));
                        }
                    },
                    _ = checks.tick() => {
                        // A running probe shows more about Pub/Sub than the idle time of this stream.
                        if probe.is_terminated() && idle.has_expired(Instant::now(), unsettled.amount()) {
                            return End::IdleTooLong;
                        }
                        if responded && self.last_fault.is_some_and(|fault| fault.elapsed() >= HEALTHY_AFTER) {
                            self.recovered();
                        }
                    }
                }
            };
            let (message, handler) = match result {
                Some(Ok(delivered)) => delivered,
                Some(Err(error)) => return End::Failed(Problem::from(&error)),
                None => return End::Closed { received },
            };
            received = true;
            idle.restart(self.message_received(&message));
            if !self.forward(message, handler, unsettled).await {
                return End::Stopped;
            }
            if self.is_overfull(unsettled) {
                return End::Overfull;
            }
        }
    }

    /// Probes Pub/Sub if there is reason to doubt that it responds.
    fn probe(&self) -> Fuse<impl Future<Output = Result<(), Problem>> + use<>> {
        match self.suspect.is_some() || self.last_fault.is_some() {
            true => probe(self.connection.clone(), self.settings.subscription.clone()).fuse(),
            false => Fuse::terminated(),
        }
    }

    /// Sends a message to the worker. Waits only if the server exceeds the limits of the stream; then the client waits
    /// too.
    async fn forward(&self, message: Message, handler: Handler, unsettled: &Arc<Unsettled>) -> bool {
        self.sender.send(Ok(delivery(message, handler, unsettled))).await.is_ok()
    }

    /// Records that Pub/Sub is healthy, and whether the previous stream should have received this message. Returns the
    /// time.
    fn message_received(&mut self, message: &Message) -> Instant {
        let (received, published): (Instant, SystemTime) = (Instant::now(), publish_time(message));
        if let Some(ended) = self.suspect.take() {
            let was_waiting = self.last.is_some_and(|last| last.next_was_waiting(ended, published));
            self.count(if was_waiting { Restart::Silent } else { Restart::Idle });
        }
        self.last = Some(LastMessage { published, received });
        self.recovered();
        received
    }

    fn probe_failed(&mut self, problem: &Problem) {
        if self.suspect.take().is_some() {
            self.count(Restart::Silent);
        }
        self.raise(problem);
    }

    fn count(&self, cause: Restart) {
        self.observer.stream_replaced(cause);
        debug!(worker = self.worker, cause = cause.name(), "stream replaced");
    }

    fn raise(&mut self, problem: &Problem) {
        self.last_fault = Some(Instant::now());
        self.health.raise(Condition::Stream(self.worker), restart(problem).name(), &self.describe(problem));
    }

    fn recovered(&mut self) {
        if self.last_fault.take().is_some() {
            self.health.clear(Condition::Stream(self.worker));
        }
    }

    fn is_fatal(&self, problem: &Problem) -> bool {
        ends_the_program(restart(problem), self.last.is_some(), self.started.elapsed())
    }

    fn describe(&self, problem: &Problem) -> String {
        let subscription = &self.settings.subscription;
        match problem {
            Problem::NotFound => format!(
                "subscription {subscription} (--subscription, --project) does not exist.\n\
                 Create it: mini-scan setup pubsub --topic TOPIC --subscription {subscription}"
            ),
            Problem::Refused(detail) => format!(
                "Pub/Sub denied reading subscription {subscription} (--subscription, --project): {detail}\n\
                 Grant it: {}",
                grant_subscriber(subscription)
            ),
            Problem::NoCredentials(_) => format!(
                "subscription {subscription} (--subscription, --project) cannot be read: {problem}\n\
                 Run `gcloud auth application-default login`; for a local server set PUBSUB_EMULATOR_HOST."
            ),
            problem => format!("subscription {subscription} (--subscription, --project) cannot be read: {problem}"),
        }
    }
}

/// Returns the cause by which the metrics count a stream error.
fn restart(problem: &Problem) -> Restart {
    match problem {
        Problem::NotFound => Restart::NotFound,
        Problem::Refused(_) => Restart::Refused,
        Problem::NoCredentials(_) => Restart::NoCredentials,
        Problem::Unreachable(_) => Restart::Unreachable,
        Problem::Invalid(_) => Restart::Invalid,
        Problem::Transient(_) | Problem::Other(_) => Restart::Failed,
    }
}

/// Closes a stream after its messages are settled.
async fn shut_down(token: ShutdownToken, unsettled: Arc<Unsettled>, observer: Arc<dyn Observer>) {
    let mut flushed = pin!(token.shutdown());
    tokio::select! {
        biased;
        () = &mut flushed => return,
        () = unsettled.settled() => {}
    }
    // The client discards the results of acks and nacks. A missing flush is the only visible sign that they were not
    // sent.
    if timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
        observer.stream_unflushed();
        debug!(
            waited_s = FLUSH_TIMEOUT.as_secs(),
            "the client did not send the last acks of a replaced stream in time"
        );
    }
}
