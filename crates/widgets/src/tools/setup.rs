//! `widget-registry setup`: creates the tables that are missing, and completes those that exist. Safe to repeat and to run
//! concurrently.

use std::time::Duration;

use aws_sdk_dynamodb::types::{BillingMode, TableDescription};
use dynamodb::{Client, Problem, TableSetup, WarmThroughput};
use ops::console::{Console, Outcome, ToolError};
use tokio::time::{Instant, sleep};

use super::tables::{Kind, connect};
use crate::names::Tables;

const MAX_WAIT: Duration = Duration::from_secs(60);
const WAIT_INTERVAL: Duration = Duration::from_millis(500);

/// What to set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The server to use instead of Amazon's.
    pub endpoint: Option<String>,
    pub tables: Tables,
    /// What both tables take at once, if it is wanted.
    pub warm: WarmThroughput,
    /// Waits until the server answers.
    pub wait: bool,
}

/// Creates what is missing, and prints of each thing whether it was created, changed or existed. A warm throughput that the
/// server does not set leaves the command partly done.
pub async fn run(task: &Setup, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    if task.wait {
        wait_for_server(task, console).await?;
    }
    let mut outcome = Outcome::Done;
    for kind in Kind::ALL {
        let failed = |problem: Problem| kind.named(&task.tables).error(task.endpoint.as_deref(), &problem);
        let client = connect(task.endpoint.as_deref()).await.map_err(failed)?;
        let lines = table(&client, kind, task).await.map_err(failed)?;
        for (what, text) in lines {
            console.print(format!("{what:<7}  {text}\n"))?;
            if what == LEFT {
                outcome = Outcome::Partly;
            }
        }
    }
    Ok(outcome)
}

async fn wait_for_server(task: &Setup, console: &mut Console<'_>) -> Result<(), ToolError> {
    let end = Instant::now() + MAX_WAIT;
    let mut is_noted = false;
    loop {
        let named = Kind::Widgets.named(&task.tables);
        let described = async { dynamodb::describe(&connect(task.endpoint.as_deref()).await?, named.name).await }.await;
        let Err(problem @ Problem::Unreachable(_)) = described else { return Ok(()) };
        if Instant::now() >= end || console.is_stopped() {
            return Err(named.error(task.endpoint.as_deref(), &problem));
        }
        if !is_noted {
            console.note(format!("Waiting up to {} s for DynamoDB.", MAX_WAIT.as_secs()))?;
            is_noted = true;
        }
        sleep(WAIT_INTERVAL).await;
    }
}

/// What became of a part of a table, and the part.
type Line = (&'static str, String);

const CREATED: &str = "created";
const EXISTS: &str = "exists";
const CHANGED: &str = "changed";
const WARNING: &str = "warning";
/// It was asked for and not done.
const LEFT: &str = "left";

async fn table(client: &Client, kind: Kind, task: &Setup) -> Result<Vec<Line>, Problem> {
    let (spec, name) = (kind.spec(), kind.named(&task.tables).name);
    let changed = |is_changed| if is_changed { CHANGED } else { EXISTS };
    let (table, stream, expiry) = match dynamodb::create_table(client, spec, name).await? {
        TableSetup::Created => (CREATED, CREATED, CREATED),
        TableSetup::Found => (EXISTS, EXISTS, EXISTS),
        TableSetup::Changed { expiry, stream } => (EXISTS, changed(stream), changed(expiry)),
    };
    let mut lines = vec![(table, format!("table {name}"))];
    if let Some(view) = &spec.stream {
        lines.push((stream, format!("stream of {name}, with {view}")));
    }
    if spec.expires {
        lines.push((expiry, format!("expiry of the items of {name}, by {}", dynamodb::EXPIRES_AT)));
    }
    if is_provisioned(&dynamodb::describe(client, name).await?) {
        let text = "it has provisioned capacity, so it throttles above that; choose on-demand capacity";
        lines.push((WARNING, format!("table {name}: {text}")));
    }
    if task.warm != WarmThroughput::default() {
        lines.push(warm(client, name, task.warm).await?);
    }
    Ok(lines)
}

fn is_provisioned(table: &TableDescription) -> bool {
    let mode = table.billing_mode_summary().and_then(|summary| summary.billing_mode());
    mode == Some(&BillingMode::Provisioned)
}

async fn warm(client: &Client, name: &str, wanted: WarmThroughput) -> Result<Line, Problem> {
    let units = |units: Option<u64>, of| units.map(|units| format!("{units} {of} units per second"));
    let texts: Vec<_> = [units(wanted.writes, "write"), units(wanted.reads, "read")].into_iter().flatten().collect();
    let text = format!("warm throughput of {name}: {}", texts.join(", "));
    Ok(match dynamodb::raise_warm_throughput(client, name, wanted).await {
        Ok(true) => (CHANGED, format!("{text}; DynamoDB needs minutes for it")),
        Ok(false) => (EXISTS, text),
        // The tables work without it, e.g. on a local server, which has none.
        Err(Problem::Other(why)) => (LEFT, format!("{text}: it was not changed: {why}")),
        Err(problem) => return Err(problem),
    })
}
