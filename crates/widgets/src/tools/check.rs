//! `widget-registry check`: checks the tables, the stream and permissions, and changes nothing.

use dynamodb::{Client, Permission, Problem, check_permission_in_transaction, check_stream_permissions};
use ops::console::{Console, Outcome, ToolError};
use ops::findings::{Checked, Finding, report};

use super::tables::{Kind, connect};
use crate::names::Tables;
use crate::observe::USER_AGENT;

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The server to use instead of Amazon's.
    pub endpoint: Option<String>,
    pub tables: Tables,
    pub json: bool,
}

/// Prints every finding. A check that failed is a failure of the command.
pub async fn run(task: &Check, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        findings.extend(table(task, kind).await);
    }
    report(&findings, task.json, console)
}

async fn table(task: &Check, kind: Kind) -> Vec<Finding> {
    let named = kind.named(&task.tables);
    let checked = async {
        let client = connect(task.endpoint.as_deref()).await?;
        let expires = dynamodb::check_table(&client, kind.spec(), named.name).await?;
        Ok((client, expires))
    };
    let (client, expires) = match checked.await {
        Ok(checked) => checked,
        Err(problem) => {
            let failed = Checked::Failed(named.error(task.endpoint.as_deref(), &problem).0);
            return vec![Finding::new("table", named.name, failed)];
        }
    };
    let result = match expires {
        true => Checked::Ok,
        false => Checked::Warning(
            "its items do not expire by expires_at, so it grows for ever. Enable it: widget-registry setup".to_owned(),
        ),
    };
    let mut findings = vec![Finding::new("table", named.name, result)];
    for permission in kind.permissions() {
        findings.push(of_permission(&client, kind, named.name, *permission).await);
    }
    if kind == Kind::Widgets {
        findings.push(stream(task, &client).await);
    }
    findings
}

async fn of_permission(client: &Client, kind: Kind, table: &str, permission: Permission) -> Finding {
    let action = permission.action();
    let result = match check_permission_in_transaction(client, kind.spec(), table, permission).await {
        Ok(()) => Checked::Ok,
        Err(Problem::Refused(detail)) => {
            Checked::Failed(format!("this identity lacks it: {detail}\nGrant it on table {table}"))
        }
        Err(problem) => Checked::Unknown(problem.to_string()),
    };
    Finding::new("permission", &format!("{action} on {table}"), result)
}

/// Only `widget-registry tail` reads the stream.
async fn stream(task: &Check, client: &Client) -> Finding {
    let table = &task.tables.widgets;
    let result = async {
        let streams = dynamodb::connect_streams(task.endpoint.as_deref(), USER_AGENT).await?;
        check_stream_permissions(client, &streams, table).await
    };
    let result = match result.await {
        Ok(()) => Checked::Ok,
        Err(problem) => Checked::Warning(format!(
            "`widget-registry tail` cannot read it: {problem}\n\
             Grant dynamodb:DescribeStream, GetShardIterator and GetRecords"
        )),
    };
    Finding::new("stream", table, result)
}
