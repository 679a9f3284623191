//! `event-pipeline dlq`: lists dead letters, redrives them, or deletes them.

mod deliver;

use std::time::Duration;

use ops::terminal::{ascii_json, layout, sanitize};
use serde_json::json;

pub use self::deliver::redrive_deliveries;
use super::batches::send_all;
pub use super::dead_letters::Selection;
use super::dead_letters::{Redriven, event_again, reason};
use super::error::NamedQueue;
use super::queue::{Which, find, time};
use super::reader::Reader;
use super::{Console, Outcome, ToolError};
use crate::dead_letter::RECEIVED_TOO_OFTEN;
use crate::names::{Endpoints, Queues};
use crate::queues::{MAX_BATCH, Outgoing, Problem, Queue, Received};
use ops::console::progress;

/// Other readers do not get a dead letter for this long if a command is killed.
const VISIBILITY: Duration = Duration::from_secs(120);
const MAX_CHARS: usize = 80;

/// Where the dead letters are, and which ones are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    pub endpoints: Endpoints,
    pub queues: Queues,
    pub which: Which,
    pub select: Selection,
    pub limit: usize,
    pub json: bool,
}

/// What a command did.
#[derive(Debug, Default)]
struct Counts {
    settled: u64,
    /// Not selected, or beyond the limit.
    left: u64,
    failed: u64,
}

impl DeadLetters {
    fn named(&self) -> NamedQueue<'_> {
        self.which.named(&self.queues)
    }

    fn failed(&self, problem: &Problem) -> ToolError {
        self.named().error(&self.endpoints, problem)
    }
}

/// Prints dead letters, and leaves them in the queue.
pub async fn list(task: &DeadLetters, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let queue = find(&task.endpoints, task.named()).await?;
    let mut reader = Reader::new(&queue, VISIBILITY);
    let mut found = Vec::new();
    while found.len() < task.limit && !console.is_stopped() {
        let some = reader.next(MAX_BATCH).await.map_err(|problem| task.failed(&problem))?;
        if some.is_empty() {
            break;
        }
        some.iter().for_each(|message| reader.leave(message));
        found.extend(some.into_iter().filter(|message| task.select.selects(message)));
    }
    found.truncate(task.limit);
    reader.release().await.map_err(|problem| task.failed(&problem))?;
    console.print(if task.json { found.iter().map(json_line).collect() } else { table(&found) })?;
    if found.is_empty() {
        console.note(format!("Queue {} has no such dead letter that is visible.", queue.name))?;
    } else if found.len() == task.limit {
        console.note(format!("These are the first {}. Show more with --limit.", task.limit))?;
    }
    Ok(Outcome::Done)
}

/// Deletes the selected dead letters.
pub async fn purge(task: &DeadLetters, is_confirmed: bool, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let queue = find(&task.endpoints, task.named()).await?;
    let question = format!("Delete the selected dead letters of queue {}, up to {}?", queue.name, task.limit);
    let selects_moved = task.select.reasons.is_empty() || task.select.reasons.iter().any(|it| it == RECEIVED_TOO_OFTEN);
    if task.which == Which::EventsDlq && selects_moved {
        console.note(format!("warning: an event with reason {RECEIVED_TOO_OFTEN} may be stored and not delivered"))?;
    }
    if !is_confirmed && !console.confirm(&question).await {
        return Ok(Outcome::Failed);
    }
    let settle = async |messages: Vec<Received>| delete(task, &queue, messages).await;
    let counts = settle_all(task, &queue, "deleting", settle, console).await?;
    report(task, "Deleted", "purged", &counts, console)
}

/// Sends the selected dead letters of `events-dlq` to the queue of events, and then deletes them.
pub async fn redrive_events(task: &DeadLetters, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let queue = find(&task.endpoints, task.named()).await?;
    let destination = Which::Events.named(&task.queues);
    let events = find(&task.endpoints, destination).await?;
    let mut redriven = Redriven::begin();
    let settle = async |messages: Vec<Received>| {
        let (messages, returned): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| redriven.is_first(message));
        let outgoing: Vec<Outgoing> = messages.iter().map(event_again).collect();
        let mut failed = Vec::new();
        // Ten messages may be larger than a request can be.
        let mut from = 0;
        while from < messages.len() {
            let until = from + batch_length(&outgoing[from..]);
            let rejected = send_all(&events, &outgoing[from..until]).await;
            let rejected = rejected.map_err(|problem| destination.error(&task.endpoints, &problem))?;
            failed.extend(rejected.iter().map(|entry| from + entry.index));
            from = until;
        }
        let (sent, unsent) = split(messages, &failed);
        let mut left = delete(task, &queue, sent).await?;
        left.extend(unsent);
        left.extend(returned);
        Ok(left)
    };
    let counts = settle_all(task, &queue, "redriving", settle, console).await?;
    report(task, "Redriven", "redriven", &counts, console)
}

