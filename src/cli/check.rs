//! Flags of `mini-scan check`.

use super::changes_tables::ChangesTablesArgs;
use super::consumer::ConsumerArgs;
use super::help::{heading, more};
use super::webhooks_tables::WebhooksPartArgs;
use crate::service::{ChangesTables, Config, Endpoints, WebhooksTables};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan check --project my-project --dead-letter-topic scan-dead-letter\n",
    "  mini-scan check --project my-project --json | jq 'select(.result == \"failed\")'\n",
    "  mini-scan check changes    what `mini-scan changes` needs\n",
    "  mini-scan check webhooks   the tables of webhooks\n\n",
    "  It also accepts the other flags of `mini-scan consumer`, so the same flags fit\n",
    "  both. It changes nothing; each check of a permission to write costs one write unit.\n\n",
    heading!("Exit codes"),
    "  0 nothing failed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

/// Check names and permissions in both clouds, and exit
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP, mut_args(hide_unused))]
pub struct CheckArgs {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    consumer: ConsumerArgs,

    /// Print one JSON object per check
    #[arg(long, global = true, help_heading = "Options")]
    pub json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Check the tables, the stream and the permissions of `mini-scan changes`
    Changes(ChangesTablesArgs),
    /// Check the tables of webhooks and the permissions on them
    Webhooks(WebhooksPartArgs),
}

/// What to check.
#[derive(Debug)]
pub enum CheckTask {
    Consumer(Box<Config>),
    Changes(Endpoints, ChangesTables),
    Webhooks(Endpoints, WebhooksTables),
}

impl CheckArgs {
    /// Returns what to check, or the flags that contradict each other.
    pub fn task(&self) -> Result<CheckTask, clap::Error> {
        Ok(match &self.part {
            None => CheckTask::Consumer(Box::new(self.consumer.config()?)),
            Some(Part::Changes(args)) => CheckTask::Changes(args.endpoints(), args.tables()),
            Some(Part::Webhooks(args)) => CheckTask::Webhooks(args.endpoints(), args.tables()),
        })
    }
}

/// Hides the flags that only the consumer uses.
fn hide_unused(arg: clap::Arg) -> clap::Arg {
    let is_hidden = arg.is_hide_set()
        || match arg.get_help_heading() {
            Some("Source" | "Options") => false,
            Some("Destination") => arg.get_id() == "ttl",
            Some("Dead letters") => arg.get_id() != "dead_letter_topic",
            _ => arg.get_id() != "write_mode",
        };
    arg.hide(is_hidden)
}
