//! One run of a redrive: reads dead letters, publishes their originals, and settles or leaves them. Does not report.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep_until, timeout};

use super::canary::{Canaries, Canary};
use super::sources::Sources;
use super::{MAX_REDRIVES, Redrive};
use crate::dead_letters::dead_letter::{DeadLetter, redriven};
use crate::dead_letters::now;
use crate::dead_letters::reader::{Closed, Lease, Leased, MAX_IN_FLIGHT, Reader};
use crate::dead_letters::report::{End, Left, Report};
use crate::pubsub::{Problem, Publishers};
use crate::service::SetupError;

/// The timeout of one attempt to publish.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Run<'a> {
    task: &'a Redrive,
    sources: Sources,
    canaries: Canaries<Lease>,
    reader: Reader,
    waiting: Waiting,
    now: SystemTime,
    limit: usize,
    /// The number of dead letters that are redriven or being published.
    started: usize,
    /// The bytes of the payloads that are being published.
    in_flight_bytes: usize,
    /// The topic is the dead-letter topic, so the dead letters in flight must not be acked.
    keeps_all: Arc<AtomicBool>,
    report: Report,
    bar: ProgressBar,
}

/// Dead letters that are read and not yet looked at, with their payloads.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<Leased>,
    bytes: usize,
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.queue.len() < MAX_IN_FLIGHT.messages && self.bytes < MAX_IN_FLIGHT.bytes
    }

    fn push(&mut self, leased: Leased) {
        self.bytes += leased.envelope.payload.len();
        self.queue.push_back(leased);
    }

    fn pop(&mut self) -> Option<Leased> {
        let leased = self.queue.pop_front()?;
        self.bytes -= leased.envelope.payload.len();
        Some(leased)
    }
}

/// The result of publishing one original message.
struct Published {
    dead_letter: DeadLetter,
    topic: Arc<str>,
    is_canary: bool,
    /// The id of the message, and the lease if the dead letter is not acked.
    result: Result<(String, Option<Lease>), (Problem, Lease)>,
}

