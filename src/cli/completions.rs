//! `mini-scan completions`: its flags, and the script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::help::heading;

const HELP: &str = concat!(
    heading!("Examples"),
    "  source <(mini-scan completions bash)\n",
    "  mini-scan completions zsh > ~/.zfunc/_mini-scan\n",
    "  mini-scan completions fish > ~/.config/fish/completions/mini-scan.fish"
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
        clap_complete::generate(self.shell, &mut Cli::command(), "mini-scan", &mut script);
        script
    }
}
