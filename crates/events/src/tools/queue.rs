//! `event-pipeline queue`: what is in the queues.

use std::time::Duration;

use ops::terminal::{ascii_json, layout, sanitize};
use serde_json::json;

use super::error::NamedQueue;
use super::reader::Reader;
use super::{Console, Outcome, ToolError};
use crate::moment::Moment;
use crate::names::{Endpoints, Queues};
use crate::queues::{Problem, Queue, Received, Sqs};

/// The processor does not get a message for this long if a peek is killed.
const PEEK: Duration = Duration::from_secs(30);
const MAX_BODY_CHARS: usize = 80;

/// A queue of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// The queue of events
    Events,
    /// Events that are invalid or were received too often
    EventsDlq,
    /// Deliveries that were given up
    DeliverDlq,
}

impl Which {
    pub(super) const ALL: [Which; 3] = [Which::Events, Which::EventsDlq, Which::DeliverDlq];

    pub(super) fn named(self, queues: &Queues) -> NamedQueue<'_> {
        let (name, flag) = match self {
            Which::Events => (&queues.events, "--queue"),
            Which::EventsDlq => (&queues.events_dead, "--dead-letter-queue"),
            Which::DeliverDlq => (&queues.deliver_dead, "--deliver-dead-letter-queue"),
        };
        NamedQueue { name, flag }
    }
}

/// Finds a queue. The error tells what to do.
pub(super) async fn find(endpoints: &Endpoints, named: NamedQueue<'_>) -> Result<Queue, ToolError> {
    let found = async { Sqs::connect(endpoints.sqs.as_deref()).await?.find(named.name).await };
    found.await.map_err(|problem| named.error(endpoints, &problem))
}

/// Prints how many messages each queue has.
pub async fn status(
    endpoints: &Endpoints,
    queues: &Queues,
    json: bool,
    console: &mut Console<'_>,
) -> Result<Outcome, ToolError> {
    let mut rows = Vec::new();
    for which in Which::ALL {
        let named = which.named(queues);
        let queue = find(endpoints, named).await?;
        let settings = queue.settings().await.map_err(|problem| named.error(endpoints, &problem))?;
        rows.push((queue.name, settings.counts));
    }
    if json {
        for (queue, counts) in rows {
            let line = json!({
                "queue": queue, "visible": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed
            });
            console.print(format!("{line}\n"))?;
        }
        return Ok(Outcome::Done);
    }
    let row = |(queue, counts): (String, crate::queues::Counts)| {
        [queue, counts.visible.to_string(), counts.in_flight.to_string(), counts.delayed.to_string()]
    };
    let rows: Vec<_> = rows.into_iter().map(row).collect();
    console.print(layout(["QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED"], &[1, 2, 3], &rows))?;
    Ok(Outcome::Done)
}

/// Which messages to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    pub endpoints: Endpoints,
    pub queues: Queues,
    pub which: Which,
    pub limit: usize,
    pub json: bool,
}

/// Prints messages, and leaves them in the queue.
pub async fn peek(task: &Peek, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let named = task.which.named(&task.queues);
    let queue = find(&task.endpoints, named).await?;
    let failed = |problem: Problem| named.error(&task.endpoints, &problem);
    let mut reader = Reader::new(&queue, PEEK);
    let mut messages = Vec::new();
    while messages.len() < task.limit && !console.is_stopped() {
        let some = reader.next(task.limit - messages.len()).await.map_err(failed)?;
        if some.is_empty() {
            break;
        }
        some.iter().for_each(|message| reader.leave(message));
        messages.extend(some);
    }
    reader.release().await.map_err(failed)?;
    console.print(if task.json { messages.iter().map(json_line).collect() } else { table(&messages) })?;
    if messages.is_empty() {
        console.note(format!("Queue {} has no visible message.", queue.name))?;
    } else {
        console.note("A peek counts as a receive: SQS moves a message that was received too often.")?;
    }
    Ok(Outcome::Done)
}

fn json_line(message: &Received) -> String {
    let line = json!({
        "message_id": message.id,
        "sent": time(message.sent),
        "receives": message.receives,
        "group": message.group,
        "attributes": message.attributes,
        "body": message.body,
    });
    ascii_json(&line.to_string()) + "\n"
}

fn table(messages: &[Received]) -> String {
    let row = |message: &Received| {
        [
            sanitize(&message.id, MAX_BODY_CHARS),
            time(message.sent),
            message.receives.to_string(),
            sanitize(message.group.as_deref().unwrap_or_default(), MAX_BODY_CHARS),
            sanitize(&message.body, MAX_BODY_CHARS),
        ]
    };
    let rows: Vec<_> = messages.iter().map(row).collect();
    layout(["MESSAGE", "SENT", "RECEIVES", "GROUP", "BODY"], &[2], &rows)
}

pub(super) fn time(millis: u64) -> String {
    Moment::from_unix_millis(millis).map(|moment| moment.to_string()).unwrap_or_default()
}
