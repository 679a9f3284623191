//! The program: from flags to a running command, and its exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use event_pipeline::cli::{Cli, Command, CompletionsArgs};
use event_pipeline::observe::PROGRAM;
use ops::logs;
use tokio::runtime;
use tracing::Level;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A flag is missing, unknown or out of range.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let stderr = Stderr::of(&cli.command);
    if stderr == Stderr::Json {
        std::panic::set_hook(Box::new(|panic| Stderr::Json.write(Level::ERROR, &panic.to_string())));
    }
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return stderr.fail(&error.into()),
    };
    let code = runtime.block_on(run(cli.command)).unwrap_or_else(|error| stderr.fail(&error));
    // A DNS lookup in flight must not delay the exit.
    runtime.shutdown_background();
    code
}

/// The format of the lines on stderr that are not log events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stderr {
    Text,
    /// For JSON logs, so that every line can be parsed.
    Json,
}

impl Stderr {
    fn of(command: &Command) -> Stderr {
        match command {
            Command::Completions(_) => Stderr::Text,
        }
    }

    fn write(self, level: Level, message: &str) {
        // An error means that nobody reads stderr any more.
        let _ = match self {
            Stderr::Text => writeln!(io::stderr(), "{message}"),
            Stderr::Json => writeln!(io::stderr(), "{}", logs::line(PROGRAM.version, level, message)),
        };
    }

    /// Reports an error and returns its exit code.
    fn fail(self, error: &anyhow::Error) -> ExitCode {
        let usage = error.downcast_ref::<clap::Error>();
        match (self, usage) {
            (Stderr::Text, Some(usage)) => _ = usage.print(),
            (Stderr::Text, None) => self.write(Level::ERROR, &format!("{}: {error:#}", PROGRAM.name)),
            (Stderr::Json, Some(usage)) => {
                self.write(Level::ERROR, usage.to_string().trim_start_matches("error: ").trim_end());
            }
            (Stderr::Json, None) => self.write(Level::ERROR, &format!("{error:#}")),
        }
        if usage.is_some() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Completions(args) => completions(&args),
    }
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(&args.script()).context("cannot write the output")?;
    Ok(ExitCode::SUCCESS)
}
