//! Flags of `mini-scan setup`.

use super::endpoints::{DynamoEndpoint, PubsubEndpoint, endpoints};
use super::names;
use crate::service::{Endpoints, setup};

/// Create what is missing of topic, subscription, dead-letter topic and table; safe to repeat
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SetupArgs {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    pubsub: PubsubArgs,

    #[command(flatten)]
    table: TableArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Only the topics and subscriptions
    Pubsub(PubsubArgs),
    /// Only the table
    Table(TableArgs),
}

#[derive(Debug, clap::Args)]
struct PubsubArgs {
    /// Google Cloud project
    #[arg(short, long, env = "MINI_SCAN_PROJECT", default_value = "test-project")]
    project: String,

    /// Topic that scans are published to: an id, or a full name
    #[arg(long, env = "MINI_SCAN_TOPIC", default_value = "scan-topic")]
    topic: String,

    /// Subscription on it: an id, or a full name
    #[arg(short, long, env = "MINI_SCAN_SUBSCRIPTION", default_value = "scan-sub")]
    subscription: String,

    /// Topic for rejected messages, and the name of the subscription on it: an id, or a full name
    #[arg(long, env = "MINI_SCAN_DEAD_LETTER_TOPIC", default_value = "scan-dead-letter")]
    dead_letter_topic: String,

    #[command(flatten)]
    place: PubsubEndpoint,
}

#[derive(Debug, clap::Args)]
struct TableArgs {
    /// Table of scans
    #[arg(long, env = "MINI_SCAN_TABLE", default_value = "scan-results")]
    table: String,

    #[command(flatten)]
    place: DynamoEndpoint,
}

/// What to set up, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub endpoints: Endpoints,
    pub pubsub: Option<setup::Pubsub>,
    pub table: Option<String>,
}

impl SetupArgs {
    /// What to set up, if the flags agree.
    pub fn task(&self) -> Result<Task, clap::Error> {
        let (pubsub, table) = match &self.part {
            None => (Some(&self.pubsub), Some(&self.table)),
            Some(Part::Pubsub(pubsub)) => (Some(pubsub), None),
            Some(Part::Table(table)) => (None, Some(table)),
        };
        Ok(Task {
            endpoints: endpoints(pubsub.map(|args| &args.place), table.map(|args| &args.place)),
            pubsub: pubsub.map(PubsubArgs::names).transpose()?,
            table: table.map(|args| args.table.clone()),
        })
    }
}

impl PubsubArgs {
    fn names(&self) -> Result<setup::Pubsub, clap::Error> {
        let topic = names::topic(&self.project, &self.topic, "--topic")?;
        let dead_letter_topic = names::topic(&self.project, &self.dead_letter_topic, "--dead-letter-topic")?;
        if topic == dead_letter_topic {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                format!("--topic and --dead-letter-topic are both {topic}: rejected messages would come again\n"),
            ));
        }
        let subscription = names::subscription(&self.project, &self.subscription, "--subscription")?;
        let dead_letter_subscription = dead_letter_topic.replacen("/topics/", "/subscriptions/", 1);
        if subscription == dead_letter_subscription {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                format!("--subscription and the one on --dead-letter-topic are both {subscription}\n"),
            ));
        }
        Ok(setup::Pubsub { topic, subscription, dead_letter_topic, dead_letter_subscription })
    }
}
