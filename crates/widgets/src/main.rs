//! The program: from flags to a running command, and its exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ops::{Stderr, console};
use tokio::runtime;
use widget_registry::cli::{Cli, Command, CompletionsArgs, ServeArgs, TokenArgs};
use widget_registry::observe::PROGRAM;
use widget_registry::tools::load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_json = matches!(&cli.command, Command::Serve(args) if args.log_format().is_json());
    let stderr = Stderr::of(&PROGRAM, is_json);
    let fail = |error: anyhow::Error| stderr.fail(&format!("{error:#}"), error.downcast_ref());
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error.into()),
    };
    let code = runtime.block_on(run(cli.command)).unwrap_or_else(fail);
    // A DNS lookup in flight must not delay the exit.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        // Command::Setup(args) => Ok(console::run(async |console| setup::run(&args.task(), console).await).await?),
        // Command::Check(args) => Ok(console::run(async |console| check::run(&args.task(), console).await).await?),
        Command::Serve(args) => serve(&args).await,
        Command::Token(args) => create_token(&args),
        Command::Load(args) => Ok(console::run(async |console| load::run(&args.task(), console).await).await?),
        // Command::Audit(args) => Ok(console::run(async |console| audit::run(&args.task(), console).await).await?),
        // Command::Tail(args) => Ok(console::run(async |console| tail::run(&args.task(), console).await).await?),
        #[cfg(feature = "local")]
        Command::Local(args) => local::servers(&args).await,
        #[cfg(feature = "local")]
        Command::Demo(args) => local::demo(&args).await,
        Command::Completions(args) => completions(&args),
    }
}

/// Serves the API until a signal, and drains.
async fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let (_access, _settings) = (args.access()?, args.settings()?);
    anyhow::bail!("the API is not part of this build")
}

fn create_token(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let (token, line) = args.create()?;
    writeln!(io::stdout(), "{token}").context("cannot write the output")?;
    if let Some(line) = line {
        eprintln!("Add this line to the file of --tokens-file:\n{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(&args.script()).context("cannot write the output")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "local")]
mod local {
    use std::io;
    use std::process::ExitCode;

    use anyhow::Context;
    use ops::signals::Signals;
    use widget_registry::cli::{DemoArgs, LocalArgs};
    use widget_registry::local::demo;
    use widget_registry::local::servers::Dynamo;

    /// Serves the API on an embedded DynamoDB until a signal.
    pub(super) async fn servers(args: &LocalArgs) -> anyhow::Result<ExitCode> {
        let (address, storage) = args.dynamo();
        let _dynamo = Dynamo::start(address, &storage).await?;
        super::serve(args.serve()).await
    }

    pub(super) async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let stop = async { _ = signals.next().await };
        let passed = demo::run(&args.settings(), stop, &mut io::stdout()).await?;
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
