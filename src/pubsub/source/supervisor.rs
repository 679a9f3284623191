//! Reads streams, one after another: opens each, says why it ended, and whether Pub/Sub is well meanwhile.

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

use super::backoff::{Backoff, LONGEST, jittered};
use super::holding::{Amount, Holding};
use super::silence::{Last, Silence};
use super::{StreamReceipt, StreamSettings, delivery, probe};
use crate::consumer::ports::{Delivery, Observer, Restart, SourceError};
use crate::consumer::{Condition, Health};
use crate::pubsub::envelope::publish_time;
use crate::pubsub::{Connection, Problem, grant_subscriber};

/// An error that comes this soon after the start, before any message, is a wrong setting.
const START: Duration = Duration::from_secs(15);
/// Pub/Sub that answers, without any error for so long, is well: an idle subscription's stream answers nothing at all.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// The client drops a lease in silence at its maximum, so that lies this far above the age at which we give back.
const LEASE_MARGIN: Duration = Duration::from_secs(600);
/// The client sends acks every 100 ms; those of a replaced stream that are still on their way after so long are lost.
const FLUSH: Duration = Duration::from_secs(10);
/// How often a worker looks whether its replaced streams have settled enough for a new one.
const ROOM_LOOK: Duration = Duration::from_millis(100);

pub(super) struct Supervisor {
    connection: Connection,
    settings: StreamSettings,
    health: Arc<Health>,
    observer: Arc<dyn Observer>,
    worker: usize,
    stop: CancellationToken,
    sender: mpsc::Sender<Result<Delivery<StreamReceipt>, SourceError>>,
    started: Instant,
    last: Option<Last>,
    /// Streams that ended with receipts unsettled.
    replaced: Vec<Arc<Holding>>,
    /// When the stream before this one was found silent, until it is known whether it was only idle.
    suspect: Option<Instant>,
    /// When the last fault was seen, until Pub/Sub is well again.
    unwell: Option<Instant>,
}

