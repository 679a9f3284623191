//! The command line: one file per command, each flag also as an environment variable, and the checks that relate flags.

mod check;
mod completions;
mod deliver;
mod dlq;
mod events;
mod help;
#[cfg(feature = "local")]
mod local;
mod numbers;
mod observability;
mod processor;
mod queue;
mod queues;
mod routes;
mod send;
mod servers;
mod setup;
mod sink;
mod tables;
mod targets;
mod values;
mod version;

use self::help::{heading, more};
pub use check::CheckArgs;
pub use completions::CompletionsArgs;
pub use deliver::DeliverArgs;
pub use dlq::{DlqArgs, DlqTask};
pub use events::{EventsArgs, EventsTask};
#[cfg(feature = "local")]
pub use local::{DemoArgs, LocalArgs};
pub use processor::ProcessorArgs;
pub use queue::{QueueArgs, QueueTask};
pub use routes::{RoutesArgs, RoutesTask};
pub use send::SendArgs;
pub use setup::SetupArgs;
pub use sink::SinkArgs;

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline setup                create what is missing\n",
    "  event-pipeline check                check queues, tables and permissions\n",
    "  event-pipeline processor            store what the queue delivers\n",
    "  event-pipeline deliver              deliver what is stored\n\n",
    heading!("Exit codes"),
    "  0    success\n",
    "  1    failure\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: some messages were left, or it was stopped before the end\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Client events from SQS: validated by JSON Schema, stored in DynamoDB, delivered to each client's webhook
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

// The help lists them in this order: that of their use.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Setup(SetupArgs),
    Check(CheckArgs),
    Routes(RoutesArgs),
    Processor(ProcessorArgs),
    Deliver(DeliverArgs),
    Send(SendArgs),
    Queue(QueueArgs),
    Dlq(DlqArgs),
    Events(EventsArgs),
    Sink(SinkArgs),
    #[cfg(feature = "local")]
    Local(LocalArgs),
    #[cfg(feature = "local")]
    Demo(DemoArgs),
    Completions(CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_of_each_command_fit_together() {
        Cli::command().debug_assert();
    }
}
