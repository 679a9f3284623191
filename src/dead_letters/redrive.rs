//! `mini-scan dead-letters redrive`: publishes originals again, and acks a letter only when its original is there. What
//! is not redriven stays leased to the end of the run, so that it does not come round again, and is then given back.

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

use super::dead_letter::{Letter, redriven};
use super::report::{Left, Report};
use super::sources::Sources;
use super::{Opened, SURE, Subscription};
use crate::consumer::port::Delivery;
use crate::pubsub::{DeadLetterReceipt, DeadLetterStream, Leased, Problem, Publishers};
use crate::service::SetupError;

/// The most that one run redrives, and unless told otherwise a tenth of it: it remembers the id of each.
pub const MOST_LIMIT: usize = 1_000_000;
const USUAL_LIMIT: usize = MOST_LIMIT / 10;
/// Letters that are kept from others to the end of the run. Their payloads are not kept, but the server counts them.
const MOST_HELD: Leased = Leased { letters: 10_000, bytes: 256 << 20 };
/// What is published and not confirmed: enough to fill the client's batches, little enough for the time that it has.
const IN_FLIGHT: Leased = Leased { letters: 1_000, bytes: 32 << 20 };
/// All that is leased at a time, so that what waits for its turn is bounded too.
const MOST_LEASED: Leased =
    Leased { letters: MOST_HELD.letters + IN_FLIGHT.letters, bytes: MOST_HELD.bytes + IN_FLIGHT.bytes };
/// A redrive beyond this must be forced: what was rejected so often will be rejected again.
pub(super) const MOST_REDRIVES: u32 = 3;
/// One attempt to publish is given up after this long.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Only a subscription that confirms acks takes any time for one.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What to redrive, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    pub from: Subscription,
    /// Of these reasons alone; of any when there is none.
    pub reasons: Vec<String>,
    pub limit: Option<NonZeroUsize>,
    pub dry_run: bool,
    pub force: bool,
    /// Full name of the topic for all; the source's own when absent.
    pub topic: Option<String>,
}

/// Why no more letters are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Quiet(Duration),
    Limit(usize),
    Held(usize),
    Stopped,
    Failed,
}

/// Redrives, and reports to `out` what became of the letters. Returns false if it left letters of the chosen reasons: it
/// could not redrive them, or it stopped before it had seen them all.
pub async fn redrive(task: &Redrive, stop: impl Future<Output = ()>, out: &mut impl Write) -> Result<bool, SetupError> {
    let mut stop = pin!(stop);
    let Opened { connection, mut stream, topic, least_delay } = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before any letter was read".to_owned())),
        opened = task.from.open(MOST_LEASED) => opened?,
    };
    let sources = match Sources::new(&task.from.endpoints, &connection, task.topic.as_deref(), topic) {
        Ok(sources) => sources,
        Err(wrong) => {
            stream.close().await;
            return Err(wrong);
        }
    };
    let mut run = Run {
        task,
        sources,
        limit: task.limit.map_or(USUAL_LIMIT, NonZeroUsize::get),
        taken: 0,
        bytes: 0,
        held: Vec::new(),
        held_bytes: 0,
        published: HashSet::new(),
        report: Report::default(),
        bar: progress(task.limit),
    };
    let end = run.run(&mut stream, task.from.patience(SURE, least_delay), stop).await;
    run.bar.finish_and_clear();
    drop(run.held);
    let flushed = stream.close().await;
    let why = end.as_ref().map_or(End::Failed, |end| *end);
    let written = run.report.write(why, task.dry_run, flushed, out);
    written.map_err(|error| SetupError(format!("cannot write the output: {error}")))?;
    Ok(!matches!(end?, End::Stopped | End::Held(_)) && run.report.is_complete())
}

struct Run<'a> {
    task: &'a Redrive,
    sources: Sources,
    limit: usize,
    /// Letters that were redriven or are on their way.
    taken: usize,
    /// Of the payloads that are on their way.
    bytes: usize,
    held: Vec<DeadLetterReceipt>,
    held_bytes: usize,
    /// What was published, by topic and message id.
    published: HashSet<(Arc<str>, String)>,
    report: Report,
    bar: ProgressBar,
}

/// A letter that was published again, or was not.
struct Sent {
    reason: String,
    topic: Arc<str>,
    bytes: usize,
    result: Result<String, (Problem, DeadLetterReceipt)>,
}