/// Why a stream is read no more.
enum End {
    Stopped,
    Silent,
    Overfull,
    Closed { gave: bool },
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
            unwell: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut closing = JoinSet::new();
        let mut backoff = Backoff::default();
        while self.has_room().await {
            let opened = Instant::now();
            let end = self.stream(&mut closing).await;
            while closing.try_join_next().is_some() {}
            if self.suspect.take().is_some() {
                self.count(Restart::Idle);
            }
            let problem = match end {
                End::Stopped => break,
                End::Silent => {
                    self.suspect = Some(Instant::now());
                    continue;
                }
                End::Overfull => {
                    self.count(Restart::Overfull);
                    continue;
                }
                End::Closed { gave } => {
                    self.count(Restart::Closed);
                    // A server may close a stream that has served; one that serves none is not well.
                    (!gave).then(|| Problem::Unreachable("the stream was closed".to_owned()))
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

    /// Waits until the replaced streams hold less than a whole limit, so that with a new one it is never more than two.
    /// False when asked to stop.
    async fn has_room(&mut self) -> bool {
        loop {
            self.replaced.retain(|holding| holding.amount() != Amount::NOTHING);
            if !self.held_by_replaced().reaches(self.settings.limit()) {
                return !self.stop.is_cancelled();
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = sleep(ROOM_LOOK) => {}
            }
        }
    }

    fn held_by_replaced(&self) -> Amount {
        self.replaced.iter().fold(Amount::NOTHING, |parked, holding| parked.plus(holding.amount()))
    }

    /// Whether the worker holds twice the limit. The server keeps a stream below it, but not one that the client lost and
    /// opened anew: that begins with nothing.
    fn is_overfull(&self, stream: &Holding) -> bool {
        let (parked, limit) = (stream.amount(), self.settings.limit());
        parked.reaches(limit) && parked.plus(self.held_by_replaced()).reaches(limit.plus(limit))
    }

    /// Opens one stream and reads it to its end. What it gave is still leased and settles by itself in `closing`.
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
        let (token, holding) = (stream.shutdown_token(), Arc::<Holding>::default());
        self.observer.stream_opened(self.worker);
        let end = self.read(&mut stream, &holding).await;
        self.observer.stream_ended(self.worker);
        // The token's way, never a plain drop: receipts of the ended stream stay leased and still settle.
        closing.spawn(shut_down(token, holding.clone(), self.observer.clone()));
        self.replaced.push(holding);
        end
    }

    /// A new client each time: a new stream of an old one would go over its connection, which may be dead.
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

    async fn read(&mut self, stream: &mut MessageStream, holding: &Arc<Holding>) -> End {
        let StreamSettings { max_idle, .. } = self.settings;
        // Streams that were opened together are not to be replaced together.
        let patience = max_idle.mul_f64(rand::rng().random_range(1.0..1.1));
        let mut silence = Silence::new(self.settings.limit(), patience, Instant::now());
        let mut looks = interval((max_idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(5)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probe = pin!(self.probe());
        let (mut answered, mut gave) = (false, false);
        loop {
            // `next` is dropped unfinished only when the stream ends with it: an opening stream would begin anew.
            let mut next = pin!(stream.next());
            let result = loop {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return End::Stopped,
                    result = &mut next => break result,
                    answer = &mut probe => match answer {
                        Ok(()) => answered = true,
                        Err(problem) => {
                            self.unanswered(&problem);
                            silence.shorten(jittered(LONGEST));
                        }
                    },
                    _ = looks.tick() => {
                        // A probe that is under way says more about the stream before this one than this one's silence.
                        if probe.is_terminated() && silence.is_over(Instant::now(), holding.amount()) {
                            return End::Silent;
                        }
                        if answered && self.unwell.is_some_and(|fault| fault.elapsed() >= HEALTHY_AFTER) {
                            self.well();
                        }
                    }
                }
            };
            let (message, handler) = match result {
                Some(Ok(given)) => given,
                Some(Err(error)) => return End::Failed(Problem::from(&error)),
                None => return End::Closed { gave },
            };
            gave = true;
            silence.gave(self.note(&message));
            if !self.hand_over(message, handler, holding).await {
                return End::Stopped;
            }
            if self.is_overfull(holding) {
                return End::Overfull;
            }
        }
    }

    /// Asks whether Pub/Sub answers, where there is reason to doubt it.
    fn probe(&self) -> Fuse<impl Future<Output = Result<(), Problem>> + use<>> {
        match self.suspect.is_some() || self.unwell.is_some() {
            true => probe::ask(self.connection.clone(), self.settings.subscription.clone()).fuse(),
            false => Fuse::terminated(),
        }
    }

    /// Full only where the server gives more than it was asked for: then this waits, and the client with it.
    async fn hand_over(&self, message: Message, handler: Handler, holding: &Arc<Holding>) -> bool {
        self.sender.send(Ok(delivery(message, handler, holding))).await.is_ok()
    }

    /// What a message shows: Pub/Sub is well, and the silent stream before may have owed it.
    fn note(&mut self, message: &Message) -> Instant {
        let (given, published): (Instant, SystemTime) = (Instant::now(), publish_time(message));
        if let Some(ended) = self.suspect.take() {
            let owed = self.last.is_some_and(|last| last.was_followed_before(ended, published));
            self.count(if owed { Restart::Silent } else { Restart::Idle });
        }
        self.last = Some(Last { published, given });
        self.well();
        given
    }

    fn unanswered(&mut self, problem: &Problem) {
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
        self.unwell = Some(Instant::now());
        self.health.raise(Condition::Stream(self.worker), restart(problem).name(), &self.describe(problem));
    }

    fn well(&mut self) {
        if self.unwell.take().is_some() {
            self.health.clear(Condition::Stream(self.worker));
        }
    }

    fn is_fatal(&self, problem: &Problem) -> bool {
        problem.is_permanent() && self.last.is_none() && self.started.elapsed() < START
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

/// As what a stream's error is counted.
fn restart(problem: &Problem) -> Restart {
    match problem {
        Problem::NotFound => Restart::NotFound,
        Problem::Refused(_) => Restart::Refused,
        Problem::NoCredentials(_) => Restart::NoCredentials,
        Problem::Unreachable(_) => Restart::Unreachable,
        Problem::Invalid(_) => Restart::Invalid,
        Problem::Other(_) => Restart::Failed,
    }
}

/// Lets a stream that is read no more settle what it gave.
async fn shut_down(token: ShutdownToken, holding: Arc<Holding>, observer: Arc<dyn Observer>) {
    let mut flushed = pin!(token.shutdown());
    tokio::select! {
        biased;
        () = &mut flushed => return,
        () = holding.settled() => {}
    }
    // The client throws away what becomes of acks and nacks; that they do not leave its hands is all that can be seen.
    if timeout(FLUSH, flushed).await.is_err() {
        observer.stream_unflushed();
        debug!(waited_s = FLUSH.as_secs(), "the last acks of a replaced stream were not delivered");
    }
}
