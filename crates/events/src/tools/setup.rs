//! `event-pipeline setup`: creates the queues and tables that are missing, and verifies those that exist. Safe to repeat
//! and to run concurrently.

use std::num::NonZeroU16;
use std::time::Duration;

use dynamodb::TableSetup;
use tokio::time::{Instant, sleep};

use super::error::NamedTable;
use super::queue::Which;
use super::tables::{Kind, connect};
use super::{Console, Outcome, ToolError};
use crate::buckets;
use crate::names::{Endpoints, Queues, Tables};
use crate::queues::{Problem, Queue, Redrive, Settings, Sqs, Wanted};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// SQS keeps the time of an event when it moves it, so a dead-letter queue needs more time than its source.
const RETENTION: Duration = DAY.saturating_mul(7);
pub(super) const DEAD_LETTER_RETENTION: Duration = DAY.saturating_mul(14);
/// A message returns after this time if its processor was killed.
const VISIBILITY: Duration = Duration::from_secs(30);
pub const DEFAULT_MAX_RECEIVES: u32 = 5;
/// SQS accepts messages of a mebibyte. Other servers may accept a quarter of it.
const MAX_BYTES: [u64; 2] = [1 << 20, 1 << 18];
/// An event in a dead-letter queue has attributes beside its body.
pub(super) const ATTRIBUTES_BYTES: u64 = 8 * 1024;
const MAX_WAIT: Duration = Duration::from_secs(60);
const WAIT_INTERVAL: Duration = Duration::from_millis(500);

/// What to set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    pub endpoints: Endpoints,
    pub queues: Queues,
    pub tables: Tables,
    /// Changes an existing queue too, if it is set.
    pub max_receives: Option<u32>,
    /// Changes the number of partitions of each client's events, if it is set.
    pub client_buckets: Option<NonZeroU16>,
    /// Waits until the servers answer.
    pub wait: bool,
}

/// Creates what is missing, and prints of each thing whether it was created, found or changed.
pub async fn run(task: &Setup, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    if task.wait {
        wait_for_servers(task, console).await?;
    }
    queues(task, console).await?;
    tables(task, console).await?;
    if let Some(count) = task.client_buckets {
        client_buckets(task, count, console).await?;
    }
    Ok(Outcome::Done)
}

async fn wait_for_servers(task: &Setup, console: &mut Console<'_>) -> Result<(), ToolError> {
    let end = Instant::now() + MAX_WAIT;
    let mut is_noted = false;
    loop {
        let Some(problem) = unreachable(task).await else { return Ok(()) };
        if Instant::now() >= end || console.is_stopped() {
            return Err(problem);
        }
        if !is_noted {
            console.note(format!("Waiting up to {} s for the servers.", MAX_WAIT.as_secs()))?;
            is_noted = true;
        }
        sleep(WAIT_INTERVAL).await;
    }
}

/// Returns what does not answer.
async fn unreachable(task: &Setup) -> Option<ToolError> {
    let named = Which::Events.named(&task.queues);
    let found = async { Sqs::connect(task.endpoints.sqs.as_deref()).await?.find(named.name).await };
    if let Err(problem @ Problem::Unreachable(_)) = found.await {
        return Some(named.error(&task.endpoints, &problem));
    }
    let table = Kind::Events.named(&task.tables);
    let described = async { dynamodb::describe(&connect(&task.endpoints).await?, table.name).await };
    match described.await {
        Err(problem @ dynamodb::Problem::Unreachable(_)) => Some(table.error(&task.endpoints, &problem)),
        _ => None,
    }
}

async fn queues(task: &Setup, console: &mut Console<'_>) -> Result<(), ToolError> {
    let max_bytes = MAX_BYTES[0];
    let dead = Wanted { retention: DEAD_LETTER_RETENTION, visibility: VISIBILITY, max_bytes, redrive: None };
    let events_dead = queue(task, Which::EventsDlq, &dead, console).await?;
    queue(task, Which::DeliverDlq, &dead, console).await?;
    let named = Which::EventsDlq.named(&task.queues);
    let settings = events_dead.settings().await.map_err(|problem| named.error(&task.endpoints, &problem))?;
    let redrive = Redrive { target: settings.arn, max_receives: task.max_receives.unwrap_or(DEFAULT_MAX_RECEIVES) };
    let accepted = settings.max_bytes.unwrap_or(MAX_BYTES[1]);
    let max_bytes = accepted - ATTRIBUTES_BYTES.min(accepted / 2);
    let events = Wanted { retention: RETENTION, visibility: VISIBILITY, max_bytes, redrive: Some(redrive) };
    queue(task, Which::Events, &events, console).await?;
    Ok(())
}

