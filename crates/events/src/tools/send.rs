//! `event-pipeline send`: sends documents or generated events to the queue of events.

mod generate;
mod input;

use std::fmt;
use std::io::BufRead;
use std::pin::pin;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use ops::terminal::sanitize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use self::generate::Generator;
pub use self::generate::Mix;
use super::batches::{Batch, send_all};
use super::pace::Pace;
use super::queue::{Which, find};
use super::{Console, Outcome, ToolError};
use crate::dead_letter::is_legal;
use crate::names::{Endpoints, Queues};
use crate::queues::{MAX_BATCH, MAX_BATCH_BYTES, Outgoing, Problem, Queue};
use ops::console::progress;

/// How many requests are sent at the same time.
const CONCURRENCY: usize = 8;
const READ_AHEAD: usize = 100;
const MAX_ERROR_CHARS: usize = 200;
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
const MAX_GROUP_CHARS: usize = 128;

/// What to send, and where.
#[derive(Debug)]
pub struct Sending {
    pub endpoints: Endpoints,
    pub queues: Queues,
    pub source: Source,
    /// Messages per second.
    pub rate: Option<f64>,
    pub group_by_client: bool,
    pub json: bool,
}

/// Where the bodies come from.
pub enum Source {
    /// One JSON document, or one per line.
    Documents {
        name: String,
        reader: Box<dyn BufRead + Send>,
    },
    Generated {
        mix: Mix,
        count: u64,
    },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Documents { name, .. } => f.debug_struct("Documents").field("name", name).finish_non_exhaustive(),
            Source::Generated { mix, count } => {
                f.debug_struct("Generated").field("mix", mix).field("count", count).finish()
            }
        }
    }
}

/// A body with its line, or with its number among the generated ones.
type Numbered = Result<(u64, String), ToolError>;

/// The messages of a request, and the bodies before them that cannot be sent.
struct Work {
    batch: Batch<u64>,
    refused: Vec<(u64, String)>,
}

/// What became of the bodies.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    refused: u64,
}

/// Sends everything, up to ten messages per request.
pub async fn run(task: Sending, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let Sending { endpoints, queues, source, rate, group_by_client, json } = task;
    let named = Which::Events.named(&queues);
    let queue = find(&endpoints, named).await?;
    let (unit, total, bodies) = match source {
        Source::Documents { name, reader } => ("line", None, documents(name, reader)),
        Source::Generated { mix, count } => {
            let bodies = (1..=count).zip(Generator::new(mix)).map(Ok);
            ("event", Some(count), stream::iter(bodies).boxed())
        }
    };
    let limits = Limits { max_bytes: max_bytes(&queue).await, group_by_client };
    let mut counts = Counts::default();
    let bar = progress("sent", total);
    let work = work(bodies, rate, limits).take_until(console.stop.clone().cancelled_owned());
    let mut sending = pin!(work.map(|work| send(&queue, work)).buffer_unordered(CONCURRENCY));
    while let Some(result) = sending.next().await {
        let failed = |problem: &Problem| named.error(&endpoints, problem);
        let (sent, refused) = result?.map_err(|problem| failed(&problem))?;
        counts.sent += sent;
        counts.refused += refused.len() as u64;
        bar.set_position(counts.sent);
        for (number, why) in refused {
            let why = sanitize(&why, MAX_ERROR_CHARS);
            bar.suspend(|| console.note(format!("{unit} {number} was not sent: {why}")))?;
        }
    }
    bar.finish_and_clear();
    report(&counts, &queue, json, console)
}

fn report(counts: &Counts, queue: &Queue, json: bool, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let (Counts { sent, refused }, is_stopped) = (counts, console.is_stopped());
    if json {
        console.print(format!("{}\n", json!({ "sent": sent, "refused": refused, "stopped": is_stopped })))?;
    } else {
        let refused = if *refused > 0 { format!(" Refused: {refused}.") } else { String::new() };
        console.print(format!("Sent to {}: {sent}.{refused}\n", queue.name))?;
    }
    Ok(match (is_stopped, *refused, *sent) {
        (true, ..) => Outcome::Partly,
        (false, 0, _) => Outcome::Done,
        (false, _, 0) => Outcome::Failed,
        (false, ..) => Outcome::Partly,
    })
}

/// How bodies become messages.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The most bytes of a body.
    max_bytes: usize,
    group_by_client: bool,
}

/// Returns the most bytes that the queue accepts. A producer may not be allowed to ask for it.
async fn max_bytes(queue: &Queue) -> usize {
    let settings = queue.settings().await.ok();
    settings.and_then(|settings| settings.max_bytes?.try_into().ok()).unwrap_or(MAX_BATCH_BYTES)
}

