//! The checks of a table beside that of the scans: its key, its index, its expiry and the permissions.

use super::checks::within;
use super::finding::{CheckResult, Finding};
use super::{Endpoints, setup_error};
use crate::dynamo::{self, Client, Permission, Problem, SideTable};

/// Returns the finding of the table and, if its items should expire, that of its expiry.
pub(super) async fn check_table(endpoints: &Endpoints, client: &Client, kind: SideTable, name: &str) -> Vec<Finding> {
    let (result, expires) = match within(dynamo::check_table(client, kind.spec(), name), Problem::Unreachable).await {
        Ok(expires) => (CheckResult::Ok, Some(expires)),
        // Writing needs no permission to describe the table.
        Err(Problem::Refused(_)) => (CheckResult::Unknown("this identity may not describe it".into()), None),
        Err(Problem::Other(detail)) => (CheckResult::Warning(format!("cannot check the table: {detail}")), None),
        Err(problem) => (CheckResult::Failed(setup_error::side_table(endpoints, kind, name, problem)), None),
    };
    let mut findings = vec![Finding::new(setup_error::name_of(kind), name, result)];
    if let Some(expires) = expires.filter(|_| kind.spec().expires) {
        let never = || format!("the table never deletes items. Enable expiry: {}", setup_error::command_of(kind));
        let result = if expires { CheckResult::Ok } else { CheckResult::Warning(never()) };
        findings.push(Finding::new("expiry", name, result));
    }
    findings
}

/// Returns the findings of the table and of each permission on it.
pub(super) async fn check_table_and_permissions(
    endpoints: &Endpoints,
    client: &Client,
    kind: SideTable,
    name: &str,
) -> Vec<Finding> {
    let mut findings = check_table(endpoints, client, kind, name).await;
    if findings[0].has_failed() {
        return findings;
    }
    for permission in kind.permissions() {
        let lacks = |detail: &str| CheckResult::Failed(setup_error::no_permission_on(kind, name, *permission, detail));
        findings.push(check_permission(client, kind, name, *permission, lacks).await);
    }
    for permission in kind.permissions_of_commands() {
        let lacks = |detail: &str| {
            CheckResult::Note(format!(
                "this identity lacks it; only `mini-scan webhooks` and the API need it: {detail}"
            ))
        };
        findings.push(check_permission(client, kind, name, *permission, lacks).await);
    }
    findings
}

async fn check_permission(
    client: &Client,
    kind: SideTable,
    name: &str,
    permission: Permission,
    lacks: impl Fn(&str) -> CheckResult,
) -> Finding {
    let ask = dynamo::check_permission(client, kind.spec(), name, permission);
    let result = match within(ask, Problem::Unreachable).await {
        Ok(()) => CheckResult::Ok,
        Err(Problem::Refused(detail)) => lacks(&detail),
        Err(problem) => CheckResult::Unknown(problem.to_string()),
    };
    let name = match permission.index(kind.spec()) {
        Some(index) => format!("{} on index {index} of {name}", permission.action()),
        None => format!("{} on {name}", permission.action()),
    };
    Finding::new("permission", name, result)
}
