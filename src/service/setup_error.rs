//! The texts of wrong settings: what failed, why, and what to do, in one to three lines.

use std::io;

use super::{ChangesTables, Config, Endpoints};
use crate::dynamo::{Permission, SideTable};
use crate::hosts::Index;
use crate::{dynamo, pubsub};

/// A setting that does not fit what is there, in one to three lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

impl SetupError {
    /// Returns the error for a stdout or stderr that cannot be written.
    pub(crate) fn cannot_write(error: io::Error) -> SetupError {
        SetupError(format!("cannot write the output: {error}"))
    }
}

pub(super) fn subscription(config: &Config, problem: &pubsub::Problem) -> SetupError {
    let thing = format!("subscription {} (--subscription, --project)", config.subscription);
    of_pubsub(config, &thing, problem)
}

pub(super) fn unusable_subscription(config: &Config, why: &str) -> SetupError {
    SetupError(format!(
        "subscription {} (--subscription, --project) cannot be read: {why}.\n\
         Choose another one with --subscription. To create one: mini-scan setup pubsub --topic TOPIC --subscription NAME",
        config.subscription
    ))
}

pub(super) fn dead_letter_topic(config: &Config, topic: &str, problem: &pubsub::Problem) -> SetupError {
    of_pubsub(config, &format!("dead-letter topic {topic} (--dead-letter-topic)"), problem)
}

pub(super) fn no_dead_letter_subscription(config: &Config, topic: &str) -> SetupError {
    SetupError(format!(
        "dead-letter topic {topic} (--dead-letter-topic) has no subscription, so every dead letter would be lost.\n\
         Create one: {}",
        setup_command(config)
    ))
}

pub(super) fn no_permission(permission: &str, grant: &str) -> SetupError {
    SetupError(format!("this identity lacks the permission {permission}.\nGrant it: {grant}"))
}

pub(super) fn no_write(table: &str, detail: &str) -> SetupError {
    SetupError(format!(
        "this identity may not write to table {table} (--table): {detail}\nGrant it dynamodb:PutItem on the table."
    ))
}

fn of_pubsub(config: &Config, thing: &str, problem: &pubsub::Problem) -> SetupError {
    SetupError(match problem {
        pubsub::Problem::NotFound => format!("{thing} does not exist.\nCreate it: {}", setup_command(config)),
        problem => format!("{thing} cannot be read: {problem}\n{}", pubsub_advice(&config.endpoints, problem)),
    })
}

/// Returns the command that creates what this consumer reads and publishes to.
fn setup_command(config: &Config) -> String {
    let project = config.subscription.split('/').nth(1).unwrap_or("PROJECT");
    // Names of the same project are ids there.
    let short = |name: &str| match name.split('/').collect::<Vec<_>>()[..] {
        ["projects", of, _, id] if of == project => id.to_owned(),
        _ => name.to_owned(),
    };
    let subscription = short(&config.subscription);
    let dead_letters = config.dead_letter_topic.as_ref().map(|topic| format!(" --dead-letter-topic {}", short(topic)));
    format!(
        "mini-scan setup pubsub --project {project} --topic TOPIC --subscription {subscription}{}",
        dead_letters.unwrap_or_default()
    )
}

/// Returns what to do about a problem with Pub/Sub as a whole.
pub(crate) fn pubsub_advice(endpoints: &Endpoints, problem: &pubsub::Problem) -> String {
    match (problem, &endpoints.pubsub) {
        (pubsub::Problem::NoCredentials(_), _) => {
            "Run `gcloud auth application-default login`, or set PUBSUB_EMULATOR_HOST for a local server.".to_owned()
        }
        (pubsub::Problem::Unreachable(_), Some(host)) => format!(
            "PUBSUB_EMULATOR_HOST={host} (or --pubsub-emulator-host) chose the server. Start one there with \
             `mini-scan local pubsub`, or unset it."
        ),
        (pubsub::Problem::Unreachable(_), None) => "Check the network, and the credentials with \
             `gcloud auth application-default print-access-token`. For a local server set PUBSUB_EMULATOR_HOST."
            .to_owned(),
        (pubsub::Problem::Refused(_), _) => "Grant this identity roles/pubsub.editor on the project: \
             gcloud projects add-iam-policy-binding PROJECT --role=roles/pubsub.editor --member=IDENTITY"
            .to_owned(),
        _ => "Compare the names with `gcloud pubsub topics list` and `gcloud pubsub subscriptions list`.".to_owned(),
    }
}

