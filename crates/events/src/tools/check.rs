//! `event-pipeline check`: checks queues, tables, the stream and permissions, and changes nothing.

use std::time::Duration;

use dynamodb::{Permission, check_permission, check_stream_permissions};
use ops::findings::{Checked, Finding, report};
use serde_json::{Value, json};

use super::queue::Which;
use super::roles::{Role, needed};
use super::setup::ATTRIBUTES_BYTES;
use super::tables::{Kind, connect};
use super::{Console, Outcome, ToolError};
use crate::buckets;
use crate::names::{Endpoints, Queues, Tables};
use crate::observe::PROGRAM;
use crate::queues::{Problem, Settings, Sqs};
use crate::tools::setup::DEAD_LETTER_RETENTION;

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub endpoints: Endpoints,
    pub queues: Queues,
    pub tables: Tables,
    /// Who the identity of this command is.
    pub roles: Vec<Role>,
    pub json: bool,
}

/// Prints every finding. A check that failed is a failure of the command.
pub async fn run(task: &Check, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let mut findings = queues(task).await;
    findings.extend(tables(task).await);
    report(&findings, task.json, console)
}

async fn queues(task: &Check) -> Vec<Finding> {
    let dead = settings(task, Which::EventsDlq).await;
    let events = settings(task, Which::Events).await;
    let deliver = settings(task, Which::DeliverDlq).await;
    let mut findings = Vec::new();
    for (which, found) in [(Which::Events, &events), (Which::EventsDlq, &dead), (Which::DeliverDlq, &deliver)] {
        if !task.roles.iter().any(|role| role.uses(which)) {
            continue;
        }
        let name = which.named(&task.queues).name;
        match found {
            // Sending to a queue needs no permission to read its settings.
            Err(Unread::Settings(problem @ Problem::Refused(_))) => {
                findings.push(Finding::new("queue", name, Checked::Unknown(problem.to_string())));
            }
            Err(Unread::Settings(problem) | Unread::Queue(problem)) => {
                let error = which.named(&task.queues).error(&task.endpoints, problem);
                findings.push(Finding::new("queue", name, Checked::Failed(error.0)));
            }
            Ok(settings) => {
                let mut warnings = warnings(settings, which, dead.as_ref().ok(), events.as_ref().ok());
                let first = if warnings.is_empty() { Checked::Ok } else { warnings.remove(0) };
                findings.push(Finding::new("queue", name, first));
                findings.extend(warnings.into_iter().map(|warning| Finding::new("queue", name, warning)));
            }
        }
    }
    if findings.iter().all(|finding| !matches!(finding.result, Checked::Failed(_))) {
        let detail = "sending, receiving and deleting cannot be asked for without a change".to_owned();
        findings.push(Finding::new("permission", "sqs", Checked::Unknown(detail)));
    }
    findings
}

/// Why the settings of a queue are unknown.
enum Unread {
    /// The queue was not found.
    Queue(Problem),
    Settings(Problem),
}

async fn settings(task: &Check, which: Which) -> Result<Settings, Unread> {
    let name = which.named(&task.queues).name;
    let found = async { Sqs::connect(task.endpoints.sqs.as_deref()).await?.find(name).await };
    let queue = found.await.map_err(Unread::Queue)?;
    queue.settings().await.map_err(Unread::Settings)
}

/// Returns what should not be so.
fn warnings(
    settings: &Settings,
    which: Which,
    events_dead: Option<&Settings>,
    events: Option<&Settings>,
) -> Vec<Checked> {
    let mut warnings = Vec::new();
    match (which, &settings.redrive) {
        (Which::Events, None) => warnings.push(Checked::Warning(
            "it has no redrive policy, so a message that cannot be processed stays until it expires.\n\
             Set one: event-pipeline setup"
                .to_owned(),
        )),
        (Which::Events, Some(redrive)) if events_dead.is_some_and(|dead| dead.arn != redrive.target) => {
            let text = format!("it moves messages to {}, which --dead-letter-queue does not name", redrive.target);
            warnings.push(Checked::Warning(text));
        }
        (Which::EventsDlq | Which::DeliverDlq, Some(redrive)) => {
            warnings.push(Checked::Warning(format!("it moves dead letters on to {}", redrive.target)));
        }
        _ => {}
    }
    let source = events.filter(|_| which != Which::Events).and_then(|events| events.retention);
    let is_short = |(source, kept): (Duration, Duration)| kept <= source && kept < DEAD_LETTER_RETENTION;
    if source.zip(settings.retention).is_some_and(is_short) {
        let text = "it keeps messages no longer than the queue of events, and SQS counts from the first send.\n\
                    Set MessageRetentionPeriod to 1209600";
        warnings.push(Checked::Warning(text.to_owned()));
    }
    if which == Which::Events
        && events_dead.is_some_and(|dead| {
            settings
                .max_bytes
                .zip(dead.max_bytes)
                .is_some_and(|(own, dead)| own + ATTRIBUTES_BYTES.min(dead / 2) > dead)
        })
    {
        let text = "it accepts messages that do not fit into its dead-letter queue with their attributes.\n\
                    Lower its MaximumMessageSize";
        warnings.push(Checked::Warning(text.to_owned()));
    }
    if !settings.is_encrypted {
        warnings.push(Checked::Warning("it is not encrypted at rest. Set SqsManagedSseEnabled to true".to_owned()));
    }
    if settings.policy.as_deref().is_some_and(allows_everyone) {
        let text = "its policy allows everyone without a condition. Name the principals that may send";
        warnings.push(Checked::Warning(text.to_owned()));
    }
    warnings
}