/// Returns how many of the first messages fit into one request. At least one does.
fn batch_length(messages: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fitting = messages.iter().take_while(|message| {
        bytes += message.size();
        bytes <= crate::queues::MAX_BATCH_BYTES
    });
    fitting.count().max(1)
}

/// Reads the queue once, and settles the selected messages in batches. `settle` returns those that it could not.
async fn settle_all(
    task: &DeadLetters,
    queue: &Queue,
    doing: &'static str,
    mut settle: impl AsyncFnMut(Vec<Received>) -> Result<Vec<Received>, ToolError>,
    console: &mut Console<'_>,
) -> Result<Counts, ToolError> {
    let (mut reader, mut counts) = (Reader::new(queue, VISIBILITY), Counts::default());
    let bar = progress(doing, None);
    let limit = task.limit as u64;
    while counts.settled + counts.failed < limit && !console.is_stopped() {
        let messages = reader.next(MAX_BATCH).await.map_err(|problem| task.failed(&problem))?;
        if messages.is_empty() {
            break;
        }
        let room = usize::try_from(limit - counts.settled - counts.failed).unwrap_or(usize::MAX);
        let (mut selected, mut left): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| task.select.selects(message));
        left.extend(selected.split_off(room.min(selected.len())));
        left.iter().for_each(|message| reader.leave(message));
        counts.left += left.len() as u64;
        if selected.is_empty() {
            continue;
        }
        let all = selected.len() as u64;
        let failed = settle(selected).await?;
        failed.iter().for_each(|message| reader.leave(message));
        counts.failed += failed.len() as u64;
        counts.settled += all - failed.len() as u64;
        bar.set_position(counts.settled);
    }
    bar.finish_and_clear();
    reader.release().await.map_err(|problem| task.failed(&problem))?;
    Ok(counts)
}

/// Deletes up to ten messages. Returns those that SQS did not delete.
async fn delete(task: &DeadLetters, queue: &Queue, messages: Vec<Received>) -> Result<Vec<Received>, ToolError> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let receipts: Vec<_> = messages.iter().map(|message| message.receipt.as_str()).collect();
    let rejected = queue.delete(&receipts).await.map_err(|problem| task.failed(&problem))?;
    let failed: Vec<_> = rejected.iter().map(|entry| entry.index).collect();
    Ok(split(messages, &failed).1)
}

/// Splits messages into the others and those at these indexes.
fn split(messages: Vec<Received>, indexes: &[usize]) -> (Vec<Received>, Vec<Received>) {
    let (others, chosen): (Vec<_>, Vec<_>) =
        messages.into_iter().enumerate().partition(|(index, _)| !indexes.contains(index));
    let plain = |pairs: Vec<(usize, Received)>| pairs.into_iter().map(|(_, message)| message).collect();
    (plain(others), plain(chosen))
}

fn report(
    task: &DeadLetters,
    verb: &str,
    name: &str,
    counts: &Counts,
    console: &mut Console<'_>,
) -> Result<Outcome, ToolError> {
    let Counts { settled, left, failed } = counts;
    let is_stopped = console.is_stopped();
    if task.json {
        let line = json!({ name: settled, "left": left, "failed": failed, "stopped": is_stopped });
        console.print(format!("{line}\n"))?;
    } else {
        console.print(format!("{verb}: {settled}. Left: {left}. Failed: {failed}.\n"))?;
        if is_stopped {
            console.note("Stopped before the end. To continue, run the same command.")?;
        }
    }
    Ok(if is_stopped || *failed > 0 { Outcome::Partly } else { Outcome::Done })
}

fn json_line(message: &Received) -> String {
    let line = json!({
        "message_id": message.id,
        "sent": time(message.sent),
        "reason": reason(message),
        "receives": message.receives,
        "group": message.group,
        "attributes": message.attributes,
        "body": message.body,
    });
    ascii_json(&line.to_string()) + "\n"
}

fn table(messages: &[Received]) -> String {
    let row = |message: &Received| {
        let attribute =
            |name: &str| sanitize(message.attributes.get(name).map(String::as_str).unwrap_or_default(), MAX_CHARS);
        [
            sanitize(&message.id, MAX_CHARS),
            time(message.sent),
            sanitize(reason(message), MAX_CHARS),
            attribute("client_id"),
            attribute("event_id"),
            attribute("pointer"),
            attribute("detail"),
        ]
    };
    let rows: Vec<_> = messages.iter().map(row).collect();
    layout(["MESSAGE", "SENT", "REASON", "CLIENT", "EVENT", "POINTER", "DETAIL"], &[], &rows)
}
