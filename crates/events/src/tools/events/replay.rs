//! `event-pipeline events replay`: makes the deliveries of stored events due again.

use serde_json::json;

use super::Stored;
use crate::key;
use crate::names::{Endpoints, Tables};
use crate::table::reading::{Range, Row};
use crate::tools::pace::Pace;
use crate::tools::redelivery::{Again, NoTarget, Redelivery};
use crate::tools::repeat::repeat;
use crate::tools::{Console, Outcome, ToolError};
use ops::console::progress;

/// How many clients without a route are named.
const MAX_NAMED: usize = 10;

/// What to deliver again.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    pub endpoints: Endpoints,
    pub tables: Tables,
    pub which: Which,
    /// Events per second.
    pub rate: f64,
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Events of one client, by their times.
    Client { client_id: String, range: Range },
    /// Events of all clients, by the time at which they were stored. Reads the whole table.
    All { stored: Range },
}

#[derive(Debug, Default)]
struct Counts {
    events: u64,
    deliveries: u64,
    without_target: u64,
    named: Vec<NoTarget>,
}

/// Stores due deliveries for the selected events. It does not matter who delivered them before.
pub async fn replay(task: &Replay, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let stored = Stored::connect(&task.endpoints, &task.tables).await?;
    let mut replaying = Replaying {
        redelivery: Redelivery::new(&stored.client, &task.tables),
        pace: Pace::new(Some(task.rate)),
        counts: Counts::default(),
    };
    let bar = progress("events replayed:", None);
    let failed = |error: &dynamodb::StoreError| {
        ToolError(format!("the replay cannot go on: {error}\nTo repeat it, run the same command."))
    };
    match &task.which {
        Which::Client { client_id, range } => {
            let mut events = stored.events.of_client(client_id, *range, stored.buckets);
            while !console.is_stopped() {
                let next = repeat(async || events.next().await).await;
                let Some(row) = next.map_err(|error| failed(&error))? else { break };
                replaying.event(&row).await.map_err(|error| failed(&error))?;
                bar.set_position(replaying.counts.events);
            }
        }
        Which::All { stored: range } => {
            let mut after = None;
            'pages: loop {
                let page = repeat(async || stored.events.scan(*range, after.as_ref()).await).await;
                let (rows, next) = page.map_err(|error| failed(&error))?;
                for row in rows {
                    if console.is_stopped() {
                        break 'pages;
                    }
                    replaying.event(&row).await.map_err(|error| failed(&error))?;
                    bar.set_position(replaying.counts.events);
                }
                after = next;
                if after.is_none() || console.is_stopped() {
                    break;
                }
            }
        }
    }
    bar.finish_and_clear();
    report(task, &replaying.counts, console)
}

struct Replaying {
    redelivery: Redelivery,
    pace: Pace,
    counts: Counts,
}

impl Replaying {
    async fn event(&mut self, row: &Row) -> Result<(), dynamodb::StoreError> {
        self.pace.wait(1).await;
        self.counts.events += 1;
        let (client_id, event_type) = (row.client_id(), row.event_type.as_str());
        let body = key::body(client_id, event_type, &row.data);
        let event = Again { client_id, event_key: &row.key, event_type, body: &body };
        match self.redelivery.of_event(event).await? {
            Ok(deliveries) => {
                self.counts.deliveries += deliveries.len() as u64;
                self.redelivery.store(deliveries).await
            }
            Err(why) => {
                self.counts.without_target += 1;
                if self.counts.named.len() < MAX_NAMED && !self.counts.named.contains(&why) {
                    self.counts.named.push(why);
                }
                Ok(())
            }
        }
    }
}

fn report(task: &Replay, counts: &Counts, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let Counts { events, deliveries, without_target, named } = counts;
    let is_stopped = console.is_stopped();
    for why in named {
        console.note(format!("Not replayed: {why}"))?;
    }
    if task.json {
        let line = json!({
            "events": events, "deliveries": deliveries, "without_target": without_target, "stopped": is_stopped
        });
        console.print(format!("{line}\n"))?;
    } else {
        console.print(format!(
            "Events: {events}. Deliveries stored: {deliveries}. Events without a target: {without_target}.\n"
        ))?;
    }
    if is_stopped {
        console.note("Stopped before the end. The same command begins again; receivers see the same webhook-id.")?;
    }
    Ok(if is_stopped { Outcome::Partly } else { Outcome::Done })
}
