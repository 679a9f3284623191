//! Flags that look after dead deliveries, and that replay changes.

use std::io::{IsTerminal, stdin};
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};

use clap::ArgGroup;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use webhooks::{Clock, DeadReason, EndpointId, SystemClock, WebhookId};

use super::subscription::webhook_id;
use super::{SharedArgs, id};
use crate::cli::changes_tables::HistoryTableArgs;
use crate::cli::export::segments;
use crate::cli::help::{exit_codes, heading, more};
use crate::export::unix_seconds;
use crate::hosts::Network;
use crate::scan;
use crate::scan::to_unix_seconds;
use crate::subscriptions::dead::{Selection, Verb};
use crate::webhook_commands::{Action, Replay, Settle};

const DEAD_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks dead list wh_0123456789abcdefghjk\n",
    "  mini-scan webhooks dead redrive wh_0123456789abcdefghjk --reason exhausted\n\n",
    "  A delivery is dead after its last attempt, or if its subscription is disabled.\n\n",
    more!()
);

const LIST_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks dead list\n",
    "  mini-scan webhooks dead list wh_0123456789abcdefghjk --json | jq .last_status\n\n",
    "  Answers are the words of strangers: the list escapes them.\n\n",
    exit_codes!(),
    more!()
);

const SETTLE_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks dead redrive wh_0123456789abcdefghjk\n",
    "  mini-scan webhooks dead purge --all --reason gone --yes\n\n",
    "  A redriven delivery is due at once, with all its attempts. A run that is stopped\n",
    "  loses none.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, or the answer was no, 2 wrong usage, 3 stopped before the end\n\n",
    more!()
);

const REPLAY_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks replay wh_0123456789abcdefghjk --since 2026-11-01\n",
    "  mini-scan webhooks replay wh_0123456789abcdefghjk --ip 1.1.1.7 \\\n",
    "    --since 2026-11-01T10:00:00Z --until 2026-11-01T11:00:00Z\n\n",
    "  It stores the changes that fit the subscription as deliveries that are due now. A\n",
    "  receiver recognizes a repeated one by its webhook-id, so a replay may be repeated.\n",
    "  It reads the whole history, unless --ip is set.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, 2 wrong usage, 3 stopped before the end\n\n",
    more!()
);

/// List dead deliveries, make them due again, or delete them
#[derive(Debug, clap::Args)]
#[command(after_help = DEAD_HELP)]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    part: DeadPart,
}

#[derive(Debug, clap::Subcommand)]
enum DeadPart {
    /// Print dead deliveries, with the last answer
    List(ListArgs),
    /// Make dead deliveries due now
    Redrive(RedriveArgs),
    /// Delete dead deliveries for good
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    /// Id of the subscription; without it, those of all
    #[arg(value_parser = id)]
    id: Option<EndpointId>,

    #[command(flatten)]
    select: SelectArgs,

    /// Show at most this many
    #[arg(long, value_name = "NUMBER", default_value = "100", help_heading = "Selection", next_line_help = true)]
    limit: NonZeroUsize,

    #[command(flatten)]
    shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SETTLE_HELP)]
#[command(group(ArgGroup::new("what").args(["id", "all"]).required(true)))]
struct RedriveArgs {
    #[command(flatten)]
    settle: SettleArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SETTLE_HELP)]
#[command(group(ArgGroup::new("what").args(["id", "all"]).required(true)))]
struct PurgeArgs {
    #[command(flatten)]
    settle: SettleArgs,

    /// Delete without a question; required if stdin is not a terminal
    #[arg(short, long, help_heading = "Selection")]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct SettleArgs {
    /// Id of the subscription
    #[arg(value_parser = id)]
    id: Option<EndpointId>,

    /// Select those of all subscriptions
    #[arg(long, help_heading = "Selection")]
    all: bool,

    #[command(flatten)]
    select: SelectArgs,

    #[command(flatten)]
    shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
struct SelectArgs {
    /// Select only dead deliveries of this reason; repeatable
    #[arg(long = "reason", value_name = "REASON", value_delimiter = ',', help_heading = "Selection",
          value_parser = PossibleValuesParser::new(REASONS.map(DeadReason::as_str)))]
    reasons: Vec<String>,

    /// Select only this one: the header webhook-id; repeatable
    #[arg(long = "delivery", value_name = "MESSAGE", value_delimiter = ',', value_parser = webhook_id,
          help_heading = "Selection", next_line_help = true)]
    deliveries: Vec<WebhookId>,
}

