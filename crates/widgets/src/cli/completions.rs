//! `widget-registry completions`: its flags, and the script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::help::heading;

const HELP: &str = concat!(
    heading!("Examples"),
    "  source <(widget-registry completions bash)\n",
    "  widget-registry completions fish > ~/.config/fish/completions/widget-registry.fish"
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
        clap_complete::generate(self.shell, &mut Cli::command(), "widget-registry", &mut script);
        script
    }
}
