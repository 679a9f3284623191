//! `widget-registry audit`: checks the rules of all connections in the table. A scan finds suspects, because it is no
//! snapshot; each one is confirmed by a transaction that reads it with all of its peers.
//!
//! It finds each violation that exists during the whole scan. One that appears while the scan runs may be found by the next.

mod confirm;
mod matching;
mod reading;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use dynamodb::StoreError;
use futures_util::{StreamExt, stream};
use ops::console::{Console, Outcome, ToolError, progress};
use serde_json::json;

use super::error::NamedTable;
use super::tables::connect;
use crate::names::Tables;
use crate::table::{WIDGETS, WidgetTable};
use crate::widget::Serial;
use confirm::{Confirmed, confirm};
use matching::Matching;
use reading::Scan;
pub use rules::Violation;

/// How many suspects are confirmed at a time.
const CONFIRMATIONS: usize = 16;

/// What to audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The server to use instead of Amazon's.
    pub endpoint: Option<String>,
    pub tables: Tables,
    /// How many parts of the table are read at a time.
    pub segments: u16,
    pub json: bool,
}

/// What an audit found.
#[derive(Debug, Default)]
struct Found {
    widgets: u64,
    connections: u64,
    suspects: BTreeSet<Serial>,
    violations: u64,
    undecided: u64,
    is_stopped: bool,
}

/// Prints every violation, and counts at the end. Violations are a failure of the command.
pub async fn run(task: &Audit, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let named = NamedTable::widgets(&task.tables);
    let failed = |problem: dynamodb::Problem| named.error(task.endpoint.as_deref(), &problem);
    let client = connect(task.endpoint.as_deref()).await.map_err(failed)?;
    dynamodb::check_table(&client, &WIDGETS, named.name).await.map_err(failed)?;
    let table = WidgetTable::new(client, task.tables.clone());
    let mut found = Found::default();
    scan(task, &table, &mut found, console).await?;
    confirm_all(task, &table, &mut found, console).await?;
    summary(task, &found, console)?;
    Ok(match found {
        Found { violations: 1.., .. } => Outcome::Failed,
        Found { is_stopped: true, .. } | Found { undecided: 1.., .. } => Outcome::Partly,
        Found { .. } => Outcome::Done,
    })
}

/// Reads the whole table, and notes whom to look at again.
async fn scan(
    task: &Audit,
    table: &WidgetTable,
    found: &mut Found,
    console: &mut Console<'_>,
) -> Result<(), ToolError> {
    let bar = progress("widgets read", None);
    let mut matching = Matching::default();
    let mut scan = Scan::start(table, task.segments);
    loop {
        let rows = match console.stop.run_until_cancelled(scan.next()).await {
            Some(Ok(Some(rows))) => rows,
            Some(Ok(None)) => break,
            Some(Err(error)) => return Err(unreadable(task, &error)),
            None => {
                found.is_stopped = true;
                break;
            }
        };
        bar.inc(rows.len() as u64);
        for row in rows {
            match row {
                Ok(widget) => {
                    found.widgets += 1;
                    if matching.see(&widget) {
                        found.suspects.insert(widget.serial);
                    }
                }
                Err(foreign) => {
                    let (key, why) = (foreign.key.clone(), foreign.to_string());
                    print(task, &Violation::Foreign { key, why }, found, console)?;
                }
            }
        }
    }
    bar.finish_and_clear();
    found.connections = matching.connections();
    // Half of a table has many halves without the other one.
    if !found.is_stopped {
        found.suspects.extend(matching.suspects());
    }
    Ok(())
}

async fn confirm_all(
    task: &Audit,
    table: &WidgetTable,
    found: &mut Found,
    console: &mut Console<'_>,
) -> Result<(), ToolError> {
    let bar = progress("suspects confirmed", Some(found.suspects.len() as u64));
    let suspects: Vec<_> = found.suspects.iter().cloned().collect();
    let mut confirmations = stream::iter(suspects).map(|serial| confirm(table, serial)).buffer_unordered(CONFIRMATIONS);
    loop {
        let confirmed = match console.stop.run_until_cancelled(confirmations.next()).await {
            Some(Some(confirmed)) => confirmed,
            Some(None) => break,
            None => {
                found.is_stopped = true;
                break;
            }
        };
        bar.inc(1);
        match confirmed {
            Confirmed::Decided(violations) => {
                for violation in violations {
                    print(task, &violation, found, console)?;
                }
            }
            Confirmed::Undecided { serial, error } => {
                found.undecided += 1;
                console.note(format!("{serial} could not be decided: {error}"))?;
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn print(task: &Audit, violation: &Violation, found: &mut Found, console: &mut Console<'_>) -> Result<(), ToolError> {
    found.violations += 1;
    match task.json {
        true => console.print(format!("{}\n", violation.json())),
        false => console.print(format!("{violation}\n")),
    }
}

fn summary(task: &Audit, found: &Found, console: &mut Console<'_>) -> Result<(), ToolError> {
    let Found { widgets, connections, suspects, violations, undecided, is_stopped } = found;
    let suspects = suspects.len();
    if task.json {
        let counts = json!({
            "widgets": widgets, "connections": connections, "suspects": suspects, "violations": violations,
            "undecided": undecided, "stopped": is_stopped,
        });
        return console.print(format!("{counts}\n"));
    }
    let stopped = if *is_stopped { " It was stopped before the end." } else { "" };
    console.print(format!(
        "Widgets: {widgets}, connections: {connections}, suspects: {suspects}, violations: {violations}, \
         undecided: {undecided}.{stopped}\n"
    ))
}

fn unreadable(task: &Audit, error: &StoreError) -> ToolError {
    ToolError(format!(
        "table {} (--widgets-table) cannot be read: {error}\nCheck it: widget-registry check",
        task.tables.widgets
    ))
}