/// Reads documents on another thread, because reading blocks.
fn documents(name: String, reader: Box<dyn BufRead + Send>) -> BoxStream<'static, Numbered> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let read = input::read(reader, |number, body| sender.blocking_send(Ok((number, body))).is_ok());
        if let Err(error) = read {
            // If nobody receives it, the command has ended.
            let _ = sender.blocking_send(Err(ToolError(format!("cannot read {name}: {error}"))));
        }
    });
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).fuse().boxed()
}

/// Groups bodies into requests at a rate.
fn work(
    bodies: BoxStream<'static, Numbered>,
    rate: Option<f64>,
    limits: Limits,
) -> impl Stream<Item = Result<Work, ToolError>> {
    // About ten requests per second, so that a low rate is even.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
    let most = rate.map_or(MAX_BATCH, |rate| (rate / 10.0).clamp(1.0, MAX_BATCH as f64) as usize);
    let state = (bodies, Pace::new(rate), Work { batch: Batch::new(most), refused: Vec::new() });
    stream::unfold(state, move |(mut bodies, mut pace, mut work)| async move {
        loop {
            let ready = match bodies.next().await {
                Some(Err(error)) => return Some((Err(error), (bodies, pace, work))),
                Some(Ok((number, body))) => match outgoing(body, limits) {
                    Ok(message) => work.batch.add(message, number),
                    Err(why) => {
                        work.refused.push((number, why));
                        None
                    }
                },
                None if work.batch.is_empty() && work.refused.is_empty() => return None,
                None => Some(std::mem::replace(&mut work.batch, Batch::new(most))),
            };
            if let Some(batch) = ready {
                pace.wait(batch.messages.len()).await;
                let refused = std::mem::take(&mut work.refused);
                return Some((Ok(Work { batch, refused }), (bodies, pace, work)));
            }
        }
    })
}

/// Sends a request. Returns how many messages SQS took, and why it did not take the others.
async fn send(
    queue: &Queue,
    work: Result<Work, ToolError>,
) -> Result<Result<(u64, Vec<(u64, String)>), Problem>, ToolError> {
    let Work { batch, mut refused } = work?;
    if batch.is_empty() {
        return Ok(Ok((0, refused)));
    }
    Ok(send_all(queue, &batch.messages).await.map(|rejected| {
        let sent = (batch.messages.len() - rejected.len()) as u64;
        refused.extend(rejected.into_iter().map(|entry| (batch.tags[entry.index], entry.why)));
        (sent, refused)
    }))
}

/// Returns the message of a body, or why SQS would refuse it.
fn outgoing(body: String, limits: Limits) -> Result<Outgoing, String> {
    let Limits { max_bytes, group_by_client } = limits;
    if body.len() > max_bytes {
        return Err(format!("it has {} bytes, and the queue accepts at most {max_bytes}", body.len()));
    }
    if let Some(c) = body.chars().find(|c| !is_legal(*c)) {
        return Err(format!(
            "SQS does not accept the character U+{:04X}; in JSON, write it as \\u{:04x}",
            c as u32, c as u32
        ));
    }
    let group = if group_by_client { client(&body).map(|client| group(&client)) } else { None };
    Ok(Outgoing { body, group, ..Outgoing::default() })
}

fn client(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.get("client_id")?.as_str().filter(|client| !client.is_empty()).map(str::to_owned)
}

/// Returns the message group of a client: its id, or a hash of an id that cannot be one.
fn group(client_id: &str) -> String {
    let is_legal = client_id.len() <= MAX_GROUP_CHARS && client_id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_legal {
        return client_id.to_owned();
    }
    Sha256::digest(client_id).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_bytes: 100, group_by_client: true };

    #[test]
    fn the_group_of_a_client_is_its_id_if_sqs_accepts_it() {
        assert_eq!(group("acme/eu"), "acme/eu");
        for other in ["ac me", "größe", &"x".repeat(129)] {
            let group = group(other);
            assert!(group.len() == 32 && group.bytes().all(|byte| byte.is_ascii_hexdigit()), "{other}");
        }
    }

    #[test]
    fn a_body_that_sqs_would_refuse_is_not_sent() {
        assert!(outgoing("\u{1}".to_owned(), LIMITS).unwrap_err().contains("U+0001"));
        assert!(outgoing("x".repeat(101), LIMITS).unwrap_err().contains("101 bytes"));
        assert_eq!(outgoing("{\"client_id\":\"acme\"}".to_owned(), LIMITS).unwrap().group.as_deref(), Some("acme"));
        assert_eq!(outgoing("no JSON".to_owned(), LIMITS).unwrap().group, None);
    }
}
