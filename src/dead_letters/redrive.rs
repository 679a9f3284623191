//! `mini-scan dead-letters redrive`: publishes the original messages again. Acks a dead letter only after its original
//! is published, and leaves the others on the subscription.

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
use super::reader::{Lease, Leased, MAX_IN_FLIGHT, Reader};
use super::report::{Left, Report};
use super::sources::Sources;
use super::{LONG_IDLE_TIMEOUT, Outcome, Subscription};
use crate::pubsub::{Problem, Publishers};
use crate::service::SetupError;

/// The largest `--limit` of a redrive, which remembers the id of each message that it published.
pub const MOST_LIMIT: usize = 1_000_000;
const DEFAULT_LIMIT: usize = MOST_LIMIT / 10;
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
    /// During the idle timeout, Pub/Sub delivered dead letters that the run had read before.
    Repeated(Duration),
    Limit(usize),
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
    let open = async {
        let details = task.from.details().await?;
        let sources = Sources::new(&task.from.endpoints, &details, task.topic.as_deref())?;
        let reader = Reader::open(&details.connection, &task.from.name).await;
        let reader = reader.map_err(|problem| task.from.setup_error(&problem))?;
        Ok((sources, reader, task.from.idle_timeout(LONG_IDLE_TIMEOUT, details.minimum_backoff)))
    };
    let (sources, reader, idle) = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first dead letter was read".to_owned())),
        opened = open => opened?,
    };
    let mut run = Run {
        task,
        sources,
        reader,
        limit: task.limit.map_or(DEFAULT_LIMIT, NonZeroUsize::get),
        redriven: 0,
        in_flight_bytes: 0,
        published: HashSet::new(),
        report: Report::default(),
        bar: progress(task.limit),
    };
    let end = run.run(idle, stop).await;
    run.bar.finish_and_clear();
    let closed = run.reader.close().await;
    let reported = end.as_ref().map_or(End::Failed, |end| *end);
    let written = run.report.write(reported, task.dry_run, closed, out);
    written.map_err(|error| SetupError(format!("cannot write the output: {error}")))?;
    Ok(match end? {
        End::Stopped | End::Repeated(_) => Outcome::Partly,
        _ if run.report.left_selected() => Outcome::Partly,
        _ => Outcome::Done,
    })
}

struct Run<'a> {
    task: &'a Redrive,
    sources: Sources,
    reader: Reader,
    limit: usize,
    /// The number of dead letters that are redriven or being published.
    redriven: usize,
    /// The bytes of the payloads that are being published.
    in_flight_bytes: usize,
    /// The published messages, by topic and message id.
    published: HashSet<(Arc<str>, String)>,
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
    result: Result<String, (Problem, Lease)>,
}

impl Run<'_> {
    async fn run(&mut self, idle: Duration, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<End, SetupError> {
        let (mut in_flight, mut waiting) = (FuturesUnordered::new(), Waiting::default());
        let mut last = Instant::now();
        let mut end = loop {
            if self.redriven >= self.limit {
                break Ok(End::Limit(self.limit));
            }
            if let Err(problem) = self.reader.make_room().await {
                break Err(self.task.from.setup_error(&problem));
            }
            let can_publish = in_flight.len() < MAX_IN_FLIGHT.messages && self.in_flight_bytes < MAX_IN_FLIGHT.bytes;
            let step = tokio::select! {
                biased;
                () = &mut stop => break Ok(End::Stopped),
                Some(published) = in_flight.next() => self.record(published),
                leased = self.reader.next(waiting.has_room()) => {
                    let leased = leased.map_err(|problem| self.task.from.setup_error(&problem));
                    leased.map(|leased| waiting.push(leased))
                }
                Some(leased) = async { waiting.pop() }, if can_publish => {
                    self.start(leased).await.map(|publishing| in_flight.extend(publishing))
                }
                () = sleep_until(last + idle), if in_flight.is_empty() => break Ok(self.idle_end(last, idle)),
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

    fn idle_end(&self, last: Instant, idle: Duration) -> End {
        // A single repetition soon after the last dead letter is a duplicate, which Pub/Sub may deliver at any time.
        match self.reader.has_repeated_since(last + idle / 2) {
            true => End::Repeated(idle),
            false => End::Idle(idle),
        }
    }

    /// Starts to redrive a dead letter, or leaves it.
    async fn start(
        &mut self,
        Leased { envelope, lease }: Leased,
    ) -> Result<Option<impl Future<Output = Published> + use<>>, SetupError> {
        let dead_letter = DeadLetter::read(&envelope);
        let topic = match self.classify(&dead_letter).await? {
            Ok(topic) => topic,
            Err(left) => {
                self.report.left(left);
                self.reader.leave(&dead_letter.message_id, lease);
                return Ok(None);
            }
        };
        self.redriven += 1;
        if self.task.dry_run {
            self.reader.leave(&dead_letter.message_id, lease);
            self.report.redriven(dead_letter.reason, topic);
            return Ok(None);
        }
        let publishers = self.sources.publishers(&topic).await?;
        let (payload, attributes) = (envelope.payload, redriven(envelope.attributes));
        self.in_flight_bytes += dead_letter.bytes;
        Ok(Some(async move {
            let result = publish(&publishers, payload, attributes, lease).await;
            Published { dead_letter, topic, result }
        }))
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
        let Published { dead_letter, topic, result } = published;
        self.in_flight_bytes -= dead_letter.bytes;
        match result {
            Ok(id) => {
                self.report.redriven(dead_letter.reason, topic.clone());
                self.published.insert((topic, id));
                self.bar.inc(1);
                Ok(())
            }
            Err((problem, lease)) => {
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

/// Publishes the original, then acks the dead letter. Returns the lease if the publication is not confirmed.
async fn publish(
    publishers: &Publishers,
    payload: Bytes,
    attributes: HashMap<String, String>,
    lease: Lease,
) -> Result<String, (Problem, Lease)> {
    let timed_out = |_| Err(Problem::Unreachable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())));
    match timeout(PUBLISH_TIMEOUT, publishers.publish(payload, attributes)).await.unwrap_or_else(timed_out) {
        Ok(id) => {
            // If the ack is lost, the original is redriven again, and is then stale.
            let _ = timeout(ACK_TIMEOUT, lease.receipt.ack()).await;
            Ok(id)
        }
        Err(problem) => Err((problem, lease)),
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
