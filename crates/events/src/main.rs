//! The program: from flags to a running command, and its exit code.

use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use event_pipeline::cli::{
    Cli, Command, CompletionsArgs, DeliverArgs, DlqTask, EventsTask, ProcessorArgs, QueueTask, RoutesTask, SinkArgs,
};
use event_pipeline::deliver::Watch;
use event_pipeline::observe::{Counts, DeliverMetrics, PROGRAM, ProcessorMetrics, WatchedDeliverer, WatchedProcessor};
use event_pipeline::service::deliverer::{self, DelivererObservers};
use event_pipeline::service::processor::{self, ProcessorObservers, ProcessorService};
use event_pipeline::tools::{check, dlq, events, queue, routes, send, setup};
use ops::console::{self, Console, Outcome, ToolError};
use ops::logs::Logs;
use ops::signals::{Signal, Signals};
use ops::{Stderr, http};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let stderr = Stderr::of(&PROGRAM, is_json(&cli.command));
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

/// Returns whether the command writes JSON logs.
fn is_json(command: &Command) -> bool {
    match command {
        Command::Processor(args) => args.log_format().is_json(),
        Command::Deliver(args) => args.log_format().is_json(),
        _ => false,
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Processor(args) => process(&args).await,
        Command::Deliver(args) => deliver(&args).await,
        Command::Sink(args) => receive(&args).await,
        Command::Setup(args) => tool(async |console| setup::run(&args.task(), console).await).await,
        Command::Check(args) => tool(async |console| check::run(&args.task(), console).await).await,
        Command::Routes(args) => {
            let task = args.task()?;
            tool(async |console| match &task {
                RoutesTask::Add(at, added) => routes::add(at, added, console).await,
                RoutesTask::List(at, of) => routes::list(at, of.as_deref(), console).await,
                RoutesTask::Remove { table, client_id, target } => {
                    routes::remove(table, client_id, target, console).await
                }
            })
            .await
        }
        Command::Send(args) => {
            let task = args.task()?;
            tool(async |console| send::run(task, console).await).await
        }
        Command::Queue(args) => {
            tool(async |console| match args.task() {
                QueueTask::Status { endpoints, queues, json } => {
                    queue::status(&endpoints, &queues, json, console).await
                }
                QueueTask::Peek(peek) => queue::peek(&peek, console).await,
            })
            .await
        }
        Command::Dlq(args) => {
            let task = args.task()?;
            tool(async |console| match &task {
                DlqTask::List(task) => dlq::list(task, console).await,
                DlqTask::RedriveEvents(task) => dlq::redrive_events(task, console).await,
                DlqTask::RedriveDeliveries(task, tables) => dlq::redrive_deliveries(task, tables, console).await,
                DlqTask::Purge { dead_letters, is_confirmed } => dlq::purge(dead_letters, *is_confirmed, console).await,
            })
            .await
        }
        Command::Events(args) => {
            let task = args.task()?;
            tool(async |console| match &task {
                EventsTask::Get(task) => events::show(task, console).await,
                EventsTask::Replay(task) => events::replay(task, console).await,
                EventsTask::Erase(task) => events::erase(task, console).await,
            })
            .await
        }
        #[cfg(feature = "local")]
        Command::Local(args) => local::servers(&args).await,
        #[cfg(feature = "local")]
        Command::Demo(args) => local::demo(&args).await,
        Command::Completions(args) => completions(&args),
    }
}

/// Stores events until a signal, and drains.
async fn process(args: &ProcessorArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let config = args.config()?;
    let fields = vec![("queue", config.queues.events.clone())];
    let _logs = Logs::start(&PROGRAM, args.log_format(), args.log_levels(), fields, None);
    let (metrics, watch) = (Arc::<ProcessorMetrics>::default(), Arc::<Watch>::default());
    let deliveries = Arc::<DeliverMetrics>::default();
    let dispatched = config.settings.is_direct.then(|| deliveries.clone());
    let watched = Arc::new(WatchedProcessor::new(metrics.clone(), dispatched, watch.clone()));
    let setting = "--http-listen, EVENT_PIPELINE_HTTP_LISTEN";
    let _endpoint = http::listen(args.http_listen(), setting, watched.clone()).await?;
    let grace = config.settings.shutdown_grace;
    let observers = ProcessorObservers { messages: metrics.clone(), deliveries, delivery_watch: watch };
    let processor = tokio::select! {
        biased;
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        processor = processor::connect(config, observers) => processor?,
    };
    let second = process_until_stopped(&processor, &watched, &metrics, grace, &mut signals).await;
    if let Some(second) = second {
        return Ok(ExitCode::from(second.exit_code()));
    }
    let Counts { stored, duplicates, dead_letters, returned } = metrics.counts();
    println!(
        "Processor stopped. Stored: {stored}, duplicates: {duplicates}, dead letters: {dead_letters}, returned: {returned}"
    );
    Ok(ExitCode::SUCCESS)
}

