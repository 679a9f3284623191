//! Flags of `mini-scan dead-letters`.

use std::io::{IsTerminal, stdin};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::ArgGroup;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;

use super::help::{exit_codes, heading, more};
use super::pubsub::PubsubArgs;
use crate::dead_letters::{self, EXHAUSTED, List, MAX_LIMIT, Purge, Redrive, Selection, UNKNOWN};
use crate::scan::Reason;
use crate::service::Endpoints;

/// A list keeps its dead letters in memory until it prints them.
const MOST_LISTED: usize = 10_000;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan dead-letters list --project my-project\n",
    "  mini-scan dead-letters redrive --project my-project --dry-run\n\n",
    more!()
);

const LIST_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan dead-letters list --project my-project\n",
    "  mini-scan dead-letters list --project my-project --json |\n",
    "    jq -r .reason | sort | uniq -c\n\n",
    "  A list leases the dead letters: other readers do not get them for up to 30s.\n\n",
    exit_codes!(),
    more!()
);

const REDRIVE_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan dead-letters redrive --project my-project --dry-run\n",
    "  mini-scan dead-letters redrive --project my-project \\\n",
    "    --reason timestamp_in_future,invalid_port\n\n",
    "  Originals keep their payload and attributes, and get mini_scan_redrive_count.\n",
    "  A run that is stopped or killed loses no dead letter. Until it ends, other\n",
    "  readers do not get the dead letters that it leaves. If it leaves more than\n",
    "  10000, Pub/Sub delivers the others again only after 10 minutes.\n\n",
    heading!("Exit codes"),
    "  0    it redrove every selected dead letter, up to --limit\n",
    "  1    failure, e.g. the subscription is missing\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: it left selected dead letters, or was stopped\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

const PURGE_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan dead-letters purge --project my-project --older-than 30days \\\n",
    "    --dry-run\n",
    "  mini-scan dead-letters purge --project my-project --reason malformed_json\n\n",
    "  On a terminal it first reads all, or 10000 that are selected, and asks once\n",
    "  whether to delete these. Elsewhere it needs --yes.\n\n",
    heading!("Exit codes"),
    "  0    it deleted every selected dead letter, up to --limit\n",
    "  1    failure, e.g. the subscription is missing; or the answer was no\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: it left selected dead letters, or was stopped\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// List dead letters, redrive them to their source, or delete them
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Print dead letters, and leave them where they are
    List(ListArgs),
    /// Publish the originals again, and then remove the dead letters
    Redrive(RedriveArgs),
    /// Delete dead letters for good
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Source")]
struct SubscriptionArgs {
    #[command(flatten)]
    pubsub: PubsubArgs,

    /// Subscription on the dead-letter topic: an id or a full name
    #[arg(
        short,
        long,
        alias = "dead-letter-subscription",
        env = "MINI_SCAN_DEAD_LETTER_SUBSCRIPTION",
        default_value = "scan-dead-letter"
    )]
    subscription: String,

    /// Stop after this long without a new dead letter, from 1s to 10m. The default is 15s, and 5s once a list has
    /// some; a retry policy of the subscription adds its minimum backoff
    #[arg(long, value_parser = wait, value_name = "TIME")]
    wait: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    #[command(flatten)]
    from: SubscriptionArgs,

    /// Show at most this many dead letters, from 1 to 10000
    #[arg(long, default_value = "100", value_parser = listed, value_name = "NUMBER", help_heading = "Output")]
    limit: NonZeroUsize,

    /// Print one JSON object per dead letter, with every field, in place of the table
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REDRIVE_HELP)]
struct RedriveArgs {
    #[command(flatten)]
    from: SubscriptionArgs,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Topic for all originals: an id or a full name. Without it each goes to the topic of its source subscription
    #[arg(long, help_heading = "Destination")]
    topic: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Selection")]
struct SelectionArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Redrive at most this many, from 1 to 1000000; the default is 100000
    #[arg(long, value_parser = limit, value_name = "NUMBER", next_line_help = true)]
    limit: Option<NonZeroUsize>,

    /// Also redrive dead letters that were redriven three times already
    #[arg(long)]
    force: bool,

