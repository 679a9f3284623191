//! `mini-scan dead-letters redrive`: publishes the original messages again. Acks a dead letter only after its original
//! is published. Keeps the other dead letters leased to the end of the run, so that Pub/Sub does not redeliver them to
//! it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, sleep_until, timeout};

use super::dead_letter::{DeadLetter, redriven};
use super::report::{Left, Report};
use super::sources::Sources;
use super::{LONG_IDLE_TIMEOUT, OpenSubscription, Outcome, Subscription};
use crate::consumer::ports::Delivery;
use crate::pubsub::{DeadLetterReceipt, DeadLetterStream, LeaseLimit, Problem, Publishers};
use crate::service::SetupError;

/// The largest `--limit` of a redrive, which remembers the id of each message that it published.
pub const MOST_LIMIT: usize = 1_000_000;
const DEFAULT_LIMIT: usize = MOST_LIMIT / 10;
/// The dead letters that a run keeps leased to its end. It does not keep their payloads, but the server counts these
/// bytes.
const MAX_LEFT: LeaseLimit = LeaseLimit { messages: 10_000, bytes: 256 << 20 };
/// The messages that are published and not yet confirmed. They fill the client's batches, and the client can send them
/// within its timeout.
const MAX_IN_FLIGHT: LeaseLimit = LeaseLimit { messages: 1_000, bytes: 32 << 20 };
/// All dead letters that are leased at the same time. This also bounds those that wait to be published.
const MAX_LEASED: LeaseLimit =
    LeaseLimit { messages: MAX_LEFT.messages + MAX_IN_FLIGHT.messages, bytes: MAX_LEFT.bytes + MAX_IN_FLIGHT.bytes };
/// A message that was redriven this often is redriven again only with `--force`, because it is likely to be rejected
/// again.
pub(super) const MAX_REDRIVES: u32 = 3;
/// The timeout of one attempt to publish.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of an ack, which takes time only with exactly-once delivery.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What to redrive, and to which topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    pub from: Subscription,
    /// Redrives only dead letters with these reasons. Empty means all reasons.
    pub reasons: Vec<String>,
    pub limit: Option<NonZeroUsize>,
    pub dry_run: bool,
    pub force: bool,
    /// Full name of the topic for all messages. `None` chooses the topic of each source subscription.
    pub topic: Option<String>,
}

/// Why a run stopped reading dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Idle(Duration),
    Limit(usize),
    LeaseLimit(usize),
    Stopped,
    Failed,
}

/// Redrives dead letters and reports the results to `out`.
pub async fn redrive(
    task: &Redrive,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let mut stop = pin!(stop);
    let OpenSubscription { connection, mut stream, topic, minimum_backoff } = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first dead letter was read".to_owned())),
        opened = task.from.open(MAX_LEASED) => opened?,
    };
    let sources = match Sources::new(&task.from.endpoints, &connection, task.topic.as_deref(), topic) {
        Ok(sources) => sources,
        Err(error) => {
            stream.close().await;
            return Err(error);
        }
    };
    let mut run = Run {
        task,
        sources,
        limit: task.limit.map_or(DEFAULT_LIMIT, NonZeroUsize::get),
        redriven: 0,
        in_flight_bytes: 0,
        left: Vec::new(),
        left_bytes: 0,
        published: HashSet::new(),
        report: Report::default(),
        bar: progress(task.limit),
    };
    let end = run.run(&mut stream, task.from.idle_timeout(LONG_IDLE_TIMEOUT, minimum_backoff), stop).await;
    run.bar.finish_and_clear();
    drop(run.left);
    let flushed = stream.close().await;
    let reported = end.as_ref().map_or(End::Failed, |end| *end);
    let written = run.report.write(reported, task.dry_run, flushed, out);
    written.map_err(|error| SetupError(format!("cannot write the output: {error}")))?;
    Ok(match end? {
        End::Stopped | End::LeaseLimit(_) => Outcome::Partly,
        _ if run.report.left_selected() => Outcome::Partly,
        _ => Outcome::Done,
    })
}

struct Run<'a> {
    task: &'a Redrive,
    sources: Sources,
    limit: usize,
    /// The number of dead letters that are redriven or being published.
    redriven: usize,
    /// The bytes of the payloads that are being published.
    in_flight_bytes: usize,
    left: Vec<DeadLetterReceipt>,
    left_bytes: usize,
    /// The published messages, by topic and message id.
    published: HashSet<(Arc<str>, String)>,
    report: Report,
    bar: ProgressBar,
}

/// The result of publishing one original message.
struct Published {
    reason: String,
    topic: Arc<str>,
    bytes: usize,
    result: Result<String, (Problem, DeadLetterReceipt)>,
}

