//! The command line: one file per command, each flag also as an environment variable, and the checks that relate flags.

mod audit;
mod check;
mod completions;
mod help;
mod load;
#[cfg(feature = "local")]
mod local;
mod observability;
mod serve;
mod servers;
mod setup;
mod tables;
mod tail;
mod token;
mod version;

use self::help::{heading, more};
pub use audit::AuditArgs;
pub use check::CheckArgs;
pub use completions::CompletionsArgs;
pub use load::LoadArgs;
#[cfg(feature = "local")]
pub use local::{DemoArgs, LocalArgs};
pub use serve::ServeArgs;
pub use setup::SetupArgs;
pub use tail::TailArgs;
pub use token::TokenArgs;

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry setup                create the tables that are missing\n",
    "  widget-registry check                check tables and permissions\n",
    "  widget-registry serve                serve the REST API on port 8080\n",
    "  widget-registry audit                check every connection in the table\n\n",
    heading!("Exit codes"),
    "  0    success\n",
    "  1    failure, or a check found a fault\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: something could not be done or decided, or it was stopped before the end\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// A registry of widgets and of the symmetric connections between their ports, on DynamoDB
#[derive(Debug, clap::Parser)]
#[command(name = "widget-registry", version = version::text(), max_term_width = 110, after_help = HELP)]
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
    Serve(Box<ServeArgs>),
    Token(TokenArgs),
    Load(LoadArgs),
    Audit(AuditArgs),
    Tail(TailArgs),
    #[cfg(feature = "local")]
    Local(Box<LocalArgs>),
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