async fn queue(task: &Setup, which: Which, wanted: &Wanted, console: &mut Console<'_>) -> Result<Queue, ToolError> {
    let named = which.named(&task.queues);
    let failed = |problem: Problem| named.error(&task.endpoints, &problem);
    let sqs = Sqs::connect(task.endpoints.sqs.as_deref()).await.map_err(failed)?;
    match sqs.find(named.name).await {
        Ok(found) => {
            let settings = found.settings().await.map_err(failed)?;
            match redrive_to_set(task, &settings, wanted) {
                Some(redrive) => {
                    found.set_redrive(redrive).await.map_err(failed)?;
                    let text = format!("{}: redrive after {} receives", named.name, redrive.max_receives);
                    line(console, "changed", "queue", &text)?;
                }
                None => line(console, "found", "queue", named.name)?,
            }
            for difference in differences(task, named.name, &settings, wanted) {
                line(console, "warning", "queue", &difference)?;
            }
            Ok(found)
        }
        Err(Problem::NotFound) => {
            let mut created = sqs.create(named.name, wanted).await;
            if let Err(Problem::Other(_)) = created {
                let smaller = Wanted { max_bytes: wanted.max_bytes.min(MAX_BYTES[1]), ..wanted.clone() };
                created = sqs.create(named.name, &smaller).await;
            }
            let created = created.map_err(failed)?;
            line(console, "created", "queue", named.name)?;
            Ok(created)
        }
        Err(problem) => Err(failed(problem)),
    }
}

/// Returns the redrive policy of a queue that lacks it, or whose number of receives is to be changed.
fn redrive_to_set<'a>(task: &Setup, found: &Settings, wanted: &'a Wanted) -> Option<&'a Redrive> {
    let wanted = wanted.redrive.as_ref()?;
    let is_needed = match &found.redrive {
        None => true,
        Some(found) => found.target == wanted.target && found != wanted && task.max_receives.is_some(),
    };
    is_needed.then_some(wanted)
}

/// Returns what `setup` leaves as it is, although it creates queues otherwise.
fn differences(task: &Setup, name: &str, found: &Settings, wanted: &Wanted) -> Vec<String> {
    let mut differences = Vec::new();
    match (&found.redrive, &wanted.redrive) {
        (Some(found), Some(wanted)) if found.target != wanted.target => {
            differences.push(format!("{name}: it moves messages to {}, not to {}", found.target, wanted.target));
        }
        (Some(found), Some(wanted)) if found != wanted && task.max_receives.is_none() => {
            let (found, wanted) = (found.max_receives, wanted.max_receives);
            let text =
                format!("{name}: it moves messages after {found} receives; --max-receives {wanted} changes that");
            differences.push(text);
        }
        (Some(found), None) => differences
            .push(format!("{name}: it moves messages to {}; a dead-letter queue should keep them", found.target)),
        _ => {}
    }
    if let Some(found) = found.max_bytes.filter(|found| wanted.redrive.is_some() && *found > wanted.max_bytes) {
        let wanted = wanted.max_bytes;
        differences.push(format!(
            "{name}: it accepts {found} bytes, which do not fit into its dead-letter queue with attributes; \
             set MaximumMessageSize to {wanted}"
        ));
    }
    let is_wrong = |found: &Duration| match wanted.redrive {
        Some(_) => *found > RETENTION,
        None => *found < wanted.retention,
    };
    if let Some(found) = found.retention.filter(is_wrong) {
        let (found, wanted) = (days(found), days(wanted.retention));
        differences.push(format!("{name}: it keeps messages for {found} days; setup creates it with {wanted}"));
    }
    differences
}

fn days(time: Duration) -> f64 {
    (time.as_secs_f64() / DAY.as_secs_f64() * 10.0).round() / 10.0
}

async fn tables(task: &Setup, console: &mut Console<'_>) -> Result<(), ToolError> {
    for kind in Kind::ALL {
        let named @ NamedTable { name, .. } = kind.named(&task.tables);
        let failed = |problem: dynamodb::Problem| named.error(&task.endpoints, &problem);
        let client = connect(&task.endpoints).await.map_err(failed)?;
        match dynamodb::create_table(&client, kind.spec(), name).await.map_err(failed)? {
            TableSetup::Created => line(console, "created", "table", name)?,
            TableSetup::Found => line(console, "found", "table", name)?,
            TableSetup::Changed { expiry, stream } => {
                let enabled = [(expiry, "its expiry"), (stream, "its stream")].into_iter().filter(|(is, _)| *is);
                let enabled: Vec<_> = enabled.map(|(_, what)| what).collect();
                line(console, "changed", "table", &format!("{name}: enabled {}", enabled.join(" and ")))?;
            }
        }
    }
    Ok(())
}

async fn client_buckets(task: &Setup, count: NonZeroU16, console: &mut Console<'_>) -> Result<(), ToolError> {
    let named = Kind::Routes.named(&task.tables);
    let failed = |problem: dynamodb::Problem| named.error(&task.endpoints, &problem);
    let client = connect(&task.endpoints).await.map_err(failed)?;
    let (before, after) = buckets::store(&client, named.name, count).await.map_err(failed)?;
    let what = if before == after { "found" } else { "changed" };
    let text = format!("{}: events of a client go to {} buckets", named.name, after.current);
    line(console, what, "table", &text)?;
    if before.current != after.current {
        console.note("Restart the processors, so that they use the new number of buckets.")?;
    }
    Ok(())
}

fn line(console: &mut Console<'_>, what: &str, kind: &str, text: &str) -> Result<(), ToolError> {
    console.print(format!("{what:<7}  {kind:<5}  {text}\n"))
}
