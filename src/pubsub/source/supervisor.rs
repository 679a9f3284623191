//! Carries out what the state machine of one worker decides: opens its streams, reads them, probes Pub/Sub, and reports
//! to the metrics and the health conditions. A stream that ended keeps the leases of its messages until they are settled,
//! in a bounded number of replaced streams. Settles no message, and decides nothing about the next stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownToken};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::Activity;
use super::probe::probe;
use super::replaced::{Replaced, close};
use super::state::{Action, Event, Machine, State, restart};
use super::unsettled::Unsettled;
use super::{StreamReceipt, StreamSettings, delivery};
use crate::consumer::ports::{Delivery, Observer, SourceError};
use crate::consumer::settings::max_lease;
use crate::consumer::{Condition, Health};
use crate::pubsub::envelope::publish_time;
use crate::pubsub::{Connection, Problem, grant_subscriber};

/// A worker that has no stream for this long because of its replaced streams is unhealthy.
const NO_CAPACITY_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Supervisor {
    pub(super) connection: Connection,
    pub(super) settings: StreamSettings,
    pub(super) health: Arc<Health>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) worker: usize,
    pub(super) activity: Arc<Activity>,
    pub(super) stop: CancellationToken,
    pub(super) sender: mpsc::Sender<Result<Delivery<StreamReceipt>, SourceError>>,
    pub(super) machine: Machine,
    pub(super) replaced: Replaced,
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while let State::Closed { until, .. } = *self.machine.state() {
            match stop.run_until_cancelled(self.open(until)).await {
                Some(Ok(stream)) => self.read(stream).await,
                Some(Err(problem)) => self.on(Event::Failed(problem)),
                None => self.on(Event::Stop),
            }
        }
        drop(self.sender);
        self.replaced.finished().await;
    }

    /// Opens a stream at `until`, or when the replaced streams leave capacity.
    async fn open(&mut self, until: Instant) -> Result<MessageStream, Problem> {
        sleep_until(until).await;
        if timeout(NO_CAPACITY_AFTER, self.replaced.capacity()).await.is_err() {
            // Too many unsettled messages are no fault of the stream: the condition of the store explains them.
            if self.replaced.are_too_many() {
                self.on(Event::NoCapacity);
            }
            self.replaced.capacity().await;
        }
        // A stream of the old client would reuse its connection, which may be dead.
        let subscriber = self.connection.subscriber().await?;
        let settings = &self.settings;
        Ok(subscriber
            .subscribe(&settings.subscription)
            .set_max_outstanding_messages(settings.max_messages)
            .set_max_outstanding_bytes(settings.max_bytes)
            .set_max_lease_extension(settings.max_lease_extension)
            .set_max_lease(max_lease(settings.max_retry_time))
            .build())
    }

    /// Reads a stream until the machine leaves it.
    async fn read(&mut self, mut stream: MessageStream) {
        let (token, unsettled) = (stream.shutdown_token(), Arc::<Unsettled>::default());
        self.observer.stream_opened(self.worker);
        self.on(Event::Opened);
        let mut probe = pin!(self.probe());
        let mut ticks = interval((self.settings.max_idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(5)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.machine.is_reading() {
            // `next` is dropped unfinished only when the stream ends too, because a dropped `next` restarts the opening.
            let mut next = pin!(stream.next());
            let mut received = None;
            while self.machine.is_reading() && received.is_none() {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => self.on(Event::Stop),
                    result = &mut next => match result {
                        Some(Ok(delivered)) => received = Some(delivered),
                        Some(Err(error)) => self.on(Event::Failed(Problem::from(&error))),
                        None => self.on(Event::Closed),
                    },
                    response = &mut probe => self.on(Event::Probed(response)),
                    _ = ticks.tick() => {
                        let may_replace = self.replaced.allows_another();
                        self.on(Event::Tick { unsettled: unsettled.amount(), may_replace });
                    }
                }
            }
            if let Some((message, handler)) = received {
                self.receive(message, handler, &unsettled).await;
                if !probe.is_terminated() {
                    probe.set(Fuse::terminated());
                }
            }
        }
        self.observer.stream_ended(self.worker);
        self.replace(token, unsettled);
    }

    /// Probes Pub/Sub if there is reason to doubt that it responds.
    fn probe(&self) -> Fuse<impl Future<Output = Result<(), Problem>> + use<>> {
        match self.machine.wants_probe() {
            true => probe(self.connection.clone(), self.settings.subscription.clone()).fuse(),
            false => Fuse::terminated(),
        }
    }

    /// Lets a stream that has ended settle its messages.
    fn replace(&mut self, token: ShutdownToken, unsettled: Arc<Unsettled>) {
        let (observer, messages) = (self.observer.clone(), unsettled.clone());
        let closing = async move {
            // With the token, unlike with a plain drop, receipts stay leased and can still be settled.
            if !close(token.shutdown(), &messages).await {
                // The client discards the results of acks and nacks. Only the missing flush shows that they were not sent.
                observer.stream_unflushed();
                debug!("the client did not send the last acks of a replaced stream in time");
            }
        };
        self.replaced.add(closing, unsettled);
    }

    /// Sends a message to the worker. Waits only if the server exceeds the limits of the stream; then the client waits
    /// too.
    async fn receive(&mut self, message: Message, handler: Handler, unsettled: &Arc<Unsettled>) {
        self.on(Event::Message { published: publish_time(&message) });
        if self.sender.send(Ok(delivery(message, handler, unsettled))).await.is_err() {
            self.on(Event::Stop);
        } else if self.is_overfull(unsettled) {
            self.on(Event::Overfull);
        }
    }

    /// Returns whether the worker has twice the limit unsettled. The server enforces the limit per stream, and counts
    /// from zero if the client reconnects the stream.
    fn is_overfull(&self, stream: &Unsettled) -> bool {
        let (amount, limit) = (stream.amount(), self.settings.limit());
        amount.reaches(limit) && amount.plus(self.replaced.amount()).reaches(limit.plus(limit))
    }

    /// Passes an event to the machine, and carries out its actions.
    fn on(&mut self, event: Event) {
        for action in self.machine.on(event, Instant::now(), &self.activity) {
            match action {
                Action::Count(cause) => {
                    self.observer.stream_replaced(cause);
                    debug!(worker = self.worker, cause = cause.name(), "stream replaced");
                }
                Action::Raise(problem) => {
                    let (error, detail) = (restart(&problem).name(), self.describe(&problem));
                    self.health.raise(Condition::Stream(self.worker), error, &detail);
                }
                Action::Clear => self.health.clear(Condition::Stream(self.worker)),
                Action::Fail(problem) => {
                    // No message has come, so the channel is empty.
                    let _ = self.sender.try_send(Err(SourceError(self.describe(&problem))));
                }
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