/// Returns whether a statement of a policy allows all principals without a condition.
fn allows_everyone(policy: &str) -> bool {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.clone(),
        one => vec![one.clone()],
    };
    let is_everyone = |principal: &Value| match principal {
        Value::Object(kinds) => {
            kinds.values().any(|who| who == "*" || who.as_array().is_some_and(|all| all.contains(&json!("*"))))
        }
        who => who == "*",
    };
    let allows = |statement: &Value| {
        statement["Effect"] == "Allow" && is_everyone(&statement["Principal"]) && statement["Condition"].is_null()
    };
    statements.iter().any(allows)
}

async fn tables(task: &Check) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        let Some(needed) = needed(&task.roles, kind) else { continue };
        let named = kind.named(&task.tables);
        let failed = |problem: &dynamodb::Problem| Checked::Failed(named.error(&task.endpoints, problem).0);
        let client = match connect(&task.endpoints).await {
            Ok(client) => client,
            Err(problem) => {
                findings.push(Finding::new("table", named.name, failed(&problem)));
                continue;
            }
        };
        let result = match dynamodb::check_table(&client, kind.spec(), named.name).await {
            Ok(true) => Checked::Ok,
            Ok(false) => {
                Checked::Warning("its items do not expire by expires_at. Enable it: event-pipeline setup".to_owned())
            }
            Err(problem) => failed(&problem),
        };
        let is_missing = matches!(result, Checked::Failed(_));
        findings.push(Finding::new("table", named.name, result));
        if is_missing {
            continue;
        }
        for (permission, roles) in needed {
            findings.push(of_permission(&client, kind, named.name, (permission, &roles)).await);
        }
        match kind {
            Kind::Events if task.roles.iter().any(|role| role.reads_stream()) => {
                findings.push(stream(task, &client).await);
            }
            Kind::Routes => findings.extend(buckets_of(task, &client).await),
            Kind::Events | Kind::Deliveries | Kind::Leases => {}
        }
    }
    findings
}

async fn of_permission(
    client: &dynamodb::Client,
    kind: Kind,
    table: &str,
    (permission, roles): (Permission, &[Role]),
) -> Finding {
    let action = permission.action();
    let result = match check_permission(client, kind.spec(), table, permission).await {
        Ok(()) => Checked::Ok,
        Err(dynamodb::Problem::Refused(detail)) => {
            let index = permission.index(kind.spec()).map(|index| format!("index {index} of ")).unwrap_or_default();
            let roles: Vec<_> = roles.iter().map(ToString::to_string).collect();
            let roles = roles.join(", ");
            Checked::Failed(format!("this identity lacks it: {detail}\nGrant it on {index}table {table} to {roles}"))
        }
        Err(problem) => Checked::Unknown(problem.to_string()),
    };
    Finding::new("permission", &format!("{action} on {table}"), result)
}

async fn stream(task: &Check, client: &dynamodb::Client) -> Finding {
    let table = &task.tables.events;
    let result = async {
        let streams = dynamodb::connect_streams(task.endpoints.dynamo.as_deref(), PROGRAM.name).await?;
        check_stream_permissions(client, &streams, table).await
    };
    let result = match result.await {
        Ok(()) => Checked::Ok,
        Err(dynamodb::Problem::Refused(detail)) => Checked::Failed(format!(
            "this identity may not read it: {detail}\n\
             Grant dynamodb:DescribeStream, GetShardIterator and GetRecords to deliverer"
        )),
        Err(problem) => Checked::Failed(problem.to_string()),
    };
    Finding::new("stream", table, result)
}

/// Returns a finding if the number of buckets cannot be read.
async fn buckets_of(task: &Check, client: &dynamodb::Client) -> Option<Finding> {
    let table = &task.tables.routes;
    let problem = buckets::read(client, table).await.err()?;
    Some(Finding::new("buckets", table, Checked::Failed(problem.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_statement_without_a_condition_allows_everyone() {
        let policy = |principal: Value, condition: Value| {
            json!({ "Statement": [{ "Effect": "Allow", "Principal": principal, "Condition": condition }] }).to_string()
        };
        assert!(allows_everyone(&policy(json!("*"), Value::Null)));
        assert!(allows_everyone(&policy(json!({ "AWS": ["*"] }), Value::Null)));
        assert!(!allows_everyone(&policy(json!("*"), json!({ "ArnEquals": {} }))));
        assert!(!allows_everyone(&policy(json!({ "AWS": "arn:aws:iam::1:root" }), Value::Null)));
        assert!(!allows_everyone("") && !allows_everyone("{}"));
    }
}