impl Run<'_> {
    async fn run(
        &mut self,
        stream: &mut DeadLetterStream,
        idle: Duration,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<End, SetupError> {
        let (mut in_flight, mut waiting) = (FuturesUnordered::new(), VecDeque::new());
        let mut last = Instant::now();
        let mut end = loop {
            if let Some(end) = self.limit_reached() {
                break Ok(end);
            }
            let has_room = in_flight.len() < MAX_IN_FLIGHT.messages && self.in_flight_bytes < MAX_IN_FLIGHT.bytes;
            let step = tokio::select! {
                biased;
                () = &mut stop => break Ok(End::Stopped),
                Some(published) = in_flight.next() => self.record(published),
                // Reads even without room, because the client extends the lease of a message only after reading it.
                delivery = stream.next() => {
                    let delivery = delivery.map_err(|problem| self.task.from.setup_error(&problem));
                    delivery.map(|delivery| waiting.push_back(delivery))
                }
                Some(delivery) = async { waiting.pop_front() }, if has_room => {
                    self.start(delivery).await.map(|publishing| in_flight.extend(publishing))
                }
                () = sleep_until(last + idle), if in_flight.is_empty() => break Ok(End::Idle(idle)),
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
        end
    }

    /// Returns the limit that the run has reached, if any.
    fn limit_reached(&self) -> Option<End> {
        if self.redriven >= self.limit {
            return Some(End::Limit(self.limit));
        }
        let is_full = self.left.len() >= MAX_LEFT.messages || self.left_bytes >= MAX_LEFT.bytes;
        is_full.then_some(End::LeaseLimit(self.left.len()))
    }

    /// Starts to redrive a dead letter, or leaves it.
    async fn start(
        &mut self,
        Delivery { envelope, receipt }: Delivery<DeadLetterReceipt>,
    ) -> Result<Option<impl Future<Output = Published> + use<>>, SetupError> {
        let dead_letter = DeadLetter::read(&envelope);
        let topic = match self.classify(&dead_letter).await? {
            Ok(topic) => topic,
            Err(left) => {
                self.report.left(left);
                self.leave(receipt, dead_letter.bytes);
                return Ok(None);
            }
        };
        self.redriven += 1;
        if self.task.dry_run {
            self.report.redriven(dead_letter.reason, topic);
            self.leave(receipt, dead_letter.bytes);
            return Ok(None);
        }
        let publishers = self.sources.publishers(&topic).await?;
        let (payload, attributes) = (envelope.payload, redriven(envelope.attributes));
        let bytes = payload.len();
        self.in_flight_bytes += bytes;
        Ok(Some(async move {
            let result = publish(&publishers, payload, attributes, receipt).await;
            Published { reason: dead_letter.reason, topic, bytes, result }
        }))
    }

    /// Keeps a dead letter leased to the end of the run.
    fn leave(&mut self, receipt: DeadLetterReceipt, bytes: usize) {
        self.left.push(receipt);
        self.left_bytes += bytes;
    }

    /// Returns the topic for a dead letter, or why to leave it.
    async fn classify(&mut self, dead_letter: &DeadLetter) -> Result<Result<Arc<str>, Left>, SetupError> {
        let Redrive { reasons, force, .. } = self.task;
        if !reasons.is_empty() && !reasons.contains(&dead_letter.reason) {
            return Ok(Err(Left::OtherReason(dead_letter.reason.clone())));
        }
        let topic = match self.sources.topic(dead_letter.source_subscription.as_deref()).await? {
            Ok(topic) => topic,
            Err(why) => return Ok(Err(Left::NoTopic(why))),
        };
        let original = dead_letter.source_message_id.clone().map(|id| (topic.clone(), id));
        // Without this, the run would not end while consumers reject the message.
        if original.is_some_and(|original| self.published.contains(&original)) {
            return Ok(Err(Left::RejectedAgain));
        }
        if dead_letter.redrive_count >= MAX_REDRIVES && !force {
            return Ok(Err(Left::TooOften));
        }
        Ok(Ok(topic))
    }

    /// Records the result of publishing. Fails if the topic cannot be published to at all.
    fn record(&mut self, published: Published) -> Result<(), SetupError> {
        let Published { reason, topic, bytes, result } = published;
        self.in_flight_bytes -= bytes;
        match result {
            Ok(id) => {
                self.report.redriven(reason, topic.clone());
                self.published.insert((topic, id));
                self.bar.inc(1);
                Ok(())
            }
            Err((problem, receipt)) => {
                self.leave(receipt, bytes);
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

/// Publishes the original, then acks the dead letter. Returns the receipt if the publication is not confirmed.
async fn publish(
    publishers: &Publishers,
    payload: Bytes,
    attributes: HashMap<String, String>,
    receipt: DeadLetterReceipt,
) -> Result<String, (Problem, DeadLetterReceipt)> {
    let timed_out = |_| Err(Problem::Unreachable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())));
    match timeout(PUBLISH_TIMEOUT, publishers.publish(payload, attributes)).await.unwrap_or_else(timed_out) {
        Ok(id) => {
            // If the ack is lost, the original is redriven again, and is then stale.
            let _ = timeout(ACK_TIMEOUT, receipt.ack()).await;
            Ok(id)
        }
        Err(problem) => Err((problem, receipt)),
    }
}

/// Returns a progress bar, which is hidden if stderr is not a terminal.
fn progress(limit: Option<NonZeroUsize>) -> ProgressBar {
    let template = match limit {
        Some(_) => "  {bar:40} {human_pos} of {human_len} redriven  {per_sec}",
        None => "{spinner} {human_pos} redriven  {per_sec}",
    };
    let bar = ProgressBar::with_draw_target(limit.map(|limit| limit.get() as u64), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
