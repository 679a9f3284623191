//! Flags of `mini-scan dead-letters`.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::builder::PossibleValuesParser;

use super::endpoints::{PubsubEndpoint, endpoints};
use super::names;
use crate::dead_letters::{self, EXHAUSTED, List, MOST_LIMIT, Redrive, UNKNOWN};
use crate::scan::Reason;

/// Letters are kept in memory until they are shown.
const MOST_LISTED: usize = 10_000;

/// Look at dead letters, or bring them back
#[derive(Debug, clap::Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Show dead letters, and leave them where they are
    ///
    /// Pub/Sub has no way to look without leasing: letters are kept from others for at most 30s and then given back. The
    /// list ends at --limit, when none has come for --wait, or after 30s, and says when there may be more.
    List(ListArgs),
    /// Publish the originals of dead letters again, and remove each letter only after that
    ///
    /// The original goes to the topic of the subscription that it came from, or to --topic: payload and attributes as
    /// they were, and redrive_count. Do it once a consumer accepts them. What is not redriven is kept from others to the
    /// end of the run, 10000 letters at most, and then given back. The run ends when no letter has come for --wait, or
    /// at --limit. A letter that is rejected again meanwhile is left. A run that is stopped, or killed, loses nothing.
    Redrive(RedriveArgs),
}

#[derive(Debug, clap::Args)]
struct SubscriptionArgs {
    /// Google Cloud project
    #[arg(short, long, env = "MINI_SCAN_PROJECT", default_value = "test-project")]
    project: String,

    /// Subscription on the dead-letter topic: an id, or a full name
    #[arg(
        short,
        long,
        visible_alias = "dead-letter-subscription",
        env = "MINI_SCAN_DEAD_LETTER_SUBSCRIPTION",
        default_value = "scan-dead-letter"
    )]
    subscription: String,

    /// How long no letter may come before it is taken that there is none left; by default 15s, 5s after the first that is
    /// listed, and longer where the subscription has a retry policy
    #[arg(long, value_parser = wait, value_name = "TIME")]
    wait: Option<Duration>,

    #[command(flatten)]
    place: PubsubEndpoint,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    from: SubscriptionArgs,

    /// Letters to show at most
    #[arg(long, default_value = "100", value_parser = listed, value_name = "LETTERS")]
    limit: NonZeroUsize,

    /// A JSON object a line in place of the table, with every field that a letter has
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RedriveArgs {
    #[command(flatten)]
    from: SubscriptionArgs,

    /// Only letters of this reason; may be given again, or as a list with commas
    #[arg(long = "reason", value_parser = PossibleValuesParser::new(reasons()), value_delimiter = ',',
          value_name = "REASON")]
    reasons: Vec<String>,

    /// Letters to redrive at most; 100000 when not given
    #[arg(long, value_parser = redriven, value_name = "LETTERS")]
    limit: Option<NonZeroUsize>,

    /// Say what would be redriven, and leave everything where it is
    #[arg(long)]
    dry_run: bool,

    /// Redrive also what was redriven three times already
    #[arg(long)]
    force: bool,

    /// Topic for all of them, in place of that of each one's source subscription: an id, or a full name
    #[arg(long)]
    topic: Option<String>,
}

/// What to do with dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLettersTask {
    List(List),
    Redrive(Redrive),
}

impl DeadLettersArgs {
    /// What to do, if the flags agree.
    pub fn task(&self) -> Result<DeadLettersTask, clap::Error> {
        Ok(match &self.task {
            Task::List(args) => {
                DeadLettersTask::List(List { from: args.from.subscription()?, limit: args.limit, json: args.json })
            }
            Task::Redrive(args) => {
                let topic = |given: &String| names::topic(&args.from.project, given, "--topic");
                DeadLettersTask::Redrive(Redrive {
                    from: args.from.subscription()?,
                    reasons: args.reasons.clone(),
                    limit: args.limit,
                    dry_run: args.dry_run,
                    force: args.force,
                    topic: args.topic.as_ref().map(topic).transpose()?,
                })
            }
        })
    }
}

impl SubscriptionArgs {
    fn subscription(&self) -> Result<dead_letters::Subscription, clap::Error> {
        Ok(dead_letters::Subscription {
            endpoints: endpoints(Some(&self.place), None),
            name: names::subscription(&self.project, &self.subscription, "--subscription")?,
            wait: self.wait,
        })
    }
}

fn reasons() -> Vec<&'static str> {
    Reason::ALL.iter().map(|reason| reason.as_str()).chain([EXHAUSTED, UNKNOWN]).collect()
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| format!("{error}: write it as 5s or 1m"))?;
    match (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&wait) {
        true => Ok(wait),
        false => Err("it must be from 1s to 10m".to_owned()),
    }
}

fn listed(text: &str) -> Result<NonZeroUsize, String> {
    number(text, MOST_LISTED)
}

fn redriven(text: &str) -> Result<NonZeroUsize, String> {
    number(text, MOST_LIMIT)
}

fn number(text: &str, most: usize) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= most);
    number.ok_or_else(|| format!("a whole number from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        letters: DeadLettersArgs,
    }

    fn parse(line: &str) -> Result<DeadLettersTask, clap::Error> {
        let arguments = std::iter::once("dead-letters").chain(line.split(' '));
        Command::try_parse_from(arguments).and_then(|command| command.letters.task())
    }

    fn redrive(line: &str) -> Redrive {
        match parse(line).unwrap() {
            DeadLettersTask::Redrive(redrive) => redrive,
            DeadLettersTask::List(_) => panic!("a list"),
        }
    }

    #[test]
    fn without_flags_it_reads_the_subscription_that_setup_makes() {
        let DeadLettersTask::List(list) = parse("list").unwrap() else { panic!("no list") };
        assert_eq!(list.from.name, "projects/test-project/subscriptions/scan-dead-letter");
        assert_eq!((list.limit.get(), list.json, list.from.wait), (100, false, None));
        assert_eq!(redrive("redrive").from, list.from);
    }

    #[test]
    fn a_redrive_is_chosen_by_reason_and_topic() {
        let flags =
            "redrive --reason invalid_port,malformed_json --reason delivery_attempts_exhausted --topic other-topic";
        let Redrive { reasons, topic, limit, dry_run, force, .. } = redrive(flags);
        assert_eq!(reasons, ["invalid_port", "malformed_json", "delivery_attempts_exhausted"]);
        assert_eq!(topic.as_deref(), Some("projects/test-project/topics/other-topic"));
        assert_eq!((limit, dry_run, force), (None, false, false));
    }

    #[test]
    fn what_no_letter_can_be_is_refused() {
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
        ] {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags}");
        }
    }
}