impl Run<'_> {
    async fn run(
        &mut self,
        stream: &mut DeadLetterStream,
        quiet: Duration,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<End, SetupError> {
        let (mut in_flight, mut waiting) = (FuturesUnordered::new(), VecDeque::new());
        let mut last = Instant::now();
        let mut end = loop {
            if let Some(end) = self.is_full() {
                break Ok(end);
            }
            let has_room = in_flight.len() < IN_FLIGHT.letters && self.bytes < IN_FLIGHT.bytes;
            let step = tokio::select! {
                biased;
                () = &mut stop => break Ok(End::Stopped),
                Some(sent) = in_flight.next() => self.note(sent),
                // At all times, for the client extends no lease of what it has not read.
                delivery = stream.next() => {
                    delivery.map(|delivery| waiting.push_back(delivery)).map_err(|problem| self.task.from.wrong(&problem))
                }
                Some(delivery) = async { waiting.pop_front() }, if has_room => {
                    self.take(delivery).await.map(|sending| in_flight.extend(sending))
                }
                () = sleep_until(last + quiet), if in_flight.is_empty() => break Ok(End::Quiet(quiet)),
            };
            if let Err(wrong) = step {
                break Err(wrong);
            }
            last = Instant::now();
        };
        // What is on its way may be there already: only its confirmation saves a second copy.
        while let Some(sent) = in_flight.next().await {
            let noted = self.note(sent);
            end = end.and_then(|end| noted.map(|()| end));
        }
        end
    }

    fn is_full(&self) -> Option<End> {
        if self.taken >= self.limit {
            return Some(End::Limit(self.limit));
        }
        let is_holding_most = self.held.len() >= MOST_HELD.letters || self.held_bytes >= MOST_HELD.bytes;
        is_holding_most.then_some(End::Held(self.held.len()))
    }

    /// Begins to redrive a letter, or holds it.
    async fn take(
        &mut self,
        Delivery { envelope, receipt }: Delivery<DeadLetterReceipt>,
    ) -> Result<Option<impl Future<Output = Sent> + use<>>, SetupError> {
        let letter = Letter::read(&envelope);
        let topic = match self.classify(&letter).await? {
            Ok(topic) => topic,
            Err(left) => {
                self.report.left(left);
                self.hold(receipt, letter.bytes);
                return Ok(None);
            }
        };
        self.taken += 1;
        if self.task.dry_run {
            self.report.redriven(letter.reason, topic);
            self.hold(receipt, letter.bytes);
            return Ok(None);
        }
        let publishers = self.sources.publishers(&topic).await?;
        let (payload, attributes) = (envelope.payload, redriven(envelope.attributes));
        let bytes = payload.len();
        self.bytes += bytes;
        Ok(Some(async move {
            let result = publish(&publishers, payload, attributes, receipt).await;
            Sent { reason: letter.reason, topic, bytes, result }
        }))
    }

    fn hold(&mut self, receipt: DeadLetterReceipt, bytes: usize) {
        self.held.push(receipt);
        self.held_bytes += bytes;
    }

    /// Where a letter goes to, or why it does not.
    async fn classify(&mut self, letter: &Letter) -> Result<Result<Arc<str>, Left>, SetupError> {
        let Redrive { reasons, force, .. } = self.task;
        if !reasons.is_empty() && !reasons.contains(&letter.reason) {
            return Ok(Err(Left::OtherReason(letter.reason.clone())));
        }
        let topic = match self.sources.topic(letter.source_subscription.as_deref()).await? {
            Ok(topic) => topic,
            Err(why) => return Ok(Err(Left::NoTopic(why))),
        };
        let original = letter.source_message_id.clone().map(|id| (topic.clone(), id));
        // Redriven without end otherwise, while consumers reject it.
        if original.is_some_and(|original| self.published.contains(&original)) {
            return Ok(Err(Left::RejectedAgain));
        }
        if letter.redrive_count >= MOST_REDRIVES && !force {
            return Ok(Err(Left::TooOften));
        }
        Ok(Ok(topic))
    }

    fn note(&mut self, sent: Sent) -> Result<(), SetupError> {
        let Sent { reason, topic, bytes, result } = sent;
        self.bytes -= bytes;
        match result {
            Ok(id) => {
                self.report.redriven(reason, topic.clone());
                self.published.insert((topic, id));
                self.bar.inc(1);
                Ok(())
            }
            Err((problem, receipt)) => {
                self.hold(receipt, bytes);
                match problem {
                    Problem::Invalid(detail) => {
                        self.report.left(Left::Refused(detail));
                        Ok(())
                    }
                    problem => {
                        self.report.left(Left::Failed);
                        Err(self.sources.wrong(&topic, &problem))
                    }
                }
            }
        }
    }
}

/// Publishes, and then acks. A letter whose publication is not confirmed is given back.
async fn publish(
    publishers: &Publishers,
    payload: Bytes,
    attributes: HashMap<String, String>,
    receipt: DeadLetterReceipt,
) -> Result<String, (Problem, DeadLetterReceipt)> {
    let late = |_| Err(Problem::Unreachable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())));
    match timeout(PUBLISH_TIMEOUT, publishers.publish(payload, attributes)).await.unwrap_or_else(late) {
        Ok(id) => {
            // An ack that is lost brings the letter again, and its original once more, which is then stale.
            let _ = timeout(ACK_TIMEOUT, receipt.ack()).await;
            Ok(id)
        }
        Err(problem) => Err((problem, receipt)),
    }
}

/// On a terminal, what was redriven so far; nothing where there is none.
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