pub(crate) fn table(endpoints: &Endpoints, table: &str, problem: dynamo::Problem) -> SetupError {
    Resource {
        thing: format!("table {table} (--table)"),
        name: table,
        cannot: "cannot store scans",
        another: "Choose another table with --table, or create one: mini-scan setup table --table NAME".to_owned(),
        create: format!("mini-scan setup table --table {table}"),
    }
    .error(endpoints, problem)
}

/// The command that creates what `mini-scan changes` needs.
pub(super) const SETUP_CHANGES: &str = "mini-scan setup changes";

/// Returns what a table is called.
pub(super) fn name_of(kind: SideTable) -> &'static str {
    match kind {
        SideTable::History => "history table",
        SideTable::Leases => "lease table",
        SideTable::Subscriptions => "webhooks table",
        SideTable::Deliveries => "deliveries table",
    }
}

/// Returns the command that creates a table.
pub(super) fn command_of(kind: SideTable) -> &'static str {
    match kind {
        SideTable::History | SideTable::Leases => SETUP_CHANGES,
        SideTable::Subscriptions | SideTable::Deliveries => "mini-scan setup webhooks",
    }
}

pub(super) fn side_table(endpoints: &Endpoints, kind: SideTable, table: &str, problem: dynamo::Problem) -> SetupError {
    let (flag, cannot) = match kind {
        SideTable::History => ("--history-table", "cannot store the history"),
        SideTable::Leases => ("--lease-table", "cannot store leases"),
        SideTable::Subscriptions => ("--webhooks-table", "cannot store subscriptions"),
        SideTable::Deliveries => ("--deliveries-table", "cannot store deliveries"),
    };
    let (what, command) = (name_of(kind), command_of(kind));
    Resource {
        thing: format!("{what} {table} ({flag})"),
        name: table,
        cannot,
        another: format!("Choose another table with {flag}, or create one: {command} {flag} NAME"),
        create: format!("{command} {flag} {table}"),
    }
    .error(endpoints, problem)
}

pub(crate) fn history_table(endpoints: &Endpoints, table: &str, problem: dynamo::Problem) -> SetupError {
    side_table(endpoints, SideTable::History, table, problem)
}

/// A problem with the stream of the table of scans, or with the table itself.
pub(super) fn stream(endpoints: &Endpoints, table: &str, problem: dynamo::Problem) -> SetupError {
    match problem {
        dynamo::Problem::DoesNotFit(why) => SetupError(format!(
            "changes of table {table} (--table) cannot be read: {why}.\nThe content of a stream is fixed. To replace the \
             stream, stop its readers, disable it, and run `{SETUP_CHANGES} --table {table}`: aws dynamodb update-table \
             --table-name {table} --stream-specification StreamEnabled=false"
        )),
        dynamo::Problem::Refused(detail) => SetupError(format!(
            "changes of table {table} (--table) cannot be read: permission denied: {detail}\nGrant this identity \
             dynamodb:DescribeTable on it, and for setup dynamodb:UpdateTable."
        )),
        problem => self::table(endpoints, table, problem),
    }
}

/// The history table is that of another table.
pub(super) fn another_history(tables: &ChangesTables, owner: &str) -> SetupError {
    let ChangesTables { scans, history, .. } = tables;
    SetupError(format!(
        "history table {history} (--history-table) is the history of table {owner}, and not of {scans} (--table).\n\
         Choose another history table, or create one: {SETUP_CHANGES} --history-table NAME"
    ))
}

