//! The checks of what `mini-scan changes` needs: the stream, its two tables and the permissions.

use super::checks::within;
use super::finding::{CheckResult, Finding};
use super::side_tables::{check_table, check_table_and_permissions};
use super::{Endpoints, SetupError, setup_error};
use crate::dynamo::{self, Client, HistoryTable, Problem, SideTable, StreamState};

/// The tables of `mini-scan changes`, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesTables {
    pub scans: String,
    pub history: String,
    pub leases: String,
}

/// Checks what the reader of changes needs at its start: warns of what it can run with, and returns the first failure.
pub async fn check_changes(endpoints: &Endpoints, tables: &ChangesTables) -> Result<(), SetupError> {
    let client = connect(endpoints, tables).await?;
    let (stream, history, leases) = tokio::join!(
        check_stream(endpoints, &client, &tables.scans),
        check_table(endpoints, &client, SideTable::History, &tables.history),
        check_table(endpoints, &client, SideTable::Leases, &tables.leases),
    );
    super::checks::report([vec![stream], history, leases].concat())
}

/// Checks the same and the permissions, and returns every finding.
pub async fn check_all_changes(endpoints: &Endpoints, tables: &ChangesTables) -> Vec<Finding> {
    let client = match connect(endpoints, tables).await {
        Ok(client) => client,
        Err(error) => return vec![Finding::new("table", &tables.scans, CheckResult::Failed(error))],
    };
    let stream = async {
        let mut findings = vec![check_stream(endpoints, &client, &tables.scans).await];
        if !findings[0].has_failed() {
            findings.push(check_reading(endpoints, &client, &tables.scans).await);
        }
        findings
    };
    let history = async {
        let mut findings = check_table_and_permissions(endpoints, &client, SideTable::History, &tables.history).await;
        if !findings[0].has_failed() {
            findings.extend(check_losses(&client, &tables.history).await);
        }
        findings
    };
    let leases = check_table_and_permissions(endpoints, &client, SideTable::Leases, &tables.leases);
    let (stream, history, leases) = tokio::join!(stream, history, leases);
    [stream, history, leases].concat()
}

async fn connect(endpoints: &Endpoints, tables: &ChangesTables) -> Result<Client, SetupError> {
    let client = within(async { endpoints.dynamo().await }, Problem::Unreachable).await;
    client.map_err(|problem| setup_error::table(endpoints, &tables.scans, problem))
}

async fn check_stream(endpoints: &Endpoints, client: &Client, table: &str) -> Finding {
    let result = match within(dynamo::check_stream(client, table), Problem::Unreachable).await {
        Ok(StreamState::Ready) => CheckResult::Ok,
        Ok(StreamState::Missing) => CheckResult::Failed(setup_error::no_stream(table)),
        Err(Problem::Other(detail)) => CheckResult::Warning(format!("cannot check the stream: {detail}")),
        // The reader asks for the name of the stream in the same way.
        Err(problem) => CheckResult::Failed(setup_error::stream(endpoints, table, problem)),
    };
    Finding::new("stream", table, result)
}

async fn check_reading(endpoints: &Endpoints, client: &Client, table: &str) -> Finding {
    const ACTIONS: &str = "dynamodb:DescribeStream, dynamodb:GetShardIterator and dynamodb:GetRecords";
    let look = async {
        let streams = dynamo::connect_streams(endpoints.dynamo.as_deref()).await?;
        dynamo::check_stream_permissions(client, &streams, table).await
    };
    let result = match within(look, Problem::Unreachable).await {
        Ok(()) => CheckResult::Ok,
        Err(Problem::Refused(detail)) => CheckResult::Failed(setup_error::no_reading(table, ACTIONS, &detail)),
        Err(problem) => CheckResult::Unknown(problem.to_string()),
    };
    Finding::new("permission", ACTIONS, result)
}

/// Returns the findings of what the history lacks: gaps, and records that nobody could handle.
async fn check_losses(client: &Client, name: &str) -> [Finding; 2] {
    let history = HistoryTable::new(client.clone(), name.to_owned());
    let gaps = async { history.open_gaps().await.map_err(|error| Problem::Other(error.detail)) };
    let dead = async { history.dead_letters(None).await.map_err(|error| Problem::Other(error.detail)) };
    let (gaps, dead) = tokio::join!(within(gaps, Problem::Unreachable), within(dead, Problem::Unreachable));
    let gaps = match gaps {
        Ok(0) => CheckResult::Ok,
        Ok(gaps) => CheckResult::Warning(format!(
            "changes are missing, gaps: {gaps}. Run `mini-scan changes backfill` once the reader has caught up"
        )),
        Err(problem) => CheckResult::Unknown(problem.to_string()),
    };
    let dead = match dead {
        Ok(page) if page.dead_letters.is_empty() && page.next.is_none() => CheckResult::Ok,
        Ok(page) => {
            let more = if page.next.is_some() { "at least " } else { "" };
            let count = page.dead_letters.len();
            CheckResult::Warning(format!(
                "changes that could not be handled: {more}{count}. List them: mini-scan changes dead list"
            ))
        }
        Err(problem) => CheckResult::Unknown(problem.to_string()),
    };
    [Finding::new("gaps", name, gaps), Finding::new("dead letters", name, dead)]
}
