//! `mini-scan setup`: creates the topics, subscriptions and the table that are missing. Safe to repeat and to run
//! concurrently.

use std::io::Write;
use std::time::Duration;

use super::checks::within;
use super::setup_error::{self, pubsub_advice};
use super::{Endpoints, SetupError};
use crate::dynamo;
use crate::pubsub::{Admin, Problem, SubscriptionSettings};

const ACK_DEADLINE: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(31 * 24 * 60 * 60);
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Topics and subscriptions, by their full names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pubsub {
    pub topic: String,
    pub subscription: String,
    pub dead_letter_topic: String,
    /// Without it dead letters are lost, because a topic keeps nothing.
    pub dead_letter_subscription: String,
}

/// Creates the topics and subscriptions that are missing, and prints of each whether it was created or found.
pub async fn pubsub(endpoints: &Endpoints, names: &Pubsub, out: &mut impl Write) -> Result<(), SetupError> {
    let admin = within(async { Admin::connect(&endpoints.pubsub()).await }, Problem::Unreachable).await;
    let admin = admin
        .map_err(|problem| cannot_create(endpoints, &format!("topic {} (--topic, --project)", names.topic), problem))?;
    let settings = SubscriptionSettings { ack_deadline: ACK_DEADLINE, retention: RETENTION, retry: Some(RETRY) };
    // Without a retry policy, so that dead letters that were listed by hand are delivered again at once.
    let dead_letters = SubscriptionSettings { retention: DEAD_LETTER_RETENTION, retry: None, ..settings.clone() };
    topic(endpoints, &admin, "topic", &names.topic, "--topic", out).await?;
    subscription(endpoints, &admin, &names.subscription, &names.topic, "--subscription", &settings, out).await?;
    let flag = "--dead-letter-topic";
    topic(endpoints, &admin, "dead-letter topic", &names.dead_letter_topic, flag, out).await?;
    subscription(endpoints, &admin, &names.dead_letter_subscription, &names.dead_letter_topic, flag, &dead_letters, out)
        .await
}

async fn topic(
    endpoints: &Endpoints,
    admin: &Admin,
    kind: &str,
    name: &str,
    flag: &str,
    out: &mut impl Write,
) -> Result<(), SetupError> {
    let created = within(admin.create_topic(name), Problem::Unreachable).await;
    let created =
        created.map_err(|problem| cannot_create(endpoints, &format!("{kind} {name} ({flag}, --project)"), problem))?;
    print(out, created, kind, name)
}

async fn subscription(
    endpoints: &Endpoints,
    admin: &Admin,
    name: &str,
    topic: &str,
    flag: &str,
    settings: &SubscriptionSettings,
    out: &mut impl Write,
) -> Result<(), SetupError> {
    let mut created = within(admin.create_subscription(name, topic, settings), Problem::Unreachable).await;
    if settings.retention > RETENTION && matches!(created, Err(Problem::Invalid(_))) {
        // Google's emulator accepts at most 7 days, and the service 31.
        let shorter = SubscriptionSettings { retention: RETENTION, ..settings.clone() };
        created = within(admin.create_subscription(name, topic, &shorter), Problem::Unreachable).await;
    }
    let thing = || format!("subscription {name} ({flag}, --project)");
    print(out, created.map_err(|problem| cannot_create(endpoints, &thing(), problem))?, "subscription", name)
}

/// Creates the table if it is missing, and prints whether it was created or found.
pub async fn table(endpoints: &Endpoints, name: &str, out: &mut impl Write) -> Result<(), SetupError> {
    let create = async {
        let client = within(async { endpoints.dynamo().await }, dynamo::Problem::Unreachable).await?;
        dynamo::create(&client, name).await
    };
    let created = create.await.map_err(|problem| setup_error::table(endpoints, name, problem))?;
    print(out, created, "table", name)
}

fn print(out: &mut impl Write, created: bool, kind: &str, name: &str) -> Result<(), SetupError> {
    let what = if created { "created" } else { "found  " };
    writeln!(out, "{what}  {kind:<17}  {name}").map_err(|error| SetupError(format!("cannot write the output: {error}")))
}

fn cannot_create(endpoints: &Endpoints, thing: &str, problem: Problem) -> SetupError {
    SetupError(format!("{thing} cannot be created: {problem}\n{}", pubsub_advice(endpoints, &problem)))
}
