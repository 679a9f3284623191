//! Flags of `mini-scan setup`.

use clap::error::ErrorKind;

use super::changes_tables::ChangesTablesArgs;
use super::consumer::{ConsumerArgs, SourceArgs};
use super::help::{exit_codes, heading, more};
use super::table::TableArgs;
use super::webhooks_tables::WebhooksPartArgs;
use crate::service::setup::{self, Index};
use crate::service::{ChangesTables, Endpoints, WebhooksTables};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan setup --project my-project\n",
    "  mini-scan setup pubsub --project my-project --subscription my-scans\n",
    "  mini-scan setup table --table my-scans\n",
    "  mini-scan setup table --service-index    on an existing table: add the indexes\n",
    "  mini-scan setup changes                  history of changes: docs/history.md\n",
    "  mini-scan setup webhooks                 subscriptions and deliveries: docs/webhooks.md\n\n",
    "  It is safe to repeat. Without a command it also accepts the other flags of\n",
    "  `mini-scan consumer` and ignores them, so the same flags fit both.\n\n",
    exit_codes!(),
    more!()
);

/// Create the topics, subscriptions, table and indexes that are missing
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP)]
#[command(mut_args(hide_unused), mut_arg("dead_letter_topic", describe_topic))]
pub struct SetupArgs {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    consumer: ConsumerArgs,

    #[command(flatten)]
    topic: TopicArgs,

    #[command(flatten)]
    indexes: IndexArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Create only the topics and subscriptions
    Pubsub(PubsubPartArgs),
    /// Create only the table and its indexes
    Table(TablePartArgs),
    /// Create the history table, the lease table and the table's stream, for `mini-scan changes`
    Changes(ChangesTablesArgs),
    /// Create the tables of webhooks
    Webhooks(WebhooksPartArgs),
}

#[derive(Debug, clap::Args)]
struct PubsubPartArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    topic: TopicArgs,

    #[arg(long, env = "MINI_SCAN_DEAD_LETTER_TOPIC", value_name = "TOPIC", default_value = DEAD_LETTER_TOPIC,
          help = DEAD_LETTER_TOPIC_HELP, help_heading = "Dead letters", next_line_help = true)]
    dead_letter_topic: String,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Source")]
struct TopicArgs {
    /// Topic that scanners publish to: an id or a full name
    #[arg(long, env = "MINI_SCAN_TOPIC", default_value = "scan-topic")]
    topic: String,
}

#[derive(Debug, clap::Args)]
struct TablePartArgs {
    #[command(flatten)]
    table: TableArgs,

    #[command(flatten)]
    indexes: IndexArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Indexes")]
struct IndexArgs {
    /// Leave out index by-ip, which reads of a host and of a network need. It costs one write unit per new key
    #[arg(long, env = "MINI_SCAN_NO_HOST_INDEX")]
    no_host_index: bool,

    /// Also create index by-service, which finds hosts by port and service. It can throttle writes: docs/indexes.md
    #[arg(long, env = "MINI_SCAN_SERVICE_INDEX")]
    service_index: bool,
}

impl IndexArgs {
    fn indexes(&self) -> Vec<Index> {
        let by_ip = (!self.no_host_index).then_some(Index::ByIp);
        by_ip.into_iter().chain(self.service_index.then_some(Index::ByService)).collect()
    }
}

const DEAD_LETTER_TOPIC: &str = "scan-dead-letter";
const DEAD_LETTER_TOPIC_HELP: &str =
    "Topic for rejected messages: an id or a full name. Its subscription has the same id";

/// What to set up, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub endpoints: Endpoints,
    pub pubsub: Option<setup::Pubsub>,
    pub table: Option<Table>,
    pub changes: Option<ChangesTables>,
    pub webhooks: Option<WebhooksTables>,
}

/// The table to create, with its indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub indexes: Vec<Index>,
}

impl SetupArgs {
    /// Returns what to set up, or the flags that contradict each other.
    pub fn task(&self) -> Result<Task, clap::Error> {
        Ok(match &self.part {
            None => {
                let ConsumerArgs { source, destination, dead_letters, .. } = &self.consumer;
                let dead_letter_topic = dead_letters.given_topic().unwrap_or(DEAD_LETTER_TOPIC);
                Task {
                    endpoints: self.consumer.endpoints(),
                    pubsub: Some(names(source, &self.topic, dead_letter_topic)?),
                    table: Some(Table { name: destination.table.table.clone(), indexes: self.indexes.indexes() }),
                    changes: None,
                    webhooks: None,
                }
            }
            Some(Part::Pubsub(PubsubPartArgs { source, topic, dead_letter_topic })) => Task {
                endpoints: Endpoints { pubsub: source.pubsub.emulator_host(), dynamo: None },
                pubsub: Some(names(source, topic, dead_letter_topic)?),
                table: None,
                changes: None,
                webhooks: None,
            },
            Some(Part::Table(TablePartArgs { table, indexes })) => Task {
                endpoints: Endpoints { pubsub: None, dynamo: table.endpoint() },
                pubsub: None,
                table: Some(Table { name: table.table.clone(), indexes: indexes.indexes() }),
                changes: None,
                webhooks: None,
            },
            Some(Part::Changes(args)) => Task {
                endpoints: args.endpoints(),
                pubsub: None,
                table: None,
                changes: Some(args.tables()),
                webhooks: None,
            },
            Some(Part::Webhooks(args)) => Task {
                endpoints: args.endpoints(),
                pubsub: None,
                table: None,
                changes: None,
                webhooks: Some(args.tables()),
            },
        })
    }
}

fn names(source: &SourceArgs, topic: &TopicArgs, dead_letter_topic: &str) -> Result<setup::Pubsub, clap::Error> {
    let conflict = |text: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
    let topic = source.pubsub.topic(&topic.topic, "--topic")?;
    let dead_letter_topic = source.pubsub.topic(dead_letter_topic, "--dead-letter-topic")?;
    if topic == dead_letter_topic {
        return conflict(format!(
            "--topic and --dead-letter-topic are both {topic}: rejected messages would be delivered and rejected again\n"
        ));
    }
    let subscription = source.subscription()?;
    let dead_letter_subscription = dead_letter_topic.replacen("/topics/", "/subscriptions/", 1);
    if subscription == dead_letter_subscription {
        return conflict(format!(
            "--subscription and the subscription on --dead-letter-topic are both {subscription}: choose another name\n"
        ));
    }
    Ok(setup::Pubsub { topic, subscription, dead_letter_topic, dead_letter_subscription })
}

/// Hides the flags that only the consumer uses.
fn hide_unused(arg: clap::Arg) -> clap::Arg {
    let is_hidden = arg.is_hide_set()
        || match arg.get_help_heading() {
            Some("Source" | "Indexes") => false,
            Some("Destination") => arg.get_id() == "ttl",
            Some("Dead letters") => arg.get_id() != "dead_letter_topic",
            _ => true,
        };
    arg.hide(is_hidden)
}

fn describe_topic(arg: clap::Arg) -> clap::Arg {
    arg.help(DEAD_LETTER_TOPIC_HELP).default_value(DEAD_LETTER_TOPIC)
}
