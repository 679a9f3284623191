//! Flags of `mini-scan webhooks`.

mod deliveries;
mod sink;
mod subscription;

use webhooks::EndpointId;

use self::deliveries::{DeadArgs, ReplayArgs};
pub use self::sink::SinkArgs;
use self::subscription::{AddArgs, ListArgs, OneArgs, RotateArgs, ShowArgs, TestArgs};
use super::help::{heading, more};
use super::webhooks_tables::WebhooksPartArgs;
use crate::webhook_commands::{Action, Task};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks add --url https://hooks.example.com/scans \\\n",
    "    --network 1.1.0.0/16 --event scan.opened --secret-key-file key\n",
    "  mini-scan webhooks list\n",
    "  mini-scan webhooks dead redrive wh_0123456789abcdefghjk\n\n",
    "  `mini-scan changes --webhooks` delivers. docs/webhooks.md describes receivers.\n\n",
    heading!("Exit codes"),
    "  0    success\n",
    "  1    failure, e.g. a test that the endpoint did not accept\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    stopped before the end\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Choose who is told of which changes, and look after deliveries that failed
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct WebhooksArgs {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Test(TestArgs),
    /// Store the deliveries of a subscription until it is resumed
    Pause(OneArgs),
    /// Deliver again to a subscription that is paused or disabled
    Resume(OneArgs),
    Rotate(RotateArgs),
    /// Remove a subscription with the deliveries that wait for it
    Remove(OneArgs),
    Dead(DeadArgs),
    Replay(ReplayArgs),
    Sink(SinkArgs),
}

/// What `mini-scan webhooks` does.
#[derive(Debug)]
pub enum WebhooksTask<'a> {
    Command(Box<Task>),
    Sink(&'a SinkArgs),
}

/// Where the subscriptions are, and how results are printed.
#[derive(Debug, Clone, clap::Args)]
struct SharedArgs {
    #[command(flatten)]
    tables: WebhooksPartArgs,

    /// Print JSON objects, one per line, in place of text
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl WebhooksArgs {
    /// Returns what to do, or why it is refused. Reads the keys of secrets.
    pub fn task(&self) -> Result<WebhooksTask<'_>, clap::Error> {
        let (shared, action) = match &self.part {
            Part::Add(args) => (&args.shared, args.action()?),
            Part::List(args) => (&args.shared, args.action()),
            Part::Show(args) => (&args.shared, args.action()),
            Part::Test(args) => (&args.shared, args.action()?),
            Part::Pause(args) => (&args.shared, Action::Pause(args.id.clone())),
            Part::Resume(args) => (&args.shared, Action::Resume(args.id.clone())),
            Part::Rotate(args) => (&args.shared, args.action()?),
            Part::Remove(args) => (&args.shared, Action::Remove(args.id.clone())),
            Part::Dead(args) => args.action()?,
            Part::Replay(args) => (&args.shared, args.action()?),
            Part::Sink(args) => return Ok(WebhooksTask::Sink(args)),
        };
        let (endpoints, tables) = (shared.tables.endpoints(), shared.tables.tables());
        let task = Task { endpoints, tables, json: shared.json, action };
        Ok(WebhooksTask::Command(Box::new(task)))
    }
}

fn id(text: &str) -> Result<EndpointId, String> {
    let id = EndpointId::parse(text).ok().filter(|id| id.as_str().starts_with("wh_"));
    id.ok_or_else(|| "an id begins with wh_; `mini-scan webhooks list` shows them".to_owned())
}