    /// Print what would be redriven, and leave everything where it is
    #[arg(long)]
    dry_run: bool,
}

/// What to do with dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLettersTask {
    List(List),
    Redrive(Redrive),
    Purge(Purge),
}

impl DeadLettersArgs {
    /// Returns what to do, or the flags that contradict each other.
    pub fn task(&self) -> Result<DeadLettersTask, clap::Error> {
        Ok(match &self.task {
            Task::List(args) => {
                DeadLettersTask::List(List { from: args.from.subscription()?, limit: args.limit, json: args.json })
            }
            Task::Redrive(RedriveArgs { from, selection, topic }) => {
                let full_name = |given: &String| from.pubsub.topic(given, "--topic");
                DeadLettersTask::Redrive(Redrive {
                    from: from.subscription()?,
                    select: selection.filter.selection(from)?,
                    limit: selection.limit,
                    dry_run: selection.dry_run,
                    force: selection.force,
                    topic: topic.as_ref().map(full_name).transpose()?,
                })
            }
            Task::Purge(args) => DeadLettersTask::Purge(args.purge()?),
        })
    }
}

impl SubscriptionArgs {
    fn subscription(&self) -> Result<dead_letters::Subscription, clap::Error> {
        Ok(dead_letters::Subscription {
            endpoints: Endpoints { pubsub: self.pubsub.emulator_host(), dynamo: None },
            name: self.pubsub.subscription(&self.subscription, "--subscription")?,
            wait: self.wait,
        })
    }
}

fn reasons() -> Vec<&'static str> {
    Reason::ALL.iter().map(|reason| reason.as_str()).chain([EXHAUSTED, UNKNOWN]).collect()
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| format!("{error}: write a duration, e.g. 5s or 1m"))?;
    match (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&wait) {
        true => Ok(wait),
        false => Err("it must be from 1s to 10m".to_owned()),
    }
}

pub(super) fn listed(text: &str) -> Result<NonZeroUsize, String> {
    number(text, MOST_LISTED)
}

pub(super) fn limit(text: &str) -> Result<NonZeroUsize, String> {
    number(text, MAX_LIMIT)
}

pub(super) fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}: write a duration, e.g. 12h or 30days"))
}

fn number(text: &str, most: usize) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= most);
    number.ok_or_else(|| format!("it must be a whole number from 1 to {most}"))
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Selection")]
struct FilterArgs {
    /// Select only dead letters of this reason; may be repeated, or be a list with commas
    #[arg(long = "reason", value_parser = PossibleValuesParser::new(reasons()), value_delimiter = ',',
          value_name = "REASON")]
    reasons: Vec<String>,

    /// Select only dead letters from this source subscription, an id or a full name; may be repeated, or be a list with
    /// commas
    #[arg(long = "source", value_delimiter = ',', value_name = "SUBSCRIPTION", next_line_help = true)]
    sources: Vec<String>,

    /// Select only dead letters that were published at least this long ago, e.g. 12h or 30days
    #[arg(long, value_parser = age, value_name = "TIME")]
    older_than: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PURGE_HELP)]
#[command(override_usage = "mini-scan dead-letters purge <SELECTION> [OPTIONS]")]
#[command(group(ArgGroup::new("what").args(["reasons", "sources", "older_than", "all"]).required(true).multiple(true)))]
struct PurgeArgs {
    #[command(flatten)]
    from: SubscriptionArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// Select all dead letters
    #[arg(long, conflicts_with_all = ["reasons", "sources", "older_than"], help_heading = "Selection")]
    all: bool,

    /// Delete at most this many, from 1 to 1000000
    #[arg(long, value_parser = limit, value_name = "NUMBER", next_line_help = true, help_heading = "Selection")]
    limit: Option<NonZeroUsize>,

    /// Print what would be deleted, and leave everything where it is
    #[arg(long, help_heading = "Selection")]
    dry_run: bool,

    /// Delete without a question; required if stdin is not a terminal
    #[arg(short, long, help_heading = "Selection")]
    yes: bool,
}

