//! The command line: one file per command, each flag also as an environment variable, and the checks that relate flags.

mod api;
mod changes;
mod changes_tables;
mod check;
mod completions;
mod consumer;
mod dead_letters;
#[cfg(feature = "local")]
mod demo;
mod export;
mod get;
mod help;
#[cfg(feature = "local")]
mod local;
mod names;
mod pubsub;
#[cfg(feature = "local")]
mod scanner;
mod setup;
mod table;
mod targets;
mod version;
mod webhooks;
mod webhooks_tables;

use self::help::{heading, more};
pub use api::{ApiArgs, ApiTask, ServeArgs, TokenArgs};
pub use changes::{BackfillArgs, ChangesArgs, ChangesTask, DeadArgs, DeadTask, MasksArgs, RunArgs};
pub use check::{CheckArgs, CheckTask};
pub use completions::CompletionsArgs;
pub use consumer::ConsumerArgs;
pub use dead_letters::{DeadLettersArgs, DeadLettersTask};
#[cfg(feature = "local")]
pub use demo::{DemoArgs, DemoTask};
pub use export::ExportArgs;
pub use get::GetArgs;
#[cfg(feature = "local")]
pub use local::LocalArgs;
#[cfg(feature = "local")]
pub use scanner::ScannerArgs;
pub use setup::{SetupArgs, Task};
pub use webhooks::{SinkArgs, WebhooksArgs, WebhooksTask};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan setup --project my-project     create what is missing\n",
    "  mini-scan check --project my-project     check names and permissions\n",
    "  mini-scan consumer --project my-project  run until SIGTERM or Ctrl-C\n",
    "  mini-scan api                            serve what was scanned\n\n",
    heading!("Exit codes"),
    "  0    success\n",
    "  1    failure\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: a redrive or a purge left dead letters, or an export, a backfill or a replay was stopped\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Internet scan results from Google Cloud Pub/Sub into Amazon DynamoDB: the newest of each (ip, port, service) wins
#[derive(Debug, clap::Parser)]
#[command(version = version::text(), max_term_width = 110, after_help = HELP)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Print help
    // With a heading, so that it comes last.
    #[arg(short, long, global = true, action = clap::ArgAction::Help, help_heading = "Options")]
    help: Option<bool>,

    /// Print version, revision and features
    #[arg(short = 'V', long, action = clap::ArgAction::Version, help_heading = "Options")]
    version: Option<bool>,
}

// The help lists them in this order: that of their use, and those for trials last.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Setup(SetupArgs),
    Check(CheckArgs),
    Consumer(ConsumerArgs),
    Api(ApiArgs),
    Changes(ChangesArgs),
    Webhooks(WebhooksArgs),
    DeadLetters(DeadLettersArgs),
    Get(GetArgs),
    Export(ExportArgs),
    #[cfg(feature = "local")]
    Demo(DemoArgs),
    #[cfg(feature = "local")]
    Local(LocalArgs),
    #[cfg(feature = "local")]
    Scanner(ScannerArgs),
    Completions(CompletionsArgs),
}
