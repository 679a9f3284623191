//! `widget-registry check`: checks the tables, the stream and permissions, and changes nothing.

use std::fmt;

use dynamodb::{Client, Permission, Problem, check_permission, check_stream_permissions};
use ops::console::{Console, Outcome, ToolError};
use serde_json::json;

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

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    name: String,
    result: Checked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Checked {
    Ok,
    /// It could not be asked for.
    Unknown(String),
    /// The API works with it.
    Warning(String),
    /// The API does not work with it.
    Failed(String),
}

impl Finding {
    fn new(what: &'static str, name: &str, result: Checked) -> Finding {
        Finding { what, name: name.to_owned(), result }
    }

    fn word(&self) -> &'static str {
        match self.result {
            Checked::Ok => "ok",
            Checked::Unknown(_) => "unknown",
            Checked::Warning(_) => "warning",
            Checked::Failed(_) => "failed",
        }
    }

    /// Returns why it is not ok, on one line.
    fn detail(&self) -> Option<String> {
        match &self.result {
            Checked::Ok => None,
            Checked::Unknown(detail) | Checked::Warning(detail) | Checked::Failed(detail) => {
                let sentences: Vec<_> = detail.lines().map(|line| line.trim_end_matches('.')).collect();
                Some(sentences.join(". "))
            }
        }
    }

    fn json(&self) -> String {
        json!({ "check": self.what, "name": self.name, "result": self.word(), "detail": self.detail() }).to_string()
    }
}

/// One line: result, what was checked, and its name or what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { what, name, .. } = self;
        write!(f, "{:<7}  {what:<10}  {name}", self.word())?;
        self.detail().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// Prints every finding. A check that failed is a failure of the command.
pub async fn run(task: &Check, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let mut has_failed = false;
    for kind in Kind::ALL {
        for finding in table(task, kind).await {
            let line = if task.json { finding.json() } else { finding.to_string() };
            console.print(format!("{line}\n"))?;
            has_failed |= matches!(finding.result, Checked::Failed(_));
        }
    }
    Ok(if has_failed { Outcome::Failed } else { Outcome::Done })
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
    let result = match check_permission(client, kind.spec(), table, permission).await {
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
