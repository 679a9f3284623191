//! The checks before the first message: each wrong setting is named with what chose it and what to do next.
//!
//! They need no more than the roles that running needs: where looking is refused, the first use shows what is wrong.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::{Config, Endpoints};
use crate::{dynamo, pubsub};

/// How long one check may take, all at once: together they stay below 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A wrong setting, in one to three lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

/// Looks at the subscription, the dead-letter topic and the table.
pub async fn check(config: &Config) -> Result<(), SetupError> {
    let pubsub = async {
        let (subscription, topic) = tokio::join!(check_subscription(config), check_dead_letter_topic(config));
        subscription.and(topic)
    };
    tokio::try_join!(biased; pubsub, check_table(config)).map(|_| ())
}

async fn check_subscription(config: &Config) -> Result<(), SetupError> {
    // Connecting asks for credentials, which may take as long as an answer.
    let look =
        async { pubsub::Admin::connect(&config.endpoints.pubsub()).await?.subscription(&config.subscription).await };
    let found = within(look, pubsub::Problem::Unreachable).await;
    let spaced = match found {
        Ok(found) => Some(found.minimum_backoff.is_some()),
        // `roles/pubsub.subscriber` may not look; the stream's first answer shows whether it may read.
        Err(pubsub::Problem::Refused(_)) => None,
        Err(problem) => return Err(pubsub_wrong(config, Thing::Subscription(config), problem)),
    };
    if config.dead_letter_topic.is_none() {
        warn!(
            "no dead-letter topic is set: rejected messages are held a while and given back, again and again. \
             Set --dead-letter-topic scan-dead-letter (`mini-scan setup pubsub` creates it)"
        );
        if spaced == Some(false) {
            warn!(
                "subscription {0} has no retry policy, so rejected messages return at the server's pace. \
                 Set one: gcloud pubsub subscriptions update {0} --min-retry-delay=10s --max-retry-delay=600s",
                config.subscription
            );
        }
    }
    Ok(())
}

async fn check_dead_letter_topic(config: &Config) -> Result<(), SetupError> {
    let Some(topic) = &config.dead_letter_topic else { return Ok(()) };
    let look = async { pubsub::Admin::connect(&config.endpoints.pubsub()).await?.topic(topic).await };
    match within(look, pubsub::Problem::Unreachable).await {
        // `roles/pubsub.publisher` may not look; the first dead letter shows whether it may publish.
        Ok(()) | Err(pubsub::Problem::Refused(_)) => Ok(()),
        Err(problem) => Err(pubsub_wrong(config, Thing::DeadLetterTopic(topic), problem)),
    }
}

async fn check_table(config: &Config) -> Result<(), SetupError> {
    let look = async {
        let client = config.endpoints.dynamo().await?;
        dynamo::check(&client, &config.table).await
    };
    match within(look, dynamo::Problem::Unreachable).await {
        // Writing needs no right to describe the table; the first write shows whether it may be written.
        Ok(()) | Err(dynamo::Problem::Refused(_)) => Ok(()),
        // Throttled, as when many instances start at once, or a fault of the service: no setting is wrong.
        Err(dynamo::Problem::Other(detail)) => {
            warn!(
                "table {} (--table) could not be looked at: {detail}. The first write shows whether it fits",
                config.table
            );
            Ok(())
        }
        Err(problem) => Err(table_wrong(&config.endpoints, &config.table, problem)),
    }
}

/// Bounds one check.
pub(crate) async fn within<T, E>(look: impl Future<Output = Result<T, E>>, late: impl Fn(String) -> E) -> Result<T, E> {
    let no_answer = || Err(late(format!("no answer within {} s", ANSWER_WITHIN.as_secs())));
    timeout(ANSWER_WITHIN, look).await.unwrap_or_else(|_| no_answer())
}

/// What was looked at in Pub/Sub.
#[derive(Clone, Copy)]
enum Thing<'a> {
    Subscription(&'a Config),
    DeadLetterTopic(&'a str),
}

impl fmt::Display for Thing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Subscription(config) => {
                write!(f, "subscription {} (--subscription, --project)", config.subscription)
            }
            Thing::DeadLetterTopic(topic) => write!(f, "dead-letter topic {topic} (--dead-letter-topic)"),
        }
    }
}

