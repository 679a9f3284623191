//! `event-pipeline completions`: its flags, and the script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::help::heading;

const HELP: &str = concat!(
    heading!("Examples"),
    "  source <(event-pipeline completions bash)\n",
    "  event-pipeline completions fish > ~/.config/fish/completions/event-pipeline.fish"
);

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CompletionsArgs {
    /// Shell to print the script for
    shell: Shell,
}

impl CompletionsArgs {
    /// Returns the script.
    pub fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "event-pipeline", &mut script);
        script
    }
}
