//! Flags of `mini-scan check`.

use super::consumer::ConsumerArgs;
use super::help::{heading, more};
use crate::service::Config;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan check --project my-project --dead-letter-topic scan-dead-letter\n",
    "  mini-scan check --project my-project --json | jq 'select(.result == \"failed\")'\n\n",
    "  It also accepts the other flags of `mini-scan consumer`, so the same flags fit\n",
    "  both. It changes nothing; the check of dynamodb:PutItem costs one write unit.\n\n",
    heading!("Exit codes"),
    "  0 nothing failed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

/// Check names and permissions in both clouds, and exit
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, mut_args(hide_unused))]
pub struct CheckArgs {
    #[command(flatten)]
    consumer: ConsumerArgs,

    /// Print one JSON object per check
    #[arg(long, help_heading = "Options")]
    pub json: bool,
}

impl CheckArgs {
    /// Returns the settings of the consumer to check, or the flags that contradict each other.
    pub fn config(&self) -> Result<Config, clap::Error> {
        self.consumer.config()
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