fn pubsub_wrong(config: &Config, thing: Thing<'_>, problem: pubsub::Problem) -> SetupError {
    match problem {
        pubsub::Problem::NotFound => {
            let dead_letter_topic = match &config.dead_letter_topic {
                Some(topic) => format!(" --dead-letter-topic {topic}"),
                None => String::new(),
            };
            let flags = format!("--subscription {}{dead_letter_topic}", config.subscription);
            SetupError(format!("{thing} does not exist.\nCreate it: mini-scan setup pubsub --topic TOPIC {flags}"))
        }
        problem => {
            SetupError(format!("{thing} cannot be read: {problem}\n{}", pubsub_advice(&config.endpoints, &problem)))
        }
    }
}

/// What to do about a problem with Pub/Sub that is not about one thing in it.
pub(crate) fn pubsub_advice(endpoints: &Endpoints, problem: &pubsub::Problem) -> String {
    match (problem, &endpoints.pubsub) {
        (pubsub::Problem::NoCredentials(_), _) => {
            "Run `gcloud auth application-default login`; for a local server set PUBSUB_EMULATOR_HOST.".to_owned()
        }
        (pubsub::Problem::Unreachable(_), Some(host)) => format!(
            "PUBSUB_EMULATOR_HOST={host} (or its flag) chose the server. Start one there with `mini-scan local pubsub`, \
             or unset it."
        ),
        (pubsub::Problem::Unreachable(_), None) => "Check the network and the credentials with \
             `gcloud auth application-default print-access-token`; for a local server set PUBSUB_EMULATOR_HOST."
            .to_owned(),
        (pubsub::Problem::Refused(_), _) => "Grant this identity roles/pubsub.editor on the project: \
             gcloud projects add-iam-policy-binding PROJECT --role=roles/pubsub.editor --member=IDENTITY"
            .to_owned(),
        _ => "Compare the names with `gcloud pubsub topics list` and `gcloud pubsub subscriptions list`.".to_owned(),
    }
}

/// What is wrong with the table, and what to do.
pub(super) fn table_wrong(endpoints: &Endpoints, table: &str, problem: dynamo::Problem) -> SetupError {
    let endpoint = match &endpoints.dynamo {
        Some(url) => format!(" at {url} (AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL or --endpoint-url)"),
        None => String::new(),
    };
    let text = match problem {
        dynamo::Problem::NotFound => format!(
            "table {table} (--table) does not exist{endpoint}.\nCreate it: mini-scan setup table --table {table}"
        ),
        dynamo::Problem::DoesNotFit(why) => format!(
            "table {table} (--table){endpoint} cannot hold scans: {why}.\n\
             Choose another with --table; `mini-scan setup table --table NAME` creates one that fits."
        ),
        dynamo::Problem::NoRegion => {
            "no AWS region is set, so table {table} (--table) cannot be found.\nSet it: export AWS_REGION=us-east-1"
                .replace("{table}", table)
        }
        problem @ dynamo::Problem::NoCredentials(_) => format!(
            "table {table} (--table) cannot be read: {problem}\nRun `aws sso login` or `aws configure`, or choose a \
             profile with AWS_PROFILE; for a local server set AWS_ENDPOINT_URL_DYNAMODB=http://localhost:8000"
        ),
        dynamo::Problem::Refused(detail) => format!(
            "table {table} (--table) cannot be set up: permission denied: {detail}\nGrant dynamodb:CreateTable, \
             DescribeTable, DescribeTimeToLive and UpdateTimeToLive on it, or let someone create it who may."
        ),
        problem @ dynamo::Problem::Unreachable(_) if endpoints.dynamo.is_some() => format!(
            "table {table} (--table) cannot be read{endpoint}: {problem}\n\
             Start a server there with `mini-scan local dynamo`, or choose another."
        ),
        problem => format!(
            "table {table} (--table) cannot be read: {problem}\n\
             Check AWS_REGION and the network with `aws dynamodb describe-table --table-name {table}`"
        ),
    };
    SetupError(text)
}