/// Returns the second signal if one came before the end.
async fn process_until_stopped(
    processor: &ProcessorService,
    watched: &WatchedProcessor,
    metrics: &ProcessorMetrics,
    grace: Duration,
    signals: &mut Signals,
) -> Option<Signal> {
    watched.set_running(true);
    tracing::info!("processing");
    let stop = CancellationToken::new();
    let mut work = pin!(processor.run(&stop));
    let mut follow = pin!(processor.follow(&watched.liveness, &metrics.watch));
    tokio::select! {
        biased;
        _ = signals.next() => {}
        () = &mut work => {}
        () = &mut follow => {}
    }
    watched.set_running(false);
    tracing::info!("stopping: messages in memory may take {grace:?}; a second signal stops at once");
    stop.cancel();
    tokio::select! {
        biased;
        second = signals.next() => Some(second),
        () = work => None,
        () = follow => None,
    }
}

/// Delivers until a signal, and drains.
async fn deliver(args: &DeliverArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let config = args.config()?;
    let fields = vec![("table", config.delivery.tables.events.clone())];
    let _logs = Logs::start(&PROGRAM, args.log_format(), args.log_levels(), fields, None);
    let (metrics, watch) = (Arc::<DeliverMetrics>::default(), Arc::<Watch>::default());
    let watched = Arc::new(WatchedDeliverer::new(metrics.clone(), watch.clone()));
    let setting = "--http-listen, EVENT_PIPELINE_HTTP_LISTEN";
    let _endpoint = http::listen(args.http_listen(), setting, watched.clone()).await?;
    let grace = config.shutdown_grace;
    let observers = DelivererObservers { events: metrics.clone(), reports: watched.clone(), watch };
    let deliverer = tokio::select! {
        biased;
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        deliverer = deliverer::connect(config, observers) => deliverer?,
    };
    watched.set_reading(true);
    let stop = CancellationToken::new();
    let mut work = pin!(deliverer.run(&stop));
    let mut follow = pin!(deliverer.follow(&watched.liveness));
    tokio::select! {
        biased;
        _ = signals.next() => {}
        result = &mut work => result?,
        () = &mut follow => {}
    }
    watched.set_reading(false);
    tracing::info!("stopping: deliveries in progress may take {grace:?}; a second signal stops at once");
    stop.cancel();
    tokio::select! {
        biased;
        second = signals.next() => return Ok(ExitCode::from(second.exit_code())),
        result = work => result?,
        () = follow => {}
    }
    println!("Deliverer stopped. Records handled: {}", metrics.handled());
    Ok(ExitCode::SUCCESS)
}

/// Receives webhooks until a signal.
async fn receive(args: &SinkArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let stop = async { _ = signals.next().await };
    let summary = webhook_sink::run(args.settings()?, stop, io::stdout(), &mut io::stderr()).await?;
    eprintln!("Sink stopped. {summary}");
    Ok(ExitCode::SUCCESS)
}

/// Runs a command of operators.
async fn tool(work: impl AsyncFnOnce(&mut Console<'_>) -> Result<Outcome, ToolError>) -> anyhow::Result<ExitCode> {
    Ok(console::run(work).await?)
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
    use event_pipeline::cli::{DemoArgs, LocalArgs};
    use event_pipeline::local::{demo, servers};
    use ops::signals::Signals;

    pub(super) async fn servers(args: &LocalArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        servers::run(&args.settings(), async { _ = signals.next().await }, &mut io::stdout()).await?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        let stop = async { _ = signals.next().await };
        let passed = demo::run(&args.settings(), stop, &mut io::stdout()).await?;
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn listen() -> anyhow::Result<Signals> {
        Signals::listen().context("cannot listen for signals")
    }
}