pub(super) fn no_history(table: &str, detail: &str) -> SetupError {
    SetupError(format!(
        "history table {table} (--history-table) cannot be written: {detail}\n\
         To find out what is missing: mini-scan check changes"
    ))
}

pub(super) fn no_stream(table: &str) -> SetupError {
    SetupError(format!(
        "changes of table {table} (--table) cannot be read: it has no stream.\nEnable one: {SETUP_CHANGES} --table {table}"
    ))
}

pub(super) fn no_reading(table: &str, actions: &str, detail: &str) -> SetupError {
    SetupError(format!(
        "this identity may not read the stream of table {table} (--table): {detail}\nGrant it {actions} on the stream."
    ))
}

pub(super) fn no_permission_on(kind: SideTable, table: &str, permission: Permission, detail: &str) -> SetupError {
    let action = permission.action();
    let (resource, what) = match permission.index(kind.spec()) {
        Some(index) => (format!("index {index} of table {table}"), "index"),
        None => (format!("table {table}"), "table"),
    };
    SetupError(format!("this identity lacks {action} on {resource}: {detail}\nGrant it {action} on the {what}."))
}

/// A table, as its errors describe it.
struct Resource<'a> {
    /// What it is, its name and its flag.
    thing: String,
    name: &'a str,
    /// What it cannot do if it does not fit.
    cannot: &'static str,
    another: String,
    /// The command that creates it.
    create: String,
}

impl Resource<'_> {
    fn error(&self, endpoints: &Endpoints, problem: dynamo::Problem) -> SetupError {
        let Resource { thing, name, cannot, another, create } = self;
        let endpoint = match &endpoints.dynamo {
            Some(url) => format!(" at {url} (AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL or --endpoint-url)"),
            None => String::new(),
        };
        SetupError(match problem {
            dynamo::Problem::NotFound => format!("{thing} does not exist{endpoint}.\nCreate it: {create}"),
            dynamo::Problem::DoesNotFit(why) => format!("{thing}{endpoint} {cannot}: {why}.\n{another}"),
            dynamo::Problem::NoRegion => {
                format!("no AWS region is set, so {thing} cannot be found.\nSet one, e.g. export AWS_REGION=us-east-1")
            }
            problem @ dynamo::Problem::NoCredentials(_) => format!(
                "{thing} cannot be read: {problem}\nRun `aws sso login` or `aws configure`, or choose a profile with \
                 AWS_PROFILE. For a local server set AWS_ENDPOINT_URL_DYNAMODB=http://localhost:8000"
            ),
            dynamo::Problem::Refused(detail) => format!(
                "{thing} cannot be set up: permission denied: {detail}\nGrant this identity \
                 dynamodb:CreateTable, DescribeTable, DescribeTimeToLive and UpdateTimeToLive on it."
            ),
            problem @ dynamo::Problem::Unreachable(_) if endpoints.dynamo.is_some() => format!(
                "{thing} cannot be read{endpoint}: {problem}\n\
                 Start a server there with `mini-scan local dynamo`, or choose another one."
            ),
            problem => format!(
                "{thing} cannot be read: {problem}\n\
                 Check AWS_REGION and the network: aws dynamodb describe-table --table-name {name}"
            ),
        })
    }
}

pub(super) fn index(endpoints: &Endpoints, table_name: &str, index: Index, problem: dynamo::Problem) -> SetupError {
    let without = match index {
        Index::ByIp => "leave the index out with --no-host-index",
        Index::ByService => "leave out --service-index",
    };
    let name = index.name();
    match problem {
        dynamo::Problem::Refused(detail) => SetupError(format!(
            "index {name} of table {table_name} (--table) cannot be added: permission denied: {detail}\n\
             Grant this identity dynamodb:UpdateTable on the table, or {without}."
        )),
        dynamo::Problem::Other(detail) => SetupError(format!(
            "index {name} of table {table_name} (--table) cannot be added: {detail}\nRun setup again, or {without}."
        )),
        problem => table(endpoints, table_name, problem),
    }
}
