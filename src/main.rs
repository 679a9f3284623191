//! The program: from flags to a running command, and its exit code.

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use mini_scan::cli::{Cli, Command, ConsumerArgs, DeadLettersArgs, DeadLettersTask, SetupArgs};
use mini_scan::consumer::Process;
use mini_scan::dead_letters::{self, Outcome};
use mini_scan::observe::{self, Metrics, PROGRAM, Spans, Watched};
use mini_scan::service::{self, Config, Running, setup};
use ops::http;
use ops::logs::Logs;
use ops::signals::{Signal, Signals};
use ops::traces::Traces;
use tokio::sync::Notify;

/// Most of the work is the SDK's, which allocates some three hundred times a write.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(run(cli.command)).unwrap_or_else(|error| fail(&error));
    // A name look-up in flight must not delay the exit.
    runtime.shutdown_background();
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("mini-scan: {error:#}");
    ExitCode::FAILURE
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Consumer(args) => consumer(args).await,
        Command::Setup(args) => set_up(&args).await,
        Command::DeadLetters(args) => dead_letters(&args).await,
        #[cfg(feature = "local")]
        Command::Scanner(args) => local::scanner(&args).await,
        #[cfg(feature = "local")]
        Command::Local(args) => local::servers(&args).await,
        #[cfg(feature = "local")]
        Command::Demo(args) => local::demo(&args).await,
    }
}

fn listen() -> anyhow::Result<Signals> {
    Signals::listen().context("cannot listen for signals")
}

async fn consumer(args: ConsumerArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let config = args.config().unwrap_or_else(|error| error.exit());
    let traces = Traces::start(&PROGRAM)?;
    let fields = vec![("subscription", config.subscription.clone())];
    let logs = Logs::start(&PROGRAM, args.log_format, args.log_levels(), fields, traces.as_ref());
    let spans = traces.as_ref().map(|traces| Spans::new(traces.sampling(), &config.subscription, &config.table));
    let metrics = Arc::new(Metrics::new(spans));
    let process = config.process(metrics.clone());
    // Until the end, so that a drain can be watched too.
    let watched = Arc::new(Watched::new(process.clone(), metrics.clone()));
    let _endpoint = http::listen(args.http_listen, "--http-listen, MINI_SCAN_HTTP_LISTEN", watched).await?;
    let stopped = tokio::select! {
        biased;
        _ = signals.next() => true,
        result = service::check(&config) => { result?; false }
    };
    if !stopped && let Some(second) = consume(&config, &process, &metrics, &logs, &mut signals).await? {
        return Ok(ExitCode::from(second.exit_code()));
    }
    if let Some(traces) = traces {
        traces.finish().await;
    }
    observe::sum_up(&process, &metrics);
    let counts = metrics.snapshot();
    eprintln!("Handed back undone: {}", counts.released);
    println!("Consumer stopped. Final stats - Processed: {}, Failed: {}", counts.processed(), counts.failed());
    Ok(ExitCode::SUCCESS)
}

/// Consumes until a signal and drains. Returns the second signal if one came before the end.
async fn consume(
    config: &Config,
    process: &Arc<Process>,
    metrics: &Metrics,
    logs: &Logs,
    signals: &mut Signals,
) -> anyhow::Result<Option<Signal>> {
    tracing::info!(
        consumers = config.consumers,
        threads = config.threads,
        max_outstanding = config.max_outstanding,
        table = config.table,
        "consuming {}",
        config.subscription
    );
    let mut work = pin!(Running::start(config, process)?.finished());
    tokio::select! {
        biased;
        _ = signals.next() => {}
        result = &mut work => result?,
        () = observe::report(process, metrics, logs) => {}
    }
    let grace = config.shutdown_grace;
    tracing::info!("stopping: what is in hand is finished within {grace:?}; a second signal stops at once");
    process.drain.request(grace);
    tokio::select! {
        biased;
        second = signals.next() => Ok(Some(second)),
        result = work => Ok(result.map(|()| None)?),
    }
}

async fn set_up(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let task = args.task().unwrap_or_else(|error| error.exit());
    let mut out = io::stdout();
    if let Some(names) = &task.pubsub {
        setup::pubsub(&task.endpoints, names, &mut out).await?;
    }
    if let Some(table) = &task.table {
        setup::table(&task.endpoints, table, &mut out).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists or redrives until the end or a signal. What is not settled by then is given back first.
async fn dead_letters(args: &DeadLettersArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let task = args.task().unwrap_or_else(|error| error.exit());
    let stop = Notify::new();
    let mut work = pin!(async {
        match &task {
            DeadLettersTask::List(list) => {
                dead_letters::list(list, stop.notified(), &mut io::stdout(), &mut io::stderr()).await
            }
            DeadLettersTask::Redrive(redrive) => {
                dead_letters::redrive(redrive, stop.notified(), &mut io::stdout()).await
            }
        }
    });
    let done = tokio::select! {
        biased;
        _ = signals.next() => None,
        done = &mut work => Some(done),
    };
    let done = match done {
        Some(done) => done,
        None => {
            stop.notify_one();
            tokio::select! {
                biased;
                second = signals.next() => return Ok(ExitCode::from(second.exit_code())),
                done = work => done,
            }
        }
    };
    Ok(ExitCode::from(match done? {
        Outcome::Done => 0,
        Outcome::Stopped => 1,
        Outcome::Partly => 3,
    }))
}

#[cfg(feature = "local")]
mod local {
    use std::io;
    use std::process::ExitCode;

    use mini_scan::cli::{DemoArgs, LocalArgs, ScannerArgs};
    use mini_scan::local::demo::{self, real::Real};
    use mini_scan::local::scanner::{console, topic::Topic};
    use mini_scan::local::servers as embedded;

    use super::listen;

    pub(super) async fn scanner(args: &ScannerArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        let settings = args.settings().unwrap_or_else(|error| error.exit());
        let name = args.topic_name().unwrap_or_else(|error| error.exit());
        let topic = Topic::connect(&name, args.endpoints().pubsub.as_deref()).await?;
        let send = |payload| topic.publish(payload);
        console::run(&settings, &name, send, async { _ = signals.next().await }, &mut io::stdout()).await?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn servers(args: &LocalArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        embedded::run(&args.settings(), async { _ = signals.next().await }, &mut io::stdout()).await?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        let passed = demo::run(&Real, &args.settings(), async { _ = signals.next().await }, &mut io::stdout()).await?;
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