impl Run<'_> {
    pub(super) fn new(
        task: &Redrive,
        limit: usize,
        sources: Sources,
        canaries: Canaries<Lease>,
        reader: Reader,
        bar: ProgressBar,
    ) -> Run<'_> {
        Run {
            task,
            sources,
            canaries,
            reader,
            waiting: Waiting::default(),
            now: now(),
            limit,
            started: 0,
            in_flight_bytes: 0,
            keeps_all: Arc::default(),
            report: Report::default(),
            bar,
        }
    }

    /// Releases the dead letters that are left.
    pub(super) async fn close(self) -> (Report, Closed) {
        self.bar.finish_and_clear();
        drop(self.waiting);
        (self.report, self.reader.close().await)
    }

    /// Redrives dead letters until the run ends or `stop` is ready.
    pub(super) async fn run(
        &mut self,
        idle: Duration,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<End, SetupError> {
        let mut in_flight = FuturesUnordered::new();
        let mut last = Instant::now();
        let mut end = loop {
            if self.started >= self.limit && !self.canaries.is_active() {
                break Ok(End::Limit(self.limit));
            }
            if let Err(problem) = self.reader.make_room().await {
                break Err(self.task.from.setup_error(&problem));
            }
            let can_publish = in_flight.len() < MAX_IN_FLIGHT.messages
                && self.in_flight_bytes < MAX_IN_FLIGHT.bytes
                && self.started < self.limit
                && !self.canaries.is_active();
            let is_quiet = in_flight.is_empty() && !self.canaries.is_active();
            let step = tokio::select! {
                biased;
                () = &mut stop => break Ok(End::Stopped),
                Some(published) = in_flight.next() => self.record(published),
                leased = self.reader.next(self.waiting.has_room()) => match leased {
                    Ok(leased) => self.receive(leased).await,
                    Err(problem) => Err(self.task.from.setup_error(&problem)),
                },
                () = sleep_until_some(self.canaries.passes_at()) => self.canary_passes().await,
                Some(leased) = async { self.waiting.pop() }, if can_publish => {
                    self.start(leased).await.map(|publishing| in_flight.extend(publishing))
                }
                () = sleep_until(last + idle), if is_quiet => break Ok(self.reader.idle_end(last, idle)),
            };
            if let Err(error) = step {
                break Err(error);
            }
            last = Instant::now();
        };
        // The topic may already have these messages. Without their confirmation, the next run would publish them again.
        while let Some(published) = in_flight.next().await {
            let recorded = self.record(published);
            end = end.and_then(|end| recorded.map(|()| end));
        }
        if let Some(canary) = self.canaries.end() {
            self.keep(canary.dead_letter, canary.lease);
        }
        end
    }

    /// Queues a dead letter. Fails if it is a message that this run redrove.
    async fn receive(&mut self, leased: Leased) -> Result<(), SetupError> {
        match self.canaries.came_back(&leased.envelope) {
            Some(topic) => Err(self.circle(&topic, leased).await),
            None => {
                self.waiting.push(leased);
                Ok(())
            }
        }
    }

    /// Trusts the topic of the canary, unless the canary came back before its publication was confirmed.
    async fn canary_passes(&mut self) -> Result<(), SetupError> {
        let queue = &mut self.waiting.queue;
        if let Some(at) = queue.iter().position(|leased| self.canaries.came_back(&leased.envelope).is_some())
            && let Some(leased) = queue.remove(at)
        {
            return self.receive(leased).await;
        }
        if let Some(canary) = self.canaries.pass() {
            canary.lease.ack().await;
            self.redriven(canary.dead_letter.reason, canary.topic);
        }
        Ok(())
    }

    /// Leaves everything as it is, because this topic is the dead-letter topic.
    async fn circle(&mut self, topic: &Arc<str>, copy: Leased) -> SetupError {
        self.keeps_all.store(true, Ordering::Relaxed);
        match self.canaries.end() {
            Some(canary) if canary.id == copy.envelope.message_id => {
                // The dead letter is still there, so its copy is needless.
                copy.lease.ack().await;
                self.keep(canary.dead_letter, canary.lease);
            }
            canary => {
                if let Some(canary) = canary {
                    self.keep(canary.dead_letter, canary.lease);
                }
                self.reader.leave(&copy.envelope.message_id, copy.lease);
            }
        }
        self.sources.circle_error(topic, &self.task.from.name)
    }

    /// Leaves a dead letter whose original is published, perhaps to the dead-letter topic.
    fn keep(&mut self, dead_letter: DeadLetter, lease: Lease) {
        self.report.left(Left::Unverified);
        self.reader.leave(&dead_letter.message_id, lease);
    }

    fn redriven(&mut self, reason: String, topic: Arc<str>) {
        self.report.redriven(reason, topic);
        self.bar.inc(1);
    }

    /// Starts to redrive a dead letter, or leaves it.
    async fn start(&mut self, leased: Leased) -> Result<Option<impl Future<Output = Published> + use<>>, SetupError> {
        // The message may have arrived before its publication was confirmed.
        if let Some(topic) = self.canaries.came_back(&leased.envelope) {
            return Err(self.circle(&topic, leased).await);
        }
        let Leased { envelope, lease } = leased;
        let dead_letter = DeadLetter::read(&envelope);
        let topic = match self.classify(&dead_letter).await? {
            Ok(topic) => topic,
            Err(left) => {
                self.report.left(left);
                self.reader.leave(&dead_letter.message_id, lease);
                return Ok(None);
            }
        };
        self.started += 1;
        if self.task.dry_run {
            self.reader.leave(&dead_letter.message_id, lease);
            self.report.redriven(dead_letter.reason, topic);
            return Ok(None);
        }
        let publishers = self.sources.publishers(&topic).await?;
        let (payload, attributes) = (envelope.payload, redriven(envelope.attributes));
        self.in_flight_bytes += dead_letter.bytes;
        let (is_canary, keeps_all) = (self.canaries.begin(&topic), self.keeps_all.clone());
        Ok(Some(async move {
            let is_kept = || is_canary || keeps_all.load(Ordering::Relaxed);
            let result = publish(&publishers, payload, attributes, lease, is_kept).await;
            Published { dead_letter, topic, is_canary, result }
        }))
    }

    /// Returns the topic for a dead letter, or why to leave it.
    async fn classify(&mut self, dead_letter: &DeadLetter) -> Result<Result<Arc<str>, Left>, SetupError> {
        let Redrive { select, force, .. } = self.task;
        if let Some(why) = select.excludes(dead_letter, self.now) {
            return Ok(Err(Left::NotSelected(why)));
        }
        let topic = match self.sources.topic(dead_letter.source_subscription.as_deref()).await? {
            Ok(topic) => topic,
            Err(why) => return Ok(Err(Left::NoTopic(why))),
        };
        // Without this, the run would not end while consumers reject the message.
        if dead_letter.source_message_id.clone().is_some_and(|id| self.canaries.has_published(&topic, id)) {
            return Ok(Err(Left::RejectedAgain));
        }
        if dead_letter.redrive_count >= MAX_REDRIVES && !force {
            return Ok(Err(Left::TooOften));
        }
        Ok(Ok(topic))
    }

    /// Records the result of publishing. Fails if the topic cannot be published to at all.
    fn record(&mut self, published: Published) -> Result<(), SetupError> {
        let Published { dead_letter, topic, is_canary, result } = published;
        self.in_flight_bytes -= dead_letter.bytes;
        match result {
            Ok((id, lease)) => {
                self.canaries.note_published(topic.clone(), id.clone());
                match lease {
                    None => self.redriven(dead_letter.reason, topic),
                    Some(lease) if self.keeps_all.load(Ordering::Relaxed) => self.keep(dead_letter, lease),
                    Some(lease) => self.canaries.watch(Canary { dead_letter, lease, topic, id }, Instant::now()),
                }
                Ok(())
            }
            Err((problem, lease)) => {
                if is_canary {
                    self.canaries.end();
                }
                self.reader.leave(&dead_letter.message_id, lease);
                match problem {
                    Problem::Invalid(detail) => {
                        self.report.left(Left::Refused(detail));
                        Ok(())
                    }
                    problem => {
                        self.report.left(Left::Failed);
                        Err(self.sources.setup_error(&topic, &problem))
                    }
                }
            }
        }
    }
}

/// Publishes the original, then acks the dead letter unless it is to be kept.
async fn publish(
    publishers: &Publishers,
    payload: Bytes,
    attributes: HashMap<String, String>,
    lease: Lease,
    is_kept: impl Fn() -> bool,
) -> Result<(String, Option<Lease>), (Problem, Lease)> {
    let timed_out = |_| Err(Problem::Unreachable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())));
    match timeout(PUBLISH_TIMEOUT, publishers.publish(payload, attributes)).await.unwrap_or_else(timed_out) {
        Ok(id) if is_kept() => Ok((id, Some(lease))),
        Ok(id) => {
            // If the ack is lost, the original is redriven again, and is then stale.
            lease.ack().await;
            Ok((id, None))
        }
        Err(problem) => Err((problem, lease)),
    }
}

async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