impl FilterArgs {
    fn selection(&self, from: &SubscriptionArgs) -> Result<Selection, clap::Error> {
        let full_name = |given: &String| from.pubsub.subscription(given, "--source");
        Ok(Selection {
            reasons: self.reasons.clone(),
            older_than: self.older_than,
            sources: self.sources.iter().map(full_name).collect::<Result<_, _>>()?,
        })
    }
}

impl PurgeArgs {
    fn purge(&self) -> Result<Purge, clap::Error> {
        if !self.yes && !self.dry_run && !stdin().is_terminal() {
            let text = "a purge asks before it deletes, but stdin is not a terminal: add --yes, or --dry-run\n";
            return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
        }
        Ok(Purge {
            from: self.from.subscription()?,
            select: self.filter.selection(&self.from)?,
            limit: self.limit,
            dry_run: self.dry_run,
            is_confirmed: self.yes,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        dead_letters: DeadLettersArgs,
    }

    fn parse(line: &str) -> Result<DeadLettersTask, clap::Error> {
        let arguments = std::iter::once("dead-letters").chain(line.split(' ')).chain(["--project", "p"]);
        Command::try_parse_from(arguments).and_then(|command| command.dead_letters.task())
    }

    fn redrive(line: &str) -> Redrive {
        match parse(line).unwrap() {
            DeadLettersTask::Redrive(redrive) => redrive,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn by_default_it_reads_the_subscription_that_setup_creates() {
        let DeadLettersTask::List(list) = parse("list").unwrap() else { panic!("no list") };
        assert_eq!(list.from.name, "projects/p/subscriptions/scan-dead-letter");
        assert_eq!((list.limit.get(), list.json, list.from.wait), (100, false, None));
        assert_eq!(redrive("redrive").from, list.from);
    }

    #[test]
    fn a_redrive_selects_by_reason_and_publishes_to_the_given_topic() {
        let flags =
            "redrive --reason invalid_port,malformed_json --reason delivery_attempts_exhausted --topic other-topic";
        let Redrive { select: Selection { reasons, .. }, topic, limit, dry_run, force, .. } = redrive(flags);
        assert_eq!(reasons, ["invalid_port", "malformed_json", "delivery_attempts_exhausted"]);
        assert_eq!(topic.as_deref(), Some("projects/p/topics/other-topic"));
        assert_eq!((limit, dry_run, force), (None, false, false));
    }

    #[test]
    fn values_that_no_dead_letter_can_have_are_refused() {
        for flags in [
            "redrive --reason invalid_prot",
            "redrive --limit 0",
            "redrive --limit 1000001",
            "redrive --topic projects/p/subscriptions/s",
            "list --limit 10001",
            "list --wait 0s",
            "list --wait soon",
            "list --subscription a",
            "list --reason invalid_port",
            "redrive --older-than soon",
            "redrive --source a",
            "purge --yes",
            "purge --yes --all --reason invalid_port",
            "purge --yes --all --limit 0",
        ] {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags}");
        }
    }

    #[test]
    fn redrive_and_purge_select_by_reason_source_and_age() {
        let filters = "--reason invalid_port --source scan-sub,projects/q/subscriptions/abc --older-than 2days";
        let expected = Selection {
            reasons: vec!["invalid_port".to_owned()],
            older_than: Some(Duration::from_secs(2 * 24 * 60 * 60)),
            sources: vec!["projects/p/subscriptions/scan-sub".to_owned(), "projects/q/subscriptions/abc".to_owned()],
        };
        assert_eq!(redrive(&format!("redrive {filters}")).select, expected);
        let DeadLettersTask::Purge(purge) = parse(&format!("purge {filters} --yes --limit 5")).unwrap() else {
            panic!("no purge")
        };
        assert_eq!((purge.select, purge.limit, purge.dry_run), (expected, NonZeroUsize::new(5), false));
        assert!(purge.is_confirmed);
    }

    #[test]
    fn a_purge_of_everything_must_say_so() {
        let DeadLettersTask::Purge(purge) = parse("purge --all --dry-run").unwrap() else { panic!("no purge") };
        assert_eq!(purge.select, Selection::default());
    }
}
