//! `mini-scan setup`: creates what is missing of topics, subscriptions and table. Safe to repeat and to run at once.

use std::io::Write;
use std::time::Duration;

use super::Endpoints;
use super::checks::{SetupError, pubsub_advice, table_wrong, within};
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
    /// Without it dead letters would be lost: a topic keeps nothing.
    pub dead_letter_subscription: String,
}

/// Creates what is missing in Pub/Sub, and says of each thing whether it created or found it.
pub async fn pubsub(endpoints: &Endpoints, names: &Pubsub, out: &mut impl Write) -> Result<(), SetupError> {
    let admin = within(async { Admin::connect(&endpoints.pubsub()).await }, Problem::Unreachable).await;
    let admin =
        admin.map_err(|problem| wrong(endpoints, &format!("topic {} (--topic, --project)", names.topic), problem))?;
    let settings = SubscriptionSettings { ack_deadline: ACK_DEADLINE, retention: RETENTION, retry: Some(RETRY) };
    // Without a retry policy: whoever looks at letters by hand and gives them back finds them again at once.
    let letters = SubscriptionSettings { retention: DEAD_LETTER_RETENTION, retry: None, ..settings.clone() };
    topic(endpoints, &admin, "topic", &names.topic, "--topic", out).await?;
    subscription(endpoints, &admin, &names.subscription, &names.topic, "--subscription", &settings, out).await?;
    let flag = "--dead-letter-topic";
    topic(endpoints, &admin, "dead-letter topic", &names.dead_letter_topic, flag, out).await?;
    subscription(endpoints, &admin, &names.dead_letter_subscription, &names.dead_letter_topic, flag, &letters, out)
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
        created.map_err(|problem| wrong(endpoints, &format!("{kind} {name} ({flag}, --project)"), problem))?;
    say(out, created, kind, name)
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
        // Google's emulator takes at most 7 days where the service takes 31.
        let shorter = SubscriptionSettings { retention: RETENTION, ..settings.clone() };
        created = within(admin.create_subscription(name, topic, &shorter), Problem::Unreachable).await;
    }
    let thing = || format!("subscription {name} ({flag}, --project)");
    say(out, created.map_err(|problem| wrong(endpoints, &thing(), problem))?, "subscription", name)
}

/// Creates the table if it is missing, and says whether it created or found it.
pub async fn table(endpoints: &Endpoints, name: &str, out: &mut impl Write) -> Result<(), SetupError> {
    let create = async {
        let client = within(async { endpoints.dynamo().await }, dynamo::Problem::Unreachable).await?;
        dynamo::create(&client, name).await
    };
    let created = create.await.map_err(|problem| table_wrong(endpoints, name, problem))?;
    say(out, created, "table", name)
}

fn say(out: &mut impl Write, created: bool, kind: &str, name: &str) -> Result<(), SetupError> {
    let what = if created { "created" } else { "found  " };
    writeln!(out, "{what}  {kind:<17}  {name}").map_err(|error| SetupError(format!("cannot write the output: {error}")))
}

fn wrong(endpoints: &Endpoints, thing: &str, problem: Problem) -> SetupError {
    SetupError(format!("{thing} cannot be created: {problem}\n{}", pubsub_advice(endpoints, &problem)))
}
