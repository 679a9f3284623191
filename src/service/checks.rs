//! The checks before the first message, and those of `mini-scan check`. Each failure names the wrong setting and what to do.
//!
//! They need no permissions beyond those that running needs. What they may not read, the first use shows.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::finding::{CheckResult, Finding};
use super::{Config, SetupError, setup_error, subscription};
use crate::consumer::settings::WriteMode;
use crate::dynamo::IndexState;
use crate::hosts::Index;
use crate::pubsub::{Admin, CONSUME, grant_publisher, grant_subscriber, has_permission};
use crate::{dynamo, pubsub};

/// One check takes at most this long. They run at once, so together they stay below 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const PUBLISH: &str = "pubsub.topics.publish";
const PUT: &str = "dynamodb:PutItem";

/// Checks what the consumer needs at its start: warns of what it can run with, and returns the first failure.
pub async fn check(config: &Config) -> Result<(), SetupError> {
    let pubsub = async {
        let (subscription, dead_letters) = tokio::join!(check_subscription(config), check_dead_letters(config));
        report([subscription, dead_letters].concat())
    };
    let table = async { report(vec![check_table(config).await.0]) };
    tokio::try_join!(biased; pubsub, table).map(|_| ())
}

pub(super) fn report(findings: Vec<Finding>) -> Result<(), SetupError> {
    for Finding { what, name, result } in findings {
        match result {
            CheckResult::Ok | CheckResult::Unknown(_) | CheckResult::Note(_) => {}
            CheckResult::Warning(detail) => warn!(check = what, name, "{detail}"),
            CheckResult::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

/// Checks the same and the permissions, and returns every finding.
pub async fn check_all(config: &Config) -> Vec<Finding> {
    let subscription = async {
        let mut findings = check_subscription(config).await;
        if !findings.iter().any(Finding::has_failed) {
            let name = &config.subscription;
            findings.insert(1, check_permission(config, name, CONSUME, &grant_subscriber(name)).await);
        }
        findings
    };
    let dead_letters = async {
        let mut findings = check_dead_letters(config).await;
        if let Some(topic) = &config.dead_letter_topic
            && !findings[0].has_failed()
        {
            findings.insert(1, check_permission(config, topic, PUBLISH, &grant_publisher(topic)).await);
        }
        findings
    };
    let table = async {
        let (found, index) = check_table(config).await;
        let permission = if found.has_failed() { None } else { Some(check_write(config).await) };
        [found].into_iter().chain(index).chain(permission).collect()
    };
    <[Vec<Finding>; 3]>::from(tokio::join!(subscription, dead_letters, table)).concat()
}

async fn check_subscription(config: &Config) -> Vec<Finding> {
    let name = &config.subscription;
    let look = async { Admin::connect(&config.endpoints.pubsub()).await?.subscription(name).await };
    let found = within(look, pubsub::Problem::Unreachable).await;
    let has_retry_policy = found.as_ref().ok().map(|found| found.minimum_backoff.is_some());
    let result = match found {
        Ok(found) if found.topic.is_none() => {
            CheckResult::Warning("the topic of the subscription was deleted, so no message comes".into())
        }
        Ok(found) => match subscription::unusable(&found) {
            Some(why) => CheckResult::Failed(setup_error::unusable_subscription(config, &why)),
            None => CheckResult::Ok,
        },
        // `roles/pubsub.subscriber` does not include it. The stream's first answer shows whether it may be read.
        Err(pubsub::Problem::Refused(_)) => CheckResult::Unknown("this identity may not view it".into()),
        // A quota or a fault of the service: no setting is wrong.
        Err(pubsub::Problem::Transient(detail)) => CheckResult::Warning(format!(
            "cannot check the subscription: {detail}. The stream shows whether it can be read"
        )),
        Err(problem) => CheckResult::Failed(setup_error::subscription(config, &problem)),
    };
    let mut findings = vec![Finding::new("subscription", name, result)];
    if config.dead_letter_topic.is_none() && has_retry_policy == Some(false) {
        let advice = format!(
            "without a retry policy, Pub/Sub redelivers rejected messages at once. Set one: \
             gcloud pubsub subscriptions update {name} --min-retry-delay=10s --max-retry-delay=600s"
        );
        findings.push(Finding::new("retry policy", name, CheckResult::Warning(advice)));
    }
    findings
}

async fn check_dead_letters(config: &Config) -> Vec<Finding> {
    let Some(topic) = &config.dead_letter_topic else {
        let advice = "without a dead-letter topic, Pub/Sub redelivers rejected messages again and again. Set \
                      --dead-letter-topic scan-dead-letter (`mini-scan setup pubsub` creates it)";
        return vec![Finding::new("dead-letter topic", "none", CheckResult::Warning(advice.into()))];
    };
    let look = async {
        let admin = Admin::connect(&config.endpoints.pubsub()).await?;
        tokio::try_join!(admin.topic(topic), async { Ok(admin.has_subscription(topic).await) })
    };
    let (found, subscription) = match within(look, pubsub::Problem::Unreachable).await {
        Ok(((), has_subscription)) => (CheckResult::Ok, dead_letter_subscription(config, topic, has_subscription)),
        // `roles/pubsub.publisher` does not include it. The first dead letter shows whether it may be published.
        Err(problem @ pubsub::Problem::Refused(_)) => (
            CheckResult::Unknown("this identity may not view it".into()),
            dead_letter_subscription(config, topic, Err(problem)),
        ),
        Err(problem @ pubsub::Problem::Transient(_)) => (
            CheckResult::Warning(format!(
                "cannot check the dead-letter topic: {problem}. The first dead letter shows whether it exists"
            )),
            dead_letter_subscription(config, topic, Err(problem)),
        ),
        Err(problem) => {
            let failed = CheckResult::Failed(setup_error::dead_letter_topic(config, topic, &problem));
            return vec![Finding::new("dead-letter topic", topic, failed)];
        }
    };
    vec![
        Finding::new("dead-letter topic", topic, found),
        Finding::new("dead-letter subscription", format!("on {topic}"), subscription),
    ]
}

/// A topic keeps nothing, so without a subscription dead letters are lost.
fn dead_letter_subscription(
    config: &Config,
    topic: &str,
    has_subscription: Result<bool, pubsub::Problem>,
) -> CheckResult {
    match has_subscription {
        Ok(true) => CheckResult::Ok,
        Ok(false) => CheckResult::Failed(setup_error::no_dead_letter_subscription(config, topic)),
        Err(problem) => CheckResult::Warning(format!(
            "cannot check that the dead-letter topic has a subscription: {problem}. Without one, dead letters are \
             lost. Look for it: gcloud pubsub topics list-subscriptions {topic}"
        )),
    }
}

/// Returns what was found of the table, and of its index if the table can be described.
async fn check_table(config: &Config) -> (Finding, Option<Finding>) {
    let table = &config.table;
    let look = async { dynamo::check(&config.endpoints.dynamo().await?, table).await };
    let (result, index) = match within(look, dynamo::Problem::Unreachable).await {
        Ok(index) => (CheckResult::Ok, Some(host_index(table, index))),
        // Writing needs no permission to describe the table. The first write shows whether it may be written.
        Err(dynamo::Problem::Refused(_)) => (CheckResult::Unknown("this identity may not describe it".into()), None),
        // Throttled, e.g. when many instances start at once, or a fault of the service: no setting is wrong.
        Err(dynamo::Problem::Other(detail)) => {
            let detail = format!("cannot check the table: {detail}. The first write shows whether it fits");
            (CheckResult::Warning(detail), None)
        }
        Err(problem) => (CheckResult::Failed(setup_error::table(&config.endpoints, table, problem)), None),
    };
    (Finding::new("table", table, result), index)
}

/// The consumer runs without the index, so nothing about it is a failure.
fn host_index(table: &str, state: IndexState) -> Finding {
    let result = match state {
        IndexState::Ready => CheckResult::Ok,
        IndexState::Missing => CheckResult::Note(format!(
            "it does not exist. The consumer does not need it; reads of a host do. Add it: mini-scan setup table --table \
             {table}"
        )),
        IndexState::Building => CheckResult::Note("DynamoDB is building it; reads of a host need it".into()),
        IndexState::Deleting => CheckResult::Note("DynamoDB is deleting it; reads of a host need it".into()),
        IndexState::Unusable(why) | IndexState::Costly(why) => CheckResult::Warning(why),
    };
    Finding::new("index", Index::ByIp.name(), result)
}

async fn check_permission(config: &Config, resource: &str, permission: &str, grant: &str) -> Finding {
    let ask = async { has_permission(&config.endpoints.pubsub(), resource, permission).await };
    let result = match within(ask, pubsub::Problem::Unreachable).await {
        Ok(true) => CheckResult::Ok,
        Ok(false) => CheckResult::Failed(setup_error::no_permission(permission, grant)),
        // Local servers know no permissions.
        Err(_) if config.endpoints.pubsub.is_some() => CheckResult::Unknown("local servers know no permissions".into()),
        Err(problem) => CheckResult::Unknown(problem.to_string()),
    };
    Finding::new("permission", permission, result)
}

async fn check_write(config: &Config) -> Finding {
    if config.write_mode != WriteMode::Put {
        let unknown = CheckResult::Unknown("they cannot be checked without a write".into());
        return Finding::new("permission", "dynamodb:PartiQLInsert and PartiQLUpdate", unknown);
    }
    let write = async { dynamo::check_write(&config.endpoints.dynamo().await?, &config.table).await };
    let result = match within(write, dynamo::Problem::Unreachable).await {
        Ok(()) => CheckResult::Ok,
        Err(dynamo::Problem::Refused(detail)) => CheckResult::Failed(setup_error::no_write(&config.table, &detail)),
        Err(problem @ dynamo::Problem::NotFound) => {
            CheckResult::Failed(setup_error::table(&config.endpoints, &config.table, problem))
        }
        Err(problem) => CheckResult::Unknown(problem.to_string()),
    };
    Finding::new("permission", PUT, result)
}

/// Bounds one check.
pub(crate) async fn within<T, E>(look: impl Future<Output = Result<T, E>>, late: impl Fn(String) -> E) -> Result<T, E> {
    within_limit(ANSWER_WITHIN, look, late).await
}

/// Bounds a call to `limit`.
pub(super) async fn within_limit<T, E>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
    late: impl Fn(String) -> E,
) -> Result<T, E> {
    let no_answer = || Err(late(format!("no answer within {} s", limit.as_secs())));
    timeout(limit, call).await.unwrap_or_else(|_| no_answer())
}