const REASONS: [DeadReason; 3] = [DeadReason::Exhausted, DeadReason::Gone, DeadReason::Disabled];

/// Deliver the changes of a time again, from the history
#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY_HELP)]
pub(super) struct ReplayArgs {
    /// Id of the subscription
    #[arg(value_parser = id)]
    id: EndpointId,

    /// Changes that the table made from here on: 2026-11-01, 2026-11-01T10:00:00Z or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = unix_seconds, help_heading = "Selection", next_line_help = true)]
    since: u64,

    /// Changes that the table made before this time; without it, up to now
    #[arg(long, value_name = "TIME", value_parser = unix_seconds, help_heading = "Selection")]
    until: Option<u64>,

    /// Only changes of this address. This reads only its part of the history
    #[arg(long, value_name = "ADDRESS", value_parser = ip, help_heading = "Selection", conflicts_with = "network")]
    ip: Option<IpAddr>,

    /// Only changes of addresses in this network
    #[arg(long, value_name = "CIDR", help_heading = "Selection")]
    network: Option<Network>,

    #[command(flatten)]
    history: HistoryTableArgs,

    /// URL of the API for the links in bodies, as of `mini-scan changes`
    #[arg(long, env = "MINI_SCAN_API_URL", value_name = "URL", help_heading = "Webhooks", next_line_help = true)]
    api_url: Option<String>,

    /// Segments of the history that are read at the same time, from 1 to 256
    #[arg(long, env = "MINI_SCAN_SEGMENTS", value_name = "NUMBER", default_value = "8", value_parser = segments,
          help_heading = "History", next_line_help = true)]
    segments: NonZeroU32,

    /// Use at most this many capacity units per second, reads and writes together; without it as many as DynamoDB allows
    #[arg(long, env = "MINI_SCAN_MAX_UNITS", value_name = "NUMBER", help_heading = "History", next_line_help = true)]
    max_units: Option<NonZeroU32>,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

impl DeadArgs {
    pub(super) fn action(&self) -> Result<(&SharedArgs, Action), clap::Error> {
        Ok(match &self.part {
            DeadPart::List(args) => {
                let (of, select) = (args.id.clone(), args.select.selection());
                (&args.shared, Action::ListDead { of, select, limit: args.limit.get() })
            }
            DeadPart::Redrive(args) => (&args.settle.shared, args.settle.action(Verb::Redrive, true)),
            DeadPart::Purge(args) => {
                if !args.yes && !stdin().is_terminal() {
                    let text = "a purge asks before it deletes, but stdin is not a terminal: add --yes\n";
                    return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
                }
                (&args.settle.shared, args.settle.action(Verb::Purge, args.yes))
            }
        })
    }
}

impl SettleArgs {
    fn action(&self, verb: Verb, is_confirmed: bool) -> Action {
        Action::Settle(Settle { verb, of: self.id.clone(), select: self.select.selection(), is_confirmed })
    }
}

impl SelectArgs {
    fn selection(&self) -> Selection {
        let is_selected = |reason: &DeadReason| self.reasons.iter().any(|name| name == reason.as_str());
        Selection { reasons: REASONS.into_iter().filter(is_selected).collect(), deliveries: self.deliveries.clone() }
    }
}

impl ReplayArgs {
    pub(super) fn action(&self) -> Result<Action, clap::Error> {
        let now = to_unix_seconds(SystemClock.now());
        let until = self.until.unwrap_or(now + 1);
        if self.since >= until {
            let text = format!("--since is {}, and --until is {until}: it must be later\n", self.since);
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        }
        Ok(Action::Replay(Replay {
            id: self.id.clone(),
            created: self.since..until,
            ip: self.ip,
            network: self.network,
            history: self.history.history_table.clone(),
            api_url: self.api_url.clone().filter(|url| !url.is_empty()),
            segments: self.segments,
            max_units: self.max_units,
        }))
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    scan::address(text).ok_or_else(|| "expected an IPv4 or IPv6 address".to_owned())
}
